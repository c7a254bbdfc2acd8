/* A router between a client and a server on loopback: it knows no keys and forwards by what wb_packet_peek tells. Every
 * datagram is looked at where unreadable memory follows it, whole and cut short; and so are bytes of chance. */
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>

static unsigned char *edge; /* the first byte that cannot be read */
static unsigned seen[2][WB_PACKET_SHORT + 1];
static unsigned char server_cid[20];
static size_t server_cid_len;

static wb_status look(const unsigned char *bytes, size_t len, size_t cid_len, wb_packet_desc *d) {
    memset(d, 0, sizeof *d);
    d->struct_size = sizeof *d;
    memcpy(edge - len, bytes, len);
    return wb_packet_peek(edge - len, len, cid_len, d);
}

static int inside(const void *part, size_t part_len, size_t len) {
    const unsigned char *p = part;
    return part_len == 0 ? p == NULL : p >= edge - len && p + part_len <= edge;
}

static void datagram(const unsigned char *bytes, size_t len, int from_server) {
    wb_packet_desc d;
    for (size_t at = 0; at < len;) {
        wb_status s = look(bytes + at, len - at, WB_CID_LEN, &d);
        /* What pads a datagram behind its last packet. */
        if (at && s == WB_E_NOT_QUIC) break;
        OK(s);
        CHECK(d.struct_size == sizeof d && d.kind != WB_PACKET_UNKNOWN && d.packet_len && d.packet_len <= len - at);
        CHECK(inside(d.dcid, d.dcid_len, len - at) && inside(d.scid, d.scid_len, len - at));
        CHECK(inside(d.token, d.token_len, len - at));
        CHECK(d.long_header == (d.kind != WB_PACKET_SHORT) && d.version == d.long_header);
        seen[from_server][d.kind]++;
        if (from_server && d.long_header) {
            server_cid_len = d.scid_len;
            memcpy(server_cid, d.scid, d.scid_len);
            CHECK(d.scid_len == WB_CID_LEN);
        }
        /* Only one connection passes here, and it keeps the first of its IDs for a moment at least. */
        if (!from_server && d.kind == WB_PACKET_HANDSHAKE)
            CHECK(d.dcid_len == server_cid_len && !memcmp(d.dcid, server_cid, server_cid_len));
        if (!from_server && d.kind == WB_PACKET_SHORT && seen[0][WB_PACKET_SHORT] == 1)
            CHECK(d.dcid_len == server_cid_len && !memcmp(d.dcid, server_cid, server_cid_len));
        if (!from_server && d.kind == WB_PACKET_INITIAL) CHECK(d.dcid_len >= 8);
        if (d.kind == WB_PACKET_RETRY) CHECK(from_server && d.token_len > 16);
        if (!from_server && d.kind == WB_PACKET_INITIAL && seen[1][WB_PACKET_RETRY]) CHECK(d.token_len > 16);
        size_t whole = d.packet_len;
        int tells = d.long_header && d.kind != WB_PACKET_RETRY;
        for (size_t cut = 0; tells && cut < whole; cut++) GIVES(look(bytes + at, cut, WB_CID_LEN, &d), WB_E_NOT_QUIC);
        at += whole;
    }
}

static void chance(void) {
    static const unsigned char versions[3][4] = {{0, 0, 0, 1}, {0x6b, 0x33, 0x43, 0xcf}, {0, 0, 0, 0}};
    unsigned char bytes[600];
    uint64_t dice = 0x5eed;
    unsigned good = 0, bad = 0;
    for (int round = 0; round < 50000; round++) {
        for (size_t i = 0; i < sizeof bytes; i++) {
            dice = dice * 6364136223846793005u + 1442695040888963407u;
            bytes[i] = (unsigned char)(dice >> 56);
        }
        size_t len = (size_t)(dice >> 33) % sizeof bytes, cid_len = (size_t)round % 21;
        if (round % 4) memcpy(bytes + 1, versions[round % 3], 4);
        /* Connection IDs and tokens that often fit. */
        if (round % 4 > 1) bytes[5] %= 21, bytes[6 + bytes[5]] %= 21;
        wb_packet_desc d;
        wb_status s = look(bytes, len, cid_len, &d);
        CHECK(s == WB_OK || s == WB_E_NOT_QUIC);
        s == WB_OK ? good++ : bad++;
        if (s != WB_OK) continue;
        CHECK(inside(d.dcid, d.dcid_len, len) && inside(d.scid, d.scid_len, len) && inside(d.token, d.token_len, len));
        CHECK(d.packet_len <= len && d.long_header == bytes[0] >> 7);
        if (!d.long_header) CHECK(d.dcid_len == cid_len);
    }
    CHECK(good > 1000 && bad > 1000);
}

