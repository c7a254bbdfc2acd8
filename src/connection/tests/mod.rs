//! Tests of one connection pair in virtual time.
