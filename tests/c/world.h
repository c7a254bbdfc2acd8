/* A world for the misuse matrix: a living object of every kind, made as far as a cell needs it, and callbacks that run a
 * cell on a worker. One runtime per world; its peers live in one server runtime for the whole program. */
#ifndef WORLD_H
#define WORLD_H
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* What a world has beside runtime, endpoint, an idle connection, buffer, queue, configurations and TLS objects. */
enum { CONN = 1, STREAM = 2, H3 = 4, REQUEST = 8, ADMIT = 16, IDENTITY = 32, SIGN = 64, VERIFY = 128, CORE = 256 };

struct world {
    wb_runtime runtime, core;
    wb_endpoint endpoint, asker[3], core_endpoint;
    wb_conn idle, conn, h3, verifier, asked[3], callers[3], extra;
    wb_path path;
    wb_stream stream;
    _Atomic(wb_stream) request;
    _Atomic(wb_decision) admit, identity, sign, verify;
    wb_buf buf;
    wb_queue queue;
    wb_config config, runtime_config, endpoint_config;
    wb_tls tls, server_tls, asking_tls[4];
    wb_conn peer, h3_peer;
    /* The cells to be run in a callback, and for which event. */
    void (*job)(struct world *);
    uint16_t hook;
    wb_handle hook_object;
    atomic_int hooked, done;
    /* What events told. */
    atomic_int confirmed, h3_confirmed, readable, responded, runtime_closed, core_closed, endpoint_closed, asker_closed;
    atomic_int conns_closed;
    /* Room for out parameters. */
    wb_handle made[8];
    wb_handle one[1];
    uint64_t room[512];
    void *pointer;
    size_t n;
    uint8_t fin;
    uint32_t u;
    int64_t i;
    ptrdiff_t fds[8], borrowed_fd;
    int spare;
    struct world *next;
};

/* A field of two literals, also outside functions. */
#define TEXT_FIELD(name, value) {(name), sizeof(name) - 1, (value), sizeof(value) - 1}

static const char *folder;
static char chain_path[512], key_path[512], chain_pem[4096], key_pem[4096];
static const char text[] = "text";
static const uint8_t key32[32] = {7};
static const uint16_t suites[1] = {0x1301};
static const wb_text echo_alpn = {"echo", 4}, h3_alpn = {"h3", 2};
static const wb_addr some_address = {.family = 4, .port = 443, .ip = {192, 0, 2, 1}};
/* Any port of our own machine, and the server. */
static struct sockaddr_in loopback, server_address;
static const wb_field request_fields[4] = {
    TEXT_FIELD(":method", "GET"), TEXT_FIELD(":scheme", "https"), TEXT_FIELD(":authority", "localhost"),
    TEXT_FIELD(":path", "/")};
static const wb_field response_fields[1] = {TEXT_FIELD(":status", "200")};
static const wb_field trailer_fields[1] = {TEXT_FIELD("done", "yes")};
static unsigned char datagram_room[65536];
/* So that a world whose runtime was released can still be told of its end. */
static struct world *worlds;

/* ---------------------------------------------------------------------------------------------------- the server */

static wb_runtime server;
static wb_tls raw_server_tls, h3_server_tls, client_tls, h3_client_tls;
static wb_config raw_config, client_config;
static wb_endpoint raw_endpoint, h3_endpoint;
static uint16_t raw_port, h3_port;
static _Atomic(wb_conn) peers[65536];

static void on_served(void *ctx, const wb_event *e) {
    (void)ctx;
    char room[64];
    size_t n;
    uint8_t fin;
    if (e->kind == WB_EV_CONNECTED) {
        wb_conn_desc d = WB_INIT(wb_conn_desc);
        if (wb_conn_info(e->conn, &d) == WB_OK) atomic_store(&peers[d.remote.port], e->conn);
    }
    /* A greeting is answered, a request too; neither ends. */
    if (e->kind == WB_EV_STREAM_READABLE && wb_stream_recv_copy(e->stream, room, sizeof room, &n, &fin) == WB_OK)
        (void)wb_stream_send_copy(e->stream, "hello", 5, 0, &n);
    if (e->kind == WB_EV_H3_HEADERS && wb_h3_headers(e->stream, response_fields, 1, 0) == WB_OK)
        (void)wb_stream_send_copy(e->stream, "hello", 5, 0, &n);
}

