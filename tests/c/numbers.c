/* Numbers that mean nothing: every parameter that chooses among named values, every set of flags, every key, and lengths
 * that no memory has, on live objects. Each gives a status, takes nothing, and leaves the object as it was.
 * Argument: the folder with certificates. */
#include "check.h"

static wb_conn conn;
static wb_stream stream;
static wb_runtime runtime;
static wb_endpoint endpoint;
static wb_config config;
static wb_tls client_tls, server_tls;
static wb_buf buffer;
static atomic_int confirmed, closed;

static void on_event(void *ctx, const wb_event *ev) {
    (void)ctx;
    if (ev->kind == WB_EV_CONFIRMED) atomic_store(&confirmed, 1);
    if (ev->kind == WB_EV_CONN_CLOSED) atomic_store(&closed, 1);
}

/* One call for each parameter that names a choice. */
static wb_status new_config(uint32_t n) { wb_config c; return wb_config_new(n, &c); }
static wb_status new_tls(uint32_t n) { wb_tls t; return wb_tls_new(n, &t); }
static wb_status group(uint32_t n) { return wb_config_on(config, n, on_event, NULL, NULL); }
static wb_status verify(uint32_t n) { return wb_tls_verify_mode(client_tls, n); }
static wb_status decisions(uint32_t n) { return wb_tls_decisions(server_tls, n); }
static wb_status close_runtime(uint32_t n) { return wb_runtime_close(runtime, n); }
static wb_status close_endpoint(uint32_t n) { return wb_endpoint_close(endpoint, n); }
static wb_status open_stream(uint32_t n) { wb_stream s; return wb_stream_open(conn, n, &s); }
static wb_status begin_stream(uint32_t n) {
    wb_stream_first first = WB_INIT(wb_stream_first);
    wb_stream s;
    return wb_stream_begin(conn, n, &first, &s);
}
static wb_status begin_flags(uint32_t n) {
    wb_stream_first first = WB_INIT(wb_stream_first);
    wb_stream s;
    first.flags = n;
    return wb_stream_begin(conn, WB_STREAM_BIDI, &first, &s);
}
static wb_status send_flags(uint32_t n) { size_t took; return wb_stream_send(stream, &buffer, 1, n, &took); }
static wb_status copy_flags(uint32_t n) { size_t took; return wb_stream_send_copy(stream, "x", 1, n, &took); }
static wb_status urgency(uint32_t n) { return wb_stream_priority(stream, n, 0); }
static wb_status revoke_mode(uint32_t n) { return wb_buf_revoke(buffer, n); }
static wb_status key(uint32_t n) { return wb_config_set_u64(config, n, 1); }
static wb_status bytes_key(uint32_t n) { return wb_config_set_bytes(config, n, "x", 1); }

static const struct choice {
    const char *name;
    wb_status (*call)(uint32_t);
    /* Values up to this one may have a meaning and are left out. */
    uint32_t last_valid;
    wb_status wanted;
} CHOICES[] = {
    {"wb_config_new", new_config, 3, WB_E_INVALID},
    {"wb_tls_new", new_tls, 2, WB_E_INVALID},
    {"wb_config_on", group, WB_GROUP_DECISION, WB_E_INVALID},
    {"wb_tls_verify_mode", verify, WB_VERIFY_REQUIRED, WB_E_INVALID},
    {"wb_tls_decisions", decisions, 31, WB_E_INVALID},
    {"wb_runtime_close", close_runtime, WB_CLOSE_NOW, WB_E_INVALID},
    {"wb_endpoint_close", close_endpoint, WB_CLOSE_NOW, WB_E_INVALID},
    {"wb_stream_open", open_stream, WB_STREAM_UNI, WB_E_INVALID},
    {"wb_stream_begin", begin_stream, WB_STREAM_UNI, WB_E_INVALID},
    {"wb_stream_begin", begin_flags, WB_FIN, WB_E_INVALID},
    {"wb_stream_send", send_flags, WB_FIN, WB_E_INVALID},
    {"wb_stream_send_copy", copy_flags, WB_FIN, WB_E_INVALID},
    {"wb_stream_priority", urgency, 7, WB_E_RANGE},
    {"wb_buf_revoke", revoke_mode, WB_REVOKE_RESET, WB_E_INVALID},
    {"wb_config_set_u64", key, 99, WB_E_UNKNOWN_KEY},
    {"wb_config_set_bytes", bytes_key, 99, WB_E_UNKNOWN_KEY},
};

/* Seeded: a failure names the number, and the run can be repeated. */
static uint64_t state = 0x9e3779b97f4a7c15u;
static uint32_t next(void) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (uint32_t)(state >> 16);
}

static int wrong;
static void expect(const struct choice *c, uint32_t n) {
    wb_status got;
    if (n <= c->last_valid) return;
    got = c->call(n);
    if (got != c->wanted && wrong++ < 40)
        fprintf(stderr, "%s with %u gives %s, wanted %s\n", c->name, n, wb_status_name(got), wb_status_name(c->wanted));
}

static void choices(void) {
    for (size_t i = 0; i < sizeof CHOICES / sizeof *CHOICES; i++) {
        const struct choice *c = &CHOICES[i];
        for (uint32_t n = 0; n < 600; n++) expect(c, n);
        for (int bit = 9; bit < 32; bit++)
            for (uint32_t low = 0; low < 4; low++) expect(c, ((uint32_t)1 << bit) + low), expect(c, ((uint32_t)1 << bit) - low);
        for (int round = 0; round < 2000; round++) expect(c, next());
        expect(c, UINT32_MAX);
    }
}

