/* Early data through whimbrel.hpp: two servers share ticket keys and a store in callbacks; a client sends its second
 * request before there is an answer. */
#include "whimbrel.hpp"
#include <atomic>
#include <set>
#include <stdexcept>
#include <thread>

namespace wb = whimbrel;
using namespace std::chrono_literals;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                       \
            std::exit(1);                                                                                              \
        }                                                                                                              \
    } while (0)

static std::atomic<int> asked{0}, accepted{0}, refused{0}, early_requests{0}, unproven{0}, too_early{0};
static std::atomic<bool> store_works{true};
static std::set<std::string> store; /* each server has one worker, and they are used in turn */

static bool is_new(wb::view key, std::chrono::milliseconds keep) {
    ++asked;
    CHECK(key.size() == 32 && keep >= 120s);
#ifndef WHIMBREL_NO_EXCEPTIONS
    if (!store_works) throw std::runtime_error("the store is down");
#endif
    return store_works && store.insert(std::string(key.text())).second;
}

static void serve(const wb::event &ev) {
    switch (ev.kind()) {
    case WB_EV_DECIDE_EARLY: CHECK(ev.answer_early(is_new)); break;
    case WB_EV_H3_HEADERS: {
        const wb::earliness early = ev.stream().early().value();
        /* The handshake may have ended since the event was made. */
        CHECK(!ev.early() || early != wb::earliness::no);
        if (early != wb::earliness::no) ++early_requests;
        if (ev.early()) ++unproven;
        CHECK(ev.stream().headers({{":status", ev.early() ? "425" : "200"}}, WB_FIN));
        break;
    }
    default: break;
    }
}

/* One request; early: sent as soon as a ticket allows it. */
static void visit(wb::runtime_ref runtime, wb::queue_ref queue, wb::tls_ref trust, std::uint16_t port, bool early) {
    auto conn = runtime.connect(trust, "localhost", port).value();
    wb::stream request;
    bool closed = false;
    while (!closed) {
        auto batch = queue.take(20s);
        CHECK(batch);
        for (wb::event ev : *batch) {
            if (ev.conn() != conn) continue;
            switch (ev.kind()) {
            case WB_EV_KEYS_INSTALLED:
                if (ev.a() != WB_LEVEL_EARLY || !early || request) break;
                [[fallthrough]];
            case WB_EV_CONNECTED:
                if (request) break;
                request = conn.request({{":method", "GET"}, {":scheme", "https"}, {":authority", "localhost"}, {":path", "/"}},
                                       WB_FIN)
                              .value();
                break;
            case WB_EV_ZERO_RTT_ACCEPTED: ++accepted; break;
            case WB_EV_ZERO_RTT_REJECTED: ++refused; break;
            case WB_EV_H3_HEADERS:
                CHECK(ev.a() == 200 || ev.a() == 425);
                CHECK(!ev.early() && request.early().value() == wb::earliness::no); /* nothing comes early to a client */
                if (ev.a() == 425) ++too_early;
                break;
            case WB_EV_STREAM_CLOSED: CHECK(conn.close(0, "done")); break;
            case WB_EV_CONN_CLOSED: closed = true; break;
            default: break;
            }
        }
    }
}

int main(int argc, char **argv) {
    CHECK(argc == 2 && wb::abi_fits());
    const std::string folder = argv[1], key(32, 'k');
    auto runtime = wb::make_runtime().value();
    auto queue = runtime.make_queue().value();
    auto settings = wb::make_config(WB_CONFIG_CONN).value();
    CHECK(settings.on(WB_GROUP_ALL, [](const wb::event &ev) { serve(ev); }));
    CHECK(settings.set(WB_KEY_EARLY_DECISION_MS, 5000));
    std::vector<wb::endpoint> servers;
    for (int i = 0; i < 2; i++) {
        auto identity = wb::make_tls(WB_ROLE_SERVER).value();
        CHECK(identity.identity_files(folder + "/cert.pem", folder + "/key.pem"));
        CHECK(identity.ticket_keys(key) && identity.early_data(true) && identity.decisions(WB_DECIDE_EARLY));
        servers.push_back(runtime.listen(identity, "127.0.0.1", 0, settings).value());
    }
    auto port = [&](int i) { return servers[static_cast<std::size_t>(i)].address().value().port; };
    auto trust = wb::make_tls(WB_ROLE_CLIENT).value();
    CHECK(trust.trust_file(folder + "/cert.pem") && trust.early_data(true));
    visit(runtime, queue, trust, port(0), true);
    CHECK(asked == 0 && accepted == 0);
    visit(runtime, queue, trust, port(1), true);
    CHECK(asked == 1 && accepted == 1 && refused == 0);
    store_works = false;
    int before = early_requests;
    visit(runtime, queue, trust, port(0), true);
    CHECK(asked == 2 && accepted == 1 && refused == 1);
    CHECK(early_requests == before); /* refused: it came again, after the handshake */
    store_works = true;
    /* A request leaves early unless the answer overtakes the program. */
    for (int i = 0; i < 50 && too_early == 0; i++) visit(runtime, queue, trust, port(i % 2), true);
    CHECK(too_early > 0 && early_requests >= unproven && unproven >= too_early);
    CHECK(runtime.close() && runtime.wait(10s));
    std::puts("early: ok");
    return 0;
}
