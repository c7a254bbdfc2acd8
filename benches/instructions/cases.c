/* What Whimbrel does in virtual time, for counting instructions: two cores in one thread over a perfect wire, nothing that
 * waits, no socket, no clock. `run.py` runs it under callgrind and counts only what happens inside `measured_server` or
 * `measured_client`; one line on standard output tells how many units (packets, requests, ...) that was.
 *
 *   cases CERTS download|upload|streams|small|small-queue|h3-small|h3-download|handshakes|resumed|idle
 */
#include "whimbrel.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DELAY 50000 /* one way, ns */
#define SECOND INT64_C(1000000000)
#define WINDOW (16u << 20)
#define SLOTS 65536
#define MANY 100 /* streams or requests at once */
#define SMALL 1024
#define JOBS 4096
enum { CLIENT, SERVER };

static void must(wb_status s, const char *what) {
    struct wb_error_info e = WB_INIT(wb_error_info);
    if (s >= 0) return;
    wb_last_error(&e);
    fprintf(stderr, "cases: %s: %s (%s)\n", what, wb_status_name(s), e.text);
    exit(1);
}

struct flying {
    int64_t at;
    int to;
    wb_packet packet;
    unsigned char *bytes;
};

static wb_runtime core[2];
static wb_endpoint endpoint[2];
static wb_queue queue[2];
static wb_tls tls[2];
static wb_config config;
static struct flying air[SLOTS];
static size_t head, tail;
static int64_t now = 5;
static const char *folder;
static int h3, queued, uploads, counting;
static uint64_t datagrams[2]; /* sent while counting */
static unsigned char block[1 << 20];
static wb_buf lent;

/* ---- what is measured: one call into one end, with everything that its callbacks do ---- */

struct act {
    int end;
    enum { RECEIVE, TRANSMIT } what;
    wb_packet *packet;
    wb_status status;
};

static void events(int end);

static inline void perform(struct act *a) {
    a->status = a->what == RECEIVE ? wb_core_recv(core[a->end], a->packet, now)
                                   : wb_core_transmit(core[a->end], a->packet, 45, now);
    if (queued) events(a->end);
}

__attribute__((noinline)) void measured_server(struct act *a);
__attribute__((noinline)) void measured_client(struct act *a);
void measured_server(struct act *a) {
    perform(a);
}
void measured_client(struct act *a) {
    perform(a);
}

static wb_status act(int end, int what, wb_packet *packet) {
    struct act a = {end, what, packet, 0};
    if (!counting)
        perform(&a);
    else if (end == SERVER)
        measured_server(&a);
    else
        measured_client(&a);
    return a.status;
}

/* ---- applications: a request is 8 bytes that tell the length of the answer; an upload is answered by FIN alone ---- */

struct job {
    uint64_t left, got;
    int asked;
};

static uint64_t answer, upload_size, to_start, running, done, connected, closed, opened;
static struct job jobs[JOBS];
static size_t spare[JOBS], spares;

static void send_on(wb_stream s, struct job *j) {
    while (j->left > 0) {
        size_t taken = 0, want = j->left < sizeof block ? (size_t)j->left : sizeof block;
        wb_status st;
        if (want <= 16384) {
            st = wb_stream_send_copy(s, block, want, want == j->left ? WB_FIN : 0, &taken);
        } else {
            wb_buf piece = lent;
            if (want < sizeof block) must(wb_buf_slice(lent, 0, want, &piece), "slice");
            st = wb_stream_send(s, &piece, 1, want == j->left ? WB_FIN : 0, &taken);
            if (piece != lent) wb_handle_release(piece);
        }
        j->left -= taken;
        if (st != WB_OK) return;
    }
}

static struct job *take_job(void) {
    struct job *j;
    if (spares == 0) {
        fprintf(stderr, "cases: too many jobs\n");
        exit(1);
    }
    j = &jobs[spare[--spares]];
    memset(j, 0, sizeof *j);
    return j;
}

static void give_back(void *job) {
    spare[spares++] = (size_t)((struct job *)job - jobs);
}

