//! The race that the buffers exist for: threads open, send, close, release and revoke at random against live traffic,
//! and lent memory becomes unreadable the moment its release or revoke returns. A library thread that read it once more
//! would end the process; bytes that changed on their way are found by their pattern.
//!
//! `WB_REAPER=n` sets the number of loans (quick tier: a few hundred), `WB_SEED=n` the seed of every choice. `make
//! sanitize` runs 10,000 under AddressSanitizer and 5,000 under ThreadSanitizer.
mod loan;
mod party;
mod rng;

use loan::{Ledger, Loan};
use party::{Client, Server};
use rng::Rng;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use whimbrel::ffi::abi::{
    WB_FIN, WB_REVOKE_COPY, WB_REVOKE_RESET, WB_STREAM_BIDI, WB_STREAM_UNI, wb_buf, wb_handle, wb_stream,
};
use whimbrel::ffi::buf::{wb_buf_revoke, wb_buf_slice};
use whimbrel::ffi::conn_calls::wb_conn_close;
use whimbrel::ffi::handle_calls::{wb_handle_release, wb_handle_retain};
use whimbrel::ffi::status::{WB_E_PANIC, WB_OK, WB_PARTIAL, wb_status};
use whimbrel::ffi::stream_calls::{
    wb_stream_open, wb_stream_recv, wb_stream_reset, wb_stream_send, wb_stream_send_copy,
};

const THREADS: usize = 6;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{name} is not a number: {v}")))
}

/// A bad handle, a closed connection, a full window are all fine here; a panic inside is not.
fn survived(status: wb_status) -> wb_status {
    assert_ne!(status, WB_E_PANIC, "the library panicked");
    status
}

/// Handles that one thread leaves for another: buffers of loans, and streams whose echo may be read.
#[derive(Default)]
struct Stash {
    buffers: [AtomicU64; 8],
    streams: [AtomicU64; 8],
}

struct Thread<'a> {
    rng: Rng,
    client: &'a Client,
    ledger: &'a Arc<Ledger>,
    stash: &'a Stash,
    /// Received buffers kept beyond the life of everything that made them.
    kept: Vec<(wb_buf, u64)>,
}

