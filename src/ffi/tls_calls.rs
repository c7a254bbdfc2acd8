//! `wb_tls_*` for servers that live long: identities by number, decisions, keys that a fleet shares.
use super::abi::*;
use super::args;
use super::endpoint::EndpointObject;
use super::error::{Fail, fence};
use super::handle;
use super::status::*;
use super::tls::TlsObject;
use core::ffi::c_void;

/// Length of a shared key.
const KEY: usize = 32;
/// Keys that are accepted at a time: every attempt to open a ticket or token may try all.
const MAX_KEYS: usize = 16;

/// Optional bytes: null with length 0 is none.
///
/// # Safety
/// Readable for `len` bytes.
unsafe fn optional<'a>(data: *const c_void, len: usize, what: &'static str) -> Result<Option<&'a [u8]>, Fail> {
    if data.is_null() && len == 0 {
        return Ok(None);
    }
    // SAFETY: passed on.
    unsafe { args::bytes(data, len, what) }.map(Some)
}

/// `count` keys that stand one after the other.
///
/// # Safety
/// Readable for `count` times 32 bytes.
unsafe fn keys(data: *const c_void, count: usize) -> Result<Vec<[u8; KEY]>, Fail> {
    if count > MAX_KEYS {
        return Err(Fail::new(WB_E_RANGE, "more than 16 keys"));
    }
    // SAFETY: passed on; the product is small.
    let bytes = unsafe { args::bytes(data, count * KEY, "keys")? };
    let (keys, _) = bytes.as_chunks::<KEY>();
    if keys.iter().any(|k| k.iter().all(|b| *b == 0)) {
        return Err(Fail::invalid("a key of zeros is no key"));
    }
    Ok(keys.to_vec())
}

/// Adds an identity: certificate chain (own certificate first) and private key from memory, each PEM or DER (a chain in
/// DER: certificates one after the other). Without a key (null, 0) the key is elsewhere: each handshake that needs it
/// asks with `WB_EV_DECIDE_SIGN`; a client with such an identity does not resume sessions. `*id` (may be null) gets the
/// identity's number.
///
/// Ownership: the bytes stay the caller's, they are copied. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_TLS` (unreadable, or key and certificate do not match), `WB_E_FROZEN`.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_tls_identity_add(
    tls: wb_tls,
    chain: *const c_void,
    chain_len: usize,
    key: *const c_void,
    key_len: usize,
    id: *mut u32,
) -> wb_status {
    fence(|| {
        let tls = handle::get::<TlsObject>(tls)?;
        // SAFETY: readable by contract.
        let (chain, key) = unsafe { (args::bytes(chain, chain_len, "certificates")?, optional(key, key_len, "key")?) };
        let number = tls.add_identity(chain, key)?;
        if !id.is_null() {
            // SAFETY: writable by contract.
            unsafe { args::put(id, number, "number")? };
        }
        Ok(WB_OK)
    })
}

/// Replaces the identity with this number, on a server also while it serves: handshakes that begin from now on use
/// the new one, others are not disturbed. Without a chain (null, 0) the identity is removed.
///
/// Ownership: the bytes stay the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_RANGE` (no such number), `WB_E_TLS`, `WB_E_FROZEN` (a client in use).
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_tls_identity_replace(
    tls: wb_tls,
    id: u32,
    chain: *const c_void,
    chain_len: usize,
    key: *const c_void,
    key_len: usize,
) -> wb_status {
    fence(|| {
        let tls = handle::get::<TlsObject>(tls)?;
        // SAFETY: readable by contract.
        let (chain, key) = unsafe { (optional(chain, chain_len, "certificates")?, optional(key, key_len, "key")?) };
        tls.replace_identity(id, chain.map(|chain| (chain, key)))?;
        Ok(WB_OK)
    })
}

/// Chooses which decisions the application takes: a set of `WB_DECIDE_IDENTITY` (server), `WB_DECIDE_VERIFY` and
/// `WB_DECIDE_EARLY` (server). With verify, what the configured check says comes with the question, and the application
/// has the last word; a resumed session is not asked about again. With early, the application keeps the store that tells
/// replayed early data from new ones, for all servers that share ticket keys; each offer that could be taken is asked about
/// once. (`WB_KEY_ADMIT` asks for admission, an identity without key for signatures.)
///
/// Ownership: unchanged. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_UNSUPPORTED`, `WB_E_FROZEN`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_tls_decisions(tls: wb_tls, mask: u32) -> wb_status {
    fence(|| handle::get::<TlsObject>(tls)?.ask(mask))
}

/// Sets the keys that seal session tickets, `count` times 32 bytes one after the other, also while in use: the first
/// seals, all open. Servers that share them resume each other's sessions. To rotate, put a new key in front and drop the
/// last. With 0 keys (default) sessions are kept in this process and each is good for early data once. With keys, early
/// data are taken only with `WB_DECIDE_EARLY`, because a ticket can be shown to every server that has the keys.
///
/// Ownership: the bytes stay the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID` (role, or a key of zeros), `WB_E_RANGE` (over 16 keys). Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_tls_ticket_keys(tls: wb_tls, keys_data: *const c_void, count: usize) -> wb_status {
    fence(|| {
        let tls = handle::get::<TlsObject>(tls)?;
        // SAFETY: readable by contract.
        tls.set_ticket_keys(unsafe { keys(keys_data, count)? })
    })
}

/// Sets the secrets of address tokens and stateless resets, `count` (at least 1) times 32 bytes one after the other, also
/// while in use: the first makes, all are accepted. Servers behind one address share them; kept over a restart, clients
/// keep their tokens and hear of lost connections at once. By default they are random and of this process.
///
/// Ownership: the bytes stay the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID` (a key of zeros), `WB_E_RANGE` (none, or over 16), `WB_E_CLOSED_LOCAL`, `WB_E_STATE`.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_endpoint_secrets(
    endpoint: wb_endpoint,
    keys_data: *const c_void,
    count: usize,
) -> wb_status {
    fence(|| {
        let endpoint = handle::get::<EndpointObject>(endpoint)?.arc();
        // SAFETY: readable by contract.
        let keys = unsafe { keys(keys_data, count)? };
        let Some((current, previous)) = keys.split_first() else {
            return Err(Fail::new(WB_E_RANGE, "at least one secret is needed"));
        };
        endpoint.set_secrets(current, previous)?;
        Ok(WB_OK)
    })
}