static wb_tls tls_with(uint32_t role, const wb_text *alpn) {
    wb_tls tls = tls_for(role, folder);
    OK(wb_tls_alpn(tls, alpn, 1));
    return tls;
}

static wb_config config_with(uint32_t kind, int http3) {
    wb_config config;
    OK(wb_config_new(kind, &config));
    if (kind != WB_CONFIG_CONN) return config;
    OK(wb_config_set_u64(config, WB_KEY_HTTP3, (uint64_t)http3));
    OK(wb_config_set_u64(config, WB_KEY_DATAGRAM_SIZE, 1200));
    OK(wb_config_set_u64(config, WB_KEY_DRAIN_MS, 200));
    return config;
}

static uint16_t port_of(wb_endpoint endpoint) {
    wb_addr address;
    OK(wb_endpoint_address(endpoint, &address));
    return address.port;
}

static void start_server(void) {
    wb_config rc = config_with(WB_CONFIG_RUNTIME, 0), h3 = config_with(WB_CONFIG_CONN, 1);
    OK(wb_config_set_u64(rc, WB_KEY_WORKERS, 1));
    OK(wb_config_on(rc, WB_GROUP_ALL, on_served, NULL, NULL));
    OK(wb_runtime_open(rc, &server));
    raw_config = config_with(WB_CONFIG_CONN, 0);
    client_config = config_with(WB_CONFIG_CONN, 0);
    raw_server_tls = tls_with(WB_ROLE_SERVER, &echo_alpn);
    h3_server_tls = tls_with(WB_ROLE_SERVER, &h3_alpn);
    client_tls = tls_with(WB_ROLE_CLIENT, &echo_alpn);
    h3_client_tls = tls_with(WB_ROLE_CLIENT, &h3_alpn);
    OK(wb_server_listen(server, raw_config, raw_server_tls, "127.0.0.1", WB_TEXT_Z, 0, &raw_endpoint));
    OK(wb_server_listen(server, h3, h3_server_tls, "127.0.0.1", WB_TEXT_Z, 0, &h3_endpoint));
    raw_port = port_of(raw_endpoint);
    server_address = loopback;
    server_address.sin_port = htons(raw_port);
    h3_port = port_of(h3_endpoint);
    OK(wb_handle_release_many((wb_handle[]){rc, h3}, 2));
}

/* ------------------------------------------------------------------------------------------------ inside callbacks */

static void run_job(struct world *w) {
    if (atomic_exchange(&w->hooked, 0)) {
        w->job(w);
        atomic_store(&w->done, 1);
    }
}

static void on_event(void *ctx, const wb_event *e) {
    struct world *w = ctx;
    _Atomic(wb_decision) *decision = e->kind == WB_EV_DECIDE_ADMIT      ? &w->admit
                                     : e->kind == WB_EV_DECIDE_IDENTITY ? &w->identity
                                     : e->kind == WB_EV_DECIDE_SIGN     ? &w->sign
                                     : e->kind == WB_EV_DECIDE_VERIFY   ? &w->verify
                                                                        : NULL;
    if (e->kind == WB_EV_H3_HEADERS) {
        /* The request's call has to return first. */
        while (atomic_load(&w->request) == 0) pause_ms(1);
    }
    if (e->kind == WB_EV_DECIDE_IDENTITY && wb_handle_retain(e->conn) == WB_OK) w->asked[1] = e->conn;
    if (e->kind == WB_EV_DECIDE_SIGN && wb_handle_retain(e->conn) == WB_OK) w->asked[2] = e->conn;
    /* The first one counts: a client that is not answered asks again. */
    if (decision && atomic_load(decision) == 0) atomic_store(decision, e->a);
    if (e->kind == w->hook && (w->hook_object == 0 || w->hook_object == e->source || w->hook_object == e->conn ||
                               w->hook_object == e->stream))
        run_job(w);
    switch (e->kind) {
    case WB_EV_CONFIRMED: atomic_store(e->conn == w->conn ? &w->confirmed : &w->h3_confirmed, 1); break;
    case WB_EV_STREAM_READABLE: atomic_store(e->stream == w->stream ? &w->readable : &w->responded, 1); break;
    case WB_EV_CONN_CLOSED: atomic_fetch_add(&w->conns_closed, 1); break;
    case WB_EV_ENDPOINT_CLOSED: atomic_fetch_add(e->source == w->endpoint ? &w->endpoint_closed : &w->asker_closed, 1); break;
    case WB_EV_RUNTIME_CLOSED: atomic_store(e->source == w->core ? &w->core_closed : &w->runtime_closed, 1); break;
    default: break;
    }
}

