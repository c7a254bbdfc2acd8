use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket as StdSocket};
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::*;
use crate::base::Ecn;
use crate::endpoint::cid_source::ShardMask;
use crate::runtime::clock;

const OPTIONS: SocketOptions =
    SocketOptions { recv_buffer: 1 << 20, send_buffer: 1 << 20, peer_errors: true, steer: Some(MASK) };
const MASK: ShardMask = ShardMask([0x1234_5678, 0x9e37_79b9, 0x85eb_ca6b]);

fn any4() -> SocketAddr {
    "127.0.0.1:0".parse().expect("address")
}

fn any6() -> SocketAddr {
    "[::1]:0".parse().expect("address")
}

fn one(addr: SocketAddr) -> UdpSocket {
    bind_group(addr, 1, &OPTIONS).expect("bind").pop().expect("one")
}

/// Receives until `bytes` have come or time is up.
fn collect(socket: &mut UdpSocket, bytes: usize) -> Vec<(Received, Vec<u8>)> {
    let mut arena = vec![0; RECV_SLOT * RECV_SLOTS];
    let mut out = Vec::new();
    let mut got = 0;
    let end = clock::now() + Duration::from_secs(5);
    while got < bytes && clock::now() < end {
        let mut runs = [None; RECV_SLOTS];
        match socket.receive(&mut arena, &mut runs) {
            Ok((n, _)) => {
                for (i, run) in runs.iter().take(n).flatten().enumerate() {
                    out.push((*run, arena[i * RECV_SLOT..][..run.len].to_vec()));
                    got += run.len;
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(1)),
            Err(e) => panic!("{e}"),
        }
    }
    out
}

#[test]
fn a_segmented_batch_arrives_whole_with_its_marks() {
    for addr in [any4(), any6()] {
        let (mut a, mut b) = (one(addr), one(addr));
        let batch: Vec<u8> = (0..1200 * 40 + 77).map(|i| (i / 1200) as u8).collect();
        assert_eq!(a.send(b.local(), None, Ecn::Ect0, &batch, Some(1200)), SendOutcome::Sent);
        let mut joined = Vec::new();
        for (run, bytes) in collect(&mut b, batch.len()) {
            assert_eq!(run.remote, a.local());
            assert_eq!(run.ecn, Ecn::Ect0);
            assert_eq!(run.local_ip, Some(addr.ip()));
            assert!(run.stride == 1200 || run.len <= 1200, "stride {} of {}", run.stride, run.len);
            joined.extend(bytes);
        }
        assert_eq!(joined, batch);
    }
}

#[test]
fn a_reply_leaves_from_the_address_that_was_asked() {
    let mut server = one("0.0.0.0:0".parse().expect("address"));
    let port = server.local().port();
    let client = StdSocket::bind("127.0.0.1:0").expect("bind");
    client.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
    let asked: SocketAddr = (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), port).into();
    client.send_to(b"hello", asked).expect("send");
    let got = collect(&mut server, 5);
    assert_eq!(got[0].0.local_ip, Some(asked.ip()));
    let outcome = server.send(got[0].0.remote, got[0].0.local_ip, Ecn::NotEct, b"world", None);
    assert_eq!(outcome, SendOutcome::Sent);
    let mut buf = [0; 16];
    let (n, from) = client.recv_from(&mut buf).expect("reply");
    assert_eq!((&buf[..n], from), (&b"world"[..], asked));
}

#[test]
fn a_port_in_use_is_an_error_also_when_it_is_shared() {
    let single = one(any4());
    let kind = |r: std::io::Result<Vec<UdpSocket>>| r.err().map(|e| e.kind());
    assert_eq!(kind(bind_group(single.local(), 1, &OPTIONS)), Some(std::io::ErrorKind::AddrInUse));
    assert_eq!(kind(bind_group(single.local(), 2, &OPTIONS)), Some(std::io::ErrorKind::AddrInUse));
    let group = bind_group(any4(), 2, &OPTIONS).expect("group");
    assert_eq!(group[0].local(), group[1].local());
    assert_eq!(kind(bind_group(group[0].local(), 2, &OPTIONS)), Some(std::io::ErrorKind::AddrInUse));
    assert_eq!(kind(bind_group(group[0].local(), 1, &OPTIONS)), Some(std::io::ErrorKind::AddrInUse));
}

#[test]
fn too_big_for_the_interface_is_told_apart() {
    let (mut a, b) = (one(any4()), one(any4()));
    assert_eq!(a.send(b.local(), None, Ecn::NotEct, &vec![0; 65_600], None), SendOutcome::TooBig);
    // The socket goes on as before.
    assert_eq!(a.send(b.local(), None, Ecn::NotEct, &[0; 2400], Some(1200)), SendOutcome::Sent);
}

