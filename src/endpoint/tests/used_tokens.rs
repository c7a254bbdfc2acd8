//! One filter of used tokens for all shards.
use super::*;
use crate::base::Rng as _;

/// Shards share what was used, whoever issued it; so a token that the kernel brings to another worker counts once.
//= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.4
//= type=test
//# To protect against such attacks, servers MUST ensure that replay of tokens is prevented or limited.
#[test]
fn a_token_is_used_once_among_all_shards() {
    let cfg = EndpointConfig { shards: 2, ..server() };
    // Of one seed they would make the same tokens.
    let shard = |shard: u8| {
        let rngs: RngSource = Box::new(move || Box::new(Pcg::new(u64::from(shard) + 70)));
        Endpoint::new(EndpointConfig { shard, ..cfg.clone() }, rngs)
    };
    let mut shards = [0, 1].map(shard);
    let uses = |shards: &mut [Endpoint; 2], order: [usize; 3], token: &[u8]| {
        order.map(|at| {
            let i = incoming(&mut shards[at], &tuple(), &initial(token), T0);
            let validated = i.address_validated();
            shards[at].ignore(i);
            validated
        })
    };
    for (issuer, order) in [(0, [0, 1, 0]), (0, [1, 0, 1]), (1, [0, 1, 1]), (1, [1, 1, 0])] {
        let token = new_token(&mut shards[issuer], T0);
        assert_eq!(uses(&mut shards, order, &token), [true, false, false], "{issuer} {order:?}");
    }
    // Another endpoint with the same secret keeps its own: it is another process in general.
    let mut other = endpoint(server());
    let token = new_token(&mut shards[0], T0);
    assert!(incoming(&mut other, &tuple(), &initial(&token), T0).address_validated());
}

/// Threads that race for the same tokens: each is first once.
#[test]
fn racing_shards_agree_who_was_first() {
    let used = UsedTokens::default();
    let nonces: Vec<[u8; 12]> = {
        let mut rng = Pcg::new(5);
        (0..2000).map(|_| core::array::from_fn(|_| rng.next_u64() as u8)).collect()
    };
    let first = core::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|s| {
        for thread in 0..4u64 {
            let (used, nonces, first) = (&used, &nonces, &first);
            s.spawn(move || {
                for (n, nonce) in nonces.iter().enumerate() {
                    // A generation begins on the way; the clocks of workers are a little apart.
                    let now = 999_500 + n as u64 / 2 + thread;
                    if used.first_use(nonce, now, 1000) {
                        first.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let first = first.into_inner();
    assert!((1990..=2000).contains(&first), "{first}");
}

#[test]
fn the_filter_forgets_after_two_windows_and_not_before_one() {
    let used = UsedTokens::default();
    let nonce = *b"0123456789ab";
    for start in [5000u64, 20_500, 23_999] {
        assert!(used.first_use(&nonce, start, 1000), "{start}");
        for later in [0, 1, 500, 1000] {
            assert!(!used.first_use(&nonce, start + later, 1000), "{start} {later}");
        }
    }
    assert!(!used.first_use(&nonce, 3, 1000), "a clock that went back");
}
