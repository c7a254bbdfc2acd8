"""Constants, structs and functions of include/whimbrel.h. Made by generate.py: do not edit."""
# ruff: noqa
from ctypes import (
    CFUNCTYPE, POINTER, Structure, c_char, c_char_p, c_int8, c_int16, c_int32, c_int64, c_size_t, c_ssize_t,
    c_uint8, c_uint16, c_uint32, c_uint64, c_void_p,
)

WB_ABI_VERSION = 1
WB_KIND_RUNTIME = 1
WB_KIND_CONFIG = 2
WB_KIND_TLS = 3
WB_KIND_ENDPOINT = 4
WB_KIND_CONN = 5
WB_KIND_PATH = 6
WB_KIND_STREAM = 7
WB_KIND_BUF = 8
WB_KIND_QUEUE = 9
WB_KIND_DECISION = 10
WB_CONFIG_RUNTIME = 1
WB_CONFIG_ENDPOINT = 2
WB_CONFIG_CONN = 3
WB_ROLE_CLIENT = 1
WB_ROLE_SERVER = 2
WB_VERIFY_NONE = 0
WB_VERIFY_OPTIONAL = 1
WB_VERIFY_REQUIRED = 2
WB_CLOSE_GRACEFUL = 0
WB_CLOSE_NOW = 1
WB_STREAM_BIDI = 0
WB_STREAM_UNI = 1
WB_FIN = 1
WB_H3_TRAILERS = 2
WB_H3_DONE = 4
WB_REVOKE_COPY = 0
WB_REVOKE_RESET = 1
WB_SECTION_HEADERS = 0
WB_SECTION_INFO = 1
WB_SECTION_TRAILERS = 2
WB_ORIGIN_NONE = 0
WB_ORIGIN_LOCAL = 1
WB_ORIGIN_PEER = 2
WB_ORIGIN_SYSTEM = 3
WB_SIDE_CLIENT = 0
WB_SIDE_SERVER = 1
WB_GROUP_ALL = 0
WB_GROUP_RUNTIME = 1
WB_GROUP_ENDPOINT = 2
WB_GROUP_CONN = 3
WB_GROUP_KEYS = 4
WB_GROUP_PATH = 5
WB_GROUP_STREAM = 6
WB_GROUP_DATAGRAM = 7
WB_GROUP_H3 = 8
WB_GROUP_DECISION = 9
WB_EV_WAKE = 1
WB_EV_RUNTIME_CLOSED = 257
WB_EV_ENDPOINT_CLOSED = 514
WB_EV_SOCKET_ERROR = 515
WB_EV_ENDPOINT_BUSY = 516
WB_EV_CONN_INCOMING = 769
WB_EV_CONNECTED = 770
WB_EV_ZERO_RTT_ACCEPTED = 771
WB_EV_ZERO_RTT_REJECTED = 772
WB_EV_NEW_TOKEN = 773
WB_EV_CONFIRMED = 774
WB_EV_STREAMS_AVAILABLE = 775
WB_EV_CONN_CLOSED = 776
WB_EV_PEER_CLOSING = 777
WB_EV_KEYS_INSTALLED = 1025
WB_EV_KEY_UPDATED = 1026
WB_EV_PATH_NEW = 1281
WB_EV_PATH_VALIDATED = 1282
WB_EV_PATH_FAILED = 1283
WB_EV_PATH_MIGRATED = 1284
WB_EV_STREAM_INCOMING = 1537
WB_EV_STREAM_READABLE = 1538
WB_EV_STREAM_WRITABLE = 1539
WB_EV_STREAM_RESET = 1540
WB_EV_STREAM_STOPPED = 1541
WB_EV_STREAM_SEND_DONE = 1542
WB_EV_STREAM_CLOSED = 1543
WB_EV_DATAGRAM = 1793
WB_EV_DATAGRAM_STATE = 1794
WB_EV_H3_SETTINGS = 2049
WB_EV_H3_HEADERS = 2050
WB_EV_H3_INFO = 2051
WB_EV_H3_TRAILERS = 2052
WB_EV_H3_GOAWAY = 2053
WB_EV_H3_MESSAGE = 2054
WB_EV_DECIDE_ADMIT = 2305
WB_EV_DECIDE_IDENTITY = 2306
WB_EV_DECIDE_VERIFY = 2307
WB_EV_DECIDE_SIGN = 2308
WB_EV_DECIDE_EARLY = 2309
WB_DECIDE_ADMIT = 1
WB_DECIDE_IDENTITY = 2
WB_DECIDE_VERIFY = 4
WB_DECIDE_SIGN = 8
WB_DECIDE_EARLY = 16
WB_DATA_CERTIFICATE = 1
WB_DATA_OCSP = 2
WB_DATA_MESSAGE = 3
WB_DATA_PROTOCOL = 4
WB_DATA_EARLY_KEY = 5
WB_REFUSE_CLOSE = 0
WB_REFUSE_RETRY = 1
WB_REFUSE_SILENT = 2
WB_EVF_FIN = 1
WB_EVF_EARLY = 2
WB_EVF_READ = 4
WB_EVF_WRITE = 8
WB_EARLY_NO = 0
WB_EARLY_UNPROVEN = 1
WB_EARLY_PROVEN = 2
WB_LEVEL_INITIAL = 0
WB_LEVEL_EARLY = 1
WB_LEVEL_HANDSHAKE = 2
WB_LEVEL_ONE_RTT = 3
WB_LIMIT_NONE = 0
WB_LIMIT_CONNECTIONS = 1
WB_LIMIT_HANDSHAKES = 2
WB_DATAGRAM_SENT = 1
WB_DATAGRAM_ACKED = 2
WB_DATAGRAM_LOST = 3
WB_DATAGRAM_DROPPED = 4
WB_PACKET_UNKNOWN = 0
WB_PACKET_INITIAL = 1
WB_PACKET_EARLY = 2
WB_PACKET_HANDSHAKE = 3
WB_PACKET_RETRY = 4
WB_PACKET_VERSIONS = 5
WB_PACKET_SHORT = 6
WB_CID_LEN = 8
WB_LOG_OFF = 0
WB_LOG_ERROR = 1
WB_LOG_WARN = 2
WB_LOG_INFO = 3
WB_LOG_DEBUG = 4
WB_CONN_IDLE = 0
WB_CONN_HANDSHAKE = 1
WB_CONN_ESTABLISHED = 2
WB_CONN_CLOSED = 3
WB_MOVE_ADDRESS = 0
WB_MOVE_REBINDING = 1
WB_MOVE_PREFERRED = 2
WB_MOVE_BACK = 3
WB_PATH_NEW = 0
WB_PATH_VALIDATING = 1
WB_PATH_VALID = 2
WB_PATH_FAILED = 3
WB_KEY_WORKERS = 1
WB_KEY_HARDENED = 2
WB_KEY_BUSY_POLL_US = 3
WB_KEY_RETRY = 20
WB_KEY_MAX_IDLE_MS = 40
WB_KEY_HANDSHAKE_MS = 41
WB_KEY_KEEP_ALIVE_MS = 42
WB_KEY_STREAM_WINDOW = 43
WB_KEY_CONN_WINDOW = 44
WB_KEY_MAX_STREAMS_BIDI = 45
WB_KEY_MAX_STREAMS_UNI = 46
WB_KEY_CONGESTION = 47
WB_KEY_MAX_UDP_PAYLOAD = 48
WB_KEY_DATAGRAM_SIZE = 49
WB_KEY_MAX_ACK_DELAY_MS = 50
WB_KEY_VERSION = 51
WB_KEY_VERSIONS = 53
WB_KEY_SPIN_BIT = 54
WB_KEY_GREASE = 52
WB_KEY_ACK_FREQUENCY = 55
WB_KEY_EARLY_DECISION_MS = 56
WB_KEY_PREFERRED_IPV4 = 58
WB_KEY_PREFERRED_IPV6 = 59
WB_KEY_HTTP3 = 60
WB_KEY_MAX_FIELD_SECTION = 61
WB_KEY_WHOLE_MESSAGES = 62
WB_KEY_SPARE = 90
WB_KEY_ADMIT = 21
WB_KEY_DRAIN_MS = 22
WB_KEY_MANUAL_CREDIT = 70
WB_KEY_QLOG_DIR = 80
WB_SPARE_SEND_DONE = 1
WB_SPARE_CLOSED = 2
WB_SPARE_FIRST_READABLE = 4
WB_CC_NEWRENO = 0
WB_CC_CUBIC = 1
WB_CC_BBR = 2
WB_CC_PRAGUE = 3
WB_CC_ADAPTIVE = 4
WB_COUNTER_DATAGRAMS_RECEIVED = 0
WB_COUNTER_BYTES_RECEIVED = 1
WB_COUNTER_DATAGRAMS_SENT = 2
WB_COUNTER_BYTES_SENT = 3
WB_COUNTER_SEND_BLOCKED = 4
WB_COUNTER_SEND_FAILED = 5
WB_COUNTER_CONNS_NOW = 6
WB_COUNTER_CONNS_ACCEPTED = 7
WB_COUNTER_CONNS_STARTED = 8
WB_COUNTER_HANDSHAKES_NOW = 9
WB_COUNTER_HANDSHAKES_DONE = 10
WB_COUNTER_HANDSHAKES_FAILED = 11
WB_COUNTER_CONNS_REFUSED = 12
WB_COUNTER_RETRIES_SENT = 13
WB_COUNTER_VERSION_NEGOTIATIONS_SENT = 14
WB_COUNTER_RESETS_SENT = 15
WB_COUNTER_TOKENS_INVALID = 16
WB_COUNTER_TOKENS_ACCEPTED = 17
WB_COUNTER_DROPPED_MALFORMED = 18
WB_COUNTER_DROPPED_SMALL_INITIAL = 19
WB_COUNTER_DROPPED_SHORT_DCID = 20
WB_COUNTER_DROPPED_NOT_AUTHENTIC = 21
WB_COUNTER_DROPPED_UNKNOWN = 22
WB_COUNTER_DROPPED_FULL = 23
WB_COUNTER_DROPPED_RATE_LIMITED = 24
WB_OK = 0
WB_PARTIAL = 1
WB_PENDING = 2
WB_E_INVALID = -1
WB_E_HANDLE = -2
WB_E_STALE = -3
WB_E_KIND = -4
WB_E_FORKED = -5
WB_E_THREAD = -6
WB_E_STATE = -7
WB_E_FROZEN = -8
WB_E_UNKNOWN_KEY = -9
WB_E_RANGE = -10
WB_E_UTF8 = -11
WB_E_NO_MEMORY = -12
WB_E_LIMIT = -13
WB_E_WOULD_BLOCK = -14
WB_E_WOULD_DEADLOCK = -15
WB_E_TIMEOUT = -16
WB_E_CLOSED_LOCAL = -17
WB_E_CLOSED_PEER = -18
WB_E_RESET = -19
WB_E_STOPPED = -20
WB_E_FINISHED = -21
WB_E_TLS = -22
WB_E_VERIFY = -23
WB_E_VERSION = -24
WB_E_TRANSPORT = -25
WB_E_APPLICATION = -26
WB_E_H3 = -27
WB_E_QPACK = -28
WB_E_OS = -29
WB_E_UNSUPPORTED = -30
WB_E_NOT_BUILT = -31
WB_E_BUSY = -32
WB_E_MUTED = -33
WB_E_CANCELLED = -34
WB_E_PANIC = -35
WB_E_INTERNAL = -36
WB_E_RESOLVE = -37
WB_E_UNREACHABLE = -38
WB_E_IDLE = -39
WB_E_REVOKED = -40
WB_E_NOT_QUIC = -41

