/* Queue, wake, mute, and the ends of objects that never lived: one CLOSED event each, destructors once. */
#include "check.h"
#include <poll.h>
#include <pthread.h>
#include <signal.h>

static atomic_int destroyed, conn_closed, endpoint_closed, runtime_closed, others, in_callback;
static wb_runtime callback_runtime;

static void destroy(void *ctx) {
    (void)ctx;
    atomic_fetch_add(&destroyed, 1);
}

static void on_event(void *ctx, const wb_event *ev) {
    (void)ctx;
    switch (ev->kind) {
    case WB_EV_CONN_CLOSED:
        /* Waiting here could never end, and self-release is allowed. */
        GIVES(wb_runtime_wait(callback_runtime, -1), WB_E_WOULD_DEADLOCK);
        atomic_fetch_add(&conn_closed, 1);
        break;
    case WB_EV_ENDPOINT_CLOSED: atomic_fetch_add(&endpoint_closed, 1); break;
    case WB_EV_RUNTIME_CLOSED: atomic_fetch_add(&runtime_closed, 1); break;
    default: atomic_fetch_add(&others, 1);
    }
}

static wb_queue signal_queue;
static void on_signal(int number) {
    (void)number;
    wb_queue_wake(signal_queue);
}

static void *taker(void *arg) {
    wb_batch batch = WB_INIT(wb_batch);
    OK(wb_queue_take(signal_queue, &batch, 8, -1));
    CHECK(batch.count == 1 && wb_batch_event(&batch, 0)->kind == WB_EV_WAKE);
    OK(wb_queue_return(signal_queue, &batch));
    return arg;
}

static int readable(wb_queue queue) {
    intptr_t fd;
    OK(wb_queue_fd(queue, &fd));
    struct pollfd p = {(int)fd, POLLIN, 0};
    return poll(&p, 1, 0) == 1;
}

static void queues(void) {
    wb_runtime runtime;
    wb_queue queue;
    wb_batch batch = WB_INIT(wb_batch);
    OK(wb_runtime_open(0, &runtime));
    OK(wb_queue_open(runtime, &queue));
    CHECK(!readable(queue));
    GIVES(wb_queue_take(queue, &batch, 8, 0), WB_E_WOULD_BLOCK);
    GIVES(wb_queue_take(queue, &batch, 8, 20000000), WB_E_TIMEOUT);
    GIVES(wb_queue_take(queue, &batch, 0, 0), WB_E_INVALID);
    wb_batch unset;
    memset(&unset, 0, sizeof unset);
    GIVES(wb_queue_take(queue, &unset, 8, 0), WB_E_RANGE);

    /* Wakes merge and make the descriptor readable. */
    OK(wb_queue_wake(queue));
    OK(wb_queue_wake(queue));
    CHECK(readable(queue));
    OK(wb_queue_take(queue, &batch, 8, 0));
    CHECK(batch.count == 1 && wb_batch_event(&batch, 0)->kind == WB_EV_WAKE);
    OK(wb_queue_return(queue, &batch));
    CHECK(!readable(queue));

    /* From a signal handler, while a thread waits. */
    signal_queue = queue;
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, taker, NULL) == 0);
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    pause_ms(50);
    CHECK(raise(SIGUSR1) == 0);
    CHECK(pthread_join(thread, NULL) == 0);

    /* RUNTIME_CLOSED is an event like any other, and the queue outlives the runtime. */
    end(runtime);
    CHECK(readable(queue));
    OK(wb_queue_take(queue, &batch, 8, 0));
    CHECK(batch.count == 1 && wb_batch_event(&batch, 0)->kind == WB_EV_RUNTIME_CLOSED);
    CHECK(wb_batch_event(&batch, 0)->source == runtime);
    OK(wb_queue_return(queue, &batch));
    CHECK(!readable(queue));
    OK(wb_handle_release(runtime));
    OK(wb_handle_release(queue));
    GIVES(wb_queue_wake(queue), WB_E_STALE);
}

