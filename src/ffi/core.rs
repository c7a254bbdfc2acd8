//! `wb_core_*`: a runtime that the application drives with its own clock, sockets and randomness.
//!
//! The handle is a runtime like any other; endpoints, connections, streams, queues and callbacks are the same objects. What
//! a threaded runtime does on helper threads waits for the next call here. Invariant: one call at a time; a second one, or
//! one from inside a callback, is refused.
use super::abi::*;
use super::address;
use super::args;
use super::config;
use super::error::{Fail, fence};
use super::handle;
use super::object::publish;
use super::runtime::RuntimeObject;
use super::status::*;
use crate::base::sync::{Mutex, MutexGuard};
use crate::base::{Ecn, Timestamp};
use crate::runtime::{Arrived, Driver, TooSmall, clock};
use core::ffi::c_void;
/// Length of the seed.
const SEED: usize = 32;

/// Work that a threaded runtime gives to a helper thread.
type Deferred = Box<dyn FnOnce() + Send>;

/// What makes a runtime a core.
pub(crate) struct CorePart {
    driver: Mutex<Driver>,
    deferred: Mutex<Vec<Deferred>>,
}

impl CorePart {
    pub fn new(driver: Driver) -> Self {
        Self { driver: Mutex::new(driver), deferred: Mutex::default() }
    }

    /// For the next call.
    pub fn defer(&self, work: impl FnOnce() + Send + 'static) {
        self.deferred.lock().push(Box::new(work));
    }

    fn run_deferred(&self) {
        let work = std::mem::take(&mut *self.deferred.lock());
        for item in work {
            item();
        }
    }

    pub fn lock(&self) -> Result<MutexGuard<'_, Driver>, Fail> {
        self.driver.try_lock().ok_or_else(|| {
            Fail::new(WB_E_THREAD, "the core is in use: by another thread, or by the caller of this callback")
        })
    }
}

/// A time of the caller; 0 is a time like any other to it, but not inside.
fn time(now_ns: i64) -> Result<Timestamp, Fail> {
    let now = u64::try_from(now_ns).map_err(|_| Fail::new(WB_E_RANGE, "the time is negative"))?;
    Ok(Timestamp(now.max(1)))
}

fn core_of(runtime: &RuntimeObject) -> Result<&CorePart, Fail> {
    runtime.core().ok_or_else(|| Fail::new(WB_E_STATE, "this runtime has threads of its own"))
}

/// Runs one call of the application on a core.
fn drive<R>(
    runtime: wb_runtime,
    now_ns: i64,
    act: impl FnOnce(&mut Driver, Timestamp) -> Result<R, Fail>,
) -> Result<R, Fail> {
    let runtime = handle::get::<RuntimeObject>(runtime)?.arc();
    let core = core_of(&runtime)?;
    let now = time(now_ns)?;
    let mut driver = core.lock()?;
    clock::pinned(now, || {
        core.run_deferred();
        let result = act(&mut driver, now);
        core.run_deferred();
        runtime.go_on_ending(&mut driver, now);
        result
    })
}

fn ecn_of(number: u32) -> Result<Ecn, Fail> {
    Ok(match number {
        0 => Ecn::NotEct,
        1 => Ecn::Ect1,
        2 => Ecn::Ect0,
        3 => Ecn::Ce,
        _ => return Err(Fail::new(WB_E_RANGE, "ECN is two bits")),
    })
}

const fn ecn_number(ecn: Ecn) -> u32 {
    match ecn {
        Ecn::NotEct => 0,
        Ecn::Ect1 => 1,
        Ecn::Ect0 => 2,
        Ecn::Ce => 3,
    }
}

/// Makes a core: a runtime without threads, sockets, clock and randomness, which `wb_core_recv` and `wb_core_transmit`
/// drive. All other functions work on it and on what is made with it, with these differences: it is used from one thread
/// at a time; callbacks run inside the two calls; an endpoint that is bound names an address under which datagrams come and go,
/// no socket (port 0 gets a number); hosts are given as IP addresses (with a name for TLS: `wb_conn_start_address`);
/// migration goes to such an address too; `wb_runtime_wait` does not wait, and `wb_queue_take` should not. `seed` is 32 secret random bytes, or null for the
/// system's: connection IDs, tokens and every choice follow from it. (TLS draws its keys from the system all the same.)
/// `config` is of kind `WB_CONFIG_RUNTIME`, or 0.
///
/// Ownership: `*out` is the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_RANGE` (seed length, time), `WB_E_OS`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_core_open(
    config: wb_config,
    seed: *const c_void,
    seed_len: usize,
    now_ns: i64,
    out: *mut wb_runtime,
) -> wb_status {
    fence(|| {
        args::non_null(out, "core")?;
        let settings = config::settings(config, WB_CONFIG_RUNTIME)?;
        // SAFETY: readable by contract.
        let given = unsafe { args::bytes(seed, seed_len, "seed")? };
        let mut bytes = [0; SEED];
        match given.len() {
            0 => crate::base::Rng::fill(&mut crate::runtime::SystemRng, &mut bytes),
            SEED => bytes.copy_from_slice(given),
            _ => return Err(Fail::new(WB_E_RANGE, "a seed has 32 bytes")),
        }
        let runtime = RuntimeObject::open_core(&settings, &bytes, time(now_ns)?)?;
        let handle = publish(&runtime, false)?;
        // SAFETY: checked above; writable by contract.
        unsafe { args::put(out, handle, "core")? };
        Ok(WB_OK)
    })
}

