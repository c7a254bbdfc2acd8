//! What all streams of one connection share: settings, compression, queues, limits, shutdown state.
//!
//! The rooms `receive` and `send` add the verbs on a single stream; they get the stream as an argument, so
//! the table of streams stays apart.
use std::collections::VecDeque;

use super::config::Http3Config;
use super::error::{Fatal, Fault};
use super::event::H3Event;
use super::settings::PeerSettings;
use super::stream::{Mode, Receiving, Sending, Slot};
use super::transport::Transport;
use crate::base::codes::h3;
use crate::base::{Side, Timestamp};
use crate::collections::Chunk;
use crate::qpack::{Decoder, Encoder, FieldList, SectionLimits};

/// Field lists kept for reuse.
const POOL: usize = 64;
/// Memory that a kept field list may hold.
const POOL_ITEM: usize = 8 * 1024;
/// Room beyond the last section's text: decompression reserves for the worst case, and paths differ.
const SPARE_TEXT: usize = 64;
/// Most lines that a new list has room for.
const SPARE_LINES: usize = 64;
/// Resets by the peer, and by us because of the peer, that completed messages have not paid for (rapid
/// reset, CVE-2023-44487, and its mirror image).
const MAX_GLITCHES: u32 = 1000;

pub(super) struct Core {
    pub side: Side,
    pub config: Http3Config,
    pub limits: SectionLimits,
    pub encoder: Encoder,
    pub decoder: Decoder,
    pub peer: PeerSettings,
    pub events: VecDeque<H3Event>,
    pool: Vec<FieldList>,
    /// Bytes of text and lines that a new list has room for.
    usual_section: (usize, usize),
    pub scratch: Vec<u8>,
    /// Encoded sections that wait for the encoder stream.
    pub blocked_bytes: usize,
    glitches: u32,
    /// Identifier in our last GOAWAY, and in the peer's.
    pub goaway_sent: Option<u64>,
    pub goaway_received: Option<u64>,
    /// Server: the first request stream that has not been seen.
    pub next_request: u64,
    pub failure: Option<Fatal>,
    pub dead: bool,
    /// Time of the event being handled, or of the last one.
    pub now: Timestamp,
}

impl Core {
    pub(super) fn new(side: Side, config: Http3Config) -> Self {
        let decoder = Decoder::new(config.qpack_table_capacity as usize, usize::from(config.qpack_blocked_streams));
        let limits =
            SectionLimits { size: config.max_field_section_size as usize, lines: usize::from(config.max_fields) };
        Self {
            side,
            limits,
            encoder: Encoder::new(config.huffman),
            decoder,
            config,
            peer: PeerSettings::default(),
            events: VecDeque::new(),
            pool: Vec::new(),
            usual_section: (0, 0),
            scratch: Vec::new(),
            blocked_bytes: 0,
            glitches: 0,
            goaway_sent: None,
            goaway_received: None,
            next_request: 0,
            failure: None,
            dead: false,
            now: Timestamp::ZERO,
        }
    }

    /// A list with room for what the last section had: most sections of a connection resemble each other.
    pub(super) fn new_list(&mut self) -> FieldList {
        let (text, lines) = self.usual_section;
        self.pool.pop().unwrap_or_else(|| FieldList::with_capacity(text, lines))
    }

    /// Remembers how large sections are here.
    pub(super) fn note_section(&mut self, list: &FieldList) {
        self.usual_section =
            (list.text_len().saturating_add(SPARE_TEXT).min(POOL_ITEM / 2), list.len().min(SPARE_LINES));
    }

    pub(super) fn recycle(&mut self, mut list: FieldList) {
        if self.pool.len() < POOL && list.capacity() <= POOL_ITEM {
            list.clear();
            self.pool.push(list);
        }
    }

    /// Ends the connection; nothing is done for the peer after this.
    pub(super) fn fail<T: Transport>(&mut self, conn: &mut T, fatal: Fatal) {
        if self.failure.is_none() {
            self.failure = Some(fatal);
            self.dead = true;
            conn.close(fatal.code, fatal.reason.as_bytes(), self.now);
        }
    }

    /// Acts on what went wrong with a stream.
    pub(super) fn fault<T: Transport>(&mut self, conn: &mut T, slot: &mut Slot, fault: Fault) {
        match fault {
            Fault::Connection(fatal) => self.fail(conn, fatal),
            Fault::Stream(code, _) => self.abort(conn, slot, code),
        }
    }

    /// A stream error found by us (RFC 9114 section 8): both directions end with this code.
    fn abort<T: Transport>(&mut self, conn: &mut T, slot: &mut Slot, code: u64) {
        if self.too_large(conn, slot, code) {
            return;
        }
        // Both calls fail only where that direction is over already.
        let _ = conn.stop(slot.id, code);
        let _ = conn.reset(slot.id, code);
        self.drop_receiving(slot, Receiving::Reset(code));
        slot.send.state = Sending::Dead;
        if slot.recv.known {
            self.events.push_back(H3Event::Reset { stream: slot.id, code, by_peer: false });
        }
        self.glitch(conn);
    }

    /// RFC 9114 section 4.2.2: a server answers an oversized request with 431 instead of a reset.
    fn too_large<T: Transport>(&mut self, conn: &mut T, slot: &mut Slot, code: u64) -> bool {
        let refusable = self.side.is_server() && slot.send.state == Sending::Start && !slot.recv.known;
        if code != h3::EXCESSIVE_LOAD || !refusable {
            return false;
        }
        let fields = [crate::qpack::Field::new(b":status", b"431"), crate::qpack::Field::new(b"content-length", b"0")];
        if self.send_section(conn, slot, &fields, true, Some(0)).is_err() {
            return false;
        }
        slot.send.state = Sending::Ended;
        // Section 4.1: the response does not depend on what is still to come.
        let _ = conn.stop(slot.id, h3::NO_ERROR);
        self.drop_receiving(slot, Receiving::Stopped);
        self.glitch(conn);
        true
    }

    /// Forgets everything that was still to be received.
    pub(super) fn drop_receiving(&mut self, slot: &mut Slot, state: Receiving) {
        if slot.recv.state != Receiving::Open {
            slot.recv.state = state;
            slot.recv.held = Chunk::empty();
            return;
        }
        if slot.recv.mode == Mode::Blocked {
            self.blocked_bytes = self.blocked_bytes.saturating_sub(slot.recv.section.len());
        }
        // RFC 9204 section 2.2.2.2.
        self.decoder.cancel(slot.id.0);
        slot.recv.state = state;
        slot.recv.mode = Mode::Header;
        slot.recv.section.clear();
        slot.recv.held = Chunk::empty();
    }

    /// One more stream that ended early because of the peer.
    pub(super) fn glitch<T: Transport>(&mut self, conn: &mut T) {
        self.glitches = self.glitches.saturating_add(1);
        if self.glitches > MAX_GLITCHES {
            // RFC 9114 section 10.5.
            self.fail(conn, Fatal::new(h3::EXCESSIVE_LOAD, "too many streams ended early"));
        }
    }

    /// A message came in whole.
    pub(super) fn credit(&mut self) {
        self.glitches = self.glitches.saturating_sub(1);
    }
}
