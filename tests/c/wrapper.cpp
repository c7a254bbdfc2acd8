/* whimbrel.hpp at work: an HTTP/3 server in callbacks and a client on a queue, both made of owners, with bytes given
 * away as containers, user objects that end with their streams, and failures as results and as exceptions.
 * Built as C++17 and C++20, with and without exceptions. */
#include "whimbrel.hpp"
#include <atomic>
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

static_assert(!std::is_copy_constructible_v<wb::conn> && !std::is_copy_assignable_v<wb::conn>, "owners do not copy");
static_assert(std::is_nothrow_move_constructible_v<wb::conn> && std::is_nothrow_move_assignable_v<wb::stream>, "they move");
static_assert(sizeof(wb::stream) == sizeof(wb_stream), "an owner costs a handle");
static_assert(std::is_trivially_copyable_v<wb::conn_ref>, "references copy freely");
static_assert(std::is_convertible_v<const wb::conn &, wb::conn_ref>, "an owner serves as a reference");
static_assert(!std::is_convertible_v<wb_handle, wb::conn>, "a bare number is not taken for an owner");

static std::atomic<int> objects{0}, requests{0};

struct request {
    std::vector<unsigned char> body;
    request() { ++objects; }
    ~request() { --objects; }
};

static void answer(wb::stream_ref stream, request &r) {
    auto method = stream.header(":method");
    CHECK(method && *method == "POST");
    auto absent = stream.header("x-nothing");
    CHECK(absent && absent->data() == nullptr);
    CHECK(stream.headers({{":status", "200"}, {"content-type", "application/octet-stream"}}));
    std::size_t size = r.body.size();
    auto given = wb::give(std::move(r.body)); /* no copy: the vector now lives until its last byte is acknowledged */
    CHECK(given);
    auto sent = stream.send(*given, WB_FIN);
    CHECK(sent && *sent == size);
    ++requests;
}

static void serve(const wb::event &ev) {
    switch (ev.kind()) {
    case WB_EV_H3_HEADERS:
        CHECK(ev.stream().set_user(std::make_unique<request>()));
        break;
    case WB_EV_STREAM_READABLE: {
        auto *r = ev.user_stream<request>();
        CHECK(r != nullptr);
        bool fin = false;
        while (!fin) {
            auto got = ev.stream().receive(fin);
            if (got.status() == WB_E_WOULD_BLOCK) return;
            CHECK(got);
            if (*got) {
                auto bytes = got->bytes();
                CHECK(bytes);
                r->body.insert(r->body.end(), bytes->begin(), bytes->end());
            }
        }
        answer(ev.stream(), *r);
        break;
    }
    default: break;
    }
}

static void failures() {
    wb::conn nothing;
    CHECK(!nothing && nothing.desc().status() == WB_E_HANDLE);
    wb::buf memory = wb::allocate(16).value();
    wb::buf other = std::move(memory);
    CHECK(!memory && other);
    memory = std::move(other);
    wb::stream wrong(memory.share().value().detach());
    auto sent = wrong.send("x");
    CHECK(!sent && sent.status() == WB_E_KIND && sent.why().name() == std::string_view("WB_E_KIND"));
    auto settings = wb::make_config(WB_CONFIG_CONN).value();
    auto bad = settings.parse("transport.nonsense=1");
    CHECK(bad.status() == WB_E_UNKNOWN_KEY && !bad.why().text().empty());
#ifndef WHIMBREL_NO_EXCEPTIONS
    try {
        settings.set(WB_KEY_MAX_UDP_PAYLOAD, 1).value();
        CHECK(!"a value out of range was taken");
    } catch (const wb::error &e) {
        CHECK(e.status() == WB_E_RANGE && std::string_view(e.what()).substr(0, 10) == "WB_E_RANGE");
    }
#endif
    std::vector<unsigned char> lent(100, 7);
    wb::buf loan = wb::lend(lent).value();
    CHECK(loan.slice(90, 10).value().bytes().value().size() == 10);
    CHECK(loan.slice(90, 11).status() == WB_E_RANGE);
    CHECK(loan.revoke() && loan.bytes().status() == WB_E_REVOKED);
}