impl Thread<'_> {
    /// One loan from its first byte to its end.
    fn life(&mut self) {
        let seed = self.rng.next();
        let len = 64 << self.rng.below(11);
        let (loan, buf) = Loan::wrap(self.ledger, seed, len);
        let conn = self.client.conn(&mut self.rng);
        let kind = if self.rng.below(3) == 0 { WB_STREAM_UNI } else { WB_STREAM_BIDI };
        let mut stream = 0;
        // SAFETY: an out parameter of ours.
        if survived(unsafe { wb_stream_open(conn, kind, &raw mut stream) }) == WB_OK {
            self.send(stream, buf, seed, len);
        }
        self.end_buffer(&loan, buf);
        self.end_stream(stream, conn, kind);
        if self.rng.below(8) == 0 {
            self.read_something();
        }
        if self.rng.below(40) == 0 {
            self.client.replace_one(&mut self.rng);
        }
        if self.rng.below(400) == 0 {
            self.client.replace_all(&mut self.rng);
        }
    }

    /// The seed, then the loan's bytes in one to four slices, with or without the end.
    fn send(&mut self, stream: wb_stream, buf: wb_buf, seed: u64, len: usize) {
        let head = seed.to_le_bytes();
        let mut taken = 0;
        // SAFETY: eight readable bytes, an out parameter of ours.
        let s = unsafe { wb_stream_send_copy(stream, head.as_ptr().cast(), head.len(), 0, &raw mut taken) };
        if survived(s) != WB_OK || taken != head.len() {
            return;
        }
        let pieces = 1 + self.rng.below(4) as usize;
        let mut at = 0;
        for piece in 0..pieces {
            let end = if piece + 1 == pieces { len } else { at + (len - at) / 2 };
            let fin = if end == len && self.rng.below(2) == 0 { WB_FIN } else { 0 };
            let mut slice = 0;
            // SAFETY: an out parameter of ours.
            if survived(unsafe { wb_buf_slice(buf, at, end - at, &raw mut slice) }) != WB_OK {
                return;
            }
            // SAFETY: one handle, an out parameter of ours.
            let s = survived(unsafe { wb_stream_send(stream, &raw const slice, 1, fin, &raw mut taken) });
            survived(wb_handle_release(slice));
            if s != WB_OK {
                assert!(s < 0 || s == WB_PARTIAL);
                return;
            }
            at = end;
        }
    }

    /// Ends the loan here, there, twice, or leaves it to the last acknowledgement.
    fn end_buffer(&mut self, loan: &Loan, buf: wb_buf) {
        match self.rng.below(8) {
            0 | 1 => {}
            2 => loan.revoke(buf, WB_REVOKE_COPY),
            3 => loan.revoke(buf, WB_REVOKE_RESET),
            4 => std::thread::scope(|s| {
                s.spawn(|| loan.revoke(buf, WB_REVOKE_COPY));
                loan.revoke(buf, WB_REVOKE_RESET);
            }),
            5 => {
                // Another thread revokes or releases it at a time of its own.
                survived(wb_handle_retain(buf));
                let before = self.swap(true, buf);
                survived(wb_handle_release(before));
            }
            _ => {
                std::thread::sleep(std::time::Duration::from_micros(self.rng.below(300)));
                loan.revoke(buf, WB_REVOKE_COPY);
            }
        }
        survived(wb_handle_release(buf));
        let other = self.swap(true, 0);
        if other != 0 {
            if self.rng.below(2) == 0 {
                // The loan is somebody else's: its memory stays readable until its own release.
                survived(wb_buf_revoke(other, WB_REVOKE_COPY));
            }
            survived(wb_handle_release(other));
        }
    }

    fn end_stream(&mut self, stream: wb_stream, conn: wb_handle, kind: u32) {
        match self.rng.below(8) {
            0 => _ = survived(wb_stream_reset(stream, 7)),
            // SAFETY: no text.
            1 if self.rng.below(8) == 0 => _ = survived(unsafe { wb_conn_close(conn, 3, core::ptr::null(), 0) }),
            2 | 3 if kind == WB_STREAM_BIDI => {
                let old = self.swap(false, stream);
                survived(wb_handle_release(old));
                return;
            }
            _ => {}
        }
        survived(wb_handle_release(stream));
    }

    fn swap(&mut self, buffers: bool, with: u64) -> u64 {
        let row = if buffers { &self.stash.buffers } else { &self.stash.streams };
        row[self.rng.below(row.len() as u64) as usize].swap(with, Ordering::AcqRel)
    }

    /// Takes echoed buffers and keeps some of them.
    fn read_something(&mut self) {
        let stream = self.swap(false, 0);
        let (mut bufs, mut count, mut fin) = ([0; 4], 0, 0);
        // SAFETY: out parameters of ours.
        let s = unsafe { wb_stream_recv(stream, bufs.as_mut_ptr(), bufs.len(), &raw mut count, &raw mut fin) };
        if survived(s) == WB_OK {
            for buf in bufs.into_iter().take(count) {
                if self.kept.len() < 64 {
                    self.kept.push((buf, loan::checksum(buf)));
                } else {
                    survived(wb_handle_release(buf));
                }
            }
        }
        survived(wb_handle_release(stream));
    }
}

#[test]
fn nothing_reads_lent_memory_after_release_or_revoke() {
    let loans = number("WB_REAPER", 400);
    let seed = number("WB_SEED", 1);
    let ledger = Arc::new(Ledger::default());
    let server = Server::start();
    let client = Client::start(&server);
    let stash = Stash::default();
    let next = AtomicU64::new(0);
    let kept: Vec<(wb_buf, u64)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS as u64)
            .map(|n| {
                let (client, ledger, stash, next) = (&client, &ledger, &stash, &next);
                scope.spawn(move || {
                    let rng = Rng::new(seed.wrapping_mul(1000).wrapping_add(n));
                    let mut thread = Thread { rng, client, ledger, stash, kept: Vec::new() };
                    while next.fetch_add(1, Ordering::Relaxed) < loans {
                        thread.life();
                    }
                    thread.kept
                })
            })
            .collect();
        threads.into_iter().flat_map(|t| t.join().expect("no thread of the test panics")).collect()
    });
    for handle in stash.buffers.iter().chain(&stash.streams) {
        survived(wb_handle_release(handle.load(Ordering::Acquire)));
    }
    client.end();
    let (streams, verified) = server.end();
    ledger.settled();
    // What was received outlives connection, endpoint and runtime.
    for (buf, sum) in &kept {
        assert_eq!(loan::checksum(*buf), *sum, "a received buffer changed");
        assert_eq!(wb_handle_release(*buf), WB_OK);
    }
    println!("{loans} loans, {streams} streams seen, {verified} bytes right, {} buffers kept", kept.len());
    assert!(streams > loans / 8, "too little traffic arrived: {streams} streams");
    assert!(verified > 0);
}
