//! Code points that more than one room names.

/// QUIC version 1 (RFC 9000 section 15).
pub const VERSION_1: u32 = 0x0000_0001;
/// QUIC version 2 (RFC 9369 section 3.1).
pub const VERSION_2: u32 = 0x6b33_43cf;

/// Transport error codes (RFC 9000 section 20.1).
pub mod transport {
    pub const NO_ERROR: u64 = 0x00;
    pub const INTERNAL_ERROR: u64 = 0x01;
    pub const CONNECTION_REFUSED: u64 = 0x02;
    pub const FLOW_CONTROL_ERROR: u64 = 0x03;
    pub const STREAM_LIMIT_ERROR: u64 = 0x04;
    pub const STREAM_STATE_ERROR: u64 = 0x05;
    pub const FINAL_SIZE_ERROR: u64 = 0x06;
    pub const FRAME_ENCODING_ERROR: u64 = 0x07;
    pub const TRANSPORT_PARAMETER_ERROR: u64 = 0x08;
    pub const CONNECTION_ID_LIMIT_ERROR: u64 = 0x09;
    pub const PROTOCOL_VIOLATION: u64 = 0x0a;
    pub const INVALID_TOKEN: u64 = 0x0b;
    pub const APPLICATION_ERROR: u64 = 0x0c;
    pub const CRYPTO_BUFFER_EXCEEDED: u64 = 0x0d;
    pub const KEY_UPDATE_ERROR: u64 = 0x0e;
    pub const AEAD_LIMIT_REACHED: u64 = 0x0f;
    pub const NO_VIABLE_PATH: u64 = 0x10;
    /// RFC 9368 section 7.2.
    //= https://www.rfc-editor.org/rfc/rfc9368#section-4
    //# Every QUIC version that supports version negotiation MUST define a method for closing the connection
    //# with a version negotiation error.
    pub const VERSION_NEGOTIATION_ERROR: u64 = 0x11;
    /// First of the 256 codes that carry a TLS alert (RFC 9001 section 4.8).
    pub const CRYPTO_ERROR: u64 = 0x0100;
}

/// HTTP/3 error codes (RFC 9114 section 8.1).
pub mod h3 {
    pub const NO_ERROR: u64 = 0x0100;
    pub const GENERAL_PROTOCOL_ERROR: u64 = 0x0101;
    pub const INTERNAL_ERROR: u64 = 0x0102;
    pub const STREAM_CREATION_ERROR: u64 = 0x0103;
    pub const CLOSED_CRITICAL_STREAM: u64 = 0x0104;
    pub const FRAME_UNEXPECTED: u64 = 0x0105;
    pub const FRAME_ERROR: u64 = 0x0106;
    pub const EXCESSIVE_LOAD: u64 = 0x0107;
    pub const ID_ERROR: u64 = 0x0108;
    pub const SETTINGS_ERROR: u64 = 0x0109;
    pub const MISSING_SETTINGS: u64 = 0x010a;
    pub const REQUEST_REJECTED: u64 = 0x010b;
    pub const REQUEST_CANCELLED: u64 = 0x010c;
    pub const REQUEST_INCOMPLETE: u64 = 0x010d;
    pub const MESSAGE_ERROR: u64 = 0x010e;
    pub const CONNECT_ERROR: u64 = 0x010f;
    pub const VERSION_FALLBACK: u64 = 0x0110;
}

/// QPACK error codes (RFC 9204 section 6).
pub mod qpack {
    pub const DECOMPRESSION_FAILED: u64 = 0x0200;
    pub const ENCODER_STREAM_ERROR: u64 = 0x0201;
    pub const DECODER_STREAM_ERROR: u64 = 0x0202;
}
