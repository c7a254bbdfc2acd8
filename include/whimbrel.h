/* Whimbrel: QUIC (RFC 9000) and HTTP/3 (RFC 9114). SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Generated from src/ffi by tests/header.rs: change it there.
 *
 * Words used in the comments:
 *   Threads: any      at any time from any thread, also in callbacks and destructors
 *   Blocks: never     returns without waiting for anything
 *   handle errors     WB_E_HANDLE, WB_E_STALE, WB_E_KIND, WB_E_FORKED
 * Every call may also return WB_E_PANIC or WB_E_NO_MEMORY. A call that fails takes nothing: what its arguments owned
 * before, they own after. A length WB_TEXT_Z says that the text is terminated.
 * Structs with struct_size: set it to the size that you know (WB_INIT does) before every call.
 * Functions of yours that the library calls return normally: no exception, longjmp or pthread_exit leaves them. A thread that
 * may be cancelled (pthread_cancel) disables that around calls.
 */

#ifndef WHIMBREL_H
#define WHIMBREL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
struct sockaddr;

/* A text length: the text is terminated by a zero byte. */
#define WB_TEXT_Z ((size_t)-1)

// ABI of this header: major << 16 | minor. Compare with `wb_abi_version`.
#define WB_ABI_VERSION 1

// Kind of a handle, see `wb_handle_info`.
#define WB_KIND_RUNTIME 1

#define WB_KIND_CONFIG 2

#define WB_KIND_TLS 3

#define WB_KIND_ENDPOINT 4

#define WB_KIND_CONN 5

#define WB_KIND_PATH 6

#define WB_KIND_STREAM 7

#define WB_KIND_BUF 8

#define WB_KIND_QUEUE 9

#define WB_KIND_DECISION 10

// Kind of a configuration.
#define WB_CONFIG_RUNTIME 1

#define WB_CONFIG_ENDPOINT 2

#define WB_CONFIG_CONN 3

// Role of a TLS object.
#define WB_ROLE_CLIENT 1

#define WB_ROLE_SERVER 2

// Peer verification. NONE is for tests only; OPTIONAL and REQUIRED of a server concern client certificates.
#define WB_VERIFY_NONE 0

#define WB_VERIFY_OPTIONAL 1

#define WB_VERIFY_REQUIRED 2

// How to close a runtime or an endpoint. Either way every peer is told with CONNECTION_CLOSE, and no new connection is
// taken. GRACEFUL first lets finish what is under way, at most for `WB_KEY_DRAIN_MS`: with HTTP/3 the peer is told by GOAWAY
// and running requests go on to their end; raw streams deliver what was sent on them. A connection whose handshake is not
// complete is closed at once.
#define WB_CLOSE_GRACEFUL 0

#define WB_CLOSE_NOW 1

// Kind of a stream to open.
#define WB_STREAM_BIDI 0

#define WB_STREAM_UNI 1

// Flag of send, request and headers calls: this is the end of the stream's data.
#define WB_FIN 1

// Flag of `wb_h3_headers`: these are trailers (implies `WB_FIN`).
#define WB_H3_TRAILERS 2

// Flag of a message for `wb_h3_submit`: nothing more is wanted of its stream than the peer's message. When ours was taken
// whole, there is no STREAM_SEND_DONE, and when the peer's came as one H3_MESSAGE no STREAM_CLOSED either: the stream's handle
// goes stale by itself. Whatever else happens to the stream is told as ever. Has no effect on a message of which a part was
// left.
#define WB_H3_DONE 4

// What `wb_buf_revoke` does with bytes that are still needed: copy them to library memory, or reset the streams.
#define WB_REVOKE_COPY 0

#define WB_REVOKE_RESET 1

// Section of received fields, see `wb_h3_fields`.
#define WB_SECTION_HEADERS 0

#define WB_SECTION_INFO 1

#define WB_SECTION_TRAILERS 2

// Who caused an error.
#define WB_ORIGIN_NONE 0

#define WB_ORIGIN_LOCAL 1

#define WB_ORIGIN_PEER 2

#define WB_ORIGIN_SYSTEM 3

// Side of a connection.
#define WB_SIDE_CLIENT 0

#define WB_SIDE_SERVER 1

// Event groups: the high byte of an event kind. A callback serves one group, or all without one of their own.
#define WB_GROUP_ALL 0

#define WB_GROUP_RUNTIME 1

#define WB_GROUP_ENDPOINT 2

#define WB_GROUP_CONN 3

#define WB_GROUP_KEYS 4

#define WB_GROUP_PATH 5

#define WB_GROUP_STREAM 6

#define WB_GROUP_DATAGRAM 7

#define WB_GROUP_H3 8

#define WB_GROUP_DECISION 9

// Something makes the queue worth a look (`wb_queue_wake`); no object.
#define WB_EV_WAKE 1

// The runtime has ended: no event follows. Last event of a runtime.
#define WB_EV_RUNTIME_CLOSED 257

// The endpoint's sockets are gone. Last event of an endpoint.
#define WB_EV_ENDPOINT_CLOSED 514

// The system refused something on a socket: a = OS error, data = text. Of one that stays broken about once a second.
#define WB_EV_SOCKET_ERROR 515

// A limit of `wb_endpoint_limits` turns clients away, or does so no more: a = how many there are of what it limits, b = which
// (`WB_LIMIT_*`), `WB_LIMIT_NONE` when clients are taken again. Once for each change; the end when an eighth of the limit, and
// at least one place, is free.
#define WB_EV_ENDPOINT_BUSY 516

// Server: a client's first packet was accepted, the handshake runs. The handle in `conn` is new; `endpoint` is b.
#define WB_EV_CONN_INCOMING 769

// The handshake is complete; streams may be used. a = 1 when the session was resumed, data = ALPN.
#define WB_EV_CONNECTED 770

// Client: the server took the early data.
#define WB_EV_ZERO_RTT_ACCEPTED 771

// Client: the server refused the early data; it is sent again by itself.
#define WB_EV_ZERO_RTT_REJECTED 772

// Client: the server gave an address token for later; data = token.
#define WB_EV_NEW_TOKEN 773

// The handshake is confirmed (RFC 9001 section 4.1.2).
#define WB_EV_CONFIRMED 774

// `wb_stream_open` may be tried again: a = `WB_STREAM_BIDI` or `WB_STREAM_UNI`.
#define WB_EV_STREAMS_AVAILABLE 775

// The connection has ended: a = wire code, b = the status as a 32-bit pattern, data = text. More with `wb_conn_error`.
// Last event of a connection.
#define WB_EV_CONN_CLOSED 776

// The peer has closed the connection (RFC 9000 section 10.2.2): a = its wire code, b = 1 when that is an application's code,
// data = its text. The ends of the streams, then CONN_CLOSED follow.
#define WB_EV_PEER_CLOSING 777

// Keys are in place: a = `WB_LEVEL_*`, b = cipher suite (0x1301 to 0x1303). Flags `WB_EVF_READ`, `WB_EVF_WRITE`: for which
// direction (early data have one, the other levels both). The secrets themselves only by `wb_tls_keylog`.
#define WB_EV_KEYS_INSTALLED 1025

// 1-RTT keys were updated, in both directions: a = how many updates so far, b = 1 when the peer began.
#define WB_EV_KEY_UPDATED 1026

// A path appeared: data = "local -> remote".
#define WB_EV_PATH_NEW 1281

// The path works in both directions.
#define WB_EV_PATH_VALIDATED 1282

// The path did not answer. The handle ends after this event.
#define WB_EV_PATH_FAILED 1283

// The connection now uses this path: a = 1 when the peer moved, b = why (`WB_MOVE_*`), data = "local -> remote".
#define WB_EV_PATH_MIGRATED 1284

// The peer opened a stream. The handle in `stream` is new.
#define WB_EV_STREAM_INCOMING 1537

// Data, or the end, can be read. Comes again only after a receive call has reported `WB_E_WOULD_BLOCK`.
#define WB_EV_STREAM_READABLE 1538

// Sending may go on after a `WB_E_WOULD_BLOCK` or a partial accept.
#define WB_EV_STREAM_WRITABLE 1539

// The peer gave up sending: a = its code.
#define WB_EV_STREAM_RESET 1540

// The peer wants no more data: a = its code.
#define WB_EV_STREAM_STOPPED 1541

// Everything sent, with the end, has arrived.
#define WB_EV_STREAM_SEND_DONE 1542

// Both directions have ended. Last event of a stream.
#define WB_EV_STREAM_CLOSED 1543

// A datagram arrived: data = its bytes.
#define WB_EV_DATAGRAM 1793

// What became of a datagram with a tag: a = tag, b = `WB_DATAGRAM_*`. SENT, then ACKED or LOST; or DROPPED alone, when the
// path's packets became too small for it. What is open when the connection ends is not told any more.
#define WB_EV_DATAGRAM_STATE 1794

// The peer's HTTP/3 settings are known.
#define WB_EV_H3_SETTINGS 2049

// A request (server; the handle in `stream` is new) or the final response (client): a = status code or 0.
// Flag `WB_EVF_FIN`: no body follows. Fields with `wb_h3_fields`.
#define WB_EV_H3_HEADERS 2050

// An interim response: a = status code (1xx).
#define WB_EV_H3_INFO 2051

// Trailers, with `wb_h3_fields`. Flag `WB_EVF_FIN`: the body was read to its end before, no READABLE follows.
#define WB_EV_H3_TRAILERS 2052

// The peer will take no more: a = first stream, or push, that it does not process.
#define WB_EV_H3_GOAWAY 2053

// With `http3.whole_messages`: a request or final response that has come whole, in place of its H3_HEADERS and READABLE:
// a = status code or 0, b = length of the field text; data = the field text, then the body. The text has a zero byte behind
// each name and each value. Flag `WB_EVF_FIN` always, `WB_EVF_EARLY` as with H3_HEADERS. Nothing is left to be received;
// `wb_h3_fields` gives the fields all the same.
#define WB_EV_H3_MESSAGE 2054

// Server: may this client connect? No state of a connection exists yet. a = decision. Answered by `wb_decision_accept`
// or `wb_decision_refuse`; without an answer the attempt is forgotten after 10 seconds.
#define WB_EV_DECIDE_ADMIT 2305

// Server: a client hello came; who are we? a = decision. Answered by `wb_decision_identity` or `wb_decision_accept`.
// This decision and the next two: without an answer the handshake ends by its timeout.
#define WB_EV_DECIDE_IDENTITY 2306

// The peer showed its certificates; are they good? a = decision, b = alert with which the configured check would
// refuse, or 0. Answered by `wb_decision_accept` or `wb_decision_refuse`.
#define WB_EV_DECIDE_VERIFY 2307

// The key of our certificate is elsewhere; sign this. a = decision, b = TLS signature scheme (RFC 8446 section 4.2.3).
// Answered by `wb_decision_sign`.
#define WB_EV_DECIDE_SIGN 2308

// Server: early data are offered with a good ticket; is the offer new, to all servers that share the ticket keys?
// a = decision, b = milliseconds for which to remember it, data = its key of 32 bytes, which tells nothing about the client.
// Answered by `wb_decision_accept` (it is new) or `wb_decision_refuse` with 0 (it was seen before, or the store does not
// answer): early data are refused, the handshake goes on. The same without an answer after transport.early_decision_ms.
#define WB_EV_DECIDE_EARLY 2309

// Kind of a decision.
#define WB_DECIDE_ADMIT 1

#define WB_DECIDE_IDENTITY 2

#define WB_DECIDE_VERIFY 4

#define WB_DECIDE_SIGN 8

#define WB_DECIDE_EARLY 16

// What `wb_decision_data` gives: a certificate in DER (of the peer; when signing, our own), the stapled OCSP response,
// the bytes to sign or the client hello, an application protocol that the client offers, the key of an offer of early data.
#define WB_DATA_CERTIFICATE 1

#define WB_DATA_OCSP 2

#define WB_DATA_MESSAGE 3

#define WB_DATA_PROTOCOL 4

#define WB_DATA_EARLY_KEY 5

// How `wb_decision_refuse` turns an admission down: tell the client, ask it to prove its address first (it is asked
// about again when it has), or do not answer.
#define WB_REFUSE_CLOSE 0

#define WB_REFUSE_RETRY 1