#[test]
fn a_bad_source_address_does_not_cost_the_socket_its_offload() {
    let (mut a, b) = (one("0.0.0.0:0".parse().expect("address")), one(any4()));
    let before = a.max_segments();
    let gone = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    let outcome = a.send(b.local(), gone, Ecn::Ect0, &[0; 2400], Some(1200));
    assert!(matches!(outcome, SendOutcome::Failed { .. }), "{outcome:?}");
    assert_eq!(a.max_segments(), before);
}

#[cfg(target_os = "linux")]
#[test]
fn the_kernel_steers_by_the_connection_id() {
    for workers in [2usize, 3] {
        let mut group = bind_group(any4(), workers, &OPTIONS).expect("group");
        let to = group[0].local();
        let client = StdSocket::bind("127.0.0.1:0").expect("bind");
        let ids: Vec<[u8; 4]> = (0..=40u32).map(|n| n.wrapping_mul(0x9e37_79b9).to_be_bytes()).collect();
        let worker = |id: &[u8]| usize::from(MASK.shard(id).expect("four bytes")) % workers;
        for id in &ids {
            let mut short = [0x40u8; 40];
            short[1..5].copy_from_slice(id);
            client.send_to(&short, to).expect("send");
            let mut long = [0xc0u8; 60];
            long[5] = 8;
            long[6..10].copy_from_slice(id);
            client.send_to(&long, to).expect("send");
        }
        for (i, socket) in group.iter_mut().enumerate() {
            let mine = ids.iter().filter(|id| worker(&id[..]) == i).count();
            let got = collect(socket, mine * 100);
            let mut count = 0;
            for (run, bytes) in got {
                for datagram in bytes.chunks(run.stride) {
                    let id = if datagram[0] & 0x80 == 0 { &datagram[1..5] } else { &datagram[6..10] };
                    assert_eq!(worker(id), i);
                    count += 1;
                }
            }
            assert_eq!(count, mine * 2);
        }
    }
}