/* Lengths and counts that cannot be: refused before anything is read. */
static void lengths(void) {
    static const size_t HUGE_LENGTHS[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX / 2 + 1, (SIZE_MAX >> 4) + 1};
    for (size_t i = 0; i < sizeof HUGE_LENGTHS / sizeof *HUGE_LENGTHS; i++) {
        size_t n = HUGE_LENGTHS[i], out = 77;
        wb_text alpn = {"h3", n}, one = {"h3", 2};
        wb_field field = WB_FIELD(":method", "GET");
        wb_buf b = 0;
        wb_handle many = stream;
        uint16_t suite = 0x1301;
        /* WB_TEXT_Z is SIZE_MAX: a text that ends at its zero, no length. */
        const size_t t = n == WB_TEXT_Z ? n - 1 : n;
        wb_stream_first first = WB_INIT(wb_stream_first);
        first.data = "x";
        first.len = n;
        const struct {
            const char *name;
            wb_status got;
        } calls[] = {
            {"wb_stream_begin", wb_stream_begin(conn, WB_STREAM_BIDI, &first, &many)},
            {"wb_stream_send_copy", wb_stream_send_copy(stream, "x", n, 0, &out)},
            {"wb_stream_send", wb_stream_send(stream, &buffer, n, 0, &out)},
            {"wb_conn_datagram_send", wb_conn_datagram_send(conn, "x", n, 0)},
            {"wb_buf_alloc", wb_buf_alloc(n, (void **)&(void *){NULL}, &b)},
            {"wb_buf_wrap", wb_buf_wrap("x", n, NULL, NULL, &b)},
            {"wb_buf_slice", wb_buf_slice(buffer, 1, n, &b)},
            {"wb_buf_slice", wb_buf_slice(buffer, n, n, &b)},
            {"wb_tls_alpn", wb_tls_alpn(client_tls, &one, n)},
            {"wb_tls_alpn", wb_tls_alpn(client_tls, &alpn, n == WB_TEXT_Z ? n : 1)},
            {"wb_tls_ciphers", wb_tls_ciphers(client_tls, &suite, n)},
            {"wb_tls_trust_add", wb_tls_trust_add(client_tls, "x", t)},
            {"wb_tls_identity_pem", wb_tls_identity_pem(server_tls, "x", t, "x", t)},
            {"wb_tls_ticket_keys", wb_tls_ticket_keys(server_tls, "x", n)},
            {"wb_config_set_bytes", wb_config_set_bytes(config, WB_KEY_QLOG_DIR, "x", t)},
            {"wb_config_parse", wb_config_parse(config, "x", t)},
            {"wb_handle_release_many", wb_handle_release_many(&many, n)},
            {"wb_h3_request", wb_h3_request(conn, &field, n, 0, &many)},
            {"wb_h3_headers", wb_h3_headers(stream, &field, n, 0)},
            {"wb_conn_close", wb_conn_close(conn, 0, "x", t)},
            {"wb_conn_start", wb_conn_start(conn, "x", t, 443)},
            {"wb_conn_export", wb_conn_export(conn, "x", t, "x", n, (uint8_t[1]){0}, n)},
            {"wb_client_connect", wb_client_connect(runtime, 0, client_tls, "x", t, 443, &many)},
        };
        for (size_t k = 0; k < sizeof calls / sizeof *calls; k++)
            if (calls[k].got >= 0 && wrong++ < 40)
                fprintf(stderr, "%s with the length %zu gives %s\n", calls[k].name, n, wb_status_name(calls[k].got));
    }
}

int main(int argc, char **argv) {
    wb_config server_config;
    wb_addr address;
    static char text[64];
    size_t took = 0;
    CHECK(argc == 2);
    OK(wb_runtime_open(0, &runtime));
    OK(wb_config_new(WB_CONFIG_CONN, &server_config));
    OK(wb_config_new(WB_CONFIG_CONN, &config));
    OK(wb_config_set_u64(server_config, WB_KEY_DATAGRAM_SIZE, 1000));
    client_tls = tls_for(WB_ROLE_CLIENT, argv[1]);
    server_tls = tls_for(WB_ROLE_SERVER, argv[1]);
    OK(wb_server_listen(runtime, server_config, server_tls, "127.0.0.1", WB_TEXT_Z, 0, &endpoint));
    OK(wb_endpoint_address(endpoint, &address));
    wb_config client_config;
    OK(wb_config_new(WB_CONFIG_CONN, &client_config));
    OK(wb_config_on(client_config, WB_GROUP_ALL, on_event, NULL, NULL));
    OK(wb_client_connect(runtime, client_config, client_tls, "localhost", WB_TEXT_Z, address.port, &conn));
    EVENTUALLY(atomic_load(&confirmed));
    OK(wb_stream_open(conn, WB_STREAM_BIDI, &stream));
    OK(wb_buf_wrap(text, sizeof text, NULL, NULL, &buffer));

    choices();
    lengths();
    CHECK(wrong == 0);

    /* All of it is as it was. */
    CHECK(!atomic_load(&closed));
    OK(wb_stream_send(stream, &buffer, 1, 0, &took));
    CHECK(took == sizeof text);
    OK(wb_stream_send_copy(stream, "y", 1, WB_FIN, &took));
    CHECK(took == 1);
    end(runtime);
    OK(wb_handle_release_many((wb_handle[]){stream, buffer, conn, endpoint, runtime}, 5));
    return 0;
}
