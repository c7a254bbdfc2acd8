/* Settings of a connection that lives: keep-alive, silence, windows and streams; what cannot change says so. */
#include "check.h"

/* A server whose peer gets little, a client, one connection, and the events of both counted. */
struct pair {
    wb_runtime runtime;
    wb_endpoint endpoint, from;
    wb_conn conn;
    _Atomic(wb_conn) peer;
    _Atomic(wb_stream) incoming[8];
    atomic_int streams, connected, peer_connected, closed, peer_closed, available, got;
    atomic_int status, peer_status, peer_code;
};

static void on_client(void *ctx, const wb_event *ev) {
    struct pair *p = ctx;
    if (ev->kind == WB_EV_CONNECTED) atomic_store(&p->connected, 1);
    if (ev->kind == WB_EV_STREAMS_AVAILABLE) atomic_store(&p->available, 1);
    if (ev->kind == WB_EV_CONN_CLOSED) {
        atomic_store(&p->status, (int32_t)(uint32_t)ev->b);
        atomic_store(&p->closed, 1);
    }
}

static void on_server(void *ctx, const wb_event *ev) {
    struct pair *p = ctx;
    if (ev->kind == WB_EV_CONN_INCOMING) {
        OK(wb_handle_retain(ev->conn));
        atomic_store(&p->peer, ev->conn);
    }
    if (ev->kind == WB_EV_CONNECTED) atomic_store(&p->peer_connected, 1);
    if (ev->kind == WB_EV_STREAM_INCOMING) {
        OK(wb_handle_retain(ev->stream));
        atomic_store(&p->incoming[atomic_fetch_add(&p->streams, 1) & 7], ev->stream);
    }
    if (ev->kind == WB_EV_STREAM_READABLE) {
        char room[4096];
        size_t n;
        uint8_t fin;
        while (wb_stream_recv_copy(ev->stream, room, sizeof room, &n, &fin) == WB_OK && n > 0)
            atomic_fetch_add(&p->got, (int)n);
    }
    if (ev->kind == WB_EV_CONN_CLOSED) {
        atomic_store(&p->peer_code, (int)ev->a);
        atomic_store(&p->peer_status, (int32_t)(uint32_t)ev->b);
        atomic_store(&p->peer_closed, 1);
    }
}

static wb_config settings(wb_event_fn function, struct pair *p) {
    wb_config c;
    OK(wb_config_new(WB_CONFIG_CONN, &c));
    OK(wb_config_set_u64(c, WB_KEY_HTTP3, 0));
    OK(wb_config_on(c, WB_GROUP_ALL, function, p, NULL));
    return c;
}

static void open_pair(struct pair *p, const char *folder) {
    wb_tls st = tls_for(WB_ROLE_SERVER, folder), ct = tls_for(WB_ROLE_CLIENT, folder);
    wb_config sc = settings(on_server, p), cc = settings(on_client, p);
    wb_addr address;
    OK(wb_config_set_u64(sc, WB_KEY_MANUAL_CREDIT, 1));
    OK(wb_config_set_u64(sc, WB_KEY_STREAM_WINDOW, 1000));
    OK(wb_config_set_u64(sc, WB_KEY_CONN_WINDOW, 1500));
    OK(wb_config_set_u64(sc, WB_KEY_MAX_STREAMS_BIDI, 1));
    OK(wb_config_set_u64(sc, WB_KEY_MAX_STREAMS_UNI, 0));
    OK(wb_runtime_open(0, &p->runtime));
    OK(wb_server_listen(p->runtime, sc, st, "127.0.0.1", WB_TEXT_Z, 0, &p->endpoint));
    OK(wb_endpoint_address(p->endpoint, &address));
    OK(wb_endpoint_open(p->runtime, 0, &p->from));
    OK(wb_conn_open(p->from, cc, ct, &p->conn));
    GIVES(wb_conn_set_u64(p->conn, WB_KEY_KEEP_ALIVE_MS, 100), WB_E_STATE);
    OK(wb_conn_start(p->conn, "127.0.0.1", WB_TEXT_Z, address.port));
    EVENTUALLY(atomic_load(&p->connected) && atomic_load(&p->peer_connected));
    OK(wb_handle_release_many((wb_handle[]){st, ct, sc, cc}, 4));
}

