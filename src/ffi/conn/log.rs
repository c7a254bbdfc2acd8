//! A connection's part of `wb_qlog`, and of `wb_log_set`.
//!
//! Records of the attempt that counts go to the application; those of the others wait until it is known which one that is.
use super::super::abi::{WB_LOG_DEBUG, WB_LOG_INFO, WB_LOG_WARN};
use super::super::diagnostics;
use super::super::error::Fail;
use super::super::object::Known;
use super::super::qlog::{LogSink, LogSlot};
use super::super::status::{self, *};
use super::{ConnObject, Phase};
use crate::base::sync::Ordering;
use crate::runtime::Conn;
use core::ffi::CStr;
use std::sync::Arc;

impl ConnObject {
    /// Registers the one function for this connection's log; `sink` is called when nothing can fail any more.
    pub fn set_log(&self, sink: impl FnOnce() -> Arc<LogSink>) -> Result<(), Fail> {
        let phase = self.phase.lock();
        let mut slot = self.log.lock();
        if slot.is_some() {
            return Err(Fail::new(WB_E_BUSY, "the connection's log has a function"));
        }
        self.route.gate().note_callbacks();
        let head = match &*phase {
            Phase::Idle | Phase::Resolving => Some(Vec::new()),
            Phase::Running { conn, attempts } => {
                for rival in attempts.iter().flat_map(|a| a.rivals()) {
                    // One that has gone is none.
                    let _ = rival.with(|state, now| state.record_log(now));
                }
                conn.with(|state, now| state.record_log(now))
            }
            Phase::Over => None,
        };
        let Some(head) = head else {
            drop((slot, phase));
            return Err(self.gone());
        };
        *slot = Some(LogSlot::new(sink(), head));
        Ok(())
    }

    /// Connections of it record what happens.
    pub fn wants_log(&self) -> bool {
        self.log.lock().is_some()
    }

    /// A connection of the runtime has recorded something.
    pub fn on_log(&self, conn: &Arc<Conn>, records: &[u8]) {
        let current = self.is_current(conn);
        let chunk = {
            let mut slot = self.log.lock();
            let Some(slot) = slot.as_mut() else { return };
            if !current {
                slot.keep(conn.id(), records);
                return;
            }
            slot.take(conn.id(), records)
        };
        chunk.deliver(self.route.gate(), self.meta().handle());
    }

    /// Nothing more will be recorded by this attempt, or by any.
    pub fn end_log(&self, conn: Option<&Arc<Conn>>) {
        if conn.is_some_and(|conn| !self.is_current(conn)) {
            return;
        }
        let slot = self.log.lock().take();
        if let Some(slot) = slot {
            slot.end(conn.map_or(0, |conn| conn.id())).deliver(self.route.gate(), self.meta().handle());
        }
    }

    /// Says something about this connection to operators.
    pub fn say(&self, level: u32, room: &'static CStr, text: impl FnOnce() -> String) {
        diagnostics::say(self.route.gate(), level, room, || {
            let side = if self.side.is_client() { "client" } else { "server" };
            match self.any_wire() {
                Some(conn) => format!("{side}, peer {}: {}", conn.remote_addr(), text()),
                None => format!("{side}: {}", text()),
            }
        });
    }

    /// Why it ended.
    pub fn say_end(&self, fail: &Fail) {
        let (level, room) = match fail.status {
            WB_E_CLOSED_LOCAL | WB_E_CANCELLED => (WB_LOG_DEBUG, c"connection"),
            _ if self.handshake.load(Ordering::Acquire) == 0 => (WB_LOG_WARN, c"handshake"),
            WB_E_CLOSED_PEER | WB_E_APPLICATION => (WB_LOG_DEBUG, c"connection"),
            WB_E_IDLE => (WB_LOG_INFO, c"connection"),
            _ => (WB_LOG_WARN, c"connection"),
        };
        let name = status_name(fail.status);
        self.say(level, room, || format!("{name}: {} (code {:#x})", fail.text, fail.wire_code));
    }
}

fn status_name(status: wb_status) -> &'static str {
    status::name(status).to_str().unwrap_or("")
}