static int bound(uint16_t *port) {
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
    *port = ntohs(a.sin_port);
    return fd;
}

int main(int argc, char **argv) {
    CHECK(argc == 2 && wb_check_abi());
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = 65536 / page * page + page;
    unsigned char *memory = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED && mprotect(memory + room, page, PROT_NONE) == 0);
    edge = memory + room;
    chance();
    wb_packet_desc d = WB_INIT(wb_packet_desc);
    GIVES(wb_packet_peek(NULL, 0, 8, &d), WB_E_NOT_QUIC);
    GIVES(wb_packet_peek(NULL, 1, 8, &d), WB_E_INVALID);
    GIVES(wb_packet_peek("x", 1, SIZE_MAX, &d), WB_E_NOT_QUIC);
    GIVES(wb_packet_peek("x", SIZE_MAX, 8, &d), WB_E_RANGE);

    wb_runtime runtime;
    wb_config settings;
    wb_queue queue;
    wb_endpoint endpoint;
    wb_conn conn;
    wb_addr address;
    OK(wb_runtime_open(0, &runtime));
    OK(wb_queue_open(runtime, &queue));
    OK(wb_config_new(WB_CONFIG_CONN, &settings));
    OK(wb_config_set_u64(settings, WB_KEY_HTTP3, 0));
    OK(wb_config_set_u64(settings, WB_KEY_GREASE, 0));
    OK(wb_config_set_u64(settings, WB_KEY_RETRY, 1));
    wb_tls identity = tls_for(WB_ROLE_SERVER, argv[1]), trust = tls_for(WB_ROLE_CLIENT, argv[1]);
    OK(wb_server_listen(runtime, settings, identity, "127.0.0.1", WB_TEXT_Z, 0, &endpoint));
    OK(wb_endpoint_address(endpoint, &address));
    uint16_t front_port, back_port;
    struct pollfd fds[2] = {{.fd = bound(&front_port), .events = POLLIN}, {.fd = bound(&back_port), .events = POLLIN}};
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(address.port)}, client = {0};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    OK(wb_client_connect(runtime, settings, trust, "localhost", WB_TEXT_Z, front_port, &conn));

    int closed = 0, confirmed = 0;
    while (!closed) {
        unsigned char bytes[65536];
        if (poll(fds, 2, 5) > 0) {
            for (int side = 0; side < 2; side++) {
                struct sockaddr_in from;
                socklen_t from_len = sizeof from;
                ssize_t n = recvfrom(fds[side].fd, bytes, sizeof bytes, MSG_DONTWAIT, (struct sockaddr *)&from, &from_len);
                if (n <= 0) continue;
                if (side == 0) client = from;
                datagram(bytes, (size_t)n, side);
                CHECK(sendto(fds[!side].fd, bytes, (size_t)n, 0, (struct sockaddr *)(side ? &client : &server),
                             sizeof client) == n);
            }
        }
        wb_batch batch = WB_INIT(wb_batch);
        if (wb_queue_take(queue, &batch, 16, 0) != WB_OK) continue;
        for (size_t i = 0; i < batch.count; i++) {
            const wb_event *e = wb_batch_event(&batch, i);
            if (e->conn != conn) continue;
            confirmed |= e->kind == WB_EV_CONFIRMED;
            closed |= e->kind == WB_EV_CONN_CLOSED;
            if (e->kind == WB_EV_CONFIRMED) OK(wb_conn_close(conn, 0, "seen", 4));
        }
        OK(wb_queue_return(queue, &batch));
    }
    CHECK(confirmed && seen[1][WB_PACKET_RETRY] == 1 && seen[0][WB_PACKET_INITIAL] >= 2);
    for (int side = 0; side < 2; side++)
        CHECK(seen[side][WB_PACKET_INITIAL] && seen[side][WB_PACKET_HANDSHAKE] && seen[side][WB_PACKET_SHORT]);
    end(runtime);
    OK(wb_handle_release_many((wb_handle[]){conn, endpoint, queue, settings, identity, trust, runtime}, 7));
    puts("peek: ok");
    return 0;
}
