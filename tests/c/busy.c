/* A server that is busy: paused by its application, or at a limit. What is there goes on, new clients hear CONNECTION_REFUSED,
 * and each way of being busy can be ended while the server runs. */
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>

#define REFUSED 0x2 /* RFC 9000 section 20.1 */

static wb_runtime runtime;
static wb_config client;
static wb_tls trust;
static uint16_t port;
static atomic_int busy, taken_again, decisions;
static _Atomic uint64_t count, limit;
static _Atomic(wb_decision) decision;

static void on_server(void *context, const wb_event *ev) {
    (void)context;
    if (ev->kind == WB_EV_ENDPOINT_BUSY) {
        CHECK(ev->source != 0 && ev->conn == 0 && strcmp(wb_event_name(ev->kind), "ENDPOINT_BUSY") == 0);
        atomic_store(&count, ev->a);
        if (ev->b != WB_LIMIT_NONE) atomic_store(&limit, ev->b);
        atomic_fetch_add(ev->b == WB_LIMIT_NONE ? &taken_again : &busy, 1);
    }
    if (ev->kind == WB_EV_DECIDE_ADMIT) {
        atomic_store(&decision, ev->a);
        atomic_fetch_add(&decisions, 1);
    }
}

struct caller {
    atomic_int connected, closing, closed;
    _Atomic uint64_t code;
    wb_endpoint endpoint;
    wb_conn conn;
};

static void on_client(void *context, const wb_event *ev) {
    (void)context;
    struct caller *caller = ev->user_conn;
    if (ev->kind == WB_EV_CONNECTED) atomic_store(&caller->connected, 1);
    if (ev->kind == WB_EV_PEER_CLOSING) {
        CHECK(atomic_fetch_add(&caller->closing, 1) == 0 && !atomic_load(&caller->closed));
        CHECK(ev->a == REFUSED && ev->b == 0 && ev->conn == caller->conn);
    }
    if (ev->kind != WB_EV_CONN_CLOSED) return;
    atomic_store(&caller->code, ev->a);
    atomic_store(&caller->closed, 1);
}

static void call(struct caller *caller) {
    memset(caller, 0, sizeof *caller);
    OK(wb_endpoint_open(runtime, 0, &caller->endpoint));
    OK(wb_conn_open(caller->endpoint, client, trust, &caller->conn));
    OK(wb_handle_set_user(caller->conn, caller, NULL));
    OK(wb_conn_start(caller->conn, "127.0.0.1", WB_TEXT_Z, port));
}

static void gets_in(struct caller *caller) {
    call(caller);
    EVENTUALLY(atomic_load(&caller->connected) || atomic_load(&caller->closed));
    CHECK(atomic_load(&caller->connected));
}

static void is_refused(void) {
    struct caller refused, *caller = &refused;
    call(caller);
    EVENTUALLY(atomic_load(&caller->closed));
    wb_error_info why = WB_INIT(wb_error_info);
    OK(wb_conn_error(caller->conn, &why));
    CHECK(!atomic_load(&caller->connected) && atomic_load(&caller->closing) == 1 && atomic_load(&caller->code) == REFUSED);
    CHECK(why.status == WB_E_TRANSPORT && why.origin == WB_ORIGIN_PEER && why.application == 0);
    OK(wb_handle_release_many((wb_handle[]){caller->conn, caller->endpoint}, 2));
}

static void hangs_up(struct caller *caller) {
    OK(wb_conn_close(caller->conn, 0, NULL, 0));
    EVENTUALLY(atomic_load(&caller->closed));
    OK(wb_handle_release_many((wb_handle[]){caller->conn, caller->endpoint}, 2));
}

static void still_talks(struct caller *caller) {
    wb_stream stream;
    size_t sent;
    wb_conn_desc desc = WB_INIT(wb_conn_desc);
    OK(wb_conn_info(caller->conn, &desc));
    CHECK(desc.state == WB_CONN_ESTABLISHED);
    OK(wb_stream_open(caller->conn, WB_STREAM_UNI, &stream));
    OK(wb_stream_send_copy(stream, "here", 4, WB_FIN, &sent));
    OK(wb_handle_release(stream));
}

/* The limit of connections bites, is told once, and can be lifted or raised while it bites. */
static void connections(wb_endpoint endpoint) {
    struct caller first, second, third;
    wb_limits limits = WB_INIT(wb_limits);
    limits.max_connections = 2;
    OK(wb_endpoint_limits(endpoint, &limits));
    gets_in(&first);
    gets_in(&second);
    CHECK(atomic_load(&busy) == 0);
    is_refused();
    is_refused();
    EVENTUALLY(atomic_load(&busy) == 1);
    CHECK(atomic_load(&limit) == WB_LIMIT_CONNECTIONS && atomic_load(&count) == 2 && atomic_load(&taken_again) == 0);
    still_talks(&first);
    limits.max_connections = 0;
    OK(wb_endpoint_limits(endpoint, &limits));
    EVENTUALLY(atomic_load(&taken_again) == 1);
    gets_in(&third);
    hangs_up(&third);
    /* The same, ended by a client that leaves. */
    limits.max_connections = 1;
    OK(wb_endpoint_limits(endpoint, &limits));
    is_refused();
    EVENTUALLY(atomic_load(&busy) == 2);
    hangs_up(&first);
    hangs_up(&second);
    EVENTUALLY(atomic_load(&taken_again) == 2);
    CHECK(atomic_load(&count) == 0);
    gets_in(&first);
    is_refused();
    EVENTUALLY(atomic_load(&busy) == 3);
    hangs_up(&first);
    EVENTUALLY(atomic_load(&taken_again) == 3);
    limits.max_connections = 0;
    OK(wb_endpoint_limits(endpoint, &limits));
}

