/* Why a connection changed its path: because the server would rather be reached elsewhere, or because the client moved. */
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>

static atomic_int preferred[2], elsewhere[2], confirmed;
static wb_conn conn;

/* Context 0: the client. */
static void on_event(void *context, const wb_event *ev) {
    int side = context != NULL;
    if (ev->kind == WB_EV_CONFIRMED && side == 0) atomic_store(&confirmed, 1);
    if (ev->kind != WB_EV_PATH_MIGRATED) return;
    CHECK(ev->a == (uint64_t)side && ev->path != 0);
    /* The client takes another port of the same host, which the server cannot tell from what a NAT does. */
    CHECK(ev->b == (side == 0 ? WB_MOVE_ADDRESS : WB_MOVE_REBINDING) || ev->b == WB_MOVE_PREFERRED);
    if (ev->b == WB_MOVE_PREFERRED) {
        wb_path_desc path = WB_INIT(wb_path_desc);
        OK(wb_path_info(ev->path, &path));
        const wb_addr *server = side == 0 ? &path.remote : &path.local;
        CHECK(memcmp(server->ip, "\x7f\0\0\2", 4) == 0);
    }
    atomic_fetch_add(ev->b == WB_MOVE_PREFERRED ? &preferred[side] : &elsewhere[side], 1);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    char there[64];
    wb_runtime runtime;
    wb_endpoint endpoint;
    wb_config client, server;
    wb_addr address;
    struct sockaddr_in any = {.sin_family = AF_INET};
    wb_tls ct = tls_for(WB_ROLE_CLIENT, argv[1]), st = tls_for(WB_ROLE_SERVER, argv[1]);
    OK(wb_runtime_open(0, &runtime));
    OK(wb_config_new(WB_CONFIG_CONN, &client));
    OK(wb_config_new(WB_CONFIG_CONN, &server));
    OK(wb_config_on(client, WB_GROUP_ALL, on_event, NULL, NULL));
    OK(wb_config_on(server, WB_GROUP_ALL, on_event, &conn, NULL));
    OK(wb_endpoint_open(runtime, 0, &endpoint));
    OK(wb_endpoint_bind(endpoint, (struct sockaddr *)&any, sizeof any));
    OK(wb_endpoint_address(endpoint, &address));
    snprintf(there, sizeof there, "127.0.0.2:%u", (unsigned)address.port);
    OK(wb_config_set_bytes(server, WB_KEY_PREFERRED_IPV4, there, strlen(there)));
    OK(wb_endpoint_listen(endpoint, server, st));
    OK(wb_client_connect(runtime, client, ct, "127.0.0.1", WB_TEXT_Z, address.port, &conn));
    EVENTUALLY(atomic_load(&preferred[0]) == 1);
    /* A move of the client's own, from there. The server says yes as soon as it has answered with a connection ID. */
    wb_status s = WB_E_LIMIT;
    for (int i = 0; i < 1000 && s != WB_OK; i++, pause_ms(10)) s = wb_conn_migrate(conn, NULL, 0);
    OK(s);
    wb_stream stream;
    size_t sent;
    OK(wb_stream_open(conn, WB_STREAM_UNI, &stream));
    EVENTUALLY(atomic_load(&elsewhere[0]) == 1);
    OK(wb_stream_send_copy(stream, "here", 4, WB_FIN, &sent));
    EVENTUALLY(atomic_load(&preferred[1]) == 1 && atomic_load(&elsewhere[1]) == 1);
    CHECK(atomic_load(&preferred[0]) == 1 && atomic_load(&confirmed) == 1);
    OK(wb_handle_release_many((wb_handle[]){conn, stream, endpoint, client, server, ct, st}, 7));
    end(runtime);
    puts("moves: ok");
    return 0;
}
