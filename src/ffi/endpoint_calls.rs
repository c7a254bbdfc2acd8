//! `wb_endpoint_*`, addresses, and the two helpers that make small programs small.
use super::abi::*;
use super::error::fence;
use super::status::wb_status;
use core::ffi::c_char;
use libc::sockaddr;

/// Makes an endpoint without sockets. `config` is of kind `WB_CONFIG_ENDPOINT`, or 0 for defaults.
///
/// Ownership: `*out` is the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_STATE` (the runtime is closed). Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_endpoint_open(runtime: wb_runtime, config: wb_config, out: *mut wb_endpoint) -> wb_status {
    fence(|| {
        let _ = (runtime, config, out);
        todo!()
    })
}

/// Binds the endpoint's sockets now, one per worker where the system can share a port. Port 0 lets the system
/// choose. A client that does not bind gets a socket with its first connection.
///
/// Ownership: the address stays the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_BUSY` (address in use), `WB_E_OS`, `WB_E_STATE`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_endpoint_bind(endpoint: wb_endpoint, address: *const sockaddr, len: u32) -> wb_status {
    fence(|| {
        let _ = (endpoint, address, len);
        todo!()
    })
}

/// Accepts connections with this configuration (kind `WB_CONFIG_CONN`, or 0) and TLS object (server). `tls` 0 stops
/// listening; existing connections go on.
///
/// Ownership: unchanged; both are frozen and kept. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_STATE` (not bound), `WB_E_TLS`, `WB_E_INVALID` (role). Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_endpoint_listen(endpoint: wb_endpoint, config: wb_config, tls: wb_tls) -> wb_status {
    fence(|| {
        let _ = (endpoint, config, tls);
        todo!()
    })
}

/// The address that the endpoint is bound to.
///
/// Ownership: the caller's struct is filled. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_STATE` (not bound). Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_endpoint_address(endpoint: wb_endpoint, out: *mut wb_addr) -> wb_status {
    fence(|| {
        let _ = (endpoint, out);
        todo!()
    })
}

/// Replaces the endpoint's socket by one on another local address (null: any address, new port) under its
/// connections, which migrate to it by themselves, as when a telephone changes its network.
///
/// Ownership: the address stays the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_BUSY`, `WB_E_OS`, `WB_E_STATE`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_endpoint_rebind(endpoint: wb_endpoint, address: *const sockaddr, len: u32) -> wb_status {
    fence(|| {
        let _ = (endpoint, address, len);
        todo!()
    })
}

/// Closes the endpoint: its connections end (`WB_CLOSE_GRACEFUL`: after their requests; `WB_CLOSE_NOW`: at once),
/// its sockets are closed, ENDPOINT_CLOSED is reported. Idempotent.
///
/// Ownership: unchanged. Threads: any. Blocks: never. Errors: handle errors, `WB_E_INVALID` (mode). Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_endpoint_close(endpoint: wb_endpoint, mode: u32) -> wb_status {
    fence(|| {
        let _ = (endpoint, mode);
        todo!()
    })
}

/// Client helper: endpoint, connection and start in one call. `config` (kind `WB_CONFIG_CONN`) may be 0. The endpoint
/// is the library's own and ends with the connection. Set user data in the callback, or attach a queue to the runtime
/// before.
///
/// Ownership: `*out` is the caller's, the text stays the caller's. Threads: any. Blocks: never; the name is resolved
/// on a library thread. Errors: handle errors, `WB_E_INVALID`, `WB_E_UTF8`, `WB_E_OS`, `WB_E_TLS`. What fails later
/// comes with CONN_CLOSED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_client_connect(
    runtime: wb_runtime,
    config: wb_config,
    tls: wb_tls,
    host: *const c_char,
    host_len: usize,
    port: u16,
    out: *mut wb_conn,
) -> wb_status {
    fence(|| {
        let _ = (runtime, config, tls, host, host_len, port, out);
        todo!()
    })
}

/// Server helper: endpoint, bind and listen in one call. `address` is an IP address as text ("0.0.0.0", "::"),
/// `config` (kind `WB_CONFIG_CONN`) may be 0.
///
/// Ownership: `*out` is the caller's, the text stays the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID` (not an address), `WB_E_UTF8`, `WB_E_BUSY`, `WB_E_OS`, `WB_E_TLS`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_server_listen(
    runtime: wb_runtime,
    config: wb_config,
    tls: wb_tls,
    address: *const c_char,
    address_len: usize,
    port: u16,
    out: *mut wb_endpoint,
) -> wb_status {
    fence(|| {
        let _ = (runtime, config, tls, address, address_len, port, out);
        todo!()
    })
}

/// Writes an address as text, "192.0.2.1:443" or "[2001:db8::1]:443", terminated; 64 bytes are always enough.
/// `*len` (may be null) gets the length without the terminator.
///
/// Ownership: the caller's memory is filled. Threads: any. Blocks: never.
/// Errors: `WB_E_INVALID`, `WB_E_RANGE` (`capacity` too small). Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_addr_text(
    address: *const wb_addr,
    out: *mut c_char,
    capacity: usize,
    len: *mut usize,
) -> wb_status {
    fence(|| {
        let _ = (address, out, capacity, len);
        todo!()
    })
}
