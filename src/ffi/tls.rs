//! `wb_tls_*`: identities, trust, ALPN and key log, without a type of any TLS library.
//!
//! A TLS object is frozen by its first connection or listener: one rustls configuration, because only connections of one
//! configuration can resume each other's sessions. Key log lines arise under a connection's lock; they wait here until a
//! worker delivers that connection's events with no lock held.
use super::abi::*;
use super::args;
use super::error::{Fail, Outcome, fence};
use super::events::user_code;
use super::handle::{self, Object};
use super::hardened::Shown;
use super::object::{Context, Known, Meta, publish};
use super::status::*;
use crate::base::sync::{AtomicBool, Mutex, Ordering};
use crate::crypto::{Asks, Cipher, ClientTls, ClientTlsBuilder, ServerTls, ServerTlsBuilder, TlsSetupError};
use core::ffi::{c_char, c_void};
use std::fs::File;
use std::io::Write;
use std::sync::Arc;

/// A TLS object.
pub(crate) struct TlsObject {
    meta: Meta,
    role: u32,
    draft: Mutex<Draft>,
}

pub(super) struct Draft {
    /// By number; a removed one leaves a hole.
    identities: Vec<Option<Identity>>,
    asks: Asks,
    ticket_keys: Vec<[u8; 32]>,
    roots: Vec<Vec<u8>>,
    system_roots: bool,
    verify: Option<u32>,
    alpn: Vec<Vec<u8>>,
    early_data: bool,
    /// Most wanted first; empty: the default of the crypto room.
    ciphers: Vec<Cipher>,
    key_log: Option<Arc<KeyLog>>,
    client: Option<Arc<ClientTls>>,
    server: Option<Arc<ServerTls>>,
}

/// Certificate chain and private key, PEM or DER; without a key, decisions ask for signatures.
struct Identity {
    chain: Vec<u8>,
    key: Option<Vec<u8>>,
}

/// Lines of the key log on their way from the handshake to the application.
pub(crate) struct KeyLog {
    waiting: Mutex<Vec<String>>,
    any: AtomicBool,
    sink: KeySink,
}

enum KeySink {
    Function { function: unsafe extern "C" fn(*mut c_void, *const c_char, usize), context: Context },
    File(File),
}

impl KeyLog {
    fn new(sink: KeySink) -> Arc<Self> {
        Arc::new(Self { waiting: Mutex::default(), any: AtomicBool::new(false), sink })
    }

    fn add(&self, line: &str) {
        self.waiting.lock().push(line.to_owned());
        self.any.store(true, Ordering::Release);
    }

    /// Hands out what waits. No lock may be held.
    pub fn flush(&self) {
        if !self.any.swap(false, Ordering::AcqRel) {
            return;
        }
        let lines = std::mem::take(&mut *self.waiting.lock());
        match &self.sink {
            KeySink::Function { function, context } => {
                for line in lines {
                    let line = Shown::new(line.into_bytes().into());
                    // SAFETY: registered by the application for this context; the line lives until the call returns.
                    user_code(|| unsafe { function(context.pointer(), line.as_ptr().cast(), line.len()) });
                }
            }
            KeySink::File(file) => {
                let mut text = lines.join("\n");
                if !text.is_empty() {
                    text.push('\n');
                    // One write per batch, so that lines of several programs do not mix. A full disk must not end
                    // connections.
                    let mut file: &File = file;
                    let _ = file.write_all(text.as_bytes());
                }
            }
        }
    }
}

impl Object for TlsObject {
    const KIND: u32 = WB_KIND_TLS;
}

impl Known for TlsObject {
    fn meta(&self) -> &Meta {
        &self.meta
    }
}

/// Any protocol will do to try an identity or roots.
fn trial_alpn() -> Vec<Vec<u8>> {
    vec![b"h3".to_vec()]
}

fn tls_fail(error: &TlsSetupError) -> Fail {
    Fail::new(WB_E_TLS, error.0.clone())
}

impl TlsObject {
    fn new(role: u32) -> Self {
        let draft = Draft {
            identities: Vec::new(),
            asks: Asks::default(),
            ticket_keys: Vec::new(),
            roots: Vec::new(),
            system_roots: false,
            verify: None,
            alpn: vec![b"h3".to_vec()],
            early_data: false,
            ciphers: Vec::new(),
            key_log: None,
            client: None,
            server: None,
        };
        Self { meta: Meta::default(), role, draft: Mutex::new(draft) }
    }