#define WB_REFUSE_SILENT 2

// Flag of an event: the stream ends here.
#define WB_EVF_FIN 1

// Flag of STREAM_INCOMING, H3_HEADERS, H3_MESSAGE and DATAGRAM on a server: some of it came as early data (0-RTT), and the client has not
// completed its handshake yet, so it may be a replay. What must not happen twice waits for CONNECTED, or is answered with
// 425 Too Early (RFC 8470 section 5.2). The flag belongs to the moment of the event: what began early and became an event
// after the handshake has it not. `wb_stream_info` tells both at any time.
#define WB_EVF_EARLY 2

// Flags of KEYS_INSTALLED: packets of the level can be opened, can be sealed.
#define WB_EVF_READ 4

#define WB_EVF_WRITE 8

// What `wb_stream_info` says in `early`: nothing came as early data; some did, and the client has not completed its
// handshake yet: it may be a replay; some did, and the client has completed the handshake since: it is none.
#define WB_EARLY_NO 0

#define WB_EARLY_UNPROVEN 1

#define WB_EARLY_PROVEN 2

// Encryption levels in the order in which keys appear.
#define WB_LEVEL_INITIAL 0

#define WB_LEVEL_EARLY 1

#define WB_LEVEL_HANDSHAKE 2

#define WB_LEVEL_ONE_RTT 3

// Limits of an endpoint that turn clients away.
#define WB_LIMIT_NONE 0

#define WB_LIMIT_CONNECTIONS 1

#define WB_LIMIT_HANDSHAKES 2

// State of a datagram.
#define WB_DATAGRAM_SENT 1

#define WB_DATAGRAM_ACKED 2

#define WB_DATAGRAM_LOST 3

#define WB_DATAGRAM_DROPPED 4

// Kind of a packet, see `wb_packet_peek`. UNKNOWN is a long header of a version that this library does not know.
#define WB_PACKET_UNKNOWN 0

#define WB_PACKET_INITIAL 1

#define WB_PACKET_EARLY 2

#define WB_PACKET_HANDSHAKE 3

#define WB_PACKET_RETRY 4

// Version Negotiation.
#define WB_PACKET_VERSIONS 5

#define WB_PACKET_SHORT 6

// Length of the connection IDs that this library issues, for `wb_packet_peek`.
#define WB_CID_LEN 8

// Level of `wb_log_set`: lines of this one and those before it are wanted.
#define WB_LOG_OFF 0

#define WB_LOG_ERROR 1

#define WB_LOG_WARN 2

#define WB_LOG_INFO 3

#define WB_LOG_DEBUG 4

// State of a connection.
#define WB_CONN_IDLE 0

#define WB_CONN_HANDSHAKE 1

#define WB_CONN_ESTABLISHED 2

#define WB_CONN_CLOSED 3

// Why a connection changed its path. An address changed: the application moved, or the network did. Only the client's port
// changed, as NATs do. It went to the address that the server prefers (RFC 9000 section 9.6; `WB_KEY_PREFERRED_IPV4`). The path
// moved to did not prove itself: back to the last one that had.
#define WB_MOVE_ADDRESS 0

#define WB_MOVE_REBINDING 1

#define WB_MOVE_PREFERRED 2

#define WB_MOVE_BACK 3

// State of a path.
#define WB_PATH_NEW 0

#define WB_PATH_VALIDATING 1

#define WB_PATH_VALID 2

#define WB_PATH_FAILED 3

// Numeric configuration keys; the text name of each stands in the comment. Times are in milliseconds, sizes in bytes.
// runtime.workers: threads; 0 = one per processor.
#define WB_KEY_WORKERS 1

// runtime.hardened: 1 makes reads of released buffers, events and received fields fault where they happen, for this process
// from now on; slow, for finding errors. The environment variable WB_HARDENED=1 does the same.
#define WB_KEY_HARDENED 2

// runtime.busy_poll_us: microseconds (not milliseconds) for which a worker may watch its sockets before it sleeps; 0 = never,
// default 50, at most 1000. It does so only while what it waits for keeps coming within that time and little is moved at once,
// as when each end waits for the other's answer: then a sleep and a wake-up cost more than the wait. It gives way to
// other threads that want its processor, and a worker without traffic always sleeps.
#define WB_KEY_BUSY_POLL_US 3

// endpoint.retry: 0 never, 1 always ask clients to prove their address with a Retry packet. Also for the connection
// configuration that listens.
#define WB_KEY_RETRY 20

// transport.max_idle_ms: silence after which a connection ends; 0 = never.
#define WB_KEY_MAX_IDLE_MS 40

// transport.handshake_ms: time for the handshake.
#define WB_KEY_HANDSHAKE_MS 41

// transport.keep_alive_ms: a PING after this much silence; 0 = off.
#define WB_KEY_KEEP_ALIVE_MS 42

// transport.stream_window: initial receive window of a stream.
#define WB_KEY_STREAM_WINDOW 43

// transport.conn_window: initial receive window of a connection.
#define WB_KEY_CONN_WINDOW 44

// transport.max_streams_bidi: bidirectional streams that the peer may have open.
#define WB_KEY_MAX_STREAMS_BIDI 45

// transport.max_streams_uni: unidirectional streams that the peer may have open.
#define WB_KEY_MAX_STREAMS_UNI 46

// transport.congestion: one of `WB_CC_*`, as text also "newreno", "cubic", "bbr", "prague", "adaptive" (default).
#define WB_KEY_CONGESTION 47

// transport.max_udp_payload: largest UDP payload that path probing may reach.
#define WB_KEY_MAX_UDP_PAYLOAD 48

// transport.datagram_size: largest DATAGRAM frame that we take; 0 = none.
#define WB_KEY_DATAGRAM_SIZE 49

// transport.max_ack_delay_ms: longest time that we hold back an acknowledgement.
#define WB_KEY_MAX_ACK_DELAY_MS 50

// transport.version: QUIC version to start with, 1 or 0x6b3343cf.
#define WB_KEY_VERSION 51

// transport.versions (bytes): QUIC versions, most wanted first, such as "0x6b3343cf,1"; those left out are not spoken.
// A client offers them and takes the first that a server offers it (RFC 9368); a server moves clients that offer it to
// the first. A client starts with transport.version, else with the first. Default: both, and the client's choice stands.
#define WB_KEY_VERSIONS 53

// transport.spin_bit: 1 lets observers measure the round-trip time (RFC 9000 section 17.4), 0 (default) does not.
#define WB_KEY_SPIN_BIT 54

// transport.grease: 1 to send reserved bits and values (RFC 9287), 0 not to.
#define WB_KEY_GREASE 52

// transport.ack_frequency: 1 lets the peer say how often to acknowledge, and says so to a peer that lets us
// (draft-ietf-quic-ack-frequency); 0 (default) does neither.
#define WB_KEY_ACK_FREQUENCY 55

// transport.early_decision_ms: server: early data are refused when `WB_EV_DECIDE_EARLY` is not answered within this time
// (default 200). The handshake waits for the answer, so keep it below what early data save.
#define WB_KEY_EARLY_DECISION_MS 56

// transport.preferred_ipv4 (bytes): server: an own address and port, such as "192.0.2.1:443", to which IPv4 clients
// should move after the handshake (RFC 9000 section 9.6).
#define WB_KEY_PREFERRED_IPV4 58

// transport.preferred_ipv6 (bytes): the same for IPv6 clients, such as "[2001:db8::1]:443".
#define WB_KEY_PREFERRED_IPV6 59

// http3.enable: 1 (default) speaks HTTP/3 when ALPN chose it, 0 leaves the streams raw.
#define WB_KEY_HTTP3 60

// http3.max_field_section: largest field section that we take.
#define WB_KEY_MAX_FIELD_SECTION 61

// http3.whole_messages: a request or response whose body has at most so many bytes, and which has come to its end when its
// event is made, is one event H3_MESSAGE; 0 (default): never. All others are told as ever: be ready for both. Not with
// transport.manual_credit.
#define WB_KEY_WHOLE_MESSAGES 62

// events.spare: events of streams that the application does without, `WB_SPARE_*` added up; 0 (default): none. Small requests
// cost less with each.
#define WB_KEY_SPARE 90

// endpoint.admit: 1 asks the application about every client (`WB_EV_DECIDE_ADMIT`). Also for the connection
// configuration that listens.
#define WB_KEY_ADMIT 21

// endpoint.drain_ms: longest time that `WB_CLOSE_GRACEFUL` gives to requests and data under way (default 3000). Also for a
// connection configuration that listens or connects.
#define WB_KEY_DRAIN_MS 22

// transport.manual_credit: 1 gives the peer credit for more data only by `wb_stream_consume`, 0 (default) by reading.
#define WB_KEY_MANUAL_CREDIT 70

// qlog.dir (bytes): folder for qlog files, one per connection.
#define WB_KEY_QLOG_DIR 80

// STREAM_SEND_DONE.
#define WB_SPARE_SEND_DONE 1

// STREAM_CLOSED. The stream ends as it does with that event: when both directions have ended and the events of it that were
// taken from a queue were returned, its user pointer's destructor runs, and a handle that came with an event goes stale.
#define WB_SPARE_CLOSED 2

// The STREAM_READABLE that STREAM_INCOMING brings along. A stream has to be read when STREAM_INCOMING is told, until
// `WB_E_WOULD_BLOCK` or its end; then READABLE comes as ever.
#define WB_SPARE_FIRST_READABLE 4

// Congestion controllers.
#define WB_CC_NEWRENO 0

#define WB_CC_CUBIC 1

// BBR version 3 (draft-ietf-ccwg-bbr).
#define WB_CC_BBR 2

// CUBIC with a scalable reaction to L4S marks; packets leave as ECT(1) (RFC 9331).
#define WB_CC_PRAGUE 3

// The default: CUBIC that does not take random loss for congestion.
#define WB_CC_ADAPTIVE 4

// Keys of `wb_counters`. Totals since the start, unless the comment says otherwise.
// UDP datagrams that came, whatever became of them.
#define WB_COUNTER_DATAGRAMS_RECEIVED 0

// Their payload.
#define WB_COUNTER_BYTES_RECEIVED 1

// UDP datagrams given to the system, or to the caller of a core.
#define WB_COUNTER_DATAGRAMS_SENT 2

// Their payload.
#define WB_COUNTER_BYTES_SENT 3

// Times that a socket had no room for what a connection sent; it is sent later.
#define WB_COUNTER_SEND_BLOCKED 4

// Times that the system knew no way to a peer.
#define WB_COUNTER_SEND_FAILED 5

// Connections that exist, also those that are closing. No total: it falls, too.
#define WB_COUNTER_CONNS_NOW 6

// Connections that clients began and that were let in.
#define WB_COUNTER_CONNS_ACCEPTED 7

// Connections that were begun from here, each address of a host by itself.
#define WB_COUNTER_CONNS_STARTED 8

// Clients that have not completed their handshake, undecided ones included. No total: it falls, too.
#define WB_COUNTER_HANDSHAKES_NOW 9

// Handshakes that were confirmed (RFC 9001 section 4.1.2), of both sides.
#define WB_COUNTER_HANDSHAKES_DONE 10

// Connections that ended before that.
#define WB_COUNTER_HANDSHAKES_FAILED 11

// Clients that were told CONNECTION_REFUSED or INVALID_TOKEN.
#define WB_COUNTER_CONNS_REFUSED 12

// Retry packets sent (RFC 9000 section 8.1.2).
#define WB_COUNTER_RETRIES_SENT 13

// Version Negotiation packets sent (section 6).
#define WB_COUNTER_VERSION_NEGOTIATIONS_SENT 14

// Stateless resets sent (section 10.3).
#define WB_COUNTER_RESETS_SENT 15

// Clients with a Retry token that was not good.
#define WB_COUNTER_TOKENS_INVALID 16

// Clients that proved their address with a token of an earlier connection (section 8.1.3).
#define WB_COUNTER_TOKENS_ACCEPTED 17

// Datagrams dropped: no QUIC, or too small to be answered in a version that we do not speak.
#define WB_COUNTER_DROPPED_MALFORMED 18

// Datagrams dropped: an Initial in less than 1200 bytes (section 14.1).
#define WB_COUNTER_DROPPED_SMALL_INITIAL 19

