/* Logs that come in pieces: of an endpoint's later connections, of one connection from its start or from its middle, of one
 * that never ran, and of none any more after mute. Each ends once, nothing follows, and then the context is destroyed. */
#include "check.h"

#define LOGS 8

struct log {
    wb_conn conn;
    char *text;
    size_t len;
    unsigned ends;
};

struct sink {
    struct log logs[LOGS];
    atomic_uint count, ends, destroyed, calls;
};

static void piece(void *ctx, wb_conn conn, const void *data, size_t len, uint32_t end) {
    struct sink *s = ctx;
    CHECK(!atomic_load(&s->destroyed) && (data != NULL) == (len != 0) && (len || end));
    atomic_fetch_add(&s->calls, 1);
    unsigned i = 0, n = atomic_load(&s->count);
    while (i < n && s->logs[i].conn != conn) i++;
    CHECK(i < LOGS);
    struct log *log = &s->logs[i];
    if (i == n) log->conn = conn, atomic_store(&s->count, n + 1);
    CHECK(log->ends == 0);
    log->text = realloc(log->text, log->len + len + 1);
    CHECK(log->text);
    if (len) memcpy(log->text + log->len, data, len);
    /* Whole records. */
    if (len) CHECK(*(const char *)data == 0x1e && ((const char *)data)[len - 1] == '\n');
    log->len += len;
    log->text[log->len] = 0;
    if (end) log->ends++, atomic_fetch_add(&s->ends, 1);
}

static void destroyed(void *ctx) {
    atomic_fetch_add(&((struct sink *)ctx)->destroyed, 1);
}

static unsigned count(const char *text, const char *what) {
    unsigned n = 0;
    for (const char *at = text; (at = strstr(at, what)); at += strlen(what)) n++;
    return n;
}

static wb_runtime runtime;
static wb_queue queue;
static wb_config settings;
static wb_tls identity, trust;
static wb_endpoint server, client;
static wb_addr address;

/* A connection from start to end; `middle` gets its log from CONFIRMED on. */
static wb_conn talk(struct sink *whole, struct sink *middle) {
    wb_conn conn;
    OK(wb_conn_open(client, settings, trust, &conn));
    if (whole) {
        OK(wb_qlog(conn, piece, whole, destroyed));
        GIVES(wb_qlog(conn, piece, NULL, destroyed), WB_E_BUSY);
    }
    OK(wb_conn_start(conn, "127.0.0.1", WB_TEXT_Z, address.port));
    int ends = 0;
    while (ends < 2) {
        wb_batch batch = WB_INIT(wb_batch);
        OK(wb_queue_take(queue, &batch, 8, 10 * SECOND));
        for (size_t i = 0; i < batch.count; i++) {
            const wb_event *e = wb_batch_event(&batch, i);
            if (e->kind == WB_EV_CONFIRMED && e->conn == conn) {
                if (middle) OK(wb_qlog(conn, piece, middle, destroyed));
                wb_stream stream;
                size_t n;
                OK(wb_stream_open(conn, WB_STREAM_BIDI, &stream));
                OK(wb_stream_send_copy(stream, "text", 4, WB_FIN, &n));
                OK(wb_handle_release(stream));
            }
            if (e->kind == WB_EV_STREAM_INCOMING) OK(wb_conn_close(e->conn, 9, "heard", 5));
            if (e->kind == WB_EV_CONN_CLOSED) ends++;
        }
        OK(wb_queue_return(queue, &batch));
    }
    return conn;
}

static void over(struct sink *s, unsigned logs) {
    EVENTUALLY(atomic_load(&s->ends) == logs);
    EVENTUALLY(atomic_load(&s->destroyed) == 1);
    CHECK(atomic_load(&s->count) == logs);
    for (unsigned i = 0; i < logs; i++) {
        free(s->logs[i].text);
        CHECK(s->logs[i].ends == 1);
    }
}

static void full(const struct log *log, const char *side) {
    CHECK(count(log->text, "\"file_schema\"") == 1 && count(log->text, "\x1e") == count(log->text, "\n"));
    CHECK(count(log->text, side) == 1 && count(log->text, "connection_started") == 1);
    CHECK(count(log->text, "packet_sent") > 3 && count(log->text, "packet_received") > 3);
    CHECK(count(log->text, "connection_close") >= 1);
}

