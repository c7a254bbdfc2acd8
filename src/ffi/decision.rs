//! `wb_decision_*`: questions that the application answers, at once or later, from any thread.
//!
//! A decision is an object like any other, so its handle is the token: an answered one, one whose connection ended and
//! a made-up one are each told apart by the handle table. Invariants: an answer counts once; what ends unanswered is
//! refused; nothing waits for an answer but the handshake or the attempt that it is about.
use super::abi::*;
use super::address;
use super::args;
use super::buf::BufObject;
use super::conn::ConnObject;
use super::endpoint::EndpointObject;
use super::error::{Fail, copy_text, fence};
use super::handle::{self, Object};
use super::object::{Ends, Known, Meta, publish};
use super::status::*;
use super::tls::TlsObject;
use crate::base::Timestamp;
use crate::base::sync::{AtomicBool, Ordering};
use crate::collections::Chunk;
use crate::crypto::{Answer, Question};
use crate::runtime::{Conn, IncomingDecision, IncomingInfo, UNDECIDED_LIFETIME, clock};
use core::ffi::c_void;
use std::sync::Arc;

/// Alerts (RFC 8446 section 6) for refusals that name none.
const BAD_CERTIFICATE: u8 = 42;
const INTERNAL_ERROR: u8 = 80;
const UNRECOGNIZED_NAME: u8 = 112;
/// Longest signature taken: RSA keys of 16384 bits sign with 2048 bytes.
const MAX_SIGNATURE: usize = 4096;

/// A question.
pub(crate) struct DecisionObject {
    meta: Meta,
    what: What,
    answered: AtomicBool,
}

enum What {
    Admit { endpoint: Arc<EndpointObject>, info: IncomingInfo, since: Timestamp },
    Tls { conn: Arc<ConnObject>, wire: Arc<Conn>, question: Box<Question> },
}

impl Object for DecisionObject {
    const KIND: u32 = WB_KIND_DECISION;

    /// Given up without an answer: refused, because nobody said yes.
    fn abandoned(self: &Arc<Self>) {
        let _ = self.refuse(0);
    }
}

impl Known for DecisionObject {
    fn meta(&self) -> &Meta {
        &self.meta
    }
}

impl DecisionObject {
    fn new(what: What) -> Result<Arc<Self>, Fail> {
        let decision = Arc::new(Self { meta: Meta::default(), what, answered: AtomicBool::new(false) });
        publish(&decision, true)?;
        Ok(decision)
    }

    pub fn admit(endpoint: &Arc<EndpointObject>, info: IncomingInfo) -> Result<Arc<Self>, Fail> {
        Self::new(What::Admit { endpoint: Arc::clone(endpoint), info, since: clock::recent() })
    }

    pub fn tls(conn: &Arc<ConnObject>, wire: &Arc<Conn>, question: Box<Question>) -> Result<Arc<Self>, Fail> {
        Self::new(What::Tls { conn: Arc::clone(conn), wire: Arc::clone(wire), question })
    }

    /// What it is about has ended: the handle goes stale, an answer has no effect.
    pub fn expire(&self) {
        self.answered.store(true, Ordering::Release);
        self.ended();
    }

    /// An admission that nobody can answer any more.
    pub fn is_over(&self, now: Timestamp) -> bool {
        let late = matches!(&self.what, What::Admit { since, .. } if now.since(*since) >= UNDECIDED_LIFETIME);
        late || self.answered.load(Ordering::Acquire)
    }

    /// This answer is the one that counts.
    fn claim(&self) -> Result<(), Fail> {
        if self.answered.swap(true, Ordering::AcqRel) {
            return Err(Fail::new(WB_E_STATE, "the decision was taken already"));
        }
        Ok(())
    }

    fn answer_admission(
        self: &Arc<Self>,
        endpoint: &Arc<EndpointObject>,
        info: &IncomingInfo,
        since: Timestamp,
        how: IncomingDecision,
    ) -> Result<(), Fail> {
        self.claim()?;
        endpoint.forget_admission(self);
        self.ended();
        // A core's time is known to its calls only; there the attempt's own bound decides.
        if endpoint.runtime.core().is_none() && clock::now().since(since) >= UNDECIDED_LIFETIME {
            return Err(Fail::new(WB_E_TIMEOUT, "the client's attempt is over"));
        }
        endpoint.decide(info.ticket, how)
    }

