/* The client: one state for the whole run, driven by events; the main thread only begins and waits. See bench.h. */
#include "bench.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { HANDSHAKES_AT_ONCE = 50 };

static struct {
    wb_endpoint endpoint;
    wb_config config;
    wb_queue queue;
    wb_tls shared, *fresh; /* only connections of one TLS object resume each other's sessions */
    struct link *links;
    uint64_t next_link;
    atomic_int ending, finished;
    /* Streams. */
    uint64_t up, down, to_start, done, total;
    double *times;
    /* Connections. */
    uint64_t to_open, open, want_open, handshakes, resumed;
    int resume, churn; /* churn: connections are closed as soon as they are done with */
} run;

/* A connection; the array outlives them all. */
struct link {
    wb_conn conn;
    double start;
    int closing;
};

struct fetch {
    unsigned char head[RAW_HEAD];
    struct wb_stream_first first; /* raw: sends the head; `accepted` is how much of it has gone */
    uint64_t got, left;
    double start;
    struct link *link;
};

/* The main thread begins what the worker goes on with. */
static pthread_mutex_t counting = PTHREAD_MUTEX_INITIALIZER;

static int take_one(uint64_t *count) {
    pthread_mutex_lock(&counting);
    int got = *count > 0;
    *count -= (uint64_t)got;
    pthread_mutex_unlock(&counting);
    return got;
}

static void finish(void) {
    atomic_store(&run.finished, 1);
    if (!options.queue) wb_queue_wake(run.queue);
}

/* ---- streams ---- */

static wb_status open_request(wb_conn conn, wb_stream *s) {
    char path[24];
    snprintf(path, sizeof path, "/%llu", (unsigned long long)run.down);
    struct wb_field fields[] = {
        WB_FIELD(":method", run.up > 0 ? "POST" : "GET"), WB_FIELD(":scheme", "https"), WB_FIELD(":authority", "localhost"),
        WB_FIELD(":path", path),
        WB_FIELD("user-agent", "bench"),
    };
    return wb_h3_request(conn, fields, 5, run.up > 0 ? 0 : WB_FIN, s);
}

static void stream_writable(wb_stream s, struct fetch *f) {
    while (f->first.accepted < f->first.len) {
        size_t gone = f->first.accepted, taken = 0;
        wb_status st = wb_stream_send_copy(s, f->head + gone, RAW_HEAD - gone, f->first.flags, &taken);
        f->first.accepted += taken;
        if (st != WB_OK) return;
    }
    if (f->left > 0) push(s, &f->left);
}

/* The stream's state. With HTTP/3 the answer can be here before the thread that sent the request has said what belongs to it. */
static struct fetch *fetch_of(const struct wb_event *ev) {
    struct wb_handle_desc d = WB_INIT(wb_handle_desc);
    d.user = ev->user_stream;
    while (d.user == NULL && wb_handle_info(ev->stream, &d) == WB_OK && d.user == NULL) sched_yield();
    return d.user;
}

/* A raw stream has its state from the start. What was not taken goes when it is writable: without a body `f` is the worker's
 * from here on, and may be gone. */
static void begin_raw(struct link *link, struct fetch *f) {
    wb_stream s = 0;
    for (int i = 0; i < RAW_HEAD; i++) f->head[i] = (unsigned char)(run.down >> (56 - 8 * i));
    f->first = (struct wb_stream_first)WB_INIT(wb_stream_first);
    f->first.flags = run.up > 0 ? 0 : WB_FIN;
    f->first.user = f;
    f->first.destroy = free;
    f->first.data = f->head;
    f->first.len = RAW_HEAD;
    wb_status st = wb_stream_begin(link->conn, WB_STREAM_BIDI, &f->first, &s);
    if (st != WB_PARTIAL) must(st, "begin");
    if (st == WB_OK && run.up > 0) stream_writable(s, f);
}

static void start_stream(struct link *link) {
    wb_stream s = 0;
    struct fetch *f = calloc(1, sizeof *f);
    if (f == NULL) fail("no memory");
    f->start = wall();
    f->left = run.up;
    f->link = link;
    if (!options.h3) {
        begin_raw(link, f);
        return;
    }
    must(open_request(link->conn, &s), "request");
    must(wb_handle_set_user(s, f, free), "user");
    stream_writable(s, f);
}

