//! Priority of a response (RFC 9218 sections 4 and 5): the header field and PRIORITY_UPDATE carry the same text.
//!
//! Only `u` and `i` matter; the rest of the dictionary (RFC 9651 section 4.2.2) is stepped over.

/// Urgency 0 (first) to 7, and whether the response is of use piece by piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Priority {
    pub urgency: u8,
    pub incremental: bool,
}

impl Default for Priority {
    fn default() -> Self {
        Self { urgency: 3, incremental: false }
    }
}

/// Reads a priority field value. Unknown members and values out of range or of another type are ignored
/// (RFC 9218 section 4), as is everything from the first thing that cannot be parsed.
#[must_use]
pub fn parse(text: &[u8]) -> Priority {
    let mut p = Priority::default();
    for member in split_members(text) {
        let member = member.trim_ascii();
        let item = member.split(|b| *b == b';').next().unwrap_or(&[]).trim_ascii_end();
        let mut halves = item.splitn(2, |b| *b == b'=');
        match (halves.next(), halves.next()) {
            (Some(b"u"), Some(&[d @ b'0'..=b'7'])) => p.urgency = d - b'0',
            (Some(b"i"), None | Some(b"?1")) => p.incremental = true,
            (Some(b"i"), Some(b"?0")) => p.incremental = false,
            _ => {}
        }
    }
    p
}

/// Splits at commas that are outside strings.
fn split_members(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |b| {
        if quoted {
            match *b {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            return false;
        }
        quoted = *b == b'"';
        *b == b','
    })
}
