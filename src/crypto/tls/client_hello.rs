//! Reads a ClientHello (RFC 8446 section 4.1.2) for what rustls does not check or tell too late: whether the
//! transport parameters extension of RFC 9001 is there, which name, protocols and ticket the client brings.
//!
//! Invariant: reads only; a malformed message gives an error, never a panic.
use super::framing::CLIENT_HELLO;
use crate::wire::reader::{Reader, Truncated};

const EXT_SERVER_NAME: u16 = 0;
const EXT_ALPN: u16 = 16;
const EXT_PRE_SHARED_KEY: u16 = 41;
pub(super) const EXT_EARLY_DATA: u16 = 42;
/// RFC 9001 section 8.2; drafts used 0xffa5, which versions 1 and 2 must not accept.
const EXT_TRANSPORT_PARAMETERS: u16 = 0x39;

/// What a ClientHello says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClientHello<'a> {
    /// The name of SNI.
    pub server_name: Option<&'a [u8]>,
    /// The list of ALPN, still encoded: each protocol behind a length byte.
    pub alpn: Option<&'a [u8]>,
    /// The client's transport parameters, encoded.
    pub transport_parameters: Option<&'a [u8]>,
    /// First identity of the pre_shared_key extension.
    pub ticket: Option<&'a [u8]>,
    /// First binder of the same: the proof that the client knows the session, over this very message.
    pub binder: Option<&'a [u8]>,
    /// The client offers to resume a session of older TLS versions, or pretends to.
    pub legacy_session_id: bool,
    /// The client sends 0-RTT data.
    pub early_data: bool,
}

impl<'a> ClientHello<'a> {
    /// The application protocols on offer; a malformed list ends early, and TLS refuses it.
    pub fn protocols(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut list = Reader::new(self.alpn.unwrap_or(&[]));
        core::iter::from_fn(move || if list.is_empty() { None } else { opaque8(&mut list).ok() })
    }
}

/// Reads the ClientHello at the front of the client's CRYPTO stream. `Ok(None)`: not all of it is here yet;
/// `Err`: it is no ClientHello.
pub fn peek_client_hello(stream: &[u8]) -> Result<Option<ClientHello<'_>>, Truncated> {
    let Some(&[kind, a, b, c]) = stream.first_chunk::<4>() else { return Ok(None) };
    if kind != CLIENT_HELLO {
        return Err(Truncated);
    }
    let len = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
    match stream.get(4..len.saturating_add(4)) {
        Some(body) => parse(body).map(Some),
        None => Ok(None),
    }
}

pub(super) fn parse(body: &[u8]) -> Result<ClientHello<'_>, Truncated> {
    let mut r = Reader::new(body);
    r.bytes(2 + 32)?;
    let legacy_session_id = !opaque8(&mut r)?.is_empty();
    opaque16(&mut r)?;
    opaque8(&mut r)?;
    let mut hello = ClientHello { legacy_session_id, ..ClientHello::default() };
    if r.is_empty() {
        return Ok(hello);
    }
    let mut extensions = Reader::new(opaque16(&mut r)?);
    while !extensions.is_empty() {
        let kind = extensions.u16()?;
        let data = opaque16(&mut extensions)?;
        match kind {
            EXT_SERVER_NAME => hello.server_name = server_name(data)?,
            EXT_ALPN => hello.alpn = Some(opaque16(&mut Reader::new(data))?),
            EXT_TRANSPORT_PARAMETERS => hello.transport_parameters = Some(data),
            EXT_EARLY_DATA => hello.early_data = true,
            EXT_PRE_SHARED_KEY => {
                let mut offer = Reader::new(data);
                let mut identities = Reader::new(opaque16(&mut offer)?);
                hello.ticket = Some(opaque16(&mut identities)?);
                hello.binder = Some(opaque8(&mut Reader::new(opaque16(&mut offer)?))?);
            }
            _ => {}
        }
    }
    Ok(hello)
}

/// RFC 6066 section 3: the first name of type host_name.
fn server_name(data: &[u8]) -> Result<Option<&[u8]>, Truncated> {
    let mut list = Reader::new(opaque16(&mut Reader::new(data))?);
    if list.is_empty() {
        return Ok(None);
    }
    let kind = list.u8()?;
    let name = opaque16(&mut list)?;
    Ok((kind == 0).then_some(name))
}

fn opaque8<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], Truncated> {
    let len = r.u8()?;
    r.bytes(usize::from(len))
}

fn opaque16<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], Truncated> {
    let len = r.u16()?;
    r.bytes(usize::from(len))
}