wb_destroy_fn = CFUNCTYPE(None, c_void_p)
wb_line_fn = CFUNCTYPE(None, c_void_p, c_void_p, c_size_t)
wb_release_fn = CFUNCTYPE(None, c_void_p)
wb_sink_fn = CFUNCTYPE(None, c_void_p, c_uint64, c_void_p, c_size_t, c_uint32)
wb_log_fn = CFUNCTYPE(None, c_void_p, c_uint32, c_void_p, c_void_p, c_size_t)


class wb_error_info(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("status", c_int32),
        ("origin", c_uint32),
        ("os_error", c_int32),
        ("wire_code", c_uint64),
        ("frame_type", c_uint64),
        ("tls_alert", c_uint32),
        ("application", c_uint32),
        ("text_len", c_uint32),
        ("reserved", c_uint32),
        ("text", c_char * 248),
    ]


class wb_handle_desc(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("kind", c_uint32),
        ("references", c_uint32),
        ("closed", c_uint32),
        ("user", c_void_p),
    ]


class wb_event(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("kind", c_uint16),
        ("flags", c_uint16),
        ("conn", c_uint64),
        ("stream", c_uint64),
        ("path", c_uint64),
        ("source", c_uint64),
        ("a", c_uint64),
        ("b", c_uint64),
        ("time_ns", c_int64),
        ("user_conn", c_void_p),
        ("user_stream", c_void_p),
        ("data", c_void_p),
        ("data_len", c_size_t),
    ]


