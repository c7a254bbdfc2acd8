/* The bench's program: options, configuration and the two halves of moving bytes. See bench.h. */
#include "bench.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct options options = {.host = "127.0.0.1", .payload = 1472, .congestion = UINT64_MAX};

static unsigned char block[BLOCK];
static wb_buf lent; /* the block, lent once for the life of the process */

_Noreturn void fail(const char *text) {
    fprintf(stderr, "wb_bench: %s\n", text);
    exit(1);
}

void must(wb_status s, const char *what) {
    struct wb_error_info e = WB_INIT(wb_error_info);
    if (s >= 0) return;
    wb_last_error(&e);
    fprintf(stderr, "wb_bench: %s: %s (%s)\n", what, wb_status_name(s), e.text);
    exit(1);
}

double wall(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

wb_config conn_config(void) {
    wb_config c = 0;
    must(wb_config_new(WB_CONFIG_CONN, &c), "config");
    must(wb_config_set_u64(c, WB_KEY_STREAM_WINDOW, WINDOW), "stream window");
    must(wb_config_set_u64(c, WB_KEY_CONN_WINDOW, WINDOW), "connection window");
    must(wb_config_set_u64(c, WB_KEY_MAX_STREAMS_BIDI, STREAMS), "streams");
    must(wb_config_set_u64(c, WB_KEY_MAX_IDLE_MS, IDLE_MS), "idle timeout");
    must(wb_config_set_u64(c, WB_KEY_HANDSHAKE_MS, 60000), "handshake timeout");
    must(wb_config_set_u64(c, WB_KEY_MAX_UDP_PAYLOAD, options.payload), "payload");
    must(wb_config_set_u64(c, WB_KEY_HTTP3, options.h3 != 0), "http3");
    /* Nothing here waits for acknowledgements or ends, and streams are read when they come. */
    must(wb_config_set_u64(c, WB_KEY_SPARE, WB_SPARE_SEND_DONE | WB_SPARE_CLOSED | WB_SPARE_FIRST_READABLE), "events");
    if (options.congestion != UINT64_MAX) must(wb_config_set_u64(c, WB_KEY_CONGESTION, options.congestion), "controller");
    return c;
}

wb_tls tls_object(uint32_t role) {
    char a[512], b[512];
    struct wb_text alpn = options.h3 ? (struct wb_text){"h3", 2} : (struct wb_text){"bench", 5};
    wb_tls t = 0;
    must(wb_tls_new(role, &t), "tls");
    must(wb_tls_alpn(t, &alpn, 1), "alpn");
    snprintf(a, sizeof a, "%s/%s", options.certs, role == WB_ROLE_SERVER ? "cert.pem" : "ca.pem");
    snprintf(b, sizeof b, "%s/key.pem", options.certs);
    must(role == WB_ROLE_SERVER ? wb_tls_identity_files(t, a, b) : wb_tls_trust_file(t, a), "certificates");
    return t;
}

wb_runtime one_worker(void) {
    wb_config c = 0;
    wb_runtime r = 0;
    must(wb_config_new(WB_CONFIG_RUNTIME, &c), "config");
    must(wb_config_set_u64(c, WB_KEY_WORKERS, 1), "workers");
    must(wb_runtime_open(c, &r), "runtime");
    return r;
}

void pump(wb_queue queue, wb_event_fn handle, int64_t timeout_ns) {
    struct wb_batch batch = WB_INIT(wb_batch);
    if (wb_queue_take(queue, &batch, 1024, timeout_ns) != WB_OK) return;
    for (size_t i = 0; handle != NULL && i < batch.count; i++) handle(NULL, wb_batch_event(&batch, i));
    wb_queue_return(queue, &batch);
}

int push(wb_stream stream, uint64_t *left) {
    while (*left > 0) {
        size_t taken = 0, want = *left < BLOCK ? (size_t)*left : BLOCK;
        uint32_t fin = want == *left ? WB_FIN : 0;
        wb_status st;
        if (want <= 16384) {
            st = wb_stream_send_copy(stream, block, want, fin, &taken);
        } else {
            wb_buf piece = lent;
            if (want < BLOCK) must(wb_buf_slice(lent, 0, want, &piece), "slice");
            st = wb_stream_send(stream, &piece, 1, fin, &taken);
            if (piece != lent) wb_handle_release(piece);
        }
        *left -= taken;
        if (st != WB_OK) return 0;
    }
    return 1;
}

int drain(wb_stream stream, uint64_t *got) {
    static unsigned char sink[256 * 1024];
    size_t n = 0;
    uint8_t fin = 0;
    while (!fin && wb_stream_recv_copy(stream, sink, sizeof sink, &n, &fin) == WB_OK) *got += n;
    return fin;
}

static void usage(void) {
    fprintf(stderr, "usage: wb_bench --port P --certs DIR [--host H] [--payload BYTES] [--congestion NUMBER] [--h3] [--queue]\n"
                    "  server | move UP DOWN STREAMS CONNS | requests COUNT SIZE CONCURRENT\n"
                    "  | handshakes COUNT full|resumed CONCURRENT | grow STEP...\n");
    exit(2);
}

int main(int argc, char **argv) {
    int i = 1;
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
        const char *name = argv[i] + 2;
        if (strcmp(name, "h3") == 0) {
            options.h3 = 1;
            continue;
        }
        if (strcmp(name, "queue") == 0) {
            options.queue = 1;
            continue;
        }
        const char *value = ++i < argc ? argv[i] : "";
        if (strcmp(name, "port") == 0)
            options.port = (uint16_t)atoi(value);
        else if (strcmp(name, "certs") == 0)
            options.certs = value;
        else if (strcmp(name, "host") == 0)
            options.host = value;
        else if (strcmp(name, "payload") == 0)
            options.payload = strtoull(value, NULL, 10);
        else if (strcmp(name, "congestion") == 0)
            options.congestion = strtoull(value, NULL, 10);
        else
            usage();
    }
    if (i >= argc || options.certs == NULL || options.port == 0) usage();
    memset(block, 0x5a, sizeof block);
    must(wb_buf_wrap(block, sizeof block, NULL, NULL, &lent), "wrap");
    if (strcmp(argv[i], "server") == 0) serve();
    return drive(argc - i, argv + i);
}
