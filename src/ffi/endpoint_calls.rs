//! `wb_endpoint_*`, addresses, and the two helpers that make small programs small.
use super::abi::*;
use super::address;
use super::args;
use super::config;
use super::conn::ConnObject;
use super::endpoint::EndpointObject;
use super::error::{Fail, fence};
use super::handle;
use super::object::publish;
use super::runtime::RuntimeObject;
use super::status::*;
use super::tls::TlsObject;
use crate::endpoint::Limits;
use core::ffi::c_char;
use libc::sockaddr;
use std::net::{IpAddr, SocketAddr};

/// Makes an endpoint without sockets. `config` is of kind `WB_CONFIG_ENDPOINT`, or 0 for defaults.
///
/// Ownership: `*out` is the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_STATE` (the runtime is closed). Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_endpoint_open(runtime: wb_runtime, config: wb_config, out: *mut wb_endpoint) -> wb_status {
    fence(|| {
        args::non_null(out, "endpoint")?;
        let runtime = handle::get::<RuntimeObject>(runtime)?.arc();
        let settings = config::settings(config, WB_CONFIG_ENDPOINT)?;
        let endpoint = EndpointObject::new(&runtime, settings, false)?;
        let handle = publish(&endpoint, false)?;
        // SAFETY: checked above; writable by contract.
        unsafe { args::put(out, handle, "endpoint")? };
        Ok(WB_OK)
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
        let endpoint = handle::get::<EndpointObject>(endpoint)?.arc();
        // SAFETY: readable by contract.
        let address = unsafe { address::read(address, len)? };
        endpoint.bind(address, None)?;
        Ok(WB_OK)
    })
}

/// Takes over a UDP socket that is bound already, from a parent, a privileged helper or a process that is being replaced.
/// Several may be given, best as many as there are workers.
///
/// Ownership: on success the descriptor is the library's, on failure it stays the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID` (no bound UDP socket), `WB_E_OS`, `WB_E_STATE`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_endpoint_adopt(endpoint: wb_endpoint, fd: isize) -> wb_status {
    fence(|| {
        let endpoint = handle::get::<EndpointObject>(endpoint)?.arc();
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0);
        endpoint.adopt(fd.ok_or_else(|| Fail::invalid("not a descriptor"))?)?;
        Ok(WB_OK)
    })
}

/// Duplicates the endpoint's sockets, for a process that takes over its port; this endpoint goes on until it is closed.
/// Fills up to `capacity` descriptors, closed on exec; `*count` gets how many sockets there are. `WB_PARTIAL` when there
/// are more.
///
/// Ownership: the descriptors are the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_STATE` (not bound), `WB_E_OS`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_endpoint_export(
    endpoint: wb_endpoint,
    fds: *mut isize,
    capacity: usize,
    count: *mut usize,
) -> wb_status {
    fence(|| {
        let endpoint = handle::get::<EndpointObject>(endpoint)?;
        args::non_null(count, "count")?;
        // SAFETY: writable by contract.
        let room = unsafe { args::slice_mut(fds, capacity, "descriptors")? };
        let all = endpoint.export()?;
        let (have, given) = (all.len(), all.len().min(room.len()));
        for (slot, fd) in room.iter_mut().zip(all) {
            *slot = std::os::fd::IntoRawFd::into_raw_fd(fd) as isize;
        }
        // SAFETY: checked above; writable by contract.
        unsafe { args::put(count, have, "count")? };
        Ok(if given < have { WB_PARTIAL } else { WB_OK })
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
        let endpoint = handle::get::<EndpointObject>(endpoint)?;
        match handle::get_optional::<TlsObject>(tls)? {
            Some(tls) => endpoint.listen(config::settings(config, WB_CONFIG_CONN)?, tls.arc())?,
            None => endpoint.stop_listening(),
        }
        Ok(WB_OK)
    })
}

