//! Every public type and constant of the C ABI. Fixed width, explicit padding, no bit fields, no enums:
//! an output struct begins with `struct_size`, and fields are only ever appended.
use super::args::Sized32;
use core::ffi::{c_char, c_void};

/// ABI of this header: major << 16 | minor. Compare with `wb_abi_version`.
pub const WB_ABI_VERSION: u32 = 1;

/// A checked reference to an object: never dereferenced, 0 is never valid. A stale, foreign or made-up handle
/// gives a status in every call.
///
/// Rule of ownership: what a function gave in an out parameter is yours, release it. What came in an event
/// belongs to the library and lives until its CLOSED event has been delivered; retain it to keep it longer.
pub type wb_handle = u64;
/// Worker threads, sockets and timers.
pub type wb_runtime = wb_handle;
/// Settings and callbacks; frozen by first use.
pub type wb_config = wb_handle;
/// Certificates, keys, trust and ALPN of one role.
pub type wb_tls = wb_handle;
/// One or more sockets, client and server at once.
pub type wb_endpoint = wb_handle;
/// A QUIC connection.
pub type wb_conn = wb_handle;
/// A network path of a connection.
pub type wb_path = wb_handle;
/// A stream, or an HTTP/3 request.
pub type wb_stream = wb_handle;
/// Reference counted bytes.
pub type wb_buf = wb_handle;
/// Events for an application with its own loop.
pub type wb_queue = wb_handle;
/// A question that the application answers once; the answer, or the end of what it concerns, makes it stale.
pub type wb_decision = wb_handle;

/// Kind of a handle, see `wb_handle_info`.
pub const WB_KIND_RUNTIME: u32 = 1;
pub const WB_KIND_CONFIG: u32 = 2;
pub const WB_KIND_TLS: u32 = 3;
pub const WB_KIND_ENDPOINT: u32 = 4;
pub const WB_KIND_CONN: u32 = 5;
pub const WB_KIND_PATH: u32 = 6;
pub const WB_KIND_STREAM: u32 = 7;
pub const WB_KIND_BUF: u32 = 8;
pub const WB_KIND_QUEUE: u32 = 9;
pub const WB_KIND_DECISION: u32 = 10;

/// Kind of a configuration.
pub const WB_CONFIG_RUNTIME: u32 = 1;
pub const WB_CONFIG_ENDPOINT: u32 = 2;
pub const WB_CONFIG_CONN: u32 = 3;

/// Role of a TLS object.
pub const WB_ROLE_CLIENT: u32 = 1;
pub const WB_ROLE_SERVER: u32 = 2;

/// Peer verification. NONE is for tests only; OPTIONAL and REQUIRED of a server concern client certificates.
pub const WB_VERIFY_NONE: u32 = 0;
pub const WB_VERIFY_OPTIONAL: u32 = 1;
pub const WB_VERIFY_REQUIRED: u32 = 2;

/// How to close a runtime or an endpoint. Either way every peer is told with CONNECTION_CLOSE, and no new connection is
/// taken. GRACEFUL first lets finish what is under way, at most for `WB_KEY_DRAIN_MS`: with HTTP/3 the peer is told by GOAWAY
/// and running requests go on to their end; raw streams deliver what was sent on them. A connection whose handshake is not
/// complete is closed at once.
pub const WB_CLOSE_GRACEFUL: u32 = 0;
pub const WB_CLOSE_NOW: u32 = 1;

/// Kind of a stream to open.
pub const WB_STREAM_BIDI: u32 = 0;
pub const WB_STREAM_UNI: u32 = 1;

/// Flag of send, request and headers calls: this is the end of the stream's data.
pub const WB_FIN: u32 = 1;
/// Flag of `wb_h3_headers`: these are trailers (implies `WB_FIN`).
pub const WB_H3_TRAILERS: u32 = 2;
/// Flag of a message for `wb_h3_submit`: nothing more is wanted of its stream than the peer's message. When ours was taken
/// whole, there is no STREAM_SEND_DONE, and when the peer's came as one H3_MESSAGE no STREAM_CLOSED either: the stream's handle
/// goes stale by itself. Whatever else happens to the stream is told as ever. Has no effect on a message of which a part was
/// left.
pub const WB_H3_DONE: u32 = 4;

/// What `wb_buf_revoke` does with bytes that are still needed: copy them to library memory, or reset the streams.
pub const WB_REVOKE_COPY: u32 = 0;
pub const WB_REVOKE_RESET: u32 = 1;

/// Section of received fields, see `wb_h3_fields`.
pub const WB_SECTION_HEADERS: u32 = 0;
pub const WB_SECTION_INFO: u32 = 1;
pub const WB_SECTION_TRAILERS: u32 = 2;

/// Who caused an error.
pub const WB_ORIGIN_NONE: u32 = 0;
pub const WB_ORIGIN_LOCAL: u32 = 1;
pub const WB_ORIGIN_PEER: u32 = 2;
pub const WB_ORIGIN_SYSTEM: u32 = 3;

