/* h3_get: fetches a URL over HTTP/3.
 *
 * Shows the queue: one thread, one loop, events in batches, data copied out. The exit status tells failures apart:
 *   0 done             4 host name not found       7 certificate refused
 *   2 wrong usage      5 no way to the server      8 connection or protocol error
 *   3 local file       6 the server does not speak QUIC (no answer in time)
 *   9 the server answered with an error status (only with -f)
 */
#include "url.h"
#include "whimbrel.h"
#include <getopt.h>
#include <time.h>
#include <unistd.h>

enum { DONE = 0, USAGE = 2, LOCAL = 3, RESOLVE = 4, UNREACHABLE = 5, SILENT = 6, CERTIFICATE = 7, PROTOCOL = 8, STATUS = 9 };

static struct {
    const char *url, *output, *ca, *qlog;
    int verbose, fail_on_error;
    unsigned timeout;
    uint16_t suite;
} opt = {.timeout = 10};

static struct url url;
static FILE *out;
static uint64_t received, expected;
static int progress_shown;

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* One line about what failed, and the exit status. */
static int failed(int status, const char *what) {
    struct wb_error_info e = WB_INIT(wb_error_info);
    wb_last_error(&e);
    fprintf(stderr, "%sh3_get: %s: %s\n", progress_shown ? "\r\033[K" : "", what, e.text);
    return status;
}

/* The same for a connection that has ended. */
static int ended(wb_conn conn) {
    struct wb_error_info e = WB_INIT(wb_error_info);
    wb_conn_error(conn, &e);
    int status = e.status == WB_E_RESOLVE       ? RESOLVE
                 : e.status == WB_E_UNREACHABLE ? UNREACHABLE
                 : e.status == WB_E_TIMEOUT     ? SILENT
                 : e.status == WB_E_VERSION     ? SILENT
                 : e.status == WB_E_VERIFY      ? CERTIFICATE
                                                : PROTOCOL;
    fprintf(stderr, "%sh3_get: %s: %s\n", progress_shown ? "\r\033[K" : "", url.authority, e.text);
    return status;
}

static void progress(double start) {
    static double last;
    double now = seconds();
    if (now - start < 1 || now - last < 0.2 || !isatty(2) || out == stdout) return;
    last = now;
    progress_shown = 1;
    double mb = (double)received / 1e6;
    if (expected > 0)
        fprintf(stderr, "\r\033[K%.0f of %.0f MB  %.0f %%  %.1f MB/s", mb, (double)expected / 1e6,
                100 * (double)received / (double)expected, mb / (now - start));
    else
        fprintf(stderr, "\r\033[K%.0f MB  %.1f MB/s", mb, mb / (now - start));
}

static void connected(wb_conn conn) {
    struct wb_conn_desc d = WB_INIT(wb_conn_desc);
    struct wb_conn_counters c = WB_INIT(wb_conn_counters);
    char addr[64];
    if (!opt.verbose || wb_conn_info(conn, &d) != WB_OK || wb_conn_stats(conn, &c) != WB_OK) return;
    wb_addr_text(&d.remote, addr, sizeof addr, NULL);
    fprintf(stderr, "* connected to %s in %.1f ms: QUIC version %#x, ALPN %s, cipher %#x%s\n", addr,
            (double)c.handshake_ns / 1e6, d.version, d.alpn, d.cipher, d.resumed ? ", resumed" : "");
}

static wb_status request(wb_conn conn, wb_stream *stream) {
    struct wb_field fields[] = {
        WB_FIELD(":method", "GET"),           WB_FIELD(":scheme", "https"),
        WB_FIELD(":authority", url.authority), WB_FIELD(":path", url.path),
        WB_FIELD("user-agent", "h3_get"),
    };
    size_t n = sizeof fields / sizeof *fields;
    for (size_t i = 0; opt.verbose && i < n; i++) fprintf(stderr, "> %s: %s\n", fields[i].name, fields[i].value);
    return wb_h3_request(conn, fields, n, WB_FIN, stream);
}

static void response(wb_stream stream) {
    struct wb_field fields[128];
    const char *length;
    size_t n = 0, len;
    if (wb_h3_field(stream, WB_SECTION_HEADERS, "content-length", WB_TEXT_Z, &length, &len) == WB_OK && length != NULL)
        expected = strtoull(length, NULL, 10);
    if (!opt.verbose || wb_h3_fields(stream, WB_SECTION_HEADERS, fields, 128, &n) < 0) return;
    for (size_t i = 0; i < n && i < 128; i++) fprintf(stderr, "< %s: %s\n", fields[i].name, fields[i].value);
}

/* Reads what is there. 1 when the body has ended, 0 when more will come, negative on failure. */
static int body(wb_stream stream) {
    static char buffer[256 * 1024];
    for (;;) {
        size_t got = 0;
        uint8_t fin = 0;
        wb_status s = wb_stream_recv_copy(stream, buffer, sizeof buffer, &got, &fin);
        if (s == WB_E_WOULD_BLOCK) return 0;
        if (s == WB_E_FINISHED) return 1;
        if (s < 0) return failed(-PROTOCOL, "the response was cut off");
        if (fwrite(buffer, 1, got, out) != got) {
            perror(opt.output != NULL ? opt.output : "standard output");
            return -LOCAL;
        }
        received += got;
        if (fin) return 1;
    }
}

