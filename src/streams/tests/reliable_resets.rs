//! RESET_STREAM_AT (draft-ietf-quic-reliable-stream-reset): what was promised arrives, then the reset, and nothing is owed.
use super::*;
use crate::base::codes::transport::{
    FINAL_SIZE_ERROR, FLOW_CONTROL_ERROR, FRAME_ENCODING_ERROR, STREAM_STATE_ERROR, TRANSPORT_PARAMETER_ERROR,
};

fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 31 % 251) as u8).collect()
}

/// Reads until there is nothing more: the bytes, and the code of the reset that ended it.
fn read_to_reset(s: &mut Streams, id: StreamId, got: &mut Vec<u8>) -> Option<u64> {
    let mut room = [0; 500];
    loop {
        match s.read(id, &mut room) {
            Ok(ReadOk { len, fin }) => {
                assert!(!fin, "a reset stream has no clean end");
                got.extend_from_slice(&room[..len]);
            }
            Err(ReadError::Reset(code)) => return Some(code),
            Err(_) => return None,
        }
    }
}

/// RESET_STREAM_AT frames of a packet: (final size, reliable size).
fn announced(p: &Packet) -> Vec<(u64, u64)> {
    Frames::new(&p.payload)
        .filter_map(|f| match f.unwrap().1 {
            Frame::ResetStreamAt { final_size, reliable_size, .. } => Some((final_size, reliable_size)),
            _ => None,
        })
        .collect()
}

#[test]
fn what_was_promised_arrives_on_a_bad_path() {
    for seed in 0..60u64 {
        let mut rng = Pcg::new(seed);
        let mut chance = move |percent: u64| rng.next_u64() % 100 < percent;
        let config = small();
        let (mut c, mut s) = pair(&config);
        let id = c.open(Dir::Uni).unwrap();
        let data = pattern(9000);
        assert_eq!(c.write(id, &data), Ok(9000));
        let promised = 100 + (seed as usize * 149) % 8800;
        let mut got = Vec::new();
        let (mut reset, mut told, mut rounds) = (None, false, 0);
        let mut closed = (false, false);
        while !closed.0 || !closed.1 {
            rounds += 1;
            assert!(rounds < 2000, "seed {seed} stalls");
            if rounds == 2 {
                assert_eq!(c.reset_at(id, 7, promised as u64), Ok(true));
                assert_eq!(c.write(id, b"more"), Err(WriteError::Closed));
            }
            for flip in [false, true] {
                let (from, to) = if flip { (&mut s, &mut c) } else { (&mut c, &mut s) };
                while let Some(p) = packet(from, 300) {
                    told |= !announced(&p).is_empty();
                    if chance(30) {
                        p.tokens.iter().for_each(|t| from.on_token_lost(t));
                    } else {
                        receive(to, &p.payload, Timestamp(1)).unwrap();
                        p.tokens.iter().for_each(|t| from.on_token_acked(t));
                    }
                    if !flip && chance(20) {
                        break;
                    }
                }
            }
            reset = read_to_reset(&mut s, id, &mut got).or(reset);
            for event in events(&mut s) {
                match event {
                    StreamEvent::Reset { code, .. } => reset = Some(code),
                    StreamEvent::Closed { .. } => closed.1 = true,
                    _ => {}
                }
            }
            closed.0 |= events(&mut c).contains(&StreamEvent::Closed { id });
        }
        assert!(told && reset == Some(7), "seed {seed}");
        assert!(got.len() >= promised && got == data[..got.len()], "seed {seed}: {} of {promised}", got.len());
        assert_eq!((c.counts().buffered_to_send, s.counts().buffered_received), (0, 0), "seed {seed}");
    }
}

#[test]
fn the_frame_waits_until_its_final_size_is_within_the_limits() {
    let (mut c, mut s) = pair(&small());
    let id = c.open(Dir::Uni).unwrap();
    c.write(id, &pattern(8000)).unwrap();
    assert_eq!(c.reset_at(id, 1, 5000), Ok(true));
    // The stream's limit is 3000.
    while let Some(p) = packet(&mut c, 1200) {
        assert!(announced(&p).is_empty());
        receive(&mut s, &p.payload, Timestamp(1)).unwrap();
        p.tokens.iter().for_each(|t| c.on_token_acked(t));
    }
    let mut got = Vec::new();
    assert_eq!(read_to_reset(&mut s, id, &mut got), None);
    assert_eq!(got.len(), 3000);
    settle(&mut c, &mut s);
    assert_eq!(read_to_reset(&mut s, id, &mut got), Some(1));
    assert_eq!(got, pattern(5000), "what was never sent and not promised is not sent any more");
}

#[test]
fn the_size_only_shrinks_and_the_code_stays() {
    let (mut c, mut s) = pair(&small());
    let id = c.open(Dir::Uni).unwrap();
    c.write(id, &pattern(2500)).unwrap();
    let data = packet(&mut c, 3000).unwrap();
    for (size, wanted) in [(2000, Some(2000)), (2400, None), (900, Some(900)), (900, None)] {
        assert_eq!(c.reset_at(id, 3 + size, size), Ok(true));
        let sent = packet(&mut c, 3000).map(|p| announced(&p)[0]);
        assert_eq!(sent, wanted.map(|size| (2500, size)));
    }
    // Reordered: the larger size comes last and is ignored.
    s.on_reset_stream_at(id, 2003, 2500, 900).unwrap();
    s.on_reset_stream_at(id, 2003, 2500, 2000).unwrap();
    receive(&mut s, &data.payload, Timestamp(1)).unwrap();
    let mut room = [0; 900];
    assert_eq!(s.read(id, &mut room), Ok(ReadOk { len: 900, fin: false }));
    assert_eq!(s.read(id, &mut room), Err(ReadError::Reset(2003)));
    // A plain reset afterwards says the same code and size.
    c.reset(id, 99).unwrap();
    let plain = packet(&mut c, 3000).unwrap();
    let frame = Frames::new(&plain.payload).next().unwrap().unwrap().1;
    assert_eq!(frame, Frame::ResetStream { id, code: 2003, final_size: 2500 });
    plain.tokens.iter().for_each(|t| c.on_token_acked(t));
    assert_eq!(events(&mut c), [StreamEvent::Closed { id }]);
}

