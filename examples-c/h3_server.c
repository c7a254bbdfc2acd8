/* h3_server: a directory over HTTP/3.
 *
 *   h3_server [-a ADDRESS] [-p PORT] [-w WORKERS] [-q QLOG-DIR] [-r] -c CERT.pem -k KEY.pem DIRECTORY
 *
 * Shows callbacks: they run on the library's worker threads, one at a time per connection. Each request keeps its
 * state in the stream's user pointer, whose destructor runs exactly once. GET and HEAD, index pages, content types,
 * one byte range, an access log on standard output. Exit status: 0 ended by a signal, 1 cannot serve, 2 usage,
 * 3 certificate or key, 4 address or port in use.
 */
#include "whimbrel.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (256 * 1024)

static char root[PATH_MAX];

struct request {
    int fd;
    off_t at, left;
    wb_buf rest; /* read from the file, not taken by the stream yet */
    size_t rest_len;
    int status;
    long long sent;
    struct timespec start;
    char peer[64], line[512];
};

static const char *content_type(const char *path) {
    static const char *const types[][2] = {
        {".html", "text/html; charset=utf-8"}, {".htm", "text/html; charset=utf-8"}, {".css", "text/css"},
        {".js", "text/javascript"},            {".json", "application/json"},        {".txt", "text/plain; charset=utf-8"},
        {".md", "text/plain; charset=utf-8"},  {".png", "image/png"},                {".jpg", "image/jpeg"},
        {".jpeg", "image/jpeg"},               {".gif", "image/gif"},                {".svg", "image/svg+xml"},
        {".webp", "image/webp"},               {".ico", "image/x-icon"},             {".wasm", "application/wasm"},
        {".pdf", "application/pdf"},           {".mp4", "video/mp4"},                {".xml", "application/xml"},
    };
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot != NULL && i < sizeof types / sizeof *types; i++)
        if (strcmp(dot, types[i][0]) == 0) return types[i][1];
    return "application/octet-stream";
}

/* Runs once per request, when its stream has closed: the place for the access log. */
static void request_destroy(void *ctx) {
    struct request *r = ctx;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double ms = (double)(now.tv_sec - r->start.tv_sec) * 1e3 + (double)(now.tv_nsec - r->start.tv_nsec) / 1e6;
    printf("%s \"%s HTTP/3\" %d %lld %.2fms\n", r->peer, r->line, r->status, r->sent, ms);
    fflush(stdout);
    if (r->rest != 0) wb_handle_release(r->rest);
    if (r->fd >= 0) close(r->fd);
    free(r);
}

static void respond(wb_stream stream, struct request *r, int status, const struct wb_field *more, size_t n, uint32_t flags) {
    char code[8];
    struct wb_field fields[10] = {{0}};
    r->status = status;
    snprintf(code, sizeof code, "%d", status);
    fields[0] = (struct wb_field)WB_FIELD(":status", code);
    fields[1] = (struct wb_field)WB_FIELD("server", "whimbrel");
    for (size_t i = 0; i < n; i++) fields[2 + i] = more[i];
    wb_h3_headers(stream, fields, n + 2, flags);
}

static void refuse(wb_stream stream, struct request *r, int status, const char *text) {
    char length[24];
    size_t taken;
    snprintf(length, sizeof length, "%zu", strlen(text));
    struct wb_field fields[] = {WB_FIELD("content-type", "text/plain"), WB_FIELD("content-length", length)};
    respond(stream, r, status, fields, 2, 0);
    wb_stream_send_copy(stream, text, strlen(text), WB_FIN, &taken);
    r->sent = (long long)strlen(text);
}

