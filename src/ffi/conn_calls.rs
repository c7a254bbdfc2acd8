//! `wb_conn_*` and `wb_path_*`.
use super::abi::*;
use super::address;
use super::args;
use super::buf::BufObject;
use super::config;
use super::conn::{ConnObject, MAX_TARGETS, PathObject};
use super::endpoint::EndpointObject;
use super::error::{Fail, fence};
use super::handle;
use super::object::publish;
use super::runtime::runtime_fail;
use super::status::*;
use super::tls::TlsObject;
use crate::collections::Chunk;
use crate::streams::DatagramError;
use core::ffi::{c_char, c_void};
use libc::sockaddr;

/// Largest application error code (RFC 9000 section 20.2): a 62-bit integer.
pub(super) const MAX_CODE: u64 = (1 << 62) - 1;

/// Longest reason that is sent: it has to fit into one small packet (RFC 9000 section 19.19).
const MAX_REASON: usize = 512;

/// Writes handles into the caller's array; gives back what found no room.
///
/// # Safety
/// `out` is writable for `capacity` handles and `count` for one number.
unsafe fn put_handles(
    handles: &[u64],
    out: *mut u64,
    capacity: usize,
    count: *mut usize,
) -> Result<(wb_status, usize), Fail> {
    // SAFETY: passed on.
    let room = unsafe { args::slice_mut(out, capacity, "handles")? };
    // SAFETY: passed on.
    unsafe { args::put(count, handles.len(), "count")? };
    let mut given = 0;
    for (slot, handle) in room.iter_mut().zip(handles) {
        *slot = *handle;
        given += 1;
    }
    Ok((if given < handles.len() { WB_PARTIAL } else { WB_OK }, given))
}

/// Makes a client connection object, idle and silent until started, so that user data can be set without a race.
/// `config` is of kind `WB_CONFIG_CONN`, or 0 for defaults.
///
/// Ownership: `*out` is the caller's; configuration and TLS object are frozen and kept. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_TLS`, `WB_E_CLOSED_LOCAL` (the endpoint is closed), `WB_E_STATE` (the runtime
/// is). Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_conn_open(
    endpoint: wb_endpoint,
    config: wb_config,
    tls: wb_tls,
    out: *mut wb_conn,
) -> wb_status {
    fence(|| {
        args::non_null(out, "connection")?;
        let endpoint = handle::get::<EndpointObject>(endpoint)?.arc();
        let tls = handle::get::<TlsObject>(tls)?.arc();
        let settings = config::settings(config, WB_CONFIG_CONN)?;
        let handle = publish(&ConnObject::outgoing(&endpoint, settings, tls)?, false)?;
        // SAFETY: checked above; writable by contract.
        unsafe { args::put(out, handle, "connection")? };
        Ok(WB_OK)
    })
}

/// Starts connecting to a host (name or IP address as text, also the name in the certificate) and port. `host_len` may be
/// `WB_TEXT_Z`. Of a name's addresses (at most 8, IPv6 and IPv4 in turn) the next is tried when the last one has failed, or has
/// not answered for 250 ms, beside those that were begun; the first that answers with TLS's keys is the connection (RFC 8305).
/// Once the application has opened a stream for early data, no other address is tried. On a core, whose caller has the clock, the
/// next one is tried on failure only.
///
/// Ownership: the text stays the caller's. Threads: any. Blocks: never; the name is resolved on a library thread.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_UTF8`, `WB_E_STATE` (already started, or the endpoint is closed),
/// `WB_E_CLOSED_LOCAL`, `WB_E_OS`, `WB_E_TLS`. What fails
/// later comes with CONN_CLOSED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_conn_start(conn: wb_conn, host: *const c_char, host_len: usize, port: u16) -> wb_status {
    fence(|| {
        let conn = handle::get::<ConnObject>(conn)?.arc();
        // SAFETY: readable by contract.
        conn.start(unsafe { args::text(host, host_len, "host")? }, port)?;
        Ok(WB_OK)
    })
}

