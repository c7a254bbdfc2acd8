/* Hardened mode: a read after release faults at the reader, a read before does not. Each case runs in a child. */
#include "check.h"
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static const char *folder;
static volatile unsigned char sink;

/* What a case leaves to be read late. */
typedef const unsigned char *(*scene)(int release);

static const unsigned char *allocated(int release) {
    void *data;
    wb_buf buf, slice;
    OK(wb_buf_alloc(100, &data, &buf));
    memset(data, 7, 100);
    OK(wb_buf_slice(buf, 10, 20, &slice));
    OK(wb_handle_release(buf));
    sink = ((unsigned char *)data)[15]; /* the slice keeps it */
    if (release) OK(wb_handle_release(slice));
    return data;
}

static const wb_event *take(wb_queue queue, wb_batch *batch, uint16_t kind) {
    for (;;) {
        memset(batch, 0, sizeof *batch);
        batch->struct_size = sizeof *batch;
        OK(wb_queue_take(queue, batch, 1, 10 * SECOND));
        if (wb_batch_event(batch, 0)->kind == kind) return wb_batch_event(batch, 0);
        OK(wb_queue_return(queue, batch));
    }
}

/* A connection over which a text has come; gives the stream to read it from and the event that told of the protocol. */
static wb_stream greeted(wb_queue *queue, int release, const unsigned char **protocol) {
    wb_runtime runtime;
    wb_config config;
    wb_endpoint endpoint;
    wb_addr address;
    wb_conn conn;
    wb_stream stream;
    wb_batch batch;
    size_t accepted;
    OK(wb_runtime_open(0, &runtime));
    OK(wb_queue_open(runtime, queue));
    OK(wb_config_new(WB_CONFIG_CONN, &config));
    OK(wb_config_set_u64(config, WB_KEY_HTTP3, 0));
    OK(wb_server_listen(runtime, config, tls_for(WB_ROLE_SERVER, folder), "127.0.0.1", WB_TEXT_Z, 0, &endpoint));
    OK(wb_endpoint_address(endpoint, &address));
    OK(wb_client_connect(runtime, config, tls_for(WB_ROLE_CLIENT, folder), "127.0.0.1", WB_TEXT_Z, address.port, &conn));
    const wb_event *e = take(*queue, &batch, WB_EV_CONNECTED);
    CHECK(e->data_len == 4 && memcmp(e->data, "echo", 4) == 0);
    *protocol = e->data;
    if (release) OK(wb_queue_return(*queue, &batch));
    OK(wb_stream_open(conn, WB_STREAM_BIDI, &stream));
    OK(wb_stream_send_copy(stream, "hello", 5, WB_FIN, &accepted));
    wb_batch other;
    e = take(*queue, &other, WB_EV_STREAM_INCOMING);
    stream = e->stream;
    OK(wb_handle_retain(stream));
    OK(wb_queue_return(*queue, &other));
    return stream;
}

static const unsigned char *received(int release) {
    wb_queue queue;
    const unsigned char *protocol;
    wb_stream stream = greeted(&queue, 1, &protocol);
    wb_batch batch;
    wb_buf buf;
    size_t count = 0, len;
    uint8_t fin;
    const void *data;
    while (wb_stream_recv(stream, &buf, 1, &count, &fin) == WB_E_WOULD_BLOCK) {
        (void)take(queue, &batch, WB_EV_STREAM_READABLE);
        OK(wb_queue_return(queue, &batch));
    }
    CHECK(count == 1);
    OK(wb_buf_view(buf, &data, &len));
    CHECK(len == 5 && memcmp(data, "hello", 5) == 0);
    if (release) OK(wb_handle_release(buf));
    return data;
}

static const unsigned char *payload(int release) {
    wb_queue queue;
    const unsigned char *protocol;
    (void)greeted(&queue, release, &protocol);
    return protocol;
}

static const unsigned char *event(int release) {
    wb_runtime runtime;
    wb_queue queue;
    wb_batch batch;
    OK(wb_runtime_open(0, &runtime));
    OK(wb_queue_open(runtime, &queue));
    OK(wb_queue_wake(queue));
    const wb_event *e = take(queue, &batch, WB_EV_WAKE);
    if (release) OK(wb_queue_return(queue, &batch));
    return (const unsigned char *)e;
}

static const wb_event *_Atomic kept;
static atomic_int returned;
static int in_time;

static void keep(void *ctx, const wb_event *e) {
    (void)ctx;
    static wb_event copy;
    copy = *e;
    atomic_store(&kept, in_time ? &copy : e);
}

static void gone(void *ctx) {
    (void)ctx;
    atomic_store(&returned, 1);
}