    fn answer_tls(self: &Arc<Self>, conn: &Arc<ConnObject>, wire: &Arc<Conn>, answer: Answer) -> Result<(), Fail> {
        self.claim()?;
        conn.forget_decision(self);
        let early = matches!(answer, Answer::EarlyData(_));
        let (taken, open) = wire.with(|state, now| {
            let taken = !state.poisoned() && state.connection.decide(answer, now);
            (taken, !state.poisoned() && !state.connection.is_closed())
        });
        self.ended();
        match taken {
            true => Ok(()),
            false if early && open => Err(Fail::new(WB_E_TIMEOUT, "the early data were refused meanwhile")),
            false => Err(conn.gone()),
        }
    }

    fn wrong(&self) -> Fail {
        Fail::new(WB_E_INVALID, "this decision is not answered in this way")
    }

    fn accept(self: &Arc<Self>) -> Result<(), Fail> {
        match &self.what {
            What::Admit { endpoint, info, since } => {
                self.answer_admission(endpoint, info, *since, IncomingDecision::Accept)
            }
            What::Tls { question, .. } if matches!(**question, Question::Sign { .. }) => Err(self.wrong()),
            What::Tls { conn, wire, question } if matches!(**question, Question::EarlyData { .. }) => {
                self.answer_tls(conn, wire, Answer::EarlyData(true))
            }
            What::Tls { conn, wire, .. } => self.answer_tls(conn, wire, Answer::Proceed),
        }
    }

    fn refuse(self: &Arc<Self>, how: u32) -> Result<(), Fail> {
        match &self.what {
            What::Admit { endpoint, info, since } => {
                let decision = match how {
                    WB_REFUSE_CLOSE => IncomingDecision::Refuse,
                    WB_REFUSE_RETRY if info.was_retried => {
                        return Err(Fail::new(WB_E_STATE, "the client has answered a Retry already"));
                    }
                    WB_REFUSE_RETRY => IncomingDecision::Retry,
                    WB_REFUSE_SILENT => IncomingDecision::Ignore,
                    _ => return Err(Fail::invalid("unknown way to refuse")),
                };
                self.answer_admission(endpoint, info, *since, decision)
            }
            What::Tls { conn, wire, question } => {
                let given = u8::try_from(how).map_err(|_| Fail::new(WB_E_RANGE, "an alert is one byte"))?;
                let alert = match (given, &**question) {
                    (0, Question::EarlyData { .. }) => {
                        return self.answer_tls(conn, wire, Answer::EarlyData(false));
                    }
                    (_, Question::EarlyData { .. }) => {
                        return Err(Fail::new(WB_E_RANGE, "early data are refused without an alert"));
                    }
                    (0, Question::Identity { .. }) => UNRECOGNIZED_NAME,
                    (0, Question::Verify { verdict, .. }) => verdict.unwrap_or(BAD_CERTIFICATE),
                    (0, Question::Sign { .. }) => INTERNAL_ERROR,
                    (given, _) => given,
                };
                self.answer_tls(conn, wire, Answer::Refuse(alert))
            }
        }
    }

    fn identity(self: &Arc<Self>, tls: &Arc<TlsObject>) -> Result<(), Fail> {
        match &self.what {
            What::Tls { conn, wire, question } if matches!(**question, Question::Identity { .. }) => {
                let server = tls.server()?;
                conn.serve_as(tls);
                self.answer_tls(conn, wire, Answer::Identity(server))
            }
            _ => Err(self.wrong()),
        }
    }

    fn sign(self: &Arc<Self>, signature: &[u8]) -> Result<(), Fail> {
        if signature.is_empty() || signature.len() > MAX_SIGNATURE {
            return Err(Fail::new(WB_E_RANGE, "a signature has 1 to 4096 bytes"));
        }
        match &self.what {
            What::Tls { conn, wire, question } if matches!(**question, Question::Sign { .. }) => {
                self.answer_tls(conn, wire, Answer::Signature(signature.to_vec()))
            }
            _ => Err(self.wrong()),
        }
    }

