//! `wb_config_*`: settings with stable numeric keys, a text form, and callbacks per event group.
use super::abi::*;
use super::args;
use super::error::{Fail, fence};
use super::events::{Callback, Callbacks, GROUPS};
use super::handle::{self, Object};
use super::object::{Context, Known, Meta, publish};
use super::status::*;
use crate::base::codes;
use crate::base::sync::Mutex;
use crate::congestion::Algorithm;
use crate::connection::ConnectionConfig;
use crate::http3::Http3Config;
use crate::runtime::{MAX_WORKERS, RuntimeConfig};
use core::ffi::{c_char, c_void};
use core::net::{SocketAddrV4, SocketAddrV6};
use core::time::Duration;
use std::sync::Arc;

/// Longest line of text and longest byte value.
const MAX_VALUE: usize = 64 * 1024;
/// Largest number of a QUIC variable-length integer (RFC 9000 section 16).
const VARINT_MAX: u64 = (1 << 62) - 1;

/// A configuration until and after its first use.
pub(crate) struct ConfigObject {
    meta: Meta,
    kind: u32,
    draft: Mutex<Draft>,
}

#[derive(Default)]
struct Draft {
    values: Values,
    callbacks: Callbacks,
    /// What the first use made of it.
    frozen: Option<Arc<Settings>>,
}

/// Values that were set; what was not keeps the default of its room.
#[derive(Clone, Default)]
struct Values {
    numbers: Vec<(u32, u64)>,
    /// Empty: the default.
    versions: Vec<u32>,
    qlog_dir: Option<String>,
    preferred_ipv4: Option<SocketAddrV4>,
    preferred_ipv6: Option<SocketAddrV6>,
}

/// A configuration in use.
pub(crate) struct Settings {
    pub callbacks: Callbacks,
    pub connection: Arc<ConnectionConfig>,
    pub http3: Option<Arc<Http3Config>>,
    pub runtime: RuntimeConfig,
    pub retry: bool,
    pub admit: bool,
    pub hardened: bool,
    pub manual_credit: bool,
    /// Longest body of a message that is told in one event; `None`: messages are told in parts.
    pub whole_messages: Option<usize>,
    /// `WB_SPARE_*`: events that are not told.
    pub spare: u64,
    pub drain: Duration,
    pub qlog_dir: Option<String>,
}

impl Object for ConfigObject {
    const KIND: u32 = WB_KIND_CONFIG;
}

impl Known for ConfigObject {
    fn meta(&self) -> &Meta {
        &self.meta
    }
}

/// One key: number, text name, kind of configuration, smallest and largest value.
struct Key {
    number: u32,
    name: &'static str,
    kind: u32,
    min: u64,
    max: u64,
}

const fn key(number: u32, name: &'static str, kind: u32, min: u64, max: u64) -> Key {
    Key { number, name, kind, min, max }
}

/// Time that a graceful close gives to what is under way.
const DRAIN: Duration = Duration::from_secs(3);

/// Longest body that is told in one event: what HTTP/3 takes out of a stream at a time.
const WHOLE_MESSAGE: u64 = 64 * 1024;

/// All that can be spared.
const SPARE: u64 = WB_SPARE_SEND_DONE | WB_SPARE_CLOSED | WB_SPARE_FIRST_READABLE;

/// A wait of a millisecond is worth a sleep on every system.
const LONGEST_BUSY_POLL_US: u64 = 1000;

/// A day: longer timeouts are mistakes.
const DAY_MS: u64 = 86_400_000;

