/* A server that echoes in callbacks, a client that drives a queue with poll: every byte comes back, every object has
 * exactly one CLOSED event as its last, user data are destroyed after it, keys and datagrams are reported. */
#include "check.h"
#include <poll.h>

#define SIZE ((size_t)3 << 20)

static atomic_int server_conns, server_streams, server_closed_streams, server_closed_conns, keys, destroyed, endpoints_closed;
static atomic_int late; /* events after a CLOSED one */

struct peer {
    atomic_int closed;
};

static void peer_destroy(void *ctx) {
    struct peer *peer = ctx;
    if (!atomic_load(&peer->closed)) atomic_fetch_add(&late, 1000);
    free(peer);
    atomic_fetch_add(&destroyed, 1);
}

/* What a stream has received and could not send back yet. */
struct echo {
    wb_buf buffer[8];
    size_t count, at;
    uint8_t fin, fin_sent, closed;
};

static void echo_destroy(void *ctx) {
    struct echo *echo = ctx;
    if (!echo->closed) atomic_fetch_add(&late, 1000);
    for (; echo->at < echo->count; echo->at++) wb_handle_release(echo->buffer[echo->at]);
    free(echo);
    atomic_fetch_add(&destroyed, 1);
}

static void pump(wb_stream stream, struct echo *echo) {
    while (!echo->fin_sent) {
        while (echo->at < echo->count) {
            const void *data;
            size_t len, accepted = 0;
            OK(wb_buf_view(echo->buffer[echo->at], &data, &len));
            wb_status s = wb_stream_send(stream, &echo->buffer[echo->at], 1, 0, &accepted);
            if (s == WB_E_WOULD_BLOCK) return;
            CHECK(s == WB_OK || s == WB_PARTIAL);
            if (accepted < len) {
                wb_buf rest;
                OK(wb_buf_slice(echo->buffer[echo->at], accepted, len - accepted, &rest));
                OK(wb_handle_release(echo->buffer[echo->at]));
                echo->buffer[echo->at] = rest;
                continue;
            }
            OK(wb_handle_release(echo->buffer[echo->at++]));
        }
        if (echo->fin) {
            OK(wb_stream_send(stream, NULL, 0, WB_FIN, NULL));
            echo->fin_sent = 1;
            return;
        }
        echo->at = echo->count = 0;
        wb_status s = wb_stream_recv(stream, echo->buffer, 8, &echo->count, &echo->fin);
        if (s == WB_E_WOULD_BLOCK) return;
        OK(s);
    }
}

static void on_server(void *ctx, const wb_event *ev) {
    CHECK(ctx == &server_conns);
    struct peer *peer = ev->user_conn;
    struct echo *echo = ev->user_stream;
    if (peer != NULL && atomic_load(&peer->closed)) atomic_fetch_add(&late, 1);
    if (echo != NULL && echo->closed) atomic_fetch_add(&late, 1);
    switch (ev->kind) {
    case WB_EV_CONN_INCOMING:
        peer = calloc(1, sizeof *peer);
        OK(wb_handle_set_user(ev->conn, peer, peer_destroy));
        atomic_fetch_add(&server_conns, 1);
        break;
    case WB_EV_KEYS_INSTALLED:
        CHECK(ev->a <= WB_LEVEL_ONE_RTT && ev->b >= 0x1301 && ev->b <= 0x1303);
        CHECK(ev->flags == (WB_EVF_READ | WB_EVF_WRITE));
        atomic_fetch_or(&keys, 1 << ev->a);
        break;
    case WB_EV_STREAM_INCOMING:
        echo = calloc(1, sizeof *echo);
        OK(wb_handle_set_user(ev->stream, echo, echo_destroy));
        atomic_fetch_add(&server_streams, 1);
        break;
    case WB_EV_STREAM_READABLE:
    case WB_EV_STREAM_WRITABLE:
        pump(ev->stream, echo);
        break;
    case WB_EV_DATAGRAM:
        OK(wb_conn_datagram_send(ev->conn, ev->data, ev->data_len, 0));
        break;
    case WB_EV_STREAM_CLOSED:
        echo->closed = 1;
        atomic_fetch_add(&server_closed_streams, 1);
        break;
    case WB_EV_CONN_CLOSED:
        atomic_store(&peer->closed, 1);
        atomic_fetch_add(&server_closed_conns, 1);
        break;
    case WB_EV_ENDPOINT_CLOSED:
        atomic_fetch_add(&endpoints_closed, 1);
        break;
    }
}

static unsigned char pattern(size_t i) { return (unsigned char)(i * 2654435761u >> 13); }

static atomic_int releases;
static void released(void *ctx) {
    CHECK(ctx == &releases);
    atomic_fetch_add(&releases, 1);
}