// Datagrams dropped: a first Destination Connection ID below 8 bytes (section 7.2).
#define WB_COUNTER_DROPPED_SHORT_DCID 20

// Datagrams dropped: an Initial whose protection does not hold.
#define WB_COUNTER_DROPPED_NOT_AUTHENTIC 21

// Datagrams dropped: of no connection that is known.
#define WB_COUNTER_DROPPED_UNKNOWN 22

// Datagrams dropped: a bound of the buffers for undecided connections was reached.
#define WB_COUNTER_DROPPED_FULL 23

// Datagrams dropped: they would have been answered, but for the rate limit.
#define WB_COUNTER_DROPPED_RATE_LIMITED 24

// Success.
#define WB_OK 0

// Success for a part of what was asked; the out parameter says how much.
#define WB_PARTIAL 1

// Accepted, the outcome comes as an event.
#define WB_PENDING 2

// An argument is null, misaligned or makes no sense.
#define WB_E_INVALID -1

// The handle is zero or was never given out by this library in this process.
#define WB_E_HANDLE -2

// The handle was valid once; its object is gone.
#define WB_E_STALE -3

// The handle belongs to an object of another kind.
#define WB_E_KIND -4

// The process forked after the handle was made.
#define WB_E_FORKED -5

// Called on a thread on which it is not allowed.
#define WB_E_THREAD -6

// The object is in a state in which the call means nothing.
#define WB_E_STATE -7

// The configuration is in use and can no longer be changed.
#define WB_E_FROZEN -8

// No such configuration key for this kind of configuration.
#define WB_E_UNKNOWN_KEY -9

// A number is outside its range.
#define WB_E_RANGE -10

// Text is not valid UTF-8.
#define WB_E_UTF8 -11

// Memory could not be had.
#define WB_E_NO_MEMORY -12

// A limit of the library or of the peer is reached.
#define WB_E_LIMIT -13

// Nothing could be done now; an event tells when to try again.
#define WB_E_WOULD_BLOCK -14

// Waiting here could never end, because this is a library thread.
#define WB_E_WOULD_DEADLOCK -15

// The time given has passed.
#define WB_E_TIMEOUT -16

// Closed by this side.
#define WB_E_CLOSED_LOCAL -17

// Closed by the peer.
#define WB_E_CLOSED_PEER -18

// The peer reset the stream.
#define WB_E_RESET -19

// The peer asked to stop sending on the stream.
#define WB_E_STOPPED -20

// The stream has been read, or written, to its end.
#define WB_E_FINISHED -21

// The TLS handshake or the TLS configuration failed.
#define WB_E_TLS -22

// The peer's certificate was not accepted.
#define WB_E_VERIFY -23

// No QUIC version in common.
#define WB_E_VERSION -24

// A QUIC transport error ended the connection.
#define WB_E_TRANSPORT -25

// An application error code ended the connection.
#define WB_E_APPLICATION -26

// An HTTP/3 rule was broken.
#define WB_E_H3 -27

// A QPACK rule was broken.
#define WB_E_QPACK -28

// The operating system refused; `os_error` of the detail has its number.
#define WB_E_OS -29

// Not supported by this build, platform or peer.
#define WB_E_UNSUPPORTED -30

// Named in the header, absent from this build.
#define WB_E_NOT_BUILT -31

// In use elsewhere, for instance a port.
#define WB_E_BUSY -32

// Events of the runtime are muted.
#define WB_E_MUTED -33

// Given up before it was done.
#define WB_E_CANCELLED -34

// The library failed inside; the object concerned is no longer usable.
#define WB_E_PANIC -35

// The library contradicts itself: please report.
#define WB_E_INTERNAL -36

// The host name could not be resolved.
#define WB_E_RESOLVE -37

// No answer from the peer's address.
#define WB_E_UNREACHABLE -38

// The connection was idle, or the peer silent, for too long.
#define WB_E_IDLE -39

// The memory was revoked.
#define WB_E_REVOKED -40

// The bytes are no packet of QUIC.
#define WB_E_NOT_QUIC -41

// Result of almost every call: 0 success, positive informational, negative failure.
typedef int32_t wb_status;

// Why a call failed or an object ended.
typedef struct wb_error_info {
    uint32_t struct_size;
    int32_t status;
    // `WB_ORIGIN_*`.
    uint32_t origin;
    // errno of the system, or 0.
    int32_t os_error;
    // Error code as on the wire (QUIC transport, HTTP/3 or application code).
    uint64_t wire_code;
    // Type of the frame that is to blame, or 0.
    uint64_t frame_type;
    // TLS alert, or 0.
    uint32_t tls_alert;
    // 1 when `wire_code` is an application code.
    uint32_t application;
    uint32_t text_len;
    uint32_t reserved;
    // UTF-8, terminated.
    char text[248];
} wb_error_info;

// A checked reference to an object: never dereferenced, 0 is never valid. A stale, foreign or made-up handle
// gives a status in every call.
//
// Rule of ownership: what a function gave in an out parameter is yours, release it. What came in an event
// belongs to the library and lives until its CLOSED event has been delivered; retain it to keep it longer.
typedef uint64_t wb_handle;

// Called once when `ctx` is needed no more, on any thread, never under a lock.
typedef void (*wb_destroy_fn)(void *ctx);

// What a handle is.
typedef struct wb_handle_desc {
    uint32_t struct_size;
    // `WB_KIND_*`.
    uint32_t kind;
    // References held on it.
    uint32_t references;
    // 1 after its CLOSED event.
    uint32_t closed;
    void *user;
} wb_handle_desc;

// Settings and callbacks; frozen by first use.
typedef wb_handle wb_config;

// A QUIC connection.
typedef wb_handle wb_conn;

// A stream, or an HTTP/3 request.
typedef wb_handle wb_stream;

// A network path of a connection.
typedef wb_handle wb_path;

// One event. `data` is valid until the callback returns, or until the batch is returned.
typedef struct wb_event {
    // Bytes really filled in.
    uint32_t struct_size;
    // `WB_EV_*`; a program ignores kinds that it does not know.
    uint16_t kind;
    // `WB_EVF_*`.
    uint16_t flags;
    // Handles, or 0.
    wb_conn conn;
    wb_stream stream;
    wb_path path;
    // The object that reports: runtime, endpoint or connection.
    wb_handle source;
    // Numbers whose meaning the kind tells.
    uint64_t a;
    uint64_t b;
    // Nanoseconds on the runtime's monotonic clock.
    int64_t time_ns;
    // From `wb_handle_set_user`.
    void *user_conn;
    void *user_stream;
    const uint8_t *data;
    size_t data_len;
} wb_event;

// Called with an event. It may call any function, also close and release the objects of the event. Serial per
// connection, parallel between connections. It must not throw or unwind.
typedef void (*wb_event_fn)(void *ctx, const struct wb_event *event);

// Certificates, keys, trust and ALPN of one role.
typedef wb_handle wb_tls;

// UTF-8 text or a protocol name by pointer and length.
typedef struct wb_text {
    const char *data;
    size_t len;
} wb_text;

// Called with a line of text (no newline, not terminated).
typedef void (*wb_line_fn)(void *ctx, const char *line, size_t len);

// One or more sockets, client and server at once.
typedef wb_handle wb_endpoint;

// Worker threads, sockets and timers.
typedef wb_handle wb_runtime;

// What clients may begin at an endpoint, for `wb_endpoint_limits`. All are of the whole endpoint, whatever its workers. Fields
// that a program does not know count as 0.
typedef struct wb_limits {
    uint32_t struct_size;
    uint32_t reserved;
    // Connections that clients began, from attempts on which nobody has decided to those that have closed and wait for what was
    // under way (RFC 9000 section 10.2): with so many, more are refused. 0: 100000 per worker.
    uint64_t max_connections;
    // Those of them whose handshake is not confirmed: with so many, more are refused. 0: no such limit.
    uint64_t max_handshakes;
    // With so many unconfirmed handshakes a client has to prove its address with a Retry packet, which costs it a round trip and
    // us no memory; the largest number: never. 0: with more than 1000 on its worker. With `endpoint.retry` every client has to.
    uint64_t retry_handshakes;
} wb_limits;

// A network address in a form without platform types.
typedef struct wb_addr {
    // 4 or 6 (IP version), 0 when there is none.
    uint16_t family;
    // In host order.
    uint16_t port;
    // Scope of a link-local IPv6 address.
    uint32_t scope;
    // Network order; IPv4 uses the first four.
    uint8_t ip[16];
} wb_addr;

// What a connection is.
typedef struct wb_conn_desc {
    uint32_t struct_size;
    // `WB_CONN_*`.
    uint32_t state;
    // `WB_SIDE_*`.
    uint32_t side;
    // QUIC version, 0 before it is known.
    uint32_t version;
    // Cipher suite (0x1301 to 0x1303), 0 before it is known.
    uint32_t cipher;
    // 1 when the TLS session was resumed.
    uint32_t resumed;
    // 0 not tried, 1 accepted, 2 rejected, 3 pending.
    uint32_t early_data;
    // 1 when the connection speaks HTTP/3.
    uint32_t http3;
    // 1 when the server asked to prove the address with a Retry packet.
    uint32_t retried;
    uint32_t reserved;
    // Largest datagram that can be sent now, 0 when the peer takes none.
    uint64_t max_datagram;
    // The path in use.
    struct wb_addr local;
    struct wb_addr remote;
    uint32_t alpn_len;
    uint32_t server_name_len;
    // Terminated.
    char alpn[32];
    // Terminated.
    char server_name[256];
} wb_conn_desc;

// Counters of a connection since its start.
typedef struct wb_conn_counters {
    uint32_t struct_size;
    uint32_t reserved;
    // UDP payload bytes.
    uint64_t bytes_sent;
    uint64_t bytes_received;
    uint64_t packets_sent;
    uint64_t packets_received;
    uint64_t packets_lost;
    // UDP datagrams.
    uint64_t datagrams_sent;
    uint64_t datagrams_received;
    // From start to the end of the handshake; 0 before.
    uint64_t handshake_ns;
    // Smoothed, smallest and latest round trip of the path in use.
    uint64_t rtt_ns;
    uint64_t rtt_min_ns;
    uint64_t rtt_latest_ns;
    // Congestion window and bytes in flight of the path in use.
    uint64_t congestion_window;
    uint64_t bytes_in_flight;
    // UDP payload that the path in use carries.
    uint64_t mtu;
    // Times the connection changed its path.
    uint64_t migrations;
    uint64_t key_updates;
} wb_conn_counters;

// Reference counted bytes.
typedef wb_handle wb_buf;

// What a path is.
typedef struct wb_path_desc {
    uint32_t struct_size;
    // `WB_PATH_*`.
    uint32_t state;
    // Number within the connection.
    uint32_t number;
    // 1 when the connection uses it now.
    uint32_t active;
    struct wb_addr local;
    struct wb_addr remote;
    uint64_t rtt_ns;
    uint64_t rtt_min_ns;
    uint64_t congestion_window;
    uint64_t bytes_in_flight;
    uint64_t mtu;
    uint64_t bytes_sent;
    uint64_t bytes_received;
} wb_path_desc;

// A question that the application answers once; the answer, or the end of what it concerns, makes it stale.
typedef wb_handle wb_decision;

// What is to be decided.
typedef struct wb_decision_desc {
    uint32_t struct_size;
    // `WB_DECIDE_*`.
    uint32_t kind;
    // 0 for an admission.
    wb_conn conn;
    // Admission: the endpoint.
    wb_endpoint endpoint;
    struct wb_addr local;
    struct wb_addr remote;
    // Admission: 1 when the client has proved its address.
    uint32_t address_validated;
    // Admission: 1 when it cannot be asked to prove its address (again).
    uint32_t retried;
    // Verify: alert with which the configured check would refuse, or 0.
    uint32_t alert;
    // Sign: TLS signature scheme.
    uint32_t scheme;
    // Certificates or offered protocols to be had from `wb_decision_data`.
    uint32_t count;
    uint32_t server_name_len;
    // Identity: the name that the client asks for. Verify on a client: the name that was wanted. Terminated.
    char server_name[256];
} wb_decision_desc;