const KEYS: &[Key] = &[
    key(WB_KEY_WORKERS, "runtime.workers", WB_CONFIG_RUNTIME, 0, MAX_WORKERS as u64),
    key(WB_KEY_HARDENED, "runtime.hardened", WB_CONFIG_RUNTIME, 0, 1),
    key(WB_KEY_BUSY_POLL_US, "runtime.busy_poll_us", WB_CONFIG_RUNTIME, 0, LONGEST_BUSY_POLL_US),
    key(WB_KEY_RETRY, "endpoint.retry", WB_CONFIG_ENDPOINT, 0, 1),
    key(WB_KEY_RETRY, "endpoint.retry", WB_CONFIG_CONN, 0, 1),
    key(WB_KEY_ADMIT, "endpoint.admit", WB_CONFIG_ENDPOINT, 0, 1),
    key(WB_KEY_ADMIT, "endpoint.admit", WB_CONFIG_CONN, 0, 1),
    key(WB_KEY_DRAIN_MS, "endpoint.drain_ms", WB_CONFIG_ENDPOINT, 0, DAY_MS),
    key(WB_KEY_DRAIN_MS, "endpoint.drain_ms", WB_CONFIG_CONN, 0, DAY_MS),
    key(WB_KEY_MANUAL_CREDIT, "transport.manual_credit", WB_CONFIG_CONN, 0, 1),
    key(WB_KEY_MAX_IDLE_MS, "transport.max_idle_ms", WB_CONFIG_CONN, 0, DAY_MS),
    key(WB_KEY_HANDSHAKE_MS, "transport.handshake_ms", WB_CONFIG_CONN, 1, DAY_MS),
    key(WB_KEY_EARLY_DECISION_MS, "transport.early_decision_ms", WB_CONFIG_CONN, 1, DAY_MS),
    key(WB_KEY_KEEP_ALIVE_MS, "transport.keep_alive_ms", WB_CONFIG_CONN, 0, DAY_MS),
    key(WB_KEY_STREAM_WINDOW, "transport.stream_window", WB_CONFIG_CONN, 1, VARINT_MAX),
    key(WB_KEY_CONN_WINDOW, "transport.conn_window", WB_CONFIG_CONN, 1, VARINT_MAX),
    // RFC 9000 section 4.6: more than 2^60 streams cannot be numbered.
    key(WB_KEY_MAX_STREAMS_BIDI, "transport.max_streams_bidi", WB_CONFIG_CONN, 0, 1 << 60),
    key(WB_KEY_MAX_STREAMS_UNI, "transport.max_streams_uni", WB_CONFIG_CONN, 0, 1 << 60),
    key(WB_KEY_CONGESTION, "transport.congestion", WB_CONFIG_CONN, 0, 4),
    // RFC 9000 sections 14 and 18.2.
    key(WB_KEY_MAX_UDP_PAYLOAD, "transport.max_udp_payload", WB_CONFIG_CONN, 1200, 65527),
    key(WB_KEY_DATAGRAM_SIZE, "transport.datagram_size", WB_CONFIG_CONN, 0, 65535),
    // RFC 9000 section 18.2: max_ack_delay is below 2^14.
    key(WB_KEY_MAX_ACK_DELAY_MS, "transport.max_ack_delay_ms", WB_CONFIG_CONN, 0, (1 << 14) - 1),
    key(WB_KEY_ACK_FREQUENCY, "transport.ack_frequency", WB_CONFIG_CONN, 0, 1),
    key(WB_KEY_VERSION, "transport.version", WB_CONFIG_CONN, 1, u32::MAX as u64),
    key(WB_KEY_VERSIONS, "transport.versions", WB_CONFIG_CONN, 0, 0),
    key(WB_KEY_SPIN_BIT, "transport.spin_bit", WB_CONFIG_CONN, 0, 1),
    key(WB_KEY_GREASE, "transport.grease", WB_CONFIG_CONN, 0, 1),
    key(WB_KEY_PREFERRED_IPV4, "transport.preferred_ipv4", WB_CONFIG_CONN, 0, 0),
    key(WB_KEY_PREFERRED_IPV6, "transport.preferred_ipv6", WB_CONFIG_CONN, 0, 0),
    key(WB_KEY_HTTP3, "http3.enable", WB_CONFIG_CONN, 0, 1),
    key(WB_KEY_MAX_FIELD_SECTION, "http3.max_field_section", WB_CONFIG_CONN, 256, 16 << 20),
    key(WB_KEY_WHOLE_MESSAGES, "http3.whole_messages", WB_CONFIG_CONN, 0, WHOLE_MESSAGE),
    key(WB_KEY_SPARE, "events.spare", WB_CONFIG_CONN, 0, SPARE),
    key(WB_KEY_QLOG_DIR, "qlog.dir", WB_CONFIG_CONN, 0, 0),
    // A server that binds before it listens decides here.
    key(WB_KEY_QLOG_DIR, "qlog.dir", WB_CONFIG_ENDPOINT, 0, 0),
];

