/* HTTP/3 through the C ABI: headers, interim responses, bodies and trailers both ways, Retry, resumption with early data,
 * the key log, qlog, GOAWAY, and a refused certificate. */
#include "check.h"
#include <dirent.h>

/* ------------------------------------------------------------------ server: answers every request with its own body */

static atomic_int requests, accepted_early;

static void on_server(void *ctx, const wb_event *ev) {
    static char room[4096];
    (void)ctx;
    switch (ev->kind) {
    case WB_EV_ZERO_RTT_ACCEPTED: atomic_fetch_add(&accepted_early, 1); break;
    case WB_EV_H3_HEADERS: {
        wb_field hints[] = {WB_FIELD(":status", "103"), WB_FIELD("link", "</a.css>")};
        wb_field answer[] = {WB_FIELD(":status", "200"), WB_FIELD("content-type", "text/plain")};
        const char *path;
        size_t len;
        OK(wb_h3_field(ev->stream, WB_SECTION_HEADERS, ":path", WB_TEXT_Z, &path, &len));
        CHECK(len == 5 && strcmp(path, "/echo") == 0);
        OK(wb_h3_headers(ev->stream, hints, 2, 0));
        OK(wb_h3_headers(ev->stream, answer, 2, 0));
        atomic_fetch_add(&requests, 1);
        if ((ev->flags & WB_EVF_FIN) == 0) break;
        OK(wb_stream_send(ev->stream, NULL, 0, WB_FIN, NULL));
        break;
    }
    case WB_EV_STREAM_READABLE:
        for (;;) {
            size_t got = 0, accepted = 0;
            uint8_t fin = 0;
            wb_status s = wb_stream_recv_copy(ev->stream, room, sizeof room, &got, &fin);
            if (s == WB_E_WOULD_BLOCK || s == WB_E_FINISHED) return;
            OK(s);
            OK(wb_stream_send_copy(ev->stream, room, got, 0, &accepted)); /* small bodies: there is room */
            if (!fin) continue;
            wb_field trailer[] = {WB_FIELD("x-bytes", "some")};
            OK(wb_h3_headers(ev->stream, trailer, 1, WB_H3_TRAILERS));
            return;
        }
    }
}

/* ------------------------------------------------------------------ client: one exchange over a queue */

struct result {
    int connected, early, zero_rtt, informed, trailers, fin, stream_closed, conn_closed, goaway;
    uint64_t status, resumed;
    char body[64];
    size_t len;
};

static void never(void *user) {
    (void)user;
    CHECK(!"nothing was taken");
}

static void start_request(wb_conn conn, wb_stream *stream) {
    wb_field fields[] = {WB_FIELD(":method", "POST"), WB_FIELD(":scheme", "https"), WB_FIELD(":authority", "localhost"),
                         WB_FIELD(":path", "/echo")};
    wb_field bad[] = {WB_FIELD(":method", "GET"), WB_FIELD("Upper-Case", "x")};
    wb_stream_first first = WB_INIT(wb_stream_first);
    size_t accepted = 0;
    first.user = stream;
    first.destroy = never;
    GIVES(wb_stream_begin(conn, WB_STREAM_BIDI, &first, stream), WB_E_STATE);
    GIVES(wb_h3_request(conn, bad, 2, WB_FIN, stream), WB_E_H3);
    GIVES(wb_stream_open(conn, WB_STREAM_BIDI, stream), WB_E_STATE);
    OK(wb_h3_request(conn, fields, 4, 0, stream));
    OK(wb_stream_send_copy(*stream, "hello ", 6, 0, &accepted));
    OK(wb_stream_send_copy(*stream, "world", 5, WB_FIN, &accepted));
    GIVES(wb_stream_send_copy(*stream, "!", 1, 0, &accepted), WB_E_FINISHED);
}

static void on_client(struct result *r, wb_conn conn, wb_stream *stream, int early, const wb_event *ev) {
    switch (ev->kind) {
    case WB_EV_KEYS_INSTALLED:
        if (ev->a != WB_LEVEL_EARLY) break;
        r->early = 1;
        if (early) start_request(conn, stream);
        break;
    case WB_EV_CONNECTED:
        r->connected = 1;
        r->resumed = ev->a;
        if (*stream == 0) start_request(conn, stream);
        break;
    case WB_EV_ZERO_RTT_ACCEPTED: r->zero_rtt = 1; break;
    case WB_EV_H3_INFO: r->informed = (int)ev->a; break;
    case WB_EV_H3_HEADERS: r->status = ev->a; break;
    case WB_EV_H3_TRAILERS: r->trailers++; break;
    case WB_EV_STREAM_READABLE:
        while (!r->fin) {
            size_t got = 0;
            uint8_t fin = 0;
            wb_status s = wb_stream_recv_copy(*stream, r->body + r->len, sizeof r->body - r->len, &got, &fin);
            if (s == WB_E_WOULD_BLOCK) break;
            OK(s);
            r->len += got;
            r->fin = fin;
        }
        break;
    case WB_EV_STREAM_CLOSED: r->stream_closed++; break;
    case WB_EV_CONN_CLOSED: r->conn_closed++; break;
    }
}

