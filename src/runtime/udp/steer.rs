//! Steering of datagrams between the workers of one port: a classic BPF program on the reuse-port group.
//!
//! The first byte of every connection ID that we issue names its worker, masked by the three bytes behind it and the
//! endpoint's secret (`endpoint::cid_source`), which the program undoes; a client's first, random one lands anywhere but
//! always in the same place. A datagram that the kernel gives to the wrong worker all the same (no BPF, another family's
//! group) goes through the hand-off queue, so this is speed, not correctness.
use std::io;

use crate::endpoint::cid_source::ShardMask;

/// One classic BPF instruction, laid out as the kernel's `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    pub code: u16,
    pub jump_true: u8,
    pub jump_false: u8,
    pub value: u32,
}

const LOAD_BYTE: u16 = 0x30;
/// 32 bits, big endian, at X plus the value.
const LOAD_WORD_AT_X: u16 = 0x40;
const LOAD_X: u16 = 0x01;
const JUMP: u16 = 0x05;
const JUMP_IF_ANY_BIT: u16 = 0x45;
const STORE: u16 = 0x02;
const LOAD_STORED: u16 = 0x60;
const X_FROM_STORED: u16 = 0x61;
const AND: u16 = 0x54;
const XOR: u16 = 0xa4;
const XOR_X: u16 = 0xac;
const MULTIPLY: u16 = 0x24;
const SHIFT_RIGHT: u16 = 0x74;
const MODULO: u16 = 0x94;
const RETURN_A: u16 = 0x16;

/// Header form bit (RFC 8999 section 5.1).
const LONG_HEADER: u32 = 0x80;
/// Where the Destination Connection ID starts (RFC 8999 sections 5.1 and 5.2).
const LONG_DCID_AT: u32 = 6;
const SHORT_DCID_AT: u32 = 1;

const fn op(code: u16, jump_true: u8, jump_false: u8, value: u32) -> Instruction {
    Instruction { code, jump_true, jump_false, value }
}

/// `ShardMask::shard(DCID) % workers` over a UDP payload. The kernel answers 0 for a load past the end.
#[must_use]
pub fn program(workers: u8, mask: ShardMask) -> [Instruction; 23] {
    let [a, b, c] = mask.0;
    [
        op(LOAD_BYTE, 0, 0, 0),
        op(JUMP_IF_ANY_BIT, 0, 2, LONG_HEADER),
        op(LOAD_X, 0, 0, LONG_DCID_AT),
        op(JUMP, 0, 0, 1),
        op(LOAD_X, 0, 0, SHORT_DCID_AT),
        op(LOAD_WORD_AT_X, 0, 0, 0),
        op(STORE, 0, 0, 0),
        op(AND, 0, 0, 0x00ff_ffff),
        op(XOR, 0, 0, a),
        op(MULTIPLY, 0, 0, b | 1),
        op(STORE, 0, 0, 1),
        op(SHIFT_RIGHT, 0, 0, 15),
        op(X_FROM_STORED, 0, 0, 1),
        op(XOR_X, 0, 0, 0),
        op(MULTIPLY, 0, 0, c | 1),
        op(SHIFT_RIGHT, 0, 0, 24),
        op(STORE, 0, 0, 1),
        op(LOAD_STORED, 0, 0, 0),
        op(SHIFT_RIGHT, 0, 0, 24),
        op(X_FROM_STORED, 0, 0, 1),
        op(XOR_X, 0, 0, 0),
        op(MODULO, 0, 0, u32::from(workers.max(1))),
        op(RETURN_A, 0, 0, 0),
    ]
}

/// `sock_fprog` with the gap behind its length written out, because the kernel copies the gap too.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[repr(C)]
struct Program {
    len: libc::c_ushort,
    gap: [u16; size_of::<usize>() / 2 - 1],
    filter: *mut libc::sock_filter,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const _: () = assert!(size_of::<Program>() == size_of::<libc::sock_fprog>());

/// Attaches [`program`] to the reuse-port group of `socket`; sockets count in the order of their binding.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn attach(socket: &socket2::Socket, workers: u8, mask: ShardMask) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let mut filter = program(workers, mask).map(|i| libc::sock_filter {
        code: i.code,
        jt: i.jump_true,
        jf: i.jump_false,
        k: i.value,
    });
    let fprog = Program {
        len: filter.len() as libc::c_ushort,
        gap: [0; size_of::<usize>() / 2 - 1],
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: `fprog` and the instructions it points to outlive the call, the kernel copies them.
    let rc = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const fprog).cast(),
            size_of::<Program>() as libc::socklen_t,
        )
    };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Elsewhere the kernel spreads by four-tuple and the hand-off queue does the rest.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn attach(_: &socket2::Socket, _: u8, _: ShardMask) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