impl ConfigObject {
    fn new(kind: u32) -> Self {
        Self { meta: Meta::default(), kind, draft: Mutex::default() }
    }

    fn key(&self, number: u32) -> Result<&'static Key, Fail> {
        key_of(self.kind, number)
    }

    fn change(&self, act: impl FnOnce(&mut Draft)) -> Result<(), Fail> {
        let mut draft = self.draft.lock();
        if draft.frozen.is_some() {
            return Err(frozen());
        }
        act(&mut draft);
        Ok(())
    }

    fn set_number(&self, number: u32, value: u64) -> Result<(), Fail> {
        check_number(self.kind, number, value)?;
        self.change(|draft| {
            draft.values.numbers.retain(|(n, _)| *n != number);
            draft.values.numbers.push((number, value));
        })
    }

    fn set_bytes(&self, number: u32, value: &[u8]) -> Result<(), Fail> {
        let key = self.key(number)?;
        if value.len() > MAX_VALUE {
            return Err(Fail::new(WB_E_RANGE, format!("{}: value is too long", key.name)));
        }
        let text = core::str::from_utf8(value).map_err(|_| Fail::new(WB_E_UTF8, format!("{}: not UTF-8", key.name)))?;
        match number {
            WB_KEY_QLOG_DIR => self.change(|draft| draft.values.qlog_dir = (!text.is_empty()).then(|| text.to_owned())),
            WB_KEY_VERSIONS => {
                let versions = versions_value(key, text)?;
                self.change(|draft| draft.values.versions = versions)
            }
            WB_KEY_PREFERRED_IPV4 => {
                let address = address_value(key, text)?;
                self.change(|draft| draft.values.preferred_ipv4 = address)
            }
            WB_KEY_PREFERRED_IPV6 => {
                let address = address_value(key, text)?;
                self.change(|draft| draft.values.preferred_ipv6 = address)
            }
            _ => self.set_text(key, text),
        }
    }

    fn set_text(&self, key: &Key, text: &str) -> Result<(), Fail> {
        if takes_bytes(key.number) {
            return self.set_bytes(key.number, text.as_bytes());
        }
        let named = match (key.number, text) {
            (WB_KEY_CONGESTION, "newreno") => Some(u64::from(WB_CC_NEWRENO)),
            (WB_KEY_CONGESTION, "cubic") => Some(u64::from(WB_CC_CUBIC)),
            (WB_KEY_CONGESTION, "bbr") => Some(u64::from(WB_CC_BBR)),
            (WB_KEY_CONGESTION, "prague") => Some(u64::from(WB_CC_PRAGUE)),
            (WB_KEY_CONGESTION, "adaptive") => Some(u64::from(WB_CC_ADAPTIVE)),
            (_, "true" | "yes" | "on") if key.max == 1 => Some(1),
            (_, "false" | "no" | "off") if key.max == 1 => Some(0),
            _ => None,
        };
        let value = named
            .or_else(|| number_of(text))
            .ok_or_else(|| Fail::new(WB_E_INVALID, format!("{}: \"{text}\" is not a value", key.name)))?;
        self.set_number(key.number, value)
    }

    fn parse(&self, line: &str) -> Result<(), Fail> {
        let (name, value) = line.split_once('=').ok_or_else(|| Fail::invalid("a setting looks like name=value"))?;
        let (name, value) = (name.trim(), value.trim());
        let key = KEYS
            .iter()
            .find(|k| k.name == name && k.kind == self.kind)
            .ok_or_else(|| Fail::new(WB_E_UNKNOWN_KEY, format!("this kind of configuration has no key \"{name}\"")))?;
        self.set_text(key, value)
    }

    /// What the values mean; the same each time once frozen.
    fn freeze(&self) -> Arc<Settings> {
        let mut draft = self.draft.lock();
        if let Some(frozen) = &draft.frozen {
            return Arc::clone(frozen);
        }
        let callbacks = std::mem::take(&mut draft.callbacks);
        let settings = Arc::new(draft.values.settings(callbacks));
        draft.frozen = Some(Arc::clone(&settings));
        settings
    }

    fn check(&self) -> Result<(), Fail> {
        let values = self.draft.lock().values.clone();
        let settings = values.settings(Callbacks::default());
        let c = &settings.connection;
        if c.flow.stream_window > c.flow.connection_window {
            return Err(Fail::new(WB_E_RANGE, "transport.stream_window is larger than transport.conn_window"));
        }
        // RFC 9000 section 10.1.2: a PING that comes after the idle timeout keeps nothing alive.
        if !c.keep_alive.is_zero() && !c.idle_timeout.is_zero() && c.keep_alive >= c.idle_timeout {
            return Err(Fail::new(WB_E_RANGE, "transport.keep_alive_ms is not smaller than transport.max_idle_ms"));
        }
        if let Some(folder) = &settings.qlog_dir
            && !std::path::Path::new(folder).is_dir()
        {
            return Err(Fail::new(WB_E_RANGE, format!("qlog.dir: {folder} is not a folder")));
        }
        Ok(())
    }
}

