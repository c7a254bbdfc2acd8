//! The little JSON that qlog records need, written straight into a byte vector.
use core::fmt::{self, Write as _};
use core::time::Duration;

/// An object being written; fields appear in the order of the calls.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

/// Adapter from formatting to bytes; writing to a vector cannot fail.
struct Sink<'a>(&'a mut Vec<u8>);

impl fmt::Write for Sink<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.0.extend_from_slice(s.as_bytes());
        Ok(())
    }
}

impl<'a> Object<'a> {
    pub(super) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    pub(super) fn end(self) {
        self.out.push(b'}');
    }

    fn key(&mut self, key: &str) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        string(self.out, key);
        self.out.push(b':');
    }

    fn raw(&mut self, key: &str, value: fmt::Arguments<'_>) {
        self.key(key);
        // Writing to a vector cannot fail.
        let _ = Sink(self.out).write_fmt(value);
    }

    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        string(self.out, value);
    }

    pub(super) fn texts(&mut self, key: &str, values: &[&str]) {
        self.key(key);
        self.out.push(b'[');
        for (i, v) in values.iter().enumerate() {
            if i > 0 {
                self.out.push(b',');
            }
            string(self.out, v);
        }
        self.out.push(b']');
    }

    /// A value whose display form needs no escaping (identifiers, addresses).
    pub(super) fn display(&mut self, key: &str, value: impl fmt::Display) {
        self.raw(key, format_args!("\"{value}\""));
    }

    pub(super) fn hex(&mut self, key: &str, bytes: &[u8]) {
        self.key(key);
        self.out.push(b'"');
        for b in bytes {
            let _ = write!(Sink(self.out), "{b:02x}");
        }
        self.out.push(b'"');
    }

    pub(super) fn number(&mut self, key: &str, value: u64) {
        self.raw(key, format_args!("{value}"));
    }

    pub(super) fn flag(&mut self, key: &str, value: bool) {
        self.raw(key, format_args!("{value}"));
    }

    /// A duration in milliseconds with microseconds behind the point.
    pub(super) fn millis(&mut self, key: &str, value: Duration) {
        self.raw(key, format_args!("{}.{:03}", value.as_millis(), value.subsec_micros() % 1000));
    }

    pub(super) fn object(&mut self, key: &str, fill: impl FnOnce(&mut Object<'_>)) {
        self.key(key);
        let mut inner = Object::begin(self.out);
        fill(&mut inner);
        inner.end();
    }

    /// An array of objects; `fill` calls the function it gets once per element.
    pub(super) fn objects(&mut self, key: &str, fill: impl FnOnce(&mut Array<'_>)) {
        self.key(key);
        self.out.push(b'[');
        fill(&mut Array { out: self.out, first: true });
        self.out.push(b']');
    }

    /// An array of `[number]` or `[number, number]`, as qlog writes acknowledged ranges.
    pub(super) fn ranges(&mut self, key: &str, ranges: impl Iterator<Item = core::ops::RangeInclusive<u64>>) {
        self.key(key);
        self.out.push(b'[');
        for (i, r) in ranges.enumerate() {
            if i > 0 {
                self.out.push(b',');
            }
            let _ = if r.start() == r.end() {
                write!(Sink(self.out), "[{}]", r.start())
            } else {
                write!(Sink(self.out), "[{},{}]", r.start(), r.end())
            };
        }
        self.out.push(b']');
    }
}

/// An array of objects being written.
pub(super) struct Array<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl Array<'_> {
    pub(super) fn object(&mut self, fill: impl FnOnce(&mut Object<'_>)) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        let mut o = Object::begin(self.out);
        fill(&mut o);
        o.end();
    }
}

/// RFC 8259 section 7.
fn string(out: &mut Vec<u8>, s: &str) {
    out.push(b'"');
    for c in s.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            c if u32::from(c) < 0x20 => {
                let _ = write!(Sink(out), "\\u{:04x}", u32::from(c));
            }
            c => {
                let mut utf8 = [0; 4];
                out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
            }
        }
    }
    out.push(b'"');
}