/// Side of a connection.
pub const WB_SIDE_CLIENT: u32 = 0;
pub const WB_SIDE_SERVER: u32 = 1;

/// Event groups: the high byte of an event kind. A callback serves one group, or all without one of their own.
pub const WB_GROUP_ALL: u32 = 0;
pub const WB_GROUP_RUNTIME: u32 = 1;
pub const WB_GROUP_ENDPOINT: u32 = 2;
pub const WB_GROUP_CONN: u32 = 3;
pub const WB_GROUP_KEYS: u32 = 4;
pub const WB_GROUP_PATH: u32 = 5;
pub const WB_GROUP_STREAM: u32 = 6;
pub const WB_GROUP_DATAGRAM: u32 = 7;
pub const WB_GROUP_H3: u32 = 8;
pub const WB_GROUP_DECISION: u32 = 9;

/// Something makes the queue worth a look (`wb_queue_wake`); no object.
pub const WB_EV_WAKE: u16 = 0x0001;
/// The runtime has ended: no event follows. Last event of a runtime.
pub const WB_EV_RUNTIME_CLOSED: u16 = 0x0101;
/// The endpoint's sockets are gone. Last event of an endpoint.
pub const WB_EV_ENDPOINT_CLOSED: u16 = 0x0202;
/// The system refused something on a socket: a = OS error, data = text. Of one that stays broken about once a second.
pub const WB_EV_SOCKET_ERROR: u16 = 0x0203;
/// A limit of `wb_endpoint_limits` turns clients away, or does so no more: a = how many there are of what it limits, b = which
/// (`WB_LIMIT_*`), `WB_LIMIT_NONE` when clients are taken again. Once for each change; the end when an eighth of the limit, and
/// at least one place, is free.
pub const WB_EV_ENDPOINT_BUSY: u16 = 0x0204;
/// Server: a client's first packet was accepted, the handshake runs. The handle in `conn` is new; `endpoint` is b.
pub const WB_EV_CONN_INCOMING: u16 = 0x0301;
/// The handshake is complete; streams may be used. a = 1 when the session was resumed, data = ALPN.
pub const WB_EV_CONNECTED: u16 = 0x0302;
/// Client: the server took the early data.
pub const WB_EV_ZERO_RTT_ACCEPTED: u16 = 0x0303;
/// Client: the server refused the early data; it is sent again by itself.
pub const WB_EV_ZERO_RTT_REJECTED: u16 = 0x0304;
/// Client: the server gave an address token for later; data = token.
pub const WB_EV_NEW_TOKEN: u16 = 0x0305;
/// The handshake is confirmed (RFC 9001 section 4.1.2).
pub const WB_EV_CONFIRMED: u16 = 0x0306;
/// `wb_stream_open` may be tried again: a = `WB_STREAM_BIDI` or `WB_STREAM_UNI`.
pub const WB_EV_STREAMS_AVAILABLE: u16 = 0x0307;
/// The connection has ended: a = wire code, b = the status as a 32-bit pattern, data = text. More with `wb_conn_error`.
/// Last event of a connection.
pub const WB_EV_CONN_CLOSED: u16 = 0x0308;
/// The peer has closed the connection (RFC 9000 section 10.2.2): a = its wire code, b = 1 when that is an application's code,
/// data = its text. The ends of the streams, then CONN_CLOSED follow.
pub const WB_EV_PEER_CLOSING: u16 = 0x0309;
/// Keys are in place: a = `WB_LEVEL_*`, b = cipher suite (0x1301 to 0x1303). Flags `WB_EVF_READ`, `WB_EVF_WRITE`: for which
/// direction (early data have one, the other levels both). The secrets themselves only by `wb_tls_keylog`.
pub const WB_EV_KEYS_INSTALLED: u16 = 0x0401;
/// 1-RTT keys were updated, in both directions: a = how many updates so far, b = 1 when the peer began.
pub const WB_EV_KEY_UPDATED: u16 = 0x0402;
/// A path appeared: data = "local -> remote".
pub const WB_EV_PATH_NEW: u16 = 0x0501;
/// The path works in both directions.
pub const WB_EV_PATH_VALIDATED: u16 = 0x0502;
/// The path did not answer. The handle ends after this event.
pub const WB_EV_PATH_FAILED: u16 = 0x0503;
/// The connection now uses this path: a = 1 when the peer moved, b = why (`WB_MOVE_*`), data = "local -> remote".
pub const WB_EV_PATH_MIGRATED: u16 = 0x0504;
/// The peer opened a stream. The handle in `stream` is new.
pub const WB_EV_STREAM_INCOMING: u16 = 0x0601;
/// Data, or the end, can be read. Comes again only after a receive call has reported `WB_E_WOULD_BLOCK`.
pub const WB_EV_STREAM_READABLE: u16 = 0x0602;
/// Sending may go on after a `WB_E_WOULD_BLOCK` or a partial accept.
pub const WB_EV_STREAM_WRITABLE: u16 = 0x0603;
/// The peer gave up sending: a = its code.
pub const WB_EV_STREAM_RESET: u16 = 0x0604;
/// The peer wants no more data: a = its code.
pub const WB_EV_STREAM_STOPPED: u16 = 0x0605;
/// Everything sent, with the end, has arrived.
pub const WB_EV_STREAM_SEND_DONE: u16 = 0x0606;
/// Both directions have ended. Last event of a stream.
pub const WB_EV_STREAM_CLOSED: u16 = 0x0607;
/// A datagram arrived: data = its bytes.
pub const WB_EV_DATAGRAM: u16 = 0x0701;
/// What became of a datagram with a tag: a = tag, b = `WB_DATAGRAM_*`. SENT, then ACKED or LOST; or DROPPED alone, when the
/// path's packets became too small for it. What is open when the connection ends is not told any more.
pub const WB_EV_DATAGRAM_STATE: u16 = 0x0702;
/// The peer's HTTP/3 settings are known.
pub const WB_EV_H3_SETTINGS: u16 = 0x0801;
/// A request (server; the handle in `stream` is new) or the final response (client): a = status code or 0.
/// Flag `WB_EVF_FIN`: no body follows. Fields with `wb_h3_fields`.
pub const WB_EV_H3_HEADERS: u16 = 0x0802;
/// An interim response: a = status code (1xx).
pub const WB_EV_H3_INFO: u16 = 0x0803;
/// Trailers, with `wb_h3_fields`. Flag `WB_EVF_FIN`: the body was read to its end before, no READABLE follows.
pub const WB_EV_H3_TRAILERS: u16 = 0x0804;
/// The peer will take no more: a = first stream, or push, that it does not process.
pub const WB_EV_H3_GOAWAY: u16 = 0x0805;

