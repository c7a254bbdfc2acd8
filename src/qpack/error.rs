//! Errors of QPACK (RFC 9204 section 6). All but `TooLarge` end the connection.

/// What was wrong with the peer's input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QpackError {
    /// QPACK_DECOMPRESSION_FAILED: an encoded field section.
    Decompression(&'static str),
    /// QPACK_ENCODER_STREAM_ERROR: the peer's encoder stream.
    EncoderStream(&'static str),
    /// QPACK_DECODER_STREAM_ERROR: the peer's decoder stream.
    DecoderStream(&'static str),
    /// The section is valid so far but above our limit: an error of its stream only (RFC 9114 section 4.2.2).
    TooLarge,
}
