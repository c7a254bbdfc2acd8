/* Lines for operators over real connections: a handshake that fails names reason and peer, a key update, a move and an end are
 * told where they are wanted, and a socket that fails; off nothing is said; another function replaces one whose context is then
 * destroyed; mute and fork. */
#include "check.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/wait.h>

struct lines {
    pthread_mutex_t lock;
    char text[65536];
    size_t len;
    uint32_t level;
    atomic_uint calls, destroyed;
    int slow;
};

static void line(void *ctx, uint32_t level, const char *room, const char *text, size_t len) {
    struct lines *l = ctx;
    CHECK(!atomic_load(&l->destroyed) && level >= WB_LOG_ERROR && level <= l->level && strlen(text) == len && *room);
    GIVES(wb_log_set(99, NULL, NULL, NULL), WB_E_INVALID);
    if (l->slow) pause_ms(100);
    pthread_mutex_lock(&l->lock);
    int n = snprintf(l->text + l->len, sizeof l->text - l->len, "%u %s: %s\n", (unsigned)level, room, text);
    CHECK(n > 0 && l->len + (size_t)n < sizeof l->text);
    l->len += (size_t)n;
    pthread_mutex_unlock(&l->lock);
    CHECK(!atomic_load(&l->destroyed));
    atomic_fetch_add(&l->calls, 1);
}

static void destroyed(void *ctx) {
    atomic_fetch_add(&((struct lines *)ctx)->destroyed, 1);
}

static int said(struct lines *l, const char *what) {
    pthread_mutex_lock(&l->lock);
    int found = strstr(l->text, what) != NULL;
    pthread_mutex_unlock(&l->lock);
    return found;
}

static wb_runtime runtime;
static wb_queue queue;
static wb_config settings;

/* A connection up to its end; with the keys updated once when it works. */
static void talk(wb_tls tls, uint16_t port) {
    wb_conn conn;
    OK(wb_client_connect(runtime, settings, tls, "localhost", WB_TEXT_Z, port, &conn));
    int open = 2;
    while (open) {
        wb_batch batch = WB_INIT(wb_batch);
        OK(wb_queue_take(queue, &batch, 8, 10 * SECOND));
        for (size_t i = 0; i < batch.count; i++) {
            const wb_event *e = wb_batch_event(&batch, i);
            if (e->kind == WB_EV_CONFIRMED && e->conn == conn) CHECK(wb_conn_key_update(conn) >= 0);
            if (e->kind == WB_EV_KEY_UPDATED && e->conn == conn) OK(wb_conn_close(conn, 0, NULL, 0));
            if (e->kind == WB_EV_CONN_CLOSED) open--;
        }
        OK(wb_queue_return(queue, &batch));
    }
    OK(wb_handle_release(conn));
}

/* A connection that takes another socket, which the server notices with what comes from there. */
static void wander(wb_tls tls, uint16_t port) {
    wb_conn conn;
    wb_stream stream;
    size_t sent;
    OK(wb_client_connect(runtime, settings, tls, "127.0.0.1", WB_TEXT_Z, port, &conn));
    int open = 2, moved = 0;
    while (open) {
        wb_batch batch = WB_INIT(wb_batch);
        OK(wb_queue_take(queue, &batch, 8, 10 * SECOND));
        for (size_t i = 0; i < batch.count; i++) {
            const wb_event *e = wb_batch_event(&batch, i);
            if (e->kind == WB_EV_CONFIRMED && e->conn == conn) {
                /* The peer's spare connection IDs may still be on their way. */
                wb_status s = WB_E_LIMIT;
                for (int n = 0; n < 1000 && s != WB_OK; n++, pause_ms(10)) s = wb_conn_migrate(conn, NULL, 0);
                OK(s);
            }
            if (e->kind == WB_EV_PATH_MIGRATED) moved++;
            if (e->kind == WB_EV_PATH_MIGRATED && e->conn == conn) {
                OK(wb_stream_open(conn, WB_STREAM_UNI, &stream));
                OK(wb_stream_send_copy(stream, "here", 4, WB_FIN, &sent));
                OK(wb_handle_release(stream));
            }
            if (e->kind == WB_EV_PATH_MIGRATED && moved == 2) OK(wb_conn_close(conn, 0, NULL, 0));
            if (e->kind == WB_EV_CONN_CLOSED) open--;
        }
        OK(wb_queue_return(queue, &batch));
    }
    CHECK(moved == 2);
    OK(wb_handle_release(conn));
}

/* Puts something that is no socket in the place of the sockets of a port until that is told: pollers go by what a descriptor
 * was when they got it, receiving by what it is. */