/// Starts connecting to one address, with the server name for TLS (SNI and certificate).
///
/// Ownership: address and text stay the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_UTF8`, `WB_E_STATE`, `WB_E_CLOSED_LOCAL`, `WB_E_OS`, `WB_E_TLS`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_conn_start_address(
    conn: wb_conn,
    address: *const sockaddr,
    address_len: u32,
    server_name: *const c_char,
    server_name_len: usize,
) -> wb_status {
    fence(|| {
        let conn = handle::get::<ConnObject>(conn)?.arc();
        // SAFETY: readable by contract.
        let (address, name) =
            unsafe { (address::read(address, address_len)?, args::text(server_name, server_name_len, "server name")?) };
        if name.is_empty() {
            return Err(Fail::invalid("the server name is missing"));
        }
        conn.start_among([address].into(), name)?;
        Ok(WB_OK)
    })
}

/// Starts connecting to the first of several addresses that answers, for programs that resolve names by themselves; otherwise as
/// `wb_conn_start_address`. They are tried as `wb_conn_start` says, in the order given.
///
/// Ownership: addresses and text stay the caller's. Threads: any. Blocks: never.
/// Errors: as `wb_conn_start_address`, `WB_E_RANGE` (none, or more than 8). Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_conn_start_addresses(
    conn: wb_conn,
    addresses: *const wb_addr,
    count: usize,
    server_name: *const c_char,
    server_name_len: usize,
) -> wb_status {
    fence(|| {
        let conn = handle::get::<ConnObject>(conn)?.arc();
        if count == 0 || count > MAX_TARGETS {
            return Err(Fail::new(WB_E_RANGE, format!("1 to {MAX_TARGETS} addresses are tried")));
        }
        // SAFETY: readable by contract.
        let (addresses, name) = unsafe {
            (args::slice(addresses, count, "addresses")?, args::text(server_name, server_name_len, "server name")?)
        };
        if name.is_empty() {
            return Err(Fail::invalid("the server name is missing"));
        }
        let targets: Option<_> = addresses.iter().map(address::from_public).collect();
        conn.start_among(targets.ok_or_else(|| Fail::invalid("an address is of no known family"))?, name)?;
        Ok(WB_OK)
    })
}

/// Closes the connection with an application code and a reason for the peer's log. CONN_CLOSED follows. Data not yet
/// delivered are lost: finish the streams first. Idempotent. With HTTP/3, code 0 is sent as H3_NO_ERROR.
///
/// Ownership: the text stays the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_RANGE` (code over 2^62 - 1). Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_conn_close(
    conn: wb_conn,
    code: u64,
    reason: *const c_char,
    reason_len: usize,
) -> wb_status {
    fence(|| {
        let conn = handle::get::<ConnObject>(conn)?.arc();
        if code > MAX_CODE {
            return Err(Fail::new(WB_E_RANGE, "an error code has 62 bits"));
        }
        // SAFETY: readable by contract.
        let reason = unsafe { args::text(reason, reason_len, "reason")? }.as_bytes();
        conn.close(code, reason.get(..MAX_REASON).unwrap_or(reason));
        Ok(WB_OK)
    })
}

/// Version, ALPN, server name, cipher, addresses and state.
///
/// Ownership: the caller's struct is filled. Threads: any. Blocks: never. Errors: handle errors, `WB_E_INVALID`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_conn_info(conn: wb_conn, out: *mut wb_conn_desc) -> wb_status {
    fence(|| {
        let conn = handle::get::<ConnObject>(conn)?;
        // SAFETY: struct_size bytes are writable by contract.
        unsafe { args::fill(out, conn.describe())? };
        Ok(WB_OK)
    })
}

/// Counters since the start; they stay readable after the end.
///
/// Ownership: the caller's struct is filled. Threads: any. Blocks: never. Errors: handle errors, `WB_E_INVALID`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_conn_stats(conn: wb_conn, out: *mut wb_conn_counters) -> wb_status {
    fence(|| {
        let conn = handle::get::<ConnObject>(conn)?;
        // SAFETY: struct_size bytes are writable by contract.
        unsafe { args::fill(out, conn.counters())? };
        Ok(WB_OK)
    })
}

/// Why the connection ended: which side, wire code, frame type, TLS alert, system error and text. While it lives the
/// struct's status is `WB_OK`.
///
/// Ownership: the caller's struct is filled. Threads: any. Blocks: never. Errors: handle errors, `WB_E_INVALID`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_conn_error(conn: wb_conn, out: *mut wb_error_info) -> wb_status {
    fence(|| {
        let conn = handle::get::<ConnObject>(conn)?;
        // SAFETY: struct_size bytes are writable by contract.
        unsafe { args::fill(out, conn.error_info())? };
        Ok(WB_OK)
    })
}

