//! Key exchange groups of the handshake (RFC 8446 section 4.2.8.2, RFC 7748): ring's, X25519 by faster code.
//!
//! ring's X25519 was a quarter of a server's work per handshake. graviola has that function as s2n-bignum's assembly,
//! proved correct and constant-time, at about half of the cost. It is not for every processor and panics where it cannot
//! run. Invariant: graviola is called only after its whole list of instructions was found here.
use rustls::crypto::{SupportedKxGroup, ring as suites};

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod fast {
    use crate::crypto::random;
    use graviola::key_agreement::x25519::{PublicKey, StaticPrivateKey};
    use rustls::crypto::{ActiveKeyExchange, CompletedKeyExchange, GetRandomFailed, SharedSecret, SupportedKxGroup};
    use rustls::{Error, NamedGroup, PeerMisbehaved};

    /// What graviola asks for, whichever of its functions is called.
    #[cfg(target_arch = "x86_64")]
    pub(in crate::crypto::tls) fn usable() -> bool {
        use std::arch::is_x86_feature_detected as has;
        has!("aes")
            && has!("pclmulqdq")
            && has!("ssse3")
            && has!("avx")
            && has!("avx2")
            && has!("adx")
            && has!("bmi1")
            && has!("bmi2")
    }

    /// What graviola asks for, whichever of its functions is called.
    #[cfg(target_arch = "aarch64")]
    pub(in crate::crypto::tls) fn usable() -> bool {
        use std::arch::is_aarch64_feature_detected as has;
        has!("neon") && has!("aes") && has!("pmull") && has!("sha2")
    }

    #[derive(Debug)]
    pub(super) struct X25519;

    /// A key pair for one handshake. The type is named for keys that last, because only those are made of given bytes; it
    /// goes, and is wiped, with the handshake.
    fn share() -> Result<(StaticPrivateKey, [u8; 32]), Error> {
        let mut seed = [0; 32];
        random::fill(&mut seed).map_err(|random::NoRandomness| Error::from(GetRandomFailed))?;
        let private = StaticPrivateKey::from_array(&seed);
        seed.fill(0);
        core::hint::black_box(&seed);
        let public = private.public_key().as_bytes();
        Ok((private, public))
    }

    fn agree(private: &StaticPrivateKey, peer: &[u8]) -> Result<SharedSecret, Error> {
        // RFC 7748 section 6.1 with RFC 8446 section 7.4.2: a share that leads to zero is refused there.
        let shared = PublicKey::try_from_slice(peer).and_then(|peer| private.diffie_hellman(&peer));
        let shared = shared.map_err(|_| Error::from(PeerMisbehaved::InvalidKeyShare))?;
        Ok(SharedSecret::from(&shared.0[..]))
    }

    impl SupportedKxGroup for X25519 {
        fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
            let (private, public) = share()?;
            Ok(Box::new(Started { private, public }))
        }

        fn start_and_complete(&self, peer: &[u8]) -> Result<CompletedKeyExchange, Error> {
            let (private, public) = share()?;
            Ok(CompletedKeyExchange { group: self.name(), pub_key: public.to_vec(), secret: agree(&private, peer)? })
        }

        fn name(&self) -> NamedGroup {
            NamedGroup::X25519
        }
    }

    struct Started {
        private: StaticPrivateKey,
        public: [u8; 32],
    }

    impl ActiveKeyExchange for Started {
        fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
            agree(&self.private, peer)
        }

        fn pub_key(&self) -> &[u8] {
            &self.public
        }

        fn group(&self) -> NamedGroup {
            NamedGroup::X25519
        }
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) use fast::usable;

/// All groups, most wanted first.
pub(super) fn groups() -> Vec<&'static dyn SupportedKxGroup> {
    suites::default_provider().kx_groups.into_iter().map(fastest).collect()
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn fastest(group: &'static dyn SupportedKxGroup) -> &'static dyn SupportedKxGroup {
    if group.name() == rustls::NamedGroup::X25519 && fast::usable() { &fast::X25519 } else { group }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn fastest(group: &'static dyn SupportedKxGroup) -> &'static dyn SupportedKxGroup {
    group
}

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests;