/// With `http3.whole_messages`: a request or final response that has come whole, in place of its H3_HEADERS and READABLE:
/// a = status code or 0, b = length of the field text; data = the field text, then the body. The text has a zero byte behind
/// each name and each value. Flag `WB_EVF_FIN` always, `WB_EVF_EARLY` as with H3_HEADERS. Nothing is left to be received;
/// `wb_h3_fields` gives the fields all the same.
pub const WB_EV_H3_MESSAGE: u16 = 0x0806;

/// Server: may this client connect? No state of a connection exists yet. a = decision. Answered by `wb_decision_accept`
/// or `wb_decision_refuse`; without an answer the attempt is forgotten after 10 seconds.
pub const WB_EV_DECIDE_ADMIT: u16 = 0x0901;
/// Server: a client hello came; who are we? a = decision. Answered by `wb_decision_identity` or `wb_decision_accept`.
/// This decision and the next two: without an answer the handshake ends by its timeout.
pub const WB_EV_DECIDE_IDENTITY: u16 = 0x0902;
/// The peer showed its certificates; are they good? a = decision, b = alert with which the configured check would
/// refuse, or 0. Answered by `wb_decision_accept` or `wb_decision_refuse`.
pub const WB_EV_DECIDE_VERIFY: u16 = 0x0903;
/// The key of our certificate is elsewhere; sign this. a = decision, b = TLS signature scheme (RFC 8446 section 4.2.3).
/// Answered by `wb_decision_sign`.
pub const WB_EV_DECIDE_SIGN: u16 = 0x0904;
/// Server: early data are offered with a good ticket; is the offer new, to all servers that share the ticket keys?
/// a = decision, b = milliseconds for which to remember it, data = its key of 32 bytes, which tells nothing about the client.
/// Answered by `wb_decision_accept` (it is new) or `wb_decision_refuse` with 0 (it was seen before, or the store does not
/// answer): early data are refused, the handshake goes on. The same without an answer after transport.early_decision_ms.
pub const WB_EV_DECIDE_EARLY: u16 = 0x0905;

/// Kind of a decision.
pub const WB_DECIDE_ADMIT: u32 = 1;
pub const WB_DECIDE_IDENTITY: u32 = 2;
pub const WB_DECIDE_VERIFY: u32 = 4;
pub const WB_DECIDE_SIGN: u32 = 8;
pub const WB_DECIDE_EARLY: u32 = 16;

/// What `wb_decision_data` gives: a certificate in DER (of the peer; when signing, our own), the stapled OCSP response,
/// the bytes to sign or the client hello, an application protocol that the client offers, the key of an offer of early data.
pub const WB_DATA_CERTIFICATE: u32 = 1;
pub const WB_DATA_OCSP: u32 = 2;
pub const WB_DATA_MESSAGE: u32 = 3;
pub const WB_DATA_PROTOCOL: u32 = 4;
pub const WB_DATA_EARLY_KEY: u32 = 5;