/// The peer's certificate chain, DER, own certificate first. Fills up to `capacity` buffers; `*count` gets the length
/// of the chain. `WB_PARTIAL` when there are more.
///
/// Ownership: the buffers are the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_STATE` (handshake not done). Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_conn_peer_chain(
    conn: wb_conn,
    out: *mut wb_buf,
    capacity: usize,
    count: *mut usize,
) -> wb_status {
    fence(|| {
        let conn = handle::get::<ConnObject>(conn)?;
        args::non_null(count, "count")?;
        // SAFETY: writable by contract; checked before anything is made.
        unsafe { args::slice_mut(out, capacity, "buffers")? };
        let chain =
            conn.wire()?.inspect(|s| (!s.connection.is_handshaking()).then(|| s.connection.peer_certificates()));
        let chain = chain.ok_or_else(|| Fail::new(WB_E_STATE, "the handshake is not done"))?;
        let mut handles = Vec::new();
        for der in chain {
            match BufObject::publish(Chunk::from_vec(der)) {
                Ok(handle) => handles.push(handle),
                Err(fail) => {
                    release_all(&handles);
                    return Err(fail);
                }
            }
        }
        // SAFETY: as above.
        let (status, given) = unsafe { put_handles(&handles, out, capacity, count)? };
        release_all(handles.get(given..).unwrap_or(&[]));
        Ok(status)
    })
}

fn release_all(handles: &[u64]) {
    for handle in handles {
        let _ = handle::release::<BufObject>(*handle);
    }
}

/// Asks for a key update (RFC 9001 section 6): it starts at once or, while the handshake is not confirmed or nothing under the
/// present keys is acknowledged (section 6.1), before the first packet for which it may. KEY_UPDATED follows then; asking
/// again before that changes nothing.
///
/// Ownership: unchanged. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_STATE` (not started), `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_conn_key_update(conn: wb_conn) -> wb_status {
    fence(|| {
        let conn = handle::get::<ConnObject>(conn)?;
        conn.wire()?.with(|s, now| {
            conn.check_state(s)?;
            s.connection.key_update(now);
            Ok(WB_OK)
        })
    })
}

/// Changes a setting of a living connection, one of these keys of a connection configuration (units as there):
/// `WB_KEY_KEEP_ALIVE_MS`, from now on. `WB_KEY_MAX_IDLE_MS`, silence after which this side ends the connection, counted from
/// the call at the earliest: the peer keeps the value that it was told (RFC 9000 section 10.1), so a longer one is refused, and
/// a shorter one ends with CONN_CLOSED (`WB_E_IDLE`) here and a CONNECTION_CLOSE without error for the peer; the configured value
/// takes it back. `WB_KEY_STREAM_WINDOW` (of all streams, also those to come), `WB_KEY_CONN_WINDOW`, `WB_KEY_MAX_STREAMS_BIDI`
/// and `_UNI`: more than before; the peer is told by MAX_STREAM_DATA, MAX_DATA and MAX_STREAMS. What was promised is not taken
/// back, so less than the configuration or the last call said is refused. The other keys hold for a connection's whole life.
///
/// Ownership: unchanged. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_UNKNOWN_KEY`, `WB_E_INVALID` (the key takes bytes), `WB_E_RANGE` (not a value of this key, or one
/// that would take back what the peer was told), `WB_E_FROZEN` (the key cannot change any more), `WB_E_STATE` (a client before
/// CONNECTED), `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_conn_set_u64(conn: wb_conn, key: u32, value: u64) -> wb_status {
    fence(|| {
        handle::get::<ConnObject>(conn)?.set_live(key, value)?;
        Ok(WB_OK)
    })
}

/// Sends an unreliable datagram (RFC 9221). `tag` comes back in DATAGRAM_STATE events; 0 asks for none.
///
/// Ownership: the bytes stay the caller's, they are copied. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_UNSUPPORTED` (the peer takes none), `WB_E_RANGE` (too large),
/// `WB_E_WOULD_BLOCK` (too many waiting), `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_conn_datagram_send(conn: wb_conn, data: *const c_void, len: usize, tag: u64) -> wb_status {
    fence(|| {
        let conn = handle::get::<ConnObject>(conn)?;
        // SAFETY: readable by contract.
        let bytes = unsafe { args::bytes(data, len, "datagram")? };
        // Refused before it is copied: no UDP payload holds it.
        if len > usize::from(u16::MAX) {
            return Err(Fail::new(WB_E_RANGE, format!("a datagram of {len} bytes fits in no packet")));
        }
        conn.wire()?.with(|s, _| {
            conn.check_state(s)?;
            s.connection.datagram_send(Chunk::copy_from(bytes), tag).map_err(|e| match e {
                DatagramError::Unsupported => Fail::new(WB_E_UNSUPPORTED, "the peer takes no datagrams"),
                DatagramError::TooLarge { max } => {
                    Fail::new(WB_E_RANGE, format!("a datagram can have {max} bytes now, not {len}"))
                }
                DatagramError::Blocked => Fail::new(WB_E_WOULD_BLOCK, "too many datagrams wait already"),
            })?;
            Ok(WB_OK)
        })
    })
}