    fn describe(&self) -> wb_decision_desc {
        let mut desc = wb_decision_desc {
            struct_size: size_of::<wb_decision_desc>() as u32,
            kind: self.kind(),
            conn: 0,
            endpoint: 0,
            local: wb_addr::default(),
            remote: wb_addr::default(),
            address_validated: 0,
            retried: 0,
            alert: 0,
            scheme: 0,
            count: 0,
            server_name_len: 0,
            server_name: [0; 256],
        };
        match &self.what {
            What::Admit { endpoint, info, .. } => {
                desc.endpoint = endpoint.meta().handle();
                desc.local = info.local.map(address::public).unwrap_or_default();
                desc.remote = address::public(info.remote);
                desc.address_validated = u32::from(info.address_validated);
                desc.retried = u32::from(info.was_retried);
            }
            What::Tls { conn, wire, question } => {
                desc.conn = conn.meta().handle();
                desc.local = wire.local_addr().map(address::public).unwrap_or_default();
                desc.remote = address::public(wire.remote_addr());
                let (name, count) = match &**question {
                    Question::Identity { server_name, alpn, .. } => (server_name.as_deref(), alpn.len()),
                    Question::Verify { chain, server_name, verdict, .. } => {
                        desc.alert = u32::from(verdict.unwrap_or(0));
                        (server_name.as_deref(), chain.len())
                    }
                    Question::Sign { scheme, .. } => {
                        desc.scheme = u32::from(*scheme);
                        (None, 1)
                    }
                    Question::EarlyData { .. } => (None, 0),
                };
                desc.count = u32::try_from(count).unwrap_or(u32::MAX);
                if let Some(name) = name {
                    desc.server_name_len = copy_text(&mut desc.server_name, name);
                }
            }
        }
        desc
    }

    /// `WB_DECIDE_*`.
    fn kind(&self) -> u32 {
        match &self.what {
            What::Admit { .. } => WB_DECIDE_ADMIT,
            What::Tls { question, .. } => match &**question {
                Question::Identity { .. } => WB_DECIDE_IDENTITY,
                Question::Verify { .. } => WB_DECIDE_VERIFY,
                Question::Sign { .. } => WB_DECIDE_SIGN,
                Question::EarlyData { .. } => WB_DECIDE_EARLY,
            },
        }
    }

    /// Event kind and its second number.
    pub fn event(&self) -> (u16, u64) {
        match &self.what {
            What::Admit { .. } => (WB_EV_DECIDE_ADMIT, 0),
            What::Tls { question, .. } => match &**question {
                Question::Identity { .. } => (WB_EV_DECIDE_IDENTITY, 0),
                Question::Verify { verdict, .. } => (WB_EV_DECIDE_VERIFY, u64::from(verdict.unwrap_or(0))),
                Question::Sign { scheme, .. } => (WB_EV_DECIDE_SIGN, u64::from(*scheme)),
                Question::EarlyData { window, .. } => {
                    (WB_EV_DECIDE_EARLY, u64::try_from(window.as_millis()).unwrap_or(u64::MAX))
                }
            },
        }
    }

    /// What stands for an offer of early data.
    pub fn early_key(&self) -> Option<&[u8; 32]> {
        match &self.what {
            What::Tls { question, .. } => match &**question {
                Question::EarlyData { key, .. } => Some(key),
                _ => None,
            },
            What::Admit { .. } => None,
        }
    }

    fn data(&self, what: u32, index: usize) -> Result<&[u8], Fail> {
        let What::Tls { question, .. } = &self.what else { return Err(self.wrong()) };
        let found = match (what, &**question) {
            (WB_DATA_CERTIFICATE, Question::Verify { chain, .. }) => chain.get(index).map(Vec::as_slice),
            (WB_DATA_CERTIFICATE, Question::Sign { certificate, .. }) if index == 0 => Some(certificate.as_slice()),
            (WB_DATA_OCSP, Question::Verify { ocsp, .. }) if index == 0 => Some(ocsp.as_slice()),
            (WB_DATA_MESSAGE, Question::Sign { message, .. }) if index == 0 => Some(message.as_slice()),
            (WB_DATA_MESSAGE, Question::Identity { client_hello, .. }) if index == 0 => Some(client_hello.as_slice()),
            (WB_DATA_PROTOCOL, Question::Identity { alpn, .. }) => alpn.get(index).map(Vec::as_slice),
            (WB_DATA_EARLY_KEY, Question::EarlyData { key, .. }) if index == 0 => Some(&key[..]),
            (WB_DATA_CERTIFICATE | WB_DATA_OCSP | WB_DATA_MESSAGE | WB_DATA_PROTOCOL | WB_DATA_EARLY_KEY, _) => None,
            _ => return Err(Fail::invalid("unknown kind of data")),
        };
        found.ok_or_else(|| Fail::new(WB_E_RANGE, "the decision has no such data"))
    }
}

