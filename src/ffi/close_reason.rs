//! Why a connection ended, in the words and numbers of the C ABI.
use super::abi::{WB_ORIGIN_LOCAL, WB_ORIGIN_NONE, WB_ORIGIN_PEER, WB_ORIGIN_SYSTEM};
use super::error::Fail;
use super::status::*;
use crate::base::{TransportError, codes};
use crate::connection::CloseReason;
use std::net::SocketAddr;

/// What else is known when a connection closes.
pub(crate) struct Circumstances {
    /// The peer's address.
    pub remote: SocketAddr,
    /// The handshake was complete.
    pub established: bool,
    /// System error of a report that the peer cannot be reached, or 0.
    pub unreachable: i32,
    /// HTTP/3 found an error and closed the connection.
    pub http3_failure: Option<(u64, &'static str)>,
    pub http3: bool,
}

/// Alerts about a certificate (RFC 8446 section 6.2): bad, unsupported, revoked, expired, unknown, unknown authority,
/// wrong signature, missing.
const CERTIFICATE_ALERTS: [u64; 8] = [42, 43, 44, 45, 46, 48, 51, 116];

/// The failure that a close reason stands for.
pub(crate) fn fail_of(reason: &CloseReason, around: &Circumstances) -> Fail {
    let remote = around.remote;
    match reason {
        CloseReason::Local { code } => local(*code, around),
        CloseReason::Peer { code, app, frame_type, reason } => peer(*code, *app, *frame_type, reason, around.http3),
        CloseReason::Transport(_) if !around.established && around.unreachable != 0 => {
            let system = std::io::Error::from_raw_os_error(around.unreachable);
            let mut fail = Fail::new(WB_E_UNREACHABLE, format!("cannot reach {remote}: {system}"));
            fail.origin = WB_ORIGIN_SYSTEM;
            fail.os_error = around.unreachable;
            fail
        }
        CloseReason::Transport(error) => transport(error),
        CloseReason::HandshakeTimeout => {
            Fail::new(WB_E_TIMEOUT, format!("no QUIC handshake with {remote} within the time for it"))
        }
        CloseReason::IdleTimeout if !around.established => {
            Fail::new(WB_E_TIMEOUT, format!("no QUIC answer from {remote}"))
        }
        CloseReason::IdleTimeout => {
            let mut fail = Fail::new(WB_E_IDLE, "the connection was idle for too long, or the peer vanished");
            fail.origin = WB_ORIGIN_NONE;
            fail
        }
        CloseReason::StatelessReset => {
            let mut fail = Fail::new(WB_E_CLOSED_PEER, "the peer has lost the connection's state (stateless reset)");
            fail.origin = WB_ORIGIN_PEER;
            fail
        }
        CloseReason::VersionMismatch(versions) => {
            let named: Vec<String> = versions.iter().map(|v| format!("{v:#x}")).collect();
            let mut fail =
                Fail::new(WB_E_VERSION, format!("no common QUIC version: {remote} speaks {}", named.join(", ")));
            fail.origin = WB_ORIGIN_PEER;
            fail
        }
        CloseReason::NoPath => Fail::new(WB_E_UNREACHABLE, "no network path to the peer works any more"),
    }
}

fn local(code: u64, around: &Circumstances) -> Fail {
    let mut fail = match around.http3_failure {
        Some((code, why)) => {
            let mut fail = Fail::new(http_status(code), format!("the peer broke HTTP/3: {why}"));
            fail.wire_code = code;
            fail
        }
        None => Fail::new(WB_E_CLOSED_LOCAL, "closed by this side"),
    };
    if around.http3_failure.is_none() {
        fail.wire_code = code;
    }
    fail.application = 1;
    fail
}

fn http_status(code: u64) -> wb_status {
    if (codes::qpack::DECOMPRESSION_FAILED..=codes::qpack::DECODER_STREAM_ERROR).contains(&code) {
        WB_E_QPACK
    } else {
        WB_E_H3
    }
}

fn peer(code: u64, app: bool, frame_type: u64, reason: &[u8], http3: bool) -> Fail {
    let said = String::from_utf8_lossy(reason);
    let said = said.trim();
    let said = if said.is_empty() { String::new() } else { format!(": {}", said.escape_debug()) };
    let mut fail = if app {
        let status = match code {
            0 | codes::h3::NO_ERROR if http3 || code == 0 => WB_E_CLOSED_PEER,
            _ if http3 => http_status(code),
            _ => WB_E_APPLICATION,
        };
        match status {
            WB_E_CLOSED_PEER => Fail::new(status, format!("closed by the peer{said}")),
            _ => Fail::new(status, format!("closed by the peer with application error {code:#x}{said}")),
        }
    } else {
        match code {
            codes::transport::NO_ERROR => Fail::new(WB_E_CLOSED_PEER, format!("closed by the peer{said}")),
            codes::transport::CONNECTION_REFUSED => {
                Fail::new(WB_E_TRANSPORT, format!("the server refused the connection{said}"))
            }
            codes::transport::VERSION_NEGOTIATION_ERROR => {
                Fail::new(WB_E_VERSION, format!("the peer reports a version negotiation error{said}"))
            }
            0x0100..=0x01ff => Fail::new(WB_E_TLS, format!("the peer sent TLS alert {}{said}", code & 0xff)),
            _ => Fail::new(WB_E_TRANSPORT, format!("the peer reports transport error {code:#x}{said}")),
        }
    };
    if !app && (0x0100..=0x01ff).contains(&code) {
        fail.tls_alert = (code & 0xff) as u32;
    }
    fail.origin = WB_ORIGIN_PEER;
    fail.wire_code = code;
    fail.frame_type = frame_type;
    fail.application = u32::from(app);
    fail
}

fn transport(error: &TransportError) -> Fail {
    let alert = error.code.checked_sub(codes::transport::CRYPTO_ERROR).filter(|a| *a <= 0xff);
    let status = match alert {
        Some(alert) if CERTIFICATE_ALERTS.contains(&alert) => WB_E_VERIFY,
        Some(_) => WB_E_TLS,
        None if error.code == codes::transport::VERSION_NEGOTIATION_ERROR => WB_E_VERSION,
        None => WB_E_TRANSPORT,
    };
    let mut fail = Fail::new(status, error.reason);
    fail.origin = WB_ORIGIN_LOCAL;
    fail.wire_code = error.code;
    fail.frame_type = error.frame_type;
    fail.tls_alert = alert.unwrap_or(0) as u32;
    fail
}
