/* migrate: a download during which the client's socket is replaced again and again.
 *
 *   migrate [-n MOVES] [-o FILE] [-c CA.pem] [-s CIPHER-SUITE] https://HOST[:PORT]/PATH
 *
 * Shows path events, and that one connection survives: every move is a new socket with a new port, a new
 * connection ID (so nobody on the way can link the two), a validated path, and not a byte lost.
 * Exit status: 0 all moves done and the whole body received, 1 otherwise, 2 wrong usage.
 */
#include "url.h"
#include "whimbrel.h"
#include <getopt.h>
#include <time.h>

static struct url url;
static FILE *out;
static uint64_t received, expected;
static wb_queue queue;
static wb_stream request; /* kept: releasing an unfinished request would cancel it */
static unsigned wanted = 10, asked, validated, moved, refused;

/* Next move: when as much of the body has come as its share of the moves. */
static void maybe_move(wb_conn conn) {
    if (asked >= wanted || expected == 0 || asked > moved || received < expected / (wanted + 1) * (asked + 1)) return;
    wb_status s = wb_conn_migrate(conn, NULL, 0);
    if (s == WB_OK)
        asked++;
    else if (s != WB_E_LIMIT && s != WB_E_STATE) /* these two pass: no spare connection ID yet, not confirmed yet */
        fprintf(stderr, "migrate: %s\n", wb_status_name(s)), refused++;
}

/* The body must not run ahead of the moves: on a fast network it would be over before the last of them. Whoever waits
 * does not read, and flow control does the rest. Gives up after some seconds without a move. */
static int lagging(void) {
    static unsigned waits, at;
    if (at != moved) at = moved, waits = 0;
    return moved < wanted && expected != 0 && received >= expected / (wanted + 1) * (moved + 2) && ++waits < 5000;
}

/* 1 at the end of the body, 0 when more will come, -1 on failure. Reads a bounded amount and wakes its own queue to
 * go on, so that path events get their turn during a download that never runs dry. */
static int body(wb_conn conn) {
    wb_buf buffers[16];
    size_t count = 0;
    uint8_t fin = 0;
    wb_status s = WB_OK;
    if (lagging()) {
        maybe_move(conn);
        nanosleep(&(struct timespec){0, 1000000}, NULL);
        return wb_queue_wake(queue) == WB_OK ? 0 : -1;
    }
    for (int round = 0; (s = wb_stream_recv(request, buffers, 16, &count, &fin)) == WB_OK; round++) {
        for (size_t i = 0; i < count; i++) {
            const void *data;
            size_t len;
            if (wb_buf_view(buffers[i], &data, &len) != WB_OK || fwrite(data, 1, len, out) != len) return -1;
            received += len;
        }
        wb_handle_release_many(buffers, count);
        if (fin) return 1;
        maybe_move(conn);
        if (round == 15) return wb_queue_wake(queue) == WB_OK ? 0 : -1;
    }
    return s == WB_E_WOULD_BLOCK ? 0 : s == WB_E_FINISHED ? 1 : -1;
}