class wb_text(Structure):
    _fields_ = [
        ("data", c_char_p),
        ("len", c_size_t),
    ]


class wb_limits(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("max_connections", c_uint64),
        ("max_handshakes", c_uint64),
        ("retry_handshakes", c_uint64),
    ]


class wb_addr(Structure):
    _fields_ = [
        ("family", c_uint16),
        ("port", c_uint16),
        ("scope", c_uint32),
        ("ip", c_uint8 * 16),
    ]


class wb_conn_desc(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("state", c_uint32),
        ("side", c_uint32),
        ("version", c_uint32),
        ("cipher", c_uint32),
        ("resumed", c_uint32),
        ("early_data", c_uint32),
        ("http3", c_uint32),
        ("retried", c_uint32),
        ("reserved", c_uint32),
        ("max_datagram", c_uint64),
        ("local", wb_addr),
        ("remote", wb_addr),
        ("alpn_len", c_uint32),
        ("server_name_len", c_uint32),
        ("alpn", c_char * 32),
        ("server_name", c_char * 256),
    ]


class wb_conn_counters(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("bytes_sent", c_uint64),
        ("bytes_received", c_uint64),
        ("packets_sent", c_uint64),
        ("packets_received", c_uint64),
        ("packets_lost", c_uint64),
        ("datagrams_sent", c_uint64),
        ("datagrams_received", c_uint64),
        ("handshake_ns", c_uint64),
        ("rtt_ns", c_uint64),
        ("rtt_min_ns", c_uint64),
        ("rtt_latest_ns", c_uint64),
        ("congestion_window", c_uint64),
        ("bytes_in_flight", c_uint64),
        ("mtu", c_uint64),
        ("migrations", c_uint64),
        ("key_updates", c_uint64),
    ]