static void never_started(const char *folder) {
    wb_config rc;
    wb_runtime runtime;
    wb_endpoint endpoint;
    wb_conn conn[4];
    wb_tls tls = tls_for(WB_ROLE_CLIENT, folder);
    OK(wb_config_new(WB_CONFIG_RUNTIME, &rc));
    OK(wb_config_on(rc, WB_GROUP_ALL, on_event, NULL, destroy));
    OK(wb_runtime_open(rc, &runtime));
    callback_runtime = runtime;
    GIVES(wb_config_on(rc, WB_GROUP_ALL, on_event, NULL, destroy), WB_E_FROZEN);
    GIVES(wb_endpoint_open(runtime, rc, &endpoint), WB_E_INVALID);
    OK(wb_endpoint_open(runtime, 0, &endpoint));
    for (int i = 0; i < 4; i++) {
        OK(wb_conn_open(endpoint, 0, tls, &conn[i]));
        OK(wb_handle_set_user(conn[i], conn, destroy));
    }
    OK(wb_handle_set_user(endpoint, conn, destroy));
    GIVES(wb_conn_key_update(conn[0]), WB_E_STATE);
    GIVES(wb_conn_start(conn[0], "", 0, 443), WB_E_INVALID);

    /* Closed, closed twice, released, closed by the runtime's end. */
    OK(wb_conn_close(conn[0], 1, NULL, 0));
    OK(wb_conn_close(conn[0], 1, NULL, 0));
    OK(wb_handle_release(conn[1]));
    GIVES(wb_conn_close(conn[1], 0, NULL, 0), WB_E_STALE);
    EVENTUALLY(atomic_load(&conn_closed) == 2);
    EVENTUALLY(atomic_load(&destroyed) == 2);
    GIVES(wb_conn_start(conn[0], "127.0.0.1", WB_TEXT_Z, 443), WB_E_CLOSED_LOCAL);

    /* A name that does not exist ends with an event. */
    OK(wb_conn_start(conn[2], "no-such-host.invalid", WB_TEXT_Z, 443));
    GIVES(wb_conn_start(conn[2], "127.0.0.1", WB_TEXT_Z, 443), WB_E_STATE);
    EVENTUALLY(atomic_load(&conn_closed) == 3);
    wb_error_info why = WB_INIT(wb_error_info);
    OK(wb_conn_error(conn[2], &why));
    CHECK(why.status == WB_E_RESOLVE && why.text_len > 0);

    GIVES(wb_runtime_wait(runtime, 1000000), WB_E_TIMEOUT);
    end(runtime);
    CHECK(atomic_load(&conn_closed) == 4 && atomic_load(&endpoint_closed) == 1 && atomic_load(&runtime_closed) == 1);
    CHECK(atomic_load(&destroyed) == 5 && atomic_load(&others) == 0);
    OK(wb_handle_release_many((wb_handle[]){conn[0], conn[2], conn[3], endpoint, runtime, rc, tls}, 7));
    /* The callback's own context ends with the last object that could call it. */
    EVENTUALLY(atomic_load(&destroyed) == 6);
}

static void slow(void *ctx, const wb_event *ev) {
    (void)ctx;
    if (ev->kind != WB_EV_CONN_CLOSED) return;
    atomic_store(&in_callback, 1);
    pause_ms(200);
    GIVES(wb_runtime_mute(callback_runtime, 0), WB_E_WOULD_DEADLOCK);
    atomic_store(&in_callback, 2);
}

static void mute(const char *folder) {
    wb_config rc;
    wb_runtime runtime;
    wb_endpoint endpoint;
    wb_conn conn[2];
    wb_tls tls = tls_for(WB_ROLE_CLIENT, folder);
    OK(wb_config_new(WB_CONFIG_RUNTIME, &rc));
    OK(wb_config_on(rc, WB_GROUP_CONN, slow, NULL, NULL));
    OK(wb_runtime_open(rc, &runtime));
    callback_runtime = runtime;
    OK(wb_endpoint_open(runtime, 0, &endpoint));
    OK(wb_conn_open(endpoint, 0, tls, &conn[0]));
    OK(wb_conn_open(endpoint, 0, tls, &conn[1]));
    OK(wb_conn_close(conn[0], 0, NULL, 0));
    EVENTUALLY(atomic_load(&in_callback) == 1);
    GIVES(wb_runtime_mute(runtime, 1000000), WB_E_TIMEOUT);
    OK(wb_runtime_mute(runtime, 10 * SECOND));
    CHECK(atomic_load(&in_callback) == 2);
    /* Muted: the end is not told, but it comes, and destructors run. */
    int before = atomic_load(&destroyed);
    OK(wb_handle_set_user(conn[1], conn, destroy));
    OK(wb_conn_close(conn[1], 0, NULL, 0));
    EVENTUALLY(atomic_load(&destroyed) == before + 1);
    CHECK(atomic_load(&in_callback) == 2);
    end(runtime);
    OK(wb_handle_release_many((wb_handle[]){conn[0], conn[1], endpoint, runtime, rc, tls}, 6));
}