fn key_of(kind: u32, number: u32) -> Result<&'static Key, Fail> {
    KEYS.iter()
        .find(|k| k.number == number && k.kind == kind)
        .ok_or_else(|| Fail::new(WB_E_UNKNOWN_KEY, format!("this kind of configuration has no key {number}")))
}

/// Whether a key may have this value at all; the key's name.
pub(crate) fn check_number(kind: u32, number: u32, value: u64) -> Result<&'static str, Fail> {
    let key = key_of(kind, number)?;
    if takes_bytes(number) {
        return Err(Fail::new(WB_E_INVALID, format!("{} takes bytes", key.name)));
    }
    if value < key.min || value > key.max {
        let text = format!("{}: {value} is not in {} to {}", key.name, key.min, key.max);
        return Err(Fail::new(WB_E_RANGE, text));
    }
    if number == WB_KEY_VERSION && u32::try_from(value).is_ok_and(|v| v != codes::VERSION_1 && v != codes::VERSION_2) {
        return Err(Fail::new(WB_E_RANGE, format!("{}: unknown QUIC version {value:#x}", key.name)));
    }
    Ok(key.name)
}

/// Keys whose value is no number.
const fn takes_bytes(number: u32) -> bool {
    matches!(number, WB_KEY_QLOG_DIR | WB_KEY_VERSIONS | WB_KEY_PREFERRED_IPV4 | WB_KEY_PREFERRED_IPV6)
}

fn number_of(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Versions with commas between them; empty text takes a former value back.
fn versions_value(key: &Key, text: &str) -> Result<Vec<u32>, Fail> {
    let mut list = Vec::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let known = number_of(part).and_then(|v| u32::try_from(v).ok());
        let known = known.filter(|v| matches!(*v, codes::VERSION_1 | codes::VERSION_2));
        let version =
            known.ok_or_else(|| Fail::new(WB_E_RANGE, format!("{}: unknown QUIC version {part}", key.name)))?;
        if !list.contains(&version) {
            list.push(version);
        }
    }
    Ok(list)
}

/// Address and port as text; empty text takes a former value back.
fn address_value<A: core::str::FromStr>(key: &Key, text: &str) -> Result<Option<A>, Fail> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |_| Fail::new(WB_E_INVALID, format!("{}: \"{text}\" is not an address with a port", key.name));
    text.parse().map(Some).map_err(wrong)
}

fn frozen() -> Fail {
    Fail::new(WB_E_FROZEN, "the configuration is in use")
}

/// The settings of a configuration handle of the wanted kind, or of none (0).
pub(crate) fn settings(config: u64, kind: u32) -> Result<Arc<Settings>, Fail> {
    match handle::get_optional::<ConfigObject>(config)? {
        None => Ok(Arc::new(Values::default().settings(Callbacks::default()))),
        Some(config) if config.kind == kind => Ok(config.freeze()),
        Some(_) => Err(Fail::invalid("the configuration is of another kind")),
    }
}

