//! Network addresses across the boundary.
use super::abi::wb_addr;
use super::args;
use super::error::Fail;
use super::status::WB_E_UNSUPPORTED;
use libc::sockaddr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Reads a system address of IPv4 or IPv6.
///
/// # Safety
/// `address` is readable for `len` bytes.
pub(crate) unsafe fn read(address: *const sockaddr, len: u32) -> Result<SocketAddr, Fail> {
    let len = len as usize;
    // SAFETY: passed on. By bytes, because the caller's memory need not be aligned for what it holds.
    let bytes = unsafe { args::bytes(address.cast(), len, "address")? };
    if bytes.len() < size_of::<libc::sa_family_t>() + 1 {
        return Err(Fail::invalid("the address is too short"));
    }
    let mut storage: libc::sockaddr_storage = {
        // SAFETY: all-zero is a valid sockaddr_storage.
        unsafe { core::mem::zeroed() }
    };
    let n = bytes.len().min(size_of::<libc::sockaddr_storage>());
    // SAFETY: both sides have `n` bytes and do not overlap.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut storage).cast::<u8>(), n) };
    match i32::from(storage.ss_family) {
        libc::AF_INET if n >= size_of::<libc::sockaddr_in>() => {
            // SAFETY: large and aligned enough, and of this family.
            let v4 = unsafe { &*(&raw const storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Ok(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 if n >= size_of::<libc::sockaddr_in6>() => {
            // SAFETY: large and aligned enough, and of this family.
            let v6 = unsafe { &*(&raw const storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Ok(SocketAddr::V6(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id)))
        }
        libc::AF_INET | libc::AF_INET6 => Err(Fail::invalid("the address is too short for its family")),
        family => Err(Fail::new(WB_E_UNSUPPORTED, format!("address family {family} is not IP"))),
    }
}

/// As `read`; null is "none".
///
/// # Safety
/// As `read`.
pub(crate) unsafe fn read_optional(address: *const sockaddr, len: u32) -> Result<Option<SocketAddr>, Fail> {
    if address.is_null() {
        return Ok(None);
    }
    // SAFETY: passed on.
    unsafe { read(address, len) }.map(Some)
}

/// The public form.
pub(crate) fn public(address: SocketAddr) -> wb_addr {
    let mut out = wb_addr { family: 4, port: address.port(), scope: 0, ip: [0; 16] };
    match address {
        SocketAddr::V4(v4) => {
            for (o, b) in out.ip.iter_mut().zip(v4.ip().octets()) {
                *o = b;
            }
        }
        SocketAddr::V6(v6) => {
            out.family = 6;
            out.scope = v6.scope_id();
            out.ip = v6.ip().octets();
        }
    }
    out
}

/// Back from the public form.
pub(crate) fn from_public(address: &wb_addr) -> Option<SocketAddr> {
    match address.family {
        4 => {
            let [a, b, c, d, ..] = address.ip;
            Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), address.port))
        }
        6 => {
            let ip = Ipv6Addr::from(address.ip);
            Some(SocketAddr::V6(SocketAddrV6::new(ip, address.port, 0, address.scope)))
        }
        _ => None,
    }
}