static void settings(void) {
    wb_config c;
    wb_error_info info = WB_INIT(wb_error_info);
    OK(wb_config_new(WB_CONFIG_CONN, &c));
    GIVES(wb_config_new(7, &c), WB_E_INVALID);
    OK(wb_config_parse(c, "transport.congestion=newreno", WB_TEXT_Z));
    OK(wb_config_parse(c, "transport.version=0x6b3343cf", WB_TEXT_Z));
    OK(wb_config_parse(c, "http3.enable = off", WB_TEXT_Z));
    GIVES(wb_config_parse(c, "transport.congestion=fast", WB_TEXT_Z), WB_E_INVALID);
    GIVES(wb_config_parse(c, "transport.nothing=1", WB_TEXT_Z), WB_E_UNKNOWN_KEY);
    GIVES(wb_config_parse(c, "runtime.workers=1", WB_TEXT_Z), WB_E_UNKNOWN_KEY);
    GIVES(wb_config_parse(c, "no equals sign", WB_TEXT_Z), WB_E_INVALID);
    GIVES(wb_config_parse(c, "\xff\xfe=1", WB_TEXT_Z), WB_E_UTF8);
    GIVES(wb_config_set_u64(c, WB_KEY_MAX_UDP_PAYLOAD, 100), WB_E_RANGE);
    GIVES(wb_config_set_u64(c, WB_KEY_WORKERS, 1), WB_E_UNKNOWN_KEY);
    OK(wb_config_check(c));
    OK(wb_config_set_u64(c, WB_KEY_KEEP_ALIVE_MS, 60000));
    GIVES(wb_config_check(c), WB_E_RANGE);
    OK(wb_last_error(&info));
    CHECK(info.status == WB_E_RANGE && strstr(info.text, "keep_alive") != NULL);
    CHECK(info.struct_size == sizeof info && info.text[info.text_len] == 0);
    GIVES(wb_config_on(c, 99, on_event, NULL, NULL), WB_E_INVALID);
    OK(wb_handle_release(c));

    /* An older program's smaller struct is filled as far as it goes. */
    struct {
        wb_handle_desc desc;
        unsigned char guard[8];
    } small;
    memset(&small, 0x55, sizeof small);
    OK(wb_config_new(WB_CONFIG_CONN, &c));
    small.desc.struct_size = 12;
    OK(wb_handle_info(c, &small.desc));
    CHECK(small.desc.struct_size == 12 && small.desc.kind == WB_KIND_CONFIG && small.desc.references == 1);
    CHECK(((unsigned char *)&small)[12] == 0x55);
    OK(wb_handle_release(c));

    wb_tls tls;
    OK(wb_tls_new(WB_ROLE_CLIENT, &tls));
    GIVES(wb_tls_identity_pem(tls, "nonsense", 8, "nonsense", 8), WB_E_TLS);
    GIVES(wb_tls_identity_files(tls, "/no/such/file", "/no/such/file"), WB_E_OS);
    OK(wb_last_error(&info));
    CHECK(info.os_error == 2 && info.origin == WB_ORIGIN_SYSTEM && strstr(info.text, "/no/such/file") != NULL);
    GIVES(wb_tls_trust_add(tls, "nonsense", 8), WB_E_TLS);
    GIVES(wb_tls_verify_mode(tls, WB_VERIFY_OPTIONAL), WB_E_UNSUPPORTED);
    OK(wb_handle_release(tls));
}

/* A peer that opens and resets streams against an application that takes no events: the connection ends, memory does
 * not. */
static void flood(const char *folder) {
    wb_runtime server, runtime;
    wb_queue asleep, queue;
    wb_config c;
    wb_endpoint endpoint;
    wb_addr address;
    wb_conn conn;
    wb_stream stream;
    wb_error_info why = WB_INIT(wb_error_info);
    wb_tls st = tls_for(WB_ROLE_SERVER, folder), ct = tls_for(WB_ROLE_CLIENT, folder);
    int up = 0, closed = 0;
    OK(wb_config_new(WB_CONFIG_CONN, &c));
    OK(wb_config_set_u64(c, WB_KEY_HTTP3, 0));
    OK(wb_runtime_open(0, &server));
    OK(wb_queue_open(server, &asleep));
    OK(wb_runtime_open(0, &runtime));
    OK(wb_queue_open(runtime, &queue));
    OK(wb_server_listen(server, c, st, "127.0.0.1", WB_TEXT_Z, 0, &endpoint));
    OK(wb_endpoint_address(endpoint, &address));
    OK(wb_client_connect(runtime, c, ct, "127.0.0.1", WB_TEXT_Z, address.port, &conn));
    while (!closed) {
        wb_batch batch = WB_INIT(wb_batch);
        OK(wb_queue_take(queue, &batch, 1024, 20 * SECOND));
        for (size_t i = 0; i < batch.count; i++) {
            up |= wb_batch_event(&batch, i)->kind == WB_EV_CONNECTED;
            closed |= wb_batch_event(&batch, i)->kind == WB_EV_CONN_CLOSED;
        }
        OK(wb_queue_return(queue, &batch));
        while (up && wb_stream_open(conn, WB_STREAM_UNI, &stream) == WB_OK) {
            size_t accepted;
            wb_stream_send_copy(stream, "x", 1, 0, &accepted);
            wb_stream_reset(stream, 1);
            OK(wb_handle_release(stream));
        }
    }
    OK(wb_conn_error(conn, &why));
    CHECK(why.origin == WB_ORIGIN_PEER && why.wire_code == 0x107 && why.application == 1);
    OK(wb_handle_release(asleep));
    end(runtime);
    end(server);
    OK(wb_handle_release_many((wb_handle[]){conn, endpoint, queue, runtime, server, c, st, ct}, 8));
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    settings();
    flood(argv[1]);
    queues();
    never_started(argv[1]);
    mute(argv[1]);
    puts("endings: ok");
    return 0;
}
