//! Field rules (RFC 9114 sections 4.2 and 4.3): what passes, what does not, in both roles.
use super::mock::{GET, OK, with};
use crate::http3::fields::{Method, check};
use crate::http3::priority::{Priority, parse};
use crate::http3::{Field, SectionKind};

fn passes(kind: SectionKind, fields: &[Field<'_>]) -> bool {
    check(kind, fields.iter().copied()).is_ok()
}

fn request(lines: &[(&str, &str)]) -> bool {
    passes(SectionKind::Request, &with(&[], lines))
}

const M: (&str, &str) = (":method", "GET");
const S: (&str, &str) = (":scheme", "https");
const A: (&str, &str) = (":authority", "a.example");
const P: (&str, &str) = (":path", "/");

#[test]
fn request_pseudo_headers() {
    assert!(request(&[M, S, A, P]));
    assert!(request(&[P, A, S, M, ("x", "y")]));
    // One missing, one twice.
    for n in 0..4 {
        let mut lines = vec![M, S, A, P];
        let gone = lines.remove(n);
        assert!(!request(&lines), "without {gone:?}");
        lines.insert(n, gone);
        lines.push(gone);
        assert!(!request(&lines), "{gone:?} twice");
    }
    // Unknown, of a response, after a regular field, upper case.
    for extra in [(":autority", "x"), (":status", "200"), (":foo", "bar"), (":", ""), (":Path", "/")] {
        assert!(!request(&[M, S, A, P, extra]), "{extra:?}");
    }
    assert!(!request(&[M, S, A, ("x", "y"), P]));
    // Authority and host.
    assert!(request(&[M, S, P, ("host", "a.example")]));
    assert!(request(&[M, S, A, P, ("host", "a.example")]));
    assert!(!request(&[M, S, A, P, ("host", "b.example")]));
    assert!(!request(&[M, S, P, ("host", "")]));
    assert!(!request(&[M, S, P, ("host", "a.example"), ("host", "a.example")]));
    for bad in ["", "user@a.example", "a b", "a.example,b.example", "a/b", "a?b", "a#b", "a\\b", "a\"b"] {
        assert!(!request(&[M, S, (":authority", bad), P]), "{bad:?}");
    }
    assert!(request(&[M, S, (":authority", "[2001:db8::1]:8443"), P]));
    // Other schemes need no authority.
    assert!(request(&[M, (":scheme", "coap"), P]));
    assert!(request(&[M, (":scheme", "urn"), (":path", "")]));
    for bad in ["", "1http", "ht tp", "http:"] {
        assert!(!request(&[M, (":scheme", bad), A, P]), "{bad:?}");
    }
    // Paths: erratum 7014 allows two slashes; `*` is for OPTIONS.
    for good in ["//", "/a?b=c", "/%00", "/a//b/../c"] {
        assert!(request(&[M, S, A, (":path", good)]), "{good:?}");
    }
    for bad in ["", "*", "a", "?x", "/a b", "/a#b", "/\u{7f}"] {
        assert!(!request(&[M, S, A, (":path", bad)]), "{bad:?}");
    }
    assert!(request(&[(":method", "OPTIONS"), S, A, (":path", "*")]));
    for bad in ["", "G T", "GET\u{e9}", "GE/T"] {
        assert!(!request(&[(":method", bad), S, A, P]), "{bad:?}");
    }
    assert!(request(&[(":method", "M-SEARCH"), S, A, P]));
}

#[test]
fn connect() {
    const C: (&str, &str) = (":method", "CONNECT");
    const T: (&str, &str) = (":authority", "a.example:443");
    assert!(request(&[C, T]));
    assert!(!request(&[C]));
    assert!(!request(&[C, T, S]));
    assert!(!request(&[C, T, P]));
    assert!(!request(&[C, T, ("host", "b.example:443")]));
    for bad in ["", "a.example", "a.example:", ":443", "a.example:70000", "u@a.example:443", "a b:443"] {
        assert!(!request(&[C, (":authority", bad)]), "{bad:?}");
    }
    // Extended (RFC 9220).
    let x = (":protocol", "websocket");
    assert!(request(&[C, x, S, A, P]));
    assert!(!request(&[M, x, S, A, P]));
    assert!(!request(&[C, x, S, A]));
    assert!(!request(&[C, x, A, P]));
    assert!(!request(&[C, x, S, P, ("host", "a.example")]));
    assert!(!request(&[C, (":protocol", ""), S, A, P]));
    let summary = check(SectionKind::Request, with(&[], &[C, x, S, A, P]).into_iter()).unwrap();
    assert!(summary.extended && summary.method == Method::Connect);
}

#[test]
fn responses() {
    let response = |lines: &[(&str, &str)]| passes(SectionKind::Response, &with(&[], lines));
    for good in ["100", "103", "200", "204", "404", "599", "999"] {
        assert!(response(&[(":status", good)]), "{good}");
    }
    for bad in ["", "20", "2000", "099", "2x0", "+20", " 200", "101", "-12"] {
        assert!(!response(&[(":status", bad)]), "{bad}");
    }
    assert!(!response(&[]));
    assert!(!response(&[("server", "x")]));
    assert!(!response(&[(":status", "200"), (":status", "200")]));
    assert!(!response(&[("server", "x"), (":status", "200")]));
    for extra in [":method", ":scheme", ":authority", ":path", ":protocol", ":other"] {
        assert!(!response(&[(":status", "200"), (extra, "x")]), "{extra}");
    }
    assert!(!response(&[(":status", "200"), ("te", "trailers")]));
}

#[test]
fn trailers() {
    let trailers = |lines: &[(&str, &str)]| passes(SectionKind::Trailers, &with(&[], lines));
    assert!(trailers(&[]));
    assert!(trailers(&[("x-sum", "1"), ("x-sum", "2")]));
    for name in [":status", ":path", ":method", "connection", "te", "content-length", "transfer-encoding"] {
        assert!(!trailers(&[(name, "1")]), "{name}");
    }
}

#[test]
fn connection_specific_fields() {
    for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        assert!(!request(&[M, S, A, P, (name, "x")]), "{name}");
        assert!(!passes(SectionKind::Response, &with(&OK, &[(name, "x")])), "{name}");
    }
    assert!(request(&[M, S, A, P, ("te", "trailers")]));
    assert!(request(&[M, S, A, P, ("te", "Trailers")]));
    for bad in ["", "gzip", "trailers, gzip", "trailers;q=1"] {
        assert!(!request(&[M, S, A, P, ("te", bad)]), "{bad:?}");
    }
}

