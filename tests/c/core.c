/* Two cores in one thread: a client and a server, a link with delay and loss, a clock that is a number. Nothing here waits,
 * and the same seed gives the same run. */
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>

#define DELAY 10000000 /* one way */
#define SIZE 1000000
#define SLOTS 4096
enum { CLIENT, SERVER };

struct flying {
    int64_t at;
    int to;
    wb_packet packet;
    unsigned char *bytes;
};

struct run {
    wb_runtime core[2];
    wb_queue queue[2];
    wb_conn conn;
    wb_stream stream;
    int64_t now;
    uint64_t dice, trace;
    size_t sent, received, datagrams, lost;
    int connected, done, ended;
    struct flying air[SLOTS];
    size_t head, tail;
    const char *folder;
};

static void note(struct run *r, uint64_t value) {
    r->trace = (r->trace ^ value) * 0x100000001b3u;
}

static uint64_t roll(struct run *r) {
    r->dice = r->dice * 6364136223846793005u + 1442695040888963407u;
    return r->dice >> 33;
}

static void push(struct run *r) {
    static unsigned char block[65536];
    while (r->stream && r->sent < SIZE) {
        size_t accepted = 0, want = SIZE - r->sent < sizeof block ? SIZE - r->sent : sizeof block;
        wb_status s = wb_stream_send_copy(r->stream, block, want, r->sent + want == SIZE ? WB_FIN : 0, &accepted);
        if (s == WB_E_WOULD_BLOCK) return;
        CHECK(s >= 0);
        r->sent += accepted;
    }
}

static void pull(struct run *r, wb_stream stream) {
    static unsigned char room[65536];
    size_t got;
    uint8_t fin = 0;
    while (!fin) {
        wb_status s = wb_stream_recv_copy(stream, room, sizeof room, &got, &fin);
        if (s == WB_E_WOULD_BLOCK) return;
        OK(s);
        r->received += got;
    }
    OK(wb_stream_send_copy(stream, NULL, 0, WB_FIN, &got));
}

static void events(struct run *r, int side) {
    wb_batch batch = WB_INIT(wb_batch);
    while (wb_queue_take(r->queue[side], &batch, 64, 0) == WB_OK) {
        for (size_t i = 0; i < batch.count; i++) {
            const wb_event *e = wb_batch_event(&batch, i);
            note(r, e->kind);
            note(r, (uint64_t)side);
            note(r, (uint64_t)e->time_ns);
            CHECK(e->time_ns <= r->now);
            if (e->kind == WB_EV_CONNECTED && side == CLIENT) {
                r->connected = 1;
                OK(wb_stream_open(r->conn, WB_STREAM_BIDI, &r->stream));
                push(r);
            }
            if (e->kind == WB_EV_STREAM_WRITABLE) push(r);
            if (side == CLIENT && e->kind == WB_EV_STREAM_READABLE) {
                unsigned char byte;
                size_t got;
                uint8_t fin;
                CHECK(wb_stream_recv_copy(r->stream, &byte, 1, &got, &fin) == WB_OK && got == 0 && fin == 1);
            }
            if (side == SERVER && (e->kind == WB_EV_STREAM_INCOMING || e->kind == WB_EV_STREAM_READABLE)) pull(r, e->stream);
            if (e->kind == WB_EV_STREAM_CLOSED && side == CLIENT) r->done = 1;
            if (e->kind == WB_EV_RUNTIME_CLOSED) r->ended++;
        }
        OK(wb_queue_return(r->queue[side], &batch));
        memset(&batch, 0, sizeof batch);
        batch.struct_size = sizeof batch;
    }
}

static wb_addr place(const wb_addr *a, int side) {
    wb_addr out = *a;
    out.family = 4;
    memcpy(out.ip, side == CLIENT ? "\x0a\0\0\1" : "\x0a\0\0\2", 4);
    return out;
}

/* Takes what a side has to send into the air. */
static void send_all(struct run *r, int side) {
    static unsigned char room[65536];
    for (;;) {
        wb_packet p = WB_INIT(wb_packet);
        p.data = room;
        p.len = sizeof room;
        wb_status s = wb_core_transmit(r->core[side], &p, 4, r->now);
        events(r, side);
        if (s == WB_E_WOULD_BLOCK) return;
        if (s == WB_E_STATE) return;
        OK(s);
        r->datagrams++;
        if (r->connected && roll(r) % 100 < 3) {
            r->lost++;
            continue;
        }
        struct flying *f = &r->air[r->tail++ % SLOTS];
        CHECK(r->tail - r->head <= SLOTS);
        f->at = r->now + DELAY;
        f->to = !side;
        f->packet = p;
        f->packet.local = place(&p.remote, !side);
        f->packet.remote = place(&p.local, side);
        f->bytes = malloc(p.len);
        memcpy(f->bytes, room, p.len);
        f->packet.data = f->bytes;
    }
}