static void on_release(void *ctx) { run_job(ctx); }

static void on_line(void *ctx, const char *line, size_t len) {
    (void)line;
    (void)len;
    run_job(ctx);
}

static void on_nothing(void *ctx, const wb_event *e) {
    (void)ctx;
    (void)e;
}

static void no_line(void *ctx, const char *line, size_t len) {
    (void)ctx;
    (void)line;
    (void)len;
}

static void no_text(void *ctx, uint32_t level, const char *room, const char *text, size_t len) {
    (void)ctx;
    (void)level;
    (void)room;
    (void)text;
    (void)len;
}

static void no_chunk(void *ctx, wb_conn conn, const void *data, size_t len, uint32_t end) {
    (void)ctx;
    (void)conn;
    (void)data;
    (void)len;
    (void)end;
}

/* ------------------------------------------------------------------------------------------------------ the parts */

/* Short steps: thousands of worlds are made. A hang ends by the alarm of the cell. */
#define UNTIL(condition)                                                                                               \
    do {                                                                                                               \
        while (!(condition)) nanosleep(&(struct timespec){0, 100000}, NULL);                                           \
    } while (0)

static wb_conn open_conn(struct world *w, wb_config config, wb_tls tls) {
    wb_conn conn;
    OK(wb_conn_open(w->endpoint, config, tls, &conn));
    return conn;
}

static uint16_t own_port(wb_conn conn) {
    wb_conn_desc d = WB_INIT(wb_conn_desc);
    OK(wb_conn_info(conn, &d));
    return d.local.port;
}

/* A connected pair; the server's side of it is in `peers` before the client hears that the handshake is confirmed. */
static void connect_raw(struct world *w) {
    w->conn = open_conn(w, client_config, client_tls);
    OK(wb_conn_start(w->conn, "127.0.0.1", WB_TEXT_Z, raw_port));
    UNTIL(atomic_load(&w->confirmed));
    w->peer = atomic_load(&peers[own_port(w->conn)]);
    CHECK(w->peer != 0);
    OK(wb_path_list(w->conn, &w->path, 1, &w->n));
}

static void connect_h3(struct world *w) {
    wb_config config = config_with(WB_CONFIG_CONN, 1);
    w->h3 = open_conn(w, config, h3_client_tls);
    OK(wb_handle_release(config));
    OK(wb_conn_start(w->h3, "127.0.0.1", WB_TEXT_Z, h3_port));
    UNTIL(atomic_load(&w->h3_confirmed));
    w->h3_peer = atomic_load(&peers[own_port(w->h3)]);
    CHECK(w->h3_peer != 0);
}

static void greet(struct world *w) {
    OK(wb_stream_open(w->conn, WB_STREAM_BIDI, &w->stream));
    OK(wb_stream_send_copy(w->stream, "x", 1, 0, &w->n));
}

static void request(struct world *w) {
    wb_stream stream;
    OK(wb_h3_request(w->h3, request_fields, 4, 0, &stream));
    atomic_store(&w->request, stream);
}

