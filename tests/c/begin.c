/* wb_stream_begin: from its first event on a stream has its pointer, and what the call writes is written by then; a call that
 * fails takes nothing; what it could not take follows. The client by callbacks, then by a queue. */
#include "check.h"

enum { ROUNDS = 2000, AT_ONCE = 16, BIG = 48 << 20 };

static atomic_int ends, destroyed, settled, available, writable;
static atomic_ullong server_bytes;

/* ------------------------------------------------------------------ server: answers the end of a stream with its own */

static void on_server(void *ctx, const wb_event *ev) {
    static char room[65536];
    size_t got = 0;
    uint8_t fin = 0;
    (void)ctx;
    if (ev->kind != WB_EV_STREAM_READABLE) return;
    while (!fin && wb_stream_recv_copy(ev->stream, room, sizeof room, &got, &fin) == WB_OK)
        atomic_fetch_add(&server_bytes, got);
    if (!fin) return;
    wb_stream_desc d = WB_INIT(wb_stream_desc);
    OK(wb_stream_info(ev->stream, &d));
    if (!d.uni) OK(wb_stream_send_copy(ev->stream, NULL, 0, WB_FIN, NULL));
    atomic_fetch_add(&ends, 1);
}

/* ------------------------------------------------------------------ client: many small requests */

/* All that belongs to a stream, and where the call writes to. It goes with the stream, perhaps before the call returns. */
struct request {
    wb_stream stream;
    wb_stream_first first;
    char text[8];
};

static void destroy(void *user) {
    struct request *r = user;
    CHECK(r->stream != 0);
    memset(r, 0xa5, sizeof *r);
    free(r);
    atomic_fetch_add(&destroyed, 1);
}

static void on_client(void *ctx, const wb_event *ev) {
    struct request *r = ev->user_stream;
    char room[8];
    size_t got;
    uint8_t fin;
    (void)ctx;
    if (ev->kind == WB_EV_CONFIRMED) atomic_store(&settled, 1);
    if (ev->kind == WB_EV_STREAMS_AVAILABLE) atomic_store(&available, 1);
    if (ev->stream == 0) return;
    CHECK(r != NULL && r->stream == ev->stream && r->first.user == r);
    CHECK(r->first.accepted == r->first.len);
    if (ev->kind == WB_EV_STREAM_READABLE) {
        OK(wb_stream_recv_copy(r->stream, room, sizeof room, &got, &fin));
        CHECK(got == 0 && fin);
        OK(wb_handle_release(r->stream));
    }
}

/* Empties the queue, where there is one. */
static void pump(wb_queue queue, void (*handle)(void *, const wb_event *)) {
    wb_batch batch = WB_INIT(wb_batch);
    if (queue == 0) {
        pause_ms(1);
        return;
    }
    wb_status s = wb_queue_take(queue, &batch, 64, SECOND / 100);
    if (s == WB_E_TIMEOUT || s == WB_E_WOULD_BLOCK) return;
    OK(s);
    for (size_t i = 0; i < batch.count; i++) handle(NULL, wb_batch_event(&batch, i));
    OK(wb_queue_return(queue, &batch));
}