// What a new stream begins with, for `wb_stream_begin`. Set `struct_size` (`WB_INIT`), leave at zero what there is none of.
typedef struct wb_stream_first {
    uint32_t struct_size;
    // `WB_FIN` or 0.
    uint32_t flags;
    // As for `wb_handle_set_user`.
    void *user;
    wb_destroy_fn destroy;
    // The first bytes, which are copied; null when `len` is 0.
    const void *data;
    size_t len;
    // Filled in: bytes that were taken.
    size_t accepted;
} wb_stream_first;

// What a stream is.
typedef struct wb_stream_desc {
    uint32_t struct_size;
    // 1 for unidirectional.
    uint32_t uni;
    // 1 when the peer opened it.
    uint32_t incoming;
    // 1 when our side has ended (end sent, or reset).
    uint32_t send_ended;
    // 1 when the peer's side has ended and was read.
    uint32_t recv_ended;
    // 1 for an HTTP/3 request.
    uint32_t http3;
    // QUIC stream number.
    uint64_t id;
    // Bytes accepted by send calls.
    uint64_t bytes_sent;
    // Bytes handed out by receive calls.
    uint64_t bytes_received;
    wb_conn conn;
    // Server: `WB_EARLY_*`.
    uint32_t early;
    uint32_t reserved;
} wb_stream_desc;

// An HTTP field. Names are lower case; pseudo-fields begin with a colon.
typedef struct wb_field {
    const char *name;
    size_t name_len;
    const char *value;
    size_t value_len;
} wb_field;

// A whole message for `wb_h3_submit`.
typedef struct wb_h3_message {
    // 0: a request; filled in, also with 0 when it failed. Else the stream that this is the response to.
    wb_stream stream;
    // Names and values in the order of `wb_h3_request` or `wb_h3_headers`, a zero byte behind each.
    const char *fields;
    size_t fields_len;
    const void *body;
    size_t body_len;
    // `WB_H3_DONE` or 0.
    uint32_t flags;
    // Filled in: what became of it.
    int32_t status;
    // Filled in: bytes of the body that were taken.
    size_t accepted;
} wb_h3_message;

// Called once when the library is done with lent memory, on any thread, never under a lock.
typedef void (*wb_release_fn)(void *ctx);

// Events for an application with its own loop.
typedef wb_handle wb_queue;

// Events taken from a queue. Set `struct_size`, leave the rest zero. Read events with `wb_batch_event`, because
// a newer library may have larger ones.
typedef struct wb_batch {
    uint32_t struct_size;
    // Distance of two events in bytes.
    uint32_t stride;
    size_t count;
    const void *events;
    // The library's own.
    uint64_t token;
} wb_batch;

// Datagrams of one path, for `wb_core_recv` and `wb_core_transmit`.
typedef struct wb_packet {
    uint32_t struct_size;
    // The two ECN bits of the IP header: 0 none, 1 ECT(1), 2 ECT(0), 3 CE.
    uint32_t ecn;
    struct wb_addr local;
    struct wb_addr remote;
    // Length of each datagram when there are several one after the other, else 0.
    uint64_t segment;
    // Written to by `wb_core_transmit` only.
    const void *data;
    size_t len;
} wb_packet;

// What `wb_packet_peek` reads in a datagram. Pointers lead into the datagram; they are null when the length is 0.
typedef struct wb_packet_desc {
    uint32_t struct_size;
    // `WB_PACKET_*`.
    uint32_t kind;
    // 0 for short headers and Version Negotiation.
    uint32_t version;
    // 1 for a long header, 0 for a short one.
    uint32_t long_header;
    // The first byte's second bit; peers that agreed on it may clear it (RFC 9287).
    uint32_t fixed_bit;
    uint32_t reserved;
    // Destination connection ID, up to 255 bytes in a version that this library does not know.
    const uint8_t *dcid;
    size_t dcid_len;
    // Source connection ID; none in short headers.
    const uint8_t *scid;
    size_t scid_len;
    // Of Initial and Retry packets.
    const uint8_t *token;
    size_t token_len;
    // Bytes of this packet, all of the datagram where the header does not tell.
    size_t packet_len;
} wb_packet_desc;

// Called with a piece of a connection's log, which is valid until the call returns; `end` is 1 in its last call. It may call any
// function but waiting ones, and must not throw or unwind.
typedef void (*wb_sink_fn)(void *ctx, wb_conn conn, const void *data, size_t len, uint32_t end);

// Called with a line for operators: `WB_LOG_*`, the part of the library ("socket", "handshake", "connection", "path", "keys",
// "retry", "qlog"), text of `len` bytes without newline; both texts are terminated and valid until the call returns. It may
// call any function but waiting ones, and must not throw or unwind.
typedef void (*wb_log_fn)(void *ctx, uint32_t level, const char *room, const char *text, size_t len);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The symbolic name of a status code, such as "WB_E_STALE"; "WB_E_?" for a number that this library does not know.
//
// Ownership: static text, never freed. Threads: any. Blocks: never. Errors: none. Since: 0.1.
const char *wb_status_name(wb_status status);

// Copies the detail of this thread's last failing call. When no call has failed yet, the status is `WB_OK`.
// The detail stays until the next failing call on this thread; successful calls leave it alone.
//
// Ownership: the caller's struct is filled, `struct_size` must be set. Threads: any, each has its own.
// Blocks: never. Errors: `WB_E_INVALID`. Since: 0.1.
wb_status wb_last_error(struct wb_error_info *out);

// ABI of the running library: major << 16 | minor. A program works when the major part equals that of its header
// and the minor part is not smaller; `wb_check_abi` of the header does the comparison.
//
// Ownership: none. Threads: any. Blocks: never. Errors: none. Since: 0.1.
uint32_t wb_abi_version(void);

// Name and version of the library for people, for instance "whimbrel 0.1.0 (rustls, ring)".
//
// Ownership: static text, never freed. Threads: any. Blocks: never. Errors: none. Since: 0.1.
const char *wb_version_text(void);

// Tells whether this build has a feature, such as "http3", "migration" or "early-data":
// 0 absent or unknown, 1 stable, 2 experimental. `name` is terminated; null gives 0.
//
// Ownership: the text stays the caller's. Threads: any. Blocks: never. Errors: none. Since: 0.1.
int32_t wb_feature(const char *name);

// The symbolic name of an event kind, such as "CONNECTED"; "?" for a kind that this library does not know.
//
// Ownership: static text, never freed. Threads: any. Blocks: never. Errors: none. Since: 0.1.
const char *wb_event_name(uint16_t kind);

// Gives up one reference. With the last one the handle goes stale, and what still lives is closed in the
// default way: a connection with code 0, an unfinished stream by reset, an endpoint and a runtime gracefully.
// Queued data of a finished stream are still delivered.
//
// Ownership: ends the caller's. Threads: any, also callbacks, destructors and finalisers. Blocks: never.
// Errors: `WB_E_HANDLE`, `WB_E_STALE`, `WB_E_FORKED`. Since: 0.1.
wb_status wb_handle_release(wb_handle handle);

// Releases `count` handles of any kinds; zero handles are skipped. All are tried; the first failure is reported.
//
// Ownership: ends the caller's. Threads: any. Blocks: never. Errors: as `wb_handle_release`, `WB_E_INVALID`. Since: 0.1.
wb_status wb_handle_release_many(const wb_handle *handles,
                                 size_t count);

// Takes one more reference, which needs one more release. Keeps the handle of an event's object usable after its
// CLOSED event.
//
// Ownership: one reference to the caller. Threads: any. Blocks: never.
// Errors: `WB_E_HANDLE`, `WB_E_STALE`, `WB_E_FORKED`, `WB_E_LIMIT`. Since: 0.1.
wb_status wb_handle_retain(wb_handle handle);

// Attaches a pointer of the application, which events carry, also those of a batch that is out: attach it at a new stream's or
// connection's first event, and the ones behind it have it. `destroy` (may be null) is called with it exactly
// once: after the CLOSED event was delivered, or when the object goes, or when another pointer replaces it.
//
// Ownership: `user` belongs to the object until `destroy`. On failure it stays the caller's. Threads: any.
// Blocks: never. Errors: `WB_E_HANDLE`, `WB_E_STALE`, `WB_E_FORKED`. Since: 0.1.
wb_status wb_handle_set_user(wb_handle handle,
                             void *user,
                             wb_destroy_fn destroy);

// Tells the kind, references and user pointer of a handle.
//
// Ownership: the caller's struct is filled. Threads: any. Blocks: never.
// Errors: `WB_E_HANDLE`, `WB_E_STALE`, `WB_E_FORKED`, `WB_E_INVALID`. Since: 0.1.
wb_status wb_handle_info(wb_handle handle, struct wb_handle_desc *out);

// Makes a configuration with defaults. `kind` is `WB_CONFIG_RUNTIME`, `_ENDPOINT` or `_CONN`.
//
// Ownership: `*out` is the caller's; objects made with it keep what they need. Threads: any. Blocks: never.
// Errors: `WB_E_INVALID`. Since: 0.1.
wb_status wb_config_new(uint32_t kind, wb_config *out);

// Sets a number (`WB_KEY_*`; units are in the key's comment).
//
// Ownership: unchanged. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_UNKNOWN_KEY`, `WB_E_RANGE`, `WB_E_FROZEN`. Since: 0.1.
wb_status wb_config_set_u64(wb_config config, uint32_t key, uint64_t value);

// Sets a text or binary value, which is copied.
//
// Ownership: `data` stays the caller's. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_UNKNOWN_KEY`, `WB_E_UTF8`, `WB_E_FROZEN`. Since: 0.1.
wb_status wb_config_set_bytes(wb_config config, uint32_t key, const void *data, size_t len);

// Sets one value from text such as "transport.max_idle_ms=30000". Space around name and value is ignored.
// `len` may be `WB_TEXT_Z` for terminated text.
//
// Ownership: `line` stays the caller's. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_UTF8`, `WB_E_UNKNOWN_KEY`, `WB_E_RANGE`, `WB_E_FROZEN`. Since: 0.1.
wb_status wb_config_parse(wb_config config, const char *line, size_t len);

// Registers the callback of one event group (`WB_GROUP_*`) for the objects made with this configuration and those
// below them. An event goes to the callback of its group at the nearest object that has one (connection, endpoint,
// runtime), else to the nearest queue, else it is dropped. A second registration replaces the first; a null
// function removes it.
//
// Ownership: `ctx` belongs to the registration until `destroy` (may be null) is called once, when configuration and
// objects no longer need it. On failure it stays the caller's. Threads: any; the callback runs on library threads.
// Blocks: never. Errors: handle errors, `WB_E_INVALID` (group), `WB_E_FROZEN`. Since: 0.1.
wb_status wb_config_on(wb_config config, uint32_t group, wb_event_fn function, void *ctx, wb_destroy_fn destroy);

// Checks that the values go together. The detail of `wb_last_error` names the first that does not.
//
// Ownership: unchanged. Threads: any. Blocks: never. Errors: handle errors, `WB_E_RANGE`. Since: 0.1.
wb_status wb_config_check(wb_config config);

// Makes a TLS object for `WB_ROLE_CLIENT` or `WB_ROLE_SERVER`. Defaults: ALPN "h3"; a client verifies its peer
// (with the system's roots when none are added), a server asks for no certificate. One object serves many
// connections, and only connections of one object can resume each other's sessions.
//
// Ownership: `*out` is the caller's. Threads: any. Blocks: never. Errors: `WB_E_INVALID`. Since: 0.1.
wb_status wb_tls_new(uint32_t role, wb_tls *out);

// Adds an identity: certificate chain (own certificate first) and private key, PEM in memory. A server may add
// several; the host name that the client asks for chooses.
//
// Ownership: the bytes stay the caller's, they are copied. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_TLS` (unreadable, or key and certificate do not match),
// `WB_E_FROZEN`. Since: 0.1.
wb_status wb_tls_identity_pem(wb_tls tls, const void *chain, size_t chain_len, const void *key, size_t key_len);

// Adds an identity from two PEM files; the names are terminated.
//
// Ownership: the names stay the caller's. Threads: any. Blocks: for reading the files.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_UTF8`, `WB_E_OS` (with the file's name in the detail), `WB_E_TLS`,
// `WB_E_FROZEN`. Since: 0.1.
wb_status wb_tls_identity_files(wb_tls tls, const char *chain, const char *key);

