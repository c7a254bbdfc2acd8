//! CRYPTO streams: order, overlap, bounds, acknowledgement and loss.
use super::{CryptoReceive, CryptoSend, PIECES_LIMIT, RECEIVE_LIMIT};
use crate::base::codes::transport;
use crate::base::{Pcg, Rng};

/// Everything that became readable.
fn feed(r: &mut CryptoReceive, all: &[u8], from: usize, to: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(r.on_frame(from as u64, &all[from..to]).unwrap());
    while let Some(piece) = r.pop() {
        out.extend(piece);
    }
}

#[test]
fn any_order_and_overlap_comes_out_once() {
    let all: Vec<u8> = (0..2000u32).map(|n| (n % 251) as u8).collect();
    for seed in 0..200 {
        let mut rng = Pcg::new(seed);
        let (mut r, mut out) = (CryptoReceive::default(), Vec::new());
        while out.len() < all.len() {
            let from = rng.below(all.len() as u64) as usize;
            let to = (from + 1 + rng.below(300) as usize).min(all.len());
            feed(&mut r, &all, from, to, &mut out);
            assert_eq!(out, all[..out.len()]);
            // A peer always repeats what is missing in the end.
            if rng.below(8) == 0 {
                let (at, end) = (out.len(), (out.len() + 50).min(all.len()));
                feed(&mut r, &all, at, end, &mut out);
            }
        }
        assert_eq!(out, all, "seed {seed}");
        assert_eq!(r.highest(), all.len() as u64);
    }
}

#[test]
fn bytes_and_pieces_ahead_are_bounded() {
    let mut r = CryptoReceive::default();
    assert!(r.on_frame(RECEIVE_LIMIT - 1, b"x").is_ok());
    let error = r.on_frame(RECEIVE_LIMIT, b"x").unwrap_err();
    assert_eq!(error.code, transport::CRYPTO_BUFFER_EXCEEDED);
    let mut r = CryptoReceive::default();
    let failed = (0..10_000u64).position(|n| r.on_frame(1 + 2 * n, b"x").is_err());
    assert_eq!(failed, Some(PIECES_LIMIT));
    assert!(r.on_frame(u64::MAX, b"xy").is_err());
}

/// The worst ways to send 4096 bytes out of order: byte by byte, with gaps, from the end.
//= https://www.rfc-editor.org/rfc/rfc9000#section-7.5
//= type=test
//# Implementations MUST support buffering at least 4096 bytes of data received in out-of-order CRYPTO frames.
#[test]
fn four_thousand_bytes_wait_in_any_form() {
    let all: Vec<u8> = (0..4097u32).map(|n| (n % 251) as u8).collect();
    let forward: Vec<usize> = (1..4097).collect();
    let backward: Vec<usize> = (1..4097).rev().collect();
    let odd_first: Vec<usize> = (1..4097).step_by(2).chain((2..4097).step_by(2)).collect();
    let from_both_ends: Vec<usize> = (1..2049).flat_map(|n| [n, 4097 - n]).collect();
    for order in [forward, backward, odd_first, from_both_ends] {
        let (mut r, mut out) = (CryptoReceive::default(), Vec::new());
        for at in order {
            feed(&mut r, &all, at, at + 1, &mut out);
        }
        assert!(out.is_empty());
        feed(&mut r, &all, 0, 1, &mut out);
        assert_eq!(out, all);
    }
}

/// Takes a piece; its offset.
fn taken(s: &mut CryptoSend, room: usize, piece: &mut Vec<u8>) -> Option<u64> {
    let (offset, bytes) = s.take(room)?;
    *piece = bytes.to_vec();
    Some(offset)
}

#[test]
fn lost_pieces_are_sent_again_and_acknowledged_ones_are_not() {
    let mut s = CryptoSend::default();
    s.push(vec![7; 1000]);
    let mut piece = Vec::new();
    assert_eq!(taken(&mut s, 400, &mut piece), Some(0));
    assert_eq!(taken(&mut s, 400, &mut piece), Some(400));
    assert_eq!(taken(&mut s, 400, &mut piece), Some(800));
    assert_eq!(piece.len(), 200);
    assert!(!s.wants_to_send());
    s.on_acked(400, 400);
    s.on_lost(0, 1000);
    assert_eq!(taken(&mut s, 9999, &mut piece), Some(0));
    assert_eq!(piece.len(), 400);
    assert_eq!(taken(&mut s, 9999, &mut piece), Some(800));
    s.on_acked(0, 1000);
    s.on_lost(0, 1000);
    assert!(!s.wants_to_send(), "acknowledged bytes are gone");
    s.push(b"more".to_vec());
    assert_eq!(taken(&mut s, 9999, &mut piece), Some(1000));
    assert_eq!(piece, b"more");
    // The room of what was acknowledged in part is used again from its front.
    s.push(vec![8; 600]);
    s.on_acked(1000, 500);
    s.push(vec![9; 500]);
    assert_eq!(taken(&mut s, 9999, &mut piece), Some(1500));
    assert_eq!(piece, [vec![8; 104], vec![9; 500]].concat());
}