/// How `wb_decision_refuse` turns an admission down: tell the client, ask it to prove its address first (it is asked
/// about again when it has), or do not answer.
pub const WB_REFUSE_CLOSE: u32 = 0;
pub const WB_REFUSE_RETRY: u32 = 1;
pub const WB_REFUSE_SILENT: u32 = 2;

/// Flag of an event: the stream ends here.
pub const WB_EVF_FIN: u16 = 1;
/// Flag of STREAM_INCOMING, H3_HEADERS, H3_MESSAGE and DATAGRAM on a server: some of it came as early data (0-RTT), and the client has not
/// completed its handshake yet, so it may be a replay. What must not happen twice waits for CONNECTED, or is answered with
/// 425 Too Early (RFC 8470 section 5.2). The flag belongs to the moment of the event: what began early and became an event
/// after the handshake has it not. `wb_stream_info` tells both at any time.
pub const WB_EVF_EARLY: u16 = 2;
/// Flags of KEYS_INSTALLED: packets of the level can be opened, can be sealed.
pub const WB_EVF_READ: u16 = 4;
pub const WB_EVF_WRITE: u16 = 8;

/// What `wb_stream_info` says in `early`: nothing came as early data; some did, and the client has not completed its
/// handshake yet: it may be a replay; some did, and the client has completed the handshake since: it is none.
pub const WB_EARLY_NO: u32 = 0;
pub const WB_EARLY_UNPROVEN: u32 = 1;
pub const WB_EARLY_PROVEN: u32 = 2;

/// Encryption levels in the order in which keys appear.
pub const WB_LEVEL_INITIAL: u32 = 0;
pub const WB_LEVEL_EARLY: u32 = 1;
pub const WB_LEVEL_HANDSHAKE: u32 = 2;
pub const WB_LEVEL_ONE_RTT: u32 = 3;

/// Limits of an endpoint that turn clients away.
pub const WB_LIMIT_NONE: u32 = 0;
pub const WB_LIMIT_CONNECTIONS: u32 = 1;
pub const WB_LIMIT_HANDSHAKES: u32 = 2;

/// State of a datagram.
pub const WB_DATAGRAM_SENT: u32 = 1;
pub const WB_DATAGRAM_ACKED: u32 = 2;
pub const WB_DATAGRAM_LOST: u32 = 3;
pub const WB_DATAGRAM_DROPPED: u32 = 4;

/// Kind of a packet, see `wb_packet_peek`. UNKNOWN is a long header of a version that this library does not know.
pub const WB_PACKET_UNKNOWN: u32 = 0;
pub const WB_PACKET_INITIAL: u32 = 1;
pub const WB_PACKET_EARLY: u32 = 2;
pub const WB_PACKET_HANDSHAKE: u32 = 3;
pub const WB_PACKET_RETRY: u32 = 4;
/// Version Negotiation.
pub const WB_PACKET_VERSIONS: u32 = 5;
pub const WB_PACKET_SHORT: u32 = 6;

/// Length of the connection IDs that this library issues, for `wb_packet_peek`.
pub const WB_CID_LEN: u32 = 8;

/// Level of `wb_log_set`: lines of this one and those before it are wanted.
pub const WB_LOG_OFF: u32 = 0;
pub const WB_LOG_ERROR: u32 = 1;
pub const WB_LOG_WARN: u32 = 2;
pub const WB_LOG_INFO: u32 = 3;
pub const WB_LOG_DEBUG: u32 = 4;

/// State of a connection.
pub const WB_CONN_IDLE: u32 = 0;
pub const WB_CONN_HANDSHAKE: u32 = 1;
pub const WB_CONN_ESTABLISHED: u32 = 2;
pub const WB_CONN_CLOSED: u32 = 3;

/// Why a connection changed its path. An address changed: the application moved, or the network did. Only the client's port
/// changed, as NATs do. It went to the address that the server prefers (RFC 9000 section 9.6; `WB_KEY_PREFERRED_IPV4`). The path
/// moved to did not prove itself: back to the last one that had.
pub const WB_MOVE_ADDRESS: u32 = 0;
pub const WB_MOVE_REBINDING: u32 = 1;
pub const WB_MOVE_PREFERRED: u32 = 2;
pub const WB_MOVE_BACK: u32 = 3;

/// State of a path.
pub const WB_PATH_NEW: u32 = 0;
pub const WB_PATH_VALIDATING: u32 = 1;
pub const WB_PATH_VALID: u32 = 2;
pub const WB_PATH_FAILED: u32 = 3;

