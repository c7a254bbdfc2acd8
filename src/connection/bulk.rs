//! The fast path: the second and later packets of a batch, which carry only datagrams and stream data.
//!
//! No acknowledgement, no control frame, no coalescing: those had their chance in the head packet.
use super::Connection;
use super::packet::Finish;
use super::transmit::{Batch, Built};
use crate::base::Level;
use crate::crypto::TAG_LEN;
use crate::wire::Writer;

impl Connection {
    /// One packet; nothing when streams ran dry or the window is used up.
    pub(super) fn build_bulk(&mut self, batch: &Batch, buf: &mut [u8]) -> Built {
        if batch.budget < buf.len() as u64 && (!self.control.has_probes() || self.in_vain()) {
            return Built::default();
        }
        let limit = buf.len().saturating_sub(TAG_LEN);
        let Some(body) = buf.get_mut(..limit) else { return Built::default() };
        let mut w = Writer::new(body);
        let Some(draft) = self.write_header(Level::OneRtt, batch.path, &mut w) else { return Built::default() };
        let mut tokens = core::mem::take(&mut self.tokens);
        tokens.clear();
        if self.wants_control() || self.streams.wants_control() {
            // Many small frames, such as credit for many streams, may need more than the head packet.
            self.write_control_frames(&mut w, &mut tokens);
            self.streams.write_control(&mut w, &mut tokens);
        }
        if self.datagrams.wants_to_send() {
            self.datagrams.write(&mut w, &mut tokens);
        }
        self.streams.write_stream_frames(&mut w, &mut tokens);
        let end = w.position();
        if end == draft.payload_at {
            self.tokens = tokens;
            return Built::default();
        }
        let fill = end < limit && batch.more && self.fills_up(batch, end);
        let beyond_window = self.control.has_probes();
        let how = Finish { path: batch.path, eliciting: true, mtu_probe: false, ect: batch.ect, fill, beyond_window };
        let len = self.finish_packet(&draft, buf, end, &tokens, how, batch.now);
        self.tokens = tokens;
        if self.control.probes[2] > 0 {
            self.control.probes[2] -= 1;
        }
        Built { len, eliciting: true }
    }
}