/* The event itself, kept beyond its callback. */
static const unsigned char *callback_event(int release) {
    wb_config config;
    wb_runtime runtime;
    in_time = !release;
    OK(wb_config_new(WB_CONFIG_RUNTIME, &config));
    OK(wb_config_on(config, WB_GROUP_RUNTIME, keep, NULL, NULL));
    OK(wb_runtime_open(config, &runtime));
    /* Runs after the last event, RUNTIME_CLOSED. */
    OK(wb_handle_set_user(runtime, &returned, gone));
    end(runtime);
    EVENTUALLY(atomic_load(&returned) && atomic_load(&kept) != NULL);
    return (const unsigned char *)atomic_load(&kept);
}

static const char *_Atomic line;

static void keep_line(void *ctx, const char *text, size_t len) {
    (void)ctx;
    static char copy[512];
    CHECK(len < sizeof copy);
    memcpy(copy, text, len);
    if (atomic_load(&line) == NULL) atomic_store(&line, in_time ? copy : text);
}

/* Response fields, or a line of the key log, of one exchange. The stream lives on when its handle is gone. */
static const unsigned char *exchanged(int release, int want_line) {
    static const wb_field request[4] = {{":method", 7, "GET", 3}, {":scheme", 7, "https", 5},
                                        {":authority", 10, "localhost", 9}, {":path", 5, "/", 1}};
    static const wb_field response[1] = {{":status", 7, "200", 3}};
    wb_runtime runtime;
    wb_queue queue;
    wb_endpoint endpoint;
    wb_addr address;
    wb_conn conn;
    wb_stream stream;
    wb_batch batch;
    wb_text h3 = {"h3", 2};
    const char *value;
    size_t len;
    wb_tls st = tls_for(WB_ROLE_SERVER, folder), ct = tls_for(WB_ROLE_CLIENT, folder);
    in_time = !release;
    OK(wb_tls_alpn(st, &h3, 1));
    OK(wb_tls_alpn(ct, &h3, 1));
    OK(wb_tls_keylog(ct, keep_line, NULL, NULL));
    OK(wb_runtime_open(0, &runtime));
    OK(wb_queue_open(runtime, &queue));
    OK(wb_server_listen(runtime, 0, st, "127.0.0.1", WB_TEXT_Z, 0, &endpoint));
    OK(wb_endpoint_address(endpoint, &address));
    OK(wb_client_connect(runtime, 0, ct, "127.0.0.1", WB_TEXT_Z, address.port, &conn));
    (void)take(queue, &batch, WB_EV_CONNECTED);
    OK(wb_queue_return(queue, &batch));
    wb_status s;
    while ((s = wb_h3_request(conn, request, 4, 0, &stream)) == WB_E_STATE || s == WB_E_WOULD_BLOCK) pause_ms(1);
    OK(s);
    const wb_event *e = take(queue, &batch, WB_EV_H3_HEADERS);
    OK(wb_h3_headers(e->stream, response, 1, 0));
    OK(wb_queue_return(queue, &batch));
    e = take(queue, &batch, WB_EV_H3_HEADERS);
    CHECK(e->stream == stream && e->a == 200);
    OK(wb_queue_return(queue, &batch));
    if (want_line) {
        CHECK(atomic_load(&line) != NULL);
        /* Its callback has returned when the last event of the runtime is out. */
        end(runtime);
        return (const unsigned char *)atomic_load(&line);
    }
    OK(wb_h3_field(stream, WB_SECTION_HEADERS, ":status", WB_TEXT_Z, &value, &len));
    CHECK(len == 3 && memcmp(value, "200", 3) == 0);
    if (release) OK(wb_handle_release(stream));
    return (const unsigned char *)value;
}

static const unsigned char *fields(int release) { return exchanged(release, 0); }
static const unsigned char *key_log(int release) { return exchanged(release, 1); }

static void run(const char *name, scene make, int release) {
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        const unsigned char *late = make(release);
        sink = *late; /* here */
        _exit(17);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    int faulted = WIFSIGNALED(status) && (WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGBUS);
    int went_on = WIFEXITED(status) && WEXITSTATUS(status) == 17;
    if (release ? !faulted : !went_on) {
        fprintf(stderr, "%s, %s: status %#x\n", name, release ? "read late" : "read in time", (unsigned)status);
        exit(1);
    }
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    folder = argv[1];
    CHECK(setenv("WB_HARDENED", "1", 1) == 0);
    for (int release = 0; release < 2; release++) {
        run("allocated buffer", allocated, release);
        run("received buffer", received, release);
        run("event payload", payload, release);
        run("event of a batch", event, release);
        run("event of a callback", callback_event, release);
        run("received fields", fields, release);
        run("key log line", key_log, release);
    }
    puts("hardened: ok");
    return 0;
}
