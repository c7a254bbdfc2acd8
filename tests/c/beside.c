/* One process, three cryptographic libraries: two copies of ours, opened by hand, and OpenSSL. A client of one copy talks
 * to a server of the other; handles of one are refused by the other; closing a library while its threads live leaves it
 * where it is. Not linked with the library: everything comes from dlsym.
 * Arguments: the folder with certificates, the first copy, the second copy, OpenSSL's libcrypto. */
#include "whimbrel.h"
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define USED(X)                                                                                                        \
    X(wb_runtime_open) X(wb_runtime_close) X(wb_runtime_wait) X(wb_config_new) X(wb_config_on) X(wb_tls_new)           \
    X(wb_tls_alpn) X(wb_tls_identity_files) X(wb_tls_trust_file) X(wb_server_listen) X(wb_endpoint_address)            \
    X(wb_client_connect) X(wb_stream_open) X(wb_stream_send_copy) X(wb_stream_recv_copy) X(wb_handle_release)          \
    X(wb_status_name) X(wb_last_error)

struct copy {
    void *library;
#define FIELD(name) __typeof__(name) *name;
    USED(FIELD)
#undef FIELD
};

static int failed(int line, const char *what) {
    fprintf(stderr, "beside.c:%d: %s\n", line, what);
    exit(1);
}

#define CHECK(condition) ((condition) ? 0 : failed(__LINE__, #condition))

static void *found(void *library, const char *name) {
    void *symbol = dlsym(library, name);
    if (symbol == NULL) failed(__LINE__, name);
    return symbol;
}

static struct copy open_copy(const char *path) {
    struct copy c;
    c.library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (c.library == NULL) failed(__LINE__, dlerror());
    void *symbol;
#define FILL(name) symbol = found(c.library, #name), memcpy(&c.name, &symbol, sizeof symbol);
    USED(FILL)
#undef FILL
    return c;
}

static struct copy client, server;
static atomic_int echoed, lost;

static void on_server(void *ctx, const wb_event *ev) {
    char room[256];
    size_t got = 0, taken = 0;
    uint8_t fin = 0;
    (void)ctx;
    if (ev->kind != WB_EV_STREAM_READABLE) return;
    while (!fin && server.wb_stream_recv_copy(ev->stream, room, sizeof room, &got, &fin) == WB_OK)
        CHECK(server.wb_stream_send_copy(ev->stream, room, got, fin ? WB_FIN : 0, &taken) == WB_OK && taken == got);
}

static void on_client(void *ctx, const wb_event *ev) {
    wb_stream stream;
    char room[256];
    size_t got = 0;
    uint8_t fin = 0;
    (void)ctx;
    if (ev->kind == WB_EV_CONNECTED) {
        CHECK(client.wb_stream_open(ev->conn, WB_STREAM_BIDI, &stream) == WB_OK);
        CHECK(client.wb_stream_send_copy(stream, "from copy to copy", 17, WB_FIN, &got) == WB_OK && got == 17);
        /* The other copy knows nothing of this handle. */
        CHECK(server.wb_stream_send_copy(stream, "x", 1, 0, &got) != WB_OK);
        CHECK(server.wb_handle_release(ev->conn) != WB_OK);
    }
    if (ev->kind == WB_EV_STREAM_READABLE) {
        CHECK(client.wb_stream_recv_copy(ev->stream, room, sizeof room, &got, &fin) == WB_OK);
        CHECK(got == 17 && memcmp(room, "from copy to copy", 17) == 0);
        atomic_fetch_add(&echoed, 1);
    }
    if (ev->kind == WB_EV_CONN_CLOSED) atomic_fetch_add(&lost, 1);
}

