/* The application stops inside a callback, on the library's thread. No call of another thread waits for it: each returns,
 * the ones with a time limit when that is over, and what they began is done once the callback returns.
 * Argument: the folder with certificates. A call that hangs is ended by the alarm. */
#include "check.h"
#include <semaphore.h>

static sem_t entered, leave;
static atomic_int stopped, delivered, conn_closed, endpoint_closed, runtime_closed;

static void on_client(void *ctx, const wb_event *ev) {
    (void)ctx;
    if (ev->kind == WB_EV_CONFIRMED && atomic_fetch_add(&stopped, 1) == 0) {
        sem_post(&entered);
        while (sem_wait(&leave) != 0) {
        }
    }
    if (ev->kind == WB_EV_STREAM_SEND_DONE) atomic_fetch_add(&delivered, 1);
    if (ev->kind == WB_EV_CONN_CLOSED) atomic_fetch_add(&conn_closed, 1);
    if (ev->kind == WB_EV_ENDPOINT_CLOSED) atomic_fetch_add(&endpoint_closed, 1);
    if (ev->kind == WB_EV_RUNTIME_CLOSED) atomic_fetch_add(&runtime_closed, 1);
}

/* What may be answered while the connection's events wait: a status at once, whichever. */
static void calls(wb_runtime runtime, wb_endpoint endpoint, wb_conn conn, wb_tls tls) {
    wb_conn_desc desc = WB_INIT(wb_conn_desc);
    wb_conn_counters stats = WB_INIT(wb_conn_counters);
    wb_error_info error = WB_INIT(wb_error_info);
    wb_handle_desc info = WB_INIT(wb_handle_desc);
    wb_addr address;
    wb_stream stream;
    wb_conn other;
    wb_path paths[8];
    char exported[16];
    size_t count = 0, took = 0;
    OK(wb_conn_info(conn, &desc));
    OK(wb_conn_stats(conn, &stats));
    OK(wb_handle_info(conn, &info));
    OK(wb_conn_error(conn, &error));
    OK(wb_path_list(conn, paths, 8, &count));
    OK(wb_conn_export(conn, "label", 5, "", 0, exported, sizeof exported));
    GIVES(wb_endpoint_address(endpoint, &address), WB_E_STATE); /* each client has a socket of its own */
    OK(wb_handle_retain(conn));
    OK(wb_handle_release(conn));
    OK(wb_handle_set_user(conn, &stopped, NULL));
    OK(wb_stream_open(conn, WB_STREAM_BIDI, &stream));
    OK(wb_stream_priority(stream, 1, 0));
    OK(wb_stream_send_copy(stream, "said while it was stopped", 25, WB_FIN, &took));
    GIVES(wb_stream_recv_copy(stream, exported, sizeof exported, &took, &(uint8_t){0}), WB_E_WOULD_BLOCK);
    OK(wb_stream_stop(stream, 7));
    OK(wb_conn_key_update(conn));
    OK(wb_conn_open(endpoint, 0, tls, &other));
    OK(wb_handle_release(other));
    GIVES(wb_runtime_wait(runtime, 20000000), WB_E_TIMEOUT);
    OK(wb_handle_release(stream));
}

int main(int argc, char **argv) {
    wb_runtime runtime, far_side;
    wb_endpoint endpoint, server;
    wb_config config;
    wb_conn conn;
    wb_addr address;
    CHECK(argc == 2 && sem_init(&entered, 0, 0) == 0 && sem_init(&leave, 0, 0) == 0);
    alarm(60);
    OK(wb_runtime_open(0, &far_side));
    OK(wb_server_listen(far_side, 0, tls_for(WB_ROLE_SERVER, argv[1]), "127.0.0.1", WB_TEXT_Z, 0, &server));
    OK(wb_endpoint_address(server, &address));
    wb_config runtime_config;
    OK(wb_config_new(WB_CONFIG_RUNTIME, &runtime_config));
    OK(wb_config_on(runtime_config, WB_GROUP_ALL, on_client, NULL, NULL));
    OK(wb_runtime_open(runtime_config, &runtime));
    OK(wb_config_new(WB_CONFIG_CONN, &config));
    OK(wb_config_on(config, WB_GROUP_ALL, on_client, NULL, NULL));
    wb_tls tls = tls_for(WB_ROLE_CLIENT, argv[1]);
    OK(wb_endpoint_open(runtime, 0, &endpoint));
    OK(wb_conn_open(endpoint, config, tls, &conn));
    OK(wb_conn_start(conn, "localhost", WB_TEXT_Z, address.port));
    while (sem_wait(&entered) != 0) {
    }
    calls(runtime, endpoint, conn, tls);
    CHECK(atomic_load(&delivered) == 0);
    sem_post(&leave);
    /* What was sent meanwhile arrives. */
    EVENTUALLY(atomic_load(&delivered) == 1);

    /* The same for the ends: closing returns, and the events come when the callback is over. */
    atomic_store(&stopped, 0);
    wb_conn second;
    OK(wb_conn_open(endpoint, config, tls, &second));
    OK(wb_conn_start(second, "localhost", WB_TEXT_Z, address.port));
    while (sem_wait(&entered) != 0) {
    }
    OK(wb_conn_close(second, 3, "stop", 4));
    OK(wb_endpoint_close(endpoint, WB_CLOSE_NOW));
    OK(wb_runtime_close(runtime, WB_CLOSE_NOW));
    GIVES(wb_runtime_wait(runtime, 20000000), WB_E_TIMEOUT);
    CHECK(atomic_load(&runtime_closed) == 0);
    sem_post(&leave);
    OK(wb_runtime_wait(runtime, 10 * SECOND));
    CHECK(atomic_load(&conn_closed) == 3 && atomic_load(&runtime_closed) == 1);
    end(far_side);
    OK(wb_handle_release_many((wb_handle[]){conn, second, endpoint, runtime, server, far_side, config, tls}, 8));
    return 0;
}