/* Half-open handshakes: here of a client on which nobody has decided yet. Whether it answered a Retry is in the question. */
static void handshakes(wb_endpoint endpoint) {
    struct caller first, second, third;
    wb_limits limits = WB_INIT(wb_limits);
    int before = atomic_load(&busy), after = atomic_load(&taken_again);
    limits.max_handshakes = 1;
    OK(wb_endpoint_limits(endpoint, &limits));
    call(&first);
    EVENTUALLY(atomic_load(&decisions) == 1);
    is_refused();
    EVENTUALLY(atomic_load(&busy) == before + 1);
    CHECK(atomic_load(&limit) == WB_LIMIT_HANDSHAKES && atomic_load(&count) == 1);
    OK(wb_decision_accept(atomic_load(&decision)));
    /* It is confirmed, so there is room for the next one. */
    EVENTUALLY(atomic_load(&first.connected) && atomic_load(&taken_again) == after + 1);
    /* From one half-open handshake on the next client has to prove where it is. */
    limits.max_handshakes = 0;
    limits.retry_handshakes = 1;
    OK(wb_endpoint_limits(endpoint, &limits));
    wb_conn_desc desc = WB_INIT(wb_conn_desc);
    for (int n = 0; n < 2; n++) {
        call(&second);
        EVENTUALLY(atomic_load(&decisions) == 2 + 2 * n);
        wb_decision one = atomic_load(&decision);
        call(&third);
        EVENTUALLY(atomic_load(&decisions) == 3 + 2 * n);
        OK(wb_decision_accept(one));
        OK(wb_decision_accept(atomic_load(&decision)));
        EVENTUALLY(atomic_load(&second.connected) && atomic_load(&third.connected));
        OK(wb_conn_info(second.conn, &desc));
        CHECK(desc.retried == 0);
        OK(wb_conn_info(third.conn, &desc));
        CHECK(desc.retried == (n == 0));
        hangs_up(&second);
        hangs_up(&third);
        /* Never because of load. */
        limits.retry_handshakes = UINT64_MAX;
        OK(wb_endpoint_limits(endpoint, &limits));
    }
    hangs_up(&first);
}

static void listens(wb_endpoint endpoint, wb_tls identity) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    wb_addr address;
    OK(wb_endpoint_bind(endpoint, (struct sockaddr *)&any, sizeof any));
    OK(wb_endpoint_listen(endpoint, 0, identity));
    OK(wb_endpoint_address(endpoint, &address));
    port = address.port;
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    wb_endpoint endpoint, limited, asking;
    wb_config server, admitting;
    struct caller early;
    wb_limits limits = WB_INIT(wb_limits);
    OK(wb_runtime_open(0, &runtime));
    OK(wb_config_new(WB_CONFIG_CONN, &client));
    OK(wb_config_on(client, WB_GROUP_ALL, on_client, NULL, NULL));
    trust = tls_for(WB_ROLE_CLIENT, argv[1]);
    wb_tls identity = tls_for(WB_ROLE_SERVER, argv[1]);
    OK(wb_config_new(WB_CONFIG_ENDPOINT, &server));
    OK(wb_config_on(server, WB_GROUP_ALL, on_server, NULL, NULL));
    OK(wb_config_new(WB_CONFIG_ENDPOINT, &admitting));
    OK(wb_config_on(admitting, WB_GROUP_ALL, on_server, NULL, NULL));
    OK(wb_config_set_u64(admitting, WB_KEY_ADMIT, 1));

    /* Busy from the start: before it is bound. */
    OK(wb_endpoint_open(runtime, server, &endpoint));
    OK(wb_endpoint_pause(endpoint, 1));
    listens(endpoint, identity);
    GIVES(wb_endpoint_pause(endpoint, 2), WB_E_RANGE);
    is_refused();
    OK(wb_endpoint_pause(endpoint, 0));
    gets_in(&early);
    OK(wb_endpoint_pause(endpoint, 1));
    OK(wb_endpoint_pause(endpoint, 1));
    is_refused();
    still_talks(&early);
    OK(wb_endpoint_pause(endpoint, 0));
    hangs_up(&early);
    /* The application knows that it paused: no event says so. */
    CHECK(atomic_load(&busy) == 0 && atomic_load(&taken_again) == 0);

    limits.struct_size = 4;
    GIVES(wb_endpoint_limits(endpoint, &limits), WB_E_RANGE);
    GIVES(wb_endpoint_limits(endpoint, NULL), WB_E_INVALID);
    /* A program of an older header knows the first limit only. */
    limits.max_connections = 7;
    limits.max_handshakes = limits.retry_handshakes = 1;
    limits.struct_size = 16;
    OK(wb_endpoint_limits(endpoint, &limits));
    struct caller two[2];
    for (int i = 0; i < 2; i++) gets_in(&two[i]);
    for (int i = 0; i < 2; i++) hangs_up(&two[i]);

    /* Each on an endpoint of its own, because a connection counts until the peer can no longer have anything under way. */
    OK(wb_endpoint_open(runtime, server, &limited));
    listens(limited, identity);
    connections(limited);
    OK(wb_endpoint_open(runtime, admitting, &asking));
    listens(asking, identity);
    handshakes(asking);

    OK(wb_endpoint_close(endpoint, WB_CLOSE_NOW));
    GIVES(wb_endpoint_pause(endpoint, 1), WB_E_CLOSED_LOCAL);
    limits = (wb_limits)WB_INIT(wb_limits);
    GIVES(wb_endpoint_limits(endpoint, &limits), WB_E_CLOSED_LOCAL);
    OK(wb_handle_release_many((wb_handle[]){endpoint, limited, asking, server, admitting, client, trust, identity}, 8));
    end(runtime);
    puts("busy: ok");
    return 0;
}
