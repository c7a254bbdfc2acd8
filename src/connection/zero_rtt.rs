//! 0-RTT (RFC 9001 section 4.6, RFC 9000 section 7.4.1): remembered limits, acceptance, and sending
//! everything again when the server refused.
use super::Connection;
use super::events::EarlyData;
use super::parameters::Peer;
use crate::base::{SpaceId, Timestamp, TransportError, codes::transport};
use crate::wire::TransportParameters;

impl Connection {
    /// Client with a usable ticket: limits of last time hold until the handshake tells.
    pub(super) fn remember_parameters(&mut self, bytes: &[u8]) {
        let Ok(p) = TransportParameters::decode(bytes, self.side.peer()) else { return };
        //= https://www.rfc-editor.org/rfc/rfc9000#section-9.6.2
        //# A client MUST NOT use these for other connections, including connections that are resumed from the current
        //# connection.
        self.peer = Peer::from(&p);
        // RFC 9000 section 7.4.1: these two are not remembered.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-7.4.1
        //# A client MUST NOT use remembered values for the following parameters: ack_delay_exponent, max_ack_delay,
        //# initial_source_connection_id, original_destination_connection_id, preferred_address,
        //# retry_source_connection_id, and stateless_reset_token.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-7.4.1
        //# The client MUST use the server's new values in the handshake instead; if the server does not provide new
        //# values, the default values are used.
        let defaults = Peer::default();
        self.peer.ack_delay_exponent = defaults.ack_delay_exponent;
        self.peer.max_ack_delay = defaults.max_ack_delay;
        // draft-ietf-quic-ack-frequency section 3: nor is this one.
        self.peer.min_ack_delay = None;
        //= https://www.rfc-editor.org/rfc/rfc9000#section-7.4.1
        //# A client that attempts to send 0-RTT data MUST remember all other transport parameters used by the server
        //# that it is able to process.
        self.streams.set_peer_limits(&p);
        self.apply_peer_limits();
        if let Some(hs) = self.hs.as_mut() {
            hs.remembered = Some(Box::new(p));
        }
    }

    /// The handshake is complete: did the server take the early data?
    pub(super) fn settle_early_data(&mut self, now: Timestamp) -> Result<(), TransportError> {
        if self.early != EarlyData::Pending {
            return Ok(());
        }
        // No more 0-RTT packets are sent from here on: what the handshake said holds now.
        self.apply_peer_limits();
        let accepted = self.tls.as_ref().and_then(|t| t.early_data_accepted()) == Some(true);
        let Some(hs) = self.hs.as_mut() else { return Ok(()) };
        let (old, new) = (hs.remembered.take(), hs.new_parameters.take());
        if accepted {
            self.early = EarlyData::Accepted;
            if let (Some(old), Some(new)) = (old, new) {
                not_reduced(&old, &new)?;
                self.streams.confirm_peer_limits(&new)?;
            }
            return Ok(());
        }
        self.early = EarlyData::Rejected;
        // RFC 9001 section 4.6.2: the client forgets what it sent and sends it again under 1-RTT keys.
        //= https://www.rfc-editor.org/rfc/rfc9001#section-4.6.2
        //# The client therefore MUST reset the state of all streams, including application state bound to those
        //# streams.
        self.with_sink(now, |recovery, paths, sink| recovery.requeue_all(SpaceId::Data, paths, sink));
        self.streams.on_zero_rtt_rejected();
        if let Some(new) = new {
            self.streams.set_peer_limits(&new);
        }
        Ok(())
    }
}

/// RFC 9000 section 7.4.1 and RFC 9221 section 3: a server that accepts 0-RTT must not reduce these.
//= https://www.rfc-editor.org/rfc/rfc9221#section-3
//# If a client stores the value of the max_datagram_frame_size transport parameter with their 0-RTT state, they MUST
//# validate that the new value of the max_datagram_frame_size transport parameter sent by the server in the handshake
//# is greater than or equal to the stored value; if not, the client MUST terminate the connection with error
//# PROTOCOL_VIOLATION.
fn not_reduced(old: &TransportParameters, new: &TransportParameters) -> Result<(), TransportError> {
    let pairs = [
        (old.active_connection_id_limit, new.active_connection_id_limit),
        (old.initial_max_data, new.initial_max_data),
        (old.initial_max_stream_data_bidi_local, new.initial_max_stream_data_bidi_local),
        (old.initial_max_stream_data_bidi_remote, new.initial_max_stream_data_bidi_remote),
        (old.initial_max_stream_data_uni, new.initial_max_stream_data_uni),
        (old.initial_max_streams_bidi, new.initial_max_streams_bidi),
        (old.initial_max_streams_uni, new.initial_max_streams_uni),
        (old.max_datagram_frame_size, new.max_datagram_frame_size),
    ];
    if pairs.iter().any(|(old, new)| new < old) {
        return Err(TransportError::new(transport::PROTOCOL_VIOLATION, "limits reduced after 0-RTT was accepted"));
    }
    Ok(())
}