// Adds trusted roots, PEM or DER in memory. With a length of 0: the system's store.
//
// Ownership: the bytes stay the caller's. Threads: any. Blocks: never, except for reading the system's store.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_TLS`, `WB_E_FROZEN`. Since: 0.1.
wb_status wb_tls_trust_add(wb_tls tls, const void *pem, size_t len);

// Adds trusted roots from a PEM file; the name is terminated.
//
// Ownership: the name stays the caller's. Threads: any. Blocks: for reading the file.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_UTF8`, `WB_E_OS`, `WB_E_TLS`, `WB_E_FROZEN`. Since: 0.1.
wb_status wb_tls_trust_file(wb_tls tls, const char *file);

// Sets how the peer is verified: `WB_VERIFY_*`. A client knows NONE and REQUIRED.
//
// Ownership: unchanged. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_UNSUPPORTED`, `WB_E_FROZEN`. Since: 0.1.
wb_status wb_tls_verify_mode(wb_tls tls, uint32_t mode);

// Sets the application protocols in order of preference, replacing the default.
//
// Ownership: the names stay the caller's. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_RANGE` (a name is empty or over 255 bytes), `WB_E_FROZEN`. Since: 0.1.
wb_status wb_tls_alpn(wb_tls tls, const struct wb_text *names, size_t count);

// Sets the cipher suites in order of preference: 0x1301 (AES-128-GCM), 0x1302 (AES-256-GCM), 0x1303
// (ChaCha20-Poly1305). Default: all three, the fastest on this machine first.
//
// Ownership: the numbers stay the caller's. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID` (none given), `WB_E_UNSUPPORTED` (another suite), `WB_E_FROZEN`. Since: 0.1.
wb_status wb_tls_ciphers(wb_tls tls, const uint16_t *suites, size_t count);

// Allows (1) or forbids (0, default) early data. Early data can be replayed by an attacker: only for requests
// that may happen twice. A server takes them once per ticket; one that shares ticket keys with others takes them only
// when the application says that no server has seen the offer before (`WB_DECIDE_EARLY`).
//
// Ownership: unchanged. Threads: any. Blocks: never. Errors: handle errors, `WB_E_FROZEN`. Since: 0.1.
wb_status wb_tls_early_data(wb_tls tls, uint8_t allow);

// Hands every TLS secret as a line in the NSS key log format to a function, on library threads. For debugging
// only: who has these lines reads the traffic.
//
// Ownership: `ctx` belongs to the TLS object until `destroy` (may be null). Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_FROZEN`. Since: 0.1.
wb_status wb_tls_keylog(wb_tls tls, wb_line_fn function, void *ctx, wb_destroy_fn destroy);

// Appends every TLS secret to a file in the NSS key log format, as SSLKEYLOGFILE of other programs does.
// The name is terminated.
//
// Ownership: the name stays the caller's. Threads: any. Blocks: for opening the file; later writes are made by
// library threads. Errors: handle errors, `WB_E_INVALID`, `WB_E_UTF8`, `WB_E_OS`, `WB_E_FROZEN`. Since: 0.1.
wb_status wb_tls_keylog_file(wb_tls tls, const char *file);

// Adds an identity: certificate chain (own certificate first) and private key from memory, each PEM or DER (a chain in
// DER: certificates one after the other). Without a key (null, 0) the key is elsewhere: each handshake that needs it
// asks with `WB_EV_DECIDE_SIGN`; a client with such an identity does not resume sessions. `*id` (may be null) gets the
// identity's number.
//
// Ownership: the bytes stay the caller's, they are copied. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_TLS` (unreadable, or key and certificate do not match), `WB_E_FROZEN`.
// Since: 0.1.
wb_status wb_tls_identity_add(wb_tls tls,
                              const void *chain,
                              size_t chain_len,
                              const void *key,
                              size_t key_len,
                              uint32_t *id);

// Replaces the identity with this number, on a server also while it serves: handshakes that begin from now on use
// the new one, others are not disturbed. Without a chain (null, 0) the identity is removed.
//
// Ownership: the bytes stay the caller's. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_RANGE` (no such number), `WB_E_TLS`, `WB_E_FROZEN` (a client in use).
// Since: 0.1.
wb_status wb_tls_identity_replace(wb_tls tls,
                                  uint32_t id,
                                  const void *chain,
                                  size_t chain_len,
                                  const void *key,
                                  size_t key_len);

// Chooses which decisions the application takes: a set of `WB_DECIDE_IDENTITY` (server), `WB_DECIDE_VERIFY` and
// `WB_DECIDE_EARLY` (server). With verify, what the configured check says comes with the question, and the application
// has the last word; a resumed session is not asked about again. With early, the application keeps the store that tells
// replayed early data from new ones, for all servers that share ticket keys; each offer that could be taken is asked about
// once. (`WB_KEY_ADMIT` asks for admission, an identity without key for signatures.)
//
// Ownership: unchanged. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_UNSUPPORTED`, `WB_E_FROZEN`. Since: 0.1.
wb_status wb_tls_decisions(wb_tls tls,
                           uint32_t mask);

// Sets the keys that seal session tickets, `count` times 32 bytes one after the other, also while in use: the first
// seals, all open. Servers that share them resume each other's sessions. To rotate, put a new key in front and drop the
// last. With 0 keys (default) sessions are kept in this process and each is good for early data once. With keys, early
// data are taken only with `WB_DECIDE_EARLY`, because a ticket can be shown to every server that has the keys.
//
// Ownership: the bytes stay the caller's. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID` (role, or a key of zeros), `WB_E_RANGE` (over 16 keys). Since: 0.1.
wb_status wb_tls_ticket_keys(wb_tls tls, const void *keys_data, size_t count);

// Sets the secrets of address tokens and stateless resets, `count` (at least 1) times 32 bytes one after the other, also
// while in use: the first makes, all are accepted. Servers behind one address share them; kept over a restart, clients
// keep their tokens and hear of lost connections at once. By default they are random and of this process.
//
// Ownership: the bytes stay the caller's. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID` (a key of zeros), `WB_E_RANGE` (none, or over 16), `WB_E_CLOSED_LOCAL`, `WB_E_STATE`.
// Since: 0.1.
wb_status wb_endpoint_secrets(wb_endpoint endpoint,
                              const void *keys_data,
                              size_t count);

// Starts a runtime: its worker threads own sockets, timers and connections. `config` is of kind
// `WB_CONFIG_RUNTIME`, or 0 for defaults; it is frozen by this call.
//
// Ownership: `*out` is the caller's. Threads: any. Blocks: never.
// Errors: `WB_E_INVALID`, handle errors of `config`, `WB_E_OS`, `WB_E_NO_MEMORY`. Since: 0.1.
wb_status wb_runtime_open(wb_config config, wb_runtime *out);

// Begins the end: endpoints and connections are closed (see `WB_CLOSE_GRACEFUL`), then RUNTIME_CLOSED is reported.
// Idempotent; `WB_CLOSE_NOW` also ends a graceful close that is under way.
//
// Ownership: unchanged. Threads: any. Blocks: never. Errors: handle errors, `WB_E_INVALID` (mode). Since: 0.1.
wb_status wb_runtime_close(wb_runtime runtime, uint32_t mode);

// Waits until a closed runtime has ended, at most `timeout_ns` nanoseconds (negative: without limit).
//
// Ownership: unchanged. Threads: not library threads (no callbacks). Blocks: up to the time given.
// Errors: handle errors, `WB_E_TIMEOUT`, `WB_E_WOULD_DEADLOCK`. Since: 0.1.
wb_status wb_runtime_wait(wb_runtime runtime, int64_t timeout_ns);

// Stops callbacks: after success none is running and none will start. For use before unloading code or ending an
// interpreter. Queues are not touched. Inside a callback it mutes, does not wait and says `WB_E_WOULD_DEADLOCK`.
//
// Ownership: unchanged. Threads: any. Blocks: until running callbacks have returned, at most `timeout_ns`
// nanoseconds (negative: without limit). Errors: handle errors, `WB_E_TIMEOUT`, `WB_E_WOULD_DEADLOCK`. Since: 0.1.
wb_status wb_runtime_mute(wb_runtime runtime, int64_t timeout_ns);

// Makes an endpoint without sockets. `config` is of kind `WB_CONFIG_ENDPOINT`, or 0 for defaults.
//
// Ownership: `*out` is the caller's. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_STATE` (the runtime is closed). Since: 0.1.
wb_status wb_endpoint_open(wb_runtime runtime, wb_config config, wb_endpoint *out);

// Binds the endpoint's sockets now, one per worker where the system can share a port. Port 0 lets the system
// choose. A client that does not bind gets a socket with its first connection.
//
// Ownership: the address stays the caller's. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_BUSY` (address in use), `WB_E_OS`, `WB_E_STATE`. Since: 0.1.
wb_status wb_endpoint_bind(wb_endpoint endpoint, const struct sockaddr *address, uint32_t len);

// Takes over a UDP socket that is bound already, from a parent, a privileged helper or a process that is being replaced.
// Several may be given, best as many as there are workers.
//
// Ownership: on success the descriptor is the library's, on failure it stays the caller's. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID` (no bound UDP socket), `WB_E_OS`, `WB_E_STATE`. Since: 0.1.
wb_status wb_endpoint_adopt(wb_endpoint endpoint,
                            ptrdiff_t fd);

// Duplicates the endpoint's sockets, for a process that takes over its port; this endpoint goes on until it is closed.
// Fills up to `capacity` descriptors, closed on exec; `*count` gets how many sockets there are. `WB_PARTIAL` when there
// are more.
//
// Ownership: the descriptors are the caller's. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_STATE` (not bound), `WB_E_OS`. Since: 0.1.
wb_status wb_endpoint_export(wb_endpoint endpoint, ptrdiff_t *fds, size_t capacity, size_t *count);

// Accepts connections with this configuration (kind `WB_CONFIG_CONN`, or 0) and TLS object (server). `tls` 0 stops
// listening; existing connections go on.
//
// Ownership: unchanged; both are frozen and kept. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_STATE` (not bound), `WB_E_TLS`, `WB_E_INVALID` (role). Since: 0.1.
wb_status wb_endpoint_listen(wb_endpoint endpoint, wb_config config, wb_tls tls);

// Refuses new connections with CONNECTION_REFUSED (RFC 9000 section 5.2.2) while `on` is 1, and takes them again when it is 0;
// those that are there go on. Before listening too. An attempt that waits for its decision can still be accepted.
//
// Ownership: unchanged. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_RANGE`, `WB_E_CLOSED_LOCAL`, `WB_E_STATE` (the runtime is closed). Since: 0.1.
wb_status wb_endpoint_pause(wb_endpoint endpoint,
                            uint8_t on);

// Sets how much clients may begin, at any time; what is there already goes on. Replaces all limits that were set before: one
// that is 0 is lifted. ENDPOINT_BUSY tells when a limit starts and ends to turn clients away.
//
// Ownership: the struct stays the caller's. Threads: any. Blocks: never. Errors: handle errors, `WB_E_INVALID`, `WB_E_RANGE`
// (`struct_size`), `WB_E_CLOSED_LOCAL`, `WB_E_STATE` (the runtime is closed). Since: 0.1.
wb_status wb_endpoint_limits(wb_endpoint endpoint,
                             const struct wb_limits *limits);

// The address that the endpoint is bound to.
//
// Ownership: the caller's struct is filled. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_STATE` (not bound). Since: 0.1.
wb_status wb_endpoint_address(wb_endpoint endpoint, struct wb_addr *out);

// Replaces the endpoint's socket by one on another local address (null: any address, new port) under its
// connections, which migrate to it by themselves, as when a telephone changes its network.
//
// Ownership: the address stays the caller's. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_BUSY`, `WB_E_OS`, `WB_E_STATE`. Since: 0.1.
wb_status wb_endpoint_rebind(wb_endpoint endpoint, const struct sockaddr *address, uint32_t len);

// Closes the endpoint: its connections end (see `WB_CLOSE_GRACEFUL`), its sockets are closed, ENDPOINT_CLOSED is
// reported. Idempotent.
//
// Ownership: unchanged. Threads: any. Blocks: never. Errors: handle errors, `WB_E_INVALID` (mode). Since: 0.1.
wb_status wb_endpoint_close(wb_endpoint endpoint, uint32_t mode);