static void start_one(wb_conn conn) {
    const wb_field ask[] = {WB_FIELD(":method", "GET"), WB_FIELD(":scheme", "https"),
                                   WB_FIELD(":authority", "localhost"), WB_FIELD(":path", "/answer"),
                                   WB_FIELD("user-agent", "whimbrel"), WB_FIELD("accept", "*/*")};
    unsigned char number[8];
    size_t taken;
    wb_stream s = 0;
    struct job *j;
    if (to_start == 0) return;
    to_start--;
    running++;
    j = take_job();
    if (h3) {
        must(wb_h3_request(conn, ask, 6, WB_FIN, &s), "request");
        must(wb_handle_set_user(s, j, give_back), "user");
        return;
    }
    must(wb_stream_open(conn, WB_STREAM_BIDI, &s), "open");
    must(wb_handle_set_user(s, j, give_back), "user");
    if (uploads) {
        j->left = upload_size;
        send_on(s, j);
        return;
    }
    for (int i = 0; i < 8; i++) number[i] = (unsigned char)(answer >> (56 - 8 * i));
    must(wb_stream_send_copy(s, number, 8, WB_FIN, &taken), "ask");
}

static void on_server(void *ctx, const wb_event *ev) {
    static unsigned char sink[256 * 1024];
    struct job *j = ev->user_stream;
    (void)ctx;
    if (ev->kind == WB_EV_STREAM_INCOMING) {
        j = take_job();
        must(wb_handle_set_user(ev->stream, j, give_back), "user");
    } else if (ev->kind == WB_EV_H3_HEADERS) {
        const wb_field reply[] = {WB_FIELD(":status", "200"), WB_FIELD("content-type", "text/plain"),
                                         WB_FIELD("content-length", "1024"), WB_FIELD("server", "whimbrel")};
        const char *path;
        size_t len;
        must(wb_h3_field(ev->stream, WB_SECTION_HEADERS, ":path", WB_TEXT_Z, &path, &len), "path");
        if (j == NULL) {
            j = take_job();
            must(wb_handle_set_user(ev->stream, j, give_back), "user");
        }
        must(wb_h3_headers(ev->stream, reply, answer == SMALL ? 4 : 2, 0), "headers");
        j->left = answer;
        send_on(ev->stream, j);
    } else if (ev->kind == WB_EV_STREAM_WRITABLE && j != NULL) {
        send_on(ev->stream, j);
    }
    if (ev->kind == WB_EV_STREAM_READABLE && !h3) {
        if (j == NULL) { /* from the same batch as INCOMING */
            wb_handle_desc d = WB_INIT(wb_handle_desc);
            if (wb_handle_info(ev->stream, &d) != WB_OK || d.user == NULL) return;
            j = d.user;
        }
        size_t got = 0;
        uint8_t fin = 0;
        while (!fin && wb_stream_recv_copy(ev->stream, sink, uploads ? sizeof sink : 64, &got, &fin) == WB_OK) {
            for (size_t i = 0; !uploads && i < got; i++) j->left = j->left << 8 | sink[i];
            j->got += got;
        }
        if (!fin) return;
        if (uploads)
            must(wb_stream_send_copy(ev->stream, sink, 0, WB_FIN, &got), "answer");
        else
            send_on(ev->stream, j);
    }
}

static void on_client(void *ctx, const wb_event *ev) {
    static unsigned char sink[256 * 1024];
    struct job *j = ev->user_stream;
    (void)ctx;
    if (ev->kind == WB_EV_CONNECTED) connected++;
    if (ev->kind == WB_EV_CONN_CLOSED) closed++;
    if (ev->kind == WB_EV_STREAM_WRITABLE && j != NULL) send_on(ev->stream, j);
    if (ev->kind != WB_EV_STREAM_READABLE || j == NULL) return;
    size_t got = 0;
    uint8_t fin = 0;
    while (!fin && wb_stream_recv_copy(ev->stream, sink, sizeof sink, &got, &fin) == WB_OK) j->got += got;
    if (!fin) return;
    if (j->got != (uploads ? 0 : answer)) {
        fprintf(stderr, "cases: %llu bytes instead of %llu\n", (unsigned long long)j->got, (unsigned long long)answer);
        exit(1);
    }
    wb_handle_release(ev->stream);
    done++;
    running--;
    start_one(ev->conn);
}

static void events(int end) {
    wb_batch batch = WB_INIT(wb_batch);
    while (wb_queue_take(queue[end], &batch, 64, 0) == WB_OK) {
        for (size_t i = 0; i < batch.count; i++)
            (end == SERVER ? on_server : on_client)(NULL, wb_batch_event(&batch, i));
        must(wb_queue_return(queue[end], &batch), "return");
        memset(&batch, 0, sizeof batch);
        batch.struct_size = sizeof batch;
    }
}

/* ---- the world ---- */

static wb_addr place(const wb_addr *a, int end) {
    wb_addr out = *a;
    out.family = 4;
    memcpy(out.ip, end == CLIENT ? "\x0a\0\0\1" : "\x0a\0\0\2", 4);
    return out;
}

