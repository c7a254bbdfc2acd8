//! `wb_h3_*`: requests, responses and fields; bodies use the stream calls.
use super::abi::*;
use super::args;
use super::conn::ConnObject;
use super::error::{Fail, fence};
use super::handle;
use super::object::Known;
use super::status::*;
use super::stream::{StreamObject, h3_fail};
use crate::http3::Field;
use core::ffi::c_char;
use core::mem::MaybeUninit;

/// Fields of one section at most: more is a mistake, or an attack by way of the application.
const MAX_FIELDS: usize = 1024;

/// Fields of one section that need no memory of their own.
const FEW_FIELDS: usize = 16;

#[cold]
fn too_many(count: usize) -> Fail {
    Fail::new(WB_E_RANGE, format!("{count} fields are too many"))
}

/// Lets `act` have the caller's fields.
///
/// # Safety
/// The array, its names and its values are readable during the call.
unsafe fn with_fields<R>(
    fields: *const wb_field,
    count: usize,
    act: impl FnOnce(&[Field<'_>]) -> Result<R, Fail>,
) -> Result<R, Fail> {
    if count > MAX_FIELDS {
        return Err(too_many(count));
    }
    // SAFETY: passed on.
    let given = unsafe { args::slice(fields, count, "fields")? };
    let mut few = [const { MaybeUninit::<Field<'_>>::uninit() }; FEW_FIELDS];
    if let Some(room) = few.get_mut(..given.len()) {
        for (slot, field) in room.iter_mut().zip(given) {
            // SAFETY: passed on, of each.
            slot.write(unsafe {
                let name = args::bytes(field.name.cast(), field.name_len, "field name")?;
                Field::new(name, args::bytes(field.value.cast(), field.value_len, "field value")?)
            });
        }
        // SAFETY: each of them was just written; there is nothing to drop in a field, which is `Copy`.
        return act(unsafe { &*(core::ptr::from_ref(room) as *const [Field<'_>]) });
    }
    // SAFETY: passed on.
    act(&unsafe { many_fields(given)? })
}

/// The same for more of them, in memory of their own.
///
/// # Safety
/// Names and values are readable for as long as what is made of them is used.
#[cold]
unsafe fn many_fields<'a>(given: &[wb_field]) -> Result<Vec<Field<'a>>, Fail> {
    let convert = |field: &wb_field| {
        // SAFETY: passed on.
        unsafe {
            let name = args::bytes(field.name.cast(), field.name_len, "field name")?;
            Ok(Field::new(name, args::bytes(field.value.cast(), field.value_len, "field value")?))
        }
    };
    given.iter().map(convert).collect()
}

/// Client: sends a request: pseudo-fields (":method", ":scheme", ":authority", ":path") first, then fields with lower-case
/// names. `WB_FIN`: no body follows; else send it with the stream calls. After CONNECTED, or with early data before.
///
/// Ownership: `*out` is the caller's, the fields stay the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_H3` (a field is not allowed), `WB_E_WOULD_BLOCK` (the peer allows no more
/// requests now; STREAMS_AVAILABLE follows), `WB_E_STATE` (not connected, or not HTTP/3), `WB_E_CLOSED_LOCAL`,
/// `WB_E_CLOSED_PEER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_h3_request(
    conn: wb_conn,
    fields: *const wb_field,
    count: usize,
    flags: u32,
    out: *mut wb_stream,
) -> wb_status {
    fence(|| {
        args::non_null(out, "stream")?;
        let conn = handle::get::<ConnObject>(conn)?;
        if flags & !WB_FIN != 0 {
            return Err(Fail::invalid("unknown flags"));
        }
        let request =
            |fields: &[Field<'_>]| conn.with_arc(|conn| StreamObject::request(conn, fields, flags & WB_FIN != 0));
        // SAFETY: readable by contract.
        let stream = unsafe { with_fields(fields, count, request)? };
        // SAFETY: checked above; writable by contract.
        unsafe { args::put(out, stream.meta().handle(), "stream")? };
        Ok(WB_OK)
    })
}

/// Sends a response (":status" first; 1xx is an interim one), or with `WB_H3_TRAILERS` the trailers of either side.
///
/// Ownership: the fields stay the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_H3` (a field is not allowed, or not now), `WB_E_STOPPED`, `WB_E_RESET` (by us), `WB_E_FINISHED`,
/// `WB_E_STATE` (not an HTTP/3 stream), `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_h3_headers(
    stream: wb_stream,
    fields: *const wb_field,
    count: usize,
    flags: u32,
) -> wb_status {
    fence(|| {
        let stream = handle::get::<StreamObject>(stream)?;
        if flags & !(WB_FIN | WB_H3_TRAILERS) != 0 {
            return Err(Fail::invalid("unknown flags"));
        }
        // SAFETY: readable by contract.
        unsafe {
            with_fields(fields, count, |fields| {
                stream.headers(fields, flags & WB_H3_TRAILERS != 0, flags & WB_FIN != 0)
            })?;
        }
        Ok(WB_OK)
    })
}

/// Received fields of a section (`WB_SECTION_*`) in their order. Fills up to `capacity`; `*count` gets how many there are.
/// `WB_PARTIAL` when there are more. Names and values are terminated as a courtesy.
///
/// Ownership: names and values are the library's, valid until the stream's handle goes stale. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_STATE` (not an HTTP/3 stream), `WB_E_WOULD_BLOCK` (not received yet). Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_h3_fields(
    stream: wb_stream,
    section: u32,
    out: *mut wb_field,
    capacity: usize,
    count: *mut usize,
) -> wb_status {
    fence(|| {
        let stream = handle::get::<StreamObject>(stream)?;
        args::non_null(count, "count")?;
        // SAFETY: writable by contract.
        let room = unsafe { args::slice_mut(out, capacity, "fields")? };
        let total = stream.section(section, |block| {
            for (slot, field) in room.iter_mut().zip(block.fields()) {
                *slot = field;
            }
            block.len()
        })?;
        // SAFETY: checked above; writable by contract.
        unsafe { args::put(count, total, "count")? };
        Ok(if total > capacity { WB_PARTIAL } else { WB_OK })
    })
}

/// The value of the first received field with a (lower-case) name; `name_len` may be `WB_TEXT_Z`. A field that is not
/// there gives a null value, length 0 and `WB_OK`.
///
/// Ownership: as `wb_h3_fields`. Threads: any. Blocks: never. Errors: as `wb_h3_fields`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_h3_field(
    stream: wb_stream,
    section: u32,
    name: *const c_char,
    name_len: usize,
    value: *mut *const c_char,
    value_len: *mut usize,
) -> wb_status {
    fence(|| {
        let stream = handle::get::<StreamObject>(stream)?;
        args::non_null(value, "value")?;
        args::non_null(value_len, "length")?;
        // SAFETY: readable by contract.
        let name = unsafe { args::text(name, name_len, "field name")? };
        let found = stream.section(section, |block| block.find(name.as_bytes()))?;
        let (pointer, len) = found.map_or((core::ptr::null(), 0), |f| (f.value, f.value_len));
        // SAFETY: checked above; writable by contract.
        unsafe {
            args::put(value, pointer, "value")?;
            args::put(value_len, len, "length")?;
        }
        Ok(WB_OK)
    })
}

/// Announces the end: the peer is told to begin nothing new; what runs goes on.
///
/// Ownership: unchanged. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_STATE` (not HTTP/3), `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_h3_goaway(conn: wb_conn) -> wb_status {
    fence(|| {
        let conn = handle::get::<ConnObject>(conn)?;
        conn.wire()?.with(|s, _| {
            conn.check_state(s)?;
            let http3 =
                s.http3.as_mut().ok_or_else(|| Fail::new(WB_E_STATE, "the connection does not speak HTTP/3"))?;
            http3.goaway(&mut *s.connection, false).map_err(|e| h3_fail(&e, &conn))?;
            Ok(WB_OK)
        })
    })
}
