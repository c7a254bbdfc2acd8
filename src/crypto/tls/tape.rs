//! Randomness that can be played again: how a handshake waits for a signature that is made elsewhere.
//!
//! rustls signs in the middle of one call and cannot be stopped there. So a session whose key is external runs that
//! call twice: the first run stops at the signature, the second is given it. Both must write the same transcript,
//! hence the random bytes and key exchanges of the first run are kept and played to the second. Invariant: nothing
//! of a first run leaves the session, so no random value is ever used for two handshakes; what is kept is wiped.
use super::exchange::groups;
use super::provider::Randomness;
use super::secrets::with_tape;
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret, SupportedKxGroup,
};
use rustls::{Error, NamedGroup};
use std::sync::{Arc, LazyLock};

/// Random choices of one session in their order.
#[derive(Default)]
pub(super) struct Tape {
    randoms: Vec<Vec<u8>>,
    random_at: usize,
    exchanges: Vec<Exchange>,
    exchange_at: usize,
}

#[derive(Default)]
struct Exchange {
    public: Vec<u8>,
    secret: Vec<u8>,
}

fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    core::hint::black_box(bytes);
}

impl Drop for Tape {
    fn drop(&mut self) {
        self.randoms.iter_mut().for_each(|r| wipe(r));
        self.exchanges.iter_mut().for_each(|e| wipe(&mut e.secret));
    }
}

impl Tape {
    /// What follows is the same handshake again.
    pub(super) fn rewind(&mut self) {
        self.random_at = 0;
        self.exchange_at = 0;
    }

    /// Random bytes of the earlier run; false: there was none, or the runs differ.
    fn play_random(&mut self, out: &mut [u8]) -> bool {
        let Some(kept) = self.randoms.get(self.random_at).filter(|r| r.len() == out.len()) else { return false };
        out.copy_from_slice(kept);
        self.random_at += 1;
        true
    }

    fn keep_random(&mut self, bytes: &[u8]) {
        self.randoms.truncate(self.random_at);
        self.randoms.push(bytes.to_vec());
        self.random_at += 1;
    }

    /// The next key exchange: its place, and its public key if an earlier run had it.
    fn next_exchange(&mut self) -> (usize, Option<Vec<u8>>) {
        let at = self.exchange_at;
        self.exchange_at += 1;
        (at, self.exchanges.get(at).map(|e| e.public.clone()))
    }
}

/// The provider with randomness on tape, for configurations with an external key.
pub(super) fn taped(provider: &CryptoProvider) -> Arc<CryptoProvider> {
    let mut provider = provider.clone();
    provider.secure_random = &TapedRandom;
    provider.kx_groups = GROUPS.iter().map(|g| g as &dyn SupportedKxGroup).collect();
    Arc::new(provider)
}

static GROUPS: LazyLock<Vec<TapedGroup>> = LazyLock::new(|| groups().into_iter().map(TapedGroup).collect());

#[derive(Debug)]
struct TapedRandom;

impl SecureRandom for TapedRandom {
    fn fill(&self, out: &mut [u8]) -> Result<(), GetRandomFailed> {
        if with_tape(|tape| tape.play_random(out)) == Some(true) {
            return Ok(());
        }
        Randomness.fill(out)?;
        with_tape(|tape| tape.keep_random(out));
        Ok(())
    }
}

#[derive(Debug)]
struct TapedGroup(&'static dyn SupportedKxGroup);

impl SupportedKxGroup for TapedGroup {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let group = self.0.name();
        match with_tape(Tape::next_exchange) {
            Some((at, Some(public))) => Ok(Box::new(TapedExchange { live: None, at: Some(at), group, public })),
            place => {
                let live = self.0.start()?;
                let public = live.pub_key().to_vec();
                with_tape(|tape| tape.exchanges.push(Exchange { public: public.clone(), secret: Vec::new() }));
                Ok(Box::new(TapedExchange { live: Some(live), at: place.map(|p| p.0), group, public }))
            }
        }
    }

    fn name(&self) -> NamedGroup {
        self.0.name()
    }
}

/// A key exchange under way; without `live` its outcome is on the tape.
struct TapedExchange {
    live: Option<Box<dyn ActiveKeyExchange>>,
    at: Option<usize>,
    group: NamedGroup,
    public: Vec<u8>,
}

impl ActiveKeyExchange for TapedExchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let place = |tape: &mut Tape| self.at.and_then(|at| tape.exchanges.get(at)).map(|e| e.secret.clone());
        let Some(live) = self.live else {
            // The peer's share is that of the first run: the messages are played from memory too.
            return match with_tape(place).flatten() {
                Some(secret) if !secret.is_empty() => Ok(SharedSecret::from(secret)),
                _ => Err(Error::General("the key exchange was not kept".to_owned())),
            };
        };
        let secret = live.complete(peer)?;
        with_tape(|tape| {
            if let Some(kept) = self.at.and_then(|at| tape.exchanges.get_mut(at)) {
                kept.secret = secret.secret_bytes().to_vec();
            }
        });
        Ok(secret)
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        self.group
    }
}