// Client helper: endpoint, connection and start in one call. `config` (kind `WB_CONFIG_CONN`) may be 0. The endpoint
// is the library's own and ends with the connection. Set user data in the callback, or attach a queue to the runtime
// before.
//
// Ownership: `*out` is the caller's, the text stays the caller's. Threads: any. Blocks: never; the name is resolved
// on a library thread. Errors: handle errors, `WB_E_INVALID`, `WB_E_UTF8`, `WB_E_OS`, `WB_E_TLS`, `WB_E_STATE` (the
// runtime is closed). What fails later
// comes with CONN_CLOSED. Since: 0.1.
wb_status wb_client_connect(wb_runtime runtime,
                            wb_config config,
                            wb_tls tls,
                            const char *host,
                            size_t host_len,
                            uint16_t port,
                            wb_conn *out);

// Server helper: endpoint, bind and listen in one call. `address` is an IP address as text ("0.0.0.0", "::"),
// `config` (kind `WB_CONFIG_CONN`) may be 0.
//
// Ownership: `*out` is the caller's, the text stays the caller's. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID` (not an address), `WB_E_UTF8`, `WB_E_BUSY`, `WB_E_OS`, `WB_E_TLS`,
// `WB_E_STATE` (the runtime is closed). Since: 0.1.
wb_status wb_server_listen(wb_runtime runtime,
                           wb_config config,
                           wb_tls tls,
                           const char *address,
                           size_t address_len,
                           uint16_t port,
                           wb_endpoint *out);

// Writes an address as text, "192.0.2.1:443" or "[2001:db8::1]:443", terminated; 64 bytes are always enough.
// `*len` (may be null) gets the length without the terminator.
//
// Ownership: the caller's memory is filled. Threads: any. Blocks: never.
// Errors: `WB_E_INVALID`, `WB_E_RANGE` (`capacity` too small). Since: 0.1.
wb_status wb_addr_text(const struct wb_addr *address, char *out, size_t capacity, size_t *len);

// Makes a client connection object, idle and silent until started, so that user data can be set without a race.
// `config` is of kind `WB_CONFIG_CONN`, or 0 for defaults.
//
// Ownership: `*out` is the caller's; configuration and TLS object are frozen and kept. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_TLS`, `WB_E_CLOSED_LOCAL` (the endpoint is closed), `WB_E_STATE` (the runtime
// is). Since: 0.1.
wb_status wb_conn_open(wb_endpoint endpoint,
                       wb_config config,
                       wb_tls tls,
                       wb_conn *out);

// Starts connecting to a host (name or IP address as text, also the name in the certificate) and port. `host_len` may be
// `WB_TEXT_Z`. Of a name's addresses (at most 8, IPv6 and IPv4 in turn) the next is tried when the last one has failed, or has
// not answered for 250 ms, beside those that were begun; the first that answers with TLS's keys is the connection (RFC 8305).
// Once the application has opened a stream for early data, no other address is tried. On a core, whose caller has the clock, the
// next one is tried on failure only.
//
// Ownership: the text stays the caller's. Threads: any. Blocks: never; the name is resolved on a library thread.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_UTF8`, `WB_E_STATE` (already started, or the endpoint is closed),
// `WB_E_CLOSED_LOCAL`, `WB_E_OS`, `WB_E_TLS`. What fails
// later comes with CONN_CLOSED. Since: 0.1.
wb_status wb_conn_start(wb_conn conn,
                        const char *host,
                        size_t host_len,
                        uint16_t port);

// Starts connecting to one address, with the server name for TLS (SNI and certificate).
//
// Ownership: address and text stay the caller's. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_UTF8`, `WB_E_STATE`, `WB_E_CLOSED_LOCAL`, `WB_E_OS`, `WB_E_TLS`. Since: 0.1.
wb_status wb_conn_start_address(wb_conn conn,
                                const struct sockaddr *address,
                                uint32_t address_len,
                                const char *server_name,
                                size_t server_name_len);

// Starts connecting to the first of several addresses that answers, for programs that resolve names by themselves; otherwise as
// `wb_conn_start_address`. They are tried as `wb_conn_start` says, in the order given.
//
// Ownership: addresses and text stay the caller's. Threads: any. Blocks: never.
// Errors: as `wb_conn_start_address`, `WB_E_RANGE` (none, or more than 8). Since: 0.1.
wb_status wb_conn_start_addresses(wb_conn conn,
                                  const struct wb_addr *addresses,
                                  size_t count,
                                  const char *server_name,
                                  size_t server_name_len);

// Closes the connection with an application code and a reason for the peer's log. CONN_CLOSED follows. Data not yet
// delivered are lost: finish the streams first. Idempotent. With HTTP/3, code 0 is sent as H3_NO_ERROR.
//
// Ownership: the text stays the caller's. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_RANGE` (code over 2^62 - 1). Since: 0.1.
wb_status wb_conn_close(wb_conn conn, uint64_t code, const char *reason, size_t reason_len);

// Version, ALPN, server name, cipher, addresses and state.
//
// Ownership: the caller's struct is filled. Threads: any. Blocks: never. Errors: handle errors, `WB_E_INVALID`. Since: 0.1.
wb_status wb_conn_info(wb_conn conn,
                       struct wb_conn_desc *out);

// Counters since the start; they stay readable after the end.
//
// Ownership: the caller's struct is filled. Threads: any. Blocks: never. Errors: handle errors, `WB_E_INVALID`. Since: 0.1.
wb_status wb_conn_stats(wb_conn conn,
                        struct wb_conn_counters *out);

// Why the connection ended: which side, wire code, frame type, TLS alert, system error and text. While it lives the
// struct's status is `WB_OK`.
//
// Ownership: the caller's struct is filled. Threads: any. Blocks: never. Errors: handle errors, `WB_E_INVALID`. Since: 0.1.
wb_status wb_conn_error(wb_conn conn,
                        struct wb_error_info *out);

// The peer's certificate chain, DER, own certificate first. Fills up to `capacity` buffers; `*count` gets the length
// of the chain. `WB_PARTIAL` when there are more.
//
// Ownership: the buffers are the caller's. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_STATE` (handshake not done). Since: 0.1.
wb_status wb_conn_peer_chain(wb_conn conn, wb_buf *out, size_t capacity, size_t *count);

// Asks for a key update (RFC 9001 section 6): it starts at once or, while the handshake is not confirmed or nothing under the
// present keys is acknowledged (section 6.1), before the first packet for which it may. KEY_UPDATED follows then; asking
// again before that changes nothing.
//
// Ownership: unchanged. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_STATE` (not started), `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
wb_status wb_conn_key_update(wb_conn conn);

// Changes a setting of a living connection, one of these keys of a connection configuration (units as there):
// `WB_KEY_KEEP_ALIVE_MS`, from now on. `WB_KEY_MAX_IDLE_MS`, silence after which this side ends the connection, counted from
// the call at the earliest: the peer keeps the value that it was told (RFC 9000 section 10.1), so a longer one is refused, and
// a shorter one ends with CONN_CLOSED (`WB_E_IDLE`) here and a CONNECTION_CLOSE without error for the peer; the configured value
// takes it back. `WB_KEY_STREAM_WINDOW` (of all streams, also those to come), `WB_KEY_CONN_WINDOW`, `WB_KEY_MAX_STREAMS_BIDI`
// and `_UNI`: more than before; the peer is told by MAX_STREAM_DATA, MAX_DATA and MAX_STREAMS. What was promised is not taken
// back, so less than the configuration or the last call said is refused. The other keys hold for a connection's whole life.
//
// Ownership: unchanged. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_UNKNOWN_KEY`, `WB_E_INVALID` (the key takes bytes), `WB_E_RANGE` (not a value of this key, or one
// that would take back what the peer was told), `WB_E_FROZEN` (the key cannot change any more), `WB_E_STATE` (a client before
// CONNECTED), `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
wb_status wb_conn_set_u64(wb_conn conn,
                          uint32_t key,
                          uint64_t value);

// Sends an unreliable datagram (RFC 9221). `tag` comes back in DATAGRAM_STATE events; 0 asks for none.
//
// Ownership: the bytes stay the caller's, they are copied. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_UNSUPPORTED` (the peer takes none), `WB_E_RANGE` (too large),
// `WB_E_WOULD_BLOCK` (too many waiting), `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
wb_status wb_conn_datagram_send(wb_conn conn, const void *data, size_t len, uint64_t tag);

// Keying material for the application (RFC 8446 section 7.5): fills `out_len` bytes.
//
// Ownership: all memory is the caller's. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_STATE` (handshake not done), `WB_E_TLS`. Since: 0.1.
wb_status wb_conn_export(wb_conn conn,
                         const char *label,
                         size_t label_len,
                         const void *context,
                         size_t context_len,
                         void *out,
                         size_t out_len);

// Client: moves the connection to a new socket on another local address (null: any address, new port). The new path
// is validated, then used; PATH_VALIDATED and PATH_MIGRATED, or PATH_FAILED, report.
//
// Ownership: the address stays the caller's. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_STATE` (handshake not confirmed, or a server),
// `WB_E_UNSUPPORTED` (the peer forbids it), `WB_E_LIMIT` (no connection ID left), `WB_E_BUSY`, `WB_E_OS`,
// `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
wb_status wb_conn_migrate(wb_conn conn, const struct sockaddr *address, uint32_t len);

// The paths of a connection. Fills up to `capacity` handles; `*count` gets how many there are. `WB_PARTIAL` when there
// are more.
//
// Ownership: the handles are the caller's. Threads: any. Blocks: never. Errors: handle errors, `WB_E_INVALID`. Since: 0.1.
wb_status wb_path_list(wb_conn conn,
                       wb_path *out,
                       size_t capacity,
                       size_t *count);

// Addresses, state, round trip, window and MTU of a path. A path that is gone keeps its last values.
//
// Ownership: the caller's struct is filled. Threads: any. Blocks: never. Errors: handle errors, `WB_E_INVALID`. Since: 0.1.
wb_status wb_path_info(wb_path path,
                       struct wb_path_desc *out);

// What is to be decided, by whom it was asked, and what is known.
//
// Ownership: the caller's struct is filled. Threads: any. Blocks: never. Errors: handle errors (`WB_E_STALE`: answered, or
// what it is about has ended), `WB_E_INVALID`. Since: 0.1.
wb_status wb_decision_info(wb_decision decision,
                           struct wb_decision_desc *out);

// Data of a decision as a buffer: `what` is `WB_DATA_*`, `index` counts certificates and protocols from 0 and is else 0.
//
// Ownership: `*out` is the caller's. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_RANGE` (the decision has no such data). Since: 0.1.
wb_status wb_decision_data(wb_decision decision,
                           uint32_t what,
                           size_t index,
                           wb_buf *out);

// Says yes: the client may connect, the peer's certificates are good, the listener's own identity it is, or the offer of
// early data is new.
//
// Ownership: the handle goes stale. Threads: any, at once or later. Blocks: never.
// Errors: handle errors, `WB_E_INVALID` (a signature is asked for), `WB_E_STATE` (answered by another thread),
// `WB_E_TIMEOUT` (too late), `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER` (the connection has ended). Since: 0.1.
wb_status wb_decision_accept(wb_decision decision);

// Says no. For an admission `how` is `WB_REFUSE_*`; else it is the TLS alert to end the handshake with, 0 for the one that
// fits; but for early data it is 0, and they are refused while the handshake goes on. Releasing an unanswered decision
// refuses with 0.
//
// Ownership: the handle goes stale. Threads: any, at once or later. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_RANGE` (an alert is one byte), `WB_E_STATE` (answered, or no further Retry is
// possible), `WB_E_TIMEOUT`, `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
wb_status wb_decision_refuse(wb_decision decision,
                             uint32_t how);

// Answers who we are: this connection is served as if the listener had this TLS object (role server): its identities,
// protocols, client certificates, tickets and further decisions.
//
// Ownership: the TLS object is frozen and kept, the decision's handle goes stale. Threads: any, at once or later.
// Blocks: never. Errors: handle errors of both, `WB_E_INVALID`, `WB_E_TLS`, `WB_E_STATE`, `WB_E_CLOSED_LOCAL`,
// `WB_E_CLOSED_PEER`. Since: 0.1.
wb_status wb_decision_identity(wb_decision decision, wb_tls tls);