int main(int argc, char **argv) {
    CHECK(argc == 2 && wb_check_abi());
    static struct sink all, later, whole, middle, never, refused, silent;
    OK(wb_runtime_open(0, &runtime));
    OK(wb_queue_open(runtime, &queue));
    OK(wb_config_new(WB_CONFIG_CONN, &settings));
    OK(wb_config_set_u64(settings, WB_KEY_HTTP3, 0));
    identity = tls_for(WB_ROLE_SERVER, argv[1]), trust = tls_for(WB_ROLE_CLIENT, argv[1]);
    OK(wb_server_listen(runtime, settings, identity, "127.0.0.1", WB_TEXT_Z, 0, &server));
    OK(wb_endpoint_address(server, &address));
    OK(wb_endpoint_open(runtime, 0, &client));

    /* Before anybody asked, nothing is logged; then both sides, then another function, then none. */
    OK(wb_handle_release(talk(NULL, NULL)));
    OK(wb_qlog(server, piece, &all, destroyed));
    OK(wb_handle_release(talk(&whole, NULL)));
    EVENTUALLY(atomic_load(&whole.ends) == 1);
    full(&whole.logs[0], "\"type\":\"client\"");
    over(&whole, 1);
    EVENTUALLY(atomic_load(&all.ends) == 1);
    CHECK(atomic_load(&all.destroyed) == 0);
    OK(wb_handle_release(talk(NULL, &middle)));
    EVENTUALLY(atomic_load(&all.ends) == 2);
    EVENTUALLY(atomic_load(&middle.ends) == 1);
    OK(wb_qlog(server, piece, &later, destroyed));
    CHECK(atomic_load(&all.destroyed) == 1);
    OK(wb_handle_release(talk(NULL, NULL)));
    EVENTUALLY(atomic_load(&later.ends) == 1);
    OK(wb_qlog(server, NULL, NULL, NULL));
    CHECK(atomic_load(&later.destroyed) == 1);
    OK(wb_handle_release(talk(NULL, NULL)));
    CHECK(atomic_load(&later.count) == 1 && atomic_load(&all.count) == 2);

    /* In the middle: a head all the same, no beginning, and the end. */
    CHECK(count(middle.logs[0].text, "\"file_schema\"") == 1 && count(middle.logs[0].text, "connection_started") == 0);
    CHECK(count(middle.logs[0].text, "packet_sent") > 0);
    over(&middle, 1);

    /* A connection that never ran has an end; what was refused is the caller's. */
    wb_conn conn;
    OK(wb_conn_open(client, settings, trust, &conn));
    OK(wb_qlog(conn, piece, &never, destroyed));
    OK(wb_conn_close(conn, 0, NULL, 0));
    over(&never, 1);
    GIVES(wb_qlog(conn, piece, &refused, destroyed), WB_E_CLOSED_LOCAL);
    GIVES(wb_qlog(conn, NULL, &refused, destroyed), WB_E_INVALID);
    GIVES(wb_qlog(queue, piece, &refused, destroyed), WB_E_KIND);
    GIVES(wb_qlog(0, piece, &refused, destroyed), WB_E_HANDLE);
    OK(wb_handle_release(conn));

    /* Muted: nothing is called any more, the context ends all the same. */
    OK(wb_conn_open(client, settings, trust, &conn));
    OK(wb_qlog(conn, piece, &silent, destroyed));
    OK(wb_conn_start(conn, "127.0.0.1", WB_TEXT_Z, address.port));
    EVENTUALLY(atomic_load(&silent.calls) > 0);
    OK(wb_runtime_mute(runtime, 10 * SECOND));
    unsigned calls = atomic_load(&silent.calls);
    OK(wb_conn_close(conn, 0, NULL, 0));
    OK(wb_handle_release(conn));
    end(runtime);
    EVENTUALLY(atomic_load(&silent.destroyed) == 1);
    CHECK(atomic_load(&silent.calls) == calls && atomic_load(&silent.ends) == 0);
    CHECK(atomic_load(&refused.destroyed) == 0 && atomic_load(&refused.calls) == 0);

    for (unsigned i = 0; i < 2; i++) full(&all.logs[i], "\"type\":\"server\"");
    full(&later.logs[0], "\"type\":\"server\"");
    free(silent.logs[0].text);
    over(&all, 2);
    over(&later, 1);
    OK(wb_handle_release_many((wb_handle[]){client, server, queue, settings, identity, trust, runtime}, 7));
    puts("qlog: ok");
    return 0;
}