/* Decodes %XX and refuses what could leave the root. 0 or an HTTP status. */
static int local_path(const char *path, size_t len, char *out, size_t cap) {
    size_t n = 0;
    for (size_t i = 0; i < len && path[i] != '?' && path[i] != '#'; i++) {
        unsigned char c = (unsigned char)path[i];
        if (c == '%') {
            char hex[3] = {0}, *end;
            if (i + 2 >= len) return 400;
            memcpy(hex, path + i + 1, 2);
            c = (unsigned char)strtoul(hex, &end, 16);
            if (*end != 0) return 400;
            i += 2;
        }
        if (c == 0 || c == '\\') return 400;
        if (n + 1 >= cap) return 414;
        out[n++] = (char)c;
    }
    out[n] = 0;
    if (out[0] != '/') return 400;
    for (const char *s = out; s != NULL; s = strchr(s, '/')) {
        s += *s == '/';
        if (strncmp(s, "..", 2) == 0 && (s[2] == '/' || s[2] == 0)) return 403;
    }
    return 0;
}

/* Opens the file that a path names, following links only inside the root. 0, an HTTP status, or 301. */
static int open_file(const char *path, int *fd, struct stat *st, char *real) {
    char joined[2 * PATH_MAX];
    snprintf(joined, sizeof joined, "%s%s", root, path);
    if (realpath(joined, real) == NULL) return errno == EACCES ? 403 : 404;
    size_t n = strlen(root);
    if (strncmp(real, root, n) != 0 || (real[n] != '/' && real[n] != 0)) return 403;
    if (stat(real, st) == 0 && S_ISDIR(st->st_mode)) {
        if (path[strlen(path) - 1] != '/') return 301;
        if (strlen(path) + 11 >= PATH_MAX) return 414;
        char index[PATH_MAX];
        snprintf(index, sizeof index, "%.*sindex.html", PATH_MAX - 12, path);
        return strstr(path, "index.html") == NULL ? open_file(index, fd, st, real) : 404;
    }
    *fd = open(real, O_RDONLY | O_CLOEXEC);
    if (*fd < 0) return errno == EACCES ? 403 : 404;
    return fstat(*fd, st) == 0 && S_ISREG(st->st_mode) ? 0 : 403;
}

/* One range of "bytes=FIRST-LAST", "FIRST-" or "-SUFFIX". 206, 416, or 200 when there is no (understood) range. */
static int byte_range(const char *text, off_t size, off_t *first, off_t *count) {
    long long a = -1, b = -1;
    *first = 0;
    *count = size;
    if (text == NULL || strncmp(text, "bytes=", 6) != 0 || strchr(text, ',') != NULL) return 200;
    if (text[6] == '-') {
        if (sscanf(text + 7, "%lld", &b) != 1 || b < 0) return 200;
        *first = b < size ? size - b : 0;
        *count = size - *first;
        return b == 0 || size == 0 ? 416 : 206;
    }
    int got = sscanf(text + 6, "%lld-%lld", &a, &b);
    if (got < 1 || a < 0 || (got == 2 && b < a)) return 200;
    if (a >= size) return 416;
    *first = a;
    *count = (got == 2 && b < size ? b + 1 : size) - a;
    return 206;
}

/* Sends until the file has ended or the stream is full; WRITABLE calls again. */
static void pump(wb_stream stream, struct request *r) {
    while (r->left > 0 || r->rest != 0) {
        if (r->rest == 0) {
            void *memory;
            size_t want = r->left < CHUNK ? (size_t)r->left : CHUNK;
            if (wb_buf_alloc(want, &memory, &r->rest) != WB_OK) break;
            ssize_t n = pread(r->fd, memory, want, r->at);
            if (n != (ssize_t)want) { /* the file shrank under us: the length is promised, so the stream must fail */
                wb_stream_reset(stream, 0x102);
                return;
            }
            r->at += n;
            r->left -= n;
            r->rest_len = want;
        }
        size_t taken = 0;
        wb_status s = wb_stream_send(stream, &r->rest, 1, r->left == 0 ? WB_FIN : 0, &taken);
        r->sent += (long long)taken;
        if (s == WB_OK) {
            wb_handle_release(r->rest);
            r->rest = 0;
            continue;
        }
        if (s == WB_PARTIAL && taken > 0) {
            wb_buf tail = 0;
            wb_buf_slice(r->rest, taken, r->rest_len - taken, &tail);
            wb_handle_release(r->rest);
            r->rest = tail;
            r->rest_len -= taken;
        }
        return; /* full (WRITABLE follows), or the stream has ended */
    }
}