    pub(super) fn change(&self, act: impl FnOnce(&mut Draft)) -> Outcome {
        let mut draft = self.draft.lock();
        if draft.client.is_some() || draft.server.is_some() {
            return Err(Fail::new(WB_E_FROZEN, "the TLS object is in use"));
        }
        act(&mut draft);
        Ok(WB_OK)
    }

    /// Tried now, so that the caller hears which pair is no good.
    fn identity(chain: &[u8], key: Option<&[u8]>) -> Result<Identity, Fail> {
        if chain.is_empty() || key.is_some_and(<[u8]>::is_empty) {
            return Err(Fail::invalid("certificate or key is empty"));
        }
        let trial = ServerTlsBuilder::new().alpn(trial_alpn());
        let trial = match key {
            Some(key) => trial.identity_pem(chain, key),
            None => trial.identity_external(chain),
        };
        trial.build().map_err(|e| tls_fail(&e))?;
        Ok(Identity { chain: chain.to_vec(), key: key.map(<[u8]>::to_vec) })
    }

    /// Adds an identity and tells its number.
    pub(super) fn add_identity(&self, chain: &[u8], key: Option<&[u8]>) -> Result<u32, Fail> {
        let identity = Self::identity(chain, key)?;
        let mut id = 0;
        self.change(|d| {
            id = u32::try_from(d.identities.len()).unwrap_or(u32::MAX);
            d.identities.push(Some(identity));
        })?;
        Ok(id)
    }

    /// Replaces or removes an identity; a server's also while it is in use.
    pub(super) fn replace_identity(&self, id: u32, pair: Option<(&[u8], Option<&[u8]>)>) -> Result<(), Fail> {
        let identity = pair.map(|(chain, key)| Self::identity(chain, key)).transpose()?;
        let mut draft = self.draft.lock();
        if draft.client.is_some() {
            return Err(Fail::new(WB_E_FROZEN, "the TLS object is in use by clients"));
        }
        let server = draft.server.clone();
        let unknown = || Fail::new(WB_E_RANGE, "the TLS object has no identity of this number");
        let slot = draft.identities.get_mut(id as usize).ok_or_else(unknown)?;
        if let Some(server) = server {
            server.replace_identity(id, pair).map_err(|e| tls_fail(&e))?;
        }
        *slot = identity;
        Ok(())
    }

    /// Chooses what the application decides.
    pub(super) fn ask(&self, mask: u32) -> Outcome {
        if mask & !(WB_DECIDE_IDENTITY | WB_DECIDE_VERIFY | WB_DECIDE_EARLY) != 0 {
            return Err(Fail::invalid("only identity, verify and early data are chosen here"));
        }
        if self.role == WB_ROLE_CLIENT && mask & (WB_DECIDE_IDENTITY | WB_DECIDE_EARLY) != 0 {
            return Err(Fail::new(WB_E_UNSUPPORTED, "a client's identity and early data are not chosen by decision"));
        }
        let asks = Asks {
            identity: mask & WB_DECIDE_IDENTITY != 0,
            verify: mask & WB_DECIDE_VERIFY != 0,
            early_data: mask & WB_DECIDE_EARLY != 0,
        };
        self.change(|d| d.asks = asks)
    }

    /// Replaces the ticket keys, also while in use.
    pub(super) fn set_ticket_keys(&self, keys: Vec<[u8; 32]>) -> Outcome {
        if self.role != WB_ROLE_SERVER {
            return Err(Fail::invalid("this TLS object is for clients"));
        }
        let mut draft = self.draft.lock();
        if let Some(server) = &draft.server {
            server.set_ticket_keys(&keys);
        }
        draft.ticket_keys = keys;
        Ok(WB_OK)
    }

    fn add_roots(&self, pem: &[u8]) -> Outcome {
        if pem.is_empty() {
            return self.change(|d| d.system_roots = true);
        }
        ClientTlsBuilder::new().alpn(trial_alpn()).roots_pem(pem).build().map_err(|e| tls_fail(&e))?;
        self.change(|d| d.roots.push(pem.to_vec()))
    }

    fn set_verify(&self, mode: u32) -> Outcome {
        match (self.role, mode) {
            (WB_ROLE_CLIENT, WB_VERIFY_OPTIONAL) => {
                Err(Fail::new(WB_E_UNSUPPORTED, "a client verifies its peer, or does not"))
            }
            (_, WB_VERIFY_NONE | WB_VERIFY_OPTIONAL | WB_VERIFY_REQUIRED) => self.change(|d| d.verify = Some(mode)),
            _ => Err(Fail::invalid("unknown verify mode")),
        }
    }