static void send_all(int end) {
    static unsigned char room[65536];
    for (;;) {
        wb_packet p = WB_INIT(wb_packet);
        struct flying *f = &air[tail % SLOTS];
        p.data = room;
        p.len = sizeof room;
        wb_status s = act(end, TRANSMIT, &p);
        if (s == WB_E_WOULD_BLOCK) return;
        must(s, "transmit");
        if (counting) datagrams[end] += p.segment == 0 ? 1 : (p.len + p.segment - 1) / p.segment;
        if (++tail - head > SLOTS) {
            fprintf(stderr, "cases: too much in the air\n");
            exit(1);
        }
        f->at = now + DELAY;
        f->to = !end;
        f->packet = p;
        f->packet.local = place(&p.remote, !end);
        f->packet.remote = place(&p.local, end);
        f->bytes = malloc(p.len);
        memcpy(f->bytes, room, p.len);
        f->packet.data = f->bytes;
    }
}

/* One step of the world, no further than `until`. */
static void step(int64_t until) {
    int64_t next, at;
    for (int end = 0; end < 2; end++) send_all(end);
    next = head < tail ? air[head % SLOTS].at : INT64_MAX;
    for (int end = 0; end < 2; end++) {
        must(wb_core_deadline(core[end], &at), "deadline");
        if (at < next) next = at;
    }
    if (next > until) next = until;
    if (next > now) now = next;
    while (head < tail && air[head % SLOTS].at <= now) {
        struct flying *f = &air[head++ % SLOTS];
        must(act(f->to, RECEIVE, &f->packet), "receive");
        free(f->bytes);
        send_all(f->to);
    }
    for (int end = 0; end < 2; end++) {
        must(wb_core_deadline(core[end], &at), "deadline");
        if (at <= now) must(act(end, RECEIVE, NULL), "time");
    }
}

static void until(const uint64_t *counter, uint64_t value, const char *what) {
    int64_t limit = now + 600 * SECOND;
    while (*counter < value) {
        step(limit);
        if (now >= limit) {
            fprintf(stderr, "cases: stuck: %s\n", what);
            exit(1);
        }
    }
}

static wb_tls client_tls(void) {
    char name[512];
    wb_text alpn[] = {{"h3", 2}};
    wb_tls t = 0;
    must(wb_tls_new(WB_ROLE_CLIENT, &t), "tls");
    must(wb_tls_alpn(t, alpn, 1), "alpn");
    snprintf(name, sizeof name, "%s/ca.pem", folder);
    must(wb_tls_trust_file(t, name), "trust");
    return t;
}

static wb_conn dial(wb_tls t) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(4433)};
    wb_conn conn = 0;
    inet_pton(AF_INET, "10.0.0.2", &to.sin_addr);
    must(wb_conn_open(endpoint[CLIENT], config, t, &conn), "connection");
    must(wb_conn_start_address(conn, (struct sockaddr *)&to, sizeof to, "localhost", WB_TEXT_Z), "connect");
    opened++;
    return conn;
}

static void build(uint64_t keep_alive_ms) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(4433)};
    unsigned char seeds[2][32];
    char chain[512], key[512];
    wb_text alpn[] = {{"h3", 2}};
    wb_config server;
    memset(seeds[0], 1, 32);
    memset(seeds[1], 2, 32);
    inet_pton(AF_INET, "10.0.0.2", &to.sin_addr);
    for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++) spare[spares++] = i;
    must(wb_buf_wrap(block, sizeof block, NULL, NULL, &lent), "wrap");
    for (int end = 0; end < 2; end++) {
        wb_config c = 0;
        must(wb_config_new(WB_CONFIG_CONN, &c), "config");
        must(wb_config_set_u64(c, WB_KEY_STREAM_WINDOW, WINDOW), "stream window");
        must(wb_config_set_u64(c, WB_KEY_CONN_WINDOW, WINDOW), "connection window");
        must(wb_config_set_u64(c, WB_KEY_MAX_STREAMS_BIDI, 256), "streams");
        must(wb_config_set_u64(c, WB_KEY_HTTP3, (uint64_t)h3), "HTTP/3");
        must(wb_config_set_u64(c, WB_KEY_MAX_IDLE_MS, 3600000), "idle timeout");
        if (end == CLIENT && keep_alive_ms > 0)
            must(wb_config_set_u64(c, WB_KEY_KEEP_ALIVE_MS, keep_alive_ms), "keep-alive");
        if (!queued) must(wb_config_on(c, WB_GROUP_ALL, end == SERVER ? on_server : on_client, NULL, NULL), "callback");
        *(end == SERVER ? &server : &config) = c;
        must(wb_core_open(0, seeds[end], 32, now, &core[end]), "core");
        if (queued) must(wb_queue_open(core[end], &queue[end]), "queue");
        must(wb_endpoint_open(core[end], 0, &endpoint[end]), "endpoint");
    }
    must(wb_tls_new(WB_ROLE_SERVER, &tls[SERVER]), "tls");
    must(wb_tls_alpn(tls[SERVER], alpn, 1), "alpn");
    snprintf(chain, sizeof chain, "%s/cert.pem", folder);
    snprintf(key, sizeof key, "%s/key.pem", folder);
    must(wb_tls_identity_files(tls[SERVER], chain, key), "identity");
    tls[CLIENT] = client_tls();
    must(wb_endpoint_bind(endpoint[SERVER], (struct sockaddr *)&to, sizeof to), "bind");
    must(wb_endpoint_listen(endpoint[SERVER], server, tls[SERVER]), "listen");
}