// Gives the signature of `WB_DATA_MESSAGE` under the scheme asked for, encoded as TLS wants it (ECDSA: DER). It is not
// checked here: the peer ends the handshake over a wrong one.
//
// Ownership: the bytes stay the caller's, the handle goes stale. Threads: any, at once or later. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_RANGE` (length), `WB_E_STATE`, `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`.
// Since: 0.1.
wb_status wb_decision_sign(wb_decision decision, const void *signature, size_t len);

// Opens a raw stream: `WB_STREAM_BIDI` or `WB_STREAM_UNI`. On an HTTP/3 connection use `wb_h3_request`.
//
// Ownership: `*out` is the caller's. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_WOULD_BLOCK` (STREAMS_AVAILABLE follows when the peer allows more),
// `WB_E_STATE` (not started, or HTTP/3), `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
wb_status wb_stream_open(wb_conn conn, uint32_t kind, wb_stream *out);

// Opens a raw stream together with the application's pointer and its first bytes: `wb_stream_open`, `wb_handle_set_user` and
// `wb_stream_send_copy` in one step, with one look-up and one lock, and nobody sees the stream in between. The first
// event of the stream has the pointer already, and comes after `*out` and `accepted` were written: both may lie in what `user`
// points to, which another thread may have ended when this returns.
//
// With `WB_PARTIAL` the stream is open, but not all bytes, or not the end, were taken: WRITABLE follows, and the rest goes by
// the send calls. An error means that there is no stream: nothing was taken and nothing written, and `destroy` does not run.
//
// Ownership: `*out` is the caller's, the bytes stay the caller's; `user` belongs to the stream until `destroy`, on failure it
// stays the caller's. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_RANGE` (`struct_size` is not set, or a length that no memory has),
// `WB_E_WOULD_BLOCK` (no stream now; STREAMS_AVAILABLE follows when the peer allows more), `WB_E_STATE` (not started, or
// HTTP/3), `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
wb_status wb_stream_begin(wb_conn conn,
                          uint32_t kind,
                          struct wb_stream_first *first,
                          wb_stream *out);

// Sends buffers in order without copying them. `*accepted` (may be null only if `WB_FIN` alone is sent) gets the bytes
// taken; with fewer than offered the result is `WB_PARTIAL` and one WRITABLE event follows; the rest, and `WB_FIN`, are
// to be offered again (`wb_buf_slice` cuts). Buffers of length 0 are fine; count 0 with `WB_FIN` ends the stream.
//
// Ownership: the library takes references of its own to what it accepted, none on failure; the caller keeps and
// releases its handles. Lent memory must stay unchanged until its release. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_WOULD_BLOCK` (nothing taken; WRITABLE follows), `WB_E_FINISHED` (after
// `WB_FIN`), `WB_E_STOPPED`, `WB_E_RESET` (by us), `WB_E_STATE` (the stream only receives), `WB_E_REVOKED`,
// `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
wb_status wb_stream_send(wb_stream stream, const wb_buf *buffers, size_t count, uint32_t flags, size_t *accepted);

// Sends bytes by copying them; otherwise as `wb_stream_send`.
//
// Ownership: the bytes stay the caller's. Threads: any. Blocks: never. Errors: as `wb_stream_send`. Since: 0.1.
wb_status wb_stream_send_copy(wb_stream stream, const void *data, size_t len, uint32_t flags, size_t *accepted);

// Receives up to `capacity` buffers without copying. `*count` gets how many, `*fin` 1 with the last bytes of the stream
// (there may be none: count 0). The buffers stay valid after stream, connection and runtime are gone.
//
// Ownership: the buffers are the caller's. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_WOULD_BLOCK` (READABLE follows), `WB_E_FINISHED` (the end was
// read, we have stopped the stream, or nothing is received on it),
// `WB_E_RESET`, `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
wb_status wb_stream_recv(wb_stream stream, wb_buf *out, size_t capacity, size_t *count, uint8_t *fin);

// Receives into the caller's memory. `*got` gets the bytes, `*fin` 1 with the last bytes of the stream. Reading is what
// gives the peer credit for more (unless `WB_KEY_MANUAL_CREDIT` says otherwise): not reading pauses the stream.
//
// Ownership: the memory is the caller's. Threads: any. Blocks: never. Errors: as `wb_stream_recv`. Since: 0.1.
wb_status wb_stream_recv_copy(wb_stream stream, void *out, size_t capacity, size_t *got, uint8_t *fin);

// With `WB_KEY_MANUAL_CREDIT`: gives the peer credit for `bytes` received bytes that the application is done with.
// Withholding it pauses the stream, and bounds what is under way in all streams of the connection. What a stream still
// owes is given back when its handle ends.
//
// Ownership: unchanged. Threads: any. Blocks: never. Errors: handle errors, `WB_E_STATE` (credit is given by reading),
// `WB_E_RANGE` (more than was received and not consumed). Since: 0.1.
wb_status wb_stream_consume(wb_stream stream, uint64_t bytes);

// Gives up sending: the peer gets the code, unsent data are dropped and lent memory is released. An HTTP/3 stream ends
// in both directions; there 0 stands for H3_REQUEST_CANCELLED.
//
// Ownership: unchanged. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_RANGE` (code over 2^62 - 1), `WB_E_STATE` (nothing to send on this stream),
// `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
wb_status wb_stream_reset(wb_stream stream, uint64_t code);

// Gives up sending, but what was sent up to `reliable_size` (a number of bytes) is delivered before the peer hears of the
// reset. A later call may only lower the size. Needs a peer that knows reliable resets
// (draft-ietf-quic-reliable-stream-reset); without, nothing is done. Raw QUIC streams only.
//
// Ownership: unchanged. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_RANGE` (code over 2^62 - 1), `WB_E_STATE` (nothing to send on this stream, or an HTTP/3
// stream), `WB_E_UNSUPPORTED` (by the peer), `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
wb_status wb_stream_reset_at(wb_stream stream,
                             uint64_t code,
                             uint64_t reliable_size);

// Asks the peer to stop sending; received data are dropped.
//
// Ownership: unchanged. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_RANGE`, `WB_E_STATE` (nothing to receive on this stream),
// `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
wb_status wb_stream_stop(wb_stream stream, uint64_t code);

// Sets the order in which streams of the connection send (RFC 9218): urgency 0 (first) to 7, default 3; incremental
// streams of one urgency share the connection, others go one after the other.
//
// Ownership: unchanged. Threads: any. Blocks: never. Errors: handle errors, `WB_E_RANGE`, `WB_E_CLOSED_LOCAL`,
// `WB_E_CLOSED_PEER`. Since: 0.1.
wb_status wb_stream_priority(wb_stream stream, uint32_t urgency, uint8_t incremental);

// Number, direction, states, byte counts, and whether it came as early data.
//
// Ownership: the caller's struct is filled. Threads: any. Blocks: never. Errors: handle errors, `WB_E_INVALID`. Since: 0.1.
wb_status wb_stream_info(wb_stream stream,
                         struct wb_stream_desc *out);

// Client: sends a request: pseudo-fields (":method", ":scheme", ":authority", ":path") first, then fields with lower-case
// names. `WB_FIN`: no body follows; else send it with the stream calls. After CONNECTED, or with early data before.
//
// Ownership: `*out` is the caller's, the fields stay the caller's. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_H3` (a field is not allowed), `WB_E_WOULD_BLOCK` (the peer allows no more
// requests now; STREAMS_AVAILABLE follows), `WB_E_STATE` (not connected, or not HTTP/3), `WB_E_CLOSED_LOCAL`,
// `WB_E_CLOSED_PEER`. Since: 0.1.
wb_status wb_h3_request(wb_conn conn,
                        const struct wb_field *fields,
                        size_t count,
                        uint32_t flags,
                        wb_stream *out);

// Sends a response (":status" first; 1xx is an interim one), or with `WB_H3_TRAILERS` the trailers of either side.
//
// Ownership: the fields stay the caller's. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_H3` (a field is not allowed, or not now), `WB_E_STOPPED`, `WB_E_RESET` (by us), `WB_E_FINISHED`,
// `WB_E_STATE` (not an HTTP/3 stream), `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
wb_status wb_h3_headers(wb_stream stream,
                        const struct wb_field *fields,
                        size_t count,
                        uint32_t flags);

// Received fields of a section (`WB_SECTION_*`) in their order. Fills up to `capacity`; `*count` gets how many there are.
// `WB_PARTIAL` when there are more. Names and values are terminated as a courtesy.
//
// Ownership: names and values are the library's, valid until the stream's handle goes stale. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_STATE` (not an HTTP/3 stream), `WB_E_WOULD_BLOCK` (not received yet). Since: 0.1.
wb_status wb_h3_fields(wb_stream stream,
                       uint32_t section,
                       struct wb_field *out,
                       size_t capacity,
                       size_t *count);

// The value of the first received field with a (lower-case) name; `name_len` may be `WB_TEXT_Z`. A field that is not
// there gives a null value, length 0 and `WB_OK`.
//
// Ownership: as `wb_h3_fields`. Threads: any. Blocks: never. Errors: as `wb_h3_fields`. Since: 0.1.
wb_status wb_h3_field(wb_stream stream,
                      uint32_t section,
                      const char *name,
                      size_t name_len,
                      const char **value,
                      size_t *value_len);

// Announces the end: the peer is told to begin nothing new; what runs goes on.
//
// Ownership: unchanged. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_STATE` (not HTTP/3), `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
wb_status wb_h3_goaway(wb_conn conn);

// Sends whole messages of one connection, each with its fields, its body and the end: requests (as `wb_h3_request`), or
// responses to requests (as `wb_h3_headers`). All of them cost one lock and one wake-up of the worker. `size` is
// `sizeof(wb_h3_message)`. Each element gets its own `status`: `WB_OK` when it was taken whole; `WB_PARTIAL` when only its fields
// and `accepted` bytes of its body were (WRITABLE follows; the rest, and `WB_FIN`, go by the stream calls); else an error of
// that message, of which nothing was taken. The result is `WB_OK` when all were taken whole, else `WB_PARTIAL`; with one
// message it is that message's status, with the detail of its error.
//
// Ownership: fields and bodies stay the caller's. The stream of a request is the caller's; with `WB_H3_DONE` it is the
// library's and lives until its STREAM_CLOSED, or, where that is not told, its H3_MESSAGE was delivered. Threads: any.
// Blocks: never. Errors: handle errors, `WB_E_INVALID`, `WB_E_RANGE` (more than 1024 messages, or `size` is too small),
// `WB_E_STATE` (not connected); of a message: handle errors, `WB_E_INVALID`, `WB_E_RANGE`, `WB_E_H3` (a field is not allowed, or
// not now), `WB_E_WOULD_BLOCK` (the peer allows no more requests now; STREAMS_AVAILABLE follows), `WB_E_STOPPED`, `WB_E_RESET` (by us),
// `WB_E_FINISHED`, `WB_E_STATE` (not HTTP/3, or the peer goes away), `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
wb_status wb_h3_submit(wb_conn conn,
                       struct wb_h3_message *messages,
                       size_t count,
                       size_t size);

// Makes a buffer of library memory, zeroed. `*data` (may be null if not wanted) gets the memory, writable until
// the buffer is first sent or sliced.
//
// Ownership: `*out` is the caller's; `*data` is valid until its last release. Threads: any. Blocks: never.
// Errors: `WB_E_INVALID`, `WB_E_RANGE`, `WB_E_NO_MEMORY`. Since: 0.1.
wb_status wb_buf_alloc(size_t size, void **data, wb_buf *out);

// Lends memory to the library. `release(ctx)` (may be null for memory that lives for ever) is called exactly once,
// when the last reference is gone: after delivery, reset, loss of the connection or close of the runtime. On failure
// it is not called.
//
// Ownership: `*out` is the caller's; the memory stays the caller's, who keeps it unchanged until `release` or
// `wb_buf_revoke`. Threads: any. Blocks: never. Errors: `WB_E_INVALID`, `WB_E_RANGE`, `WB_E_NO_MEMORY`. Since: 0.1.
wb_status wb_buf_wrap(const void *data, size_t len, wb_release_fn release, void *ctx, wb_buf *out);

