/* What handle look-ups cost: a client and a server in one process, callbacks on workers, through the C ABI.
 *
 *   lookups CERTS bulk BYTES       one stream, lent blocks sent, received as buffers
 *   lookups CERTS pingpong ROUNDS  one byte to and fro on one stream
 *
 * benches/lookups.py runs it under a profiler and tells the share of the look-ups. */
#include "whimbrel.h"
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK (256u << 10)
#define WINDOW (16u << 20)

static unsigned char block[BLOCK];
static uint64_t left_to_send, left_to_receive, rounds;
static int bulk;
static wb_buf lent;
static wb_queue wake;
static atomic_int connected, finished;

static void must(wb_status s, const char *what) {
    wb_error_info e = WB_INIT(wb_error_info);
    if (s >= 0) return;
    wb_last_error(&e);
    fprintf(stderr, "lookups: %s: %s (%s)\n", what, wb_status_name(s), e.text);
    exit(1);
}

static void finish(void) {
    atomic_store(&finished, 1);
    wb_queue_wake(wake);
}

static void give(wb_stream s) {
    while (left_to_send > 0) {
        size_t taken = 0;
        wb_status st = wb_stream_send(s, &lent, 1, 0, &taken);
        left_to_send -= taken < left_to_send ? taken : left_to_send;
        if (st != WB_OK) return;
    }
}

static void get(wb_stream s) {
    wb_buf bufs[16];
    size_t count = 0;
    uint8_t fin;
    while (wb_stream_recv(s, bufs, 16, &count, &fin) == WB_OK && count > 0) {
        for (size_t i = 0; i < count; i++) {
            const void *data;
            size_t len;
            must(wb_buf_view(bufs[i], &data, &len), "view");
            left_to_receive -= len < left_to_receive ? len : left_to_receive;
        }
        must(wb_handle_release_many(bufs, count), "release");
    }
    if (left_to_receive == 0) finish();
}

/* Answers a byte with a byte. */
static void echo(wb_stream s, int counts) {
    unsigned char byte;
    size_t n = 0;
    uint8_t fin;
    while (wb_stream_recv_copy(s, &byte, 1, &n, &fin) == WB_OK && n == 1) {
        if (counts && --rounds == 0) {
            finish();
            return;
        }
        must(wb_stream_send_copy(s, &byte, 1, 0, &n), "send");
    }
}

static void on_server(void *ctx, const wb_event *e) {
    (void)ctx;
    if (e->kind == WB_EV_STREAM_READABLE && !bulk) echo(e->stream, 0);
    if (e->kind == WB_EV_STREAM_WRITABLE || (e->kind == WB_EV_STREAM_INCOMING && bulk)) give(e->stream);
}

static void on_client(void *ctx, const wb_event *e) {
    (void)ctx;
    if (e->kind == WB_EV_CONNECTED) {
        atomic_store(&connected, 1);
        wb_queue_wake(wake);
    } else if (e->kind == WB_EV_STREAM_READABLE) {
        if (bulk)
            get(e->stream);
        else
            echo(e->stream, 1);
    }
}

static wb_config config(void (*on)(void *, const wb_event *)) {
    wb_config c;
    must(wb_config_new(WB_CONFIG_CONN, &c), "config");
    must(wb_config_set_u64(c, WB_KEY_HTTP3, 0), "raw streams");
    must(wb_config_set_u64(c, WB_KEY_STREAM_WINDOW, WINDOW), "stream window");
    must(wb_config_set_u64(c, WB_KEY_CONN_WINDOW, WINDOW), "connection window");
    must(wb_config_on(c, WB_GROUP_ALL, on, NULL, NULL), "callback");
    return c;
}

static wb_tls tls(uint32_t role, const char *certs) {
    char a[512], b[512];
    wb_text alpn = {"lookups", 7};
    wb_tls t;
    must(wb_tls_new(role, &t), "tls");
    must(wb_tls_alpn(t, &alpn, 1), "alpn");
    snprintf(a, sizeof a, "%s/%s", certs, role == WB_ROLE_SERVER ? "cert.pem" : "ca.pem");
    snprintf(b, sizeof b, "%s/key.pem", certs);
    must(role == WB_ROLE_SERVER ? wb_tls_identity_files(t, a, b) : wb_tls_trust_file(t, a), "certificates");
    return t;
}

static wb_runtime one_worker(void) {
    wb_config c;
    wb_runtime r;
    must(wb_config_new(WB_CONFIG_RUNTIME, &c), "config");
    must(wb_config_set_u64(c, WB_KEY_WORKERS, 1), "workers");
    must(wb_runtime_open(c, &r), "runtime");
    return r;
}

static void wait_for(atomic_int *what) {
    while (!atomic_load(what)) {
        wb_batch batch = WB_INIT(wb_batch);
        if (wb_queue_take(wake, &batch, 16, 100000000) == WB_OK) wb_queue_return(wake, &batch);
    }
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: lookups CERTS bulk BYTES | pingpong ROUNDS\n");
        return 2;
    }
    bulk = strcmp(argv[2], "bulk") == 0;
    left_to_send = left_to_receive = rounds = strtoull(argv[3], NULL, 10);
    wb_runtime server = one_worker(), client = one_worker();
    wb_endpoint endpoint;
    wb_addr at;
    wb_conn conn;
    wb_stream stream;
    size_t taken;
    must(wb_queue_open(client, &wake), "queue");
    must(wb_buf_wrap(block, sizeof block, NULL, NULL, &lent), "wrap");
    must(wb_server_listen(server, config(on_server), tls(WB_ROLE_SERVER, argv[1]), "127.0.0.1", WB_TEXT_Z, 0, &endpoint), "listen");
    must(wb_endpoint_address(endpoint, &at), "address");
    must(wb_client_connect(client, config(on_client), tls(WB_ROLE_CLIENT, argv[1]), "localhost", WB_TEXT_Z, at.port, &conn), "connect");
    wait_for(&connected);
    must(wb_stream_open(conn, WB_STREAM_BIDI, &stream), "open");
    must(wb_stream_send_copy(stream, "x", 1, 0, &taken), "first byte");
    wait_for(&finished);
    must(wb_runtime_close(client, WB_CLOSE_NOW), "close");
    must(wb_runtime_close(server, WB_CLOSE_NOW), "close");
    must(wb_runtime_wait(client, -1), "wait");
    must(wb_runtime_wait(server, -1), "wait");
    return 0;
}
