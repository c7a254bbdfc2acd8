//! Buffers of the C ABI: references from several threads, revoking against sending and sealing.
use super::explore::explore;
use super::world::{Events, SERVER, World, ok};
use core::ffi::c_void;
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU32};
use whimbrel::ffi::abi::*;
use whimbrel::ffi::buf::{wb_buf_revoke, wb_buf_slice, wb_buf_view, wb_buf_wrap};
use whimbrel::ffi::handle_calls::{wb_handle_release, wb_handle_retain};
use whimbrel::ffi::status::*;
use whimbrel::ffi::stream_calls::{wb_stream_open, wb_stream_recv_copy, wb_stream_send};

/// Memory that is lent: `0xaa` while it is, something else from the moment the loan has ended.
struct Lent {
    memory: AtomicPtr<u8>,
    len: usize,
    releases: AtomicU32,
}

impl Lent {
    fn new(len: usize) -> Arc<Self> {
        let memory = Box::into_raw(vec![0xaa_u8; len].into_boxed_slice()).cast::<u8>();
        Arc::new(Self { memory: AtomicPtr::new(memory), len, releases: AtomicU32::new(0) })
    }

    fn wrap(self: &Arc<Self>) -> wb_buf {
        let mut buf = 0;
        let ctx = Arc::into_raw(Arc::clone(self)).cast_mut().cast();
        let memory = self.memory.load(Ordering::SeqCst);
        // SAFETY: the memory lives as long as `self`.
        ok(unsafe { wb_buf_wrap(memory.cast(), self.len, Some(release), ctx, &raw mut buf) });
        buf
    }

    /// Only the loan's end allows this.
    fn scribble(&self) {
        // SAFETY: our memory; a library thread that still reads it sends what the peer does not expect.
        unsafe { self.memory.load(Ordering::SeqCst).write_bytes(0xdd, self.len) };
    }

    fn releases(&self) -> u32 {
        self.releases.load(Ordering::SeqCst)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let all = core::ptr::slice_from_raw_parts_mut(self.memory.load(Ordering::SeqCst), self.len);
        // SAFETY: made by `Box::into_raw` with this length.
        drop(unsafe { Box::from_raw(all) });
    }
}

unsafe extern "C" fn release(ctx: *mut c_void) {
    // SAFETY: the reference given to `wb_buf_wrap`, handed back once.
    let lent = unsafe { Arc::from_raw(ctx.cast::<Lent>()) };
    assert_eq!(lent.releases.fetch_add(1, Ordering::SeqCst), 0, "released twice");
    lent.scribble();
}

fn slice(buf: wb_buf, offset: usize, len: usize) -> Result<wb_buf, wb_status> {
    let mut out = 0;
    // SAFETY: an out parameter of ours.
    match unsafe { wb_buf_slice(buf, offset, len, &raw mut out) } {
        WB_OK => Ok(out),
        s => Err(s),
    }
}

/// Retain, slice, view and release on three threads; nobody but the last one releases the memory, and that once.
fn references() {
    let lent = Lent::new(64);
    let buf = lent.wrap();
    let threads: Vec<_> = (0..2)
        .map(|n| {
            ok(wb_handle_retain(buf));
            let lent = Arc::clone(&lent);
            thread::spawn(move || {
                let part = slice(buf, n * 8, 16).expect("we hold a reference");
                ok(wb_handle_release(buf));
                let (mut data, mut len) = (core::ptr::null(), 0);
                // SAFETY: out parameters of ours.
                ok(unsafe { wb_buf_view(part, &raw mut data, &raw mut len) });
                assert_eq!(len, 16);
                // SAFETY: the view is valid while the handle is held.
                assert_eq!(unsafe { *data.cast::<u8>() }, 0xaa, "the memory was given back under a reference");
                assert_eq!(lent.releases(), 0);
                ok(wb_handle_release(part));
            })
        })
        .collect();
    // A third one who has no reference of its own: it may come too late, but never wrong.
    let guest = thread::spawn(move || match slice(buf, 0, 8) {
        Ok(part) => ok(wb_handle_release(part)),
        Err(s) => assert_eq!(s, WB_E_STALE),
    });
    ok(wb_handle_release(buf));
    threads.into_iter().chain([guest]).for_each(|t| t.join().expect("no panic"));
    assert_eq!(wb_handle_release(buf), WB_E_STALE);
    assert_eq!(lent.releases(), 1);
}

fn stream(world: &World) -> wb_stream {
    let mut stream = 0;
    // SAFETY: an out parameter of ours.
    ok(unsafe { wb_stream_open(world.conn, WB_STREAM_UNI, &raw mut stream) });
    stream
}