static void transfer(wb_conn conn, uint64_t size, uint64_t count, uint64_t together) {
    uint64_t before = done;
    answer = upload_size = size;
    to_start = count;
    while (together-- > 0) start_one(conn);
    until(&done, before + count, "transfer");
}

static void shake_hands(int count, int fresh) {
    wb_tls t[64];
    for (int i = 0; i < count; i++) t[i] = fresh ? client_tls() : tls[CLIENT];
    for (int i = 0; i < count; i++) {
        wb_conn_desc d = WB_INIT(wb_conn_desc);
        wb_conn conn = dial(t[i]);
        until(&connected, opened, "connect");
        for (int64_t quiet = now + SECOND / 100; now < quiet;) step(quiet);
        must(wb_conn_info(conn, &d), "info");
        if ((d.resumed != 0) == fresh) {
            fprintf(stderr, "cases: a handshake is %s\n", fresh ? "resumed" : "full");
            exit(1);
        }
        must(wb_conn_close(conn, 0, NULL, 0), "close");
        until(&closed, opened, "close");
        wb_handle_release(conn);
    }
}

int main(int argc, char **argv) {
    uint64_t units = 0;
    wb_conn conn = 0;
    if (argc != 3) {
        fprintf(stderr, "usage: cases CERTS CASE\n");
        return 2;
    }
    const char *what = argv[2];
    folder = argv[1];
    memset(block, 0x5a, sizeof block);
    h3 = strncmp(what, "h3-", 3) == 0;
    queued = strcmp(what, "small-queue") == 0;
    uploads = strcmp(what, "upload") == 0;
    int idle = strcmp(what, "idle") == 0;
    build(idle ? 10000 : 0);
    if (strcmp(what, "handshakes") == 0 || strcmp(what, "resumed") == 0) {
        int fresh = *what == 'h';
        shake_hands(4, 1);
        if (!fresh) {
            conn = dial(tls[CLIENT]);
            until(&connected, opened, "connect");
            for (int64_t quiet = now + SECOND / 100; now < quiet;) step(quiet);
            must(wb_conn_close(conn, 0, NULL, 0), "close");
            until(&closed, opened, "close");
        }
        counting = 1;
        units = 20;
        shake_hands((int)units, fresh);
    } else if (idle) {
        for (int i = 0; i < 100; i++) {
            conn = dial(tls[CLIENT]);
            until(&connected, opened, "connect");
        }
        for (int64_t quiet = now + 15 * SECOND; now < quiet;) step(quiet);
        counting = 1;
        for (int64_t quiet = now + 100 * SECOND; now < quiet;) step(quiet);
        units = 100 * 10;
    } else {
        conn = dial(tls[CLIENT]);
        until(&connected, opened, "connect");
        int small = strstr(what, "small") != NULL, streams = strcmp(what, "streams") == 0;
        if (small) {
            transfer(conn, SMALL, 1000, MANY);
            counting = 1;
            units = 3000;
            transfer(conn, SMALL, units, MANY);
        } else {
            transfer(conn, 8 << 20, 1, 1);
            counting = 1;
            if (streams)
                transfer(conn, 128 << 10, MANY, MANY);
            else
                transfer(conn, 12 << 20, 1, 1);
            units = datagrams[uploads ? CLIENT : SERVER];
        }
    }
    counting = 0;
    printf("%llu units, datagrams: server %llu, client %llu, %lld us of virtual time\n", (unsigned long long)units,
           (unsigned long long)datagrams[SERVER], (unsigned long long)datagrams[CLIENT], (long long)(now / 1000));
    return 0;
}