/* A question of the kind of `asking_tls[number]` (0: none, admission) to this world. */
static void ask(struct world *w, int number) {
    wb_config config = config_with(WB_CONFIG_CONN, 0);
    wb_tls tls;
    if (number == 3) {
        tls = tls_with(WB_ROLE_CLIENT, &echo_alpn);
        OK(wb_tls_decisions(tls, WB_DECIDE_VERIFY));
        w->verifier = open_conn(w, config, tls);
        OK(wb_conn_start(w->verifier, "127.0.0.1", WB_TEXT_Z, raw_port));
    } else {
        if (number == 2) {
            OK(wb_tls_new(WB_ROLE_SERVER, &tls));
            OK(wb_tls_alpn(tls, &echo_alpn, 1));
            OK(wb_tls_identity_add(tls, chain_pem, strlen(chain_pem), NULL, 0, NULL));
        } else {
            tls = tls_with(WB_ROLE_SERVER, &echo_alpn);
            if (number == 1) OK(wb_tls_decisions(tls, WB_DECIDE_IDENTITY));
            if (number == 0) OK(wb_config_set_u64(config, WB_KEY_ADMIT, 1));
        }
        OK(wb_server_listen(w->runtime, config, tls, "127.0.0.1", WB_TEXT_Z, 0, &w->asker[number]));
        OK(wb_client_connect(server, client_config, client_tls, "127.0.0.1", WB_TEXT_Z, port_of(w->asker[number]),
                             &w->callers[number]));
    }
    w->asking_tls[number] = tls;
    OK(wb_handle_release(config));
}

static struct world *world_new(unsigned needs) {
    struct world *w = calloc(1, sizeof *w);
    CHECK(w != NULL);
    w->next = worlds;
    worlds = w;
    w->spare = -1;
    w->runtime_config = config_with(WB_CONFIG_RUNTIME, 0);
    OK(wb_config_set_u64(w->runtime_config, WB_KEY_WORKERS, 1));
    OK(wb_config_on(w->runtime_config, WB_GROUP_ALL, on_event, w, NULL));
    w->endpoint_config = config_with(WB_CONFIG_ENDPOINT, 0);
    w->config = config_with(WB_CONFIG_CONN, 0);
    w->tls = tls_with(WB_ROLE_CLIENT, &echo_alpn);
    w->server_tls = tls_with(WB_ROLE_SERVER, &echo_alpn);
    OK(wb_runtime_open(w->runtime_config, &w->runtime));
    OK(wb_endpoint_open(w->runtime, 0, &w->endpoint));
    w->idle = open_conn(w, client_config, client_tls);
    OK(wb_buf_wrap(text, 4, NULL, NULL, &w->buf));
    OK(wb_queue_open(w->runtime, &w->queue));
    if (needs & (CONN | STREAM)) connect_raw(w);
    if (needs & STREAM) {
        greet(w);
        UNTIL(atomic_load(&w->readable));
    }
    if (needs & (H3 | REQUEST)) connect_h3(w);
    if (needs & REQUEST) {
        request(w);
        UNTIL(atomic_load(&w->responded));
    }
    for (int i = 0; i < 4; i++)
        if (needs & (unsigned)(ADMIT << i)) ask(w, i);
    UNTIL(!(needs & ADMIT) || atomic_load(&w->admit));
    UNTIL(!(needs & IDENTITY) || atomic_load(&w->identity));
    UNTIL(!(needs & SIGN) || atomic_load(&w->sign));
    UNTIL(!(needs & VERIFY) || atomic_load(&w->verify));
    if (needs & CORE) {
        OK(wb_core_open(w->runtime_config, NULL, 0, 1, &w->core));
        OK(wb_endpoint_open(w->core, 0, &w->core_endpoint));
        OK(wb_endpoint_bind(w->core_endpoint, (const struct sockaddr *)&loopback, sizeof loopback));
    }
    return w;
}

