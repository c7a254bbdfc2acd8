//! Failures inside the C ABI: `Fail` travels through `Result`, `leave` turns it into a status and
//! keeps its detail for the thread. Also the fence that no panic crosses.
use super::abi::{WB_ORIGIN_LOCAL, WB_ORIGIN_NONE, WB_ORIGIN_SYSTEM, wb_error_info};
use super::status::{self, wb_status};
use crate::base::sync::thread_local;
use core::cell::RefCell;
use core::ffi::c_char;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Why a call failed, or why an object ended: the source of every `wb_error_info`.
#[derive(Clone, Debug)]
pub(crate) struct Fail {
    pub status: wb_status,
    /// `WB_ORIGIN_*`.
    pub origin: u32,
    pub wire_code: u64,
    pub frame_type: u64,
    pub tls_alert: u32,
    pub os_error: i32,
    /// 1 when `wire_code` is an application code (CONNECTION_CLOSE of type 0x1d).
    pub application: u32,
    pub text: Cow<'static, str>,
}

pub(crate) type Outcome = Result<wb_status, Fail>;

impl Fail {
    /// A failure of this call, nothing from the wire.
    pub fn new(status: wb_status, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            origin: WB_ORIGIN_LOCAL,
            wire_code: 0,
            frame_type: 0,
            tls_alert: 0,
            os_error: 0,
            application: 0,
            text: text.into(),
        }
    }

    pub fn invalid(text: &'static str) -> Self {
        Self::new(status::WB_E_INVALID, text)
    }

    /// An error of the operating system; an address or port in use has its own status.
    pub fn os(what: &str, error: &std::io::Error) -> Self {
        let status = match error.kind() {
            std::io::ErrorKind::AddrInUse => status::WB_E_BUSY,
            std::io::ErrorKind::OutOfMemory => status::WB_E_NO_MEMORY,
            std::io::ErrorKind::ConnectionRefused
            | std::io::ErrorKind::HostUnreachable
            | std::io::ErrorKind::NetworkUnreachable => status::WB_E_UNREACHABLE,
            _ => status::WB_E_OS,
        };
        let mut fail = Self::new(status, format!("{what}: {error}"));
        fail.origin = WB_ORIGIN_SYSTEM;
        fail.os_error = error.raw_os_error().unwrap_or(0);
        fail
    }

    /// The public form; text that is too long is cut at a character.
    pub fn info(&self) -> wb_error_info {
        let mut info = wb_error_info {
            struct_size: size_of::<wb_error_info>() as u32,
            status: self.status,
            origin: self.origin,
            os_error: self.os_error,
            wire_code: self.wire_code,
            frame_type: self.frame_type,
            tls_alert: self.tls_alert,
            application: self.application,
            text_len: 0,
            reserved: 0,
            text: [0; 248],
        };
        info.text_len = copy_text(&mut info.text, &self.text);
        info
    }
}

/// Copies text into a fixed field, terminated, cut at a character boundary; tells the length.
pub(crate) fn copy_text(out: &mut [c_char], text: &str) -> u32 {
    let mut end = text.len().min(out.len().saturating_sub(1));
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    for (o, b) in out.iter_mut().zip(text.as_bytes().iter().take(end)) {
        *o = *b as c_char;
    }
    // The room may be the caller's, with anything in it.
    if let Some(terminator) = out.get_mut(end) {
        *terminator = 0;
    }
    end as u32
}

thread_local! {
    static LAST: RefCell<Option<Fail>> = const { RefCell::new(None) };
}

#[inline(never)]
fn remember(fail: Fail) -> wb_status {
    let status = fail.status;
    // A destructor of another thread-local may call us after LAST is gone: then there is nothing to remember.
    let _ = LAST.try_with(|last| last.replace(Some(fail)));
    status
}

/// Runs the body of an exported function: a failure becomes a status and the thread's last error, a panic
/// becomes `WB_E_PANIC`.
#[inline]
pub(crate) fn fence(body: impl FnOnce() -> Outcome) -> wb_status {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(status)) => status,
        Ok(Err(fail)) => remember(fail),
        Err(payload) => caught(payload),
    }
}

#[cold]
fn caught(payload: Box<dyn std::any::Any + Send>) -> wb_status {
    let status = remember(panicked(payload.as_ref()));
    // The payload's own destructor is foreign code too.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
    status
}

/// The failure that describes a caught panic.
pub(crate) fn panicked(payload: &(dyn std::any::Any + Send)) -> Fail {
    let text = payload
        .downcast_ref::<&'static str>()
        .map(|s| (*s).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic".to_owned());
    Fail::new(status::WB_E_PANIC, text)
}

/// Copies the detail of this thread's last failing call. When no call has failed yet, the status is `WB_OK`.
/// The detail stays until the next failing call on this thread; successful calls leave it alone.
///
/// Ownership: the caller's struct is filled, `struct_size` must be set. Threads: any, each has its own.
/// Blocks: never. Errors: `WB_E_INVALID`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_last_error(out: *mut wb_error_info) -> wb_status {
    // Not through `fence`: a bad `out` must not replace the detail that was asked for.
    let info = LAST.try_with(|last| last.borrow().as_ref().map(Fail::info)).ok().flatten();
    let info = info.unwrap_or_else(|| {
        let mut none = Fail::new(status::WB_OK, "");
        none.origin = WB_ORIGIN_NONE;
        none.info()
    });
    // SAFETY: the caller gives a struct of at least `struct_size` bytes, as the header asks.
    match unsafe { super::args::fill(out, info) } {
        Ok(()) => status::WB_OK,
        Err(fail) => fail.status,
    }
}
