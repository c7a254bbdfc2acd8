use super::*;

fn pair() -> Datagrams {
    let mut d = Datagrams::new(65535, 10_000);
    d.set_peer_max(65535);
    d.set_packet_room(1000);
    d
}

#[test]
fn frames_round_trip_and_fates_are_told() {
    let mut d = pair();
    d.send(Chunk::copy_from(b"one"), 1).unwrap();
    d.send(Chunk::empty(), 2).unwrap();
    d.send(Chunk::copy_from(b"silent"), 0).unwrap();
    let mut buf = [0; 100];
    let mut w = Writer::new(&mut buf);
    let mut tokens = Vec::new();
    assert!(d.write(&mut w, &mut tokens));
    assert!(!d.wants_to_send());
    assert_eq!(tokens, [1, 2, 0].map(|tag| FrameToken::Datagram { tag }));
    let n = w.position();
    let frames: Vec<_> = crate::wire::Frames::new(&buf[..n]).map(|f| f.unwrap().1).collect();
    assert_eq!(frames, [Frame::Datagram(b"one"), Frame::Datagram(b""), Frame::Datagram(b"silent")]);
    assert_eq!(d.poll_state(), Some((1, DatagramState::Sent)));
    assert_eq!(d.poll_state(), Some((2, DatagramState::Sent)));
    assert_eq!(d.poll_state(), None);
    d.on_token_lost(&tokens[1]);
    d.on_token_acked(&tokens[0]);
    d.on_token_acked(&tokens[2]);
    assert_eq!(d.poll_state(), Some((2, DatagramState::Lost)));
    assert_eq!(d.poll_state(), Some((1, DatagramState::Acknowledged)));
    assert_eq!(d.poll_state(), None);
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-19.21
//= type=test
//# An extension to QUIC that wishes to use a new type of frame MUST first ensure that a peer is able to understand the
//# frame.
//= https://www.rfc-editor.org/rfc/rfc9221#section-3
//= type=test
//# An endpoint MUST NOT send DATAGRAM frames until it has received the max_datagram_frame_size transport parameter with
//# a non-zero value during the handshake (or during a previous handshake if 0-RTT is used).
//= https://www.rfc-editor.org/rfc/rfc9221#section-3
//= type=test
//# An endpoint MUST NOT send DATAGRAM frames that are larger than the max_datagram_frame_size value it has received
//# from its peer.
//= https://www.rfc-editor.org/rfc/rfc9221#section-3
//= type=test
//# An endpoint that receives a DATAGRAM frame when it has not indicated support via the transport parameter MUST
//# terminate the connection with an error of type PROTOCOL_VIOLATION.
#[test]
fn limits_of_the_peer_and_the_path() {
    let mut d = Datagrams::new(0, 10_000);
    assert_eq!(d.send(Chunk::empty(), 0), Err(DatagramError::Unsupported));
    d.set_peer_max(100);
    assert_eq!(d.max_len(), Some(97));
    assert_eq!(d.send(Chunk::from_vec(vec![0; 98]), 0), Err(DatagramError::TooLarge { max: 97 }));
    d.set_peer_max(65535);
    d.set_packet_room(1000);
    d.send(Chunk::from_vec(vec![0; 900]), 3).unwrap();
    d.set_packet_room(500); // the path shrank: nobody could ever send it
    assert!(!d.write(&mut Writer::new(&mut [0; 500]), &mut Vec::new()));
    assert_eq!(d.poll_state(), Some((3, DatagramState::Dropped)));
    // RFC 9221 section 3: we never said that we take any.
    assert_eq!(d.on_datagram(b"x", 3).unwrap_err().code, PROTOCOL_VIOLATION);
}

#[test]
fn the_largest_datagram_fills_the_packet_exactly() {
    for room in [2, 63, 64, 65, 66, 1000, 16384, 16385, 16386, 16387] {
        let mut d = Datagrams::new(0, 100_000);
        d.set_peer_max(1 << 20);
        d.set_packet_room(room);
        let max = d.max_len().unwrap();
        d.send(Chunk::from_vec(vec![1; max]), 0).unwrap();
        let mut buf = vec![0; room];
        let mut w = Writer::new(&mut buf);
        assert!(d.write(&mut w, &mut Vec::new()), "room {room}, max {max}");
        assert!(w.remaining() <= 1, "room {room}: {} left", w.remaining());
    }
}

#[test]
fn queues_are_bounded() {
    let mut d = pair();
    let mut sent = 0;
    while d.send(Chunk::from_vec(vec![0; 900]), 0).is_ok() {
        sent += 1;
    }
    assert_eq!(sent, 10);
    for i in 0..100_000u32 {
        d.on_datagram(&i.to_be_bytes(), 6).unwrap();
    }
    assert!(d.queues.as_ref().map_or(0, |q| q.incoming.len()) <= 10_000 / (4 + OVERHEAD) + 1);
    assert!(d.dropped() > 99_000);
    let mut last = None;
    while let Some(bytes) = d.recv() {
        last = Some(bytes);
    }
    assert_eq!(last.as_deref(), Some(&99_999u32.to_be_bytes()[..]), "the newest survive");
}

#[test]
fn received_datagrams_keep_their_bytes() {
    let mut d = Datagrams::new(65535, 1 << 20);
    let mut expected = std::collections::VecDeque::new();
    for i in 0..2000usize {
        let bytes = vec![i as u8; (i * 37) % 5000];
        d.on_datagram(&bytes, bytes.len() + 3).unwrap();
        expected.push_back(bytes);
        while expected.len() > d.queues.as_ref().map_or(0, |q| q.incoming.len()) {
            expected.pop_front();
        }
        if i % 3 == 0 {
            assert!(d.recv() == expected.pop_front());
        }
    }
    while let Some(got) = d.recv() {
        assert!(Some(got) == expected.pop_front());
    }
    assert!(expected.is_empty());
}