/// What the kernel does with the program, for every form of header.
fn interpret(program: &[Instruction], packet: &[u8]) -> u32 {
    let (mut a, mut x, mut stored) = (0u32, 0u32, [0u32; 16]);
    let mut pc = 0usize;
    loop {
        let i = program[pc];
        let at = i.value as usize;
        pc += 1;
        match i.code {
            0x30 => match packet.get(at) {
                Some(b) => a = u32::from(*b),
                None => return 0,
            },
            0x40 => match packet.get(at + x as usize..).and_then(|rest| rest.first_chunk()) {
                Some(word) => a = u32::from_be_bytes(*word),
                None => return 0,
            },
            0x01 => x = i.value,
            0x02 => stored[at] = a,
            0x60 => a = stored[at],
            0x61 => x = stored[at],
            0x05 => pc += at,
            0x45 => pc += usize::from(if a & i.value != 0 { i.jump_true } else { i.jump_false }),
            0x54 => a &= i.value,
            0xa4 => a ^= i.value,
            0xac => a ^= x,
            0x24 => a = a.wrapping_mul(i.value),
            0x74 => a >>= i.value,
            0x94 => a %= i.value,
            0x16 => return a,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

#[test]
fn the_steering_program_reads_the_shard() {
    let program = program(3, MASK);
    for n in 0..1000u32 {
        let id = n.wrapping_mul(0x9e37_79b9).to_be_bytes();
        let expected = u32::from(MASK.shard(&id).expect("four bytes")) % 3;
        assert_eq!(interpret(&program, &[&[0x40][..], &id, &[9; 3]].concat()), expected);
        assert_eq!(interpret(&program, &[&[0xc0, 0, 0, 0, 1, 8][..], &id].concat()), expected);
    }
    for short in [&[0xc0, 0, 0, 0, 1, 8, 1, 2, 3][..], &[0xc0, 0, 0, 0, 1], &[0x40, 1, 2, 3], &[0x40], &[]] {
        assert_eq!(interpret(&program, short), 0);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_unreachable_peer_is_reported_by_name() {
    for addr in [any4(), any6()] {
        let closed = StdSocket::bind(addr).expect("bind").local_addr().expect("address");
        let mut socket = one(addr);
        assert_eq!(socket.send(closed, None, Ecn::NotEct, b"anybody?", None), SendOutcome::Sent);
        std::thread::sleep(Duration::from_millis(20));
        let mut errors = Vec::new();
        drain_errors(socket.raw(), &mut errors);
        assert_eq!(errors, [PeerError { remote: closed, os_error: libc::ECONNREFUSED }]);
    }
}

#[test]
fn a_connected_socket_talks_to_its_peer_only() {
    let mut peer = one(any4());
    let mut socket = connect_raw(any4(), peer.local(), &OPTIONS).expect("connect");
    assert_eq!(socket.send(peer.local(), None, Ecn::NotEct, &[1; 2400], Some(1200)), SendOutcome::Sent);
    let got: usize = collect(&mut peer, 2400).iter().map(|(r, _)| r.len).sum();
    assert_eq!(got, 2400);
}

/// RFC 9000 section 9.6: a client that goes to its server's preferred address hears what comes from there, over either
/// family, and from the port that it had.
#[test]
fn a_connected_socket_that_turns_to_another_peer_hears_it() {
    for addr in [any4(), any6()] {
        let (first, mut second) = (one(addr), one(addr));
        let mut socket = connect_raw(addr, first.local(), &OPTIONS).expect("connect");
        let local = socket.local();
        assert!(!socket.take_renewed());
        assert_eq!(socket.send(second.local(), None, Ecn::NotEct, &[1; 100], None), SendOutcome::Sent);
        let from = collect(&mut second, 100)[0].0.remote;
        assert_eq!(from, local);
        assert_eq!(second.send(from, None, Ecn::NotEct, &[2; 200], None), SendOutcome::Sent);
        let heard = collect(&mut socket, 200);
        assert_eq!(heard.iter().map(|(r, b)| (r.remote, b.len())).collect::<Vec<_>>(), [(second.local(), 200)]);
        assert!(!socket.is_connected());
        // The poller knows descriptors.
        assert_eq!(socket.take_renewed(), addr.is_ipv6() && cfg!(any(target_os = "linux", target_os = "android")));
    }
}

/// What we make of an extended error of this origin that says this and names this MTU.
#[cfg(target_os = "linux")]
fn read_error(origin: u8, errno: i32, mtu: u32) -> i32 {
    let mut control = [0u64; 32];
    // SAFETY: zero is a valid value of every field of both structures.
    let (mut header, mut error): (libc::msghdr, libc::sock_extended_err) =
        unsafe { (core::mem::zeroed(), core::mem::zeroed()) };
    error.ee_errno = errno as u32;
    error.ee_origin = origin;
    error.ee_info = mtu;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the control buffer has room for one such message and outlives the call.
    unsafe {
        let m = libc::CMSG_FIRSTHDR(&raw const header);
        (*m).cmsg_level = libc::IPPROTO_IP;
        (*m).cmsg_type = libc::IP_RECVERR;
        (*m).cmsg_len = libc::CMSG_LEN(size_of::<libc::sock_extended_err>() as u32) as _;
        core::ptr::write_unaligned(libc::CMSG_DATA(m).cast(), error);
        header.msg_controllen = libc::CMSG_SPACE(size_of::<libc::sock_extended_err>() as u32) as _;
        errqueue::extended_error(&header)
    }
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-14.2.1
//= type=test
//# An endpoint MUST ignore an ICMP message that claims the PMTU has decreased below QUIC's smallest allowed maximum
//# datagram size.
//= https://www.rfc-editor.org/rfc/rfc9000#section-14.2.1
//= type=test
//# An endpoint MUST NOT increase the PMTU based on ICMP messages; see Item 6 in Section 3 of [DPLPMTUD].
#[cfg(target_os = "linux")]
#[test]
fn no_icmp_message_changes_the_mtu() {
    for mtu in [0, 68, 1199, 1280, 9000] {
        assert_eq!(read_error(libc::SO_EE_ORIGIN_ICMP, libc::EMSGSIZE, mtu), 0);
        assert_eq!(read_error(libc::SO_EE_ORIGIN_ICMP6, libc::EMSGSIZE, mtu), 0);
    }
    assert_eq!(read_error(libc::SO_EE_ORIGIN_ICMP, libc::ECONNREFUSED, 0), libc::ECONNREFUSED);
    assert_eq!(read_error(libc::SO_EE_ORIGIN_LOCAL, libc::ECONNREFUSED, 0), 0);
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-14
//= type=test
//# UDP datagrams MUST NOT be fragmented at the IP layer.
//= https://www.rfc-editor.org/rfc/rfc9000#section-14
//= type=test
//# In IPv4 [IPv4], the Don't Fragment (DF) bit MUST be set if possible, to prevent fragmentation on the path.
#[cfg(target_os = "linux")]
#[test]
fn sockets_do_not_fragment() {
    let option = |socket: &UdpSocket, level, name| {
        let (mut value, mut len): (libc::c_int, libc::socklen_t) = (-1, size_of::<libc::c_int>() as _);
        // SAFETY: value and length are live and of the sizes that they say.
        let rc =
            unsafe { libc::getsockopt(socket.raw().as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut len) };
        assert_eq!(rc, 0);
        value
    };
    assert_eq!(option(&one(any4()), libc::IPPROTO_IP, libc::IP_MTU_DISCOVER), libc::IP_PMTUDISC_PROBE);
    assert_eq!(option(&one(any6()), libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER), libc::IPV6_PMTUDISC_PROBE);
}
