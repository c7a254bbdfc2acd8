//! Capture files: the classic pcap format with raw IP packets.
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// LINKTYPE_RAW: packets begin with their IP header.
const RAW_IP: u32 = 101;

/// Largest capture: a flood ends the link, and with it the cell.
const MAX_BYTES: u64 = 64 << 20;

/// A capture file, or none when no name was given.
pub struct Capture(Option<BufWriter<File>>, u64);

impl Capture {
    pub fn create(name: &str) -> io::Result<Self> {
        if name.is_empty() {
            return Ok(Self(None, 0));
        }
        let mut out = BufWriter::with_capacity(1 << 20, File::create(name)?);
        for word in [0xa1b2_c3d4u32, 2 | 4 << 16, 0, 0, 65_535, RAW_IP] {
            out.write_all(&word.to_ne_bytes())?;
        }
        Ok(Self(Some(out), 0))
    }

    pub fn record(&mut self, packet: &[u8]) -> io::Result<()> {
        let Some(out) = &mut self.0 else { return Ok(()) };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let length = packet.len() as u32;
        self.1 += u64::from(length);
        if self.1 > MAX_BYTES {
            return Err(io::Error::other("the capture is too large: somebody floods the link"));
        }
        for word in [now.as_secs() as u32, now.subsec_micros(), length, length] {
            out.write_all(&word.to_ne_bytes())?;
        }
        out.write_all(packet)
    }

    pub fn finish(&mut self) -> io::Result<()> {
        self.0.as_mut().map_or(Ok(()), Write::flush)
    }
}
