//! Tests of HTTP/3.
