//! Which version a connection speaks: Version Negotiation packets and the new attempt that follows them, the change of
//! version within a handshake, Retry (RFC 9368, RFC 9369 section 4.1, RFC 9000 sections 6 and 17.2.5, RFC 9001
//! section 5.8).
//!
//! Invariant: Version Negotiation and Retry are not looked at once an authentic packet came, nor by a server; the
//! version of a connection changes once at most, before anything but Initial packets was read.
use std::sync::Arc;

use super::Connection;
use super::config::ConnectionConfig;
use super::events::{CloseReason, EarlyData};
use super::handshake::Handshake;
use super::life::Phase;
use super::parameters::{self, OwnIds};
use super::receive::Header;
use crate::base::codes::{VERSION_1, VERSION_2, transport::VERSION_NEGOTIATION_ERROR};
use crate::base::{ConnectionId, Level, Rng, Side, SpaceId, Timestamp, TransportError};
use crate::crypto::{ClientTls, LevelKeys, Session, initial_keys, retry_tag};
use crate::recovery::Recovery;
use crate::wire::{TransportParameters, VersionInformation, retry, version_negotiation};

/// Versions passed on to the application.
const VERSIONS_KEPT: usize = 32;

/// Initial keys of the other version of a handshake that changes, or may change, its version. A client's: of the
/// version that the server seems to have chosen. A server's: of the version that the client started with.
pub(super) struct OtherInitial {
    pub(super) version: u32,
    pub(super) keys: LevelKeys,
}

/// What a client needs for another attempt (RFC 9368 section 2.1).
pub(super) struct Attempt {
    pub(super) tls: Arc<ClientTls>,
    pub(super) server_name: Box<str>,
}

/// We can speak it.
fn supported(version: u32) -> bool {
    version == VERSION_1 || version == VERSION_2
}

/// The version that a client starts with: that of a ticket, because the server spoke it last time and a ticket is good
/// for its own version only (RFC 9369 section 5); else what the configuration says.
pub(super) fn first_version(cfg: &ConnectionConfig, tls: &ClientTls, server_name: &str) -> u32 {
    let known = |v: &u32| supported(*v);
    Session::version_with_ticket(tls, server_name, &cfg.versions)
        .filter(known)
        .or(cfg.initial_version.filter(known))
        .or_else(|| cfg.versions.iter().copied().find(known))
        .unwrap_or(VERSION_1)
}

/// The version that a client takes when a server offers these (RFC 9368 section 2.1).
fn select(cfg: &ConnectionConfig, offered: impl Iterator<Item = u32> + Clone) -> Option<u32> {
    //= https://www.rfc-editor.org/rfc/rfc9368#section-2.1
    //# Upon receiving the Version Negotiation packet, the client SHALL
    //# search for a version it supports in the list provided by the server.
    cfg.versions.iter().copied().filter(|v| supported(*v)).find(|v| offered.clone().any(|o| o == *v))
}

/// Our Version Information; for a server the Chosen Version is still that of the client.
///
/// A client names all its versions: first flights of versions 1 and 2 can be converted into each other (RFC 9369
/// section 4.1). A reserved version keeps peers tolerant.
//= https://www.rfc-editor.org/rfc/rfc9368#section-3
//# Any version of QUIC that supports this mechanism MUST provide a mechanism to exchange Version Information in
//# both directions during the handshake, such that this data is authenticated.
pub(super) fn information(cfg: &ConnectionConfig, version: u32, rng: &mut dyn Rng) -> VersionInformation {
    let mut available: Vec<u32> = cfg.versions.iter().copied().filter(|v| supported(*v)).collect();
    //= https://www.rfc-editor.org/rfc/rfc9368#section-3
    //# Note that the
    //# version in the Chosen Version field MUST be included in this list
    //# to allow the client to communicate the Chosen Version's
    //# preference.
    if !available.contains(&version) {
        available.push(version);
    }
    let reserved = (rng.next_u64() as u32 & 0xf0f0_f0f0) | 0x0a0a_0a0a;
    let at = usize::try_from(rng.below(available.len() as u64 + 1)).unwrap_or(0);
    available.insert(at.min(available.len()), reserved);
    VersionInformation { chosen: version, available }
}

const fn mismatch(reason: &'static str) -> TransportError {
    TransportError::new(VERSION_NEGOTIATION_ERROR, reason)
}

