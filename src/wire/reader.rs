//! A checked cursor over received bytes. Every read either advances or returns `Truncated` and stays put.

/// The bytes ended before the value did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Truncated;

/// Cursor over borrowed bytes.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes consumed so far.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// Bytes not yet consumed.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// The next byte without consuming it.
    #[must_use]
    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let out = *self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<N>).ok_or(Truncated)?;
        self.at = self.at.saturating_add(N);
        Ok(out)
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, Truncated> {
        self.array::<1>().map(|[b]| b)
    }

    /// Two bytes, network order.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes, network order.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes, network order.
    #[inline]
    pub fn u64(&mut self) -> Result<u64, Truncated> {
        self.array().map(u64::from_be_bytes)
    }

    /// A variable-length integer of any encoded length (RFC 9000 section 16).
    #[inline]
    pub fn varint(&mut self) -> Result<u64, Truncated> {
        let first = self.peek().ok_or(Truncated)?;
        match first >> 6 {
            0 => self.u8().map(u64::from),
            1 => self.u16().map(|v| u64::from(v & 0x3fff)),
            2 => self.u32().map(|v| u64::from(v & 0x3fff_ffff)),
            _ => self.u64().map(|v| v & super::varint::MAX),
        }
    }

    /// The next `n` bytes.
    #[inline]
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], Truncated> {
        let end = self.at.checked_add(n).ok_or(Truncated)?;
        let out = self.bytes.get(self.at..end).ok_or(Truncated)?;
        self.at = end;
        Ok(out)
    }

    /// The next `N` bytes as an array.
    #[inline]
    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        self.array()
    }

    /// A variable-length integer and that many bytes.
    #[inline]
    pub fn varint_bytes(&mut self) -> Result<&'a [u8], Truncated> {
        let start = self.at;
        let n = usize::try_from(self.varint()?).map_err(|_| Truncated);
        let out = n.and_then(|n| self.bytes(n));
        if out.is_err() {
            self.at = start;
        }
        out
    }

    /// Everything that is left; the cursor is at the end afterwards.
    #[inline]
    pub fn rest(&mut self) -> &'a [u8] {
        let out = self.bytes.get(self.at..).unwrap_or(&[]);
        self.at = self.bytes.len();
        out
    }
}