/// Numeric configuration keys; the text name of each stands in the comment. Times are in milliseconds, sizes in bytes.
/// runtime.workers: threads; 0 = one per processor.
pub const WB_KEY_WORKERS: u32 = 1;
/// runtime.hardened: 1 makes reads of released buffers, events and received fields fault where they happen, for this process
/// from now on; slow, for finding errors. The environment variable WB_HARDENED=1 does the same.
pub const WB_KEY_HARDENED: u32 = 2;
/// runtime.busy_poll_us: microseconds (not milliseconds) for which a worker may watch its sockets before it sleeps; 0 = never,
/// default 50, at most 1000. It does so only while what it waits for keeps coming within that time and little is moved at once,
/// as when each end waits for the other's answer: then a sleep and a wake-up cost more than the wait. It gives way to
/// other threads that want its processor, and a worker without traffic always sleeps.
pub const WB_KEY_BUSY_POLL_US: u32 = 3;
/// endpoint.retry: 0 never, 1 always ask clients to prove their address with a Retry packet. Also for the connection
/// configuration that listens.
pub const WB_KEY_RETRY: u32 = 20;
/// transport.max_idle_ms: silence after which a connection ends; 0 = never.
pub const WB_KEY_MAX_IDLE_MS: u32 = 40;
/// transport.handshake_ms: time for the handshake.
pub const WB_KEY_HANDSHAKE_MS: u32 = 41;
/// transport.keep_alive_ms: a PING after this much silence; 0 = off.
pub const WB_KEY_KEEP_ALIVE_MS: u32 = 42;
/// transport.stream_window: initial receive window of a stream.
pub const WB_KEY_STREAM_WINDOW: u32 = 43;
/// transport.conn_window: initial receive window of a connection.
pub const WB_KEY_CONN_WINDOW: u32 = 44;
/// transport.max_streams_bidi: bidirectional streams that the peer may have open.
pub const WB_KEY_MAX_STREAMS_BIDI: u32 = 45;
/// transport.max_streams_uni: unidirectional streams that the peer may have open.
pub const WB_KEY_MAX_STREAMS_UNI: u32 = 46;
/// transport.congestion: one of `WB_CC_*`, as text also "newreno", "cubic", "bbr", "prague", "adaptive" (default).
pub const WB_KEY_CONGESTION: u32 = 47;
/// transport.max_udp_payload: largest UDP payload that path probing may reach.
pub const WB_KEY_MAX_UDP_PAYLOAD: u32 = 48;
/// transport.datagram_size: largest DATAGRAM frame that we take; 0 = none.
pub const WB_KEY_DATAGRAM_SIZE: u32 = 49;
/// transport.max_ack_delay_ms: longest time that we hold back an acknowledgement.
pub const WB_KEY_MAX_ACK_DELAY_MS: u32 = 50;
/// transport.version: QUIC version to start with, 1 or 0x6b3343cf.
pub const WB_KEY_VERSION: u32 = 51;
/// transport.versions (bytes): QUIC versions, most wanted first, such as "0x6b3343cf,1"; those left out are not spoken.
/// A client offers them and takes the first that a server offers it (RFC 9368); a server moves clients that offer it to
/// the first. A client starts with transport.version, else with the first. Default: both, and the client's choice stands.
pub const WB_KEY_VERSIONS: u32 = 53;
/// transport.spin_bit: 1 lets observers measure the round-trip time (RFC 9000 section 17.4), 0 (default) does not.
pub const WB_KEY_SPIN_BIT: u32 = 54;
/// transport.grease: 1 to send reserved bits and values (RFC 9287), 0 not to.
pub const WB_KEY_GREASE: u32 = 52;
/// transport.ack_frequency: 1 lets the peer say how often to acknowledge, and says so to a peer that lets us
/// (draft-ietf-quic-ack-frequency); 0 (default) does neither.
pub const WB_KEY_ACK_FREQUENCY: u32 = 55;
/// transport.early_decision_ms: server: early data are refused when `WB_EV_DECIDE_EARLY` is not answered within this time
/// (default 200). The handshake waits for the answer, so keep it below what early data save.
pub const WB_KEY_EARLY_DECISION_MS: u32 = 56;
/// transport.preferred_ipv4 (bytes): server: an own address and port, such as "192.0.2.1:443", to which IPv4 clients
/// should move after the handshake (RFC 9000 section 9.6).
pub const WB_KEY_PREFERRED_IPV4: u32 = 58;
/// transport.preferred_ipv6 (bytes): the same for IPv6 clients, such as "[2001:db8::1]:443".
pub const WB_KEY_PREFERRED_IPV6: u32 = 59;
/// http3.enable: 1 (default) speaks HTTP/3 when ALPN chose it, 0 leaves the streams raw.
pub const WB_KEY_HTTP3: u32 = 60;
/// http3.max_field_section: largest field section that we take.
pub const WB_KEY_MAX_FIELD_SECTION: u32 = 61;
/// http3.whole_messages: a request or response whose body has at most so many bytes, and which has come to its end when its
/// event is made, is one event H3_MESSAGE; 0 (default): never. All others are told as ever: be ready for both. Not with
/// transport.manual_credit.
pub const WB_KEY_WHOLE_MESSAGES: u32 = 62;
/// events.spare: events of streams that the application does without, `WB_SPARE_*` added up; 0 (default): none. Small requests
/// cost less with each.
pub const WB_KEY_SPARE: u32 = 90;
/// endpoint.admit: 1 asks the application about every client (`WB_EV_DECIDE_ADMIT`). Also for the connection
/// configuration that listens.
pub const WB_KEY_ADMIT: u32 = 21;
/// endpoint.drain_ms: longest time that `WB_CLOSE_GRACEFUL` gives to requests and data under way (default 3000). Also for a
/// connection configuration that listens or connects.
pub const WB_KEY_DRAIN_MS: u32 = 22;
/// transport.manual_credit: 1 gives the peer credit for more data only by `wb_stream_consume`, 0 (default) by reading.
pub const WB_KEY_MANUAL_CREDIT: u32 = 70;
/// qlog.dir (bytes): folder for qlog files, one per connection.
pub const WB_KEY_QLOG_DIR: u32 = 80;

