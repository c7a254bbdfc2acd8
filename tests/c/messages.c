/* Whole HTTP/3 messages: requests and responses sent with one call, received with one event; those that are too long for
 * that, or too long for the window, go on as any other; and what is wrong with one message is no other's trouble. */
#include "check.h"

#define LIMIT 1024
#define BIG 300000

static const char get[] = ":method\0GET\0:scheme\0https\0:authority\0localhost\0:path\0/";
static const char post[] = ":method\0POST\0:scheme\0https\0:authority\0localhost\0:path\0/echo";
static const char upper[] = ":method\0GET\0:scheme\0https\0:authority\0localhost\0:path\0/\0Upper\0x";
static const char ok[] = ":status\0" "200\0content-type\0text/plain";
static unsigned char bytes[BIG];
static atomic_int whole, parts;

/* The text without its terminator would be cut off: it counts. */
static wb_h3_message message(wb_stream stream, const char *fields, size_t len, size_t body, uint32_t flags) {
    wb_h3_message m;
    memset(&m, 0x5a, sizeof m);
    m.stream = stream;
    m.fields = fields;
    m.fields_len = len;
    m.body = bytes;
    m.body_len = body;
    m.flags = flags;
    return m;
}

/* ------------------------------------------------------------------ server: answers with as many bytes as it was sent */

static atomic_size_t counted; /* of the one answer that the window holds up */
static atomic_int given_up;   /* the client gives requests up, and its connections: what was asked may be over before its answer */

static void answer(wb_conn conn, wb_stream stream, size_t size) {
    wb_h3_message m = message(stream, ok, sizeof ok, size, WB_H3_DONE);
    wb_status s = wb_h3_submit(conn, &m, 1, sizeof m);
    if (s < 0 && atomic_load(&given_up)) return;
    CHECK(s == m.status && (s == WB_OK || s == WB_PARTIAL));
    CHECK(m.stream == stream && m.accepted <= size && (m.status == WB_PARTIAL) == (m.accepted < size));
    if (m.status == WB_PARTIAL) atomic_store(&counted, m.accepted);
}

static void on_server(void *ctx, const wb_event *ev) {
    static unsigned char room[4096];
    (void)ctx;
    switch (ev->kind) {
    case WB_EV_H3_MESSAGE: {
        CHECK(ev->a == 0 && ev->b <= ev->data_len && (ev->flags & WB_EVF_FIN) && ev->data_len - ev->b <= LIMIT);
        CHECK(ev->data[ev->b - 1] == 0 && memcmp(ev->data, ":method", 8) == 0);
        CHECK(memcmp(ev->data + ev->b, bytes, ev->data_len - ev->b) == 0);
        const char *path;
        size_t len;
        OK(wb_h3_field(ev->stream, WB_SECTION_HEADERS, ":path", WB_TEXT_Z, &path, &len));
        size_t got;
        uint8_t fin;
        GIVES(wb_stream_recv_copy(ev->stream, room, sizeof room, &got, &fin), WB_E_FINISHED);
        atomic_fetch_add(&whole, 1);
        answer(ev->conn, ev->stream, ev->data_len - ev->b);
        break;
    }
    case WB_EV_H3_HEADERS: atomic_fetch_add(&parts, 1); break;
    case WB_EV_STREAM_READABLE:
        for (;;) {
            size_t got = 0;
            uint8_t fin = 0;
            wb_status s = wb_stream_recv_copy(ev->stream, room, sizeof room, &got, &fin);
            if (s == WB_E_WOULD_BLOCK || s == WB_E_FINISHED) return;
            OK(s);
            if (!fin) continue;
            wb_stream_desc d = WB_INIT(wb_stream_desc);
            OK(wb_stream_info(ev->stream, &d));
            answer(ev->conn, ev->stream, d.bytes_received);
            return;
        }
    case WB_EV_STREAM_WRITABLE: {
        size_t at = atomic_load(&counted), accepted = 0;
        wb_status s = wb_stream_send_copy(ev->stream, bytes + at, BIG - at, WB_FIN, &accepted);
        if (s == WB_E_WOULD_BLOCK) return;
        CHECK(s == WB_OK || s == WB_PARTIAL);
        atomic_store(&counted, at + accepted);
        break;
    }
    }
}

/* ------------------------------------------------------------------ client */

struct result {
    int connected, messages, headers, done, closed, conn_closed;
    size_t body;
};

static void on_client(struct result *r, wb_stream stream, const wb_event *ev) {
    static unsigned char room[4096];
    switch (ev->kind) {
    case WB_EV_CONNECTED: r->connected = 1; return;
    case WB_EV_CONN_CLOSED: r->conn_closed = 1; return;
    }
    if (ev->stream != stream) return;
    switch (ev->kind) {
    case WB_EV_H3_MESSAGE:
        CHECK(ev->a == 200 && ev->b == sizeof ok && memcmp(ev->data, ok, sizeof ok) == 0);
        r->messages++;
        r->body = ev->data_len - ev->b;
        CHECK(memcmp(ev->data + ev->b, bytes, r->body) == 0);
        break;
    case WB_EV_H3_HEADERS: r->headers++; break;
    case WB_EV_STREAM_READABLE:
        for (;;) {
            size_t got = 0;
            uint8_t fin = 0;
            wb_status s = wb_stream_recv_copy(stream, room, sizeof room, &got, &fin);
            if (s == WB_E_WOULD_BLOCK || s == WB_E_FINISHED) return;
            OK(s);
            CHECK(memcmp(room, bytes + r->body, got) == 0);
            r->body += got;
        }
    case WB_EV_STREAM_SEND_DONE: r->done++; break;
    case WB_EV_STREAM_CLOSED: r->closed++; break;
    }
}