    /// The key log to flush around this object's connections.
    pub fn key_log(&self) -> Option<Arc<KeyLog>> {
        self.draft.lock().key_log.clone()
    }

    /// Freezes the object for connecting.
    pub fn client(&self) -> Result<Arc<ClientTls>, Fail> {
        if self.role != WB_ROLE_CLIENT {
            return Err(Fail::invalid("this TLS object is for servers"));
        }
        let mut draft = self.draft.lock();
        if let Some(client) = &draft.client {
            return Ok(Arc::clone(client));
        }
        let mut builder = ClientTlsBuilder::new().alpn(draft.alpn.clone()).early_data(draft.early_data);
        for pem in &draft.roots {
            builder = builder.roots_pem(pem);
        }
        if draft.system_roots || draft.roots.is_empty() {
            builder = builder.system_roots();
        }
        if draft.verify == Some(WB_VERIFY_NONE) {
            builder = builder.no_verify();
        }
        builder = builder.asks(draft.asks);
        for identity in draft.identities.iter().flatten() {
            builder = match &identity.key {
                Some(key) => builder.identity_pem(&identity.chain, key),
                None => builder.identity_external(&identity.chain),
            };
        }
        if let Some(log) = draft.key_log.clone() {
            builder = builder.key_log(Arc::new(move |line: &str| log.add(line)));
        }
        if !draft.ciphers.is_empty() {
            builder = builder.ciphers(draft.ciphers.clone());
        }
        let client = builder.build().map_err(|e| tls_fail(&e))?;
        draft.client = Some(Arc::clone(&client));
        Ok(client)
    }

    /// Freezes the object for listening.
    pub fn server(&self) -> Result<Arc<ServerTls>, Fail> {
        if self.role != WB_ROLE_SERVER {
            return Err(Fail::invalid("this TLS object is for clients"));
        }
        let mut draft = self.draft.lock();
        if let Some(server) = &draft.server {
            return Ok(Arc::clone(server));
        }
        if draft.identities.iter().all(Option::is_none) && !draft.asks.identity {
            return Err(Fail::new(WB_E_TLS, "a server needs a certificate and its key"));
        }
        let mut builder = ServerTlsBuilder::new().alpn(draft.alpn.clone()).early_data(draft.early_data);
        builder = builder.asks(draft.asks);
        for identity in &draft.identities {
            builder = match identity {
                Some(Identity { chain, key: Some(key) }) => builder.identity_pem(chain, key),
                Some(Identity { chain, key: None }) => builder.identity_external(chain),
                None => builder.skip_identity(),
            };
        }
        if let Some(mode @ (WB_VERIFY_OPTIONAL | WB_VERIFY_REQUIRED)) = draft.verify {
            if draft.roots.is_empty() && !draft.asks.verify {
                return Err(Fail::new(WB_E_TLS, "client certificates need trusted roots to be verified with"));
            }
            builder = builder.client_certificates(mode == WB_VERIFY_REQUIRED);
            for pem in &draft.roots {
                builder = builder.client_roots_pem(pem, mode == WB_VERIFY_REQUIRED);
            }
        }
        if let Some(log) = draft.key_log.clone() {
            builder = builder.key_log(Arc::new(move |line: &str| log.add(line)));
        }
        if !draft.ciphers.is_empty() {
            builder = builder.ciphers(draft.ciphers.clone());
        }
        let server = builder.build().map_err(|e| tls_fail(&e))?;
        server.set_ticket_keys(&draft.ticket_keys);
        draft.server = Some(Arc::clone(&server));
        Ok(server)
    }
}

fn read_file(name: &str) -> Result<Vec<u8>, Fail> {
    std::fs::read(name).map_err(|e| Fail::os(&format!("cannot read {name}"), &e))
}

/// Makes a TLS object for `WB_ROLE_CLIENT` or `WB_ROLE_SERVER`. Defaults: ALPN "h3"; a client verifies its peer
/// (with the system's roots when none are added), a server asks for no certificate. One object serves many
/// connections, and only connections of one object can resume each other's sessions.
///
/// Ownership: `*out` is the caller's. Threads: any. Blocks: never. Errors: `WB_E_INVALID`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_tls_new(role: u32, out: *mut wb_tls) -> wb_status {
    fence(|| {
        args::non_null(out, "TLS object")?;
        if !matches!(role, WB_ROLE_CLIENT | WB_ROLE_SERVER) {
            return Err(Fail::invalid("unknown role"));
        }
        let handle = publish(&Arc::new(TlsObject::new(role)), false)?;
        // SAFETY: checked above; writable by contract.
        unsafe { args::put(out, handle, "TLS object")? };
        Ok(WB_OK)
    })
}

