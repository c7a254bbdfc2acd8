//! Tests of the parts that need no connection; `tests/c` has those that do.
use super::abi::*;
use super::close_reason::{Circumstances, fail_of};
use super::config::{settings, wb_config_new, wb_config_parse};
use super::error::{Fail, copy_text, fence, wb_last_error};
use super::events::{Gate, user_code};
use super::handle::{self, Object};
use super::handle_calls::wb_handle_release;
use super::object::Context;
use super::status::{self, *};
use super::{address, args};
use crate::base::{TransportError, codes};
use crate::connection::CloseReason;
use core::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Stands in for a path in its table, which nothing else in these tests uses.
struct Dummy {
    dropped: Arc<AtomicUsize>,
    abandoned: Arc<AtomicUsize>,
}

impl Object for Dummy {
    const KIND: u32 = WB_KIND_PATH;

    fn abandoned(self: &Arc<Self>) {
        self.abandoned.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Dummy {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

/// Another kind.
struct Other;

impl Object for Other {
    const KIND: u32 = WB_KIND_QUEUE;
}

struct Counts {
    dropped: Arc<AtomicUsize>,
    abandoned: Arc<AtomicUsize>,
}

impl Counts {
    fn new() -> Self {
        Self { dropped: Arc::default(), abandoned: Arc::default() }
    }

    fn object(&self) -> u64 {
        let object = Dummy { dropped: Arc::clone(&self.dropped), abandoned: Arc::clone(&self.abandoned) };
        handle::insert(Arc::new(object)).unwrap()
    }

    fn dropped(&self) -> usize {
        self.dropped.load(Ordering::SeqCst)
    }
}

fn status_of<T: Object>(handle: u64) -> wb_status {
    handle::get::<T>(handle).map_or_else(|f| f.status, |_| WB_OK)
}

#[test]
fn a_handle_is_checked_in_every_way() {
    let counts = Counts::new();
    let h = counts.object();
    assert_eq!(status_of::<Dummy>(h), WB_OK);
    assert_eq!(status_of::<Other>(h), WB_E_KIND);
    assert_eq!(status_of::<Dummy>(0), WB_E_HANDLE);
    assert_eq!(status_of::<Dummy>(h ^ 0x7000_0000), WB_E_HANDLE, "another generation");
    assert_eq!(status_of::<Dummy>(h ^ (0x00ff_0000 << 32)), WB_E_HANDLE, "a slot that does not exist");
    assert_eq!(status_of::<Dummy>(h ^ (1 << 56)), WB_E_HANDLE, "another fork epoch in a process that never forked");
    assert_eq!(status_of::<Dummy>(h | (0xf << 60)), WB_E_HANDLE, "no kind");

    handle::retain::<Dummy>(h).unwrap();
    let held = handle::get::<Dummy>(h).unwrap();
    assert_eq!(handle::references(&held), 2);
    handle::release::<Dummy>(h).unwrap();
    handle::release::<Dummy>(h).unwrap();
    assert_eq!(status_of::<Dummy>(h), WB_E_STALE, "references are gone, though a call still holds the object");
    assert_eq!(handle::release::<Dummy>(h).unwrap_err().status, WB_E_STALE);
    assert_eq!(handle::retain::<Dummy>(h).unwrap_err().status, WB_E_STALE);
    assert_eq!((counts.dropped(), counts.abandoned.load(Ordering::SeqCst)), (0, 1));
    drop(held);
    assert_eq!(counts.dropped(), 1);
    assert_eq!(status_of::<Dummy>(h), WB_E_STALE);
    assert_eq!(status_of::<Other>(h), WB_E_KIND, "was one of another kind");
}

#[test]
fn stale_handles_stay_stale_when_slots_are_used_again() {
    let counts = Counts::new();
    let old: Vec<u64> = (0..1000)
        .map(|_| {
            let h = counts.object();
            handle::release::<Dummy>(h).unwrap();
            h
        })
        .collect();
    let live: Vec<u64> = (0..1000).map(|_| counts.object()).collect();
    for h in &old {
        assert_eq!(status_of::<Dummy>(*h), WB_E_STALE);
    }
    let slots: std::collections::HashSet<u64> = old.iter().chain(&live).map(|h| h >> 32).collect();
    assert!(slots.len() < 2000, "slots are used again");
    let distinct: std::collections::HashSet<&u64> = old.iter().chain(&live).collect();
    assert_eq!(distinct.len(), 2000, "handles are not");
    for h in live {
        handle::release::<Dummy>(h).unwrap();
    }
    assert_eq!(counts.dropped(), 2000);
}

#[test]
fn threads_that_race_for_a_handle_drop_its_object_once() {
    const ROUNDS: usize = 300;
    let counts = Counts::new();
    for _ in 0..ROUNDS {
        let h = counts.object();
        let used = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for n in 0..4 {
                let (counts, used) = (&counts, &used);
                scope.spawn(move || {
                    for _ in 0..20 {
                        if let Ok(held) = handle::get::<Dummy>(h) {
                            assert!(Arc::ptr_eq(&held.dropped, &counts.dropped));
                            used.fetch_add(1, Ordering::Relaxed);
                        }
                        if n == 0 && handle::retain::<Dummy>(h).is_ok() {
                            handle::release::<Dummy>(h).unwrap();
                        }
                    }
                    if n == 1 {
                        handle::release::<Dummy>(h).unwrap();
                    }
                });
            }
        });
        assert_eq!(status_of::<Dummy>(h), WB_E_STALE);
    }
    assert_eq!(counts.dropped(), ROUNDS);
    assert_eq!(counts.abandoned.load(Ordering::SeqCst), ROUNDS);
}

#[test]
fn statuses_have_a_name_each() {
    let mut names = std::collections::HashSet::new();
    for number in -41..=2 {
        let name = status::name(number);
        assert_ne!(name, c"WB_E_?", "{number}");
        assert!(names.insert(name), "{name:?} twice");
    }
    assert_eq!(status::name(-42), c"WB_E_?");
    assert_eq!(status::name(i32::MIN), c"WB_E_?");
}

fn last() -> wb_error_info {
    let mut info = Fail::new(WB_OK, "").info();
    // SAFETY: a live local of the right size.
    assert_eq!(unsafe { wb_last_error(&raw mut info) }, WB_OK);
    info
}

fn text_of(info: &wb_error_info) -> String {
    info.text.iter().take(info.text_len as usize).map(|c| char::from(c.cast_unsigned())).collect()
}

#[test]
fn a_panic_becomes_a_status_with_its_text() {
    let number = 7;
    assert_eq!(fence(|| panic!("broken {number}")), WB_E_PANIC);
    let info = last();
    assert_eq!((info.status, text_of(&info).as_str()), (WB_E_PANIC, "broken 7"));
    assert_eq!(fence(|| Ok(WB_PARTIAL)), WB_PARTIAL);
    assert_eq!(last().status, WB_E_PANIC, "success leaves the detail alone");
    assert_eq!(fence(|| Err(Fail::invalid("no"))), WB_E_INVALID);
    assert_eq!(last().origin, WB_ORIGIN_LOCAL);
    std::thread::spawn(|| assert_eq!(last().status, WB_OK)).join().unwrap();
}

#[test]
fn long_text_is_cut_between_characters() {
    let mut out = [1; 8];
    assert_eq!(copy_text(&mut out, "abcdefghij"), 7);
    assert_eq!(out[7], 0, "terminated, whatever was there");
    let mut out = [1; 8];
    assert_eq!(copy_text(&mut out, "abcdef\u{20ac}"), 6);
    assert_eq!(out[6], 0);
    assert_eq!(copy_text(&mut [], "x"), 0);
}

#[test]
fn arguments_are_checked() {
    let numbers = [1u32, 2, 3];
    // SAFETY: live arrays; refused pointers are never read.
    unsafe {
        assert_eq!(args::slice(numbers.as_ptr(), 3, "n").unwrap(), &numbers);
        assert!(args::slice(core::ptr::null::<u32>(), 0, "n").unwrap().is_empty());
        assert_eq!(args::slice(core::ptr::null::<u32>(), 1, "n").unwrap_err().status, WB_E_INVALID);
        assert_eq!(args::slice(numbers.as_ptr(), usize::MAX / 2, "n").unwrap_err().status, WB_E_RANGE);
        let odd = numbers.as_ptr().cast::<u8>().add(1).cast::<u32>();
        assert_eq!(args::slice(odd, 1, "n").unwrap_err().status, WB_E_INVALID);
        assert_eq!(args::text(c"z".as_ptr(), usize::MAX, "t").unwrap(), "z");
        assert_eq!(args::text(c"\xff".as_ptr(), 1, "t").unwrap_err().status, WB_E_UTF8);
        assert_eq!(args::text(core::ptr::null(), usize::MAX, "t").unwrap_err().status, WB_E_INVALID);
    }
}

unsafe extern "C" fn count(ctx: *mut c_void) {
    // SAFETY: the tests pass a counter that outlives the call.
    unsafe { &*ctx.cast::<AtomicUsize>() }.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn a_context_ends_once_or_is_given_back() {
    let calls = AtomicUsize::new(0);
    let pointer = (&raw const calls).cast_mut().cast::<c_void>();
    drop(Context::new(pointer, Some(count)));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    Context::new(pointer, Some(count)).forget();
    drop(Context::new(pointer, None));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[test]
fn muting_waits_for_the_callback_that_runs_and_lets_no_other_in() {
    let gate = Arc::new(Gate::default());
    let (inside, leave) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let worker = {
        let (gate, inside, leave) = (Arc::clone(&gate), Arc::clone(&inside), Arc::clone(&leave));
        std::thread::spawn(move || {
            assert!(gate.enter());
            inside.store(true, Ordering::SeqCst);
            while !leave.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            gate.leave();
        })
    };
    while !inside.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    gate.mute();
    assert!(!gate.enter());
    assert!(!gate.wait_quiet(Some(Duration::from_millis(5))));
    leave.store(true, Ordering::SeqCst);
    assert!(gate.wait_quiet(None));
    worker.join().unwrap();
    assert!(!super::events::in_user_code());
    user_code(|| assert!(super::events::in_user_code()));
}

#[test]
fn close_reasons_become_statuses() {
    let around = |established, unreachable, http3| Circumstances {
        remote: "192.0.2.1:443".parse().unwrap(),
        established,
        unreachable,
        http3_failure: None,
        http3,
    };
    let plain = around(true, 0, false);
    let peer = |code, app| CloseReason::Peer { code, app, frame_type: 6, reason: Box::from(&b"why\n"[..]) };
    let cases: Vec<(CloseReason, Circumstances, wb_status, u32, u32)> = vec![
        (CloseReason::Local { code: 9 }, around(true, 0, false), WB_E_CLOSED_LOCAL, WB_ORIGIN_LOCAL, 0),
        (peer(0, true), around(true, 0, false), WB_E_CLOSED_PEER, WB_ORIGIN_PEER, 0),
        (peer(codes::h3::NO_ERROR, true), around(true, 0, true), WB_E_CLOSED_PEER, WB_ORIGIN_PEER, 0),
        (peer(codes::h3::NO_ERROR, true), around(true, 0, false), WB_E_APPLICATION, WB_ORIGIN_PEER, 0),
        (peer(codes::h3::FRAME_ERROR, true), around(true, 0, true), WB_E_H3, WB_ORIGIN_PEER, 0),
        (peer(codes::qpack::DECOMPRESSION_FAILED, true), around(true, 0, true), WB_E_QPACK, WB_ORIGIN_PEER, 0),
        (peer(0x0130, false), around(false, 0, false), WB_E_TLS, WB_ORIGIN_PEER, 48),
        (peer(codes::transport::CONNECTION_REFUSED, false), around(false, 0, false), WB_E_TRANSPORT, WB_ORIGIN_PEER, 0),
        (
            CloseReason::Transport(TransportError::new(0x0130, "unknown authority")),
            around(false, 0, false),
            WB_E_VERIFY,
            WB_ORIGIN_LOCAL,
            48,
        ),
        (
            CloseReason::Transport(TransportError::new(0x0178, "no protocol in common")),
            around(false, 0, false),
            WB_E_TLS,
            WB_ORIGIN_LOCAL,
            120,
        ),
        (
            CloseReason::Transport(TransportError::new(codes::transport::NO_VIABLE_PATH, "")),
            around(false, libc::ECONNREFUSED, false),
            WB_E_UNREACHABLE,
            WB_ORIGIN_SYSTEM,
            0,
        ),
        (CloseReason::HandshakeTimeout, around(false, 0, false), WB_E_TIMEOUT, WB_ORIGIN_LOCAL, 0),
        (CloseReason::IdleTimeout, around(false, 0, false), WB_E_TIMEOUT, WB_ORIGIN_LOCAL, 0),
        (CloseReason::IdleTimeout, around(true, 0, false), WB_E_IDLE, WB_ORIGIN_NONE, 0),
        (CloseReason::StatelessReset, around(true, 0, false), WB_E_CLOSED_PEER, WB_ORIGIN_PEER, 0),
        (CloseReason::VersionMismatch(Box::from([7])), around(false, 0, false), WB_E_VERSION, WB_ORIGIN_PEER, 0),
    ];
    for (reason, circumstances, status, origin, alert) in cases {
        let fail = fail_of(&reason, &circumstances);
        assert_eq!((fail.status, fail.origin, fail.tls_alert), (status, origin, alert), "{reason:?}");
        assert!(!fail.text.is_empty() && !fail.text.contains('\n'), "{:?}", fail.text);
    }
    let fail = fail_of(&peer(0x0a, false), &plain);
    assert_eq!((fail.wire_code, fail.frame_type, fail.application), (0x0a, 6, 0));
}

#[test]
fn addresses_cross_and_come_back() {
    for text in ["192.0.2.7:4433", "[2001:db8::1]:1", "0.0.0.0:0", "[fe80::1%3]:9"] {
        let given: std::net::SocketAddr = text.parse().unwrap();
        assert_eq!(address::from_public(&address::public(given)), Some(given));
    }
    assert_eq!(address::from_public(&wb_addr::default()), None);
    let short = [0u8; 16];
    // SAFETY: live memory of the length given.
    unsafe {
        assert!(address::read(short.as_ptr().cast(), 1).is_err());
        assert!(address::read(short.as_ptr().cast(), 16).is_err(), "family 0");
        assert!(address::read_optional(core::ptr::null(), 0).unwrap().is_none());
    }
}

#[test]
fn versions_and_their_order_come_from_text() {
    use crate::base::codes::{VERSION_1, VERSION_2};
    let config = |lines: &[&str]| {
        let mut handle = 0;
        // SAFETY: the place is writable.
        let made = unsafe { wb_config_new(WB_CONFIG_CONN, &raw mut handle) };
        assert_eq!(made, WB_OK);
        // SAFETY: the lines are readable.
        let statuses = lines.iter().map(|l| unsafe { wb_config_parse(handle, l.as_ptr().cast(), l.len()) });
        let status = statuses.fold(WB_OK, |a, s| if a == WB_OK { s } else { a });
        let connection = settings(handle, WB_CONFIG_CONN).map(|s| s.connection.clone());
        let Ok(connection) = connection else { panic!("settings") };
        assert_eq!(wb_handle_release(handle), WB_OK);
        (status, connection)
    };
    let (status, c) = config(&["transport.versions=0x6b3343cf, 1", "transport.version=1", "transport.spin_bit=on"]);
    assert_eq!((status, c.versions.clone(), c.initial_version), (WB_OK, vec![VERSION_2, VERSION_1], Some(VERSION_1)));
    assert!(c.choose_version && c.spin_bit);
    let (status, c) = config(&["transport.version=0x6b3343cf"]);
    assert_eq!((status, c.versions.clone(), c.initial_version), (WB_OK, vec![VERSION_1, VERSION_2], Some(VERSION_2)));
    assert!(!c.choose_version && !c.spin_bit);
    let (status, c) = config(&["transport.versions=1"]);
    assert_eq!((status, c.versions.clone()), (WB_OK, vec![VERSION_1]));
    for bad in ["transport.versions=7", "transport.versions=1;2", "transport.versions=v2"] {
        assert_eq!(config(&[bad]).0, WB_E_RANGE, "{bad}");
    }
}
