//! Splits the CRYPTO stream of one level into handshake messages (RFC 8446 section 4).
//!
//! rustls has no idea of levels, so it is fed one whole message at a time: after each we know whether keys
//! changed, and bytes left over at the old level are an error (RFC 9001 section 4.1.3).
use crate::base::{TransportError, codes};

/// Longest message taken, the limit of rustls too; also bounds what an incomplete message can make us hold.
const MAX_MESSAGE: usize = 0xffff;
const HEADER: usize = 4;

/// The message types that the session looks at.
pub(super) const CLIENT_HELLO: u8 = 1;
pub(super) const NEW_SESSION_TICKET: u8 = 4;
pub(super) const ENCRYPTED_EXTENSIONS: u8 = 8;
pub(super) const CERTIFICATE_REQUEST: u8 = 13;
pub(super) const KEY_UPDATE: u8 = 24;

/// Bytes of the current level that do not make a whole message yet.
#[derive(Default)]
pub(super) struct Messages {
    buffer: Vec<u8>,
    at: usize,
}

impl Messages {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.at > 0 {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, its header included.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, TransportError> {
        let rest = self.buffer.get(self.at..).unwrap_or(&[]);
        let Some(&[_, a, b, c]) = rest.first_chunk::<HEADER>() else { return Ok(None) };
        let len = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        if len > MAX_MESSAGE {
            // decode_error (RFC 8446 section 6.2)
            return Err(TransportError::new(codes::transport::CRYPTO_ERROR + 50, "handshake message is too long"));
        }
        let end = HEADER + len;
        let Some(message) = rest.get(..end) else { return Ok(None) };
        self.at += end;
        Ok(Some(message))
    }

    /// Bytes not handed out yet.
    pub(super) fn len(&self) -> usize {
        self.buffer.len().saturating_sub(self.at)
    }

    /// First byte of what is left over: the type of the next message.
    pub(super) fn peek(&self) -> Option<u8> {
        self.buffer.get(self.at).copied()
    }

    /// Nothing is left over.
    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.buffer.len()
    }

    /// Frees the memory.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
