//! The QPACK static table (RFC 9204 appendix A) and how an encoder finds an entry in it.
//!
//! Names are found through a small open-addressed index that is computed at compile time; entries of one
//! name are not always neighbours in the table, so each entry links to the next one of its name.
//! Invariant: `ENTRIES` has exactly the 99 entries of the RFC, `get` never indexes out of it.

/// Number of entries.
pub const LEN: usize = 99;

/// One entry: name and value.
pub type Entry = (&'static [u8], &'static [u8]);

/// RFC 9204 appendix A.
#[rustfmt::skip]
pub static ENTRIES: [Entry; LEN] = TABLE;

#[rustfmt::skip]
const TABLE: [Entry; LEN] = [
    (b":authority", b""),
    (b":path", b"/"),
    (b"age", b"0"),
    (b"content-disposition", b""),
    (b"content-length", b"0"),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"referer", b""),
    (b"set-cookie", b""),
    (b":method", b"CONNECT"),
    (b":method", b"DELETE"),
    (b":method", b"GET"),
    (b":method", b"HEAD"),
    (b":method", b"OPTIONS"),
    (b":method", b"POST"),
    (b":method", b"PUT"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"103"),
    (b":status", b"200"),
    (b":status", b"304"),
    (b":status", b"404"),
    (b":status", b"503"),
    (b"accept", b"*/*"),
    (b"accept", b"application/dns-message"),
    (b"accept-encoding", b"gzip, deflate, br"),
    (b"accept-ranges", b"bytes"),
    (b"access-control-allow-headers", b"cache-control"),
    (b"access-control-allow-headers", b"content-type"),
    (b"access-control-allow-origin", b"*"),
    (b"cache-control", b"max-age=0"),
    (b"cache-control", b"max-age=2592000"),
    (b"cache-control", b"max-age=604800"),
    (b"cache-control", b"no-cache"),
    (b"cache-control", b"no-store"),
    (b"cache-control", b"public, max-age=31536000"),
    (b"content-encoding", b"br"),
    (b"content-encoding", b"gzip"),
    (b"content-type", b"application/dns-message"),
    (b"content-type", b"application/javascript"),
    (b"content-type", b"application/json"),
    (b"content-type", b"application/x-www-form-urlencoded"),
    (b"content-type", b"image/gif"),
    (b"content-type", b"image/jpeg"),
    (b"content-type", b"image/png"),
    (b"content-type", b"text/css"),
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-type", b"text/plain"),
    (b"content-type", b"text/plain;charset=utf-8"),
    (b"range", b"bytes=0-"),
    (b"strict-transport-security", b"max-age=31536000"),
    (b"strict-transport-security", b"max-age=31536000; includesubdomains"),
    (b"strict-transport-security", b"max-age=31536000; includesubdomains; preload"),
    (b"vary", b"accept-encoding"),
    (b"vary", b"origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-xss-protection", b"1; mode=block"),
    (b":status", b"100"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"302"),
    (b":status", b"400"),
    (b":status", b"403"),
    (b":status", b"421"),
    (b":status", b"425"),
    (b":status", b"500"),
    (b"accept-language", b""),
    (b"access-control-allow-credentials", b"FALSE"),
    (b"access-control-allow-credentials", b"TRUE"),
    (b"access-control-allow-headers", b"*"),
    (b"access-control-allow-methods", b"get"),
    (b"access-control-allow-methods", b"get, post, options"),
    (b"access-control-allow-methods", b"options"),
    (b"access-control-expose-headers", b"content-length"),
    (b"access-control-request-headers", b"content-type"),
    (b"access-control-request-method", b"get"),
    (b"access-control-request-method", b"post"),
    (b"alt-svc", b"clear"),
    (b"authorization", b""),
    (b"content-security-policy", b"script-src 'none'; object-src 'none'; base-uri 'none'"),
    (b"early-data", b"1"),
    (b"expect-ct", b""),
    (b"forwarded", b""),
    (b"if-range", b""),
    (b"origin", b""),
    (b"purpose", b"prefetch"),
    (b"server", b""),
    (b"timing-allow-origin", b"*"),
    (b"upgrade-insecure-requests", b"1"),
    (b"user-agent", b""),
    (b"x-forwarded-for", b""),
    (b"x-frame-options", b"deny"),
    (b"x-frame-options", b"sameorigin"),
];

/// Where a field line is in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Match {
    /// Name and value.
    Full(u8),
    /// The name only.
    Name(u8),
}

/// The entry at `index`.
#[must_use]
pub fn get(index: u64) -> Option<Entry> {
    ENTRIES.get(usize::try_from(index).ok()?).copied()
}

/// The best entry for a field line.
#[must_use]
pub fn find(name: &[u8], value: &[u8]) -> Option<Match> {
    let mut slot = hash(name);
    loop {
        let first = *INDEX.slots.get(slot)?;
        let (n, v) = ENTRIES.get(usize::from(first))?;
        if *n != name {
            slot = (slot + 1) % SLOTS;
            continue;
        }
        if *v == value {
            return Some(Match::Full(first));
        }
        let mut at = *INDEX.next.get(usize::from(first))?;
        while let Some((_, v)) = ENTRIES.get(usize::from(at)) {
            if *v == value {
                return Some(Match::Full(at));
            }
            at = *INDEX.next.get(usize::from(at))?;
        }
        return Some(Match::Name(first));
    }
}

const SLOTS: usize = 256;
const NONE: u8 = u8::MAX;

struct Index {
    /// First entry of a name, by hash with linear probing; `NONE` ends a probe.
    slots: [u8; SLOTS],
    /// Next entry of the same name.
    next: [u8; LEN],
}

static INDEX: Index = index();

/// Length and four characters tell almost all names of the table apart.
const fn hash(name: &[u8]) -> usize {
    let len = name.len();
    if len < 2 {
        return 0;
    }
    let (a, b, c, d) = (name[1], name[len / 2], name[len - 1], name[len - 2]);
    let mut h = (len as u32).wrapping_mul(0x9e37_79b1);
    h = (h ^ a as u32).wrapping_mul(0x85eb_ca6b);
    h = (h ^ b as u32).wrapping_mul(0xc2b2_ae35);
    h = (h ^ ((c as u32) << 8 | d as u32)).wrapping_mul(0x27d4_eb2f);
    (h >> 24) as usize
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

const fn index() -> Index {
    let mut made = Index { slots: [NONE; SLOTS], next: [NONE; LEN] };
    let mut i = 0;
    while i < LEN {
        let name = TABLE[i].0;
        let mut slot = hash(name);
        while made.slots[slot] != NONE && !same(TABLE[made.slots[slot] as usize].0, name) {
            slot = (slot + 1) % SLOTS;
        }
        if made.slots[slot] == NONE {
            made.slots[slot] = i as u8;
        } else {
            let mut at = made.slots[slot] as usize;
            while made.next[at] != NONE {
                at = made.next[at] as usize;
            }
            made.next[at] = i as u8;
        }
        i += 1;
    }
    made
}