static void close_pair(struct pair *p) {
    end(p->runtime);
    for (int i = 0; i < 8; i++)
        if (atomic_load(&p->incoming[i])) OK(wb_handle_release(atomic_load(&p->incoming[i])));
    OK(wb_handle_release_many((wb_handle[]){p->conn, atomic_load(&p->peer), p->endpoint, p->from, p->runtime}, 5));
}

static uint64_t sent(wb_conn conn) {
    wb_conn_counters c = WB_INIT(wb_conn_counters);
    OK(wb_conn_stats(conn, &c));
    return c.packets_sent;
}

static void refusals(struct pair *p) {
    wb_error_info info = WB_INIT(wb_error_info);
    wb_conn conn = p->conn, peer = atomic_load(&p->peer);
    GIVES(wb_conn_set_u64(conn, WB_KEY_CONGESTION, WB_CC_BBR), WB_E_FROZEN);
    OK(wb_last_error(&info));
    CHECK(strstr(info.text, "transport.congestion") != NULL);
    GIVES(wb_conn_set_u64(conn, WB_KEY_DATAGRAM_SIZE, 100), WB_E_FROZEN);
    GIVES(wb_conn_set_u64(conn, WB_KEY_MANUAL_CREDIT, 1), WB_E_FROZEN);
    GIVES(wb_conn_set_u64(conn, WB_KEY_WORKERS, 1), WB_E_UNKNOWN_KEY);
    GIVES(wb_conn_set_u64(conn, 9999, 1), WB_E_UNKNOWN_KEY);
    GIVES(wb_conn_set_u64(conn, WB_KEY_VERSIONS, 1), WB_E_INVALID);
    GIVES(wb_conn_set_u64(conn, WB_KEY_STREAM_WINDOW, 0), WB_E_RANGE);
    /* What the peer was told is not taken back, and a refusal changes nothing. */
    GIVES(wb_conn_set_u64(peer, WB_KEY_STREAM_WINDOW, 999), WB_E_RANGE);
    GIVES(wb_conn_set_u64(peer, WB_KEY_CONN_WINDOW, 1499), WB_E_RANGE);
    GIVES(wb_conn_set_u64(peer, WB_KEY_MAX_STREAMS_BIDI, 0), WB_E_RANGE);
    GIVES(wb_conn_set_u64(conn, WB_KEY_MAX_IDLE_MS, 0), WB_E_RANGE);
    GIVES(wb_conn_set_u64(conn, WB_KEY_MAX_IDLE_MS, 30001), WB_E_RANGE);
}

/* Nobody has anything to say, but PINGs go out; switched off they stop. */
static void keep_alive(struct pair *p) {
    OK(wb_conn_set_u64(p->conn, WB_KEY_KEEP_ALIVE_MS, 20));
    uint64_t before = sent(p->conn);
    EVENTUALLY(sent(p->conn) >= before + 10);
    OK(wb_conn_set_u64(p->conn, WB_KEY_KEEP_ALIVE_MS, 0));
    /* What was under way ends: then nothing moves. */
    for (uint64_t last = 0, tries = 0; tries < 100 && last != sent(p->conn); tries++) {
        last = sent(p->conn);
        pause_ms(300);
    }
    before = sent(p->conn);
    pause_ms(300);
    CHECK(sent(p->conn) == before);
}

static void push(wb_stream stream, size_t len) {
    static char bytes[8192];
    size_t accepted;
    OK(wb_stream_send_copy(stream, bytes, len, 0, &accepted));
    CHECK(accepted == len);
}

