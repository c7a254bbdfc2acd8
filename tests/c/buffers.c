/* Lent memory: the release callback runs exactly once in every way a buffer can end, and revoked memory may be unmapped
 * at once while it is being sent. */
#include "check.h"
#include <sys/mman.h>

static atomic_int releases;
static void released(void *ctx) {
    CHECK(ctx == &releases);
    atomic_fetch_add(&releases, 1);
}

static void ownership(void) {
    static const char text[] = "0123456789";
    wb_buf a, b, c;
    const void *data;
    size_t len;
    void *room;

    OK(wb_buf_wrap(text, 10, released, &releases, &a));
    OK(wb_buf_slice(a, 2, 5, &b));
    OK(wb_buf_slice(b, 1, 3, &c));
    GIVES(wb_buf_slice(b, 3, 3, &c), WB_E_RANGE);
    GIVES(wb_buf_slice(b, (size_t)-1, 2, &c), WB_E_RANGE);
    OK(wb_handle_release(a));
    OK(wb_buf_view(b, &data, &len));
    CHECK(len == 5 && memcmp(data, "23456", 5) == 0);
    OK(wb_handle_retain(b));
    OK(wb_handle_release(b));
    OK(wb_handle_release(b));
    GIVES(wb_handle_release(b), WB_E_STALE);
    CHECK(atomic_load(&releases) == 0);
    OK(wb_buf_view(c, &data, &len));
    CHECK(len == 3 && memcmp(data, "345", 3) == 0);
    OK(wb_handle_release(c));
    CHECK(atomic_load(&releases) == 1);

    /* A failed call takes nothing. */
    GIVES(wb_buf_wrap(NULL, 10, released, &releases, &a), WB_E_INVALID);
    GIVES(wb_buf_wrap(text, 10, released, &releases, NULL), WB_E_INVALID);
    GIVES(wb_buf_wrap(text, (size_t)-5, released, &releases, &a), WB_E_RANGE);
    CHECK(atomic_load(&releases) == 1);

    /* Empty and without a callback. */
    OK(wb_buf_wrap(NULL, 0, released, &releases, &a));
    OK(wb_handle_release(a));
    CHECK(atomic_load(&releases) == 2);
    OK(wb_buf_wrap(text, 10, NULL, NULL, &a));
    OK(wb_handle_release(a));

    /* Revoked: the memory is the owner's, the callback still comes, once. */
    OK(wb_buf_wrap(text, 10, released, &releases, &a));
    OK(wb_buf_slice(a, 1, 2, &b));
    GIVES(wb_buf_revoke(a, 9), WB_E_INVALID);
    OK(wb_buf_revoke(a, WB_REVOKE_COPY));
    OK(wb_buf_revoke(a, WB_REVOKE_RESET));
    GIVES(wb_buf_view(a, &data, &len), WB_E_REVOKED);
    GIVES(wb_buf_view(b, &data, &len), WB_E_REVOKED);
    CHECK(atomic_load(&releases) == 2);
    OK(wb_handle_release_many((wb_handle[]){a, 0, b}, 3));
    CHECK(atomic_load(&releases) == 3);

    /* Library memory. */
    OK(wb_buf_alloc(4, &room, &a));
    memcpy(room, "abcd", 4);
    OK(wb_buf_slice(a, 1, 2, &b));
    GIVES(wb_buf_revoke(a, WB_REVOKE_COPY), WB_E_STATE);
    OK(wb_handle_release(a));
    OK(wb_buf_view(b, &data, &len));
    CHECK(len == 2 && memcmp(data, "bc", 2) == 0);
    OK(wb_handle_release(b));
    GIVES(wb_buf_alloc((size_t)-1, &room, &a), WB_E_RANGE);
}

#define SIZE ((size_t)4 << 20)
static unsigned char pattern(size_t i) { return (unsigned char)(i % 251); }

/* The server reads slowly: much is unsent when the memory goes. */
static atomic_size_t received;
static atomic_int wrong, fins, resets;
static int reset_by_revoke;

static void on_server(void *ctx, const wb_event *ev) {
    static unsigned char room[65536];
    (void)ctx;
    if (ev->kind == WB_EV_STREAM_RESET) atomic_fetch_add(&resets, 1);
    if (ev->kind != WB_EV_STREAM_READABLE) return;
    pause_ms(2);
    for (;;) {
        size_t got = 0;
        uint8_t fin = 0;
        if (wb_stream_recv_copy(ev->stream, room, sizeof room, &got, &fin) != WB_OK) return;
        for (size_t i = 0; i < got; i++)
            if (room[i] != pattern(atomic_load(&received) + i)) atomic_fetch_add(&wrong, 1);
        atomic_fetch_add(&received, got);
        atomic_fetch_add(&fins, fin);
    }
}