#define UNTIL(queue, handle, condition)                                                                                \
    do {                                                                                                               \
        int met_ = 0;                                                                                                  \
        for (int i_ = 0; i_ < 20000 && !(met_ = (condition)); i_++) pump(queue, handle);                               \
        CHECK(met_ && #condition);                                                                                     \
    } while (0)

static void many(wb_conn conn, wb_queue queue) {
    for (int i = 0; i < ROUNDS; i++) {
        struct request *r = calloc(1, sizeof *r);
        r->first = (wb_stream_first)WB_INIT(wb_stream_first);
        r->first.flags = WB_FIN;
        r->first.user = r;
        r->first.destroy = destroy;
        r->first.data = r->text;
        r->first.len = sizeof r->text;
        for (;;) {
            atomic_store(&available, 0);
            wb_status s = wb_stream_begin(conn, WB_STREAM_BIDI, &r->first, &r->stream);
            if (s != WB_E_WOULD_BLOCK) {
                OK(s);
                break;
            }
            /* Nothing came of it: all is ours still, and we hear when it may be tried again. */
            CHECK(r->stream == 0 && r->first.accepted == 0);
            UNTIL(queue, on_client, atomic_load(&available));
        }
    }
    UNTIL(queue, on_client, atomic_load(&destroyed) == ROUNDS && atomic_load(&ends) == ROUNDS);
    CHECK(atomic_load(&server_bytes) == ROUNDS * 8);
    atomic_store(&destroyed, 0);
    atomic_store(&ends, 0);
    atomic_store(&server_bytes, 0);
}

/* ------------------------------------------------------------------ errors, parts, kinds */

static void gone(void *user) {
    CHECK(user == &destroyed);
    atomic_fetch_add(&destroyed, 1);
}

static wb_stream_first firstly(const void *data, size_t len, uint32_t flags) {
    wb_stream_first first = WB_INIT(wb_stream_first);
    first.flags = flags;
    first.user = &destroyed;
    first.destroy = gone;
    first.data = data;
    first.len = len;
    first.accepted = 99;
    return first;
}

/* No stream, nothing written, and the pointer is not taken. */
static void refused(wb_conn conn, uint32_t kind, wb_stream_first first, wb_status wanted) {
    wb_stream stream = 77;
    GIVES(wb_stream_begin(conn, kind, &first, &stream), wanted);
    CHECK(stream == 77 && first.accepted == 99 && atomic_load(&destroyed) == 0);
}

static void errors(wb_conn conn) {
    wb_stream stream = 0;
    wb_stream_first first = firstly("x", 1, 0);
    GIVES(wb_stream_begin(conn, WB_STREAM_BIDI, NULL, &stream), WB_E_INVALID);
    GIVES(wb_stream_begin(conn, WB_STREAM_BIDI, &first, NULL), WB_E_INVALID);
    refused(0, WB_STREAM_BIDI, first, WB_E_HANDLE);
    refused(conn, 2, first, WB_E_INVALID);
    refused(conn, WB_STREAM_BIDI, firstly(NULL, 1, 0), WB_E_INVALID);
    refused(conn, WB_STREAM_BIDI, firstly("x", 1, 2), WB_E_INVALID);
    refused(conn, WB_STREAM_BIDI, firstly("x", SIZE_MAX, 0), WB_E_RANGE);
    for (uint32_t size = 0; size < sizeof first; size++) {
        first.struct_size = size;
        refused(conn, WB_STREAM_BIDI, first, WB_E_RANGE);
    }
}

static wb_stream begun(wb_conn conn, uint32_t kind, wb_stream_first first, wb_status wanted) {
    wb_handle_desc h = WB_INIT(wb_handle_desc);
    wb_stream_desc d = WB_INIT(wb_stream_desc);
    wb_stream stream = 0;
    GIVES(wb_stream_begin(conn, kind, &first, &stream), wanted);
    OK(wb_handle_info(stream, &h));
    CHECK(h.user == &destroyed && h.references == 1 && !h.closed);
    OK(wb_stream_info(stream, &d));
    CHECK(d.bytes_sent == first.accepted && d.uni == (kind == WB_STREAM_UNI) && !d.incoming);
    CHECK(d.send_ended == ((first.flags & WB_FIN) && wanted == WB_OK));
    CHECK((first.accepted == first.len) == (wanted == WB_OK));
    return stream;
}

static void on_parts(void *ctx, const wb_event *ev) {
    (void)ctx;
    CHECK(ev->stream == 0 || ev->user_stream == &destroyed);
    if (ev->kind == WB_EV_STREAM_WRITABLE) atomic_fetch_add(&writable, 1);
}

static void parts(wb_conn conn, wb_queue queue) {
    static char big[BIG];
    size_t sent, taken;
    wb_stream s[5];
    /* A pointer and nothing else; the rest as ever. */
    s[0] = begun(conn, WB_STREAM_BIDI, firstly(NULL, 0, 0), WB_OK);
    OK(wb_stream_send_copy(s[0], "later", 5, WB_FIN, &taken));
    /* The end and nothing else. */
    s[1] = begun(conn, WB_STREAM_UNI, firstly(NULL, 0, WB_FIN), WB_OK);
    GIVES(wb_stream_send_copy(s[1], "x", 1, 0, &taken), WB_E_FINISHED);
    s[2] = begun(conn, WB_STREAM_UNI, firstly("all", 3, WB_FIN), WB_OK);
    GIVES(wb_stream_send_copy(s[2], "x", 1, 0, &taken), WB_E_FINISHED);
    /* More than there is room for: the stream is there, and is writable again. */
    s[3] = begun(conn, WB_STREAM_BIDI, firstly(big, BIG, WB_FIN), WB_PARTIAL);
    wb_stream_desc d = WB_INIT(wb_stream_desc);
    OK(wb_stream_info(s[3], &d));
    for (sent = d.bytes_sent; sent < BIG; sent += taken) {
        UNTIL(queue, on_parts, atomic_exchange(&writable, 0) > 0);
        wb_status status = wb_stream_send_copy(s[3], big + sent, BIG - sent, WB_FIN, &taken);
        CHECK(status == WB_OK ? taken == BIG - sent : status == WB_PARTIAL);
    }
    UNTIL(queue, on_parts, atomic_load(&ends) == 4);
    CHECK(atomic_load(&server_bytes) == 5 + 0 + 3 + BIG);
    /* Each destructor once: after the stream's end, with its handle held or not. */
    OK(wb_handle_release_many(s, 2));
    UNTIL(queue, on_parts, atomic_load(&destroyed) >= 3);
    /* One that is given up, and one that ends with its connection. */
    OK(wb_handle_release(begun(conn, WB_STREAM_BIDI, firstly("x", 1, 0), WB_OK)));
    s[4] = begun(conn, WB_STREAM_BIDI, firstly("x", 1, 0), WB_OK);
    OK(wb_conn_close(conn, 0, NULL, 0));
    UNTIL(queue, on_parts, atomic_load(&destroyed) == 6);
    OK(wb_handle_release_many(s + 2, 3));
}

static void run(const char *folder, int queued) {
    wb_runtime server, client;
    wb_queue queue = 0;
    wb_config sc, cc;
    wb_endpoint endpoint, from;
    wb_addr address;
    wb_conn conn, other, idle;
    wb_tls st = tls_for(WB_ROLE_SERVER, folder), ct = tls_for(WB_ROLE_CLIENT, folder);
    wb_stream_first first = firstly("x", 1, 0);
    OK(wb_runtime_open(0, &server));
    OK(wb_config_new(WB_CONFIG_CONN, &sc));
    OK(wb_config_set_u64(sc, WB_KEY_HTTP3, 0));
    OK(wb_config_set_u64(sc, WB_KEY_MAX_STREAMS_BIDI, AT_ONCE));
    OK(wb_config_on(sc, WB_GROUP_ALL, on_server, NULL, NULL));
    OK(wb_server_listen(server, sc, st, "127.0.0.1", WB_TEXT_Z, 0, &endpoint));
    OK(wb_endpoint_address(endpoint, &address));
    OK(wb_runtime_open(0, &client));
    OK(wb_config_new(WB_CONFIG_CONN, &cc));
    OK(wb_config_set_u64(cc, WB_KEY_HTTP3, 0));
    if (queued)
        OK(wb_queue_open(client, &queue));
    else
        OK(wb_config_on(cc, WB_GROUP_ALL, on_client, NULL, NULL));
    OK(wb_endpoint_open(client, 0, &from));
    OK(wb_conn_open(from, cc, ct, &idle));
    refused(idle, WB_STREAM_BIDI, first, WB_E_STATE);
    OK(wb_client_connect(client, cc, ct, "127.0.0.1", WB_TEXT_Z, address.port, &conn));
    UNTIL(queue, on_client, atomic_exchange(&settled, 0));
    errors(conn);
    many(conn, queue);

    /* Another connection, whose events only count. */
    wb_config pc;
    OK(wb_config_new(WB_CONFIG_CONN, &pc));
    OK(wb_config_set_u64(pc, WB_KEY_HTTP3, 0));
    if (!queued) OK(wb_config_on(pc, WB_GROUP_ALL, on_parts, NULL, NULL));
    OK(wb_client_connect(client, pc, ct, "127.0.0.1", WB_TEXT_Z, address.port, &other));
    wb_conn_desc d = WB_INIT(wb_conn_desc);
    do {
        pump(queue, on_parts);
        OK(wb_conn_info(other, &d));
    } while (d.state != WB_CONN_ESTABLISHED);
    parts(other, queue);
    atomic_store(&ends, 0);
    atomic_store(&destroyed, 0);
    refused(other, WB_STREAM_BIDI, first, WB_E_CLOSED_LOCAL);

    OK(wb_handle_release_many((wb_handle[]){conn, other, idle, from}, 4));
    end(client);
    while (queue != 0 && wb_queue_take(queue, &(wb_batch)WB_INIT(wb_batch), 1, 0) == WB_OK) {}
    CHECK(atomic_load(&destroyed) == 0);
    end(server);
    OK(wb_handle_release_many((wb_handle[]){queue, server, client, endpoint, sc, cc, pc, st, ct}, 9));
    atomic_store(&server_bytes, 0);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    run(argv[1], 0);
    run(argv[1], 1);
    puts("begin: ok");
    return 0;
}
