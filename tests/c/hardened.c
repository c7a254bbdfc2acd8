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
    }
    puts("hardened: ok");
    return 0;
}
