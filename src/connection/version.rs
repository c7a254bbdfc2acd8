//! Packets that come before anything is encrypted with negotiated keys: Version Negotiation and Retry
//! (RFC 9000 sections 6 and 17.2.5, RFC 9001 section 5.8).
//!
//! Invariant: neither is looked at once an authentic packet came, nor by a server.
use super::Connection;
use super::events::CloseReason;
use super::life::Phase;
use crate::base::{SpaceId, Timestamp};
use crate::crypto::{initial_keys, retry_tag};
use crate::wire::{retry, version_negotiation};

/// Versions passed on to the application.
const VERSIONS_KEPT: usize = 32;

impl Connection {
    pub(super) fn on_version_negotiation(&mut self, packet: &[u8], now: Timestamp) {
        let Ok(vn) = version_negotiation::parse(packet) else {
            self.count_drop();
            return;
        };
        let Some(hs) = self.hs.as_ref() else {
            self.count_drop();
            return;
        };
        // RFC 9000 section 6.2: only as the answer to our first packets; RFC 8999 section 6: with our IDs echoed.
        let echoed = vn.dcid == self.scid.as_slice() && vn.scid == hs.odcid.as_slice();
        //= https://www.rfc-editor.org/rfc/rfc9000#section-6.2
        //# A client MUST discard any Version Negotiation packet if it has received and successfully processed any other
        //# packet, including an earlier Version Negotiation packet.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-6.2
        //# A client MUST discard a Version Negotiation packet that lists the QUIC version selected by the client.
        let acceptable = self.side.is_client() && !hs.heard_peer && hs.retry_scid.is_none() && echoed;
        if !acceptable || vn.versions().any(|v| v == self.version) {
            self.count_drop();
            return;
        }
        let versions = vn.versions().take(VERSIONS_KEPT).collect();
        //= https://www.rfc-editor.org/rfc/rfc9000#section-6.2
        //# A client that supports only this version of QUIC MUST abandon the current connection attempt if it receives
        //# a Version Negotiation packet, with the following two exceptions.
        self.end(CloseReason::VersionMismatch(versions), Phase::Drained, now);
    }

    pub(super) fn on_retry(&mut self, packet: &[u8], now: Timestamp) {
        let Ok(parsed) = retry::parse_retry(packet) else {
            self.count_drop();
            return;
        };
        let our_cid = self.scid;
        let Some(hs) = self.hs.as_mut() else {
            self.count_drop();
            return;
        };
        // RFC 9000 section 17.2.5.2: once, before any other packet, with a token and a valid tag; section
        // 17.2.5.1: its Source Connection ID differs from the Destination Connection ID that we chose.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.5.1
        //# A client MUST discard a Retry packet that contains a Source Connection ID field that is identical to the
        //# Destination Connection ID field of its Initial packet.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.5.2
        //# A client MUST accept and process at most one Retry packet for each connection attempt.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.5.2
        //# After the client has received and processed an Initial or Retry packet from the server, it MUST discard any
        //# subsequent Retry packets that it receives.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.5.2
        //# A client MUST discard a Retry packet with a zero-length Retry Token field.
        let acceptable = self.side.is_client()
            && !hs.heard_peer
            && hs.retry_scid.is_none()
            && parsed.version == self.version
            && parsed.dcid == our_cid
            && parsed.scid != hs.odcid
            && !parsed.token.is_empty();
        //= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.5.2
        //# Clients MUST discard Retry packets that have a Retry Integrity Tag that cannot be validated; see Section 5.8
        //# of [QUIC-TLS].
        if !acceptable || retry_tag(self.version, &hs.odcid, parsed.without_tag) != parsed.tag {
            self.count_drop();
            return;
        }
        //= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.5.1
        //# The client MUST use the value from the Source Connection ID field of the Retry packet in the Destination
        //# Connection ID field of subsequent packets that it sends.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.5.2
        //# The client MUST NOT change the Source Connection ID because the server could include the connection ID as
        //# part of its token validation logic; see Section 8.1.4.
        hs.retry_scid = Some(parsed.scid);
        //= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.3
        //# The client MUST NOT use the token provided in a Retry for future connections.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.3
        //# In comparison, a token obtained in a Retry packet MUST be used immediately during the connection attempt and
        //# cannot be used in subsequent connection attempts.
        hs.token = parsed.token.to_vec();
        hs.initial.keys = Some(initial_keys(self.version, &parsed.scid, self.side));
        self.set_peer_cid(parsed.scid);
        self.stats.retries = self.stats.retries.saturating_add(1);
        // RFC 9000 section 17.2.5.3: everything again, with packet numbers that continue.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.5.3
        //# A client MUST use the same cryptographic handshake message it included in this packet.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.5.3
        //# A client MUST NOT reset the packet number for any packet number space after processing a Retry packet.
        self.with_sink(now, |recovery, paths, sink| {
            recovery.requeue_all(SpaceId::Initial, paths, sink);
            recovery.requeue_all(SpaceId::Data, paths, sink);
        });
        self.idle.on_received();
        self.dirty = true;
    }
}
