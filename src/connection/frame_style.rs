//! Frames as a peer may write them and we never do (feature `sim`): CRYPTO in shuffled, repeated and overlapping pieces
//! between PING and PADDING, over several packets, as Chromium does with its ClientHello; STREAM frames of one byte.
//!
//! RFC 9000 sections 7.5, 13 and 19.6 leave all that to the sender. Invariant: every byte that was taken from a stream is
//! in a token of the packet or given back to the stream.
use crate::base::{Rng, SpaceId};
use crate::recovery::FrameToken;
use crate::wire::{Frame, Writer};

use super::Connection;

/// How a connection of the virtual world cuts what it sends into frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FrameStyle {
    #[default]
    Plain,
    /// CRYPTO data in disorder.
    ChaosCrypto,
    /// One byte of a stream per STREAM frame.
    OneByte,
}

/// Where a piece of `len` bytes is cut, in the order of writing: everything once, some of it twice, some overlapping.
fn pieces(len: usize, rng: &mut dyn Rng) -> Vec<(usize, usize)> {
    let mut below = |n: usize| usize::try_from(rng.below(n as u64)).unwrap_or(0);
    let mut cuts = Vec::new();
    let mut at = 0;
    while at < len {
        let wanted = match below(4) {
            0 => 1,
            1 => 1 + below(8),
            _ => 1 + below(100),
        };
        let count = wanted.min(len - at);
        cuts.push((at, count));
        if below(5) == 0 {
            cuts.push((at, count));
        }
        if below(5) == 0 {
            let start = at.saturating_sub(below(20));
            cuts.push((start, (count + below(20)).min(len - start)));
        }
        at += count;
    }
    for i in (1..cuts.len()).rev() {
        cuts.swap(i, below(i + 1));
    }
    cuts
}

impl Connection {
    /// In place of `write_crypto`: a part of what waits, in disorder; the rest is for the next packets.
    pub(super) fn write_crypto_in_disorder(
        &mut self,
        space: SpaceId,
        w: &mut Writer<'_>,
        tokens: &mut Vec<FrameToken>,
    ) {
        // Some pieces come twice, and a piece of one byte takes five or more.
        let most = w.remaining() / 4;
        let room = 1 + usize::try_from(self.rng.below(most as u64)).unwrap_or(0);
        let back = self.rng.below(3) == 0;
        let Some(stream) = self.crypto_stream(space) else { return };
        let Some((mut offset, piece)) = stream.send.take(room) else { return };
        let mut data = piece.to_vec();
        // Now and then a later part goes first.
        if back && let Some((next, later)) = stream.send.take(room) {
            let later = later.to_vec();
            stream.send.on_lost(offset, data.len() as u64);
            (offset, data) = (next, later);
        }
        let mut written = vec![false; data.len()];
        for (at, count) in pieces(data.len(), self.rng.as_mut()) {
            match self.rng.below(8) {
                0 if Frame::Ping.write(w).is_ok() => tokens.push(FrameToken::Other),
                1 if w.remaining() > 9 => {
                    let _ = Frame::Padding(1 + usize::try_from(self.rng.below(9)).unwrap_or(0)).write(w);
                }
                _ => {}
            }
            let before = w.position();
            let Some(piece) = data.get(at..at + count) else { continue };
            let offset = offset + at as u64;
            if (Frame::Crypto { offset, data: piece }).write(w).is_ok() {
                tokens.push(FrameToken::Crypto { offset, len: u32::try_from(count).unwrap_or(0) });
                written.iter_mut().skip(at).take(count).for_each(|w| *w = true);
            } else {
                w.rewind(before);
            }
        }
        let Some(stream) = self.crypto_stream(space) else { return };
        for (at, _) in written.iter().enumerate().filter(|(_, written)| !**written) {
            stream.send.on_lost(offset + at as u64, 1);
        }
    }
}