/// Adds an identity: certificate chain (own certificate first) and private key, PEM in memory. A server may add
/// several; the host name that the client asks for chooses.
///
/// Ownership: the bytes stay the caller's, they are copied. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_TLS` (unreadable, or key and certificate do not match),
/// `WB_E_FROZEN`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_tls_identity_pem(
    tls: wb_tls,
    chain: *const c_void,
    chain_len: usize,
    key: *const c_void,
    key_len: usize,
) -> wb_status {
    fence(|| {
        let tls = handle::get::<TlsObject>(tls)?;
        // SAFETY: readable by contract.
        let (chain, key) =
            unsafe { (args::bytes(chain, chain_len, "certificates")?, args::bytes(key, key_len, "key")?) };
        tls.add_identity(chain, Some(key))?;
        Ok(WB_OK)
    })
}

/// Adds an identity from two PEM files; the names are terminated.
///
/// Ownership: the names stay the caller's. Threads: any. Blocks: for reading the files.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_UTF8`, `WB_E_OS` (with the file's name in the detail), `WB_E_TLS`,
/// `WB_E_FROZEN`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_tls_identity_files(tls: wb_tls, chain: *const c_char, key: *const c_char) -> wb_status {
    fence(|| {
        let tls = handle::get::<TlsObject>(tls)?;
        // SAFETY: terminated by contract.
        let (chain, key) =
            unsafe { (args::text(chain, usize::MAX, "certificate file")?, args::text(key, usize::MAX, "key file")?) };
        let (chain_pem, key_pem) = (read_file(chain)?, read_file(key)?);
        tls.add_identity(&chain_pem, Some(&key_pem)).map_err(|mut fail| {
            fail.text = format!("{chain}, {key}: {}", fail.text).into();
            fail
        })?;
        Ok(WB_OK)
    })
}

/// Adds trusted roots, PEM or DER in memory. With a length of 0: the system's store.
///
/// Ownership: the bytes stay the caller's. Threads: any. Blocks: never, except for reading the system's store.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_TLS`, `WB_E_FROZEN`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_tls_trust_add(tls: wb_tls, pem: *const c_void, len: usize) -> wb_status {
    fence(|| {
        let tls = handle::get::<TlsObject>(tls)?;
        // SAFETY: readable by contract.
        tls.add_roots(unsafe { args::bytes(pem, len, "roots")? })
    })
}

/// Adds trusted roots from a PEM file; the name is terminated.
///
/// Ownership: the name stays the caller's. Threads: any. Blocks: for reading the file.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_UTF8`, `WB_E_OS`, `WB_E_TLS`, `WB_E_FROZEN`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_tls_trust_file(tls: wb_tls, file: *const c_char) -> wb_status {
    fence(|| {
        let tls = handle::get::<TlsObject>(tls)?;
        // SAFETY: terminated by contract.
        let file = unsafe { args::text(file, usize::MAX, "file name")? };
        let pem = read_file(file)?;
        if pem.is_empty() {
            return Err(Fail::new(WB_E_TLS, format!("{file} is empty")));
        }
        tls.add_roots(&pem).map_err(|mut fail| {
            fail.text = format!("{file}: {}", fail.text).into();
            fail
        })
    })
}

/// Sets how the peer is verified: `WB_VERIFY_*`. A client knows NONE and REQUIRED.
///
/// Ownership: unchanged. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_UNSUPPORTED`, `WB_E_FROZEN`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_tls_verify_mode(tls: wb_tls, mode: u32) -> wb_status {
    fence(|| handle::get::<TlsObject>(tls)?.set_verify(mode))
}

