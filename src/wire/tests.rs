//! Vectors from the RFC's appendices, round trips, and readers that never panic.
use proptest::prelude::*;

use super::header::{self, HeaderError, LongHeader, PacketType};
use super::transport_parameters::{PreferredAddress, TransportParameters, VersionInformation, id};
use super::*;
use crate::base::codes::transport::TRANSPORT_PARAMETER_ERROR;
use crate::base::codes::{VERSION_1, VERSION_2};
use crate::base::{ConnectionId, Pcg, ResetToken, Side};

fn cid(bytes: &[u8]) -> ConnectionId {
    ConnectionId::new(bytes).unwrap()
}

fn any_cid(min: usize) -> impl Strategy<Value = ConnectionId> {
    proptest::collection::vec(any::<u8>(), min..=20).prop_map(|v| ConnectionId::new(&v).unwrap())
}

#[test]
fn varint_vectors() {
    // RFC 9000 appendix A.1.
    let vectors: [(&[u8], u64); 5] = [
        (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
        (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
        (&[0x7b, 0xbd], 15_293),
        (&[0x25], 37),
        (&[0x40, 0x25], 37),
    ];
    for (bytes, value) in vectors {
        let mut r = Reader::new(bytes);
        assert_eq!(r.varint(), Ok(value));
        assert!(r.is_empty());
        for cut in 0..bytes.len() {
            let mut r = Reader::new(&bytes[..cut]);
            assert_eq!(r.varint(), Err(Truncated));
            assert_eq!(r.position(), 0);
        }
    }
    let mut buf = [0; 8];
    for (bytes, value) in &vectors[..4] {
        let mut w = Writer::new(&mut buf);
        w.varint(*value).unwrap();
        assert_eq!(w.written(), *bytes);
        assert_eq!(varint::len(*value), bytes.len());
    }
}

#[test]
fn packet_number_vectors() {
    // RFC 9000 appendix A.2.
    assert_eq!(packet_number::encoded_len(0x00ac_5c02, Some(0x00ab_e8b3)), 2);
    assert_eq!(packet_number::encoded_len(0x00ac_e8fe, Some(0x00ab_e8b3)), 3);
    assert_eq!(packet_number::encoded_len(0, None), 1);
    // RFC 9000 appendix A.3.
    assert_eq!(packet_number::expand(0x9b32, 2, 0xa82f_30ea + 1), 0xa82f_9b32);
    assert_eq!(packet_number::expand(0xff, 1, 0), 0xff);
    assert_eq!(packet_number::expand(0xff, 1, 0x100), 0xff);
    assert_eq!(packet_number::expand(0x01, 1, 0x1fe), 0x201);
}

#[test]
fn writer_is_bounded() {
    let mut buf = [0; 3];
    let mut w = Writer::new(&mut buf);
    assert_eq!(w.u32(1), Err(NoRoom));
    assert_eq!(w.position(), 0);
    w.varint2(5).unwrap();
    w.patch_varint2(0, 300);
    assert_eq!(w.varint(64), Err(NoRoom));
    w.u8(9).unwrap();
    assert_eq!(w.remaining(), 0);
    assert_eq!(w.varint_bytes(&[]), Err(NoRoom));
    assert_eq!(w.written(), [0x41, 0x2c, 9]);
}

#[test]
fn long_header_of_rfc9001_a2() {
    // RFC 9001 appendix A.2: client Initial, packet number 2 in 4 bytes, 1162 bytes of payload.
    let dcid = cid(&[0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08]);
    let mut packet = vec![0; 1200];
    let h =
        LongHeader { ty: PacketType::Initial, version: VERSION_1, dcid: &dcid, scid: &ConnectionId::EMPTY, token: &[] };
    let mut w = Writer::new(&mut packet);
    let mark = header::write_long(&mut w, &h, 2, 4).unwrap();
    assert_eq!(mark.relative_to(0), mark);
    header::finish_long(&mut packet, mark, 1162 + 16);
    let expected = [0xc3, 0, 0, 0, 1, 8, 0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08, 0, 0, 0x44, 0x9e, 0, 0, 0, 2];
    assert_eq!(packet[..expected.len()], expected);
    let parsed = header::parse(&packet, 8).unwrap();
    assert_eq!((parsed.ty, parsed.dcid, parsed.pn_offset, parsed.packet_len), (PacketType::Initial, dcid, 18, 1200));
}

#[test]
fn type_bits_of_both_versions() {
    // RFC 9369 section 3.2.
    use PacketType::*;
    for (ty, v1, v2) in [(Initial, 0, 1), (ZeroRtt, 1, 2), (Handshake, 2, 3), (Retry, 3, 0)] {
        assert_eq!((ty.bits(VERSION_1), ty.bits(VERSION_2)), (Some(v1), Some(v2)));
        assert_eq!(PacketType::from_bits(v1, VERSION_1), Some(ty));
        assert_eq!(PacketType::from_bits(v2, VERSION_2), Some(ty));
    }
    assert_eq!(PacketType::from_bits(0, 0x0a0a_0a0a), None);
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2
//= type=test
//# Packets containing a zero value for this bit are not valid packets in this version and MUST be discarded.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.3.1
//= type=test
//# Packets containing a zero value for this bit are not valid packets in this version and MUST be discarded.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2
//= type=test
//# Endpoints that receive a version 1 long header with a value larger than 20 MUST drop the packet.
#[test]
fn headers_refused() {
    assert_eq!(header::parse(&[], 8), Err(HeaderError::Truncated));
    assert_eq!(header::parse(&[0x40, 1, 2], 8), Err(HeaderError::Truncated));
    assert_eq!(header::parse(&[0x00, 1], 1), Err(HeaderError::FixedBit));
    assert!(header::parse_greased(&[0x00, 1], 1).is_ok());
    assert_eq!(header::parse(&[0xc0, 0, 0, 0, 9, 0, 0], 8), Err(HeaderError::UnsupportedVersion));
    let mut long = vec![0xe0, 0, 0, 0, 1, 21];
    long.resize(60, 0);
    assert_eq!(header::parse(&long, 8), Err(HeaderError::CidTooLong));
    long[5..7].copy_from_slice(&[0, 21]);
    assert_eq!(header::parse(&long, 8), Err(HeaderError::CidTooLong));
    long[6] = 20;
    assert!(header::parse(&long, 8).is_ok());
    long[0] &= !header::FIXED_BIT;
    assert_eq!(header::parse(&long, 8), Err(HeaderError::FixedBit));
    // Length beyond the datagram.
    assert_eq!(header::parse(&[0xe0, 0, 0, 0, 1, 0, 0, 5, 1, 2, 3, 4], 8), Err(HeaderError::Truncated));
    // Version Negotiation has no fixed bit.
    let vn = header::parse(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 8).unwrap();
    assert_eq!(vn.ty, PacketType::VersionNegotiation);
}

#[test]
fn retry_round_trip_and_rfc9001_a4_layout() {
    // RFC 9001 appendix A.4.
    let packet = [
        0xff, 0, 0, 0, 1, 0, 8, 0xf0, 0x67, 0xa5, 0x50, 0x2a, 0x42, 0x62, 0xb5, b't', b'o', b'k', b'e', b'n', 0x04,
        0xa2, 0x65, 0xba, 0x2e, 0xff, 0x4d, 0x82, 0x90, 0x58, 0xfb, 0x3f, 0x0f, 0x24, 0x96, 0xba,
    ];
    let r = retry::parse_retry(&packet).unwrap();
    assert_eq!((r.version, r.dcid, r.token), (VERSION_1, ConnectionId::EMPTY, &b"token"[..]));
    assert_eq!(r.without_tag, &packet[..20]);
    assert_eq!(r.tag, packet[20..]);
    let mut buf = [0; 64];
    let mut w = Writer::new(&mut buf);
    retry::write_retry(&mut w, VERSION_1, &r.dcid, &r.scid, r.token, 0xf).unwrap();
    assert_eq!(w.written(), r.without_tag);
    assert_eq!(retry::parse_retry(&packet[..30]).map(|r| r.token.len()), Err(HeaderError::Truncated));
    assert!(retry::parse_retry(&[0xc0, 0, 0, 0, 1, 0, 0]).is_err());
    let mut w = Writer::new(&mut buf);
    retry::write_retry(&mut w, VERSION_2, &r.dcid, &r.scid, r.token, 0).unwrap();
    w.bytes(&[7; 16]).unwrap();
    assert_eq!(header::parse(w.written(), 8).unwrap().ty, PacketType::Retry);
    assert_eq!(retry::parse_retry(w.written()).unwrap().tag, [7; 16]);
}

//= https://www.rfc-editor.org/rfc/rfc8999#section-6
//= type=test
//# MUST be ignored on receipt
//= https://www.rfc-editor.org/rfc/rfc8999#section-6
//= type=test
//# An endpoint MUST ignore a packet that contains no Supported Version fields or contains a truncated Supported
//# Version value.
#[test]
fn version_negotiation_round_trip() {
    let long_cid = [0xab; 255];
    let mut buf = [0; 600];
    let mut w = Writer::new(&mut buf);
    version_negotiation::write(&mut w, 0x7f, &long_cid, &[1, 2], [VERSION_1, 0x1a2a_3a4a]).unwrap();
    let bytes = w.written().to_vec();
    let vn = version_negotiation::parse(&bytes).unwrap();
    assert_eq!((vn.dcid, vn.scid), (&long_cid[..], &[1u8, 2][..]));
    assert_eq!(vn.versions().collect::<Vec<_>>(), [VERSION_1, 0x1a2a_3a4a]);
    for bit in 0..7 {
        let mut other = bytes.clone();
        other[0] ^= 1 << bit;
        assert_eq!(version_negotiation::parse(&other).map(|vn| vn.versions().count()), Ok(2), "unused bits");
    }
    assert!(version_negotiation::parse(&bytes[..bytes.len() - 1]).is_err());
    assert!(version_negotiation::parse(&bytes[..bytes.len() - 8]).is_err());
}

#[test]
fn stateless_reset_layout() {
    let token = ResetToken([9; 16]);
    let mut rng = Pcg::new(1);
    assert!(!stateless_reset::write(&mut [0; 20], &mut rng, &token));
    let mut buf = [0xff; 40];
    assert!(stateless_reset::write(&mut buf, &mut rng, &token));
    assert_eq!(buf[0] & 0xc0, 0x40);
    assert_eq!(stateless_reset::token_at_end(&buf), Some(token));
    assert_eq!(stateless_reset::token_at_end(&buf[..20]), None);
}

fn decode(bytes: &[u8], from: Side) -> Result<TransportParameters, u64> {
    TransportParameters::decode(bytes, from).map_err(|e| e.code)
}

#[test]
fn transport_parameter_defaults() {
    let p = decode(&[], Side::Client).unwrap();
    assert_eq!(p, TransportParameters::default());
    assert_eq!((p.ack_delay_exponent, p.max_ack_delay_ms, p.active_connection_id_limit), (3, 25, 2));
    assert_eq!(p.max_udp_payload_size, 65527);
    assert!(p.encode(Side::Server).is_empty());
}

//= https://www.rfc-editor.org/rfc/rfc9287#section-3
//= type=test
//# The transport parameter is sent with an empty value; an endpoint that understands this transport parameter MUST
//# treat receipt of a non-empty value of the transport parameter as a connection error of type
//# TRANSPORT_PARAMETER_ERROR.
#[test]
fn transport_parameter_bounds() {
    let refused: [&[u8]; 19] = [
        &[0x03, 2, 0x44, 0xaf],                                   // max_udp_payload_size 1199
        &[0x0a, 1, 21],                                           // ack_delay_exponent 21
        &[0x0b, 4, 0x80, 0, 0x40, 0],                             // max_ack_delay 2^14
        &[0x0e, 1, 1],                                            // active_connection_id_limit 1
        &[0x08, 8, 0xd0, 0, 0, 0, 0, 0, 0, 1],                    // 2^60 + 1 streams
        &[0x09, 8, 0xff, 0, 0, 0, 0, 0, 0, 1],                    // as well
        &[0x0c, 1, 0],                                            // a flag with a value
        &[0x6a, 0xb2, 1, 0],                                      // grease_quic_bit with a value
        &[0x04, 2, 1, 1],                                         // bytes after the number
        &[0x04, 0],                                               // no number
        &[0x04, 1],                                               // truncated value
        &[0x04],                                                  // truncated length
        &[0x04, 1, 1, 0x04, 1, 1],                                // twice
        &[0x3f, 0, 0x3f, 0],                                      // unknown, twice
        &[0x02, 15, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6], // token of 15 bytes
        &[0x0f, 21, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2], // cid of 21 bytes
        &[0x11, 3, 0, 0, 1],                                      // version_information too short
        &[0x11, 8, 0, 0, 0, 1, 0, 0, 0, 0],                       // names version 0
        &[0xc0, 0, 0, 0, 0xff, 0x04, 0xde, 0x1b, 4, 0x80, 0, 0x61, 0xa9], // min_ack_delay 25001 us
    ];
    for bytes in refused {
        assert_eq!(decode(bytes, Side::Server), Err(TRANSPORT_PARAMETER_ERROR), "{bytes:02x?}");
    }
    let accepted: [&[u8]; 4] = [
        &[0x03, 2, 0x44, 0xb0],
        &[0x0a, 1, 20],
        &[0x08, 8, 0xd0, 0, 0, 0, 0, 0, 0, 0],
        &[0xc0, 0, 0, 0, 0xff, 0x04, 0xde, 0x1b, 4, 0x80, 0, 0x61, 0xa8],
    ];
    for bytes in accepted {
        assert!(decode(bytes, Side::Server).is_ok(), "{bytes:02x?}");
    }
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-18.2
//= type=test
//# A client MUST NOT include any server-only transport parameter: original_destination_connection_id,
//# preferred_address, retry_source_connection_id, or stateless_reset_token.
//= https://www.rfc-editor.org/rfc/rfc9000#section-18.2
//= type=test
//# A server MUST treat receipt of any of these transport parameters as a connection error of type
//# TRANSPORT_PARAMETER_ERROR.
//= https://www.rfc-editor.org/rfc/rfc9000#section-18.2
//= type=test
//# This transport parameter MUST NOT be sent by a client but MAY be sent by a server.
#[test]
fn server_only_parameters_from_a_client() {
    let mut p = TransportParameters { original_destination_connection_id: Some(cid(&[1])), ..Default::default() };
    let mut all = vec![p.encode(Side::Server)];
    p = TransportParameters { retry_source_connection_id: Some(cid(&[])), ..Default::default() };
    all.push(p.encode(Side::Server));
    p = TransportParameters { stateless_reset_token: Some(ResetToken([1; 16])), ..Default::default() };
    all.push(p.encode(Side::Server));
    assert!(p.encode(Side::Client).is_empty());
    let preferred = PreferredAddress {
        ipv4: Some("192.0.2.1:443".parse().unwrap()),
        ipv6: None,
        cid: cid(&[4, 5]),
        token: ResetToken([3; 16]),
    };
    p = TransportParameters { preferred_address: Some(preferred), ..Default::default() };
    all.push(p.encode(Side::Server));
    for bytes in all {
        assert!(decode(&bytes, Side::Server).is_ok());
        assert_eq!(decode(&bytes, Side::Client), Err(TRANSPORT_PARAMETER_ERROR));
    }
    // A preferred address without a connection ID.
    p.preferred_address = Some(PreferredAddress { cid: ConnectionId::EMPTY, ..preferred });
    assert_eq!(decode(&p.encode(Side::Server), Side::Server), Err(TRANSPORT_PARAMETER_ERROR));
}

#[test]
fn version_information_rules() {
    let info = VersionInformation { chosen: VERSION_2, available: vec![VERSION_1] };
    let p = TransportParameters { version_information: Some(info), ..Default::default() };
    // RFC 9368 section 4: only a client's list must contain the chosen version.
    assert_eq!(decode(&p.encode(Side::Client), Side::Client), Err(TRANSPORT_PARAMETER_ERROR));
    assert_eq!(decode(&p.encode(Side::Server), Side::Server), Ok(p));
}

#[test]
fn unknown_parameters_are_bounded() {
    let many = TransportParameters { unknown: (0..500).map(|i| (1000 + i, vec![1])).collect(), ..Default::default() };
    let got = decode(&many.encode(Side::Client), Side::Client).unwrap();
    assert_eq!(got.unknown, many.unknown[..transport_parameters::MAX_UNKNOWN_KEPT]);
    let long = TransportParameters { unknown: vec![(1000, vec![0; 300])], ..Default::default() };
    assert!(decode(&long.encode(Side::Client), Side::Client).unwrap().unknown.is_empty());
}

fn any_parameters() -> impl Strategy<Value = TransportParameters> {
    let v = 0..=varint::MAX;
    let numbers = proptest::collection::vec(v, 8);
    let options = (
        proptest::option::of(any_cid(0)),
        proptest::option::of(any_cid(0)),
        proptest::option::of(any_cid(1)),
        proptest::option::of(proptest::collection::vec(1..=u32::MAX, 0..5)),
        proptest::option::of(any::<[u8; 16]>()),
    );
    (numbers, options, any::<bool>(), 0..=20u8, 1200..=varint::MAX, 2..=varint::MAX, 1..=16383u64).prop_map(
        |(n, (odcid, rscid, pref, versions, token), flag, exponent, udp, cids, ack_delay)| TransportParameters {
            original_destination_connection_id: odcid,
            max_idle_timeout_ms: n[0],
            stateless_reset_token: token.map(ResetToken),
            max_udp_payload_size: udp,
            initial_max_data: n[1],
            initial_max_stream_data_bidi_local: n[2],
            initial_max_stream_data_bidi_remote: n[3],
            initial_max_stream_data_uni: n[4],
            initial_max_streams_bidi: n[5] >> 2,
            initial_max_streams_uni: n[6] >> 2,
            ack_delay_exponent: exponent,
            max_ack_delay_ms: ack_delay,
            disable_active_migration: flag,
            preferred_address: pref.map(|cid| PreferredAddress {
                ipv4: flag.then(|| "203.0.113.7:4433".parse().unwrap()),
                ipv6: Some("[2001:db8::9]:4433".parse().unwrap()),
                cid,
                token: ResetToken([5; 16]),
            }),
            active_connection_id_limit: cids,
            initial_source_connection_id: rscid,
            retry_source_connection_id: rscid,
            max_datagram_frame_size: n[7],
            grease_quic_bit: flag,
            reset_stream_at: flag,
            version_information: versions.map(|mut available| VersionInformation {
                chosen: {
                    available.push(7);
                    7
                },
                available,
            }),
            min_ack_delay_us: flag.then_some(ack_delay * 1000),
            unknown: vec![(id::MIN_ACK_DELAY + 1, vec![1, 2, 3])],
        },
    )
}

proptest! {
    #[test]
    fn varint_round_trip(v in (0..=varint::MAX, 0..=62u32).prop_map(|(v, s)| v >> s)) {
        let mut buf = [0; 8];
        let mut w = Writer::new(&mut buf);
        w.varint(v).unwrap();
        prop_assert_eq!(w.position(), varint::len(v));
        prop_assert_eq!(Reader::new(w.written()).varint(), Ok(v));
    }

    #[test]
    fn packet_number_round_trip(acked in 0..(1u64 << 61), ahead in 1..(1u64 << 30), back in 0..(1u64 << 30)) {
        let pn = acked + ahead;
        let len = packet_number::encoded_len(pn, Some(acked));
        // The receiver has seen at least the acknowledged packet and at most the numbers around this one.
        let largest = (pn - back.min(ahead)).max(acked);
        let mut buf = [0; 4];
        let mut w = Writer::new(&mut buf);
        packet_number::write(&mut w, pn, len).unwrap();
        let truncated = w.written().iter().fold(0u32, |acc, b| (acc << 8) | u32::from(*b));
        prop_assert_eq!(packet_number::expand(truncated, len, largest + 1), pn);
    }

    //= https://www.rfc-editor.org/rfc/rfc9000#section-17.1
    //= type=test
    //# Prior to receiving an acknowledgment for a packet number space, the full packet number MUST be included; it is
    //# not to be truncated, as described below.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-17.1
    //= type=test
    //# After an acknowledgment is received for a packet number space, the sender MUST use a packet number size able to
    //# represent more than twice as large a range as the difference between the largest acknowledged packet number and
    //# the packet number being sent.
    #[test]
    fn packet_numbers_are_long_enough(acked in 0..(1u64 << 61), ahead in (1..(1u64 << 31), 0..31u32)) {
        let ahead = (ahead.0 >> ahead.1).max(1);
        let range = 1u64 << (8 * packet_number::encoded_len(acked + ahead, Some(acked)));
        prop_assert!(range > 2 * ahead);
        // Before any acknowledgement, all of the number.
        let len = packet_number::encoded_len(ahead, None);
        prop_assert!(ahead < 1 << (8 * len));
    }

    #[test]
    fn expand_never_panics(t: u32, len in 0..9usize, expected: u64) {
        let pn = packet_number::expand(t, len, expected);
        let bits = 8 * len.clamp(1, 4) as u32;
        prop_assert_eq!(pn ^ u64::from(t), (pn ^ u64::from(t)) >> bits << bits);
    }

    //= https://www.rfc-editor.org/rfc/rfc9000#section-17.2
    //= type=test
    //# The value included prior to protection MUST be set to 0.
    #[test]
    fn long_header_round_trip(
        ty in prop_oneof![Just(PacketType::Initial), Just(PacketType::ZeroRtt), Just(PacketType::Handshake)],
        v2: bool, dcid in any_cid(0), scid in any_cid(0), token in proptest::collection::vec(any::<u8>(), 0..100),
        pn: u32, pn_len in 1..=4usize, payload in 20..1000usize, lead in 0..10usize,
    ) {
        let version = if v2 { VERSION_2 } else { VERSION_1 };
        let token = if ty == PacketType::Initial { token } else { vec![] };
        let mut buf = vec![0; 2000];
        let mut w = Writer::new(&mut buf);
        w.skip(lead).unwrap();
        let h = LongHeader { ty, version, dcid: &dcid, scid: &scid, token: &token };
        let mark = header::write_long(&mut w, &h, u64::from(pn), pn_len).unwrap().relative_to(lead);
        let total = mark.pn_at + pn_len + payload;
        let packet = &mut buf[lead..];
        header::finish_long(packet, mark, payload);
        prop_assert_eq!(packet[0] & header::LONG_RESERVED_BITS, 0);
        let got = header::parse(packet, 8).unwrap();
        prop_assert_eq!((got.ty, got.version, got.dcid, got.scid, got.token), (ty, version, dcid, scid, &token[..]));
        prop_assert_eq!((got.pn_offset, got.packet_len), (mark.pn_at, total));
        let peek = invariants::peek(packet, 8).unwrap();
        prop_assert!(peek.long && peek.version == version && peek.dcid == dcid.as_slice());
        prop_assert_eq!(peek.scid, scid.as_slice());
        for cut in 0..total {
            prop_assert_eq!(header::parse(&packet[..cut], 8), Err(HeaderError::Truncated));
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc9000#section-17.3.1
    //= type=test
    //# The value included prior to protection MUST be set to 0.
    #[test]
    fn short_header_round_trip(dcid in any_cid(0), spin: bool, phase: bool, pn: u32, pn_len in 1..=4usize) {
        let mut buf = [0; 30];
        let mut w = Writer::new(&mut buf);
        let pn_at = header::write_short(&mut w, &dcid, spin, phase, u64::from(pn), pn_len).unwrap();
        prop_assert_eq!(pn_at, 1 + dcid.len());
        let got = header::parse(w.written(), dcid.len()).unwrap();
        prop_assert_eq!((got.ty, got.dcid, got.pn_offset), (PacketType::Short, dcid, pn_at));
        prop_assert_eq!(got.first_byte & header::SPIN_BIT != 0, spin);
        prop_assert_eq!(got.first_byte & header::KEY_PHASE_BIT != 0, phase);
        prop_assert_eq!(usize::from(got.first_byte & 3) + 1, pn_len);
        prop_assert_eq!(got.first_byte & header::SHORT_RESERVED_BITS, 0);
    }

    #[test]
    fn retry_round_trip(
        v2: bool, dcid in any_cid(0), scid in any_cid(0), token in proptest::collection::vec(any::<u8>(), 0..300),
        tag: [u8; 16], unused: u8,
    ) {
        let version = if v2 { VERSION_2 } else { VERSION_1 };
        let mut buf = [0; 400];
        let mut w = Writer::new(&mut buf);
        retry::write_retry(&mut w, version, &dcid, &scid, &token, unused).unwrap();
        let without_tag = w.written().to_vec();
        w.bytes(&tag).unwrap();
        let got = retry::parse_retry(w.written()).unwrap();
        prop_assert_eq!((got.version, got.dcid, got.scid, got.token), (version, dcid, scid, &token[..]));
        prop_assert_eq!((got.tag, got.without_tag), (tag, &without_tag[..]));
        let head = header::parse(w.written(), 8).unwrap();
        prop_assert_eq!((head.ty, head.packet_len), (PacketType::Retry, without_tag.len() + 16));
    }

    #[test]
    fn any_version_negotiation_round_trips(
        unused: u8, dcid in proptest::collection::vec(any::<u8>(), 0..256),
        scid in proptest::collection::vec(any::<u8>(), 0..256), versions in proptest::collection::vec(any::<u32>(), 1..20),
    ) {
        let mut buf = [0; 700];
        let mut w = Writer::new(&mut buf);
        version_negotiation::write(&mut w, unused, &dcid, &scid, versions.iter().copied()).unwrap();
        let got = version_negotiation::parse(w.written()).unwrap();
        prop_assert_eq!((got.dcid, got.scid), (&dcid[..], &scid[..]));
        prop_assert_eq!(got.versions().collect::<Vec<_>>(), versions);
        let peek = invariants::peek(w.written(), 0).unwrap();
        prop_assert!(peek.long && peek.version == 0);
    }

    #[test]
    fn any_stateless_reset_round_trips(seed: u64, token: [u8; 16], len in 0..100usize) {
        let mut buf = vec![0; len];
        let written = stateless_reset::write(&mut buf, &mut Pcg::new(seed), &ResetToken(token));
        prop_assert_eq!(written, len >= stateless_reset::MIN_LEN);
        if written {
            prop_assert_eq!(stateless_reset::token_at_end(&buf), Some(ResetToken(token)));
            prop_assert_eq!(header::parse(&buf, 0).map(|h| h.ty), Ok(PacketType::Short));
        } else {
            prop_assert_eq!(stateless_reset::token_at_end(&buf), None);
        }
    }

    #[test]
    fn parsers_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), force_long: bool, cid_len in 0..21usize) {
        let mut bytes = bytes;
        if force_long && bytes.len() > 5 {
            bytes[0] |= 0xc0;
            bytes[1..5].copy_from_slice(&VERSION_1.to_be_bytes());
            bytes[5] &= 0x1f;
        }
        if let Ok(h) = header::parse(&bytes, cid_len) {
            prop_assert!(h.pn_offset <= h.packet_len && h.packet_len <= bytes.len());
        }
        let _ = invariants::peek(&bytes, cid_len);
        let _ = retry::parse_retry(&bytes);
        let _ = version_negotiation::parse(&bytes).map(|v| v.versions().count());
        let _ = stateless_reset::token_at_end(&bytes);
        let _ = TransportParameters::decode(&bytes, Side::Client);
        let _ = TransportParameters::decode(&bytes, Side::Server);
    }

    #[test]
    fn transport_parameters_round_trip(p in any_parameters()) {
        let bytes = p.encode(Side::Server);
        prop_assert_eq!(TransportParameters::decode(&bytes, Side::Server), Ok(p.clone()));
        for cut in 1..bytes.len() {
            // Cutting can end between parameters, but never panics.
            let _ = TransportParameters::decode(&bytes[..cut], Side::Server);
        }
        let as_client = TransportParameters {
            original_destination_connection_id: None, stateless_reset_token: None, preferred_address: None,
            retry_source_connection_id: None, ..p.clone()
        };
        prop_assert_eq!(TransportParameters::decode(&p.encode(Side::Client), Side::Client), Ok(as_client));
    }
}

#[test]
fn facts_of_what_has_no_type_or_no_length() {
    // RFC 8999 section 5.1: any version, connection IDs of up to 255 bytes.
    let mut packet = vec![0x80, 0xba, 0xba, 0xba, 0xba, 255];
    packet.extend([7; 255]);
    packet.extend([3, 1, 2, 3, 9]);
    let seen = facts::facts(&packet, 8).unwrap();
    assert_eq!((seen.ty, seen.version, seen.dcid.len(), seen.scid), (None, 0xbaba_baba, 255, &[1, 2, 3][..]));
    assert!(!seen.fixed_bit && seen.packet_len == packet.len());
    // The same in version 1 is a packet that every endpoint drops.
    packet[1..5].copy_from_slice(&VERSION_1.to_be_bytes());
    assert_eq!(facts::facts(&packet, 8), Err(HeaderError::CidTooLong));

    let list = [0xc0, 0, 0, 0, 0, 1, 5, 1, 6, 0, 0, 0, 1];
    let seen = facts::facts(&list, 8).unwrap();
    assert_eq!((seen.ty, seen.dcid, seen.scid), (Some(PacketType::VersionNegotiation), &[5][..], &[6][..]));
    assert_eq!(facts::facts(&list[..9], 8), Err(HeaderError::Truncated), "no version at all");

    let mut buf = [0; 64];
    let mut w = Writer::new(&mut buf);
    retry::write_retry(&mut w, VERSION_2, &cid(&[1; 4]), &cid(&[2; 9]), b"token", 0).unwrap();
    w.bytes(&[0; retry::TAG_LEN]).unwrap();
    let seen = facts::facts(w.written(), 8).unwrap();
    assert_eq!((seen.ty, seen.token, seen.version), (Some(PacketType::Retry), &b"token"[..], VERSION_2));
    assert_eq!(facts::facts(&[0x40, 1, 2, 3], 4), Err(HeaderError::Truncated));
    assert_eq!(facts::facts(&[], 0), Err(HeaderError::Truncated));
}

proptest! {
    #[test]
    fn facts_of_a_packet_are_what_was_written_and_of_any_bytes_what_the_parser_says(
        dcid in any_cid(0), scid in any_cid(0), token in proptest::collection::vec(any::<u8>(), 0..80),
        kind in 0..3usize, second in any::<bool>(), payload in 20..200usize, noise in proptest::collection::vec(any::<u8>(), 0..80),
        known in any::<bool>(), long in any::<bool>(), cut in 0..400usize,
    ) {
        let version = if second { VERSION_2 } else { VERSION_1 };
        let ty = [PacketType::Initial, PacketType::ZeroRtt, PacketType::Handshake][kind];
        let token = if kind == 0 { &token[..] } else { &[] };
        let mut buf = [0; 600];
        let mut w = Writer::new(&mut buf);
        let mark = header::write_long(&mut w, &LongHeader { ty, version, dcid: &dcid, scid: &scid, token }, 5, 2).unwrap();
        let whole = w.position() + payload;
        header::finish_long(&mut buf, mark, payload);
        // Another packet behind it in the datagram.
        let datagram = &buf[..whole + 30];
        let seen = facts::facts(datagram, 8).unwrap();
        prop_assert_eq!((seen.ty, seen.version, seen.token), (Some(ty), version, token));
        prop_assert_eq!((seen.dcid, seen.scid), (dcid.as_slice(), scid.as_slice()));
        prop_assert_eq!((seen.packet_len, seen.fixed_bit), (whole, true));
        if cut < whole {
            prop_assert_eq!(facts::facts(&datagram[..cut], 8), Err(HeaderError::Truncated));
        }

        // Any bytes, half of them dressed as a long header of a version that we know.
        let mut noise = noise;
        if long && let Some(first) = noise.first_mut() {
            *first |= 0x80;
        }
        if known && let Some(place) = noise.get_mut(1..5) {
            place.copy_from_slice(&version.to_be_bytes());
        }
        let seen = facts::facts(&noise, 8);
        match header::parse_greased(&noise, 8) {
            Ok(h) if h.ty == PacketType::Retry => {
                prop_assert_eq!(seen.ok().map(|s| s.token), retry::parse_retry(&noise).ok().map(|r| r.token));
            }
            Ok(h) if h.ty == PacketType::VersionNegotiation => {
                prop_assert_eq!(seen.is_ok(), version_negotiation::parse(&noise).is_ok());
            }
            Ok(h) => {
                let s = seen.unwrap();
                prop_assert_eq!((s.ty, s.version, s.token, s.packet_len), (Some(h.ty), h.version, h.token, h.packet_len));
                prop_assert_eq!((s.dcid, s.scid), (h.dcid.as_slice(), h.scid.as_slice()));
            }
            Err(HeaderError::UnsupportedVersion) => {
                prop_assert_eq!(seen.is_ok(), invariants::peek(&noise, 8).is_ok());
            }
            // Version Negotiation may have longer connection IDs than a packet of version 1.
            Err(HeaderError::CidTooLong) if noise[1..5] == [0; 4] => {}
            // Which of two mistakes is named first may differ.
            Err(_) => prop_assert!(seen.is_err()),
        }
    }
}
