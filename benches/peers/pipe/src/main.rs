//! The bare pipe: what any QUIC on this machine has to pay. One copy of application bytes into each packet, AES-128-GCM
//! and header protection with ring, segmentation offload out, receive offload in, one copy to the reader. No protocol:
//! packets in order carry a number and bytes, the receiver grants a window and says every 256 KiB what it has.
use bench_core::udp::{RUN, SEGMENTS, Udp};
use bench_core::{Args, BLOCK, Error, Role, result, say, wait};
use clap::Parser;
use ring::aead::quic::{AES_128, HeaderProtectionKey};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// First byte, an 8-byte connection ID and a 4-byte packet number, as in a short header.
const HEADER: usize = 13;
const TAG: usize = 16;
/// Bytes under way at most, and how often the receiver tells how far it is.
const WINDOW: u64 = 1 << 20;
const TELL: u64 = 256 << 10;
/// Nothing arrives for this long: a datagram was lost, and this pipe has no repair.
const LOST: Duration = Duration::from_secs(5);

struct Keys {
    aead: LessSafeKey,
    header: HeaderProtectionKey,
}

impl Keys {
    fn new() -> Result<Keys, Error> {
        let key = UnboundKey::new(&AES_128_GCM, &[7; 16]).map_err(|_| "key")?;
        let header = HeaderProtectionKey::new(&AES_128, &[9; 16]).map_err(|_| "header key")?;
        Ok(Keys { aead: LessSafeKey::new(key), header })
    }

    fn nonce(number: u32) -> Nonce {
        let mut n = [3; 12];
        n[8..].copy_from_slice(&number.to_be_bytes());
        Nonce::assume_unique_for_key(n)
    }

    fn mask(&self, packet: &mut [u8]) -> Result<(), Error> {
        let mask = self.header.new_mask(&packet[HEADER..HEADER + 16]).map_err(|_| "sample")?;
        packet[0] ^= mask[0] & 0x1f;
        for (byte, m) in packet[HEADER - 4..HEADER].iter_mut().zip(&mask[1..]) {
            *byte ^= m;
        }
        Ok(())
    }

    /// Header, copy of `data`, seal and mask into `packet`; its length.
    fn write(&self, packet: &mut [u8], number: u32, data: &[u8]) -> Result<usize, Error> {
        let end = HEADER + data.len();
        packet[0] = 0x43;
        packet[1..9].copy_from_slice(b"pipepipe");
        packet[9..HEADER].copy_from_slice(&number.to_be_bytes());
        packet[HEADER..end].copy_from_slice(data);
        let (head, rest) = packet.split_at_mut(HEADER);
        let tag = self
            .aead
            .seal_in_place_separate_tag(Self::nonce(number), Aad::from(&*head), &mut rest[..data.len()])
            .map_err(|_| "seal")?;
        rest[data.len()..data.len() + TAG].copy_from_slice(tag.as_ref());
        self.mask(packet)?;
        Ok(end + TAG)
    }

    /// Unmasks and opens; the bytes.
    fn read<'a>(&self, packet: &'a mut [u8]) -> Result<&'a [u8], Error> {
        if packet.len() < HEADER + TAG {
            return Err("short packet".into());
        }
        self.mask(packet)?;
        let (head, rest) = packet.split_at_mut(HEADER);
        let number = u32::from_be_bytes(head[9..].try_into()?);
        Ok(self.aead.open_in_place(Self::nonce(number), Aad::from(&*head), rest).map_err(|_| "open")?)
    }
}

/// Sends `total` bytes to `to` within the window.
fn send(udp: &Udp, keys: &Keys, to: SocketAddr, total: u64, payload: usize, block: &[u8]) -> Result<(), Error> {
    let room = payload - HEADER - TAG;
    let segments = SEGMENTS.min(RUN / payload);
    let mut run = vec![0; segments * payload];
    let mut tell = [0; 2048];
    let (mut sent, mut told, mut number) = (0u64, 0u64, 0u32);
    while told < total {
        let grant = (told + WINDOW).min(total) - sent;
        let full = (segments * room) as u64;
        if grant >= full || (grant > 0 && sent + grant == total) {
            let mut len = 0;
            for _ in 0..segments {
                let n = (total - sent).min(room as u64) as usize;
                if n == 0 {
                    break;
                }
                let from = sent as usize % (BLOCK - room);
                len += keys.write(&mut run[len..], number, &block[from..from + n])?;
                sent += n as u64;
                number = number.wrapping_add(1);
            }
            while !udp.send(&run[..len], payload, to)? {
                udp.poll(Some(LOST), true, false)?;
            }
            continue;
        }
        let before = told;
        while let Some(got) = udp.receive(&mut tell)? {
            for packet in tell[..got.len].chunks_mut(got.segment) {
                told = told.max(u64::from_be_bytes(keys.read(packet)?.try_into()?));
            }
        }
        if before == told {
            let start = Instant::now();
            udp.poll(Some(LOST), false, false)?;
            if start.elapsed() >= LOST {
                return Err(format!("a datagram was lost after {told} of {total} bytes").into());
            }
        }
    }
    Ok(())
}

fn serve(args: &Args) -> Result<(), Error> {
    let (udp, keys) = (Udp::new(args.server())?, Keys::new()?);
    let block = vec![0x5a; BLOCK];
    let mut ask = [0; 2048];
    say("ready");
    loop {
        udp.poll(None, false, false)?;
        while let Some(got) = udp.receive(&mut ask)? {
            let total = u64::from_be_bytes(keys.read(&mut ask[..got.len])?.try_into()?);
            if total > 0 {
                send(&udp, &keys, got.from, total, args.payload.into(), &block)?;
            }
        }
    }
}

/// Asks for `total` bytes and reads them.
fn fetch(args: &Args, udp: &Udp, keys: &Keys, total: u64) -> Result<(), Error> {
    let mut packet = [0; 64];
    let mut number = u32::MAX / 2;
    let mut run = vec![0; 1 << 16];
    let mut reader = vec![0; 256 << 10];
    let (mut got, mut told) = (0u64, 0u64);
    let mut tell = |bytes: u64| {
        number += 1;
        let len = keys.write(&mut packet, number, &bytes.to_be_bytes())?;
        udp.send(&packet[..len], len, args.server()).map(|_| ())
    };
    tell(total)?;
    while got < total {
        let Some(run_in) = udp.receive(&mut run)? else {
            let start = Instant::now();
            udp.poll(Some(LOST), false, false)?;
            if start.elapsed() >= LOST {
                return Err(format!("a datagram was lost after {got} of {total} bytes").into());
            }
            continue;
        };
        for packet in run[..run_in.len].chunks_mut(run_in.segment) {
            let data = keys.read(packet)?;
            let at = got as usize % (reader.len() - data.len());
            reader[at..at + data.len()].copy_from_slice(data);
            got += data.len() as u64;
        }
        if got - told >= TELL || got == total {
            told = got;
            tell(got)?;
        }
    }
    Ok(())
}

fn main() -> Result<(), Error> {
    let args = Args::parse();
    match args.role {
        Role::Server => serve(&args),
        Role::Move { up: 0, down, streams: 1, conns: 1 } => {
            let (udp, keys) = (Udp::new(args.any())?, Keys::new()?);
            say("ready");
            wait();
            let start = Instant::now();
            fetch(&args, &udp, &keys, down)?;
            say(&result(start.elapsed(), Vec::new(), ""));
            wait();
            Ok(())
        }
        _ => Err("the pipe only moves bytes down, in one stream".into()),
    }
}