/* The reader never gives credit, so what arrives is what was promised. */
static void windows_and_streams(struct pair *p) {
    wb_stream a, b, c, none;
    wb_conn peer = atomic_load(&p->peer);
    OK(wb_stream_open(p->conn, WB_STREAM_BIDI, &a));
    GIVES(wb_stream_open(p->conn, WB_STREAM_BIDI, &none), WB_E_WOULD_BLOCK);
    /* MAX_STREAMS follows, and whoever was refused hears of it. */
    CHECK(!atomic_load(&p->available));
    OK(wb_conn_set_u64(peer, WB_KEY_MAX_STREAMS_BIDI, 3));
    EVENTUALLY(atomic_load(&p->available));
    OK(wb_stream_open(p->conn, WB_STREAM_BIDI, &b));
    push(a, 4000);
    EVENTUALLY(atomic_load(&p->got) == 1000);
    push(b, 4000);
    EVENTUALLY(atomic_load(&p->got) == 1500);
    OK(wb_conn_set_u64(peer, WB_KEY_CONN_WINDOW, 16000));
    EVENTUALLY(atomic_load(&p->got) == 2000);
    OK(wb_conn_set_u64(peer, WB_KEY_STREAM_WINDOW, 4000));
    EVENTUALLY(atomic_load(&p->got) == 8000);
    /* A stream that begins later has the new window, too. */
    OK(wb_stream_open(p->conn, WB_STREAM_BIDI, &c));
    push(c, 4000);
    EVENTUALLY(atomic_load(&p->got) == 12000);
    GIVES(wb_stream_open(p->conn, WB_STREAM_BIDI, &none), WB_E_WOULD_BLOCK);
    GIVES(wb_stream_open(p->conn, WB_STREAM_UNI, &none), WB_E_WOULD_BLOCK);
    CHECK(atomic_load(&p->streams) == 3);
    /* Ours: the same from the side that opens. */
    OK(wb_conn_set_u64(p->conn, WB_KEY_STREAM_WINDOW, 2 << 20));
    OK(wb_conn_set_u64(p->conn, WB_KEY_MAX_STREAMS_UNI, 200));
    GIVES(wb_conn_set_u64(p->conn, WB_KEY_MAX_STREAMS_UNI, 199), WB_E_RANGE);
    OK(wb_handle_release_many((wb_handle[]){a, b, c}, 3));
}

/* Our patience is shorter than what was agreed on: the peer is told, long before it would have noticed. */
static void silence(struct pair *p) {
    OK(wb_conn_set_u64(p->conn, WB_KEY_MAX_IDLE_MS, 200));
    OK(wb_conn_set_u64(p->conn, WB_KEY_MAX_IDLE_MS, 30000));
    pause_ms(500);
    CHECK(!atomic_load(&p->closed));
    OK(wb_conn_set_u64(p->conn, WB_KEY_MAX_IDLE_MS, 200));
    EVENTUALLY(atomic_load(&p->closed) && atomic_load(&p->peer_closed));
    CHECK(atomic_load(&p->status) == WB_E_IDLE);
    CHECK(atomic_load(&p->peer_status) != WB_E_IDLE && atomic_load(&p->peer_code) == 0);
    wb_error_info why = WB_INIT(wb_error_info);
    OK(wb_conn_error(atomic_load(&p->peer), &why));
    CHECK(why.origin == WB_ORIGIN_PEER && why.application == 0);
    GIVES(wb_conn_set_u64(p->conn, WB_KEY_KEEP_ALIVE_MS, 100), WB_E_CLOSED_LOCAL);
    GIVES(wb_conn_set_u64(atomic_load(&p->peer), WB_KEY_KEEP_ALIVE_MS, 100), WB_E_CLOSED_PEER);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    static struct pair pair;
    open_pair(&pair, argv[1]);
    refusals(&pair);
    keep_alive(&pair);
    windows_and_streams(&pair);
    silence(&pair);
    close_pair(&pair);
    puts("live: ok");
    return 0;
}