/* The next event, waited for with poll on the queue's descriptor. */
static int next(wb_queue queue, wb_batch *batch) {
    intptr_t fd;
    OK(wb_queue_fd(queue, &fd));
    for (int round = 0; round < 100; round++) {
        struct pollfd p = {(int)fd, POLLIN, 0};
        CHECK(poll(&p, 1, 10000) == 1);
        wb_status s = wb_queue_take(queue, batch, 3, 0);
        if (s == WB_OK) return 1;
        CHECK(s == WB_E_WOULD_BLOCK);
    }
    return 0;
}

struct client {
    wb_conn conn;
    wb_stream stream;
    wb_buf lent;
    unsigned char *memory;
    size_t sent, received;
    int fin_sent, fin, send_done, stream_closed, conn_closed, confirmed, datagram, update_asked, key_updated, fate;
};

static void client_send(struct client *c) {
    while (c->sent < SIZE) {
        wb_buf part;
        size_t accepted = 0, want = SIZE - c->sent;
        OK(wb_buf_slice(c->lent, c->sent, want, &part));
        wb_status s = wb_stream_send(c->stream, &part, 1, WB_FIN, &accepted);
        OK(wb_handle_release(part));
        if (s == WB_E_WOULD_BLOCK) return;
        CHECK(s == WB_OK || s == WB_PARTIAL);
        CHECK((s == WB_OK) == (accepted == want));
        c->sent += accepted;
        c->fin_sent = s == WB_OK;
    }
}

static void client_receive(struct client *c) {
    static unsigned char room[10007];
    for (;;) {
        size_t got = 0;
        uint8_t fin = 0;
        wb_status s = wb_stream_recv_copy(c->stream, room, sizeof room, &got, &fin);
        if (s == WB_E_WOULD_BLOCK || s == WB_E_FINISHED) return;
        OK(s);
        for (size_t i = 0; i < got; i++) CHECK(room[i] == pattern(c->received + i));
        c->received += got;
        c->fin |= fin;
    }
}

static void on_client(struct client *c, const wb_event *ev) {
    CHECK(!c->conn_closed);
    CHECK(ev->stream == 0 || !c->stream_closed);
    if (ev->stream != 0) CHECK(ev->user_stream == c);
    switch (ev->kind) {
    case WB_EV_CONNECTED: {
        wb_conn_desc d = WB_INIT(wb_conn_desc);
        CHECK(ev->data_len == 4 && memcmp(ev->data, "echo", 4) == 0);
        OK(wb_conn_info(c->conn, &d));
        CHECK(d.state == WB_CONN_ESTABLISHED && d.version == 1 && d.http3 == 0 && strcmp(d.alpn, "echo") == 0);
        CHECK(d.remote.family == 4 && d.local.family == 4 && d.local.port != 0);
        OK(wb_stream_open(c->conn, WB_STREAM_BIDI, &c->stream));
        OK(wb_handle_set_user(c->stream, c, NULL));
        client_send(c);
        OK(wb_conn_datagram_send(c->conn, "ping", 4, 7));
        break;
    }
    case WB_EV_CONFIRMED: c->confirmed = 1; break;
    case WB_EV_KEY_UPDATED: c->key_updated++; break;
    case WB_EV_DATAGRAM: c->datagram += ev->data_len == 4 && memcmp(ev->data, "ping", 4) == 0; break;
    case WB_EV_DATAGRAM_STATE: /* sent, then acknowledged */
        CHECK(ev->a == 7 && ev->b == (uint64_t)(c->fate == 0 ? WB_DATAGRAM_SENT : WB_DATAGRAM_ACKED));
        c->fate++;
        break;
    case WB_EV_STREAM_WRITABLE: client_send(c); break;
    case WB_EV_STREAM_READABLE: client_receive(c); break;
    case WB_EV_STREAM_SEND_DONE: c->send_done++; break;
    case WB_EV_STREAM_CLOSED: c->stream_closed++; break;
    case WB_EV_CONN_CLOSED: c->conn_closed++; break;
    }
    /* Starts once the peer has acknowledged something under the present keys. */
    if (c->confirmed && !c->update_asked && !c->conn_closed) {
        OK(wb_conn_key_update(c->conn));
        c->update_asked = 1;
    }
}