/// STREAM_SEND_DONE.
pub const WB_SPARE_SEND_DONE: u64 = 1;
/// STREAM_CLOSED. The stream ends as it does with that event: when both directions have ended and the events of it that were
/// taken from a queue were returned, its user pointer's destructor runs, and a handle that came with an event goes stale.
pub const WB_SPARE_CLOSED: u64 = 2;
/// The STREAM_READABLE that STREAM_INCOMING brings along. A stream has to be read when STREAM_INCOMING is told, until
/// `WB_E_WOULD_BLOCK` or its end; then READABLE comes as ever.
pub const WB_SPARE_FIRST_READABLE: u64 = 4;

/// Congestion controllers.
pub const WB_CC_NEWRENO: u32 = 0;
pub const WB_CC_CUBIC: u32 = 1;
/// BBR version 3 (draft-ietf-ccwg-bbr).
pub const WB_CC_BBR: u32 = 2;
/// CUBIC with a scalable reaction to L4S marks; packets leave as ECT(1) (RFC 9331).
pub const WB_CC_PRAGUE: u32 = 3;
/// The default: CUBIC that does not take random loss for congestion.
pub const WB_CC_ADAPTIVE: u32 = 4;

/// Called with an event. It may call any function, also close and release the objects of the event. Serial per
/// connection, parallel between connections. It must not throw or unwind.
pub type wb_event_fn = Option<unsafe extern "C" fn(ctx: *mut c_void, event: *const wb_event)>;
/// Called once when `ctx` is needed no more, on any thread, never under a lock.
pub type wb_destroy_fn = Option<unsafe extern "C" fn(ctx: *mut c_void)>;
/// Called once when the library is done with lent memory, on any thread, never under a lock.
pub type wb_release_fn = Option<unsafe extern "C" fn(ctx: *mut c_void)>;
/// Called with a line of text (no newline, not terminated).
pub type wb_line_fn = Option<unsafe extern "C" fn(ctx: *mut c_void, line: *const c_char, len: usize)>;

/// Called with a line for operators: `WB_LOG_*`, the part of the library ("socket", "handshake", "connection", "path", "keys",
/// "retry", "qlog"), text of `len` bytes without newline; both texts are terminated and valid until the call returns. It may
/// call any function but waiting ones, and must not throw or unwind.
pub type wb_log_fn =
    Option<unsafe extern "C" fn(ctx: *mut c_void, level: u32, room: *const c_char, text: *const c_char, len: usize)>;

/// Called with a piece of a connection's log, which is valid until the call returns; `end` is 1 in its last call. It may call any
/// function but waiting ones, and must not throw or unwind.
pub type wb_sink_fn =
    Option<unsafe extern "C" fn(ctx: *mut c_void, conn: wb_conn, data: *const c_void, len: usize, end: u32)>;

/// One event. `data` is valid until the callback returns, or until the batch is returned.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wb_event {
    /// Bytes really filled in.
    pub struct_size: u32,
    /// `WB_EV_*`; a program ignores kinds that it does not know.
    pub kind: u16,
    /// `WB_EVF_*`.
    pub flags: u16,
    /// Handles, or 0.
    pub conn: wb_conn,
    pub stream: wb_stream,
    pub path: wb_path,
    /// The object that reports: runtime, endpoint or connection.
    pub source: wb_handle,
    /// Numbers whose meaning the kind tells.
    pub a: u64,
    pub b: u64,
    /// Nanoseconds on the runtime's monotonic clock.
    pub time_ns: i64,
    /// From `wb_handle_set_user`.
    pub user_conn: *mut c_void,
    pub user_stream: *mut c_void,
    pub data: *const u8,
    pub data_len: usize,
}

/// Events taken from a queue. Set `struct_size`, leave the rest zero. Read events with `wb_batch_event`, because
/// a newer library may have larger ones.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wb_batch {
    pub struct_size: u32,
    /// Distance of two events in bytes.
    pub stride: u32,
    pub count: usize,
    pub events: *const c_void,
    /// The library's own.
    pub token: u64,
}

