//! `wb_tls_*`: identities, trust, ALPN and key log, without a type of any TLS library.
use super::abi::*;
use super::error::fence;
use super::status::wb_status;
use core::ffi::{c_char, c_void};

/// Makes a TLS object for `WB_ROLE_CLIENT` or `WB_ROLE_SERVER`. Defaults: ALPN "h3"; a client verifies its peer
/// (with the system's roots when none are added), a server asks for no certificate. One object serves many
/// connections, and only connections of one object can resume each other's sessions.
///
/// Ownership: `*out` is the caller's. Threads: any. Blocks: never. Errors: `WB_E_INVALID`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_tls_new(role: u32, out: *mut wb_tls) -> wb_status {
    fence(|| {
        let _ = (role, out);
        todo!()
    })
}

/// Adds an identity: certificate chain (own certificate first) and private key, PEM in memory. A server may add
/// several; the host name that the client asks for chooses.
///
/// Ownership: the bytes stay the caller's, they are copied. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_TLS` (unreadable, or key and certificate do not match),
/// `WB_E_FROZEN`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_tls_identity_pem(
    tls: wb_tls,
    chain: *const c_void,
    chain_len: usize,
    key: *const c_void,
    key_len: usize,
) -> wb_status {
    fence(|| {
        let _ = (tls, chain, chain_len, key, key_len);
        todo!()
    })
}

/// Adds an identity from two PEM files; the names are terminated.
///
/// Ownership: the names stay the caller's. Threads: any. Blocks: for reading the files.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_UTF8`, `WB_E_OS` (with the file's name in the detail), `WB_E_TLS`,
/// `WB_E_FROZEN`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_tls_identity_files(tls: wb_tls, chain: *const c_char, key: *const c_char) -> wb_status {
    fence(|| {
        let _ = (tls, chain, key);
        todo!()
    })
}

/// Adds trusted roots, PEM in memory. With a length of 0: the system's store.
///
/// Ownership: the bytes stay the caller's. Threads: any. Blocks: never, except for reading the system's store.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_TLS`, `WB_E_FROZEN`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_tls_trust_add(tls: wb_tls, pem: *const c_void, len: usize) -> wb_status {
    fence(|| {
        let _ = (tls, pem, len);
        todo!()
    })
}

/// Adds trusted roots from a PEM file; the name is terminated.
///
/// Ownership: the name stays the caller's. Threads: any. Blocks: for reading the file.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_UTF8`, `WB_E_OS`, `WB_E_TLS`, `WB_E_FROZEN`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_tls_trust_file(tls: wb_tls, file: *const c_char) -> wb_status {
    fence(|| {
        let _ = (tls, file);
        todo!()
    })
}

/// Sets how the peer is verified: `WB_VERIFY_*`. A client knows NONE and REQUIRED.
///
/// Ownership: unchanged. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_UNSUPPORTED`, `WB_E_FROZEN`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_tls_verify_mode(tls: wb_tls, mode: u32) -> wb_status {
    fence(|| {
        let _ = (tls, mode);
        todo!()
    })
}

/// Sets the application protocols in order of preference, replacing the default.
///
/// Ownership: the names stay the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_RANGE` (a name is empty or over 255 bytes), `WB_E_FROZEN`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_tls_alpn(tls: wb_tls, names: *const wb_text, count: usize) -> wb_status {
    fence(|| {
        let _ = (tls, names, count);
        todo!()
    })
}

/// Allows (1) or forbids (0, default) early data. Early data can be replayed by an attacker: only for requests
/// that may happen twice.
///
/// Ownership: unchanged. Threads: any. Blocks: never. Errors: handle errors, `WB_E_FROZEN`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_tls_early_data(tls: wb_tls, allow: u8) -> wb_status {
    fence(|| {
        let _ = (tls, allow);
        todo!()
    })
}

/// Hands every TLS secret as a line in the NSS key log format to a function, on library threads. For debugging
/// only: who has these lines reads the traffic.
///
/// Ownership: `ctx` belongs to the TLS object until `destroy` (may be null). Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_FROZEN`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_tls_keylog(
    tls: wb_tls,
    function: wb_line_fn,
    ctx: *mut c_void,
    destroy: wb_destroy_fn,
) -> wb_status {
    fence(|| {
        let _ = (tls, function, ctx, destroy);
        todo!()
    })
}

/// Appends every TLS secret to a file in the NSS key log format, as SSLKEYLOGFILE of other programs does.
/// The name is terminated.
///
/// Ownership: the name stays the caller's. Threads: any. Blocks: for opening the file; later writes are made by
/// library threads. Errors: handle errors, `WB_E_INVALID`, `WB_E_UTF8`, `WB_E_OS`, `WB_E_FROZEN`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_tls_keylog_file(tls: wb_tls, file: *const c_char) -> wb_status {
    fence(|| {
        let _ = (tls, file);
        todo!()
    })
}