static void close_link(struct link *link) {
    link->closing = 1;
    wb_conn_close(link->conn, 0, NULL, 0);
}

static void stream_readable(wb_stream s, struct fetch *f) {
    if (!drain(s, &f->got)) return;
    if (f->got != run.down) fail("wrong number of bytes");
    struct link *link = f->link;
    double start = f->start;
    wb_handle_release(s); /* frees f when the stream has closed */
    if (run.churn) {
        run.times[run.done++] = wall() - link->start;
        close_link(link);
        return;
    }
    if (run.times != NULL) run.times[run.done] = wall() - start;
    if (++run.done == run.total)
        finish();
    else if (take_one(&run.to_start))
        start_stream(link);
}

/* ---- connections ---- */

/* All connections share one endpoint. Each has a socket of its own, connected to the server: the library's default for
 * clients (docs/architecture.md, "Paths"), and what it costs is measured with the rest. */
static void dial(void) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(options.port)};
    pthread_mutex_lock(&counting);
    uint64_t i = run.next_link++;
    pthread_mutex_unlock(&counting);
    struct link *link = &run.links[i];
    if (inet_pton(AF_INET, options.host, &to.sin_addr) != 1) fail("the host must be an IPv4 address");
    link->start = wall();
    must(wb_conn_open(run.endpoint, run.config, run.resume ? run.shared : run.fresh[i], &link->conn), "connection");
    must(wb_handle_set_user(link->conn, link, NULL), "user");
    must(wb_conn_start_address(link->conn, (struct sockaddr *)&to, sizeof to, "localhost", WB_TEXT_Z), "connect");
}

static void connected(struct link *link, int resumed) {
    run.resumed += (uint64_t)resumed;
    if (!run.resume && resumed) fail("a handshake that should be full was resumed");
    if (run.churn) {
        if (run.resume) { /* the answer comes with or after the tickets that the next handshake needs */
            start_stream(link);
            return;
        }
        run.times[run.done++] = wall() - link->start;
        close_link(link);
        return;
    }
    if (++run.open == run.want_open)
        finish();
    else if (take_one(&run.to_open))
        dial();
}

static void closed(const struct wb_event *ev, struct link *link) {
    if (atomic_load(&run.ending)) return;
    if (link == NULL || !link->closing) {
        char text[200];
        snprintf(text, sizeof text, "a connection ended: code %llu %.*s", (unsigned long long)ev->a, (int)ev->data_len,
                 (const char *)ev->data);
        fail(text);
    }
    wb_handle_release(link->conn);
    if (--run.handshakes == 0)
        finish();
    else if (take_one(&run.to_open))
        dial();
}

static void on_client(void *ctx, const struct wb_event *ev) {
    struct fetch *f;
    (void)ctx;
    switch (ev->kind) {
    case WB_EV_CONNECTED:
        connected(ev->user_conn, ev->a == 1);
        break;
    case WB_EV_CONN_CLOSED:
        closed(ev, ev->user_conn);
        break;
    case WB_EV_STREAM_READABLE:
        if ((f = fetch_of(ev)) != NULL) stream_readable(ev->stream, f);
        break;
    case WB_EV_STREAM_WRITABLE:
        if ((f = fetch_of(ev)) != NULL) stream_writable(ev->stream, f);
        break;
    case WB_EV_STREAM_RESET:
    case WB_EV_STREAM_STOPPED:
        fail("the peer ended a stream early");
    }
}

static void wait_until_finished(void) {
    while (!atomic_load(&run.finished)) pump(run.queue, options.queue ? on_client : NULL, 100000000);
    atomic_store(&run.finished, 0);
}

/* ---- the run ---- */

static void turn(void) {
    char line[64];
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL) line[0] = 0;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(double p) {
    if (run.times == NULL || run.done == 0) return 0;
    size_t i = (size_t)((double)run.done * p);
    return run.times[i < run.done ? i : run.done - 1] * 1e6;
}

static void result(double seconds) {
    if (run.times != NULL) qsort(run.times, run.done, sizeof *run.times, ascending);
    printf("{\"wall\": %f, \"p50\": %f, \"p99\": %f, \"p999\": %f, \"resumed\": %llu}\n", seconds, percentile(0.5),
           percentile(0.99), percentile(0.999), (unsigned long long)run.resumed);
    turn();
}