static wb_tls tls_of(const struct copy *c, uint32_t role, const char *folder) {
    char chain[512], key[512];
    wb_text alpn = {"beside", 6};
    wb_tls tls = 0;
    snprintf(chain, sizeof chain, "%s/cert.pem", folder);
    snprintf(key, sizeof key, "%s/key.pem", folder);
    CHECK(c->wb_tls_new(role, &tls) == WB_OK && c->wb_tls_alpn(tls, &alpn, 1) == WB_OK);
    if (role == WB_ROLE_SERVER)
        CHECK(c->wb_tls_identity_files(tls, chain, key) == WB_OK);
    else
        CHECK(c->wb_tls_trust_file(tls, chain) == WB_OK);
    return tls;
}

static void exchange(wb_runtime runtime, wb_config config, wb_tls tls, uint16_t port, int number) {
    struct timespec t = {0, 10 * 1000000};
    wb_conn conn = 0;
    CHECK(client.wb_client_connect(runtime, config, tls, "localhost", WB_TEXT_Z, port, &conn) == WB_OK);
    for (int i = 0; i < 1000 && atomic_load(&echoed) < number && !atomic_load(&lost); i++) nanosleep(&t, NULL);
    CHECK(atomic_load(&echoed) == number);
}

/* Our ring descends from the same sources as OpenSSL and has functions of the same names inside: this one is OpenSSL's. */
static void openssl_works(void *library) {
    unsigned char *(*sha256)(const unsigned char *, size_t, unsigned char *);
    void *symbol = found(library, "SHA256");
    unsigned char digest[32];
    memcpy(&sha256, &symbol, sizeof symbol);
    CHECK(sha256((const unsigned char *)"abc", 3, digest) == digest);
    CHECK(memcmp(digest, "\xba\x78\x16\xbf\x8f\x01\xcf\xea", 8) == 0);
}

int main(int argc, char **argv) {
    CHECK(argc == 5);
    /* Global, so that a name of ours that were not our own would be bound to OpenSSL's. */
    void *openssl = dlopen(argv[4], RTLD_NOW | RTLD_GLOBAL);
    if (openssl == NULL) failed(__LINE__, dlerror());
    client = open_copy(argv[2]);
    server = open_copy(argv[3]);
    CHECK(client.wb_runtime_open != server.wb_runtime_open);

    wb_runtime near_side = 0, far_side = 0;
    wb_config near_config = 0, far_config = 0;
    wb_endpoint endpoint = 0;
    wb_addr address;
    CHECK(client.wb_runtime_open(0, &near_side) == WB_OK && server.wb_runtime_open(0, &far_side) == WB_OK);
    CHECK(client.wb_config_new(WB_CONFIG_CONN, &near_config) == WB_OK);
    CHECK(server.wb_config_new(WB_CONFIG_CONN, &far_config) == WB_OK);
    CHECK(client.wb_config_on(near_config, WB_GROUP_ALL, on_client, NULL, NULL) == WB_OK);
    CHECK(server.wb_config_on(far_config, WB_GROUP_ALL, on_server, NULL, NULL) == WB_OK);
    wb_tls near_tls = tls_of(&client, WB_ROLE_CLIENT, argv[1]), far_tls = tls_of(&server, WB_ROLE_SERVER, argv[1]);
    CHECK(server.wb_server_listen(far_side, far_config, far_tls, "::", WB_TEXT_Z, 0, &endpoint) == WB_OK);
    CHECK(server.wb_endpoint_address(endpoint, &address) == WB_OK);
    CHECK(client.wb_handle_release(far_side) != WB_OK);

    openssl_works(openssl);
    exchange(near_side, near_config, near_tls, address.port, 1);
    openssl_works(openssl);
    /* Threads of both live: closing must not take their code away. */
    CHECK(dlclose(client.library) == 0 && dlclose(server.library) == 0);
    exchange(near_side, near_config, near_tls, address.port, 2);

    CHECK(client.wb_runtime_close(near_side, WB_CLOSE_GRACEFUL) == WB_OK);
    CHECK(client.wb_runtime_wait(near_side, 10000000000) == WB_OK);
    CHECK(server.wb_runtime_close(far_side, WB_CLOSE_NOW) == WB_OK);
    CHECK(server.wb_runtime_wait(far_side, 10000000000) == WB_OK);
    return 0;
}
