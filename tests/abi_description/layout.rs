//! Size and field offsets of every struct of the ABI as Rust lays it out. Each list is complete or does not compile.
use serde_json::{Value, json};
use std::mem::offset_of;

pub struct Layout {
    pub size: usize,
    pub align: usize,
    /// Name, offset, size.
    pub fields: Vec<(&'static str, usize, usize)>,
}

macro_rules! layouts {
    ($($room:ident :: $type:ident { $($field:ident),+ $(,)? })+) => {
        /// The layout of a struct, by its C name.
        pub fn layout(name: &str) -> Option<Layout> {
            fn size<T, F>(_: fn(&T) -> &F) -> usize {
                size_of::<F>()
            }
            $({
                use whimbrel::ffi::$room::$type;
                fn complete(v: &$type) {
                    let $type { $($field: _),+ } = v;
                }
                let _ = complete;
                if name == stringify!($type) {
                    return Some(Layout {
                        size: size_of::<$type>(),
                        align: align_of::<$type>(),
                        fields: vec![$((
                            stringify!($field),
                            offset_of!($type, $field),
                            size(|v: &$type| &v.$field),
                        )),+],
                    });
                }
            })+
            None
        }
    };
}

layouts! {
    abi::wb_error_info { struct_size, status, origin, os_error, wire_code, frame_type, tls_alert, application, text_len, reserved, text }
    abi::wb_handle_desc { struct_size, kind, references, closed, user }
    abi::wb_event { struct_size, kind, flags, conn, stream, path, source, a, b, time_ns, user_conn, user_stream, data, data_len }
    abi::wb_text { data, len }
    abi::wb_addr { family, port, scope, ip }
    abi::wb_packet { struct_size, ecn, local, remote, segment, data, len }
    abi::wb_packet_desc { struct_size, kind, version, long_header, fixed_bit, reserved, dcid, dcid_len, scid, scid_len, token, token_len, packet_len }
    abi::wb_limits { struct_size, reserved, max_connections, max_handshakes, retry_handshakes }
    abi::wb_decision_desc { struct_size, kind, conn, endpoint, local, remote, address_validated, retried, alert, scheme, count, server_name_len, server_name }
    abi::wb_conn_desc { struct_size, state, side, version, cipher, resumed, early_data, http3, retried, reserved, max_datagram, local, remote, alpn_len, server_name_len, alpn, server_name }
    abi::wb_conn_counters { struct_size, reserved, bytes_sent, bytes_received, packets_sent, packets_received, packets_lost, datagrams_sent, datagrams_received, handshake_ns, rtt_ns, rtt_min_ns, rtt_latest_ns, congestion_window, bytes_in_flight, mtu, migrations, key_updates }
    abi::wb_path_desc { struct_size, state, number, active, local, remote, rtt_ns, rtt_min_ns, congestion_window, bytes_in_flight, mtu, bytes_sent, bytes_received }
    abi::wb_stream_desc { struct_size, uni, incoming, send_ended, recv_ended, http3, id, bytes_sent, bytes_received, conn, early, reserved }
    abi::wb_stream_first { struct_size, flags, user, destroy, data, len, accepted }
    abi::wb_field { name, name_len, value, value_len }
    abi::wb_h3_message { stream, fields, fields_len, body, body_len, flags, status, accepted }
    abi::wb_batch { struct_size, stride, count, events, token }
}

/// A struct of the header with its layout.
pub fn with_layout(name: &str, mut fields: Vec<Value>, doc: &str) -> Value {
    let known = layout(name).unwrap_or_else(|| panic!("add {name} to the list in tests/abi_description/layout.rs"));
    assert_eq!(known.fields.len(), fields.len(), "{name}: fields of the header and of Rust");
    for ((field, offset, size), declared) in known.fields.iter().zip(&mut fields) {
        assert_eq!(declared["name"], *field, "{name}: order of the fields");
        declared["offset"] = json!(offset);
        declared["size"] = json!(size);
    }
    json!({ "name": name, "size": known.size, "align": known.align, "fields": fields, "doc": doc })
}
