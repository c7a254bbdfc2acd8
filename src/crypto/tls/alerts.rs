//! TLS failures as QUIC errors: 0x0100 plus the alert (RFC 9001 section 4.8).
use crate::base::{TransportError, codes};
use rustls::{AlertDescription, CertificateError, Error, PeerMisbehaved};

/// An alert with a reason.
pub(super) fn alert(alert: AlertDescription, reason: &'static str) -> TransportError {
    TransportError::new(codes::transport::CRYPTO_ERROR + u64::from(u8::from(alert)), reason)
}

/// What rustls failed with; `sent` is the alert that it wanted to send.
pub(super) fn from_rustls(error: &Error, sent: Option<AlertDescription>) -> TransportError {
    if matches!(error, Error::PeerMisbehaved(PeerMisbehaved::InvalidMaxEarlyDataSize)) {
        // RFC 9001 section 4.6.1: this one is QUIC's own rule, not an alert of TLS.
        return TransportError::new(codes::transport::PROTOCOL_VIOLATION, "ticket with a limit on early data");
    }
    let description = sent.unwrap_or_else(|| description_of(error));
    alert(description, reason_of(error, description))
}

/// The alert that a failed check stands for.
pub(super) fn alert_of(error: &Error) -> u8 {
    u8::from(description_of(error))
}

/// rustls gives no alert for messages that it cannot even frame.
fn description_of(error: &Error) -> AlertDescription {
    match error {
        Error::InvalidMessage(e) => AlertDescription::from(*e),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            AlertDescription::UnexpectedMessage
        }
        Error::PeerMisbehaved(_) => AlertDescription::IllegalParameter,
        Error::PeerIncompatible(_) => AlertDescription::HandshakeFailure,
        Error::InvalidCertificate(e) => AlertDescription::from(e.clone()),
        Error::NoCertificatesPresented => AlertDescription::CertificateRequired,
        Error::NoApplicationProtocol => AlertDescription::NoApplicationProtocol,
        Error::DecryptError => AlertDescription::DecryptError,
        _ => AlertDescription::InternalError,
    }
}

fn reason_of(error: &Error, description: AlertDescription) -> &'static str {
    match error {
        Error::InvalidCertificate(e) => certificate(e),
        Error::NoCertificatesPresented => "no certificate presented",
        Error::NoApplicationProtocol => "no application protocol in common",
        Error::InvalidMessage(_) => "malformed handshake message",
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "unexpected handshake message"
        }
        Error::PeerIncompatible(_) => "peer offers nothing that we support",
        _ if description == AlertDescription::MissingExtension => "required extension is missing",
        Error::PeerMisbehaved(_) => "peer misbehaved in the handshake",
        _ => "handshake failed",
    }
}

fn certificate(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "certificate has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "certificate is not valid yet",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "certificate is not valid for this name"
        }
        CertificateError::UnknownIssuer => "certificate is signed by an unknown authority",
        CertificateError::Revoked => "certificate is revoked",
        CertificateError::BadSignature => "certificate has a bad signature",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "certificate is not for this purpose"
        }
        CertificateError::BadEncoding => "certificate is malformed",
        _ => "certificate is not acceptable",
    }
}
