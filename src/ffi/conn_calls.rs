//! `wb_conn_*` and `wb_path_*`.
use super::abi::*;
use super::error::fence;
use super::status::wb_status;
use core::ffi::{c_char, c_void};
use libc::sockaddr;

/// Makes a client connection object, idle and silent until started, so that user data can be set without a race.
/// `config` is of kind `WB_CONFIG_CONN`, or 0 for defaults.
///
/// Ownership: `*out` is the caller's; configuration and TLS object are frozen and kept. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_TLS`, `WB_E_STATE` (the endpoint is closed). Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_conn_open(
    endpoint: wb_endpoint,
    config: wb_config,
    tls: wb_tls,
    out: *mut wb_conn,
) -> wb_status {
    fence(|| {
        let _ = (endpoint, config, tls, out);
        todo!()
    })
}

/// Starts connecting to a host (name or IP address as text, also the name in the certificate) and port. Its addresses
/// are tried in turn. `host_len` may be `WB_TEXT_Z`.
///
/// Ownership: the text stays the caller's. Threads: any. Blocks: never; the name is resolved on a library thread.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_UTF8`, `WB_E_STATE` (already started), `WB_E_OS`, `WB_E_TLS`. What fails
/// later comes with CONN_CLOSED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_conn_start(conn: wb_conn, host: *const c_char, host_len: usize, port: u16) -> wb_status {
    fence(|| {
        let _ = (conn, host, host_len, port);
        todo!()
    })
}

/// Starts connecting to one address, with the server name for TLS (SNI and certificate).
///
/// Ownership: address and text stay the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_UTF8`, `WB_E_STATE`, `WB_E_OS`, `WB_E_TLS`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_conn_start_address(
    conn: wb_conn,
    address: *const sockaddr,
    address_len: u32,
    server_name: *const c_char,
    server_name_len: usize,
) -> wb_status {
    fence(|| {
        let _ = (conn, address, address_len, server_name, server_name_len);
        todo!()
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
        let _ = (conn, code, reason, reason_len);
        todo!()
    })
}

/// Version, ALPN, server name, cipher, addresses and state.
///
/// Ownership: the caller's struct is filled. Threads: any. Blocks: never. Errors: handle errors, `WB_E_INVALID`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_conn_info(conn: wb_conn, out: *mut wb_conn_desc) -> wb_status {
    fence(|| {
        let _ = (conn, out);
        todo!()
    })
}

/// Counters since the start; they stay readable after the end.
///
/// Ownership: the caller's struct is filled. Threads: any. Blocks: never. Errors: handle errors, `WB_E_INVALID`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_conn_stats(conn: wb_conn, out: *mut wb_conn_counters) -> wb_status {
    fence(|| {
        let _ = (conn, out);
        todo!()
    })
}

/// Why the connection ended: which side, wire code, frame type, TLS alert, system error and text. While it lives the
/// struct's status is `WB_OK`.
///
/// Ownership: the caller's struct is filled. Threads: any. Blocks: never. Errors: handle errors, `WB_E_INVALID`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_conn_error(conn: wb_conn, out: *mut wb_error_info) -> wb_status {
    fence(|| {
        let _ = (conn, out);
        todo!()
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
        let _ = (conn, out, capacity, count);
        todo!()
    })
}

/// Starts a key update (RFC 9001 section 6). KEY_UPDATED follows.
///
/// Ownership: unchanged. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_STATE` (too early), `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_conn_key_update(conn: wb_conn) -> wb_status {
    fence(|| {
        let _ = conn;
        todo!()
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
        let _ = (conn, data, len, tag);
        todo!()
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
        let _ = (conn, label, label_len, context, context_len, out, out_len);
        todo!()
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
        let _ = (conn, address, len);
        todo!()
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
        let _ = (conn, out, capacity, count);
        todo!()
    })
}

/// Addresses, state, round trip, window and MTU of a path. A path that is gone keeps its last values.
///
/// Ownership: the caller's struct is filled. Threads: any. Blocks: never. Errors: handle errors, `WB_E_INVALID`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_path_info(path: wb_path, out: *mut wb_path_desc) -> wb_status {
    fence(|| {
        let _ = (path, out);
        todo!()
    })
}
