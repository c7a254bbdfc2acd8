//! Rules for field sections (RFC 9114 sections 4.2 and 4.3), the same for what we receive and what we send.
//!
//! One pass over the lines checks every character, name and combination, and collects what the message layer
//! needs to know. A section that passes can be passed on to HTTP/1.1 without surprises.
use super::event::SectionKind;
use crate::qpack::Field;

/// What a valid section says about its message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Summary {
    pub method: Method,
    /// 0 in requests and trailers.
    pub status: u16,
    pub content_length: Option<u64>,
    /// `:protocol` was there (RFC 9220).
    pub extended: bool,
    /// Index of the `priority` line.
    pub priority: Option<usize>,
}

/// Methods that change how a message is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Method {
    #[default]
    Other,
    Head,
    Connect,
}

type Why = &'static str;

/// Pseudo-header fields, and `host`, as they are found.
#[derive(Default)]
struct Found<'a> {
    method: Option<&'a [u8]>,
    scheme: Option<&'a [u8]>,
    authority: Option<&'a [u8]>,
    path: Option<&'a [u8]>,
    protocol: Option<&'a [u8]>,
    status: Option<&'a [u8]>,
    host: Option<&'a [u8]>,
}

/// Checks a section. `Informational` and `Response` are the same here: the status tells.
pub(super) fn check<'a>(kind: SectionKind, lines: impl Iterator<Item = Field<'a>>) -> Result<Summary, Why> {
    let mut found = Found::default();
    let mut summary = Summary::default();
    let mut regular = false;
    for (n, f) in lines.enumerate() {
        if !f.value.iter().all(|b| VALUE[usize::from(*b)]) {
            return Err("character not allowed in a field value");
        }
        if f.name.first() == Some(&b':') {
            if regular {
                return Err("pseudo-header field after a regular field");
            }
            pseudo(kind, &f, &mut found)?;
            continue;
        }
        regular = true;
        // RFC 9110 section 5.6.2; upper case is malformed (section 4.2).
        if f.name.is_empty() || !f.name.iter().all(|b| NAME[usize::from(*b)]) {
            return Err("character not allowed in a field name");
        }
        // RFC 9110 section 5.5: a value has no whitespace around it.
        if matches!(f.value.first(), Some(b' ' | b'\t')) || matches!(f.value.last(), Some(b' ' | b'\t')) {
            return Err("whitespace around a field value");
        }
        known(kind, n, &f, &mut found, &mut summary)?;
    }
    match kind {
        SectionKind::Request => request(&found, &mut summary)?,
        SectionKind::Response | SectionKind::Informational => response(&found, &mut summary)?,
        SectionKind::Trailers => {}
    }
    Ok(summary)
}

/// Section 4.3: only the ones defined for this kind of section, each once.
fn pseudo<'a>(kind: SectionKind, f: &Field<'a>, found: &mut Found<'a>) -> Result<(), Why> {
    let slot = match (kind, f.name) {
        (SectionKind::Request, b":method") => &mut found.method,
        (SectionKind::Request, b":scheme") => &mut found.scheme,
        (SectionKind::Request, b":authority") => &mut found.authority,
        (SectionKind::Request, b":path") => &mut found.path,
        (SectionKind::Request, b":protocol") => &mut found.protocol,
        (SectionKind::Response | SectionKind::Informational, b":status") => &mut found.status,
        (SectionKind::Trailers, _) => return Err("pseudo-header field in trailers"),
        _ => return Err("undefined pseudo-header field"),
    };
    match slot.replace(f.value) {
        None => Ok(()),
        Some(_) => Err("pseudo-header field repeated"),
    }
}

