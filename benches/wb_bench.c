/* Whimbrel under the benchmark's little protocol, through the C ABI: a stream carries an 8-byte number N, the answer
 * is N bytes and FIN. The same words and output as benches/peers:
 *
 *   wb_bench --port P --certs DIR server | bulk BYTES STREAMS | requests COUNT SIZE CONCURRENT | handshakes COUNT
 */
#include "whimbrel.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WINDOW (16u << 20)
#define BLOCK (1u << 20)

static const char *certs;
static unsigned char block[BLOCK];

static double wall(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void must(wb_status s, const char *what) {
    struct wb_error_info e = WB_INIT(wb_error_info);
    if (s >= 0) return;
    wb_last_error(&e);
    fprintf(stderr, "wb_bench: %s: %s (%s)\n", what, wb_status_name(s), e.text);
    exit(1);
}

static wb_config conn_config(void) {
    wb_config c = 0;
    must(wb_config_new(WB_CONFIG_CONN, &c), "config");
    must(wb_config_set_u64(c, WB_KEY_STREAM_WINDOW, WINDOW), "stream window");
    must(wb_config_set_u64(c, WB_KEY_CONN_WINDOW, WINDOW), "connection window");
    must(wb_config_set_u64(c, WB_KEY_MAX_STREAMS_BIDI, 256), "streams");
    must(wb_config_set_u64(c, WB_KEY_HTTP3, 0), "raw streams");
    return c;
}

static wb_tls tls_object(uint32_t role) {
    char a[512], b[512];
    struct wb_text alpn = {"bench", 5};
    wb_tls t = 0;
    must(wb_tls_new(role, &t), "tls");
    must(wb_tls_alpn(t, &alpn, 1), "alpn");
    snprintf(a, sizeof a, "%s/%s", certs, role == WB_ROLE_SERVER ? "cert.pem" : "ca.pem");
    snprintf(b, sizeof b, "%s/key.pem", certs);
    must(role == WB_ROLE_SERVER ? wb_tls_identity_files(t, a, b) : wb_tls_trust_file(t, a), "certificates");
    return t;
}

static wb_runtime one_worker(void) {
    wb_config c = 0;
    wb_runtime r = 0;
    must(wb_config_new(WB_CONFIG_RUNTIME, &c), "config");
    must(wb_config_set_u64(c, WB_KEY_WORKERS, 1), "workers");
    must(wb_runtime_open(c, &r), "runtime");
    return r;
}

/* ---- server: callbacks on the worker ---- */

struct job {
    unsigned char head[8];
    size_t have;
    uint64_t left;
};

static wb_buf lent; /* the block, lent once for the life of the process */

static void job_send(wb_stream s, struct job *j) {
    while (j->left > 0) {
        size_t taken = 0, want = j->left < BLOCK ? (size_t)j->left : BLOCK;
        wb_status st;
        if (want <= 16384) {
            st = wb_stream_send_copy(s, block, want, WB_FIN, &taken);
        } else {
            wb_buf piece = lent;
            if (want < BLOCK) must(wb_buf_slice(lent, 0, want, &piece), "slice");
            st = wb_stream_send(s, &piece, 1, want == j->left ? WB_FIN : 0, &taken);
            if (piece != lent) wb_handle_release(piece);
        }
        j->left -= taken;
        if (st != WB_OK) return;
    }
}

static void job_read(wb_stream s, struct job *j) {
    while (j->have < 8) {
        size_t got = 0;
        uint8_t fin = 0;
        if (wb_stream_recv_copy(s, j->head + j->have, 8 - j->have, &got, &fin) != WB_OK) return;
        j->have += got;
    }
    if (j->left != 0) return;
    for (int i = 0; i < 8; i++) j->left = j->left << 8 | j->head[i];
    size_t got;
    uint8_t fin;
    char end;
    wb_stream_recv_copy(s, &end, 1, &got, &fin);
    job_send(s, j);
}

static void on_server(void *ctx, const struct wb_event *ev) {
    struct job *j = ev->user_stream;
    (void)ctx;
    if (ev->kind == WB_EV_STREAM_INCOMING) {
        j = calloc(1, sizeof *j);
        if (j == NULL || wb_handle_set_user(ev->stream, j, free) != WB_OK) free(j);
    } else if (ev->kind == WB_EV_STREAM_READABLE && j != NULL) {
        job_read(ev->stream, j);
    } else if (ev->kind == WB_EV_STREAM_WRITABLE && j != NULL) {
        job_send(ev->stream, j);
    }
}

_Noreturn static void serve(uint16_t port) {
    wb_config c = conn_config();
    wb_endpoint e = 0;
    must(wb_config_on(c, WB_GROUP_ALL, on_server, NULL, NULL), "callback");
    must(wb_buf_wrap(block, sizeof block, NULL, NULL, &lent), "wrap");
    must(wb_server_listen(one_worker(), c, tls_object(WB_ROLE_SERVER), "127.0.0.1", WB_TEXT_Z, port, &e), "listen");
    puts("ready");
    fflush(stdout);
    for (;;) pause();
}

/* ---- client: callbacks on the worker, the main thread waits ---- */

static struct {
    uint64_t size, left_to_start, running, done, total;
    double *times;
    wb_conn conn;
    atomic_int finished;
    wb_queue wake;
} run;

struct fetch {
    uint64_t got;
    double start;
};

static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER; /* the main thread starts the first ones */

static void start_one(wb_conn conn) {
    pthread_mutex_lock(&starting);
    int last = run.left_to_start == 0;
    if (!last) run.left_to_start--;
    pthread_mutex_unlock(&starting);
    if (last) return;

    unsigned char ask[8];
    size_t taken;
    wb_stream s = 0;
    struct fetch *f;
    must(wb_stream_open(conn, WB_STREAM_BIDI, &s), "open");
    f = calloc(1, sizeof *f);
    f->start = wall();
    must(wb_handle_set_user(s, f, free), "user");
    for (int i = 0; i < 8; i++) ask[i] = (unsigned char)(run.size >> (56 - 8 * i));
    must(wb_stream_send_copy(s, ask, 8, WB_FIN, &taken), "ask"); /* the handle is released when the answer is here */
}

static void on_client(void *ctx, const struct wb_event *ev) {
    static unsigned char sink[256 * 1024];
    struct fetch *f = ev->user_stream;
    (void)ctx;
    if (ev->kind == WB_EV_CONNECTED) {
        atomic_store(&run.finished, 1);
        wb_queue_wake(run.wake);
    } else if (ev->kind == WB_EV_CONN_CLOSED) {
        atomic_store(&run.finished, 2);
        wb_queue_wake(run.wake);
    } else if (ev->kind == WB_EV_STREAM_READABLE && f != NULL) {
        size_t got = 0;
        uint8_t fin = 0;
        while (!fin && wb_stream_recv_copy(ev->stream, sink, sizeof sink, &got, &fin) == WB_OK) f->got += got;
        if (!fin) return;
        if (f->got != run.size) {
            fprintf(stderr, "wb_bench: %llu bytes instead of %llu\n", (unsigned long long)f->got, (unsigned long long)run.size);
            exit(1);
        }
        if (run.times != NULL) run.times[run.done] = wall() - f->start;
        wb_handle_release(ev->stream);
        if (++run.done == run.total) {
            atomic_store(&run.finished, 3);
            wb_queue_wake(run.wake);
        } else {
            start_one(ev->conn);
        }
    }
}

static void wait_for(int what) {
    while (atomic_load(&run.finished) != what) {
        struct wb_batch batch = WB_INIT(wb_batch);
        if (wb_queue_take(run.wake, &batch, 16, 100000000) == WB_OK) wb_queue_return(run.wake, &batch);
        if (atomic_load(&run.finished) == 2 && what != 2) {
            struct wb_error_info e = WB_INIT(wb_error_info);
            wb_conn_error(run.conn, &e);
            fprintf(stderr, "wb_bench: %s\n", e.text);
            exit(1);
        }
    }
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(double p) {
    if (run.times == NULL || run.total == 0) return 0;
    size_t i = (size_t)((double)run.total * p);
    return run.times[i < run.total ? i : run.total - 1] * 1e6;
}

/* All connections of a run share one endpoint, and so one socket, as the peers' do. */
static void dial(wb_endpoint endpoint, wb_config config, wb_tls tls, uint16_t port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    must(wb_conn_open(endpoint, config, tls, &run.conn), "connection");
    must(wb_conn_start_address(run.conn, (struct sockaddr *)&to, sizeof to, "localhost", WB_TEXT_Z), "connect");
}

static wb_status must_be_full(wb_conn conn) {
    struct wb_conn_desc d = WB_INIT(wb_conn_desc);
    wb_status st = wb_conn_info(conn, &d);
    return st == WB_OK && d.resumed ? WB_E_STATE : st;
}

static int drive(uint16_t port, int argc, char **argv) {
    wb_runtime runtime = one_worker();
    wb_config c = conn_config();
    wb_tls t = tls_object(WB_ROLE_CLIENT);
    uint64_t n[3] = {0};
    for (int i = 1; i < argc && i <= 3; i++) n[i - 1] = strtoull(argv[i], NULL, 10);
    must(wb_config_on(c, WB_GROUP_ALL, on_client, NULL, NULL), "callback");
    must(wb_queue_open(runtime, &run.wake), "queue");
    wb_endpoint endpoint = 0;
    must(wb_endpoint_open(runtime, 0, &endpoint), "endpoint");
    dial(endpoint, c, t, port);
    wait_for(1);
    /* Only connections of one TLS object resume each other's sessions: with one each, every handshake is a full one. */
    int handshakes = strcmp(argv[0], "handshakes") == 0;
    wb_tls *fresh = handshakes ? calloc(n[0], sizeof *fresh) : NULL;
    for (uint64_t i = 0; fresh != NULL && i < n[0]; i++) fresh[i] = tls_object(WB_ROLE_CLIENT);
    double w = wall(), u = cpu();
    if (handshakes) {
        run.total = n[0];
        run.times = calloc(n[0], sizeof *run.times);
        for (uint64_t i = 0; i < n[0]; i++) {
            double begin = wall();
            wb_conn_close(run.conn, 0, NULL, 0);
            wait_for(2);
            wb_handle_release(run.conn);
            atomic_store(&run.finished, 0);
            dial(endpoint, c, fresh[i], port);
            wait_for(1);
            must(must_be_full(run.conn), "full handshake");
            run.times[i] = wall() - begin;
        }
    } else {
        int bulk = strcmp(argv[0], "bulk") == 0;
        run.total = run.left_to_start = bulk ? n[1] : n[0];
        run.size = bulk ? n[0] / n[1] : n[1];
        run.times = bulk ? NULL : calloc(n[0], sizeof *run.times);
        uint64_t together = bulk ? n[1] : n[2];
        for (uint64_t i = 0; i < together; i++) start_one(run.conn);
        wait_for(3);
    }
    w = wall() - w;
    u = cpu() - u;
    if (run.times != NULL) qsort(run.times, run.total, sizeof *run.times, ascending);
    printf("{\"wall\": %f, \"cpu\": %f, \"p50\": %f, \"p99\": %f, \"p999\": %f}\n", w, u, percentile(0.5),
           percentile(0.99), percentile(0.999));
    wb_conn_close(run.conn, 0, NULL, 0);
    wb_runtime_close(runtime, WB_CLOSE_GRACEFUL);
    wb_runtime_wait(runtime, 1000000000);
    return 0;
}

int main(int argc, char **argv) {
    uint16_t port = 0;
    int i = 1;
    for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        if (strcmp(argv[i], "--port") == 0)
            port = (uint16_t)atoi(argv[i + 1]);
        else
            certs = argv[i + 1];
    }
    if (i >= argc || certs == NULL) {
        fprintf(stderr, "usage: wb_bench --port P --certs DIR server|bulk|requests|handshakes ...\n");
        return 2;
    }
    memset(block, 0x5a, sizeof block);
    if (strcmp(argv[i], "server") == 0) serve(port);
    return drive(port, argc - i, argv + i);
}