static void end_core(struct world *w) {
    if (w->core == 0) return;
    (void)wb_runtime_close(w->core, WB_CLOSE_NOW);
    while (!atomic_load(&w->core_closed)) {
        wb_packet p = WB_INIT(wb_packet);
        p.data = datagram_room;
        p.len = sizeof datagram_room;
        wb_status s = wb_core_transmit(w->core, &p, 1, 2);
        if (s == WB_E_STALE || s == WB_E_STATE) break;
    }
}

static void world_free(struct world *w) {
    end_core(w);
    (void)wb_runtime_close(w->runtime, WB_CLOSE_NOW);
    wb_status s = wb_runtime_wait(w->runtime, 20 * SECOND);
    if (s == WB_E_STALE) UNTIL(atomic_load(&w->runtime_closed));
    else CHECK(s == WB_OK);
    const wb_handle all[] = {w->idle, w->conn, w->h3, w->verifier, w->asked[1], w->asked[2], w->callers[0], w->callers[1],
                             w->callers[2], w->extra, w->path, w->stream, w->request, w->admit, w->identity, w->sign,
                             w->verify, w->buf, w->queue, w->endpoint, w->asker[0], w->asker[1], w->asker[2],
                             w->core_endpoint, w->core, w->runtime, w->config, w->runtime_config, w->endpoint_config,
                             w->tls, w->server_tls, w->asking_tls[0], w->asking_tls[1], w->asking_tls[2], w->asking_tls[3]};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) (void)wb_handle_release(all[i]);
}

/* ------------------------------------------------------------------------------------------------- for the arguments */

static void *sized(struct world *w, size_t size) {
    memset(w->room, 0, sizeof w->room);
    *(uint32_t *)w->room = (uint32_t)size;
    return w->room;
}

/* A packet with memory for what is to be sent. */
static wb_packet *packet(struct world *w) {
    wb_packet *p = sized(w, sizeof *p);
    p->data = datagram_room;
    p->len = sizeof datagram_room;
    return p;
}

/* A stream's pointer and first bytes. */
static wb_stream_first *first(struct world *w) {
    wb_stream_first *f = sized(w, sizeof *f);
    f->flags = WB_FIN;
    f->user = w;
    f->data = "text";
    f->len = 4;
    return f;
}

/* A whole request. */
static wb_h3_message *message(struct world *w) {
    static const char fields[] = ":method\0GET\0:scheme\0https\0:authority\0localhost\0:path\0/";
    wb_h3_message *m = (wb_h3_message *)(void *)w->room;
    memset(m, 0, sizeof *m);
    m->fields = fields;
    m->fields_len = sizeof fields;
    return m;
}

static const wb_handle *one(struct world *w, wb_handle handle) {
    w->one[0] = handle;
    return w->one;
}

/* A bound socket that the library may take. */
static ptrdiff_t bound_socket(struct world *w) {
    w->spare = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(w->spare >= 0 && bind(w->spare, (const struct sockaddr *)&loopback, sizeof loopback) == 0);
    return w->spare;
}

/* Gives back what a call gave. */
static void tidy(struct world *w, wb_status status) {
    if (w->spare >= 0 && status != WB_OK) CHECK(close(w->spare) == 0);
    w->spare = -1;
    for (size_t i = 0; i < 8; i++) {
        if (w->fds[i] > 2) (void)close((int)w->fds[i]);
        w->fds[i] = 0;
        if (w->made[i] != 0) (void)wb_handle_release(w->made[i]);
        w->made[i] = 0;
    }
}

static void load(const char *path, char *out, size_t size) {
    FILE *file = fopen(path, "r");
    CHECK(file != NULL);
    out[fread(out, 1, size - 1, file)] = 0;
    fclose(file);
}

static void prepare(const char *given) {
    folder = given;
    snprintf(chain_path, sizeof chain_path, "%s/cert.pem", folder);
    snprintf(key_path, sizeof key_path, "%s/key.pem", folder);
    load(chain_path, chain_pem, sizeof chain_pem);
    load(key_path, key_pem, sizeof key_pem);
    loopback.sin_family = AF_INET;
    loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
}
#endif