/// What is to be decided, by whom it was asked, and what is known.
///
/// Ownership: the caller's struct is filled. Threads: any. Blocks: never. Errors: handle errors (`WB_E_STALE`: answered, or
/// what it is about has ended), `WB_E_INVALID`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_decision_info(decision: wb_decision, out: *mut wb_decision_desc) -> wb_status {
    fence(|| {
        let desc = handle::get::<DecisionObject>(decision)?.describe();
        // SAFETY: struct_size bytes are writable by contract.
        unsafe { args::fill(out, desc)? };
        Ok(WB_OK)
    })
}

/// Data of a decision as a buffer: `what` is `WB_DATA_*`, `index` counts certificates and protocols from 0 and is else 0.
///
/// Ownership: `*out` is the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_RANGE` (the decision has no such data). Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_decision_data(
    decision: wb_decision,
    what: u32,
    index: usize,
    out: *mut wb_buf,
) -> wb_status {
    fence(|| {
        let decision = handle::get::<DecisionObject>(decision)?;
        args::non_null(out, "buffer")?;
        let handle = BufObject::publish(Chunk::copy_from(decision.data(what, index)?))?;
        // SAFETY: checked above; writable by contract.
        unsafe { args::put(out, handle, "buffer")? };
        Ok(WB_OK)
    })
}

/// Says yes: the client may connect, the peer's certificates are good, the listener's own identity it is, or the offer of
/// early data is new.
///
/// Ownership: the handle goes stale. Threads: any, at once or later. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID` (a signature is asked for), `WB_E_STATE` (answered by another thread),
/// `WB_E_TIMEOUT` (too late), `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER` (the connection has ended). Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_decision_accept(decision: wb_decision) -> wb_status {
    fence(|| {
        handle::get::<DecisionObject>(decision)?.arc().accept()?;
        Ok(WB_OK)
    })
}

/// Says no. For an admission `how` is `WB_REFUSE_*`; else it is the TLS alert to end the handshake with, 0 for the one that
/// fits; but for early data it is 0, and they are refused while the handshake goes on. Releasing an unanswered decision
/// refuses with 0.
///
/// Ownership: the handle goes stale. Threads: any, at once or later. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_RANGE` (an alert is one byte), `WB_E_STATE` (answered, or no further Retry is
/// possible), `WB_E_TIMEOUT`, `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_decision_refuse(decision: wb_decision, how: u32) -> wb_status {
    fence(|| {
        handle::get::<DecisionObject>(decision)?.arc().refuse(how)?;
        Ok(WB_OK)
    })
}

/// Answers who we are: this connection is served as if the listener had this TLS object (role server): its identities,
/// protocols, client certificates, tickets and further decisions.
///
/// Ownership: the TLS object is frozen and kept, the decision's handle goes stale. Threads: any, at once or later.
/// Blocks: never. Errors: handle errors of both, `WB_E_INVALID`, `WB_E_TLS`, `WB_E_STATE`, `WB_E_CLOSED_LOCAL`,
/// `WB_E_CLOSED_PEER`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_decision_identity(decision: wb_decision, tls: wb_tls) -> wb_status {
    fence(|| {
        let decision = handle::get::<DecisionObject>(decision)?.arc();
        let tls = handle::get::<TlsObject>(tls)?.arc();
        decision.identity(&tls)?;
        Ok(WB_OK)
    })
}

/// Gives the signature of `WB_DATA_MESSAGE` under the scheme asked for, encoded as TLS wants it (ECDSA: DER). It is not
/// checked here: the peer ends the handshake over a wrong one.
///
/// Ownership: the bytes stay the caller's, the handle goes stale. Threads: any, at once or later. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_RANGE` (length), `WB_E_STATE`, `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_decision_sign(decision: wb_decision, signature: *const c_void, len: usize) -> wb_status {
    fence(|| {
        let decision = handle::get::<DecisionObject>(decision)?.arc();
        // SAFETY: readable by contract.
        decision.sign(unsafe { args::bytes(signature, len, "signature")? })?;
        Ok(WB_OK)
    })
}