static void take(wb_queue queue, struct result *r, wb_conn conn, wb_stream *stream, int early) {
    wb_batch batch = WB_INIT(wb_batch);
    OK(wb_queue_take(queue, &batch, 64, 10 * SECOND));
    for (size_t i = 0; i < batch.count; i++) {
        const wb_event *ev = wb_batch_event(&batch, i);
        if (ev->conn == conn) on_client(r, conn, stream, early, ev);
    }
    OK(wb_queue_return(queue, &batch));
}

static struct result exchange(wb_runtime runtime, wb_queue queue, wb_config config, wb_tls tls, uint16_t port, int early,
                              wb_conn_desc *desc) {
    struct result r;
    wb_conn conn;
    wb_stream stream = 0;
    memset(&r, 0, sizeof r);
    OK(wb_client_connect(runtime, config, tls, "127.0.0.1", WB_TEXT_Z, port, &conn));
    while (!r.stream_closed) {
        take(queue, &r, conn, &stream, early);
        CHECK(!r.conn_closed);
    }
    CHECK(r.status == 200 && r.informed == 103 && r.trailers == 1 && r.fin);
    CHECK(r.len == 11 && memcmp(r.body, "hello world", 11) == 0);
    wb_field fields[8];
    size_t n = 0;
    OK(wb_h3_fields(stream, WB_SECTION_HEADERS, fields, 8, &n));
    CHECK(n == 2 && strcmp(fields[1].name, "content-type") == 0 && strcmp(fields[1].value, "text/plain") == 0);
    GIVES(wb_h3_fields(stream, WB_SECTION_HEADERS, fields, 1, &n), WB_PARTIAL);
    OK(wb_h3_fields(stream, WB_SECTION_INFO, fields, 8, &n));
    CHECK(n == 2 && strcmp(fields[1].value, "</a.css>") == 0);
    OK(wb_h3_fields(stream, WB_SECTION_TRAILERS, fields, 8, &n));
    CHECK(n == 1 && strcmp(fields[0].name, "x-bytes") == 0);
    const char *value = "x";
    size_t len = 1;
    OK(wb_h3_field(stream, WB_SECTION_HEADERS, "absent", WB_TEXT_Z, &value, &len));
    CHECK(value == NULL && len == 0);
    OK(wb_conn_info(conn, desc));
    CHECK(desc->http3 == 1 && strcmp(desc->alpn, "h3") == 0);
    pause_ms(50); /* for the session ticket */
    OK(wb_h3_goaway(conn));
    OK(wb_conn_close(conn, 0, "done", 4));
    while (!r.conn_closed) take(queue, &r, conn, &stream, early);
    OK(wb_handle_release(stream));
    OK(wb_handle_release(conn));
    return r;
}

static int lines_of(const char *file) {
    char line[1024];
    int n = 0;
    FILE *f = fopen(file, "r");
    CHECK(f != NULL);
    while (fgets(line, sizeof line, f) != NULL) n += strstr(line, "_TRAFFIC_SECRET") != NULL;
    fclose(f);
    return n;
}

static int files_in(const char *folder) {
    int n = 0;
    DIR *d = opendir(folder);
    CHECK(d != NULL);
    for (struct dirent *e; (e = readdir(d)) != NULL;) n += strstr(e->d_name, "qlog") != NULL;
    closedir(d);
    return n;
}