impl Values {
    fn settings(&self, callbacks: Callbacks) -> Settings {
        let mut c = ConnectionConfig { key_events: true, ..ConnectionConfig::default() };
        let mut http3 = Http3Config::default();
        let mut with_http3 = true;
        let mut runtime = RuntimeConfig::default();
        let mut retry = false;
        let mut admit = false;
        let mut hardened = false;
        let mut manual_credit = false;
        let mut whole_messages = None;
        let mut spare = 0;
        let mut drain = DRAIN;
        for &(number, value) in &self.numbers {
            let millis = Duration::from_millis(value);
            match number {
                WB_KEY_WORKERS => runtime.workers = usize::try_from(value).unwrap_or(0),
                WB_KEY_BUSY_POLL_US => runtime.busy_poll = Duration::from_micros(value),
                WB_KEY_RETRY => retry = value != 0,
                WB_KEY_ADMIT => admit = value != 0,
                WB_KEY_HARDENED => hardened = value != 0,
                WB_KEY_MANUAL_CREDIT => manual_credit = value != 0,
                WB_KEY_WHOLE_MESSAGES => whole_messages = usize::try_from(value).ok().filter(|n| *n > 0),
                WB_KEY_SPARE => spare = value,
                WB_KEY_DRAIN_MS => drain = millis,
                WB_KEY_MAX_IDLE_MS => c.idle_timeout = millis,
                WB_KEY_HANDSHAKE_MS => c.handshake_timeout = millis,
                WB_KEY_EARLY_DECISION_MS => c.early_data_patience = millis,
                WB_KEY_KEEP_ALIVE_MS => c.keep_alive = millis,
                WB_KEY_STREAM_WINDOW => {
                    c.flow.stream_window = value;
                    c.flow.stream_window_max = c.flow.stream_window_max.max(value);
                }
                WB_KEY_CONN_WINDOW => {
                    c.flow.connection_window = value;
                    c.flow.connection_window_max = c.flow.connection_window_max.max(value);
                }
                WB_KEY_MAX_STREAMS_BIDI => c.max_streams_bidi = value,
                WB_KEY_MAX_STREAMS_UNI => c.max_streams_uni = value,
                WB_KEY_CONGESTION => c.congestion = algorithm(value),
                WB_KEY_MAX_UDP_PAYLOAD => {
                    let size = u16::try_from(value).unwrap_or(u16::MAX);
                    c.max_udp_payload = size;
                    c.mtu_ceiling = size;
                }
                WB_KEY_DATAGRAM_SIZE => c.max_datagram_frame = value,
                WB_KEY_MAX_ACK_DELAY_MS => c.max_ack_delay = millis,
                WB_KEY_ACK_FREQUENCY => c.ack_frequency = value != 0,
                WB_KEY_VERSION => c.initial_version = u32::try_from(value).ok(),
                WB_KEY_SPIN_BIT => c.spin_bit = value != 0,
                WB_KEY_GREASE => {
                    c.grease_quic_bit = value != 0;
                    http3.grease = value != 0;
                }
                WB_KEY_HTTP3 => with_http3 = value != 0,
                WB_KEY_MAX_FIELD_SECTION => {
                    http3.max_field_section_size = u32::try_from(value).unwrap_or(u32::MAX);
                }
                _ => {}
            }
        }
        if !self.versions.is_empty() {
            c.versions.clone_from(&self.versions);
            c.choose_version = true;
        }
        if let Some(first) = c.initial_version
            && !c.versions.contains(&first)
        {
            c.versions.insert(0, first);
        }
        if with_http3 {
            // RFC 9114 section 7.2.4.2: no early data from clients that remember other settings.
            c.early_data_context = http3.early_data_context();
        }
        c.preferred_ipv4 = self.preferred_ipv4;
        c.preferred_ipv6 = self.preferred_ipv6;
        Settings {
            callbacks,
            connection: Arc::new(c),
            http3: with_http3.then(|| Arc::new(http3)),
            runtime,
            retry,
            admit,
            hardened,
            manual_credit,
            // Who gives credit by hand has to see what there is to give it for.
            whole_messages: whole_messages.filter(|_| !manual_credit),
            spare,
            drain,
            qlog_dir: self.qlog_dir.clone(),
        }
    }
}

/// Makes a configuration with defaults. `kind` is `WB_CONFIG_RUNTIME`, `_ENDPOINT` or `_CONN`.
///
/// Ownership: `*out` is the caller's; objects made with it keep what they need. Threads: any. Blocks: never.
/// Errors: `WB_E_INVALID`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_config_new(kind: u32, out: *mut wb_config) -> wb_status {
    fence(|| {
        args::non_null(out, "configuration")?;
        if !matches!(kind, WB_CONFIG_RUNTIME | WB_CONFIG_ENDPOINT | WB_CONFIG_CONN) {
            return Err(Fail::invalid("unknown kind of configuration"));
        }
        let handle = publish(&Arc::new(ConfigObject::new(kind)), false)?;
        // SAFETY: checked above; writable by contract.
        unsafe { args::put(out, handle, "configuration")? };
        Ok(WB_OK)
    })
}