#[test]
fn a_peer_without_the_extension_gets_none_of_it() {
    let config = small();
    let mut c = Streams::new(Side::Client, &config);
    c.set_peer_limits(&TransportParameters { reset_stream_at: false, ..parameters(&config) });
    let id = c.open(Dir::Uni).unwrap();
    c.write(id, b"abc").unwrap();
    assert_eq!(c.reset_at(id, 1, 2), Ok(false));
    assert_eq!(c.write(id, b"def"), Ok(3), "nothing was done");
    assert_eq!(c.reset_at(StreamId(400), 1, 2), Err(WriteError::Unknown));
    // Section 3: a server that accepts 0-RTT does not take the extension back.
    let mut c = Streams::new(Side::Client, &config);
    c.set_peer_limits(&parameters(&config));
    let without = TransportParameters { reset_stream_at: false, ..parameters(&config) };
    assert_eq!(c.confirm_peer_limits(&without).map_err(|e| e.code), Err(codes::PROTOCOL_VIOLATION));
}

#[test]
fn promising_nothing_is_a_plain_reset_and_everything_is_no_clean_end() {
    let (mut c, mut s) = pair(&small());
    let id = c.open(Dir::Uni).unwrap();
    c.write(id, &pattern(100)).unwrap();
    assert_eq!(c.reset_at(id, 4, 0), Ok(true));
    let p = packet(&mut c, 1200).unwrap();
    assert!(matches!(Frames::new(&p.payload).next().unwrap().unwrap().1, Frame::ResetStream { code: 4, .. }));
    // Finished, then given up: all of it was promised, and yet it ends with the code.
    let id = c.open(Dir::Uni).unwrap();
    c.write(id, &pattern(100)).unwrap();
    assert_eq!(c.reset_at(id, 5, u64::MAX), Ok(true));
    settle(&mut c, &mut s);
    let mut got = Vec::new();
    assert_eq!(read_to_reset(&mut s, id, &mut got), Some(5));
    assert_eq!(got, pattern(100));
}

#[test]
fn frames_that_break_the_rules() {
    let error = |frames: &[(u64, u64, u64)]| {
        let (mut c, mut s) = pair(&small());
        let id = c.open(Dir::Uni).unwrap();
        frames
            .iter()
            .map(|(code, size, reliable)| s.on_reset_stream_at(id, *code, *size, *reliable))
            .collect::<Vec<_>>()
            .pop()
            .unwrap()
            .map_err(|e| e.code)
    };
    assert_eq!(error(&[(1, 10, 11)]), Err(FRAME_ENCODING_ERROR));
    assert_eq!(error(&[(1, 3001, 1)]), Err(FLOW_CONTROL_ERROR));
    assert_eq!(error(&[(1, 10, 5), (1, 11, 5)]), Err(FINAL_SIZE_ERROR));
    assert_eq!(error(&[(1, 10, 5), (2, 10, 5)]), Err(STREAM_STATE_ERROR));
    assert_eq!(error(&[(1, 10, 5), (1, 10, 9), (1, 10, 2)]), Ok(()));
    let mut both = pair(&small());
    let id = both.0.open(Dir::Uni).unwrap();
    assert_eq!(both.0.on_reset_stream_at(id, 1, 1, 1).map_err(|e| e.code), Err(STREAM_STATE_ERROR), "send-only");
    both.1.on_reset_stream_at(id, 1, 10, 5).unwrap();
    assert_eq!(both.1.on_reset_stream(id, 2, 10).map_err(|e| e.code), Err(STREAM_STATE_ERROR), "another code");
    // The parameter is empty.
    let wrong = TransportParameters::decode(&[0x1d, 1, 0], Side::Client).map_err(|e| e.code);
    assert_eq!(wrong.err(), Some(TRANSPORT_PARAMETER_ERROR));
}

#[test]
fn stop_sending_ends_the_promise() {
    let (mut c, mut s) = pair(&small());
    let id = c.open(Dir::Bi).unwrap();
    c.write(id, &pattern(3000)).unwrap();
    let _lost = packet(&mut c, 4000).unwrap();
    c.reset_at(id, 6, 2000).unwrap();
    c.on_stop_sending(id, 8).unwrap();
    let p = packet(&mut c, 1200).unwrap();
    let frame = Frames::new(&p.payload).next().unwrap().unwrap().1;
    assert_eq!(frame, Frame::ResetStream { id, code: 6, final_size: 3000 });
    // Whoever reads no more hears of no reset.
    let id = s.open(Dir::Uni).unwrap();
    c.on_stream(id, 0, &[1; 10], false, Timestamp(1)).unwrap();
    c.stop(id, 1).unwrap();
    c.on_reset_stream_at(id, 9, 100, 50).unwrap();
    assert!(!events(&mut c).iter().any(|e| matches!(e, StreamEvent::Reset { .. })));
    assert_eq!(c.counts().buffered_received, 0);
}