impl Connection {
    /// Long header packets of this version can belong to the connection (RFC 9369 section 4.1).
    pub(super) fn version_fits(&self, hs: &Handshake, version: u32, level: Level) -> bool {
        //= https://www.rfc-editor.org/rfc/rfc9369#section-4.1
        //# An endpoint MUST drop packets using any other
        //# version.
        match level {
            Level::OneRtt => true,
            Level::ZeroRtt => version == hs.original_version,
            Level::Initial => {
                version == self.version || hs.other_initial.as_ref().is_some_and(|o| o.version == version)
            }
            // A packet that overtook the Initial which tells the version: it waits for its keys.
            Level::Handshake => version == self.version || self.may_become(hs, version),
        }
    }

    /// Client: the server may still choose this version.
    fn may_become(&self, hs: &Handshake, version: u32) -> bool {
        self.side.is_client() && !hs.version_settled && supported(version) && self.cfg.versions.contains(&version)
    }

    /// Client: an Initial packet of another version that we offered needs keys of that version (RFC 9369 section 4.1).
    pub(super) fn prepare_version(&mut self, head: &Header) {
        let Some(hs) = self.hs.as_ref() else { return };
        let wanted = head.version != self.version && hs.initial.keys.is_some() && self.may_become(hs, head.version);
        if !wanted || hs.other_initial.as_ref().is_some_and(|o| o.version == head.version) {
            return;
        }
        let keys = initial_keys(head.version, &hs.initial_dcid, self.side);
        if let Some(hs) = self.hs.as_mut() {
            hs.other_initial = Some(Box::new(OtherInitial { version: head.version, keys }));
        }
    }

    /// Client: an authentic Initial packet of another version came.
    ///
    /// "The client learns the negotiated version by observing the first long header Version field that differs from
    /// the original version" (RFC 9369 section 4.1); the server's transport parameters have to confirm it.
    pub(super) fn follow_version(&mut self, version: u32) {
        let Some(hs) = self.hs.as_mut() else { return };
        hs.version_settled = true;
        let Some(other) = hs.other_initial.take().filter(|o| o.version == version) else { return };
        hs.initial.keys = Some(other.keys);
        if let Some(tls) = self.tls.as_mut() {
            tls.set_version(version);
        }
        self.version = version;
    }

    /// Server: TLS chose another version for the client's first flight (RFC 9368 section 2.3). From here on everything
    /// is sent in that version; packets of the original one can still be read.
    pub(super) fn on_version_chosen(&mut self, version: u32) {
        let Some(hs) = self.hs.as_mut() else { return };
        let keys = initial_keys(version, &hs.initial_dcid, self.side);
        if let Some(original) = hs.initial.keys.replace(keys) {
            //= https://www.rfc-editor.org/rfc/rfc9369#section-4.1
            //# The server MUST NOT
            //# discard its original version Initial receive keys until it
            //# successfully processes a Handshake packet with the negotiated
            //# version.
            hs.other_initial = Some(Box::new(OtherInitial { version: hs.original_version, keys: original }));
        }
        //= https://www.rfc-editor.org/rfc/rfc9369#section-4.1
        //# The server MUST send all CRYPTO
        //# frames using the negotiated version.
        self.version = version;
    }

