//! TLS failures as QUIC errors: 0x0100 plus the alert (RFC 9001 section 4.8).
use crate::base::{TransportError, codes};
use rustls::{AlertDescription, CertificateError, Error, PeerMisbehaved};

/// An alert with a reason.
pub(super) fn alert(alert: AlertDescription, reason: &'static str) -> TransportError {
    TransportError::new(codes::transport::CRYPTO_ERROR + u64::from(u8::from(alert)), reason)
}

/// What rustls failed with; `sent` is the alert that it wanted to send.
//= https://www.rfc-editor.org/rfc/rfc9001#section-4.8
//# As QUIC provides alternative mechanisms for connection termination and the TLS connection is only closed if an error
//# is encountered, a QUIC endpoint MUST treat any alert from TLS as if it were at the "fatal" level.
pub(super) fn from_rustls(error: &Error, sent: Option<AlertDescription>) -> TransportError {
    //= https://www.rfc-editor.org/rfc/rfc9001#section-4.6.1
    //# A client MUST treat receipt of a NewSessionTicket that contains an early_data extension with any other value as
    //# a connection error of type PROTOCOL_VIOLATION.
    if matches!(error, Error::PeerMisbehaved(PeerMisbehaved::InvalidMaxEarlyDataSize)) {
        // RFC 9001 section 4.6.1: this one is QUIC's own rule, not an alert of TLS.
        return TransportError::new(codes::transport::PROTOCOL_VIOLATION, "ticket with a limit on early data");
    }
    //= https://www.rfc-editor.org/rfc/rfc9001#section-8.1
    //# Similarly, a client MUST treat the selection of an incompatible application protocol by a server as a connection
    //# error of type 0x0178.
    if matches!(error, Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedApplicationProtocol)) {
        // RFC 9001 section 8.1: whatever is wrong with the protocol has this one alert.
        return alert(AlertDescription::NoApplicationProtocol, "server chose a protocol that was not offered");
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
        //= https://www.rfc-editor.org/rfc/rfc9001#section-8.1
        //# When using ALPN, endpoints MUST immediately close a connection (see Section 10.2 of [QUIC-TRANSPORT]) with a
        //# no_application_protocol TLS alert (QUIC error code 0x0178; see Section 4.8) if an application protocol is
        //# not negotiated.
        //= https://www.rfc-editor.org/rfc/rfc9001#section-8.1
        //# While [ALPN] only specifies that servers use this alert, QUIC clients MUST use error 0x0178 to terminate a
        //# connection when ALPN negotiation fails.
        //= https://www.rfc-editor.org/rfc/rfc9001#section-8.1
        //# The server MUST treat the inability to select a compatible application protocol as a connection error of
        //# type 0x0178 (no_application_protocol).
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