/// Why a call failed or an object ended.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wb_error_info {
    pub struct_size: u32,
    pub status: i32,
    /// `WB_ORIGIN_*`.
    pub origin: u32,
    /// errno of the system, or 0.
    pub os_error: i32,
    /// Error code as on the wire (QUIC transport, HTTP/3 or application code).
    pub wire_code: u64,
    /// Type of the frame that is to blame, or 0.
    pub frame_type: u64,
    /// TLS alert, or 0.
    pub tls_alert: u32,
    /// 1 when `wire_code` is an application code.
    pub application: u32,
    pub text_len: u32,
    pub reserved: u32,
    /// UTF-8, terminated.
    pub text: [c_char; 248],
}

/// A network address in a form without platform types.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct wb_addr {
    /// 4 or 6 (IP version), 0 when there is none.
    pub family: u16,
    /// In host order.
    pub port: u16,
    /// Scope of a link-local IPv6 address.
    pub scope: u32,
    /// Network order; IPv4 uses the first four.
    pub ip: [u8; 16],
}

/// What a handle is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wb_handle_desc {
    pub struct_size: u32,
    /// `WB_KIND_*`.
    pub kind: u32,
    /// References held on it.
    pub references: u32,
    /// 1 after its CLOSED event.
    pub closed: u32,
    pub user: *mut c_void,
}

/// Datagrams of one path, for `wb_core_recv` and `wb_core_transmit`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wb_packet {
    pub struct_size: u32,
    /// The two ECN bits of the IP header: 0 none, 1 ECT(1), 2 ECT(0), 3 CE.
    pub ecn: u32,
    pub local: wb_addr,
    pub remote: wb_addr,
    /// Length of each datagram when there are several one after the other, else 0.
    pub segment: u64,
    /// Written to by `wb_core_transmit` only.
    pub data: *const c_void,
    pub len: usize,
}

/// What `wb_packet_peek` reads in a datagram. Pointers lead into the datagram; they are null when the length is 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wb_packet_desc {
    pub struct_size: u32,
    /// `WB_PACKET_*`.
    pub kind: u32,
    /// 0 for short headers and Version Negotiation.
    pub version: u32,
    /// 1 for a long header, 0 for a short one.
    pub long_header: u32,
    /// The first byte's second bit; peers that agreed on it may clear it (RFC 9287).
    pub fixed_bit: u32,
    pub reserved: u32,
    /// Destination connection ID, up to 255 bytes in a version that this library does not know.
    pub dcid: *const u8,
    pub dcid_len: usize,
    /// Source connection ID; none in short headers.
    pub scid: *const u8,
    pub scid_len: usize,
    /// Of Initial and Retry packets.
    pub token: *const u8,
    pub token_len: usize,
    /// Bytes of this packet, all of the datagram where the header does not tell.
    pub packet_len: usize,
}

/// What is to be decided.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wb_decision_desc {
    pub struct_size: u32,
    /// `WB_DECIDE_*`.
    pub kind: u32,
    /// 0 for an admission.
    pub conn: wb_conn,
    /// Admission: the endpoint.
    pub endpoint: wb_endpoint,
    pub local: wb_addr,
    pub remote: wb_addr,
    /// Admission: 1 when the client has proved its address.
    pub address_validated: u32,
    /// Admission: 1 when it cannot be asked to prove its address (again).
    pub retried: u32,
    /// Verify: alert with which the configured check would refuse, or 0.
    pub alert: u32,
    /// Sign: TLS signature scheme.
    pub scheme: u32,
    /// Certificates or offered protocols to be had from `wb_decision_data`.
    pub count: u32,
    pub server_name_len: u32,
    /// Identity: the name that the client asks for. Verify on a client: the name that was wanted. Terminated.
    pub server_name: [c_char; 256],
}

/// What a connection is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wb_conn_desc {
    pub struct_size: u32,
    /// `WB_CONN_*`.
    pub state: u32,
    /// `WB_SIDE_*`.
    pub side: u32,
    /// QUIC version, 0 before it is known.
    pub version: u32,
    /// Cipher suite (0x1301 to 0x1303), 0 before it is known.
    pub cipher: u32,
    /// 1 when the TLS session was resumed.
    pub resumed: u32,
    /// 0 not tried, 1 accepted, 2 rejected, 3 pending.
    pub early_data: u32,
    /// 1 when the connection speaks HTTP/3.
    pub http3: u32,
    /// 1 when the server asked to prove the address with a Retry packet.
    pub retried: u32,
    pub reserved: u32,
    /// Largest datagram that can be sent now, 0 when the peer takes none.
    pub max_datagram: u64,
    /// The path in use.
    pub local: wb_addr,
    pub remote: wb_addr,
    pub alpn_len: u32,
    pub server_name_len: u32,
    /// Terminated.
    pub alpn: [c_char; 32],
    /// Terminated.
    pub server_name: [c_char; 256],
}