static void disturb(struct lines *l, uint16_t port, const char *wanted) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)}, name;
    int places[64], sockets[64], n = 0, none = open("/dev/null", O_RDWR), from = socket(AF_INET, SOCK_DGRAM, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(none >= 0 && from >= 0);
    for (int fd = 3; fd < 1024 && n < 64; fd++) {
        socklen_t len = sizeof name;
        memset(&name, 0, sizeof name);
        if (getsockname(fd, (struct sockaddr *)&name, &len) || name.sin_family != AF_INET || name.sin_port != to.sin_port) continue;
        places[n++] = fd;
    }
    for (int i = 0; i < n; i++) {
        sockets[i] = dup(places[i]);
        CHECK(sockets[i] >= 0 && dup2(none, places[i]) == places[i]);
    }
    CHECK(n > 0);
    for (int i = 0; i < 1000 && !said(l, wanted); i++, pause_ms(10))
        CHECK(sendto(from, "?", 1, 0, (struct sockaddr *)&to, sizeof to) == 1);
    CHECK(said(l, wanted));
    pause_ms(50); /* A worker that told it again and again would fill the text by now. */
    for (int i = 0; i < n; i++) CHECK(dup2(sockets[i], places[i]) == places[i] && close(sockets[i]) == 0);
    close(none);
    close(from);
}

int main(int argc, char **argv) {
    CHECK(argc == 2 && wb_check_abi());
    static struct lines all = {.lock = PTHREAD_MUTEX_INITIALIZER, .level = WB_LOG_DEBUG},
                        few = {.lock = PTHREAD_MUTEX_INITIALIZER, .level = WB_LOG_WARN, .slow = 1},
                        mute = {.lock = PTHREAD_MUTEX_INITIALIZER, .level = WB_LOG_DEBUG};
    wb_endpoint server;
    wb_addr address;
    wb_tls stranger;
    char peer[64], failed[64];
    OK(wb_runtime_open(0, &runtime));
    OK(wb_queue_open(runtime, &queue));
    OK(wb_config_new(WB_CONFIG_CONN, &settings));
    OK(wb_config_set_u64(settings, WB_KEY_HTTP3, 0));
    OK(wb_config_set_u64(settings, WB_KEY_RETRY, 1));
    wb_tls identity = tls_for(WB_ROLE_SERVER, argv[1]), trust = tls_for(WB_ROLE_CLIENT, argv[1]);
    OK(wb_tls_new(WB_ROLE_CLIENT, &stranger));
    wb_text alpn = {"other", 5};
    OK(wb_tls_alpn(stranger, &alpn, 1));
    OK(wb_server_listen(runtime, settings, identity, "127.0.0.1", WB_TEXT_Z, 0, &server));
    OK(wb_endpoint_address(server, &address));
    snprintf(peer, sizeof peer, "client, peer 127.0.0.1:%u", address.port);

    /* All of it. */
    OK(wb_log_set(WB_LOG_DEBUG, line, &all, destroyed));
    talk(trust, address.port);
    EVENTUALLY(said(&all, "keys: "));
    EVENTUALLY(said(&all, "retry: 127.0.0.1:"));
    EVENTUALLY(said(&all, "connection: client") && said(&all, "connection: server"));
    CHECK(!said(&all, "2 handshake: ") && said(&all, peer));
    wander(trust, address.port);
    CHECK(said(&all, "3 path: client") && said(&all, "moved by us (") && said(&all, "moved by the peer ("));
    CHECK(!said(&all, "1 socket: "));
    snprintf(failed, sizeof failed, "1 socket: 127.0.0.1:%u: ", address.port);
    disturb(&all, address.port, failed);
    talk(stranger, address.port);
    EVENTUALLY(said(&all, "2 handshake: client") && said(&all, "2 handshake: server"));

    /* Another one: the former is destroyed at once, and this one hears what it asked for only. */
    OK(wb_log_set(WB_LOG_WARN, line, &few, destroyed));
    CHECK(atomic_load(&all.destroyed) == 1);
    talk(trust, address.port);
    CHECK(atomic_load(&few.calls) == 0);
    talk(stranger, address.port);
    /* A call may be under way: it is waited for. */
    OK(wb_log_set(WB_LOG_OFF, NULL, NULL, NULL));
    unsigned calls = atomic_load(&few.calls);
    CHECK(atomic_load(&few.destroyed) == 1 && calls >= 1 && said(&few, "2 handshake: "));
    talk(stranger, address.port);
    pause_ms(20);
    CHECK(atomic_load(&few.calls) == calls && atomic_load(&few.destroyed) == 1);

    /* A muted runtime says nothing; a child has nothing registered, and destroys nothing of its parent's. */
    OK(wb_log_set(WB_LOG_DEBUG, line, &mute, destroyed));
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        wb_status s = wb_log_set(WB_LOG_OFF, NULL, NULL, NULL);
        _exit(s == WB_OK && atomic_load(&mute.destroyed) == 0 ? 0 : 1);
    }
    int status = 1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    OK(wb_runtime_mute(runtime, 10 * SECOND));
    calls = atomic_load(&mute.calls);
    talk(trust, address.port);
    CHECK(atomic_load(&mute.calls) == calls);
    end(runtime);
    OK(wb_log_set(WB_LOG_OFF, NULL, NULL, NULL));
    CHECK(atomic_load(&mute.destroyed) == 1);
    OK(wb_handle_release_many((wb_handle[]){server, queue, settings, identity, trust, stranger, runtime}, 7));
    puts("lines: ok");
    return 0;
}
