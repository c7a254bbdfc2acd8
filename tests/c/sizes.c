/* Built against a header whose structs are shorter (an older release) or longer (a newer one) than the library's: every
 * output struct is filled as far as both sides know it, and not one byte further. A real connection runs meanwhile. */
#include "check.h"

#define ROOM 96

/* A struct with untouched ground behind it. */
#define GUARDED(type)                                                                                                  \
    struct {                                                                                                           \
        type value;                                                                                                    \
        unsigned char ground[ROOM];                                                                                    \
    }

#define PREPARE(g)                                                                                                     \
    do {                                                                                                               \
        memset(&(g), 0xa5, sizeof(g));                                                                                 \
        (g).value.struct_size = (uint32_t)sizeof((g).value);                                                           \
    } while (0)

static void untouched(const void *whole, size_t size, size_t from, const char *what) {
    for (size_t i = from; i < size; i++) {
        if (((const unsigned char *)whole)[i] == 0xa5) continue;
        fprintf(stderr, "%s: byte %zu was written\n", what, i);
        exit(1);
    }
}

/* What the library reports as filled is all that it touched. SIZE is its own size of the struct, see abi.json. */
#define FILLED(g, type, size)                                                                                          \
    do {                                                                                                               \
        size_t both_ = sizeof(type) < (size) ? sizeof(type) : (size);                                                  \
        CHECK((g).value.struct_size == both_);                                                                         \
        untouched(&(g), sizeof(g), both_, #type);                                                                      \
        asked++;                                                                                                       \
    } while (0)

static int asked;

int main(int argc, char **argv) {
    CHECK(argc == 2 && wb_check_abi());
    CHECK((sizeof(wb_conn_desc) < LIBRARY_wb_conn_desc) == OLDER);
    wb_runtime runtime;
    wb_config settings;
    wb_endpoint endpoint;
    wb_queue queue;
    wb_conn conn;
    wb_stream stream = 0, begun = 0;
    wb_path paths[4];
    wb_addr address;
    size_t n = 0;
    int closed = 0, connected = 0, incoming = 0;

    OK(wb_runtime_open(0, &runtime));
    OK(wb_queue_open(runtime, &queue));
    OK(wb_config_new(WB_CONFIG_CONN, &settings));
    OK(wb_config_set_u64(settings, WB_KEY_HTTP3, 0));
    wb_tls identity = tls_for(WB_ROLE_SERVER, argv[1]), trust = tls_for(WB_ROLE_CLIENT, argv[1]);
    OK(wb_server_listen(runtime, settings, identity, "127.0.0.1", WB_TEXT_Z, 0, &endpoint));
    OK(wb_endpoint_address(endpoint, &address));

    /* A struct that goes in: what only one side knows has no effect. */
    GUARDED(wb_limits) l;
    PREPARE(l);
    l.value.max_connections = l.value.max_handshakes = 9;
    OK(wb_endpoint_limits(endpoint, &l.value));

    OK(wb_client_connect(runtime, settings, trust, "localhost", WB_TEXT_Z, address.port, &conn));

    while (!closed) {
        wb_batch batch = WB_INIT(wb_batch);
        OK(wb_queue_take(queue, &batch, 8, 10 * SECOND));
        /* The distance of two events is the library's, not this program's. */
        CHECK(batch.stride == LIBRARY_wb_event);
        for (size_t i = 0; i < batch.count; i++) {
            const wb_event *ev = wb_batch_event(&batch, i);
            CHECK(ev->struct_size == LIBRARY_wb_event && *wb_event_name(ev->kind) != '?');
            incoming += ev->kind == WB_EV_CONN_INCOMING;
            if (ev->kind == WB_EV_CONNECTED && ev->conn == conn) {
                connected = 1;
                OK(wb_stream_open(conn, WB_STREAM_BIDI, &stream));

                /* One that goes in, and of which one field comes back. */
                GUARDED(wb_stream_first) f;
                PREPARE(f);
                f.value.flags = WB_FIN;
                f.value.user = NULL;
                f.value.destroy = NULL;
                f.value.data = "first";
                f.value.len = 5;
                OK(wb_stream_begin(conn, WB_STREAM_UNI, &f.value, &begun));
                CHECK(f.value.struct_size == sizeof f.value && f.value.accepted == 5);
                untouched(&f, sizeof f, LIBRARY_wb_stream_first, "wb_stream_first");

                GUARDED(wb_conn_desc) d;
                PREPARE(d);
                OK(wb_conn_info(conn, &d.value));
                FILLED(d, wb_conn_desc, LIBRARY_wb_conn_desc);
                CHECK(d.value.state == WB_CONN_ESTABLISHED && d.value.version == 1);

                GUARDED(wb_conn_counters) c;
                PREPARE(c);
                OK(wb_conn_stats(conn, &c.value));
                FILLED(c, wb_conn_counters, LIBRARY_wb_conn_counters);
                CHECK(c.value.packets_sent > 0);

                GUARDED(wb_stream_desc) s;
                PREPARE(s);
                OK(wb_stream_info(stream, &s.value));
                FILLED(s, wb_stream_desc, LIBRARY_wb_stream_desc);
                CHECK(s.value.id == 0 && !s.value.incoming);

                OK(wb_path_list(conn, paths, 4, &n));
                CHECK(n == 1);
                GUARDED(wb_path_desc) p;
                PREPARE(p);
                OK(wb_path_info(paths[0], &p.value));
                FILLED(p, wb_path_desc, LIBRARY_wb_path_desc);
                CHECK(p.value.active == 1);

                GUARDED(wb_handle_desc) h;
                PREPARE(h);
                OK(wb_handle_info(conn, &h.value));
                FILLED(h, wb_handle_desc, LIBRARY_wb_handle_desc);
                CHECK(h.value.kind == WB_KIND_CONN);
                OK(wb_conn_close(conn, 7, "enough", 6));
            }
            closed = closed || (ev->kind == WB_EV_CONN_CLOSED && ev->conn == conn);
        }
        OK(wb_queue_return(queue, &batch));
    }
    CHECK(connected && incoming == 1);

    GUARDED(wb_packet_desc) q;
    PREPARE(q);
    OK(wb_packet_peek("\x40in front.", 10, WB_CID_LEN, &q.value));
    FILLED(q, wb_packet_desc, LIBRARY_wb_packet_desc);
    CHECK(q.value.kind == WB_PACKET_SHORT && !memcmp(q.value.dcid, "in front", q.value.dcid_len));

    GUARDED(wb_error_info) e;
    PREPARE(e);
    OK(wb_conn_error(conn, &e.value));
    FILLED(e, wb_error_info, LIBRARY_wb_error_info);
    CHECK(e.value.status == WB_E_CLOSED_LOCAL);
    GIVES(wb_conn_start(conn, "localhost", WB_TEXT_Z, 1), WB_E_STATE);
    PREPARE(e);
    OK(wb_last_error(&e.value));
    FILLED(e, wb_error_info, LIBRARY_wb_error_info);
    CHECK(e.value.status == WB_E_STATE && asked == 8);
    end(runtime);
    OK(wb_handle_release_many((wb_handle[]){paths[0], stream, begun, conn, queue, endpoint, settings, identity, trust, runtime},
                              10));
    puts("sizes: ok");
    return 0;
}
