//! Tokens and connection IDs as an observer sees them (RFC 9000 sections 5.1 and 8.1.3).
use super::*;

//= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.3
//= type=test
//# A token issued with NEW_TOKEN MUST NOT include information that would allow values to be linked by an observer to
//# the connection on which it was issued.
//= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.3
//= type=test
//# A server MUST ensure that every NEW_TOKEN frame it sends is unique across all clients, with the exception of those
//# sent to repair losses of previously sent NEW_TOKEN frames.
//= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.4
//= type=test
//# An address validation token MUST be difficult to guess.
#[test]
fn tokens_of_one_client_have_nothing_in_common() {
    let mut e = endpoint(server());
    let tokens: Vec<Vec<u8>> = (0..500).map(|_| new_token(&mut e, T0)).collect();
    let mut unique = tokens.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), tokens.len());
    for pair in tokens.windows(2) {
        assert_eq!(pair[0][..4], pair[1][..4], "the kind of token is told in clear");
        let same = pair[0].iter().zip(&pair[1]).skip(4).filter(|(a, b)| a == b).count();
        assert!(same <= 6, "{same} of {} bytes", pair[0].len() - 4);
    }
}

/// Draws everything twice.
struct Stutter(Pcg, bool, Vec<u8>);

impl crate::base::Rng for Stutter {
    fn fill(&mut self, out: &mut [u8]) {
        if core::mem::take(&mut self.1) && self.2.len() == out.len() {
            out.copy_from_slice(&self.2);
            return;
        }
        crate::base::Rng::fill(&mut self.0, out);
        (self.1, self.2) = (true, out.to_vec());
    }
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-5.1
//= type=test
//# As a trivial example, this means the same connection ID MUST NOT be issued more than once on the same connection.
#[test]
fn no_connection_id_is_issued_twice() {
    let mut e = Endpoint::new(server(), Box::new(|| Box::new(Stutter(Pcg::new(4), false, Vec::new()))));
    let (key, first) = connection(&mut e, Side::Server);
    let Answer::Cids(more) = e.on_event(key, EndpointEvent::NeedCids(12), T0) else { panic!() };
    let mut all: Vec<ConnectionId> = more.iter().map(|c| c.0).chain([first]).collect();
    let (_, other) = connection(&mut e, Side::Server);
    all.push(other);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 14);
}

/// What an observer sees of the connection IDs of one shard, and of another: every byte of them is as good as random.
//= https://www.rfc-editor.org/rfc/rfc9000#section-5.1
//= type=test
//# Connection IDs MUST NOT contain any information that can be used by an external observer (that is, one that does not
//# cooperate with the issuer) to correlate them with other connection IDs for the same connection.
#[test]
fn connection_ids_show_nothing_of_their_shard() {
    let key = TokenKey::new(&[3; 32]);
    let other_key = TokenKey::new(&[4; 32]);
    let mut rng = Pcg::new(11);
    let mut guessed = 0;
    for shard in 0..8u8 {
        let source = cid_source::CidSource::new(shard, 8, &key);
        let all: Vec<ConnectionId> = (0..4096).map(|_| source.next(&mut rng)).collect();
        assert!(all.iter().all(|c| source.shard_of(c.as_slice()) == Some(shard)));
        for at in 0..8 {
            let mut seen = [0u32; 256];
            all.iter().for_each(|c| seen[usize::from(c.as_slice()[at])] += 1);
            assert!(seen.iter().all(|n| (1..50).contains(n)), "shard {shard}, byte {at}");
        }
        // Who does not have the secret reads another shard.
        let wrong = cid_source::CidSource::new(0, 8, &other_key);
        guessed += all.iter().filter(|c| wrong.shard_of(c.as_slice()) == Some(shard)).count();
    }
    assert!(guessed < 8 * 4096 / 100, "{guessed}");
}