/// Counters of a connection since its start.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct wb_conn_counters {
    pub struct_size: u32,
    pub reserved: u32,
    /// UDP payload bytes.
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub packets_sent: u64,
    pub packets_received: u64,
    pub packets_lost: u64,
    /// UDP datagrams.
    pub datagrams_sent: u64,
    pub datagrams_received: u64,
    /// From start to the end of the handshake; 0 before.
    pub handshake_ns: u64,
    /// Smoothed, smallest and latest round trip of the path in use.
    pub rtt_ns: u64,
    pub rtt_min_ns: u64,
    pub rtt_latest_ns: u64,
    /// Congestion window and bytes in flight of the path in use.
    pub congestion_window: u64,
    pub bytes_in_flight: u64,
    /// UDP payload that the path in use carries.
    pub mtu: u64,
    /// Times the connection changed its path.
    pub migrations: u64,
    pub key_updates: u64,
}

/// What a path is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wb_path_desc {
    pub struct_size: u32,
    /// `WB_PATH_*`.
    pub state: u32,
    /// Number within the connection.
    pub number: u32,
    /// 1 when the connection uses it now.
    pub active: u32,
    pub local: wb_addr,
    pub remote: wb_addr,
    pub rtt_ns: u64,
    pub rtt_min_ns: u64,
    pub congestion_window: u64,
    pub bytes_in_flight: u64,
    pub mtu: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
}

/// What a stream is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wb_stream_desc {
    pub struct_size: u32,
    /// 1 for unidirectional.
    pub uni: u32,
    /// 1 when the peer opened it.
    pub incoming: u32,
    /// 1 when our side has ended (end sent, or reset).
    pub send_ended: u32,
    /// 1 when the peer's side has ended and was read.
    pub recv_ended: u32,
    /// 1 for an HTTP/3 request.
    pub http3: u32,
    /// QUIC stream number.
    pub id: u64,
    /// Bytes accepted by send calls.
    pub bytes_sent: u64,
    /// Bytes handed out by receive calls.
    pub bytes_received: u64,
    pub conn: wb_conn,
    /// Server: `WB_EARLY_*`.
    pub early: u32,
    pub reserved: u32,
}

/// What a new stream begins with, for `wb_stream_begin`. Set `struct_size` (`WB_INIT`), leave at zero what there is none of.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wb_stream_first {
    pub struct_size: u32,
    /// `WB_FIN` or 0.
    pub flags: u32,
    /// As for `wb_handle_set_user`.
    pub user: *mut c_void,
    pub destroy: wb_destroy_fn,
    /// The first bytes, which are copied; null when `len` is 0.
    pub data: *const c_void,
    pub len: usize,
    /// Filled in: bytes that were taken.
    pub accepted: usize,
}

/// An HTTP field. Names are lower case; pseudo-fields begin with a colon.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wb_field {
    pub name: *const c_char,
    pub name_len: usize,
    pub value: *const c_char,
    pub value_len: usize,
}

/// A whole message for `wb_h3_submit`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wb_h3_message {
    /// 0: a request; filled in, also with 0 when it failed. Else the stream that this is the response to.
    pub stream: wb_stream,
    /// Names and values in the order of `wb_h3_request` or `wb_h3_headers`, a zero byte behind each.
    pub fields: *const c_char,
    pub fields_len: usize,
    pub body: *const c_void,
    pub body_len: usize,
    /// `WB_H3_DONE` or 0.
    pub flags: u32,
    /// Filled in: what became of it.
    pub status: i32,
    /// Filled in: bytes of the body that were taken.
    pub accepted: usize,
}

/// UTF-8 text or a protocol name by pointer and length.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wb_text {
    pub data: *const c_char,
    pub len: usize,
}

/// What clients may begin at an endpoint, for `wb_endpoint_limits`. All are of the whole endpoint, whatever its workers. Fields
/// that a program does not know count as 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wb_limits {
    pub struct_size: u32,
    pub reserved: u32,
    /// Connections that clients began, from attempts on which nobody has decided to those that have closed and wait for what was
    /// under way (RFC 9000 section 10.2): with so many, more are refused. 0: 100000 per worker.
    pub max_connections: u64,
    /// Those of them whose handshake is not confirmed: with so many, more are refused. 0: no such limit.
    pub max_handshakes: u64,
    /// With so many unconfirmed handshakes a client has to prove its address with a Retry packet, which costs it a round trip and
    /// us no memory; the largest number: never. 0: with more than 1000 on its worker. With `endpoint.retry` every client has to.
    pub retry_handshakes: u64,
}

macro_rules! sized {
    ($($name:ident),+) => {$(
        // SAFETY: repr(C), `struct_size` first, no implicit padding (checked by the layout test).
        unsafe impl Sized32 for $name {}
    )+};
}
sized!(
    wb_error_info,
    wb_handle_desc,
    wb_packet,
    wb_packet_desc,
    wb_limits,
    wb_decision_desc,
    wb_conn_desc,
    wb_conn_counters,
    wb_path_desc,
    wb_stream_desc,
    wb_stream_first,
    wb_batch
);