static void *room(uint64_t count, size_t size) {
    void *p = calloc(count > 0 ? count : 1, size);
    if (p == NULL) fail("no memory");
    return p;
}

/* Room for `count` connections. TLS objects are made before anything is measured. */
static void prepare(uint64_t count, int resume) {
    run.links = room(count, sizeof *run.links);
    run.resume = resume;
    run.shared = tls_object(WB_ROLE_CLIENT);
    if (resume) return;
    run.fresh = room(count, sizeof *run.fresh);
    for (uint64_t i = 0; i < count; i++) run.fresh[i] = tls_object(WB_ROLE_CLIENT);
}

static void open_to(uint64_t want) {
    uint64_t more = want - run.open;
    if (more == 0) return;
    uint64_t now = more < HANDSHAKES_AT_ONCE ? more : HANDSHAKES_AT_ONCE;
    run.want_open = want;
    run.to_open = more - now;
    for (uint64_t i = 0; i < now; i++) dial();
    wait_until_finished();
}

static void move(uint64_t up, uint64_t down, uint64_t streams, uint64_t conns, uint64_t count, int timed) {
    uint64_t together = streams * conns;
    prepare(conns, 0);
    open_to(conns);
    run.total = count;
    run.to_start = count - together;
    run.up = up;
    run.down = down;
    run.times = timed ? room(count, sizeof *run.times) : NULL;
    puts("ready");
    turn();
    double start = wall();
    for (uint64_t i = 0; i < together; i++) start_stream(&run.links[i % conns]);
    wait_until_finished();
    result(wall() - start);
}

static void handshakes(uint64_t count, int resume, uint64_t together) {
    prepare(count + 1, resume);
    run.down = 1;
    run.total = 1;
    open_to(1); /* warms up; its tickets are for the first resumed handshake */
    start_stream(&run.links[0]);
    wait_until_finished();
    run.churn = 1;
    run.done = 0;
    run.resumed = 0;
    run.handshakes = count;
    run.to_open = count - together;
    run.times = room(count, sizeof *run.times);
    puts("ready");
    turn();
    double start = wall();
    for (uint64_t i = 0; i < together; i++) dial();
    wait_until_finished();
    result(wall() - start);
}

static void grow(int steps, char **step) {
    prepare(strtoull(step[steps - 1], NULL, 10), 0);
    puts("ready");
    turn();
    for (int i = 0; i < steps; i++) {
        double start = wall();
        open_to(strtoull(step[i], NULL, 10));
        result(wall() - start);
    }
}

int drive(int argc, char **argv) {
    wb_runtime runtime = one_worker();
    uint64_t n[4] = {0};
    for (int i = 1; i < argc && i <= 4; i++) n[i - 1] = strtoull(argv[i], NULL, 10);
    run.config = conn_config();
    must(wb_queue_open(runtime, &run.queue), "queue");
    if (!options.queue) must(wb_config_on(run.config, WB_GROUP_ALL, on_client, NULL, NULL), "callback");
    must(wb_endpoint_open(runtime, 0, &run.endpoint), "endpoint");
    if (strcmp(argv[0], "move") == 0 && argc == 5 && n[2] > 0 && n[3] > 0) {
        uint64_t parts = n[2] * n[3];
        move(n[0] / parts, n[1] / parts, n[2], n[3], parts, 0);
    } else if (strcmp(argv[0], "requests") == 0 && argc == 4 && n[2] > 0) {
        move(0, n[1], n[2], 1, n[0], 1);
    } else if (strcmp(argv[0], "handshakes") == 0 && argc == 4 && n[2] > 0) {
        handshakes(n[0], strcmp(argv[2], "resumed") == 0, n[2]);
    } else if (strcmp(argv[0], "grow") == 0 && argc > 1) {
        grow(argc - 1, argv + 1);
    } else {
        fail("no such work");
    }
    atomic_store(&run.ending, 1);
    wb_runtime_close(runtime, WB_CLOSE_NOW);
    wb_runtime_wait(runtime, 1000000000);
    return 0;
}
