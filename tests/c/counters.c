/* Counters of endpoints and of their runtime: what goes out of one comes into the other, junk is counted by its reason, and
 * what an endpoint has counted outlives it. */
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define MANY (WB_COUNTER_DROPPED_RATE_LIMITED + 8)

static atomic_int connected, closed;

static void on_event(void *ctx, const wb_event *ev) {
    (void)ctx;
    if (ev->kind == WB_EV_CONFIRMED) atomic_fetch_add(&connected, 1);
    if (ev->kind == WB_EV_CONN_CLOSED) atomic_fetch_add(&closed, 1);
}

static uint64_t one(wb_handle object, uint32_t key) {
    uint64_t value = 0;
    OK(wb_counters(object, key, &value, 1));
    return value;
}

static void junk(uint16_t port, const void *bytes, size_t len) {
    struct sockaddr_in to;
    memset(&to, 0, sizeof to);
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(fd >= 0 && sendto(fd, bytes, len, 0, (struct sockaddr *)&to, sizeof to) == (ssize_t)len);
    close(fd);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    wb_config rc, c;
    wb_runtime server, client;
    wb_endpoint listening, from;
    wb_addr address;
    wb_conn conn[3];
    wb_tls st = tls_for(WB_ROLE_SERVER, argv[1]), ct = tls_for(WB_ROLE_CLIENT, argv[1]);
    uint64_t all[MANY], none[4] = {1, 1, 1, 1};
    OK(wb_config_new(WB_CONFIG_RUNTIME, &rc));
    OK(wb_config_on(rc, WB_GROUP_CONN, on_event, NULL, NULL));
    OK(wb_config_new(WB_CONFIG_CONN, &c));
    OK(wb_config_set_u64(c, WB_KEY_HTTP3, 0));
    OK(wb_config_set_u64(c, WB_KEY_RETRY, 1));
    OK(wb_runtime_open(rc, &server));
    OK(wb_runtime_open(rc, &client));
    OK(wb_server_listen(server, c, st, "127.0.0.1", WB_TEXT_Z, 0, &listening));
    OK(wb_endpoint_address(listening, &address));
    OK(wb_endpoint_open(client, 0, &from));

    /* Nothing has happened yet; keys of a later library give 0; wrong things are refused. */
    memset(all, 0x55, sizeof all);
    OK(wb_counters(listening, 0, all, MANY));
    for (int i = 0; i < MANY; i++) CHECK(all[i] == 0);
    OK(wb_counters(from, UINT32_MAX, none, 4));
    CHECK(none[0] == 0 && none[3] == 0);
    OK(wb_counters(from, 0, NULL, 0));
    GIVES(wb_counters(from, 0, NULL, 1), WB_E_INVALID);
    GIVES(wb_counters(c, 0, all, 1), WB_E_KIND);

    /* Three connections, each after a Retry. */
    for (int i = 0; i < 3; i++) {
        OK(wb_conn_open(from, c, ct, &conn[i]));
        OK(wb_conn_start(conn[i], "127.0.0.1", WB_TEXT_Z, address.port));
    }
    EVENTUALLY(atomic_load(&connected) == 6);
    EVENTUALLY(one(listening, WB_COUNTER_HANDSHAKES_DONE) == 3 && one(from, WB_COUNTER_HANDSHAKES_DONE) == 3);
    CHECK(one(listening, WB_COUNTER_CONNS_NOW) == 3 && one(from, WB_COUNTER_CONNS_NOW) == 3);
    CHECK(one(listening, WB_COUNTER_CONNS_ACCEPTED) == 3 && one(listening, WB_COUNTER_CONNS_STARTED) == 0);
    CHECK(one(from, WB_COUNTER_CONNS_ACCEPTED) == 0 && one(from, WB_COUNTER_CONNS_STARTED) == 3);
    /* A token of the first connection may spare a later one the Retry. */
    CHECK(one(listening, WB_COUNTER_RETRIES_SENT) + one(listening, WB_COUNTER_TOKENS_ACCEPTED) >= 3);
    CHECK(one(listening, WB_COUNTER_HANDSHAKES_NOW) == 0 && one(listening, WB_COUNTER_HANDSHAKES_FAILED) == 0);

    /* Loopback loses nothing: what one side has sent the other one has received, when all is quiet. */
    EVENTUALLY(one(from, WB_COUNTER_DATAGRAMS_SENT) == one(listening, WB_COUNTER_DATAGRAMS_RECEIVED) &&
               one(from, WB_COUNTER_BYTES_SENT) == one(listening, WB_COUNTER_BYTES_RECEIVED) &&
               one(listening, WB_COUNTER_DATAGRAMS_SENT) == one(from, WB_COUNTER_DATAGRAMS_RECEIVED) &&
               one(listening, WB_COUNTER_BYTES_SENT) == one(from, WB_COUNTER_BYTES_RECEIVED));
    CHECK(one(from, WB_COUNTER_BYTES_SENT) >= 3 * 1200);

    /* Junk, and a version that nobody speaks. */
    unsigned char odd[1200] = {0xc0, 0xaa, 0xbb, 0xcc, 0xdd, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0};
    uint64_t before = one(listening, WB_COUNTER_DATAGRAMS_RECEIVED), bytes = one(listening, WB_COUNTER_BYTES_RECEIVED);
    junk(address.port, "\x01", 1);
    EVENTUALLY(one(listening, WB_COUNTER_DATAGRAMS_RECEIVED) == before + 1);
    CHECK(one(listening, WB_COUNTER_BYTES_RECEIVED) == bytes + 1);
    OK(wb_counters(listening, 0, all, MANY));
    uint64_t dropped = 0;
    for (int i = WB_COUNTER_DROPPED_MALFORMED; i <= WB_COUNTER_DROPPED_RATE_LIMITED; i++) dropped += all[i];
    CHECK(dropped >= 1 && all[WB_COUNTER_DROPPED_MALFORMED] == 1);
    junk(address.port, odd, sizeof odd);
    EVENTUALLY(one(listening, WB_COUNTER_VERSION_NEGOTIATIONS_SENT) == 1);

    /* The runtime has the sum, also of an endpoint that has ended. */
    for (int i = 0; i < 3; i++) OK(wb_conn_close(conn[i], 0, NULL, 0));
    EVENTUALLY(atomic_load(&closed) == 6);
    EVENTUALLY(one(from, WB_COUNTER_CONNS_NOW) == 0 && one(listening, WB_COUNTER_CONNS_NOW) == 0);
    CHECK(one(from, WB_COUNTER_HANDSHAKES_FAILED) == 0);
    end(client);
    end(server);
    for (uint32_t key = 0; key < MANY; key++) {
        CHECK(one(client, key) == one(from, key));
        CHECK(one(server, key) == one(listening, key));
    }
    CHECK(one(client, WB_COUNTER_CONNS_STARTED) == 3 && one(server, WB_COUNTER_CONNS_ACCEPTED) == 3);
    OK(wb_handle_release_many((wb_handle[]){conn[0], conn[1], conn[2], from, listening, client, server, rc, c, st, ct}, 11));
    puts("counters: ok");
    return 0;
}