int main(int argc, char **argv) {
    CHECK(argc == 2 && wb_check_abi());
    wb_runtime server, runtime;
    wb_config sc, cc, rc;
    wb_endpoint endpoint;
    wb_queue queue;
    wb_addr address;
    struct client c = {0};

    OK(wb_config_new(WB_CONFIG_RUNTIME, &rc));
    OK(wb_config_parse(rc, " runtime.workers = 2 ", WB_TEXT_Z));
    OK(wb_runtime_open(rc, &server));
    OK(wb_config_new(WB_CONFIG_CONN, &sc));
    OK(wb_config_set_u64(sc, WB_KEY_HTTP3, 0));
    OK(wb_config_on(sc, WB_GROUP_ALL, on_server, &server_conns, NULL));
    wb_tls st = tls_for(WB_ROLE_SERVER, argv[1]), ct = tls_for(WB_ROLE_CLIENT, argv[1]);
    OK(wb_server_listen(server, sc, st, "127.0.0.1", WB_TEXT_Z, 0, &endpoint));
    GIVES(wb_config_set_u64(sc, WB_KEY_HTTP3, 1), WB_E_FROZEN);
    OK(wb_endpoint_address(endpoint, &address));

    OK(wb_runtime_open(0, &runtime));
    OK(wb_queue_open(runtime, &queue));
    OK(wb_config_new(WB_CONFIG_CONN, &cc));
    OK(wb_config_set_u64(cc, WB_KEY_HTTP3, 0));
    c.memory = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++) c.memory[i] = pattern(i);
    OK(wb_buf_wrap(c.memory, SIZE, released, &releases, &c.lent));
    OK(wb_client_connect(runtime, cc, ct, "localhost", WB_TEXT_Z, address.port, &c.conn));

    wb_batch batch = WB_INIT(wb_batch);
    while (!c.stream_closed || !c.datagram || c.fate < 2 || !c.key_updated) {
        CHECK(next(queue, &batch));
        for (size_t i = 0; i < batch.count; i++) on_client(&c, wb_batch_event(&batch, i));
        OK(wb_queue_return(queue, &batch));
        GIVES(wb_queue_return(queue, &batch), WB_E_INVALID);
    }
    CHECK(c.received == SIZE && c.fin && c.send_done == 1 && c.stream_closed == 1);
    wb_stream_desc d = WB_INIT(wb_stream_desc);
    OK(wb_stream_info(c.stream, &d));
    CHECK(d.bytes_sent == SIZE && d.bytes_received == SIZE && d.send_ended && d.recv_ended && !d.incoming);
    GIVES(wb_stream_send_copy(c.stream, NULL, 0, WB_FIN, NULL), WB_E_FINISHED);
    OK(wb_handle_release(c.stream));
    GIVES(wb_stream_info(c.stream, &d), WB_E_STALE);

    /* Everything was acknowledged, so only our handle keeps the lent memory. */
    CHECK(atomic_load(&releases) == 0);
    OK(wb_handle_release(c.lent));
    EVENTUALLY(atomic_load(&releases) == 1);
    free(c.memory);

    unsigned char out[32] = {0};
    OK(wb_conn_export(c.conn, "EXPORTER-test", WB_TEXT_Z, NULL, 0, out, sizeof out));
    wb_buf chain[4];
    size_t n = 0;
    OK(wb_conn_peer_chain(c.conn, chain, 4, &n));
    CHECK(n == 1);
    OK(wb_conn_close(c.conn, 42, "bye", 3));
    while (!c.conn_closed) {
        CHECK(next(queue, &batch));
        for (size_t i = 0; i < batch.count; i++) on_client(&c, wb_batch_event(&batch, i));
        OK(wb_queue_return(queue, &batch));
    }
    wb_error_info why = WB_INIT(wb_error_info);
    OK(wb_conn_error(c.conn, &why));
    CHECK(why.status == WB_E_CLOSED_LOCAL && why.wire_code == 42 && why.application);
    GIVES(wb_stream_open(c.conn, WB_STREAM_BIDI, &c.stream), WB_E_CLOSED_LOCAL);

    EVENTUALLY(atomic_load(&server_closed_conns) == 1);
    end(runtime);
    end(server);
    CHECK(atomic_load(&server_conns) == 1 && atomic_load(&server_streams) == 1);
    CHECK(atomic_load(&server_closed_streams) == 1 && atomic_load(&server_closed_conns) == 1);
    CHECK(atomic_load(&destroyed) == 2 && atomic_load(&late) == 0);
    CHECK((atomic_load(&keys) & 12) == 12);

    /* A received buffer outlives connection, endpoint and runtime. */
    const void *der;
    size_t len;
    OK(wb_handle_release_many((wb_handle[]){c.conn, queue, runtime, server, endpoint, sc, cc, rc, st, ct}, 10));
    OK(wb_buf_view(chain[0], &der, &len));
    CHECK(len > 100 && ((const unsigned char *)der)[0] == 0x30);
    OK(wb_handle_release(chain[0]));
    puts("echo: ok");
    return 0;
}