static void take(wb_queue queue, struct result *r, wb_stream stream) {
    wb_batch batch = WB_INIT(wb_batch);
    OK(wb_queue_take(queue, &batch, 64, 10 * SECOND));
    for (size_t i = 0; i < batch.count; i++) on_client(r, stream, wb_batch_event(&batch, i));
    OK(wb_queue_return(queue, &batch));
}

static struct result exchange(wb_queue queue, wb_conn conn, size_t body, uint32_t flags) {
    struct result r;
    memset(&r, 0, sizeof r);
    wb_h3_message m = body ? message(0, post, sizeof post, body, flags) : message(0, get, sizeof get, 0, flags);
    wb_status s = wb_h3_submit(conn, &m, 1, sizeof m);
    CHECK(s == m.status && (s == WB_OK || s == WB_PARTIAL) && m.stream != 0);
    size_t at = m.accepted;
    while (at < body) { /* the window opens as the server reads */
        size_t accepted = 0;
        s = wb_stream_send_copy(m.stream, bytes + at, body - at, WB_FIN, &accepted);
        if (s == WB_E_WOULD_BLOCK) {
            take(queue, &r, m.stream);
            continue;
        }
        CHECK(s == WB_OK || s == WB_PARTIAL);
        at += accepted;
    }
    wb_stream_desc d = WB_INIT(wb_stream_desc);
    if (flags == 0) {
        while (!r.closed) take(queue, &r, m.stream);
        OK(wb_handle_release(m.stream));
        return r;
    }
    while (!r.messages && !r.closed) take(queue, &r, m.stream);
    /* The end that is not told comes all the same. */
    EVENTUALLY((s = wb_stream_info(m.stream, &d)) == WB_E_STALE);
    return r;
}

static void count_end(void *user) { atomic_fetch_add((atomic_int *)user, 1); }

/* A message that waits in the queue has its stream's pointer, however long the transport has been done with the stream. */
static void late_look(wb_queue queue, wb_conn conn) {
    static atomic_int ended;
    wb_batch batch = WB_INIT(wb_batch);
    wb_h3_message m = message(0, get, sizeof get, 0, WB_H3_DONE);
    OK(wb_h3_submit(conn, &m, 1, sizeof m));
    OK(wb_handle_set_user(m.stream, &ended, count_end));
    pause_ms(30); /* time for the answer and the end of the stream; nothing is taken meanwhile */
    for (int seen = 0; !seen;) {
        OK(wb_queue_take(queue, &batch, 64, 10 * SECOND));
        for (size_t i = 0; i < batch.count; i++) {
            const wb_event *ev = wb_batch_event(&batch, i);
            if (ev->kind != WB_EV_H3_MESSAGE || ev->stream != m.stream) continue;
            const char *value;
            size_t len;
            seen = 1;
            CHECK(ev->user_stream == &ended && atomic_load(&ended) == 0);
            OK(wb_h3_field(ev->stream, WB_SECTION_HEADERS, ":status", WB_TEXT_Z, &value, &len));
        }
        OK(wb_queue_return(queue, &batch));
    }
    EVENTUALLY(atomic_load(&ended) == 1);
}

static void failures(wb_conn conn, wb_conn other) {
    wb_h3_message all[5] = {
        message(0, get, sizeof get, 0, 0), message(0, upper, sizeof upper, 0, 0), message(0, get, sizeof get, 0, 64),
        message(0, get, sizeof get - 1, 0, 0), message(0, get, sizeof get, 0, 0)};
    GIVES(wb_h3_submit(conn, all, 5, sizeof *all), WB_PARTIAL);
    CHECK(all[0].status == WB_OK && all[1].status == WB_E_H3 && all[2].status == WB_E_INVALID);
    CHECK(all[3].status == WB_E_INVALID && all[4].status == WB_OK && all[1].stream == 0 && all[1].accepted == 0);
    GIVES(wb_h3_submit(other, all, 1, sizeof *all), WB_E_INVALID); /* a stream of another connection */
    all[1] = message(all[0].stream ^ 0x5a5a, ok, sizeof ok, 0, 0);
    wb_status forged = wb_h3_submit(conn, &all[1], 1, sizeof *all);
    CHECK(forged == WB_E_HANDLE || forged == WB_E_STALE);
    all[1] = message(0, upper, sizeof upper, 0, 0);
    GIVES(wb_h3_submit(conn, &all[1], 1, sizeof *all), WB_E_H3);
    wb_error_info why = WB_INIT(wb_error_info);
    OK(wb_last_error(&why));
    CHECK(why.status == WB_E_H3 && strstr(why.text, "field name") != NULL);
    GIVES(wb_h3_submit(conn, all, 1, sizeof *all - 1), WB_E_RANGE);
    GIVES(wb_h3_submit(conn, all, 1025, sizeof *all), WB_E_RANGE);
    GIVES(wb_h3_submit(conn, NULL, 1, sizeof *all), WB_E_INVALID);
    OK(wb_h3_submit(conn, NULL, 0, sizeof *all));
    OK(wb_handle_release_many((wb_handle[]){all[0].stream, all[4].stream}, 2));
    /* Elements of a newer header are longer. */
    struct { wb_h3_message m; uint64_t more; } longer[2];
    memset(longer, 0, sizeof longer);
    longer[0].m = longer[1].m = message(0, get, sizeof get, 0, WB_H3_DONE);
    longer[0].more = longer[1].more = 77;
    OK(wb_h3_submit(conn, &longer[0].m, 2, sizeof *longer));
    CHECK(longer[1].m.status == WB_OK && longer[1].m.stream != 0 && longer[0].more == 77 && longer[1].more == 77);
}