/// Keying material for the application (RFC 8446 section 7.5): fills `out_len` bytes.
///
/// Ownership: all memory is the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_STATE` (handshake not done), `WB_E_TLS`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_conn_export(
    conn: wb_conn,
    label: *const c_char,
    label_len: usize,
    context: *const c_void,
    context_len: usize,
    out: *mut c_void,
    out_len: usize,
) -> wb_status {
    fence(|| {
        let conn = handle::get::<ConnObject>(conn)?;
        // SAFETY: readable by contract.
        let (label, context) =
            unsafe { (args::text(label, label_len, "label")?, args::bytes(context, context_len, "context")?) };
        // SAFETY: writable by contract.
        let out = unsafe { args::slice_mut(out.cast::<u8>(), out_len, "output")? };
        if out.is_empty() {
            return Err(Fail::invalid("no output asked for"));
        }
        conn.wire()?.inspect(|s| {
            if s.connection.is_handshaking() {
                return Err(Fail::new(WB_E_STATE, "the handshake is not done"));
            }
            if s.connection.export(label.as_bytes(), context, out) {
                Ok(WB_OK)
            } else {
                Err(Fail::new(WB_E_TLS, "the exporter refused"))
            }
        })
    })
}

/// Client: moves the connection to a new socket on another local address (null: any address, new port). The new path
/// is validated, then used; PATH_VALIDATED and PATH_MIGRATED, or PATH_FAILED, report.
///
/// Ownership: the address stays the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_STATE` (handshake not confirmed, or a server),
/// `WB_E_UNSUPPORTED` (the peer forbids it), `WB_E_LIMIT` (no connection ID left), `WB_E_BUSY`, `WB_E_OS`,
/// `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_conn_migrate(conn: wb_conn, address: *const sockaddr, len: u32) -> wb_status {
    fence(|| {
        let conn = handle::get::<ConnObject>(conn)?;
        // SAFETY: readable by contract.
        let local = unsafe { address::read_optional(address, len)? };
        let wire = conn.wire()?;
        wire.inspect(|s| conn.check_state(s))?;
        wire.migrate(local).map_err(|e| runtime_fail(&e))?;
        Ok(WB_OK)
    })
}

/// The paths of a connection. Fills up to `capacity` handles; `*count` gets how many there are. `WB_PARTIAL` when there
/// are more.
///
/// Ownership: the handles are the caller's. Threads: any. Blocks: never. Errors: handle errors, `WB_E_INVALID`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_path_list(
    conn: wb_conn,
    out: *mut wb_path,
    capacity: usize,
    count: *mut usize,
) -> wb_status {
    fence(|| {
        let conn = handle::get::<ConnObject>(conn)?.arc();
        args::non_null(count, "count")?;
        // SAFETY: writable by contract; checked before references are taken.
        unsafe { args::slice_mut(out, capacity, "paths")? };
        let handles = conn.path_handles()?;
        // SAFETY: as above.
        let (status, given) = unsafe { put_handles(&handles, out, capacity, count)? };
        for handle in handles.get(given..).unwrap_or(&[]) {
            let _ = handle::release::<PathObject>(*handle);
        }
        Ok(status)
    })
}

/// Addresses, state, round trip, window and MTU of a path. A path that is gone keeps its last values.
///
/// Ownership: the caller's struct is filled. Threads: any. Blocks: never. Errors: handle errors, `WB_E_INVALID`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_path_info(path: wb_path, out: *mut wb_path_desc) -> wb_status {
    fence(|| {
        let path = handle::get::<PathObject>(path)?;
        // SAFETY: struct_size bytes are writable by contract.
        unsafe { args::fill(out, path.describe())? };
        Ok(WB_OK)
    })
}