static int fetch(wb_queue queue, wb_conn conn) {
    double start = seconds();
    wb_stream stream = 0;
    uint64_t status = 0;
    int result = -1;
    while (result < 0) {
        struct wb_batch batch = WB_INIT(wb_batch);
        if (wb_queue_take(queue, &batch, 64, -1) != WB_OK) return failed(PROTOCOL, "queue");
        for (size_t i = 0; i < batch.count && result < 0; i++) {
            const struct wb_event *ev = wb_batch_event(&batch, i);
            int fin = 0;
            switch (ev->kind) {
            case WB_EV_CONNECTED:
                connected(conn);
                if (request(conn, &stream) != WB_OK) result = failed(PROTOCOL, "request");
                break;
            case WB_EV_PATH_MIGRATED:
                if (opt.verbose) fprintf(stderr, "* path is now %.*s\n", (int)ev->data_len, (const char *)ev->data);
                break;
            case WB_EV_H3_HEADERS:
                status = ev->a;
                response(ev->stream);
                fin = ev->flags & WB_EVF_FIN;
                break;
            case WB_EV_STREAM_READABLE:
                fin = body(ev->stream);
                progress(start);
                break;
            case WB_EV_STREAM_RESET:
                fprintf(stderr, "h3_get: the server cut off the response (code %#llx)\n", (unsigned long long)ev->a);
                result = PROTOCOL;
                break;
            case WB_EV_CONN_CLOSED:
                result = ended(conn);
                break;
            }
            if (fin < 0) result = -fin;
            if (fin > 0) result = DONE;
        }
        wb_queue_return(queue, &batch);
    }
    if (progress_shown) fprintf(stderr, "\r\033[K");
    if (result == DONE && opt.verbose) {
        double took = seconds() - start;
        fprintf(stderr, "* %llu bytes in %.3f s, %.1f MB/s\n", (unsigned long long)received, took,
                (double)received / took / 1e6);
    }
    if (result == DONE && opt.fail_on_error && status >= 400) {
        fprintf(stderr, "h3_get: %s: the server answered %llu\n", opt.url, (unsigned long long)status);
        result = STATUS;
    }
    wb_handle_release(stream);
    return result;
}

static int usage(const char *why) {
    fprintf(stderr, "h3_get: %s; usage: h3_get [-v] [-f] [-o FILE] [-c CA.pem] [-q QLOG-DIR] [-t SECONDS] [-s CIPHER-SUITE] https://HOST[:PORT]/PATH\n", why);
    return USAGE;
}

int main(int argc, char **argv) {
    int c;
    opterr = 0;
    while ((c = getopt(argc, argv, "vfo:c:q:t:s:")) != -1) {
        switch (c) {
        case 'v': opt.verbose = 1; break;
        case 'f': opt.fail_on_error = 1; break;
        case 'o': opt.output = optarg; break;
        case 'c': opt.ca = optarg; break;
        case 'q': opt.qlog = optarg; break;
        case 't': opt.timeout = (unsigned)strtoul(optarg, NULL, 10); break;
        case 's': opt.suite = (uint16_t)strtoul(optarg, NULL, 0); break; /* such as 0x1303 */
        default: return usage("unknown option");
        }
    }
    if (argc - optind != 1) return usage("one URL is needed");
    opt.url = argv[optind];
    if (url_parse(opt.url, &url) != 0) return usage("not an https URL");
    out = opt.output == NULL ? stdout : fopen(opt.output, "wb");
    if (out == NULL) return perror(opt.output), LOCAL;

    wb_runtime runtime = 0;
    wb_queue queue = 0;
    wb_config runtime_config = 0, config = 0;
    wb_tls tls = 0;
    wb_conn conn = 0;
    const char *keys = getenv("SSLKEYLOGFILE");
    int result = DONE;
    wb_config_new(WB_CONFIG_RUNTIME, &runtime_config);
    wb_config_set_u64(runtime_config, WB_KEY_WORKERS, 1);
    wb_config_new(WB_CONFIG_CONN, &config);
    wb_config_set_u64(config, WB_KEY_HANDSHAKE_MS, 1000 * (uint64_t)opt.timeout);
    wb_config_set_u64(config, WB_KEY_KEEP_ALIVE_MS, 2000); /* a NAT that rebinds in silence is noticed */
    wb_tls_new(WB_ROLE_CLIENT, &tls);
    if (opt.ca != NULL && wb_tls_trust_file(tls, opt.ca) != WB_OK)
        result = failed(LOCAL, "trusted certificates");
    else if (opt.suite != 0 && wb_tls_ciphers(tls, &opt.suite, 1) != WB_OK)
        result = failed(USAGE, "cipher suite");
    else if (keys != NULL && wb_tls_keylog_file(tls, keys) != WB_OK)
        result = failed(LOCAL, "SSLKEYLOGFILE");
    else if (opt.qlog != NULL && wb_config_set_bytes(config, WB_KEY_QLOG_DIR, opt.qlog, strlen(opt.qlog)) != WB_OK)
        result = failed(LOCAL, "qlog folder");
    else if (wb_runtime_open(runtime_config, &runtime) != WB_OK || wb_queue_open(runtime, &queue) != WB_OK ||
             wb_client_connect(runtime, config, tls, url.host, WB_TEXT_Z, url.port, &conn) != WB_OK)
        result = failed(PROTOCOL, "cannot start");
    else
        result = fetch(queue, conn);

    wb_conn_close(conn, 0, NULL, 0);
    wb_runtime_close(runtime, WB_CLOSE_GRACEFUL);
    wb_runtime_wait(runtime, 2000000000);
    wb_handle_release_many((wb_handle[]){conn, queue, runtime, tls, config, runtime_config}, 6);
    if (fclose(out) != 0 && result == DONE) return perror(opt.output), LOCAL;
    return result;
}
