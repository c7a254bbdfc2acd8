//! rustls on ring for both ends, and a session store that counts what was resumed.
use bench_core::{Args, Error};
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub fn server(args: &Args) -> Result<rustls::ServerConfig, Error> {
    let (cert, key) = (args.pem("cert.pem")?, args.pem("key.pem")?);
    let certs = rustls_pemfile::certs(&mut &cert[..]).collect::<Result<Vec<_>, _>>()?;
    let key = rustls_pemfile::private_key(&mut &key[..])?.ok_or("no key")?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(certs, key)?;
    tls.ticketer = rustls::crypto::ring::Ticketer::new()?;
    tls.alpn_protocols = vec![args.alpn().to_vec()];
    Ok(tls)
}

pub fn client(args: &Args, resumption: rustls::client::Resumption) -> Result<rustls::ClientConfig, Error> {
    let ca = args.pem("ca.pem")?;
    let mut roots = rustls::RootCertStore::empty();
    for cert in rustls_pemfile::certs(&mut &ca[..]) {
        roots.add(cert?)?;
    }
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![args.alpn().to_vec()];
    tls.resumption = resumption;
    Ok(tls)
}

/// Sessions in the order in which they came, and how many were taken out to be resumed.
#[derive(Debug, Default)]
pub struct CountedSessions {
    sessions: Mutex<VecDeque<Tls13ClientSessionValue>>,
    taken: AtomicU64,
}

impl CountedSessions {
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    fn sessions(&self) -> MutexGuard<'_, VecDeque<Tls13ClientSessionValue>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for CountedSessions {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.sessions().push_back(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let ticket = self.sessions().pop_front();
        self.taken.fetch_add(u64::from(ticket.is_some()), Ordering::Relaxed);
        ticket
    }
}
