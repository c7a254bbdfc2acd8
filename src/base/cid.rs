//! Connection IDs (RFC 9000 section 5.1) and stateless reset tokens (section 10.3).
use core::fmt;
use core::ops::{BitOr, BitXor};

/// Longest connection ID of QUIC versions 1 and 2 (RFC 9000 section 17.2).
pub const MAX_CID_LEN: usize = 20;

/// A connection ID of 0 to 20 bytes, stored inline.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ConnectionId {
    len: u8,
    bytes: [u8; MAX_CID_LEN],
}

impl ConnectionId {
    /// The zero-length connection ID.
    pub const EMPTY: Self = Self { len: 0, bytes: [0; MAX_CID_LEN] };

    /// `None` when `bytes` is longer than 20.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-17.2
    //# In QUIC version 1, this value MUST NOT exceed 20 bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut id = Self::EMPTY;
        id.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        id.len = u8::try_from(bytes.len()).ok()?;
        Some(id)
    }

    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }

    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for b in self.as_slice() {
            write!(f, "{b:02x}")?;
        }
        Ok(())
    }
}

/// A stateless reset token; comparison takes the same time whatever the bytes (RFC 9000 section 10.3.1).
#[derive(Clone, Copy)]
pub struct ResetToken(pub [u8; 16]);

impl PartialEq for ResetToken {
    fn eq(&self, other: &Self) -> bool {
        core::hint::black_box(differences(&self.0, &other.0)) == 0
    }
}

impl Eq for ResetToken {}

/// The bits in which two tokens differ, all in one; every element is looked at, whatever the first ones were.
//= https://www.rfc-editor.org/rfc/rfc9000#section-10.3.1
//# When comparing a datagram to stateless reset token values, endpoints MUST perform the comparison without leaking
//# information about the value of the token.
fn differences<T: Copy + Default + BitXor<Output = T> + BitOr<Output = T>>(a: &[T; 16], b: &[T; 16]) -> T {
    a.iter().zip(b).fold(T::default(), |all, (a, b)| all | (*a ^ *b))
}

impl fmt::Debug for ResetToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResetToken(..)")
    }
}

#[cfg(test)]
mod tests;
