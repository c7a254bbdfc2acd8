/* The server: answers on the worker by callbacks, or on the main thread from a queue. See bench.h. */
#include "bench.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct job {
    unsigned char head[RAW_HEAD];
    size_t have;
    uint64_t left;
};

static void answer(wb_stream s, struct job *j) {
    if (options.h3) {
        char length[24];
        snprintf(length, sizeof length, "%llu", (unsigned long long)j->left);
        struct wb_field fields[] = {WB_FIELD(":status", "200"), WB_FIELD("content-length", length)};
        wb_h3_headers(s, fields, 2, j->left == 0 ? WB_FIN : 0);
    }
    push(s, &j->left);
}

static void raw_readable(wb_stream s, struct job *j) {
    uint64_t more = 0;
    uint8_t fin = 0;
    while (j->have < RAW_HEAD) {
        size_t got = 0;
        if (wb_stream_recv_copy(s, j->head + j->have, RAW_HEAD - j->have, &got, &fin) != WB_OK) return;
        j->have += got;
    }
    if (!fin && !drain(s, &more)) return;
    for (int i = 0; i < RAW_HEAD; i++) j->left = j->left << 8 | j->head[i];
    answer(s, j);
}

static void h3_readable(wb_stream s, struct job *j) {
    uint64_t more = 0;
    if (drain(s, &more)) answer(s, j);
}

static struct job *new_job(wb_stream s) {
    struct job *j = calloc(1, sizeof *j);
    if (j == NULL) fail("no memory");
    if (wb_handle_set_user(s, j, free) == WB_OK) return j;
    free(j);
    return NULL;
}

static void h3_request(const struct wb_event *ev) {
    const char *path = NULL;
    size_t len = 0;
    struct job *j = new_job(ev->stream);
    if (j == NULL) return;
    wb_h3_field(ev->stream, WB_SECTION_HEADERS, ":path", 5, &path, &len);
    if (path == NULL || len < 2) fail("a request without a number");
    j->left = strtoull(path + 1, NULL, 10);
    if (ev->flags & WB_EVF_FIN)
        answer(ev->stream, j);
    else
        h3_readable(ev->stream, j);
}

static void on_server(void *ctx, const struct wb_event *ev) {
    struct job *j = ev->user_stream;
    (void)ctx;
    switch (ev->kind) {
    case WB_EV_STREAM_INCOMING:
        /* What it brought may be here already; in a batch, its READABLE event would not know the job. */
        if (!options.h3 && (j = new_job(ev->stream)) != NULL) raw_readable(ev->stream, j);
        break;
    case WB_EV_H3_HEADERS: h3_request(ev); break;
    case WB_EV_STREAM_READABLE:
        if (j == NULL) break;
        if (options.h3)
            h3_readable(ev->stream, j);
        else
            raw_readable(ev->stream, j);
        break;
    case WB_EV_STREAM_WRITABLE:
        if (j != NULL) push(ev->stream, &j->left);
        break;
    }
}

_Noreturn void serve(void) {
    wb_config c = conn_config();
    wb_runtime runtime = one_worker();
    wb_endpoint e = 0;
    wb_queue queue = 0;
    if (options.queue)
        must(wb_queue_open(runtime, &queue), "queue");
    else
        must(wb_config_on(c, WB_GROUP_ALL, on_server, NULL, NULL), "callback");
    must(wb_server_listen(runtime, c, tls_object(WB_ROLE_SERVER), options.host, WB_TEXT_Z, options.port, &e), "listen");
    puts("ready");
    fflush(stdout);
    for (;;) {
        if (options.queue)
            pump(queue, on_server, -1);
        else
            pause();
    }
}