static wb_tls tls_h3(uint32_t role, const char *folder) {
    wb_text h3 = {"h3", WB_TEXT_Z};
    wb_tls tls = tls_for(role, folder);
    OK(wb_tls_alpn(tls, &h3, 1));
    return tls;
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    wb_runtime runtime;
    wb_queue queue;
    wb_config sc, cc;
    wb_endpoint endpoint;
    wb_addr address;
    wb_conn conn, other;
    struct result r;
    memset(&r, 0, sizeof r);
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)(i * 31 + i / 251);
    OK(wb_runtime_open(0, &runtime));
    OK(wb_queue_open(runtime, &queue));
    OK(wb_config_new(WB_CONFIG_CONN, &sc));
    OK(wb_config_on(sc, WB_GROUP_ALL, on_server, NULL, NULL));
    OK(wb_config_set_u64(sc, WB_KEY_WHOLE_MESSAGES, LIMIT));
    OK(wb_config_set_u64(sc, WB_KEY_STREAM_WINDOW, 65536));
    OK(wb_config_new(WB_CONFIG_CONN, &cc));
    GIVES(wb_config_parse(cc, "http3.whole_messages=65537", WB_TEXT_Z), WB_E_RANGE);
    OK(wb_config_parse(cc, "http3.whole_messages=1024", WB_TEXT_Z));
    OK(wb_config_set_u64(cc, WB_KEY_STREAM_WINDOW, 65536));
    wb_tls st = tls_h3(WB_ROLE_SERVER, argv[1]), ct = tls_h3(WB_ROLE_CLIENT, argv[1]);
    OK(wb_server_listen(runtime, sc, st, "127.0.0.1", WB_TEXT_Z, 0, &endpoint));
    OK(wb_endpoint_address(endpoint, &address));
    OK(wb_client_connect(runtime, cc, ct, "127.0.0.1", WB_TEXT_Z, address.port, &conn));
    while (!r.connected) take(queue, &r, 0);
    r.connected = 0;
    OK(wb_client_connect(runtime, cc, ct, "127.0.0.1", WB_TEXT_Z, address.port, &other));
    while (!r.connected) take(queue, &r, 0);

    for (int n = 0; n < 20; n++) {
        r = exchange(queue, conn, 0, WB_H3_DONE);
        CHECK(r.messages == 1 && r.headers == 0 && r.done == 0 && r.closed == 0 && r.body == 0);
        r = exchange(queue, conn, 1, 0);
        CHECK(r.messages + r.headers == 1 && r.closed == 1 && r.body == 1);
        r = exchange(queue, conn, LIMIT, WB_H3_DONE); /* may come in two steps */
        CHECK(r.messages + r.headers == 1 && r.done == 0 && r.closed == r.headers && r.body == LIMIT);
        r = exchange(queue, conn, LIMIT + 1, WB_H3_DONE);
        CHECK(r.messages == 0 && r.headers == 1 && r.closed == 1 && r.body == LIMIT + 1);
    }
    CHECK(atomic_load(&whole) >= 20 && atomic_load(&parts) >= 20 && atomic_load(&whole) + atomic_load(&parts) == 80);
    r = exchange(queue, conn, BIG, WB_H3_DONE);
    CHECK(r.headers == 1 && r.closed == 1 && r.body == BIG);
    late_look(queue, conn);
    atomic_store(&given_up, 1);
    failures(conn, other);

    /* Requests without an answer end with their connection: with an event, because no message came. */
    OK(wb_conn_close(conn, 0, "done", 4));
    wb_h3_message late = message(0, get, sizeof get, 0, 0);
    GIVES(wb_h3_submit(conn, &late, 1, sizeof late), WB_E_CLOSED_LOCAL);
    end(runtime);
    OK(wb_handle_release_many((wb_handle[]){conn, other, queue, runtime, endpoint, sc, cc, st, ct}, 9));
    puts("messages: ok");
    return 0;
}
