//! Settings of the streams of one connection: receive windows and their ceilings, stream counts, send limits.

/// Windows are in bytes (RFC 9000 section 4), counts in streams open at a time (section 4.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamsConfig {
    /// Initial receive window of bidirectional streams that we open.
    pub stream_window_bidi_local: u64,
    /// Initial receive window of bidirectional streams that the peer opens.
    pub stream_window_bidi_remote: u64,
    /// Initial receive window of unidirectional streams that the peer opens.
    pub stream_window_uni: u64,
    /// Raised while the connection lives: the window of every stream, told to the peer stream by stream. 0: never raised.
    pub stream_window_floor: u64,
    /// Auto-tuning stops here, per stream.
    pub stream_window_max: u64,
    /// Initial receive window of the connection.
    pub connection_window: u64,
    /// Auto-tuning stops here, for the connection.
    pub connection_window_max: u64,
    /// Bidirectional streams that the peer may have open at a time.
    pub max_streams_bidi: u64,
    /// Unidirectional streams that the peer may have open at a time.
    pub max_streams_uni: u64,
    /// Unacknowledged and unsent bytes that one stream holds before `write` reports `Blocked`.
    pub send_buffer: u64,
    /// That limit grows up to this as the path needs it (see `Streams::on_window`).
    pub send_buffer_max: u64,
    /// The same for all streams together.
    pub send_buffer_connection: u64,
    /// Application error code of the RESET_STREAM after a lender revoked bytes that were still to be sent.
    pub revoked_code: u64,
    /// A peer may send every byte in a frame of its own; in the virtual world we do, too.
    #[cfg(feature = "sim")]
    pub one_byte_frames: bool,
}

impl Default for StreamsConfig {
    fn default() -> Self {
        Self {
            stream_window_bidi_local: 512 << 10,
            stream_window_bidi_remote: 512 << 10,
            stream_window_uni: 512 << 10,
            stream_window_floor: 0,
            stream_window_max: 16 << 20,
            connection_window: 1 << 20,
            connection_window_max: 32 << 20,
            max_streams_bidi: 100,
            max_streams_uni: 100,
            send_buffer: 1 << 20,
            send_buffer_max: 16 << 20,
            send_buffer_connection: 16 << 20,
            revoked_code: crate::base::codes::h3::INTERNAL_ERROR,
            #[cfg(feature = "sim")]
            one_byte_frames: false,
        }
    }
}
