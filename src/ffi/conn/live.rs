//! Settings of a connection that change while it lives (`wb_conn_set_u64`). Invariant: a refused change changes nothing.
use super::super::abi::*;
use super::super::config;
use super::super::error::Fail;
use super::super::status::*;
use super::ConnObject;
use crate::base::Dir;
use core::time::Duration;

impl ConnObject {
    /// Sets one key of a living connection.
    pub fn set_live(&self, key: u32, value: u64) -> Result<(), Fail> {
        let name = config::check_number(WB_CONFIG_CONN, key, value)?;
        match key {
            WB_KEY_KEEP_ALIVE_MS
            | WB_KEY_MAX_IDLE_MS
            | WB_KEY_STREAM_WINDOW
            | WB_KEY_CONN_WINDOW
            | WB_KEY_MAX_STREAMS_BIDI
            | WB_KEY_MAX_STREAMS_UNI => {}
            // What one controller has learnt about a path means little to another; paths keep theirs.
            WB_KEY_CONGESTION => {
                let text =
                    format!("{name}: a path keeps the controller that it began with; set it in the configuration");
                return Err(Fail::new(WB_E_FROZEN, text));
            }
            _ => return Err(Fail::new(WB_E_FROZEN, format!("{name} cannot change while a connection lives"))),
        }
        self.wire()?.with(|s, now| {
            self.check_state(s)?;
            let c = &mut s.connection;
            // Until then other attempts may run beside this one, and the peer was promised things that it has not read.
            if self.side.is_client() && !c.was_completed() {
                return Err(Fail::new(WB_E_STATE, "the handshake is not done"));
            }
            let millis = Duration::from_millis(value);
            let less = |text: &str| Err(Fail::new(WB_E_RANGE, format!("{name}: {text}")));
            match key {
                WB_KEY_KEEP_ALIVE_MS => c.set_keep_alive(millis, now),
                WB_KEY_MAX_IDLE_MS if !c.end_after_silence(millis, now) => {
                    return less("the peer was told a shorter time, which can only be cut short");
                }
                WB_KEY_STREAM_WINDOW if !c.grow_stream_window(value) => return less(PROMISED),
                WB_KEY_CONN_WINDOW if !c.grow_connection_window(value) => return less(PROMISED),
                WB_KEY_MAX_STREAMS_BIDI if !c.allow_streams(Dir::Bi, value) => return less(PROMISED),
                WB_KEY_MAX_STREAMS_UNI if !c.allow_streams(Dir::Uni, value) => return less(PROMISED),
                _ => {}
            }
            Ok(())
        })
    }
}

const PROMISED: &str = "the peer was promised more, which cannot be taken back";