/// Sets the application protocols in order of preference, replacing the default.
///
/// Ownership: the names stay the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_RANGE` (a name is empty or over 255 bytes), `WB_E_FROZEN`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_tls_alpn(tls: wb_tls, names: *const wb_text, count: usize) -> wb_status {
    fence(|| {
        let tls = handle::get::<TlsObject>(tls)?;
        if count == 0 {
            return Err(Fail::invalid("QUIC needs an application protocol (RFC 9001 section 8.1)"));
        }
        let mut alpn = Vec::new();
        // SAFETY: readable by contract, as are the names.
        for name in unsafe { args::slice(names, count, "names")? } {
            // SAFETY: as above.
            let bytes = unsafe { args::text(name.data, name.len, "name")? }.as_bytes();
            // RFC 7301 section 3.1.
            if bytes.is_empty() || bytes.len() > 255 {
                return Err(Fail::new(WB_E_RANGE, "a protocol name has 1 to 255 bytes"));
            }
            alpn.push(bytes.to_vec());
        }
        tls.change(|d| d.alpn = alpn)
    })
}

/// Sets the cipher suites in order of preference: 0x1301 (AES-128-GCM), 0x1302 (AES-256-GCM), 0x1303
/// (ChaCha20-Poly1305). Default: all three, the fastest on this machine first.
///
/// Ownership: the numbers stay the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID` (none given), `WB_E_UNSUPPORTED` (another suite), `WB_E_FROZEN`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_tls_ciphers(tls: wb_tls, suites: *const u16, count: usize) -> wb_status {
    fence(|| {
        let tls = handle::get::<TlsObject>(tls)?;
        if count == 0 {
            return Err(Fail::invalid("TLS needs a cipher suite"));
        }
        let mut ciphers: Vec<Cipher> = Vec::new();
        // SAFETY: readable by contract.
        for suite in unsafe { args::slice(suites, count, "cipher suites")? } {
            let known = [Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305];
            let found = known.into_iter().find(|c| c.wire_id() == *suite);
            let cipher = found
                .ok_or_else(|| Fail::new(WB_E_UNSUPPORTED, format!("{suite:#06x} is not a suite of this library")))?;
            if !ciphers.contains(&cipher) {
                ciphers.push(cipher);
            }
        }
        tls.change(|d| d.ciphers = ciphers)
    })
}

/// Allows (1) or forbids (0, default) early data. Early data can be replayed by an attacker: only for requests
/// that may happen twice. A server takes them once per ticket; one that shares ticket keys with others takes them only
/// when the application says that no server has seen the offer before (`WB_DECIDE_EARLY`).
///
/// Ownership: unchanged. Threads: any. Blocks: never. Errors: handle errors, `WB_E_FROZEN`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_tls_early_data(tls: wb_tls, allow: u8) -> wb_status {
    fence(|| handle::get::<TlsObject>(tls)?.change(|d| d.early_data = allow != 0))
}

/// Hands every TLS secret as a line in the NSS key log format to a function, on library threads. For debugging
/// only: who has these lines reads the traffic.
///
/// Ownership: `ctx` belongs to the TLS object until `destroy` (may be null). Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_FROZEN`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_tls_keylog(
    tls: wb_tls,
    function: wb_line_fn,
    ctx: *mut c_void,
    destroy: wb_destroy_fn,
) -> wb_status {
    fence(|| {
        let tls = handle::get::<TlsObject>(tls)?;
        let function = function.ok_or_else(|| Fail::invalid("the function is null"))?;
        let old = {
            let mut draft = tls.draft.lock();
            if draft.client.is_some() || draft.server.is_some() {
                return Err(Fail::new(WB_E_FROZEN, "the TLS object is in use"));
            }
            let context = Context::new(ctx, destroy);
            draft.key_log.replace(KeyLog::new(KeySink::Function { function, context }))
        };
        // Outside the lock: this may run a destructor.
        drop(old);
        Ok(WB_OK)
    })
}

/// Appends every TLS secret to a file in the NSS key log format, as SSLKEYLOGFILE of other programs does.
/// The name is terminated.
///
/// Ownership: the name stays the caller's. Threads: any. Blocks: for opening the file; later writes are made by
/// library threads. Errors: handle errors, `WB_E_INVALID`, `WB_E_UTF8`, `WB_E_OS`, `WB_E_FROZEN`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_tls_keylog_file(tls: wb_tls, file: *const c_char) -> wb_status {
    fence(|| {
        let tls = handle::get::<TlsObject>(tls)?;
        // SAFETY: terminated by contract.
        let name = unsafe { args::text(file, usize::MAX, "file name")? };
        let mut options = File::options();
        options.append(true).create(true);
        // The secrets are for the user alone.
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(name).map_err(|e| Fail::os(&format!("cannot open {name}"), &e))?;
        let mut old = None;
        let outcome = tls.change(|d| old = d.key_log.replace(KeyLog::new(KeySink::File(file))));
        drop(old);
        outcome
    })
}
