/* A pointer that is attached to a new object while its events are taken from a queue is in the events behind it, in the same
 * batch too; one that was replaced, and whose destructor has run, is in none of them. */
#include "check.h"

static atomic_int sent, destroyed;

static void on_client(void *ctx, const wb_event *ev) {
    (void)ctx;
    if (ev->kind == WB_EV_CONNECTED) {
        wb_stream stream;
        size_t accepted;
        for (int i = 0; i < 2; i++) {
            OK(wb_stream_open(ev->conn, WB_STREAM_UNI, &stream));
            OK(wb_stream_send_copy(stream, "hello", 5, WB_FIN, &accepted));
            OK(wb_handle_release(stream));
        }
    }
    if (ev->kind == WB_EV_STREAM_SEND_DONE) atomic_fetch_add(&sent, 1);
}

static void destroy(void *ctx) {
    *(int *)ctx = -1;
    atomic_fetch_add(&destroyed, 1);
}

int main(int argc, char **argv) {
    static int conn_mark, first[2], second[2];
    CHECK(argc == 2);
    wb_runtime server, client;
    wb_queue queue;
    wb_config sc, cc;
    wb_endpoint endpoint;
    wb_addr address;
    wb_conn conn;
    wb_tls st = tls_for(WB_ROLE_SERVER, argv[1]), ct = tls_for(WB_ROLE_CLIENT, argv[1]);
    OK(wb_runtime_open(0, &server));
    OK(wb_queue_open(server, &queue));
    OK(wb_config_new(WB_CONFIG_CONN, &sc));
    OK(wb_config_set_u64(sc, WB_KEY_HTTP3, 0));
    OK(wb_server_listen(server, sc, st, "127.0.0.1", WB_TEXT_Z, 0, &endpoint));
    OK(wb_endpoint_address(endpoint, &address));
    OK(wb_runtime_open(0, &client));
    OK(wb_config_new(WB_CONFIG_CONN, &cc));
    OK(wb_config_set_u64(cc, WB_KEY_HTTP3, 0));
    OK(wb_config_on(cc, WB_GROUP_ALL, on_client, NULL, NULL));
    OK(wb_client_connect(client, cc, ct, "127.0.0.1", WB_TEXT_Z, address.port, &conn));
    EVENTUALLY(atomic_load(&sent) == 2);

    /* The server has acknowledged everything, so all its events wait. */
    wb_batch batch = WB_INIT(wb_batch);
    wb_stream streams[2] = {0, 0};
    int incoming = 0, readable = 0, conn_events = 0;
    /* In one batch, unless the worker is still at it. */
    while (readable < 2) {
        OK(wb_queue_take(queue, &batch, 1000, 10 * SECOND));
        for (size_t i = 0; i < batch.count; i++) {
            const wb_event *ev = wb_batch_event(&batch, i);
            if (ev->kind == WB_EV_CONN_INCOMING) {
                CHECK(ev->user_conn == NULL);
                OK(wb_handle_set_user(ev->conn, &conn_mark, NULL));
            }
            if (ev->conn != 0) CHECK(ev->user_conn == &conn_mark && ++conn_events);
            if (ev->kind == WB_EV_STREAM_INCOMING) {
                CHECK(incoming < 2 && ev->user_stream == NULL);
                streams[incoming] = ev->stream;
                OK(wb_handle_set_user(ev->stream, &first[incoming], destroy));
                if (incoming == 1) OK(wb_handle_set_user(ev->stream, &second[incoming], destroy));
                incoming++;
            }
            if (ev->kind == WB_EV_STREAM_READABLE) {
                int which = ev->stream == streams[1];
                CHECK(ev->stream == streams[which]);
                CHECK(ev->user_stream == (which ? &second[1] : &first[0]) && *(int *)ev->user_stream == 0);
                readable++;
            }
        }
        OK(wb_queue_return(queue, &batch));
    }
    CHECK(incoming == 2 && readable == 2 && conn_events > 4 && atomic_load(&destroyed) == 1 && first[1] == -1);
    OK(wb_handle_release(conn));
    end(client);
    OK(wb_runtime_close(server, WB_CLOSE_NOW));
    OK(wb_runtime_wait(server, 20 * SECOND));
    while (wb_queue_take(queue, &batch, 100, 0) == WB_OK) OK(wb_queue_return(queue, &batch));
    CHECK(atomic_load(&destroyed) == 3);
    OK(wb_handle_release_many((wb_handle[]){queue, server, client, endpoint, sc, cc, st, ct}, 8));
    puts("users: ok");
    return 0;
}