static void serve(wb_stream stream, struct request *r, const char *path, size_t path_len, int head) {
    char decoded[PATH_MAX], real[PATH_MAX], length[24], range[96];
    const char *asked = NULL;
    size_t asked_len;
    struct stat st;
    off_t first, count;
    int status = local_path(path, path_len, decoded, sizeof decoded);
    if (status == 0) status = open_file(decoded, &r->fd, &st, real);
    if (status == 301) {
        char location[PATH_MAX + 1];
        snprintf(location, sizeof location, "%.*s/", (int)strcspn(path, "?#"), path);
        struct wb_field fields[] = {WB_FIELD("location", location), WB_FIELD("content-length", "0")};
        respond(stream, r, 301, fields, 2, WB_FIN);
        return;
    }
    if (status != 0) {
        refuse(stream, r, status, status == 404 ? "not found\n" : status == 403 ? "forbidden\n" : "bad request\n");
        return;
    }
    wb_h3_field(stream, WB_SECTION_HEADERS, "range", WB_TEXT_Z, &asked, &asked_len);
    status = byte_range(asked, st.st_size, &first, &count);
    if (status == 416) {
        snprintf(range, sizeof range, "bytes */%lld", (long long)st.st_size);
        struct wb_field fields[] = {WB_FIELD("content-range", range), WB_FIELD("content-length", "0")};
        respond(stream, r, 416, fields, 2, WB_FIN);
        return;
    }
    snprintf(length, sizeof length, "%lld", (long long)count);
    snprintf(range, sizeof range, "bytes %lld-%lld/%lld", (long long)first, (long long)(first + count - 1), (long long)st.st_size);
    struct wb_field fields[] = {
        WB_FIELD("content-type", content_type(real)),
        WB_FIELD("content-length", length),
        WB_FIELD("accept-ranges", "bytes"),
        WB_FIELD("content-range", range),
    };
    int empty = head || count == 0;
    respond(stream, r, status, fields, status == 206 ? 4 : 3, empty ? WB_FIN : 0);
    if (empty) return;
    r->at = first;
    r->left = count;
    pump(stream, r);
}

static void on_request(const struct wb_event *ev) {
    struct request *r = calloc(1, sizeof *r);
    struct wb_conn_desc d = WB_INIT(wb_conn_desc);
    const char *method = NULL, *path = NULL;
    size_t method_len = 0, path_len = 0;
    if (r == NULL) {
        wb_stream_reset(ev->stream, 0x102);
        return;
    }
    r->fd = -1;
    clock_gettime(CLOCK_MONOTONIC, &r->start);
    if (wb_conn_info(ev->conn, &d) == WB_OK) wb_addr_text(&d.remote, r->peer, sizeof r->peer, NULL);
    wb_h3_field(ev->stream, WB_SECTION_HEADERS, ":method", WB_TEXT_Z, &method, &method_len);
    wb_h3_field(ev->stream, WB_SECTION_HEADERS, ":path", WB_TEXT_Z, &path, &path_len);
    snprintf(r->line, sizeof r->line, "%.32s %.400s", method ? method : "?", path ? path : "?");
    if (wb_handle_set_user(ev->stream, r, request_destroy) != WB_OK) {
        request_destroy(r);
        return;
    }
    if (!(ev->flags & WB_EVF_FIN)) wb_stream_stop(ev->stream, 0x100); /* H3_NO_ERROR: a body is of no use here */
    int head = method != NULL && strcmp(method, "HEAD") == 0;
    if (path == NULL || (!head && (method == NULL || strcmp(method, "GET") != 0)))
        refuse(ev->stream, r, 405, "only GET and HEAD\n");
    else
        serve(ev->stream, r, path, path_len, head);
}

