//! RESET_STREAM and STOP_SENDING (RFC 9000 sections 3.5, 11.2 and 13.3).
use super::*;

//= https://www.rfc-editor.org/rfc/rfc9000#section-3.5
//= type=test
//# An endpoint that receives a STOP_SENDING frame MUST send a RESET_STREAM frame if the stream is in the "Ready" or
//# "Send" state.
#[test]
fn stop_sending_is_answered_with_a_reset() {
    let (mut c, mut s) = pair(&small());
    let id = c.open(Dir::Bi).unwrap();
    c.write(id, &[1; 5000]).unwrap();
    settle(&mut c, &mut s);
    s.stop(id, 42).unwrap();
    assert_eq!(s.read(id, &mut [0; 1]), Err(ReadError::Finished));
    settle(&mut c, &mut s);
    assert_eq!(events(&mut c), [StreamEvent::Stopped { id, code: 42 }]);
    assert_eq!(c.write(id, b"x"), Err(WriteError::Stopped(42)));
    assert_eq!(c.counts().buffered_to_send, 0);
    assert_eq!(s.counts().buffered_received, 0);
    assert_eq!(events(&mut s), [StreamEvent::Opened { id }], "who stops does not want to hear of the reset");
    s.finish(id).unwrap();
    settle(&mut c, &mut s);
    assert_eq!(read_all(&mut c, id), (vec![], true));
    assert_eq!(events(&mut c), [StreamEvent::Closed { id }]);
    assert_eq!(events(&mut s), [StreamEvent::Finished { id }, StreamEvent::Closed { id }]);
}

#[test]
fn a_reset_reaches_the_reader_once() {
    let (mut c, mut s) = pair(&small());
    let id = c.open(Dir::Uni).unwrap();
    c.write(id, &[1; 2000]).unwrap();
    settle(&mut c, &mut s);
    c.reset(id, 9).unwrap();
    c.reset(id, 10).unwrap();
    settle(&mut c, &mut s);
    assert_eq!(s.counts().buffered_received, 0, "unread bytes are given up");
    assert_eq!(events(&mut c), [StreamEvent::Closed { id }]);
    let heard = events(&mut s);
    assert_eq!(heard, [StreamEvent::Opened { id }, StreamEvent::Reset { id, code: 9 }, StreamEvent::Closed { id }]);
}

/// RESET_STREAM frames that wait to be sent.
fn resets(s: &mut Streams) -> Vec<(StreamId, u64, u64, Packet)> {
    let mut all = Vec::new();
    while let Some(p) = packet(s, 1200) {
        for frame in Frames::new(&p.payload) {
            if let Frame::ResetStream { id, code, final_size } = frame.unwrap().1 {
                all.push((id, code, final_size, Packet { payload: p.payload.clone(), tokens: p.tokens.clone() }));
            }
        }
    }
    all
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-11.2
//= type=test
//# RESET_STREAM MUST only be instigated by the application protocol that uses QUIC.
//= https://www.rfc-editor.org/rfc/rfc9000#section-13.3
//= type=test
//# The content of a RESET_STREAM frame MUST NOT change when it is sent again.
#[test]
fn only_the_application_resets_and_always_in_the_same_words() {
    let (mut c, mut s) = pair(&small());
    let id = c.open(Dir::Bi).unwrap();
    // Blocked, lost, told to hurry, ended: nothing of that gives a stream up.
    c.write(id, &[1; 9000]).unwrap();
    let mut lost = 0;
    while let Some(p) = packet(&mut c, 600) {
        p.tokens.iter().for_each(|t| c.on_token_lost(t));
        lost += 1;
        if lost > 100 {
            break;
        }
        assert!(!Frames::new(&p.payload).any(|f| matches!(f.unwrap().1, Frame::ResetStream { .. })));
    }
    c.on_max_stream_data(id, 1).unwrap();
    c.finish(id).unwrap();
    assert!(resets(&mut c).is_empty());
    settle(&mut c, &mut s);
    // Now the application does; what it says later, and a STOP_SENDING, change nothing of it.
    let id = c.open(Dir::Bi).unwrap();
    c.write(id, &[1; 700]).unwrap();
    while packet(&mut c, 600).is_some() {}
    c.write(id, &[1; 300]).unwrap();
    c.reset(id, 9).unwrap();
    let first = resets(&mut c);
    assert_eq!(first.len(), 1);
    assert_eq!((first[0].0, first[0].1, first[0].2), (id, 9, 700));
    for again in 0..3u64 {
        first[0].3.tokens.iter().for_each(|t| c.on_token_lost(t));
        c.reset(id, 10 + again).unwrap();
        let _ = c.write(id, &[1; 100]);
        c.on_stop_sending(id, 77).unwrap();
        let repeated = resets(&mut c);
        assert_eq!(repeated.len(), 1);
        assert_eq!((repeated[0].0, repeated[0].1, repeated[0].2), (id, 9, 700));
    }
}