class wb_path_desc(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("state", c_uint32),
        ("number", c_uint32),
        ("active", c_uint32),
        ("local", wb_addr),
        ("remote", wb_addr),
        ("rtt_ns", c_uint64),
        ("rtt_min_ns", c_uint64),
        ("congestion_window", c_uint64),
        ("bytes_in_flight", c_uint64),
        ("mtu", c_uint64),
        ("bytes_sent", c_uint64),
        ("bytes_received", c_uint64),
    ]


class wb_decision_desc(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("kind", c_uint32),
        ("conn", c_uint64),
        ("endpoint", c_uint64),
        ("local", wb_addr),
        ("remote", wb_addr),
        ("address_validated", c_uint32),
        ("retried", c_uint32),
        ("alert", c_uint32),
        ("scheme", c_uint32),
        ("count", c_uint32),
        ("server_name_len", c_uint32),
        ("server_name", c_char * 256),
    ]


class wb_stream_first(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("user", c_void_p),
        ("destroy", wb_destroy_fn),
        ("data", c_void_p),
        ("len", c_size_t),
        ("accepted", c_size_t),
    ]


class wb_stream_desc(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("uni", c_uint32),
        ("incoming", c_uint32),
        ("send_ended", c_uint32),
        ("recv_ended", c_uint32),
        ("http3", c_uint32),
        ("id", c_uint64),
        ("bytes_sent", c_uint64),
        ("bytes_received", c_uint64),
        ("conn", c_uint64),
        ("early", c_uint32),
        ("reserved", c_uint32),
    ]


class wb_field(Structure):
    _fields_ = [
        ("name", c_char_p),
        ("name_len", c_size_t),
        ("value", c_char_p),
        ("value_len", c_size_t),
    ]