static wb_conn connect_to(wb_runtime runtime, wb_queue queue, wb_config config, wb_tls tls, uint16_t port) {
    wb_conn conn;
    OK(wb_client_connect(runtime, config, tls, "127.0.0.1", WB_TEXT_Z, port, &conn));
    for (int up = 0; !up;) {
        wb_batch batch = WB_INIT(wb_batch);
        OK(wb_queue_take(queue, &batch, 64, 10 * SECOND));
        for (size_t i = 0; i < batch.count; i++) {
            CHECK(wb_batch_event(&batch, i)->kind != WB_EV_CONN_CLOSED);
            up |= wb_batch_event(&batch, i)->kind == WB_EV_CONNECTED;
        }
        OK(wb_queue_return(queue, &batch));
    }
    return conn;
}

/* Sends lent memory, takes it back in the middle and unmaps it. */
static void take_back(wb_conn conn, uint32_t mode) {
    unsigned char *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    for (size_t i = 0; i < SIZE; i++) memory[i] = pattern(i);
    wb_buf lent;
    wb_stream stream;
    size_t accepted = 0;
    int before = atomic_load(&releases), resets_before = atomic_load(&resets), fins_before = atomic_load(&fins);
    atomic_store(&received, 0);
    OK(wb_buf_wrap(memory, SIZE, released, &releases, &lent));
    OK(wb_stream_open(conn, WB_STREAM_UNI, &stream));
    wb_status s = wb_stream_send(stream, &lent, 1, WB_FIN, &accepted);
    CHECK((s == WB_OK || s == WB_PARTIAL) && accepted > 0);
    OK(wb_buf_revoke(lent, mode));
    CHECK(munmap(memory, SIZE) == 0);
    size_t none;
    GIVES(wb_stream_send(stream, &lent, 1, 0, &none), WB_E_REVOKED);
    OK(wb_handle_release(lent));
    if (mode == WB_REVOKE_COPY) {
        if (s == WB_PARTIAL) OK(wb_stream_send(stream, NULL, 0, WB_FIN, NULL));
        EVENTUALLY(atomic_load(&fins) == fins_before + 1);
        CHECK(atomic_load(&received) == accepted);
    } else {
        /* On a busy machine everything may have left before the memory was taken back. */
        EVENTUALLY(atomic_load(&resets) == resets_before + 1 || atomic_load(&received) == accepted);
        if (atomic_load(&resets) == resets_before + 1) reset_by_revoke++;
        CHECK(atomic_load(&fins) == fins_before);
    }
    EVENTUALLY(atomic_load(&releases) == before + 1);
    CHECK(atomic_load(&wrong) == 0);
    OK(wb_handle_release(stream)); /* resets an unfinished one */
    if (mode == WB_REVOKE_RESET) EVENTUALLY(atomic_load(&resets) == resets_before + 1);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    ownership();

    wb_runtime runtime;
    wb_queue queue;
    wb_config sc, cc, rc;
    wb_endpoint endpoint;
    wb_addr address;
    OK(wb_config_new(WB_CONFIG_RUNTIME, &rc));
    OK(wb_config_set_u64(rc, WB_KEY_WORKERS, 2));
    OK(wb_runtime_open(rc, &runtime));
    OK(wb_queue_open(runtime, &queue));
    OK(wb_config_new(WB_CONFIG_CONN, &sc));
    OK(wb_config_new(WB_CONFIG_CONN, &cc));
    OK(wb_config_set_u64(sc, WB_KEY_HTTP3, 0));
    OK(wb_config_set_u64(cc, WB_KEY_HTTP3, 0));
    OK(wb_config_on(sc, WB_GROUP_ALL, on_server, NULL, NULL));
    wb_tls st = tls_for(WB_ROLE_SERVER, argv[1]), ct = tls_for(WB_ROLE_CLIENT, argv[1]);
    OK(wb_server_listen(runtime, sc, st, "127.0.0.1", WB_TEXT_Z, 0, &endpoint));
    OK(wb_endpoint_address(endpoint, &address));
    wb_conn conn = connect_to(runtime, queue, cc, ct, address.port);
    take_back(conn, WB_REVOKE_COPY);
    take_back(conn, WB_REVOKE_RESET);
    for (int i = 0; i < 20; i++) take_back(conn, i % 2 ? WB_REVOKE_COPY : WB_REVOKE_RESET);

    CHECK(reset_by_revoke > 0);

    /* Lent memory comes back when the runtime ends in the middle. */
    static unsigned char memory[SIZE];
    wb_buf lent;
    wb_stream stream;
    size_t accepted = 0;
    int before = atomic_load(&releases);
    atomic_store(&received, SIZE);
    OK(wb_buf_wrap(memory, SIZE, released, &releases, &lent));
    OK(wb_stream_open(conn, WB_STREAM_UNI, &stream));
    CHECK(wb_stream_send(stream, &lent, 1, 0, &accepted) >= 0);
    OK(wb_handle_release(lent));
    end(runtime);
    OK(wb_handle_release_many((wb_handle[]){stream, conn, queue, endpoint, runtime, sc, cc, rc, st, ct}, 10));
    EVENTUALLY(atomic_load(&releases) == before + 1);
    pause_ms(50);
    CHECK(atomic_load(&releases) == before + 1);
    puts("buffers: ok");
    return 0;
}