/* A raw stream has its object from its first event; the one that cannot be opened gives it back. */
static void beginnings(const std::string &folder) {
    auto identity = wb::make_tls(WB_ROLE_SERVER).value();
    CHECK(identity.identity_files(folder + "/cert.pem", folder + "/key.pem") && identity.alpn({"raw"}));
    auto trust = wb::make_tls(WB_ROLE_CLIENT).value();
    CHECK(trust.trust_file(folder + "/cert.pem") && trust.alpn({"raw"}));
    auto settings = wb::make_config(WB_CONFIG_CONN).value();
    CHECK(settings.set(WB_KEY_HTTP3, 0));
    std::atomic<bool> ready{false}, answered{false};
    CHECK(settings.on(WB_GROUP_ALL, [&](const wb::event &ev) {
        std::array<char, 16> to;
        if (ev.kind() == WB_EV_CONFIRMED) ready = true;
        if (ev.kind() != WB_EV_STREAM_READABLE) return;
        auto desc = ev.stream().desc().value();
        if (desc.uni != 0) return;
        auto got = ev.stream().receive(to);
        CHECK(got && got->fin);
        if (desc.incoming != 0) {
            CHECK(got->bytes == 5 && ev.user_stream<request>() == nullptr && ev.stream().send("fine", WB_FIN));
        } else {
            CHECK(got->bytes == 4 && ev.user_stream<request>()->body.size() == 1);
            answered = true;
        }
    }));
    auto runtime = wb::make_runtime().value();
    auto server = runtime.listen(identity, "127.0.0.1", 0, settings).value();
    auto conn = runtime.connect(trust, "localhost", server.address().value().port, settings).value();
    for (int i = 0; i < 2000 && !ready; i++) std::this_thread::sleep_for(5ms);
    auto mine = std::make_unique<request>();
    mine->body.push_back(1);
    CHECK(conn.begin(std::move(mine), "hello", WB_FIN, 9).status() == WB_E_INVALID);
    CHECK(mine && objects == 1);
    auto begun = conn.begin(std::move(mine), "hello", WB_FIN).value();
    CHECK(!mine && begun.stream && begun.accepted == 5);
    auto plain = conn.begin("x", 0, WB_STREAM_UNI);
    CHECK(plain && plain->accepted == 1 && plain->stream.finish());
    for (int i = 0; i < 2000 && !answered; i++) std::this_thread::sleep_for(5ms);
    CHECK(answered && runtime.close(WB_CLOSE_NOW) && runtime.wait(10s));
    begun.stream.reset();
    for (int i = 0; i < 1000 && objects != 0; i++) std::this_thread::sleep_for(5ms);
    CHECK(objects == 0);
}

int main(int argc, char **argv) {
    CHECK(argc == 2 && wb::abi_fits() && wb::feature("http3") == 1);
    failures();
    const std::string folder = argv[1];
    beginnings(folder);

    auto identity = wb::make_tls(WB_ROLE_SERVER).value();
    CHECK(identity.identity_files(folder + "/cert.pem", folder + "/key.pem"));
    CHECK(identity.alpn({"h3"}));
    auto settings = wb::make_config(WB_CONFIG_CONN).value();
    CHECK(settings.set(WB_KEY_MAX_IDLE_MS, 20000));
    auto counted = std::make_shared<int>(0);
    std::weak_ptr<int> alive = counted;
    CHECK(settings.on(WB_GROUP_ALL, [counted](const wb::event &ev) { serve(ev); }));
    counted.reset();

    auto runtime = wb::make_runtime().value();
    auto server = runtime.listen(identity, "127.0.0.1", 0, settings).value();
    settings.reset();
    const wb_addr at = server.address().value();
    CHECK(wb::to_string(at) == "127.0.0.1:" + std::to_string(at.port));

    auto queue = runtime.make_queue().value();
    CHECK(queue.take(0ns).status() == WB_E_WOULD_BLOCK);
    auto trust = wb::make_tls(WB_ROLE_CLIENT).value();
    CHECK(trust.trust_file(folder + "/cert.pem"));
    std::atomic<int> lines{0};
    CHECK(trust.keylog([&lines](std::string_view line) { lines += line.empty() ? 0 : 1; }));
    auto conn = runtime.connect(trust, "localhost", at.port).value();

    const std::string body(200000, 'w');
    std::size_t sent = 0, got = 0;
    wb::stream post;
    bool done = false, closed = false;
    auto push = [&] {
        while (post && sent < body.size()) {
            auto n = post.send(std::string_view(body).substr(sent), WB_FIN);
            if (n.status() == WB_E_WOULD_BLOCK) return;
            CHECK(n);
            sent += *n;
        }
    };
    while (!closed) {
        auto batch = queue.take(10s);
        CHECK(batch);
        for (wb::event ev : *batch) {
            switch (ev.kind()) {
            case WB_EV_CONNECTED:
                CHECK(ev.conn() == conn && ev.data().text() == "h3");
                post = conn.request({{":method", "POST"}, {":scheme", "https"}, {":authority", "localhost"}, {":path", "/"}}, 0)
                           .value();
                push();
                break;
            case WB_EV_STREAM_WRITABLE: push(); break;
            case WB_EV_H3_HEADERS: {
                CHECK(ev.a() == 200 && ev.stream() == post);
                auto fields = post.fields();
                CHECK(fields && fields->size() == 2 && (*fields)[1].name_view() == "content-type");
                break;
            }
            case WB_EV_STREAM_READABLE: {
                std::array<char, 4096> room;
                for (;;) {
                    auto r = post.receive(room);
                    if (!r) break;
                    for (std::size_t i = 0; i < r->bytes; i++) CHECK(room[i] == 'w');
                    got += r->bytes;
                    done = done || r->fin;
                    if (r->fin) CHECK(conn.close(0, "done"));
                }
                break;
            }
            case WB_EV_CONN_CLOSED: closed = true; break;
            default: break;
            }
        }
    }
    CHECK(done && got == body.size() && sent == got && requests == 1 && lines > 3);
    CHECK(conn.end_reason().status() == WB_E_CLOSED_LOCAL);
    CHECK(conn.peer_chain().value().size() == 1);
    CHECK(runtime.close() && runtime.wait(10s));
    post.reset();
    conn.reset();
    server.reset();
    runtime.reset();
    queue.reset();
    /* The last references are gone: what callbacks and streams owned goes with them. */
    for (int i = 0; i < 1000 && (objects != 0 || !alive.expired()); i++) std::this_thread::sleep_for(5ms);
    CHECK(objects == 0 && alive.expired());
    std::puts("wrapper: ok");
    return 0;
}