/// Refuses new connections with CONNECTION_REFUSED (RFC 9000 section 5.2.2) while `on` is 1, and takes them again when it is 0;
/// those that are there go on. Before listening too. An attempt that waits for its decision can still be accepted.
///
/// Ownership: unchanged. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_RANGE`, `WB_E_CLOSED_LOCAL`, `WB_E_STATE` (the runtime is closed). Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_endpoint_pause(endpoint: wb_endpoint, on: u8) -> wb_status {
    fence(|| {
        let endpoint = handle::get::<EndpointObject>(endpoint)?;
        if on > 1 {
            return Err(Fail::new(WB_E_RANGE, "on is 0 or 1"));
        }
        endpoint.check_open()?;
        endpoint.load.pause(on == 1);
        Ok(WB_OK)
    })
}

/// Sets how much clients may begin, at any time; what is there already goes on. Replaces all limits that were set before: one
/// that is 0 is lifted. ENDPOINT_BUSY tells when a limit starts and ends to turn clients away.
///
/// Ownership: the struct stays the caller's. Threads: any. Blocks: never. Errors: handle errors, `WB_E_INVALID`, `WB_E_RANGE`
/// (`struct_size`), `WB_E_CLOSED_LOCAL`, `WB_E_STATE` (the runtime is closed). Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_endpoint_limits(endpoint: wb_endpoint, limits: *const wb_limits) -> wb_status {
    fence(|| {
        let endpoint = handle::get::<EndpointObject>(endpoint)?;
        // SAFETY: readable by contract; numbers only.
        let given = unsafe { args::read(limits)? };
        endpoint.check_open()?;
        let limit = |n: u64| (n != 0).then(|| usize::try_from(n).unwrap_or(usize::MAX));
        endpoint.set_limits(Limits {
            connections: limit(given.max_connections),
            handshakes: limit(given.max_handshakes),
            retry_from: limit(given.retry_handshakes),
        });
        Ok(WB_OK)
    })
}

/// The address that the endpoint is bound to.
///
/// Ownership: the caller's struct is filled. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_STATE` (not bound). Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_endpoint_address(endpoint: wb_endpoint, out: *mut wb_addr) -> wb_status {
    fence(|| {
        let endpoint = handle::get::<EndpointObject>(endpoint)?;
        args::non_null(out, "address")?;
        let address = address::public(endpoint.address()?);
        // SAFETY: checked above; writable by contract.
        unsafe { args::put(out, address, "address")? };
        Ok(WB_OK)
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
        let endpoint = handle::get::<EndpointObject>(endpoint)?;
        // SAFETY: readable by contract.
        endpoint.rebind(unsafe { address::read_optional(address, len)? })?;
        Ok(WB_OK)
    })
}

/// Closes the endpoint: its connections end (see `WB_CLOSE_GRACEFUL`), its sockets are closed, ENDPOINT_CLOSED is
/// reported. Idempotent.
///
/// Ownership: unchanged. Threads: any. Blocks: never. Errors: handle errors, `WB_E_INVALID` (mode). Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_endpoint_close(endpoint: wb_endpoint, mode: u32) -> wb_status {
    fence(|| {
        let endpoint = handle::get::<EndpointObject>(endpoint)?;
        if !matches!(mode, WB_CLOSE_GRACEFUL | WB_CLOSE_NOW) {
            return Err(Fail::invalid("unknown close mode"));
        }
        let endpoint = endpoint.arc();
        if mode == WB_CLOSE_GRACEFUL {
            endpoint.close_gracefully()
        } else {
            endpoint.close()
        }
        Ok(WB_OK)
    })
}

