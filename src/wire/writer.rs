//! A bounded cursor over a caller's buffer. A write that does not fit changes nothing and returns `NoRoom`.
use super::varint;

/// The value does not fit into what is left of the buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoRoom;

/// Cursor over a mutable buffer.
#[derive(Debug)]
pub struct Writer<'a> {
    buf: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub const fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, at: 0 }
    }

    /// Bytes written so far.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// Bytes that still fit.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.buf.len().saturating_sub(self.at)
    }

    /// What has been written.
    #[must_use]
    pub fn written(&self) -> &[u8] {
        self.buf.get(..self.at).unwrap_or(&[])
    }

    /// What has been written, to patch or protect in place.
    pub fn written_mut(&mut self) -> &mut [u8] {
        self.buf.get_mut(..self.at).unwrap_or(&mut [])
    }

    /// Forgets everything written after `position` (no effect when that lies ahead).
    pub fn rewind(&mut self, position: usize) {
        self.at = self.at.min(position);
    }

    /// The next `n` bytes, to be filled by the caller; they count as written.
    #[inline]
    pub fn reserve(&mut self, n: usize) -> Result<&mut [u8], NoRoom> {
        let end = self.at.checked_add(n).ok_or(NoRoom)?;
        let out = self.buf.get_mut(self.at..end).ok_or(NoRoom)?;
        self.at = end;
        Ok(out)
    }

    /// Leaves `n` bytes as they are.
    #[inline]
    pub fn skip(&mut self, n: usize) -> Result<(), NoRoom> {
        self.reserve(n).map(|_| ())
    }

    /// Copies `bytes`.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        self.reserve(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self, v: u8) -> Result<(), NoRoom> {
        self.bytes(&[v])
    }

    /// Two bytes, network order.
    #[inline]
    pub fn u16(&mut self, v: u16) -> Result<(), NoRoom> {
        self.bytes(&v.to_be_bytes())
    }

    /// Four bytes, network order.
    #[inline]
    pub fn u32(&mut self, v: u32) -> Result<(), NoRoom> {
        self.bytes(&v.to_be_bytes())
    }

    /// Eight bytes, network order.
    #[inline]
    pub fn u64(&mut self, v: u64) -> Result<(), NoRoom> {
        self.bytes(&v.to_be_bytes())
    }

    /// A variable-length integer in its shortest form (RFC 9000 section 16). Callers keep `v <= varint::MAX`.
    #[inline]
    pub fn varint(&mut self, v: u64) -> Result<(), NoRoom> {
        debug_assert!(v <= varint::MAX);
        match varint::len(v.min(varint::MAX)) {
            1 => self.u8((v & 0x3f) as u8),
            2 => self.u16(0x4000 | (v & 0x3fff) as u16),
            4 => self.u32(0x8000_0000 | (v & 0x3fff_ffff) as u32),
            _ => self.u64(0xc000_0000_0000_0000 | v.min(varint::MAX)),
        }
    }

    /// A variable-length integer forced into two bytes; callers keep `v < 2^14`.
    #[inline]
    pub fn varint2(&mut self, v: u64) -> Result<(), NoRoom> {
        debug_assert!(v <= 0x3fff);
        self.u16(0x4000 | (v & 0x3fff) as u16)
    }

    /// A length as a variable-length integer, then the bytes.
    pub fn varint_bytes(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        let start = self.at;
        self.varint(bytes.len() as u64)?;
        self.bytes(bytes).inspect_err(|_| self.at = start)
    }

    /// Overwrites a two-byte variable-length integer written earlier at `at`.
    pub fn patch_varint2(&mut self, at: usize, v: u64) {
        debug_assert!(v <= 0x3fff);
        let bytes = (0x4000 | (v & 0x3fff) as u16).to_be_bytes();
        if let Some(slot) = self.written_mut().get_mut(at..at.saturating_add(2)) {
            slot.copy_from_slice(&bytes);
        }
    }
}