// Makes a buffer that shares a part of another's memory.
//
// Ownership: `*out` is the caller's. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_RANGE`, `WB_E_REVOKED`. Since: 0.1.
wb_status wb_buf_slice(wb_buf buf, size_t offset, size_t len, wb_buf *out);

// Gives pointer and length of a buffer's bytes.
//
// Ownership: the memory is readable until the last release (or, lent, as long as its owner keeps it). Threads: any.
// Blocks: never. Errors: handle errors, `WB_E_INVALID`, `WB_E_REVOKED`. Since: 0.1.
wb_status wb_buf_view(wb_buf buf, const void **data, size_t *len);

// Ends a loan now: when it returns success, no library thread will read the lent memory again, and it may be freed or
// unmapped. What is still to be sent is copied first (`WB_REVOKE_COPY`), or its streams are reset
// (`WB_REVOKE_RESET`). All slices share the loan. The release callback is still called once, later.
//
// Ownership: the memory is the caller's alone again. Threads: any, also finalisers. Blocks: for the time in which
// running readers finish one packet (microseconds). Errors: handle errors, `WB_E_INVALID` (mode), `WB_E_STATE` (not
// lent memory), `WB_E_NO_MEMORY`. Since: 0.1.
wb_status wb_buf_revoke(wb_buf buf, uint32_t mode);

// Makes a queue and attaches it to a runtime: events of the runtime and everything below it for which no callback
// is registered come here. Its length is bounded because notices of one object merge.
//
// Ownership: `*out` is the caller's. Threads: any. Blocks: never. Errors: handle errors, `WB_E_INVALID`, `WB_E_OS`. Since: 0.1.
wb_status wb_queue_open(wb_runtime runtime,
                        wb_queue *out);

// Attaches the queue to a runtime, endpoint or connection in place of what was attached there: events of the object
// and those below it (unless they have a queue of their own) come here from now on. Queue 0 detaches.
//
// Ownership: the object keeps the queue. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_KIND` (an object without events of its own). Since: 0.1.
wb_status wb_queue_attach(wb_queue queue, wb_handle object);

// A descriptor that is readable while the queue is not empty, for poll, epoll, kqueue, select or asyncio. It must only
// be waited for: `wb_queue_take` reads it.
//
// Ownership: the descriptor belongs to the queue and is closed with it. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`. Since: 0.1.
wb_status wb_queue_fd(wb_queue queue, ptrdiff_t *fd);

// Takes up to `max` events (at most 1024 at a time). Waits up to `timeout_ns` nanoseconds for the first one (0: not at
// all, negative: without limit). On success `batch->count` is at least 1; give the batch back with `wb_queue_return`.
// Where a runtime has one worker and no callbacks, a thread that waits here again and again does the worker's work meanwhile:
// destructors and release functions, which run on any thread, may run in this call.
//
// Ownership: the events and what they point to are the library's, readable until the batch is returned.
// Threads: any but, unless the timeout is 0, not library threads. Blocks: up to the time given.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_WOULD_BLOCK` (empty, timeout 0), `WB_E_TIMEOUT`,
// `WB_E_WOULD_DEADLOCK`. Since: 0.1.
wb_status wb_queue_take(wb_queue queue,
                        struct wb_batch *batch,
                        size_t max,
                        int64_t timeout_ns);

// Gives a batch back. Objects of the library whose CLOSED event was in it end here.
//
// Ownership: ends the view of the events. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID` (not a batch of this queue, or returned already). Since: 0.1.
wb_status wb_queue_return(wb_queue queue, struct wb_batch *batch);

// Makes a taker return with a WAKE event. Several wakes merge.
//
// Ownership: unchanged. Threads: any, also signal handlers. Blocks: never. Errors: handle errors. Since: 0.1.
wb_status wb_queue_wake(wb_queue queue);

// Makes a core: a runtime without threads, sockets, clock and randomness, which `wb_core_recv` and `wb_core_transmit`
// drive. All other functions work on it and on what is made with it, with these differences: it is used from one thread
// at a time; callbacks run inside the two calls; an endpoint that is bound names an address under which datagrams come and go,
// no socket (port 0 gets a number); hosts are given as IP addresses (with a name for TLS: `wb_conn_start_address`);
// migration goes to such an address too; `wb_runtime_wait` does not wait, and `wb_queue_take` should not. `seed` is 32 secret random bytes, or null for the
// system's: connection IDs, tokens and every choice follow from it. (TLS draws its keys from the system all the same.)
// `config` is of kind `WB_CONFIG_RUNTIME`, or 0.
//
// Ownership: `*out` is the caller's. Threads: any. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_RANGE` (seed length, time), `WB_E_OS`. Since: 0.1.
wb_status wb_core_open(wb_config config,
                       const void *seed,
                       size_t seed_len,
                       int64_t now_ns,
                       wb_runtime *out);

// Gives datagrams that have arrived to a core, or only the time (`packet` null: timers run). Of the packet `data`, `len`,
// `segment`, `ecn`, `remote` and `local` are read. Afterwards send what `wb_core_transmit` has until it has no more: events
// arise in both calls.
//
// Ownership: packet and bytes stay the caller's and are not changed. Threads: one at a time per core, not in its
// callbacks. Blocks: never. Errors: handle errors, `WB_E_INVALID`, `WB_E_RANGE`, `WB_E_STATE` (not a core, or ended),
// `WB_E_UNREACHABLE` (no endpoint of the core has this local address), `WB_E_THREAD`. Since: 0.1.
wb_status wb_core_recv(wb_runtime runtime,
                       const struct wb_packet *packet,
                       int64_t now_ns);

// Takes the next datagrams to be sent. Set `data` and `len` to memory for them; on success `len` bytes of it are filled,
// and the other fields tell where they go: several datagrams of `segment` bytes each (the last may be shorter) or one
// (`segment` 0), at most `max_segments` (0 counts as 1). 65536 bytes are always enough; one datagram is never longer than the
// path allows. Call it until it has no more.
//
// Ownership: the memory is the caller's. Threads: one at a time per core, not in its callbacks. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_RANGE` (too little memory; nothing was taken), `WB_E_WOULD_BLOCK` (nothing to
// send now), `WB_E_STATE` (not a core), `WB_E_THREAD`. Since: 0.1.
wb_status wb_core_transmit(wb_runtime runtime,
                           struct wb_packet *packet,
                           uint32_t max_segments,
                           int64_t now_ns);

// When a core wants to be called next, even if nothing arrives: `*ns` gets the time, in the past when there is something to
// send, or INT64_MAX.
//
// Ownership: the caller's number is filled. Threads: one at a time per core. Blocks: never.
// Errors: handle errors, `WB_E_INVALID`, `WB_E_STATE` (not a core), `WB_E_THREAD`. Since: 0.1.
wb_status wb_core_deadline(wb_runtime runtime,
                           int64_t *ns);

// Counters of an endpoint, or of a runtime: the sum of its endpoints, also of those that have ended and of those that
// `wb_client_connect` makes. `out[i]` gets that of the key `first_key + i` (`WB_COUNTER_*`); keys that this library does not
// know give 0, so that a program of a newer header works. They stay readable after the end. Those of one worker are of one
// moment; what a connection sends is added when its turn ends.
//
// Ownership: the caller's memory is filled. Threads: any. Blocks: never, and waits for no code of the application.
// Errors: handle errors, `WB_E_INVALID`. Since: 0.1.
wb_status wb_counters(wb_handle handle,
                      uint32_t first_key,
                      uint64_t *out,
                      size_t n);

// Tells what anybody can know about a datagram's first packet, without keys: form, version and connection IDs of any QUIC
// version (RFC 8999), and of versions 1 and 2 also the type, the token and where the packet ends. For routers and load
// balancers, which need no object of this library. A short header does not tell how long its destination connection ID is:
// `short_cid_len` does, which is `WB_CID_LEN` for servers of this library. Look at further packets of a datagram with the
// bytes from `packet_len` on.
//
// A clear fixed bit is no error (RFC 9287), so half of all datagrams of other protocols look like short headers.
//
// Ownership: the datagram stays the caller's; pointers in `*out` point into it. Threads: any. Blocks: never.
// Errors: `WB_E_INVALID`, `WB_E_RANGE`, `WB_E_NOT_QUIC` (too short, or its lengths lead out of it). Since: 0.1.
wb_status wb_packet_peek(const void *datagram,
                         size_t len,
                         size_t short_cid_len,
                         struct wb_packet_desc *out);

// Hands the qlog of a connection to a function: of this one from now on, or of an endpoint's later connections from their
// beginning. To have all of a client's connection, register before it is started. What comes is a qlog file in pieces: JSON text
// records (RFC 7464), each of them whole, the first being the file's head; connections are told apart by their handle, which may
// be stale when its last records come. A client that tries several addresses brings the log of each that failed and then the
// next one's, each with its head. The last call for a connection has `end` = 1, and maybe no data; it comes after CONN_CLOSED,
// when the connection is drained. `qlog.dir` works beside it.
//
// For an endpoint another registration replaces the function, and null stops it, for connections that come then; those that
// have it keep it. A connection has one function for good, its endpoint's if it had one.
//
// Logging costs the connections that do it time; those without a log nothing. `wb_runtime_mute` ends the calls, and then the
// end is not told.
//
// Ownership: `ctx` belongs to the registration until `destroy` (may be null) is called once, after the last end. On failure it
// stays the caller's. Threads: any; the function runs on library threads, serial per connection. Blocks: never.
// Errors: handle errors (`WB_E_KIND`: neither connection nor endpoint), `WB_E_INVALID` (null for a connection), `WB_E_BUSY`
// (the connection has a function), `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`, `WB_E_STATE` (it is closed). Since: 0.1.
wb_status wb_qlog(wb_handle object,
                  wb_sink_fn function,
                  void *ctx,
                  wb_destroy_fn destroy);

// Hands lines about what operators want to know to a function, for this process: failures of sockets (`WB_LOG_ERROR`), of
// handshakes with reason and peer, connections that broke (`WB_LOG_WARN`), stateless resets, paths that changed or failed
// (`WB_LOG_INFO`), key updates, clients that are asked to prove their address, ordinary ends (`WB_LOG_DEBUG`). Off by default, and
// then free. Replaces what was registered before; null, or `WB_LOG_OFF`, ends it. The text is for people and may change.
//
// Lines come from runtimes that are not muted. In the child of a fork nothing is registered. Peers can cause lines: a function
// that stores them limits how many.
//
// Ownership: `ctx` belongs to the registration until `destroy` (may be null) is called once; with a null function or
// `WB_LOG_OFF`, and on failure, it stays the caller's. Threads: any; the function runs on library threads, on several at a time.
// Blocks: until running calls of the former function have returned, so that its code may be unloaded then; not inside callbacks.
// Errors: `WB_E_INVALID` (level). Since: 0.1.
wb_status wb_log_set(uint32_t level,
                     wb_log_fn function,
                     void *ctx,
                     wb_destroy_fn destroy);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* WHIMBREL_H */

#ifndef WHIMBREL_H_INLINE
#define WHIMBREL_H_INLINE

/* A zeroed struct with its struct_size set: wb_batch batch = WB_INIT(wb_batch); */
#ifdef __cplusplus
template <class T> inline T wb_sized() {
    T value{};
    value.struct_size = static_cast<uint32_t>(sizeof(T));
    return value;
}
#define WB_INIT(type) wb_sized<type>()
#else
#define WB_INIT(type) {.struct_size = (uint32_t)sizeof(type)}
#endif

/* An element of an array of fields from two terminated texts. */
#define WB_FIELD(name, value) {(name), strlen(name), (value), strlen(value)}

/* The event with number i of a batch. */
static inline const wb_event *wb_batch_event(const wb_batch *batch, size_t i) {
    return (const wb_event *)(const void *)((const unsigned char *)batch->events + i * batch->stride);
}

/* Whether the loaded library fits this header: 1 yes, 0 no. */
static inline int wb_check_abi(void) {
    uint32_t have = wb_abi_version();
    return (have >> 16) == (WB_ABI_VERSION >> 16) && (have & 0xffffu) >= (WB_ABI_VERSION & 0xffffu);
}

#endif /* WHIMBREL_H_INLINE */