/// Sets a number (`WB_KEY_*`; units are in the key's comment).
///
/// Ownership: unchanged. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_UNKNOWN_KEY`, `WB_E_RANGE`, `WB_E_FROZEN`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_config_set_u64(config: wb_config, key: u32, value: u64) -> wb_status {
    fence(|| {
        handle::get::<ConfigObject>(config)?.set_number(key, value)?;
        Ok(WB_OK)
    })
}

/// Sets a text or binary value, which is copied.
///
/// Ownership: `data` stays the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_UNKNOWN_KEY`, `WB_E_UTF8`, `WB_E_FROZEN`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_config_set_bytes(
    config: wb_config,
    key: u32,
    data: *const c_void,
    len: usize,
) -> wb_status {
    fence(|| {
        let config = handle::get::<ConfigObject>(config)?;
        // SAFETY: readable by contract.
        config.set_bytes(key, unsafe { args::bytes(data, len, "value")? })?;
        Ok(WB_OK)
    })
}

/// Sets one value from text such as "transport.max_idle_ms=30000". Space around name and value is ignored.
/// `len` may be `WB_TEXT_Z` for terminated text.
///
/// Ownership: `line` stays the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_UTF8`, `WB_E_UNKNOWN_KEY`, `WB_E_RANGE`, `WB_E_FROZEN`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_config_parse(config: wb_config, line: *const c_char, len: usize) -> wb_status {
    fence(|| {
        let config = handle::get::<ConfigObject>(config)?;
        // SAFETY: readable by contract.
        config.parse(unsafe { args::text(line, len, "setting")? })?;
        Ok(WB_OK)
    })
}

/// Registers the callback of one event group (`WB_GROUP_*`) for the objects made with this configuration and those
/// below them. An event goes to the callback of its group at the nearest object that has one (connection, endpoint,
/// runtime), else to the nearest queue, else it is dropped. A second registration replaces the first; a null
/// function removes it.
///
/// Ownership: `ctx` belongs to the registration until `destroy` (may be null) is called once, when configuration and
/// objects no longer need it. On failure it stays the caller's. Threads: any; the callback runs on library threads.
/// Blocks: never. Errors: handle errors, `WB_E_INVALID` (group), `WB_E_FROZEN`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_config_on(
    config: wb_config,
    group: u32,
    function: wb_event_fn,
    ctx: *mut c_void,
    destroy: wb_destroy_fn,
) -> wb_status {
    fence(|| {
        let config = handle::get::<ConfigObject>(config)?;
        let group = group as usize;
        if group >= GROUPS {
            return Err(Fail::invalid("unknown event group"));
        }
        let old = {
            let mut draft = config.draft.lock();
            if draft.frozen.is_some() {
                return Err(frozen());
            }
            let callback = Callback::new(function, Context::new(ctx, destroy));
            draft.callbacks.get_mut(group).and_then(|slot| std::mem::replace(slot, callback))
        };
        // Outside the lock: this may run the destructor of the callback that was there.
        drop(old);
        Ok(WB_OK)
    })
}

/// Checks that the values go together. The detail of `wb_last_error` names the first that does not.
///
/// Ownership: unchanged. Threads: any. Blocks: never. Errors: handle errors, `WB_E_RANGE`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_config_check(config: wb_config) -> wb_status {
    fence(|| {
        handle::get::<ConfigObject>(config)?.check()?;
        Ok(WB_OK)
    })
}

/// The range of the key was checked when it was set.
fn algorithm(value: u64) -> Algorithm {
    match u32::try_from(value) {
        Ok(WB_CC_NEWRENO) => Algorithm::NewReno,
        Ok(WB_CC_CUBIC) => Algorithm::Cubic,
        Ok(WB_CC_BBR) => Algorithm::Bbr,
        Ok(WB_CC_PRAGUE) => Algorithm::Prague,
        _ => Algorithm::Adaptive,
    }
}