/// Client helper: endpoint, connection and start in one call. `config` (kind `WB_CONFIG_CONN`) may be 0. The endpoint
/// is the library's own and ends with the connection. Set user data in the callback, or attach a queue to the runtime
/// before.
///
/// Ownership: `*out` is the caller's, the text stays the caller's. Threads: any. Blocks: never; the name is resolved
/// on a library thread. Errors: handle errors, `WB_E_INVALID`, `WB_E_UTF8`, `WB_E_OS`, `WB_E_TLS`, `WB_E_STATE` (the
/// runtime is closed). What fails later
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
        args::non_null(out, "connection")?;
        let runtime = handle::get::<RuntimeObject>(runtime)?.arc();
        let tls = handle::get::<TlsObject>(tls)?.arc();
        let settings = config::settings(config, WB_CONFIG_CONN)?;
        // SAFETY: readable by contract.
        let host = unsafe { args::text(host, host_len, "host")? };
        let none = config::settings(0, WB_CONFIG_ENDPOINT)?;
        let endpoint = EndpointObject::new(&runtime, none, true)?;
        let started = start_client(&endpoint, settings, tls, host, port);
        let handle = started.inspect_err(|_| endpoint.close())?;
        // SAFETY: checked above; writable by contract.
        unsafe { args::put(out, handle, "connection")? };
        Ok(WB_OK)
    })
}

fn start_client(
    endpoint: &std::sync::Arc<EndpointObject>,
    settings: std::sync::Arc<config::Settings>,
    tls: std::sync::Arc<TlsObject>,
    host: &str,
    port: u16,
) -> Result<u64, Fail> {
    let conn = ConnObject::outgoing(endpoint, settings, tls)?;
    let handle = publish(&conn, false)?;
    conn.start(host, port).inspect_err(|_| {
        // No event may come of a call that failed.
        conn.cancel_silently();
        let _ = handle::release::<ConnObject>(handle);
    })?;
    Ok(handle)
}

/// Server helper: endpoint, bind and listen in one call. `address` is an IP address as text ("0.0.0.0", "::"),
/// `config` (kind `WB_CONFIG_CONN`) may be 0.
///
/// Ownership: `*out` is the caller's, the text stays the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID` (not an address), `WB_E_UTF8`, `WB_E_BUSY`, `WB_E_OS`, `WB_E_TLS`,
/// `WB_E_STATE` (the runtime is closed). Since: 0.1.
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
        args::non_null(out, "endpoint")?;
        let runtime = handle::get::<RuntimeObject>(runtime)?.arc();
        let tls = handle::get::<TlsObject>(tls)?.arc();
        let settings = config::settings(config, WB_CONFIG_CONN)?;
        // SAFETY: readable by contract.
        let text = unsafe { args::text(address, address_len, "address")? };
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        let ip: IpAddr =
            bare.parse().map_err(|_| Fail::new(WB_E_INVALID, format!("\"{text}\" is not an IP address")))?;
        let none = config::settings(0, WB_CONFIG_ENDPOINT)?;
        tls.server()?;
        let endpoint = EndpointObject::new(&runtime, none, false)?;
        let handle = publish(&endpoint, false)?;
        let started = endpoint
            .bind(SocketAddr::new(ip, port), settings.qlog_dir.as_ref())
            .and_then(|()| endpoint.listen(settings, tls));
        started.inspect_err(|_| {
            endpoint.cancel_silently();
            let _ = handle::release::<EndpointObject>(handle);
        })?;
        // SAFETY: checked above; writable by contract.
        unsafe { args::put(out, handle, "endpoint")? };
        Ok(WB_OK)
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
        let address = args::non_null(address.cast_mut(), "address")?;
        // SAFETY: not null, aligned, readable by contract.
        let text = match address::from_public(unsafe { &*address }) {
            Some(address) => address.to_string(),
            None => return Err(Fail::invalid("the address is of no family")),
        };
        // SAFETY: writable by contract.
        let out = unsafe { args::slice_mut(out, capacity, "text")? };
        if out.len() <= text.len() {
            return Err(Fail::new(WB_E_RANGE, "no room for the address"));
        }
        let n = super::error::copy_text(out, &text);
        if !len.is_null() {
            // SAFETY: writable by contract.
            unsafe { args::put(len, n as usize, "length")? };
        }
        Ok(WB_OK)
    })
}