fn send(stream: wb_stream, buf: wb_buf, flags: u32) -> (wb_status, usize) {
    let mut taken = 0;
    // SAFETY: one handle, an out parameter of ours.
    let s = unsafe { wb_stream_send(stream, &raw const buf, 1, flags, &raw mut taken) };
    (s, taken)
}

/// What the server got on its first stream: bytes, and whether the end came.
fn received(world: &World) -> (Vec<u8>, Result<bool, wb_status>) {
    let events = world.drain(SERVER);
    let of = |kind| events.iter().find(|e| e.kind == kind).map(|e| e.stream);
    let mut all = Vec::new();
    let Some(stream) = of(WB_EV_STREAM_INCOMING) else { panic!("no stream arrived: {events:x?}") };
    if of(WB_EV_STREAM_RESET) == Some(stream) {
        return (all, Err(WB_E_RESET));
    }
    loop {
        let (mut room, mut got, mut fin) = ([0u8; 4096], 0, 0);
        // SAFETY: room of ours.
        match unsafe { wb_stream_recv_copy(stream, room.as_mut_ptr().cast(), room.len(), &raw mut got, &raw mut fin) } {
            WB_OK => all.extend_from_slice(&room[..got]),
            WB_E_WOULD_BLOCK => return (all, Ok(false)),
            s => return (all, Err(s)),
        }
        if fin != 0 {
            return (all, Ok(true));
        }
    }
}

/// One thread seals packets from the lent memory, another ends the loan and changes the memory the moment it may.
fn revoke_while_sealing(mode: u32) {
    let world = World::connected(Events::Queue);
    let lent = Lent::new(6000);
    let buf = lent.wrap();
    let stream = stream(&world);
    assert_eq!(send(stream, buf, WB_FIN), (WB_OK, 6000));
    let done = Arc::new(AtomicBool::new(false));
    let carrier = world.carrier({
        let done = Arc::clone(&done);
        move || done.load(Ordering::SeqCst)
    });
    let revoker = {
        let lent = Arc::clone(&lent);
        thread::spawn(move || {
            ok(wb_buf_revoke(buf, mode));
            lent.scribble();
            ok(wb_handle_release(buf));
        })
    };
    revoker.join().expect("no panic");
    done.store(true, Ordering::SeqCst);
    carrier.join().expect("no panic");
    world.settle();
    let (bytes, end) = received(&world);
    assert!(bytes.iter().all(|b| *b == 0xaa), "memory was read after its loan had ended");
    if mode == WB_REVOKE_COPY {
        assert_eq!((bytes.len(), end), (6000, Ok(true)), "a copy was promised");
    } else {
        assert!(
            end == Ok(true) && bytes.len() == 6000 || end == Err(WB_E_RESET),
            "{end:?} after {} bytes",
            bytes.len()
        );
    }
    let _ = wb_handle_release(stream);
    world.end();
    assert_eq!(lent.releases(), 1);
}

/// A send and a revocation with a copy at once: either the send is refused, or what it took arrives.
fn send_against_revoke() {
    let world = World::connected(Events::Queue);
    let lent = Lent::new(600);
    let buf = lent.wrap();
    let stream = stream(&world);
    let sender = thread::spawn(move || send(stream, buf, WB_FIN));
    ok(wb_buf_revoke(buf, WB_REVOKE_COPY));
    lent.scribble();
    let sent = sender.join().expect("no panic");
    ok(wb_handle_release(buf));
    assert!(sent == (WB_OK, 600) || sent.0 == WB_E_REVOKED, "{sent:?}");
    world.settle();
    if sent.0 == WB_OK {
        let (bytes, end) = received(&world);
        assert!(bytes.iter().all(|b| *b == 0xaa), "memory was read after its loan had ended");
        assert_eq!((bytes.len(), end), (600, Ok(true)), "the send was accepted and its copy promised");
    }
    let _ = wb_handle_release(stream);
    world.end();
    assert_eq!(lent.releases(), 1);
}

#[test]
fn references_from_several_threads() {
    explore("buffers, references", 20_000, references);
}

#[test]
fn no_packet_is_sealed_from_revoked_memory() {
    explore("buffers, revoke with a copy while sealing", 1000, || revoke_while_sealing(WB_REVOKE_COPY));
    explore("buffers, revoke with a reset while sealing", 1000, || revoke_while_sealing(WB_REVOKE_RESET));
}

#[test]
fn what_a_send_took_before_a_revocation_is_copied() {
    explore("buffers, send against revoke", 2000, send_against_revoke);
}