static void on_event(void *ctx, const struct wb_event *ev) {
    (void)ctx;
    switch (ev->kind) {
    case WB_EV_H3_HEADERS:
        on_request(ev);
        break;
    case WB_EV_STREAM_WRITABLE:
        if (ev->user_stream != NULL) pump(ev->stream, ev->user_stream);
        break;
    case WB_EV_PATH_MIGRATED:
        printf("%.*s path changed%s\n", (int)ev->data_len, (const char *)ev->data, ev->b == WB_MOVE_REBINDING ? " (NAT rebinding)" : "");
        fflush(stdout);
        break;
    }
}

int main(int argc, char **argv) {
    const char *address = "::", *cert = NULL, *key = NULL, *qlog = NULL;
    unsigned long port = 4433, workers = 0, retry = 0;
    int c;
    while ((c = getopt(argc, argv, "a:p:w:q:rc:k:")) != -1) {
        switch (c) {
        case 'a': address = optarg; break;
        case 'p': port = strtoul(optarg, NULL, 10); break;
        case 'w': workers = strtoul(optarg, NULL, 10); break;
        case 'q': qlog = optarg; break;
        case 'r': retry = 1; break;
        case 'c': cert = optarg; break;
        case 'k': key = optarg; break;
        default: argc = 0;
        }
    }
    if (argc - optind != 1 || cert == NULL || key == NULL || port > 65535) {
        fprintf(stderr, "usage: h3_server [-a ADDRESS] [-p PORT] [-w WORKERS] [-q QLOG-DIR] [-r] -c CERT.pem -k KEY.pem DIRECTORY\n");
        return 2;
    }
    if (realpath(argv[optind], root) == NULL) {
        fprintf(stderr, "h3_server: %s: %s\n", argv[optind], strerror(errno));
        return 1;
    }
    if (strcmp(root, "/") == 0) root[0] = 0;

    sigset_t signals; /* before the first thread, so that all inherit it */
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);

    wb_runtime runtime = 0;
    wb_endpoint endpoint = 0;
    wb_config runtime_config = 0, config = 0;
    wb_tls tls = 0;
    wb_addr bound = {0};
    char text[64];
    int got = 0, result = 0;
    wb_config_new(WB_CONFIG_RUNTIME, &runtime_config);
    wb_config_set_u64(runtime_config, WB_KEY_WORKERS, workers);
    wb_config_new(WB_CONFIG_CONN, &config);
    wb_config_on(config, WB_GROUP_ALL, on_event, NULL, NULL);
    wb_config_set_u64(config, WB_KEY_RETRY, retry);
    if (qlog != NULL) wb_config_set_bytes(config, WB_KEY_QLOG_DIR, qlog, strlen(qlog));
    wb_tls_new(WB_ROLE_SERVER, &tls);
    wb_tls_early_data(tls, 1); /* GET and HEAD may be replayed */
    wb_status s = wb_tls_identity_files(tls, cert, key);
    if (s != WB_OK)
        result = 3;
    else if ((s = wb_runtime_open(runtime_config, &runtime)) != WB_OK)
        result = 1;
    else if ((s = wb_server_listen(runtime, config, tls, address, WB_TEXT_Z, (uint16_t)port, &endpoint)) != WB_OK)
        result = s == WB_E_TLS ? 3 : 4;
    if (s != WB_OK) {
        struct wb_error_info e = WB_INIT(wb_error_info);
        wb_last_error(&e);
        fprintf(stderr, "h3_server: %s\n", e.text);
    } else {
        wb_endpoint_address(endpoint, &bound);
        wb_addr_text(&bound, text, sizeof text, NULL);
        printf("serving %s on https://%s/ (HTTP/3)\n", root, text);
        fflush(stdout);
        sigwait(&signals, &got);
        wb_runtime_close(runtime, WB_CLOSE_GRACEFUL);
        wb_runtime_wait(runtime, 3000000000);
    }
    wb_handle_release_many((wb_handle[]){endpoint, runtime, tls, config, runtime_config}, 5);
    return result;
}