/// Each of the 256 bytes at the start, in the middle and at the end of a name and of a value.
#[test]
fn characters() {
    for b in 0..=255u8 {
        let token = b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&b);
        for name in [vec![b, b'x', b'x'], vec![b'x', b, b'x'], vec![b'x', b'x', b], vec![b]] {
            let lines = with(&GET, &[]);
            let all: Vec<Field<'_>> = lines.iter().copied().chain([Field::new(&name, b"v")]).collect();
            assert_eq!(passes(SectionKind::Request, &all), token, "name with {b:#x}");
            assert_eq!(passes(SectionKind::Trailers, &[Field::new(&name, b"v")]), token);
        }
        let inside = b == b'\t' || (b >= b' ' && b != 0x7f);
        let outside = inside && b != b' ' && b != b'\t';
        for (value, good) in [(vec![b, b'x'], outside), (vec![b'x', b, b'x'], inside), (vec![b'x', b], outside)] {
            let line = [Field::new(b"x-name", &value)];
            assert_eq!(passes(SectionKind::Trailers, &line), good, "value with {b:#x}");
            let response = [OK[0], line[0]];
            assert_eq!(passes(SectionKind::Response, &response), good, "value with {b:#x}");
        }
    }
    assert!(!passes(SectionKind::Trailers, &[Field::new(b"", b"v")]));
    assert!(passes(SectionKind::Trailers, &[Field::new(b"x", b"")]));
    // Pseudo-header values obey the same.
    assert!(!request(&[M, S, A, (":path", "/a\r\nx: y")]));
}

#[test]
fn priority_values() {
    let p = |urgency, incremental| Priority { urgency, incremental };
    let cases = [
        ("", p(3, false)),
        ("u=0", p(0, false)),
        ("u=7, i", p(7, true)),
        ("i,u=5", p(5, true)),
        ("i=?0", p(3, false)),
        ("i=?1 , u=2", p(2, true)),
        ("u=8", p(3, false)),
        ("u=-1", p(3, false)),
        ("u=1.5", p(3, false)),
        ("u", p(3, false)),
        ("i=1", p(3, false)),
        ("u=2;x=1, i;y", p(2, true)),
        ("u=1, u=4", p(4, false)),
        ("x=\"u=1, i\", u=6", p(6, false)),
        ("x=\"\\\",u=1\", i", p(3, true)),
        (",,,", p(3, false)),
        ("\"", p(3, false)),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text.as_bytes()), expected, "{text}");
    }
}