class wb_h3_message(Structure):
    _fields_ = [
        ("stream", c_uint64),
        ("fields", c_char_p),
        ("fields_len", c_size_t),
        ("body", c_void_p),
        ("body_len", c_size_t),
        ("flags", c_uint32),
        ("status", c_int32),
        ("accepted", c_size_t),
    ]


class wb_batch(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("stride", c_uint32),
        ("count", c_size_t),
        ("events", c_void_p),
        ("token", c_uint64),
    ]


class wb_packet(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("ecn", c_uint32),
        ("local", wb_addr),
        ("remote", wb_addr),
        ("segment", c_uint64),
        ("data", c_void_p),
        ("len", c_size_t),
    ]


class wb_packet_desc(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("kind", c_uint32),
        ("version", c_uint32),
        ("long_header", c_uint32),
        ("fixed_bit", c_uint32),
        ("reserved", c_uint32),
        ("dcid", c_void_p),
        ("dcid_len", c_size_t),
        ("scid", c_void_p),
        ("scid_len", c_size_t),
        ("token", c_void_p),
        ("token_len", c_size_t),
        ("packet_len", c_size_t),
    ]


wb_event_fn = CFUNCTYPE(None, c_void_p, POINTER(wb_event))

#: name -> (result, arguments)
FUNCTIONS = {
    "wb_status_name": (c_char_p, [c_int32]),
    "wb_last_error": (c_int32, [POINTER(wb_error_info)]),
    "wb_abi_version": (c_uint32, []),
    "wb_version_text": (c_char_p, []),
    "wb_feature": (c_int32, [c_char_p]),
    "wb_event_name": (c_char_p, [c_uint16]),
    "wb_handle_release": (c_int32, [c_uint64]),
    "wb_handle_release_many": (c_int32, [POINTER(c_uint64), c_size_t]),
    "wb_handle_retain": (c_int32, [c_uint64]),
    "wb_handle_set_user": (c_int32, [c_uint64, c_void_p, wb_destroy_fn]),
    "wb_handle_info": (c_int32, [c_uint64, POINTER(wb_handle_desc)]),
    "wb_config_new": (c_int32, [c_uint32, POINTER(c_uint64)]),
    "wb_config_set_u64": (c_int32, [c_uint64, c_uint32, c_uint64]),
    "wb_config_set_bytes": (c_int32, [c_uint64, c_uint32, c_void_p, c_size_t]),
    "wb_config_parse": (c_int32, [c_uint64, c_char_p, c_size_t]),
    "wb_config_on": (c_int32, [c_uint64, c_uint32, wb_event_fn, c_void_p, wb_destroy_fn]),
    "wb_config_check": (c_int32, [c_uint64]),
    "wb_tls_new": (c_int32, [c_uint32, POINTER(c_uint64)]),
    "wb_tls_identity_pem": (c_int32, [c_uint64, c_void_p, c_size_t, c_void_p, c_size_t]),
    "wb_tls_identity_files": (c_int32, [c_uint64, c_char_p, c_char_p]),
    "wb_tls_trust_add": (c_int32, [c_uint64, c_void_p, c_size_t]),
    "wb_tls_trust_file": (c_int32, [c_uint64, c_char_p]),
    "wb_tls_verify_mode": (c_int32, [c_uint64, c_uint32]),
    "wb_tls_alpn": (c_int32, [c_uint64, POINTER(wb_text), c_size_t]),
    "wb_tls_ciphers": (c_int32, [c_uint64, POINTER(c_uint16), c_size_t]),
    "wb_tls_early_data": (c_int32, [c_uint64, c_uint8]),
    "wb_tls_keylog": (c_int32, [c_uint64, wb_line_fn, c_void_p, wb_destroy_fn]),
    "wb_tls_keylog_file": (c_int32, [c_uint64, c_char_p]),
    "wb_tls_identity_add": (c_int32, [c_uint64, c_void_p, c_size_t, c_void_p, c_size_t, POINTER(c_uint32)]),
    "wb_tls_identity_replace": (c_int32, [c_uint64, c_uint32, c_void_p, c_size_t, c_void_p, c_size_t]),
    "wb_tls_decisions": (c_int32, [c_uint64, c_uint32]),
    "wb_tls_ticket_keys": (c_int32, [c_uint64, c_void_p, c_size_t]),
    "wb_endpoint_secrets": (c_int32, [c_uint64, c_void_p, c_size_t]),
    "wb_runtime_open": (c_int32, [c_uint64, POINTER(c_uint64)]),
    "wb_runtime_close": (c_int32, [c_uint64, c_uint32]),
    "wb_runtime_wait": (c_int32, [c_uint64, c_int64]),
    "wb_runtime_mute": (c_int32, [c_uint64, c_int64]),
    "wb_endpoint_open": (c_int32, [c_uint64, c_uint64, POINTER(c_uint64)]),
    "wb_endpoint_bind": (c_int32, [c_uint64, c_void_p, c_uint32]),
    "wb_endpoint_adopt": (c_int32, [c_uint64, c_ssize_t]),
    "wb_endpoint_export": (c_int32, [c_uint64, POINTER(c_ssize_t), c_size_t, POINTER(c_size_t)]),
    "wb_endpoint_listen": (c_int32, [c_uint64, c_uint64, c_uint64]),
    "wb_endpoint_pause": (c_int32, [c_uint64, c_uint8]),
    "wb_endpoint_limits": (c_int32, [c_uint64, POINTER(wb_limits)]),
    "wb_endpoint_address": (c_int32, [c_uint64, POINTER(wb_addr)]),
    "wb_endpoint_rebind": (c_int32, [c_uint64, c_void_p, c_uint32]),
    "wb_endpoint_close": (c_int32, [c_uint64, c_uint32]),
    "wb_client_connect": (c_int32, [c_uint64, c_uint64, c_uint64, c_char_p, c_size_t, c_uint16, POINTER(c_uint64)]),
    "wb_server_listen": (c_int32, [c_uint64, c_uint64, c_uint64, c_char_p, c_size_t, c_uint16, POINTER(c_uint64)]),
    "wb_addr_text": (c_int32, [POINTER(wb_addr), c_char_p, c_size_t, POINTER(c_size_t)]),
    "wb_conn_open": (c_int32, [c_uint64, c_uint64, c_uint64, POINTER(c_uint64)]),
    "wb_conn_start": (c_int32, [c_uint64, c_char_p, c_size_t, c_uint16]),
    "wb_conn_start_address": (c_int32, [c_uint64, c_void_p, c_uint32, c_char_p, c_size_t]),
    "wb_conn_start_addresses": (c_int32, [c_uint64, POINTER(wb_addr), c_size_t, c_char_p, c_size_t]),
    "wb_conn_close": (c_int32, [c_uint64, c_uint64, c_char_p, c_size_t]),
    "wb_conn_info": (c_int32, [c_uint64, POINTER(wb_conn_desc)]),
    "wb_conn_stats": (c_int32, [c_uint64, POINTER(wb_conn_counters)]),
    "wb_conn_error": (c_int32, [c_uint64, POINTER(wb_error_info)]),
    "wb_conn_peer_chain": (c_int32, [c_uint64, POINTER(c_uint64), c_size_t, POINTER(c_size_t)]),
    "wb_conn_key_update": (c_int32, [c_uint64]),
    "wb_conn_set_u64": (c_int32, [c_uint64, c_uint32, c_uint64]),
    "wb_conn_datagram_send": (c_int32, [c_uint64, c_void_p, c_size_t, c_uint64]),
    "wb_conn_export": (c_int32, [c_uint64, c_char_p, c_size_t, c_void_p, c_size_t, c_void_p, c_size_t]),
    "wb_conn_migrate": (c_int32, [c_uint64, c_void_p, c_uint32]),
    "wb_path_list": (c_int32, [c_uint64, POINTER(c_uint64), c_size_t, POINTER(c_size_t)]),
    "wb_path_info": (c_int32, [c_uint64, POINTER(wb_path_desc)]),
    "wb_decision_info": (c_int32, [c_uint64, POINTER(wb_decision_desc)]),
    "wb_decision_data": (c_int32, [c_uint64, c_uint32, c_size_t, POINTER(c_uint64)]),
    "wb_decision_accept": (c_int32, [c_uint64]),
    "wb_decision_refuse": (c_int32, [c_uint64, c_uint32]),
    "wb_decision_identity": (c_int32, [c_uint64, c_uint64]),
    "wb_decision_sign": (c_int32, [c_uint64, c_void_p, c_size_t]),
    "wb_stream_open": (c_int32, [c_uint64, c_uint32, POINTER(c_uint64)]),
    "wb_stream_begin": (c_int32, [c_uint64, c_uint32, POINTER(wb_stream_first), POINTER(c_uint64)]),
    "wb_stream_send": (c_int32, [c_uint64, POINTER(c_uint64), c_size_t, c_uint32, POINTER(c_size_t)]),
    "wb_stream_send_copy": (c_int32, [c_uint64, c_void_p, c_size_t, c_uint32, POINTER(c_size_t)]),
    "wb_stream_recv": (c_int32, [c_uint64, POINTER(c_uint64), c_size_t, POINTER(c_size_t), POINTER(c_uint8)]),
    "wb_stream_recv_copy": (c_int32, [c_uint64, c_void_p, c_size_t, POINTER(c_size_t), POINTER(c_uint8)]),
    "wb_stream_consume": (c_int32, [c_uint64, c_uint64]),
    "wb_stream_reset": (c_int32, [c_uint64, c_uint64]),
    "wb_stream_reset_at": (c_int32, [c_uint64, c_uint64, c_uint64]),
    "wb_stream_stop": (c_int32, [c_uint64, c_uint64]),
    "wb_stream_priority": (c_int32, [c_uint64, c_uint32, c_uint8]),
    "wb_stream_info": (c_int32, [c_uint64, POINTER(wb_stream_desc)]),
    "wb_h3_request": (c_int32, [c_uint64, POINTER(wb_field), c_size_t, c_uint32, POINTER(c_uint64)]),
    "wb_h3_headers": (c_int32, [c_uint64, POINTER(wb_field), c_size_t, c_uint32]),
    "wb_h3_fields": (c_int32, [c_uint64, c_uint32, POINTER(wb_field), c_size_t, POINTER(c_size_t)]),
    "wb_h3_field": (c_int32, [c_uint64, c_uint32, c_char_p, c_size_t, POINTER(c_char_p), POINTER(c_size_t)]),
    "wb_h3_goaway": (c_int32, [c_uint64]),
    "wb_h3_submit": (c_int32, [c_uint64, POINTER(wb_h3_message), c_size_t, c_size_t]),
    "wb_buf_alloc": (c_int32, [c_size_t, POINTER(c_void_p), POINTER(c_uint64)]),
    "wb_buf_wrap": (c_int32, [c_void_p, c_size_t, wb_release_fn, c_void_p, POINTER(c_uint64)]),
    "wb_buf_slice": (c_int32, [c_uint64, c_size_t, c_size_t, POINTER(c_uint64)]),
    "wb_buf_view": (c_int32, [c_uint64, POINTER(c_void_p), POINTER(c_size_t)]),
    "wb_buf_revoke": (c_int32, [c_uint64, c_uint32]),
    "wb_queue_open": (c_int32, [c_uint64, POINTER(c_uint64)]),
    "wb_queue_attach": (c_int32, [c_uint64, c_uint64]),
    "wb_queue_fd": (c_int32, [c_uint64, POINTER(c_ssize_t)]),
    "wb_queue_take": (c_int32, [c_uint64, POINTER(wb_batch), c_size_t, c_int64]),
    "wb_queue_return": (c_int32, [c_uint64, POINTER(wb_batch)]),
    "wb_queue_wake": (c_int32, [c_uint64]),
    "wb_core_open": (c_int32, [c_uint64, c_void_p, c_size_t, c_int64, POINTER(c_uint64)]),
    "wb_core_recv": (c_int32, [c_uint64, POINTER(wb_packet), c_int64]),
    "wb_core_transmit": (c_int32, [c_uint64, POINTER(wb_packet), c_uint32, c_int64]),
    "wb_core_deadline": (c_int32, [c_uint64, POINTER(c_int64)]),
    "wb_counters": (c_int32, [c_uint64, c_uint32, POINTER(c_uint64), c_size_t]),
    "wb_packet_peek": (c_int32, [c_void_p, c_size_t, c_size_t, POINTER(wb_packet_desc)]),
    "wb_qlog": (c_int32, [c_uint64, wb_sink_fn, c_void_p, wb_destroy_fn]),
    "wb_log_set": (c_int32, [c_uint32, wb_log_fn, c_void_p, wb_destroy_fn]),
}
