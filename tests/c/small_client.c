/* The smallest honest client: GET https://HOST:PORT/ with a CA file, body to standard output. */
#include "whimbrel.h"
#include <stdio.h>
#include <stdlib.h>

static int fail(const char *what, wb_conn conn) {
    wb_error_info e = WB_INIT(wb_error_info);
    if (conn == 0 || wb_conn_error(conn, &e) != WB_OK || e.status == WB_OK) wb_last_error(&e);
    fprintf(stderr, "%s: %s (%s)\n", what, e.text, wb_status_name(e.status));
    return 1;
}

static int on_event(wb_conn conn, const wb_event *ev, wb_stream *request) {
    static char room[65536];
    wb_field get[] = {WB_FIELD(":method", "GET"), WB_FIELD(":scheme", "https"), WB_FIELD(":authority", "localhost"),
                      WB_FIELD(":path", "/")};
    size_t got = 0;
    uint8_t fin = 0;
    wb_status s;
    switch (ev->kind) {
    case WB_EV_CONNECTED: return wb_h3_request(conn, get, 4, WB_FIN, request) == WB_OK ? -1 : fail("request", 0);
    case WB_EV_H3_HEADERS: return ev->flags & WB_EVF_FIN ? 0 : -1;
    case WB_EV_STREAM_READABLE:
        while ((s = wb_stream_recv_copy(ev->stream, room, sizeof room, &got, &fin)) == WB_OK) {
            fwrite(room, 1, got, stdout);
            if (fin) return 0;
        }
        return s == WB_E_WOULD_BLOCK ? -1 : fail("body", 0);
    case WB_EV_STREAM_RESET:
    case WB_EV_CONN_CLOSED: return fail("connection", conn);
    default: return -1;
    }
}

int main(int argc, char **argv) {
    wb_runtime runtime = 0;
    wb_queue queue = 0;
    wb_tls tls = 0;
    wb_conn conn = 0;
    wb_stream request = 0;
    int result = -1;
    if (argc != 4) return fprintf(stderr, "usage: %s HOST PORT CA.pem\n", argv[0]), 2;
    if (wb_runtime_open(0, &runtime) || wb_queue_open(runtime, &queue) || wb_tls_new(WB_ROLE_CLIENT, &tls) ||
        wb_tls_trust_file(tls, argv[3]) ||
        wb_client_connect(runtime, 0, tls, argv[1], WB_TEXT_Z, (uint16_t)atoi(argv[2]), &conn))
        return fail("start", 0);
    while (result < 0) {
        wb_batch batch = WB_INIT(wb_batch);
        if (wb_queue_take(queue, &batch, 64, -1) != WB_OK) return fail("queue", 0);
        for (size_t i = 0; i < batch.count && result < 0; i++) result = on_event(conn, wb_batch_event(&batch, i), &request);
        wb_queue_return(queue, &batch);
    }
    wb_runtime_close(runtime, WB_CLOSE_GRACEFUL);
    wb_runtime_wait(runtime, 2000000000);
    wb_handle_release_many((wb_handle[]){request, conn, tls, queue, runtime}, 5);
    return result;
}