static uint64_t play(const char *folder, unsigned char seed) {
    static struct run run;
    struct run *r = &run;
    memset(r, 0, sizeof *r);
    r->dice = seed;
    r->now = 5;
    r->folder = folder;
    unsigned char seeds[2][32];
    memset(seeds[0], seed, 32);
    memset(seeds[1], seed + 1, 32);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(4433)};
    inet_pton(AF_INET, "10.0.0.2", &to.sin_addr);
    wb_config config;
    wb_endpoint endpoint[2];
    /* Signatures of this key have one length, so that packets have too. */
    char name[2][512];
    wb_text echo = {"echo", 4};
    wb_tls tls[2];
    snprintf(name[0], sizeof name[0], "%s/ed25519-cert.pem", folder);
    snprintf(name[1], sizeof name[1], "%s/ed25519-key.pem", folder);
    for (int side = 0; side < 2; side++) {
        OK(wb_tls_new(side == CLIENT ? WB_ROLE_CLIENT : WB_ROLE_SERVER, &tls[side]));
        OK(wb_tls_alpn(tls[side], &echo, 1));
    }
    OK(wb_tls_trust_file(tls[CLIENT], name[0]));
    OK(wb_tls_identity_files(tls[SERVER], name[0], name[1]));
    OK(wb_config_new(WB_CONFIG_CONN, &config));
    OK(wb_config_set_u64(config, WB_KEY_HTTP3, 0));
    for (int side = 0; side < 2; side++) {
        OK(wb_core_open(0, seeds[side], 32, r->now, &r->core[side]));
        OK(wb_queue_open(r->core[side], &r->queue[side]));
        OK(wb_endpoint_open(r->core[side], 0, &endpoint[side]));
    }
    OK(wb_endpoint_bind(endpoint[SERVER], (struct sockaddr *)&to, sizeof to));
    OK(wb_endpoint_listen(endpoint[SERVER], config, tls[SERVER]));
    OK(wb_conn_open(endpoint[CLIENT], config, tls[CLIENT], &r->conn));
    GIVES(wb_conn_start(r->conn, "example.org", WB_TEXT_Z, 443), WB_E_UNSUPPORTED);
    OK(wb_conn_start_address(r->conn, (struct sockaddr *)&to, sizeof to, "localhost", 9));
    GIVES(wb_runtime_wait(r->core[CLIENT], 0), WB_E_WOULD_DEADLOCK);
    int closing = 0;
    while (r->ended < 2) {
        for (int side = 0; side < 2; side++) send_all(r, side);
        if (r->done && !closing) {
            closing = 1;
            CHECK(r->received == SIZE);
            OK(wb_runtime_close(r->core[CLIENT], WB_CLOSE_GRACEFUL));
            OK(wb_runtime_close(r->core[SERVER], WB_CLOSE_GRACEFUL));
            continue;
        }
        int64_t next = r->head < r->tail ? r->air[r->head % SLOTS].at : INT64_MAX;
        for (int side = 0; side < 2; side++) {
            int64_t at;
            OK(wb_core_deadline(r->core[side], &at));
            if (at < next) next = at;
        }
        CHECK(next < INT64_MAX || r->ended == 2);
        if (next > r->now) r->now = next;
        CHECK(r->now < 25 * SECOND);
        while (r->head < r->tail && r->air[r->head % SLOTS].at <= r->now) {
            struct flying *f = &r->air[r->head++ % SLOTS];
            wb_status s = wb_core_recv(r->core[f->to], &f->packet, r->now);
            CHECK(s == WB_OK || s == WB_E_UNREACHABLE || s == WB_E_STATE);
            events(r, f->to);
            free(f->bytes);
        }
        for (int side = 0; side < 2; side++) {
            OK(wb_core_recv(r->core[side], NULL, r->now));
            events(r, side);
        }
    }
    CHECK(r->received == SIZE && r->lost > 0);
    OK(wb_runtime_wait(r->core[CLIENT], 0));
    note(r, r->datagrams);
    note(r, r->lost);
    printf("seed %u: %zu batches, %zu lost, %.3f s of virtual time\n", seed, r->datagrams, r->lost, (double)r->now / 1e9);
    while (r->head < r->tail) free(r->air[r->head++ % SLOTS].bytes);
    OK(wb_handle_release_many((wb_handle[]){r->conn, r->stream, endpoint[0], endpoint[1], config, tls[0], tls[1]}, 7));
    OK(wb_handle_release_many((wb_handle[]){r->queue[0], r->queue[1], r->core[0], r->core[1]}, 4));
    return r->trace;
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    wb_runtime threads;
    wb_packet p = WB_INIT(wb_packet);
    int64_t at;
    OK(wb_runtime_open(0, &threads));
    GIVES(wb_core_recv(threads, NULL, 1), WB_E_STATE);
    GIVES(wb_core_transmit(threads, &p, 1, 1), WB_E_STATE);
    GIVES(wb_core_deadline(threads, &at), WB_E_STATE);
    end(threads);
    uint64_t one = play(argv[1], 1), again = play(argv[1], 1), other = play(argv[1], 2);
    CHECK(one == again);
    CHECK(one != other);
    puts("core: ok");
    return 0;
}