/// Regular fields with rules of their own.
fn known<'a>(
    kind: SectionKind,
    n: usize,
    f: &Field<'a>,
    found: &mut Found<'a>,
    summary: &mut Summary,
) -> Result<(), Why> {
    match f.name {
        // Section 4.2, RFC 9110 section 7.6.1.
        b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => {
            Err("connection-specific field")
        }
        // The exception, in requests only; a list of nothing but `trailers` in any case.
        b"te" => match kind {
            SectionKind::Request if f.value.eq_ignore_ascii_case(b"trailers") => Ok(()),
            _ => Err("TE other than trailers"),
        },
        b"content-length" => {
            // RFC 9110 section 8.6 lets a recipient refuse any repetition; in trailers it can only mislead.
            if kind == SectionKind::Trailers || summary.content_length.is_some() {
                return Err("content-length repeated or misplaced");
            }
            summary.content_length = Some(digits(f.value).ok_or("content-length is not a number")?);
            Ok(())
        }
        b"host" if kind == SectionKind::Request => match found.host.replace(f.value) {
            None => Ok(()),
            Some(_) => Err("host repeated"),
        },
        b"priority" => {
            summary.priority.get_or_insert(n);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Section 4.3.1, section 4.4 and RFC 9220.
fn request(found: &Found<'_>, summary: &mut Summary) -> Result<(), Why> {
    let method = found.method.ok_or("no :method")?;
    if method.is_empty() || !method.iter().all(|b| TOKEN[usize::from(*b)]) {
        return Err("invalid :method");
    }
    summary.method = match method {
        b"HEAD" => Method::Head,
        b"CONNECT" => Method::Connect,
        _ => Method::Other,
    };
    summary.extended = found.protocol.is_some();
    if summary.method == Method::Connect && !summary.extended {
        if found.scheme.is_some() || found.path.is_some() {
            return Err(":scheme or :path in a CONNECT request");
        }
        let authority = found.authority.filter(|a| !a.is_empty()).ok_or("no :authority in a CONNECT request")?;
        if authority.iter().any(|b| *b <= b' ' || *b == b'@') || !has_port(authority) {
            return Err("invalid :authority in a CONNECT request");
        }
        // Both name the same target (RFC 9110 section 7.2).
        return if found.host.is_some_and(|h| h != authority) { Err("host differs from :authority") } else { Ok(()) };
    }
    if let Some(protocol) = found.protocol {
        // RFC 8441 section 4.
        if summary.method != Method::Connect {
            return Err(":protocol without CONNECT");
        }
        if protocol.is_empty() || !protocol.iter().all(|b| TOKEN[usize::from(*b)] || *b == b'/') {
            return Err("invalid :protocol");
        }
        if found.authority.is_none() {
            return Err("no :authority in an extended CONNECT request");
        }
    }
    let scheme = found.scheme.ok_or("no :scheme")?;
    let path = found.path.ok_or("no :path")?;
    if !valid_scheme(scheme) {
        return Err("invalid :scheme");
    }
    if path.iter().any(|b| *b <= b' ' || *b == b'#' || *b == 0x7f) {
        return Err("invalid :path");
    }
    let http = scheme.eq_ignore_ascii_case(b"https") || scheme.eq_ignore_ascii_case(b"http");
    for authority in [found.authority, found.host].into_iter().flatten() {
        // A comma or slash would let one request name two hosts to two readers.
        let strange =
            |b: &u8| *b <= b' ' || matches!(*b, b',' | b'/' | b'\\' | b'?' | b'#' | b'"' | b'<' | b'>' | 0x7f);
        if authority.iter().any(strange) || (http && authority.contains(&b'@')) {
            return Err("invalid :authority or host");
        }
        if http && authority.is_empty() {
            return Err("empty :authority or host");
        }
    }
    if found.authority.is_some() && found.host.is_some() && found.authority != found.host {
        return Err("host differs from :authority");
    }
    if http {
        if found.authority.is_none() && found.host.is_none() {
            return Err("neither :authority nor host");
        }
        // Erratum 7014: "absolute-path", so `//` is fine; `*` belongs to OPTIONS.
        if path.first() != Some(&b'/') && !(path == b"*" && method == b"OPTIONS") {
            return Err("invalid :path");
        }
    }
    Ok(())
}

/// Section 4.3.2: three digits; 101 does not exist here (section 4.5).
fn response(found: &Found<'_>, summary: &mut Summary) -> Result<(), Why> {
    let status = found.status.ok_or("no :status")?;
    match *status {
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            let digit = |d: u8| u16::from(d - b'0');
            summary.status = digit(a) * 100 + digit(b) * 10 + digit(c);
        }
        _ => return Err("invalid :status"),
    }
    if summary.status == 101 { Err("101 Switching Protocols") } else { Ok(()) }
}

/// RFC 3986 section 3.1.
fn valid_scheme(scheme: &[u8]) -> bool {
    scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(|b| b.is_ascii_alphanumeric() || matches!(*b, b'+' | b'-' | b'.'))
}

/// RFC 9110 section 9.3.6: the target of CONNECT is host and port.
fn has_port(authority: &[u8]) -> bool {
    let colon = authority.iter().rposition(|b| *b == b':');
    let Some((host, port)) = colon.and_then(|at| Some((authority.get(..at)?, authority.get(at.checked_add(1)?..)?)))
    else {
        return false;
    };
    !host.is_empty() && digits(port).is_some_and(|p| p <= 65_535)
}

/// A decimal number with nothing around it (RFC 9110 section 8.6).
fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |n, b| {
        let d = b.checked_sub(b'0').filter(|d| *d <= 9)?;
        n.checked_mul(10)?.checked_add(u64::from(d))
    })
}

const fn token() -> [bool; 256] {
    let mut t = [false; 256];
    let mut b = 0;
    while b < 256 {
        t[b] = (b as u8).is_ascii_alphanumeric()
            || matches!(
                b as u8,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            );
        b += 1;
    }
    t
}

const fn name() -> [bool; 256] {
    let mut t = token();
    let mut b = b'A' as usize;
    while b <= b'Z' as usize {
        t[b] = false;
        b += 1;
    }
    t
}

/// Visible characters, space, tab and bytes above ASCII: no other control character (RFC 9110 section 5.5,
/// RFC 9114 section 10.3).
const fn value() -> [bool; 256] {
    let mut t = [true; 256];
    let mut b = 0;
    while b < 0x20 {
        t[b] = b == 0x09;
        b += 1;
    }
    t[0x7f] = false;
    t
}

static TOKEN: [bool; 256] = token();
static NAME: [bool; 256] = name();
static VALUE: [bool; 256] = value();