static int on_event(wb_conn conn, const struct wb_event *ev) {
    struct wb_error_info e = WB_INIT(wb_error_info);
    struct wb_field fields[] = {
        WB_FIELD(":method", "GET"),
        WB_FIELD(":scheme", "https"),
        WB_FIELD(":authority", url.authority),
        WB_FIELD(":path", url.path),
    };
    const char *value;
    size_t len;
    switch (ev->kind) {
    case WB_EV_CONNECTED: {
        struct wb_conn_counters c = WB_INIT(wb_conn_counters);
        wb_conn_stats(conn, &c);
        printf("handshake      %.2f ms\n", (double)c.handshake_ns / 1e6);
        return wb_h3_request(conn, fields, 4, WB_FIN, &request) == WB_OK ? 0 : -1;
    }
    case WB_EV_H3_HEADERS:
        if (ev->a != 200) return fprintf(stderr, "migrate: the server answered %llu\n", (unsigned long long)ev->a), -1;
        wb_h3_field(ev->stream, WB_SECTION_HEADERS, "content-length", WB_TEXT_Z, &value, &len);
        expected = value != NULL ? strtoull(value, NULL, 10) : 0;
        return 0;
    case WB_EV_STREAM_READABLE:
    case WB_EV_WAKE:
        return body(conn);
    case WB_EV_PATH_VALIDATED:
        validated++;
        return 0;
    case WB_EV_PATH_MIGRATED:
        moved++;
        printf("path %-3u at %3.0f %%  %.*s\n", moved, expected ? 100.0 * (double)received / (double)expected : 0,
               (int)ev->data_len, (const char *)ev->data);
        maybe_move(conn);
        return 0;
    case WB_EV_PATH_FAILED:
        fprintf(stderr, "migrate: a path did not answer\n");
        return 0;
    case WB_EV_CONN_CLOSED:
        wb_conn_error(conn, &e);
        fprintf(stderr, "migrate: %s\n", e.text);
        return -1;
    default:
        return 0;
    }
}

int main(int argc, char **argv) {
    const char *ca = NULL, *file = "/dev/null";
    uint16_t suite = 0;
    int c;
    while ((c = getopt(argc, argv, "n:o:c:s:")) != -1) {
        if (c == 'n')
            wanted = (unsigned)strtoul(optarg, NULL, 10);
        else if (c == 'o')
            file = optarg;
        else if (c == 'c')
            ca = optarg;
        else if (c == 's')
            suite = (uint16_t)strtoul(optarg, NULL, 0);
        else
            return 2;
    }
    if (argc - optind != 1 || url_parse(argv[optind], &url) != 0) {
        fprintf(stderr, "usage: migrate [-n MOVES] [-o FILE] [-c CA.pem] [-s CIPHER-SUITE] https://HOST[:PORT]/PATH\n");
        return 2;
    }
    if ((out = fopen(file, "wb")) == NULL) return perror(file), 1;

    wb_runtime runtime = 0;
    wb_tls tls = 0;
    wb_conn conn = 0;
    struct wb_error_info e = WB_INIT(wb_error_info);
    int done = 0;
    wb_tls_new(WB_ROLE_CLIENT, &tls);
    if ((ca != NULL && wb_tls_trust_file(tls, ca) != WB_OK) ||
        (suite != 0 && wb_tls_ciphers(tls, &suite, 1) != WB_OK) || wb_runtime_open(0, &runtime) != WB_OK ||
        wb_queue_open(runtime, &queue) != WB_OK ||
        wb_client_connect(runtime, 0, tls, url.host, WB_TEXT_Z, url.port, &conn) != WB_OK) {
        wb_last_error(&e);
        fprintf(stderr, "migrate: %s\n", e.text);
        return 1;
    }
    while (done == 0) {
        struct wb_batch batch = WB_INIT(wb_batch);
        if (wb_queue_take(queue, &batch, 64, -1) != WB_OK) break;
        for (size_t i = 0; i < batch.count && done == 0; i++) done = on_event(conn, wb_batch_event(&batch, i));
        wb_queue_return(queue, &batch);
    }

    struct wb_conn_counters n = WB_INIT(wb_conn_counters);
    wb_conn_stats(conn, &n);
    printf("body           %llu bytes\n", (unsigned long long)received);
    printf("path changes   %u of %u, all on one connection (%u paths validated)\n", moved, wanted, validated);
    printf("packets        %llu received, %llu sent, %llu lost\n", (unsigned long long)n.packets_received,
           (unsigned long long)n.packets_sent, (unsigned long long)n.packets_lost);
    wb_conn_close(conn, 0, NULL, 0);
    wb_runtime_close(runtime, WB_CLOSE_GRACEFUL);
    wb_runtime_wait(runtime, 2000000000);
    wb_handle_release_many((wb_handle[]){request, conn, queue, runtime, tls}, 5);
    if (fclose(out) != 0) return perror(file), 1;
    return done == 1 && received == expected && moved >= wanted && refused == 0 ? 0 : 1;
}
