//! Limits and choices of one HTTP/3 connection, each with the line of the RFC or the attack that asks for it.
use crate::base::Side;

/// Defaults are safe for a public server.
#[derive(Clone, Debug)]
pub struct Http3Config {
    /// SETTINGS_MAX_FIELD_SECTION_SIZE we announce and enforce on requests, responses and trailers alike
    /// (RFC 9114 section 4.2.2).
    pub max_field_section_size: u32,
    /// Field lines in one section: small lines cost more than they weigh.
    pub max_fields: u16,
    /// SETTINGS_QPACK_MAX_TABLE_CAPACITY we announce: memory the peer's encoder may use here
    /// (RFC 9204 section 3.2.3).
    pub qpack_table_capacity: u32,
    /// SETTINGS_QPACK_BLOCKED_STREAMS we announce (RFC 9204 section 2.1.2).
    pub qpack_blocked_streams: u16,
    /// Bytes of encoded sections that may wait for the encoder stream, all streams together.
    pub max_blocked_bytes: u32,
    /// Request streams with state at the same time; more are rejected with H3_REQUEST_REJECTED. The
    /// transport's stream limit usually binds first.
    pub max_concurrent: u32,
    /// Interim responses before a final one (RFC 9110 section 15.2 sets no bound).
    pub max_informational: u8,
    /// SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 9220): a server accepts `:protocol`.
    pub extended_connect: bool,
    /// Huffman-code strings that get shorter by it (RFC 9204 section 4.1.2).
    pub huffman: bool,
    /// Send reserved settings and a reserved frame so that peers keep ignoring the unknown
    /// (RFC 9114 section 7.2.8).
    pub grease: bool,
}

impl Default for Http3Config {
    fn default() -> Self {
        Self {
            max_field_section_size: 64 * 1024,
            max_fields: 256,
            qpack_table_capacity: 4096,
            qpack_blocked_streams: 16,
            max_blocked_bytes: 64 * 1024,
            max_concurrent: 1000,
            max_informational: 16,
            extended_connect: false,
            huffman: true,
            grease: true,
        }
    }
}

impl Http3Config {
    /// What a server's 0-RTT data depends on beside transport parameters, for
    /// [`ConnectionConfig::early_data_context`](crate::connection::ConnectionConfig): the encoded settings. A client may
    /// have remembered them with its ticket, so early data is taken only by a server that still has the same (RFC 9114
    /// section 7.2.4.2).
    #[must_use]
    pub fn early_data_context(&self) -> Vec<u8> {
        super::settings::announced(self, Side::Server)
    }
}