static wb_tls tls_h3(uint32_t role, const char *folder) {
    wb_text h3 = {"h3", WB_TEXT_Z};
    wb_tls tls = tls_for(role, folder);
    OK(wb_tls_alpn(tls, &h3, 1));
    OK(wb_tls_early_data(tls, 1));
    return tls;
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    char keys[600], logs[600];
    wb_runtime runtime;
    wb_queue queue;
    wb_config sc, cc, rc, rt;
    wb_endpoint endpoint, strict;
    wb_addr address, strict_address;
    wb_conn_desc d = WB_INIT(wb_conn_desc);
    snprintf(keys, sizeof keys, "%s/keys.log", argv[1]);
    snprintf(logs, sizeof logs, "%s/qlog-XXXXXX", argv[1]);
    unlink(keys);
    CHECK(mkdtemp(logs) != NULL);

    OK(wb_config_new(WB_CONFIG_RUNTIME, &rt));
    OK(wb_config_set_u64(rt, WB_KEY_WORKERS, 2));
    OK(wb_runtime_open(rt, &runtime));
    OK(wb_queue_open(runtime, &queue));
    OK(wb_config_new(WB_CONFIG_CONN, &sc));
    OK(wb_config_on(sc, WB_GROUP_ALL, on_server, NULL, NULL));
    OK(wb_config_new(WB_CONFIG_CONN, &rc));
    OK(wb_config_on(rc, WB_GROUP_ALL, on_server, NULL, NULL));
    OK(wb_config_parse(rc, "endpoint.retry=on", WB_TEXT_Z));
    OK(wb_config_new(WB_CONFIG_CONN, &cc));
    OK(wb_config_set_bytes(cc, WB_KEY_QLOG_DIR, logs, strlen(logs)));
    wb_tls st = tls_h3(WB_ROLE_SERVER, argv[1]), ct = tls_h3(WB_ROLE_CLIENT, argv[1]), wary;
    OK(wb_tls_keylog_file(ct, keys));
    uint16_t suites[] = {0x1303, 0x1304};
    CHECK(wb_tls_ciphers(ct, suites, 0) == WB_E_INVALID);
    CHECK(wb_tls_ciphers(ct, suites, 2) == WB_E_UNSUPPORTED);
    OK(wb_tls_ciphers(ct, suites, 1));
    CHECK(wb_config_parse(sc, "transport.preferred_ipv4=localhost:1", WB_TEXT_Z) == WB_E_INVALID);
    CHECK(wb_config_parse(sc, "transport.preferred_ipv6=192.0.2.1:443", WB_TEXT_Z) == WB_E_INVALID);
    CHECK(wb_config_set_u64(sc, WB_KEY_PREFERRED_IPV4, 1) == WB_E_INVALID);
    OK(wb_server_listen(runtime, sc, st, "127.0.0.1", WB_TEXT_Z, 0, &endpoint));
    OK(wb_server_listen(runtime, rc, st, "127.0.0.1", WB_TEXT_Z, 0, &strict));
    OK(wb_endpoint_address(endpoint, &address));
    OK(wb_endpoint_address(strict, &strict_address));
    GIVES(wb_server_listen(runtime, sc, st, "127.0.0.1", WB_TEXT_Z, address.port, &strict), WB_E_BUSY);

    struct result first = exchange(runtime, queue, cc, ct, address.port, 0, &d);
    CHECK(!first.resumed && !first.zero_rtt && d.resumed == 0 && d.retried == 0 && d.cipher == 0x1303);
    CHECK(lines_of(keys) == 4);
    struct result second = exchange(runtime, queue, cc, ct, address.port, 1, &d);
    CHECK(second.early && second.resumed && second.zero_rtt && d.resumed == 1 && d.early_data == 1);
    CHECK(atomic_load(&requests) == 2);
    struct result third = exchange(runtime, queue, cc, ct, strict_address.port, 0, &d);
    CHECK(third.connected && d.retried == 1);

    /* A certificate that nobody vouches for. */
    struct result refused;
    wb_conn conn;
    wb_stream none = 0;
    wb_error_info why = WB_INIT(wb_error_info);
    memset(&refused, 0, sizeof refused);
    OK(wb_tls_new(WB_ROLE_CLIENT, &wary));
    if (wb_client_connect(runtime, 0, wary, "localhost", WB_TEXT_Z, address.port, &conn) == WB_OK) {
        while (!refused.conn_closed) take(queue, &refused, conn, &none, 0);
        OK(wb_conn_error(conn, &why));
        CHECK(why.status == WB_E_VERIFY && why.tls_alert != 0 && why.wire_code == 0x100 + why.tls_alert);
        OK(wb_handle_release(conn));
    } else { /* this machine has no roots at all */
        OK(wb_last_error(&why));
        CHECK(why.status == WB_E_TLS);
    }

    end(runtime);
    CHECK(files_in(logs) == 3);
    OK(wb_handle_release_many((wb_handle[]){queue, runtime, endpoint, strict, sc, cc, rc, rt, st, ct, wary}, 11));
    puts("http: ok");
    return 0;
}
