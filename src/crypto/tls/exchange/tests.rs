//! The faster X25519 against ring's, and against shares that must be refused.
use super::{fast, groups};
use rustls::crypto::{SupportedKxGroup, ring as suites};
use rustls::{Error, NamedGroup, PeerMisbehaved};

fn both() -> Option<[&'static dyn SupportedKxGroup; 2]> {
    let ours = groups().into_iter().find(|g| g.name() == NamedGroup::X25519).unwrap();
    // Elsewhere both are ring's, and nothing is left to compare.
    fast::usable().then_some([ours, suites::kx_group::X25519])
}

#[test]
fn the_groups_and_their_order_are_rings() {
    let names = |groups: Vec<&'static dyn SupportedKxGroup>| groups.iter().map(|g| g.name()).collect::<Vec<_>>();
    assert_eq!(names(groups()), names(suites::default_provider().kx_groups));
}

#[test]
fn both_ends_agree_whichever_code_they_run() {
    let Some(codes) = both() else { return };
    for _ in 0..64 {
        for client in codes {
            for server in codes {
                let share = client.start().unwrap();
                let answer = server.start_and_complete(share.pub_key()).unwrap();
                assert_eq!(answer.group, NamedGroup::X25519);
                let secret = share.complete(&answer.pub_key).unwrap();
                assert_eq!(secret.secret_bytes(), answer.secret.secret_bytes());
            }
        }
    }
}

#[test]
fn shares_that_prove_nothing_are_refused() {
    let Some(codes) = both() else { return };
    // Points of small order (RFC 7748 section 6.1): zero, one, the prime, and lengths that are none.
    let mut one = [0; 32];
    one[0] = 1;
    let mut prime = [0xff; 32];
    prime[0] = 0xed;
    prime[31] = 0x7f;
    for share in [&[0; 32][..], &one, &prime, &[9; 31], &[9; 33], &[]] {
        for code in codes {
            let refused = Error::from(PeerMisbehaved::InvalidKeyShare);
            assert_eq!(code.start_and_complete(share).err(), Some(refused.clone()), "{share:?}");
            assert_eq!(code.start().unwrap().complete(share).err(), Some(refused));
        }
    }
}