    /// The peer's Version Information against what happened (RFC 9368 section 4).
    pub(super) fn check_version(&self, p: &TransportParameters) -> Result<(), TransportError> {
        let Some(hs) = self.hs.as_ref() else { return Ok(()) };
        let reacted = hs.after_version_negotiation;
        //= https://www.rfc-editor.org/rfc/rfc9369#section-4
        //# Any QUIC endpoint that supports QUIC version 2 MUST send, process,
        //# and validate the version_information transport parameter specified in
        //# [QUIC-VN] to prevent version downgrade attacks.
        let assumed;
        let theirs = match &p.version_information {
            Some(information) => information,
            None if self.side.is_server() => return Ok(()),
            //= https://www.rfc-editor.org/rfc/rfc9368#section-8
            //# if a client is starting a QUIC version 1 connection in
            //# response to a received Version Negotiation packet and the
            //# version_information transport parameter is missing from the server's
            //# transport parameters, then the client SHALL proceed as if the
            //# server's transport parameters contained a version_information
            //# transport parameter with a Chosen Version set to 0x00000001 and an
            //# Available Version list containing exactly one version set to
            //# 0x00000001.
            None if reacted && hs.original_version == VERSION_1 => {
                assumed = VersionInformation { chosen: VERSION_1, available: vec![VERSION_1] };
                &assumed
            }
            //= https://www.rfc-editor.org/rfc/rfc9368#section-4
            //# If a client has reacted to a Version Negotiation packet and
            //# the server's Version Information was missing, the client MUST close
            //# the connection with a version negotiation error.
            //= https://www.rfc-editor.org/rfc/rfc9368#section-4
            //# Clients MUST NOT complete the handshake if they are reacting to a Version Negotiation packet and
            //# the Version Information is missing
            None if reacted => return Err(mismatch("no version_information after Version Negotiation")),
            None if self.version != hs.original_version => return Err(mismatch("version changed without a word")),
            None => return Ok(()),
        };
        if self.side.is_server() {
            //= https://www.rfc-editor.org/rfc/rfc9368#section-4
            //# When the server then processes the client's Version
            //# Information, the server MUST validate that the client's Chosen
            //# Version matches the version in use for the connection.  If the two
            //# differ, the server MUST close the connection with a version
            //# negotiation error.
            //= https://www.rfc-editor.org/rfc/rfc9368#section-4
            //# Subsequently, if the server receives the client's Version Information over QUIC version 1 (as
            //# indicated by the Version field of the Long Header packets that carried the transport parameters)
            //# and the client's Chosen Version is not set to 0x00000001, the server MUST close the connection
            //# with a version negotiation error.
            if theirs.chosen != hs.original_version {
                return Err(mismatch("chosen version is not the one in use"));
            }
            return Ok(());
        }
        //= https://www.rfc-editor.org/rfc/rfc9368#section-4
        //# If a client receives Version Information where the server's Chosen
        //# Version was not sent by the client as part of its Available Versions,
        //# the client MUST close the connection with a version negotiation
        //# error.
        let sent = theirs.chosen == hs.original_version || self.cfg.versions.contains(&theirs.chosen);
        //= https://www.rfc-editor.org/rfc/rfc9368#section-4
        //# clients MUST validate that the
        //# server's Chosen Version is equal to the Negotiated Version; if they
        //# do not match, the client MUST close the connection with a version
        //# negotiation error.
        if !sent || theirs.chosen != self.version {
            return Err(mismatch("chosen version differs"));
        }
        if reacted {
            //= https://www.rfc-editor.org/rfc/rfc9368#section-4
            //# If the client received and acted on a Version Negotiation packet, the
            //# client MUST validate the server's Available Versions field.
            let offered = theirs.available.iter().copied();
            //= https://www.rfc-editor.org/rfc/rfc9368#section-4
            //# if the client reacted to a Version
            //# Negotiation packet and the server's Available Versions field is
            //# empty, the client MUST close the connection with a version
            //# negotiation error.
            if theirs.available.is_empty() {
                return Err(mismatch("no available versions after Version Negotiation"));
            }
            //= https://www.rfc-editor.org/rfc/rfc9368#section-4
            //# If the client would have selected a different
            //# version, the client MUST close the connection with a version
            //# negotiation error.
            //= https://www.rfc-editor.org/rfc/rfc8999#section-7
            //# An endpoint MUST authenticate the semantic content of a Version Negotiation packet if it
            //# attempts a different QUIC version as a result.
            if select(&self.cfg, offered.chain([theirs.chosen])) != Some(hs.original_version) {
                return Err(mismatch("Version Negotiation was a downgrade"));
            }
        }
        Ok(())
    }

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
        //= https://www.rfc-editor.org/rfc/rfc9368#section-2.1
        //# servers MUST ignore all
        //# received Version Negotiation packets.
        //= https://www.rfc-editor.org/rfc/rfc9368#section-4
        //# A client that makes a connection
        //# attempt based on information received from a Version Negotiation
        //# packet MUST ignore any Version Negotiation packets it receives in
        //# response to that connection attempt.
        let acceptable = self.side.is_client()
            && !hs.heard_peer
            && hs.retry_scid.is_none()
            && !hs.after_version_negotiation
            && echoed;
        //= https://www.rfc-editor.org/rfc/rfc9000#section-6.2
        //# A client MUST discard any Version Negotiation packet if it has received and successfully processed any other
        //# packet, including an earlier Version Negotiation packet.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-6.2
        //# A client MUST discard a Version Negotiation packet that lists the QUIC version selected by the client.
        //= https://www.rfc-editor.org/rfc/rfc9368#section-4
        //# Clients MUST ignore any received Version Negotiation packets that
        //# contain the Original Version.
        if !acceptable || vn.versions().any(|v| v == self.version) {
            self.count_drop();
            return;
        }
        if let Some(version) = select(&self.cfg, vn.versions())
            && self.attempt_again(version, now)
        {
            return;
        }
        //= https://www.rfc-editor.org/rfc/rfc9000#section-6.2
        //# A client that supports only this version of QUIC MUST abandon the current connection attempt if it receives
        //# a Version Negotiation packet, with the following two exceptions.
        //= https://www.rfc-editor.org/rfc/rfc9368#section-2.1
        //# If it doesn't find one, it SHALL abort the connection attempt.
        let versions = vn.versions().take(VERSIONS_KEPT).collect();
        self.end(CloseReason::VersionMismatch(versions), Phase::Drained, now);
    }

    /// A new first flight in a version that the server offers: new keys, new packet numbers, a new TLS handshake, and
    /// everything that was sent as 0-RTT data is to be sent again. What is kept is ours alone: streams, our connection
    /// ID, timers. False: no other attempt can be made.
    fn attempt_again(&mut self, version: u32, now: Timestamp) -> bool {
        //= https://www.rfc-editor.org/rfc/rfc9368#section-2.1
        //# Otherwise, it SHALL select a mutually supported version and send a
        //# new first flight with that version -- this version is now the
        //# Negotiated Version.
        let Some(attempt) = self.hs.as_mut().and_then(|h| h.attempt.take()) else { return false };
        let ids = OwnIds { scid: self.scid, odcid: None, retry_scid: None, reset_token: None, preferred: None };
        let own = parameters::own(&self.cfg, Side::Client, version, &ids, self.rng.as_mut());
        //= https://www.rfc-editor.org/rfc/rfc9368#section-6
        //# When incompatible version negotiation is in use, the second
        //# connection that is created in response to the received Version
        //# Negotiation packet MUST restart its application-layer protocol
        //# negotiation process without taking into account the Original Version.
        let Ok(session) = Session::client(&attempt.tls, version, &attempt.server_name, own) else { return false };
        let dcid = self.fresh_dcid();
        self.with_sink(now, |recovery, paths, sink| {
            recovery.requeue_all(SpaceId::Initial, paths, sink);
            recovery.requeue_all(SpaceId::Data, paths, sink);
        });
        self.recovery = Recovery::new(self.side, self.rng.next_u64());
        self.paths.active_mut().recovery.reset(now);
        if self.early == EarlyData::Pending {
            // The new attempt can only use a ticket of its own version (RFC 9369 section 5).
            self.early = EarlyData::Rejected;
            self.streams.on_zero_rtt_rejected();
        }
        self.version = version;
        self.tls = Some(session);
        let mut hs = Handshake::new(&self.cfg, self.side, version, initial_keys(version, &dcid, self.side), dcid, dcid);
        //= https://www.rfc-editor.org/rfc/rfc9369#section-5
        //# Clients MUST NOT use a session ticket or token from a QUIC version 1
        //# connection to initiate a QUIC version 2 connection, and vice versa.
        let port = self.paths.active().tuple.remote.port();
        hs.token = Session::take_token(&attempt.tls, &attempt.server_name, port, version);
        hs.after_version_negotiation = true;
        self.hs = Some(Box::new(hs));
        self.set_peer_cid(dcid);
        self.stats.version_negotiations = self.stats.version_negotiations.saturating_add(1);
        if let Some(remembered) = self.tls.as_ref().and_then(|t| t.remembered_parameters()) {
            self.remember_parameters(&remembered);
        }
        self.idle.on_received();
        self.dirty = true;
        match self.start_tls(now) {
            Ok(()) => true,
            Err(_) => false,
        }
    }

    /// A Destination Connection ID for a first Initial (RFC 9000 section 7.2: at least 8 unpredictable bytes).
    fn fresh_dcid(&mut self) -> ConnectionId {
        let mut bytes = [0; 16];
        self.rng.fill(&mut bytes);
        ConnectionId::new(&bytes).unwrap_or(ConnectionId::EMPTY)
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
        // 17.2.5.1: its Source Connection ID differs from the Destination Connection ID that we chose. RFC 9369
        // section 4.1: only in the original version, which is the one in use until the server is heard.
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
        //= https://www.rfc-editor.org/rfc/rfc9369#section-4.1
        //# The client
        //# MUST NOT use a different version in the subsequent Initial packet
        //# that contains the Retry token.
        hs.initial.keys = Some(initial_keys(self.version, &parsed.scid, self.side));
        hs.initial_dcid = parsed.scid;
        hs.other_initial = None;
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