/// Gives datagrams that have arrived to a core, or only the time (`packet` null: timers run). Of the packet `data`, `len`,
/// `segment`, `ecn`, `remote` and `local` are read. Afterwards send what `wb_core_transmit` has until it has no more: events
/// arise in both calls.
///
/// Ownership: packet and bytes stay the caller's and are not changed. Threads: one at a time per core, not in its
/// callbacks. Blocks: never. Errors: handle errors, `WB_E_INVALID`, `WB_E_RANGE`, `WB_E_STATE` (not a core, or ended),
/// `WB_E_UNREACHABLE` (no endpoint of the core has this local address), `WB_E_THREAD`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_core_recv(runtime: wb_runtime, packet: *const wb_packet, now_ns: i64) -> wb_status {
    fence(|| {
        core_of(&*handle::get::<RuntimeObject>(runtime)?)?;
        if packet.is_null() {
            return drive(runtime, now_ns, |driver, now| {
                driver.advance(now);
                Ok(WB_OK)
            });
        }
        // SAFETY: struct_size is readable by contract.
        unsafe { args::check_whole(packet.cast_mut())? };
        // SAFETY: whole (checked), readable by contract.
        let given = unsafe { packet.read() };
        // SAFETY: readable by contract.
        let bytes = unsafe { args::bytes(given.data, given.len, "datagrams")? };
        let address = |a: &wb_addr| address::from_public(a).ok_or_else(|| Fail::invalid("an address is of no family"));
        let arrived = Arrived {
            local: address(&given.local)?,
            remote: address(&given.remote)?,
            ecn: ecn_of(given.ecn)?,
            segment: usize::try_from(given.segment).ok().filter(|s| *s > 0),
            bytes,
        };
        drive(runtime, now_ns, |driver, now| {
            if driver.receive(&arrived, now) {
                Ok(WB_OK)
            } else {
                Err(Fail::new(WB_E_UNREACHABLE, "no endpoint of the core has this local address"))
            }
        })
    })
}

/// Takes the next datagrams to be sent. Set `data` and `len` to memory for them; on success `len` bytes of it are filled,
/// and the other fields tell where they go: several datagrams of `segment` bytes each (the last may be shorter) or one
/// (`segment` 0), at most `max_segments` (0 counts as 1). 65536 bytes are always enough; one datagram is never longer than the
/// path allows. Call it until it has no more.
///
/// Ownership: the memory is the caller's. Threads: one at a time per core, not in its callbacks. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_RANGE` (too little memory; nothing was taken), `WB_E_WOULD_BLOCK` (nothing to
/// send now), `WB_E_STATE` (not a core), `WB_E_THREAD`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_core_transmit(
    runtime: wb_runtime,
    packet: *mut wb_packet,
    max_segments: u32,
    now_ns: i64,
) -> wb_status {
    fence(|| {
        // SAFETY: struct_size is readable by contract.
        unsafe { args::check_whole(packet)? };
        // SAFETY: whole (checked), readable by contract.
        let mut packet_now = unsafe { packet.read() };
        // SAFETY: writable by contract.
        let room = unsafe {
            args::slice_mut(packet_now.data.cast_mut().cast::<u8>(), packet_now.len, "memory for datagrams")?
        };
        let segments = usize::try_from(max_segments).unwrap_or(1);
        let sent = drive(runtime, now_ns, |driver, now| {
            driver
                .transmit(room, segments, now)
                .map_err(|TooSmall(needed)| Fail::new(WB_E_RANGE, format!("{needed} bytes are to be sent")))
        })?;
        let Some(sent) = sent else { return Err(Fail::new(WB_E_WOULD_BLOCK, "nothing to send now")) };
        packet_now.len = sent.len;
        packet_now.segment = sent.segment.map_or(0, |s| s as u64);
        packet_now.ecn = ecn_number(sent.ecn);
        packet_now.local = sent.local.map(address::public).unwrap_or_default();
        packet_now.remote = address::public(sent.remote);
        // SAFETY: checked above; struct_size bytes are writable by contract.
        unsafe { args::fill(packet, packet_now)? };
        Ok(WB_OK)
    })
}

/// When a core wants to be called next, even if nothing arrives: `*ns` gets the time, in the past when there is something to
/// send, or INT64_MAX.
///
/// Ownership: the caller's number is filled. Threads: one at a time per core. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_STATE` (not a core), `WB_E_THREAD`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_core_deadline(runtime: wb_runtime, ns: *mut i64) -> wb_status {
    fence(|| {
        let runtime = handle::get::<RuntimeObject>(runtime)?;
        let core = core_of(&runtime)?;
        args::non_null(ns, "time")?;
        let waiting = !core.deferred.lock().is_empty() || runtime.wants_to_end();
        let at = core.lock()?.deadline(Timestamp(1));
        let at = if waiting { Some(Timestamp(1)) } else { at };
        let at = at.map_or(i64::MAX, |at| i64::try_from(at.as_nanos()).unwrap_or(i64::MAX));
        // SAFETY: checked above; writable by contract.
        unsafe { args::put(ns, at, "time")? };
        Ok(WB_OK)
    })
}
