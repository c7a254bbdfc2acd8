/* Whimbrel for C++17: owners, references and views over whimbrel.h. SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Header only; nothing here but what the C functions say (their comments in whimbrel.h are the reference: ownership,
 * threads, blocking, errors). The rules of this layer:
 *
 *   x_ref      refers to an object that something else keeps alive: an event, an owner. Copies freely, releases nothing.
 *   x          owns one reference: moves, does not copy, releases when it goes. `share()` makes a second owner.
 *   result<T>  what a call gave, or why it failed. `if (r)`, `*r`, `r.status()`; `r.value()` throws `whimbrel::error`,
 *              or, where exceptions are off (or WHIMBREL_NO_EXCEPTIONS is defined), says why on stderr and aborts.
 *              A result cannot be dropped silently.
 *   view       pointer and length of bytes that somebody else owns, made from strings, vectors, arrays and spans.
 *
 * Nothing throws but `value()`. A function given as a callback runs on library threads and must not throw: an
 * exception that leaves it ends the program (std::terminate), because it cannot cross C.
 */
#ifndef WHIMBREL_HPP
#define WHIMBREL_HPP

#include "whimbrel.h"

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#if !defined(WHIMBREL_NO_EXCEPTIONS) && !defined(__cpp_exceptions)
#define WHIMBREL_NO_EXCEPTIONS 1
#endif
#ifndef WHIMBREL_NO_EXCEPTIONS
#include <stdexcept>
#endif

namespace whimbrel {

using nanoseconds = std::chrono::nanoseconds;

/* Without limit, for calls that take a time. */
constexpr nanoseconds forever{-1};

/* ------------------------------------------------------------------ failures */

/* Why a call failed or an object ended: `wb_error_info` with its texts at hand. */
struct failure {
    wb_error_info info = wb_sized<wb_error_info>();

    wb_status status() const noexcept { return info.status; }
    const char *name() const noexcept { return wb_status_name(info.status); }
    std::string_view text() const noexcept { return {info.text, info.text_len}; }

    /* What this thread's last failing call said. */
    static failure last(wb_status status) noexcept {
        failure f;
        if (wb_last_error(&f.info) != WB_OK || f.info.status != status) f.info.text[f.info.text_len = 0] = 0;
        f.info.status = status;
        return f;
    }
};

#ifndef WHIMBREL_NO_EXCEPTIONS
class error : public std::runtime_error {
public:
    explicit error(const failure &why)
        : std::runtime_error(std::string(why.name()) + ": " + std::string(why.text())), why_(why) {}
    const failure &why() const noexcept { return why_; }
    wb_status status() const noexcept { return why_.status(); }

private:
    failure why_;
};
#endif

namespace detail {
[[noreturn]] inline void raise(const failure &why) {
#ifdef WHIMBREL_NO_EXCEPTIONS
    std::fprintf(stderr, "whimbrel: %s: %s\n", why.name(), why.info.text);
    std::abort();
#else
    throw error(why);
#endif
}
} // namespace detail

/* What a call gave. Positive statuses (`WB_PARTIAL`, `WB_PENDING`) are successes. */
template <class T> class [[nodiscard]] result {
public:
    result(wb_status status, T value) noexcept(std::is_nothrow_move_constructible_v<T>)
        : status_(status), value_(std::move(value)) {}

    explicit operator bool() const noexcept { return status_ >= 0; }
    wb_status status() const noexcept { return status_; }
    /* Meaningful only right after the call, on its thread. */
    failure why() const noexcept { return failure::last(status_); }

    T &operator*() noexcept { return value_; }
    const T &operator*() const noexcept { return value_; }
    T *operator->() noexcept { return &value_; }
    const T *operator->() const noexcept { return &value_; }

    T &value() & { return check(), value_; }
    T value() && { return check(), std::move(value_); }

private:
    void check() const {
        if (status_ < 0) detail::raise(why());
    }
    wb_status status_;
    T value_;
};

template <> class [[nodiscard]] result<void> {
public:
    result(wb_status status) noexcept : status_(status) {}

    explicit operator bool() const noexcept { return status_ >= 0; }
    wb_status status() const noexcept { return status_; }
    failure why() const noexcept { return failure::last(status_); }
    void value() const {
        if (status_ < 0) detail::raise(why());
    }
    /* For the few places where a failure does not matter, said aloud. */
    void ignore() const noexcept {}

private:
    wb_status status_;
};

/* ------------------------------------------------------------------ bytes and texts */

/* Bytes that somebody else owns. A text literal counts without its terminator. */
class view {
public:
    constexpr view() noexcept = default;
    constexpr view(const void *data, std::size_t size) noexcept : data_(data), size_(size) {}
    constexpr view(std::string_view text) noexcept : data_(text.data()), size_(text.size()) {}
    view(const std::string &text) noexcept : data_(text.data()), size_(text.size()) {}
    constexpr view(const char *text) noexcept : view(std::string_view(text)) {}
    /* Any container of plain elements that lie side by side: vector, array, span. */
    template <class C, class E = std::remove_pointer_t<decltype(std::declval<const C &>().data())>,
              class = std::enable_if_t<std::is_trivially_copyable_v<E> && !std::is_void_v<E>>,
              class = decltype(std::declval<const C &>().size())>
    view(const C &c) noexcept : data_(c.data()), size_(c.size() * sizeof(E)) {}

    const void *data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    const unsigned char *begin() const noexcept { return static_cast<const unsigned char *>(data_); }
    const unsigned char *end() const noexcept { return begin() + size_; }
    std::string_view text() const noexcept { return {static_cast<const char *>(data_), size_}; }

private:
    const void *data_ = nullptr;
    std::size_t size_ = 0;
};

/* Writable bytes that somebody else owns. */
class room {
public:
    constexpr room(void *data, std::size_t size) noexcept : data_(data), size_(size) {}
    template <class C, class E = std::remove_pointer_t<decltype(std::declval<C &>().data())>,
              class = std::enable_if_t<std::is_trivially_copyable_v<E> && !std::is_const_v<E> && !std::is_void_v<E>>,
              class = decltype(std::declval<C &>().size())>
    room(C &c) noexcept : data_(c.data()), size_(c.size() * sizeof(E)) {}

    void *data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }

private:
    void *data_;
    std::size_t size_;
};

/* A name and a value of an HTTP message; converts from two texts. Both must outlive the call that takes them. */
struct field : wb_field {
    field(std::string_view key, std::string_view text) noexcept
        : wb_field{key.data(), key.size(), text.data(), text.size()} {}
    field(const wb_field &f) noexcept : wb_field(f) {}
    std::string_view name_view() const noexcept { return {name, name_len}; }
    std::string_view value_view() const noexcept { return {value, value_len}; }
};

inline std::string to_string(const wb_addr &address) {
    char out[64];
    std::size_t len = 0;
    return wb_addr_text(&address, out, sizeof out, &len) == WB_OK ? std::string(out, len) : std::string();
}

/* ------------------------------------------------------------------ references and owners */

/* A reference to any object. */
class ref {
public:
    constexpr ref() noexcept = default;
    constexpr explicit ref(wb_handle handle) noexcept : handle_(handle) {}

    wb_handle handle() const noexcept { return handle_; }
    explicit operator bool() const noexcept { return handle_ != 0; }
    friend bool operator==(const ref &a, const ref &b) noexcept { return a.handle_ == b.handle_; }
    friend bool operator!=(const ref &a, const ref &b) noexcept { return a.handle_ != b.handle_; }

    result<wb_handle_desc> info() const noexcept {
        auto d = wb_sized<wb_handle_desc>();
        wb_status s = wb_handle_info(handle_, &d);
        return {s, d};
    }

    /* Of an endpoint or a runtime: out[i] gets the counter of the key first + i (WB_COUNTER_*). */
    result<void> counters(std::uint32_t first, std::uint64_t *out, std::size_t n) const noexcept {
        return wb_counters(handle_, first, out, n);
    }

    /* A plain pointer that events carry; it stays the application's. */
    result<void> set_user(void *user, wb_destroy_fn destroy = nullptr) const noexcept {
        return wb_handle_set_user(handle_, user, destroy);
    }
    /* The log of a connection, or of an endpoint's later ones, in pieces: connection, text, whether it is the last. */
    result<void> qlog(std::function<void(wb_conn, std::string_view, bool)> function) const {
        using pieces = std::function<void(wb_conn, std::string_view, bool)>;
        std::unique_ptr<pieces> kept(new pieces(std::move(function)));
        wb_status s = wb_qlog(
            handle_,
            [](void *f, wb_conn conn, const void *data, std::size_t len, std::uint32_t end) noexcept {
                (*static_cast<pieces *>(f))(conn, {static_cast<const char *>(data), len}, end != 0);
            },
            kept.get(), [](void *f) { delete static_cast<pieces *>(f); });
        if (s == WB_OK) (void)kept.release();
        return s;
    }

    /* Gives the object an application object, deleted after its CLOSED event. On failure it comes back in `user`. */
    template <class T> result<void> set_user(std::unique_ptr<T> &&user) const noexcept {
        wb_status s = wb_handle_set_user(handle_, user.get(), [](void *p) { delete static_cast<T *>(p); });
        if (s == WB_OK) (void)user.release();
        return s;
    }

protected:
    wb_handle handle_ = 0;
};

/* Owns one reference to what `Ref` refers to. */
template <class Ref> class owner : public Ref {
public:
    constexpr owner() noexcept = default;
    /* Takes over a reference that the caller holds. */
    constexpr explicit owner(wb_handle handle) noexcept : Ref(handle) {}
    owner(owner &&other) noexcept : Ref(std::exchange(other.handle_, 0)) {}
    owner &operator=(owner &&other) noexcept {
        if (this != &other) {
            reset();
            this->handle_ = std::exchange(other.handle_, 0);
        }
        return *this;
    }
    owner(const owner &) = delete;
    owner &operator=(const owner &) = delete;
    ~owner() { reset(); }

    void reset() noexcept {
        if (this->handle_ != 0) (void)wb_handle_release(std::exchange(this->handle_, 0));
    }
    /* Hands the reference over to the caller. */
    wb_handle detach() noexcept { return std::exchange(this->handle_, 0); }
};

namespace detail {
template <class T> result<T> made(wb_status status, wb_handle handle) noexcept {
    return {status, T(status >= 0 ? handle : 0)};
}
/* One more owner of what a reference refers to. */
template <class T> result<T> shared(wb_handle handle) noexcept {
    return made<T>(wb_handle_retain(handle), handle);
}
} // namespace detail

class path_ref;
class stream_ref;
class conn_ref;
class buf_ref;
using path = owner<path_ref>;
using stream = owner<stream_ref>;
using conn = owner<conn_ref>;
using buf = owner<buf_ref>;

/* ------------------------------------------------------------------ buffers */

class buf_ref : public ref {
public:
    using ref::ref;
    result<buf> share() const noexcept { return detail::shared<buf>(handle_); }

    result<view> bytes() const noexcept {
        const void *data = nullptr;
        std::size_t len = 0;
        wb_status s = wb_buf_view(handle_, &data, &len);
        return {s, s == WB_OK ? view(data, len) : view()};
    }
    result<buf> slice(std::size_t offset, std::size_t len) const noexcept {
        wb_buf out = 0;
        wb_status s = wb_buf_slice(handle_, offset, len, &out);
        return detail::made<buf>(s, out);
    }
    /* When it succeeds, no library thread reads the lent memory again: free it, unmap it. */
    result<void> revoke(std::uint32_t mode = WB_REVOKE_COPY) const noexcept { return wb_buf_revoke(handle_, mode); }
};

/* Library memory, zeroed; `memory` gets the bytes, writable until the buffer is first sent or sliced. */
inline result<buf> allocate(std::size_t size, void **memory = nullptr) noexcept {
    wb_buf out = 0;
    wb_status s = wb_buf_alloc(size, memory, &out);
    return detail::made<buf>(s, out);
}

/* Lends memory that outlives the loan: static, or ended with `revoke`. */
inline result<buf> lend(view bytes, wb_release_fn release = nullptr, void *ctx = nullptr) noexcept {
    wb_buf out = 0;
    wb_status s = wb_buf_wrap(bytes.data(), bytes.size(), release, ctx, &out);
    return detail::made<buf>(s, out);
}

/* Gives a container (vector, string, array in a unique_ptr's object) to the library, which destroys it when the last
 * byte is needed no more. On failure it is moved back into `bytes`. */
template <class C, class = std::enable_if_t<!std::is_lvalue_reference_v<C>>> result<buf> give(C &&bytes) {
    std::unique_ptr<C> kept(new (std::nothrow) C(std::move(bytes)));
    if (!kept) return {WB_E_NO_MEMORY, buf()};
    view v(*kept);
    wb_buf out = 0;
    wb_status s = wb_buf_wrap(v.data(), v.size(), [](void *p) { delete static_cast<C *>(p); }, kept.get(), &out);
    if (s == WB_OK) (void)kept.release();
    else bytes = std::move(*kept);
    return detail::made<buf>(s, out);
}

/* ------------------------------------------------------------------ paths */

class path_ref : public ref {
public:
    using ref::ref;
    result<path> share() const noexcept { return detail::shared<path>(handle_); }
    result<wb_path_desc> desc() const noexcept {
        auto d = wb_sized<wb_path_desc>();
        wb_status s = wb_path_info(handle_, &d);
        return {s, d};
    }
};

/* ------------------------------------------------------------------ streams */

/* What a receive call gave. */
struct received {
    std::size_t bytes = 0;
    bool fin = false;
};

enum class earliness : std::uint32_t { no = WB_EARLY_NO, unproven = WB_EARLY_UNPROVEN, proven = WB_EARLY_PROVEN };

class stream_ref : public ref {
public:
    using ref::ref;
    result<stream> share() const noexcept { return detail::shared<stream>(handle_); }

    /* How many bytes were accepted; fewer than given is `WB_PARTIAL`, and WRITABLE follows. */
    result<std::size_t> send(view bytes, std::uint32_t flags = 0) const noexcept {
        std::size_t accepted = 0;
        wb_status s = wb_stream_send_copy(handle_, bytes.data(), bytes.size(), flags, &accepted);
        return {s, accepted};
    }
    /* Without a copy. */
    result<std::size_t> send(const buf_ref &buffer, std::uint32_t flags = 0) const noexcept {
        wb_buf one = buffer.handle();
        std::size_t accepted = 0;
        wb_status s = wb_stream_send(handle_, &one, 1, flags, &accepted);
        return {s, accepted};
    }
    /* The end, with no more data. */
    result<void> finish() const noexcept { return wb_stream_send(handle_, nullptr, 0, WB_FIN, nullptr); }

    result<received> receive(room to) const noexcept {
        received r;
        std::uint8_t fin = 0;
        wb_status s = wb_stream_recv_copy(handle_, to.data(), to.size(), &r.bytes, &fin);
        r.fin = fin != 0;
        return {s, r};
    }
    /* Without a copy: one buffer of received data, valid as long as it is kept. `fin` becomes true with the end. */
    result<buf> receive(bool &fin) const noexcept {
        wb_buf out = 0;
        std::size_t count = 0;
        std::uint8_t end = 0;
        wb_status s = wb_stream_recv(handle_, &out, 1, &count, &end);
        fin = s >= 0 && end != 0;
        return detail::made<buf>(s, count == 1 ? out : 0);
    }

    result<void> reset(std::uint64_t code) const noexcept { return wb_stream_reset(handle_, code); }
    /* With WB_KEY_MANUAL_CREDIT: the peer may send as much again. */
    result<void> consume(std::uint64_t bytes) const noexcept { return wb_stream_consume(handle_, bytes); }
    result<void> reset_at(std::uint64_t code, std::uint64_t reliable_size) const noexcept {
        return wb_stream_reset_at(handle_, code, reliable_size);
    }
    result<void> stop(std::uint64_t code) const noexcept { return wb_stream_stop(handle_, code); }
    result<void> priority(std::uint32_t urgency, bool incremental) const noexcept {
        return wb_stream_priority(handle_, urgency, incremental ? 1 : 0);
    }
    /* Whether it came as early data, and whether the client has completed its handshake since. */
    result<earliness> early() const noexcept {
        auto d = desc();
        return {d.status(), d ? static_cast<earliness>(d->early) : earliness::no};
    }
    result<wb_stream_desc> desc() const noexcept {
        auto d = wb_sized<wb_stream_desc>();
        wb_status s = wb_stream_info(handle_, &d);
        return {s, d};
    }

    /* HTTP/3: a response, an interim response, or trailers with `WB_H3_TRAILERS`. */
    result<void> headers(const field *fields, std::size_t count, std::uint32_t flags = 0) const noexcept {
        return wb_h3_headers(handle_, fields, count, flags);
    }
    result<void> headers(std::initializer_list<field> fields, std::uint32_t flags = 0) const noexcept {
        return headers(fields.begin(), fields.size(), flags);
    }
    /* The value of the first field with this name; an absent one is an empty view with a null pointer. */
    result<std::string_view> header(std::string_view name, std::uint32_t section = WB_SECTION_HEADERS) const noexcept {
        const char *value = nullptr;
        std::size_t len = 0;
        wb_status s = wb_h3_field(handle_, section, name.data(), name.size(), &value, &len);
        return {s, value == nullptr ? std::string_view() : std::string_view(value, len)};
    }
    /* All fields of a section; they are the library's and live as long as the stream. */
    result<std::vector<field>> fields(std::uint32_t section = WB_SECTION_HEADERS) const {
        std::size_t count = 0;
        wb_status s = wb_h3_fields(handle_, section, nullptr, 0, &count);
        std::vector<wb_field> raw(s >= 0 ? count : 0);
        if (s >= 0 && count != 0) s = wb_h3_fields(handle_, section, raw.data(), raw.size(), &count);
        return {s, std::vector<field>(raw.begin(), raw.end())};
    }
};

/* ------------------------------------------------------------------ configuration */

class event;

/* A function that takes events. Serial per connection, parallel between connections; must not throw. */
using handler = std::function<void(const event &)>;

class config_ref : public ref {
public:
    using ref::ref;
    result<void> set(std::uint32_t key, std::uint64_t value) const noexcept {
        return wb_config_set_u64(handle_, key, value);
    }
    result<void> set(std::uint32_t key, view value) const noexcept {
        return wb_config_set_bytes(handle_, key, value.data(), value.size());
    }
    /* Such as "transport.max_idle_ms=30000". */
    result<void> parse(std::string_view line) const noexcept { return wb_config_parse(handle_, line.data(), line.size()); }
    result<void> check() const noexcept { return wb_config_check(handle_); }
    inline result<void> on(std::uint32_t group, handler function) const;
};
using config = owner<config_ref>;

inline result<config> make_config(std::uint32_t kind) noexcept {
    wb_config out = 0;
    wb_status s = wb_config_new(kind, &out);
    return detail::made<config>(s, out);
}

/* ------------------------------------------------------------------ TLS */

class tls_ref : public ref {
public:
    using ref::ref;
    result<void> identity_pem(view chain, view key) const noexcept {
        return wb_tls_identity_pem(handle_, chain.data(), chain.size(), key.data(), key.size());
    }
    /* PEM or DER; without a key it is elsewhere, and decisions ask for signatures. Gives the identity's number. */
    result<std::uint32_t> identity_add(view chain, view key = view()) const noexcept {
        std::uint32_t id = 0;
        wb_status s = wb_tls_identity_add(handle_, chain.data(), chain.size(), key.data(), key.size(), &id);
        return {s, id};
    }
    /* Without a chain the identity is removed. */
    result<void> identity_replace(std::uint32_t id, view chain = view(), view key = view()) const noexcept {
        return wb_tls_identity_replace(handle_, id, chain.data(), chain.size(), key.data(), key.size());
    }
    /* A set of WB_DECIDE_IDENTITY, WB_DECIDE_VERIFY and WB_DECIDE_EARLY (answered by event::answer_early). */
    result<void> decisions(std::uint32_t mask) const noexcept { return wb_tls_decisions(handle_, mask); }
    /* Keys of 32 bytes one after the other: the first seals, all open. */
    result<void> ticket_keys(view keys) const noexcept {
        return wb_tls_ticket_keys(handle_, keys.data(), keys.size() / 32);
    }
    result<void> identity_files(const std::string &chain, const std::string &key) const noexcept {
        return wb_tls_identity_files(handle_, chain.c_str(), key.c_str());
    }
    result<void> trust_add(view pem) const noexcept { return wb_tls_trust_add(handle_, pem.data(), pem.size()); }
    result<void> trust_file(const std::string &file) const noexcept { return wb_tls_trust_file(handle_, file.c_str()); }
    result<void> verify_mode(std::uint32_t mode) const noexcept { return wb_tls_verify_mode(handle_, mode); }
    result<void> alpn(std::initializer_list<std::string_view> names) const {
        std::vector<wb_text> list;
        list.reserve(names.size());
        for (std::string_view n : names) list.push_back({n.data(), n.size()});
        return wb_tls_alpn(handle_, list.data(), list.size());
    }
    result<void> ciphers(std::initializer_list<std::uint16_t> suites) const noexcept {
        return wb_tls_ciphers(handle_, suites.begin(), suites.size());
    }
    result<void> early_data(bool allow) const noexcept { return wb_tls_early_data(handle_, allow ? 1 : 0); }
    result<void> keylog_file(const std::string &file) const noexcept {
        return wb_tls_keylog_file(handle_, file.c_str());
    }
    /* Every line of the NSS key log; the function must not throw. */
    result<void> keylog(std::function<void(std::string_view)> function) const {
        using lines = std::function<void(std::string_view)>;
        std::unique_ptr<lines> kept(new lines(std::move(function)));
        wb_status s = wb_tls_keylog(
            handle_, [](void *f, const char *line, std::size_t len) noexcept { (*static_cast<lines *>(f))({line, len}); },
            kept.get(), [](void *f) { delete static_cast<lines *>(f); });
        if (s == WB_OK) (void)kept.release();
        return s;
    }
};
using tls = owner<tls_ref>;

inline result<tls> make_tls(std::uint32_t role) noexcept {
    wb_tls out = 0;
    wb_status s = wb_tls_new(role, &out);
    return detail::made<tls>(s, out);
}

/* ------------------------------------------------------------------ decisions */

/* A question of the library, found in event::decision(). The first answer counts and makes it stale. */
class decision_ref : public ref {
public:
    using ref::ref;
    result<wb_decision_desc> info() const noexcept {
        wb_decision_desc out = wb_sized<wb_decision_desc>();
        wb_status s = wb_decision_info(handle_, &out);
        return {s, out};
    }
    /* `what` is WB_DATA_*. */
    result<buf> data(std::uint32_t what, std::size_t index = 0) const noexcept {
        wb_buf out = 0;
        wb_status s = wb_decision_data(handle_, what, index, &out);
        return detail::made<buf>(s, out);
    }
    result<void> accept() const noexcept { return wb_decision_accept(handle_); }
    result<void> refuse(std::uint32_t how = 0) const noexcept { return wb_decision_refuse(handle_, how); }
    result<void> identity(const tls_ref &server) const noexcept {
        return wb_decision_identity(handle_, server.handle());
    }
    result<void> sign(view signature) const noexcept {
        return wb_decision_sign(handle_, signature.data(), signature.size());
    }
};
using decision = owner<decision_ref>;

/* ------------------------------------------------------------------ connections */

/* A new stream, and how many of its first bytes were taken. */
struct begun {
    whimbrel::stream stream;
    std::size_t accepted = 0;
};

class conn_ref : public ref {
public:
    using ref::ref;
    result<conn> share() const noexcept { return detail::shared<conn>(handle_); }

    result<void> start(std::string_view host, std::uint16_t port) const noexcept {
        return wb_conn_start(handle_, host.data(), host.size(), port);
    }
    result<void> start(const struct sockaddr *address, std::uint32_t len, std::string_view server_name) const noexcept {
        return wb_conn_start_address(handle_, address, len, server_name.data(), server_name.size());
    }
    /* To the first of several addresses that answers. */
    result<void> start(const wb_addr *addresses, std::size_t count, std::string_view server_name) const noexcept {
        return wb_conn_start_addresses(handle_, addresses, count, server_name.data(), server_name.size());
    }
    result<void> close(std::uint64_t code = 0, std::string_view reason = {}) const noexcept {
        return wb_conn_close(handle_, code, reason.data(), reason.size());
    }
    result<wb_conn_desc> desc() const noexcept {
        auto d = wb_sized<wb_conn_desc>();
        wb_status s = wb_conn_info(handle_, &d);
        return {s, d};
    }
    result<wb_conn_counters> stats() const noexcept {
        auto d = wb_sized<wb_conn_counters>();
        wb_status s = wb_conn_stats(handle_, &d);
        return {s, d};
    }
    /* Why it ended; status `WB_OK` while it lives. */
    failure end_reason() const noexcept {
        failure f;
        wb_status s = wb_conn_error(handle_, &f.info);
        return s == WB_OK ? f : failure::last(s);
    }
    /* The peer's certificates, its own first, DER. */
    result<std::vector<buf>> peer_chain() const {
        std::array<wb_buf, 16> raw{};
        std::size_t count = 0;
        wb_status s = wb_conn_peer_chain(handle_, raw.data(), raw.size(), &count);
        std::vector<buf> chain;
        for (std::size_t i = 0; s >= 0 && i < count && i < raw.size(); i++) chain.emplace_back(raw[i]);
        return {s, std::move(chain)};
    }
    result<void> key_update() const noexcept { return wb_conn_key_update(handle_); }
    /* A setting of the living connection: WB_KEY_*. */
    result<void> set(std::uint32_t key, std::uint64_t value) const noexcept {
        return wb_conn_set_u64(handle_, key, value);
    }
    result<void> send_datagram(view bytes, std::uint64_t tag = 0) const noexcept {
        return wb_conn_datagram_send(handle_, bytes.data(), bytes.size(), tag);
    }
    result<void> export_secret(std::string_view label, view context, room out) const noexcept {
        return wb_conn_export(handle_, label.data(), label.size(), context.data(), context.size(), out.data(), out.size());
    }
    /* A null address: any local address, a new port. */
    result<void> migrate(const struct sockaddr *address = nullptr, std::uint32_t len = 0) const noexcept {
        return wb_conn_migrate(handle_, address, len);
    }
    result<std::vector<path>> paths() const {
        std::array<wb_path, 16> raw{};
        std::size_t count = 0;
        wb_status s = wb_path_list(handle_, raw.data(), raw.size(), &count);
        std::vector<path> list;
        for (std::size_t i = 0; s >= 0 && i < count && i < raw.size(); i++) list.emplace_back(raw[i]);
        return {s, std::move(list)};
    }

    result<stream> open(std::uint32_t kind = WB_STREAM_BIDI) const noexcept {
        wb_stream out = 0;
        wb_status s = wb_stream_open(handle_, kind, &out);
        return detail::made<stream>(s, out);
    }
    /* A stream with its first bytes. `WB_PARTIAL`: fewer were taken than given, or not the end, and WRITABLE follows. */
    result<begun> begin(view bytes, std::uint32_t flags = 0, std::uint32_t kind = WB_STREAM_BIDI) const noexcept {
        return begin_with(bytes, flags, kind, nullptr, nullptr);
    }
    /* The same with an application object, which its first event has already. On failure it comes back in `user`. */
    template <class T>
    result<begun> begin(std::unique_ptr<T> &&user, view bytes, std::uint32_t flags = 0,
                        std::uint32_t kind = WB_STREAM_BIDI) const noexcept {
        T *object = user.release();
        auto r = begin_with(bytes, flags, kind, object, [](void *p) { delete static_cast<T *>(p); });
        if (!r) user.reset(object);
        return r;
    }
    /* HTTP/3: pseudo-fields first. `WB_FIN`: no body follows. */
    result<stream> request(const field *fields, std::size_t count, std::uint32_t flags = WB_FIN) const noexcept {
        wb_stream out = 0;
        wb_status s = wb_h3_request(handle_, fields, count, flags, &out);
        return detail::made<stream>(s, out);
    }
    result<stream> request(std::initializer_list<field> fields, std::uint32_t flags = WB_FIN) const noexcept {
        return request(fields.begin(), fields.size(), flags);
    }
    /* Whole requests, or responses to requests: what became of each is told in it. */
    result<void> submit(wb_h3_message *messages, std::size_t count) const noexcept {
        return wb_h3_submit(handle_, messages, count, sizeof(wb_h3_message));
    }
    result<void> goaway() const noexcept { return wb_h3_goaway(handle_); }

private:
    result<begun> begin_with(view bytes, std::uint32_t flags, std::uint32_t kind, void *user,
                             wb_destroy_fn destroy) const noexcept {
        auto first = wb_sized<wb_stream_first>();
        first.flags = flags;
        first.user = user;
        first.destroy = destroy;
        first.data = bytes.data();
        first.len = bytes.size();
        wb_stream out = 0;
        wb_status s = wb_stream_begin(handle_, kind, &first, &out);
        return {s, begun{stream(out), first.accepted}};
    }
};

/* ------------------------------------------------------------------ events */

/* One event, for as long as the callback runs or the batch is kept. What it refers to belongs to the library. */
class event {
public:
    explicit event(const wb_event &raw) noexcept : raw_(&raw) {}

    std::uint16_t kind() const noexcept { return raw_->kind; }
    const char *name() const noexcept { return wb_event_name(raw_->kind); }
    bool fin() const noexcept { return (raw_->flags & WB_EVF_FIN) != 0; }
    /* It came as early data and may be a replay: see WB_EVF_EARLY. */
    bool early() const noexcept { return (raw_->flags & WB_EVF_EARLY) != 0; }
    conn_ref conn() const noexcept { return conn_ref(raw_->conn); }
    stream_ref stream() const noexcept { return stream_ref(raw_->stream); }
    path_ref path() const noexcept { return path_ref(raw_->path); }
    ref source() const noexcept { return ref(raw_->source); }
    /* Of events of the group WB_GROUP_DECISION. */
    decision_ref decision() const noexcept {
        return decision_ref(raw_->kind >> 8 == WB_GROUP_DECISION ? raw_->a : 0);
    }
    /* Answers WB_EV_DECIDE_EARLY at once from a store: `fresh(key, keep)` says whether no server of the fleet has seen these
     * 32 bytes before, and remembers them for `keep` milliseconds. It throws: no early data. */
    template <class Store> result<void> answer_early(Store &&fresh) const {
        bool yes = false;
#ifndef WHIMBREL_NO_EXCEPTIONS
        try {
            yes = fresh(data(), std::chrono::milliseconds(raw_->b));
        } catch (...) {
        }
#else
        yes = fresh(data(), std::chrono::milliseconds(raw_->b));
#endif
        return yes ? decision().accept() : decision().refuse();
    }
    std::uint64_t a() const noexcept { return raw_->a; }
    std::uint64_t b() const noexcept { return raw_->b; }
    nanoseconds time() const noexcept { return nanoseconds(raw_->time_ns); }
    view data() const noexcept { return {raw_->data, raw_->data_len}; }
    template <class T> T *user_conn() const noexcept { return static_cast<T *>(raw_->user_conn); }
    template <class T> T *user_stream() const noexcept { return static_cast<T *>(raw_->user_stream); }
    const wb_event &raw() const noexcept { return *raw_; }

private:
    const wb_event *raw_;
};

inline result<void> config_ref::on(std::uint32_t group, handler function) const {
    std::unique_ptr<handler> kept(new handler(std::move(function)));
    wb_status s = wb_config_on(
        handle_, group, [](void *f, const wb_event *ev) noexcept { (*static_cast<handler *>(f))(event(*ev)); }, kept.get(),
        [](void *f) { delete static_cast<handler *>(f); });
    if (s == WB_OK) (void)kept.release();
    return s;
}

/* ------------------------------------------------------------------ queues */

/* Events taken from a queue; gives them back when it goes. `for (event e : batch)`. */
class batch {
public:
    class iterator {
    public:
        iterator(const wb_batch *b, std::size_t i) noexcept : batch_(b), i_(i) {}
        event operator*() const noexcept { return event(*wb_batch_event(batch_, i_)); }
        iterator &operator++() noexcept { return ++i_, *this; }
        friend bool operator!=(const iterator &a, const iterator &b) noexcept { return a.i_ != b.i_; }

    private:
        const wb_batch *batch_;
        std::size_t i_;
    };

    batch() noexcept = default;
    batch(wb_queue queue, const wb_batch &raw) noexcept : queue_(queue), raw_(raw) {}
    batch(batch &&other) noexcept : queue_(std::exchange(other.queue_, 0)), raw_(other.raw_) {}
    batch &operator=(batch &&other) noexcept {
        if (this != &other) {
            give_back();
            queue_ = std::exchange(other.queue_, 0);
            raw_ = other.raw_;
        }
        return *this;
    }
    batch(const batch &) = delete;
    batch &operator=(const batch &) = delete;
    ~batch() { give_back(); }

    std::size_t size() const noexcept { return queue_ == 0 ? 0 : raw_.count; }
    iterator begin() const noexcept { return {&raw_, 0}; }
    iterator end() const noexcept { return {&raw_, size()}; }
    void give_back() noexcept {
        if (queue_ != 0) (void)wb_queue_return(std::exchange(queue_, 0), &raw_);
    }

private:
    wb_queue queue_ = 0;
    wb_batch raw_ = wb_sized<wb_batch>();
};

class queue_ref : public ref {
public:
    using ref::ref;
    /* `WB_E_WOULD_BLOCK` or `WB_E_TIMEOUT` when nothing came. */
    result<batch> take(nanoseconds timeout = forever, std::size_t max = 64) const noexcept {
        auto raw = wb_sized<wb_batch>();
        wb_status s = wb_queue_take(handle_, &raw, max, timeout.count());
        return {s, s >= 0 ? batch(handle_, raw) : batch()};
    }
    result<void> wake() const noexcept { return wb_queue_wake(handle_); }
    result<void> attach(const ref &object) const noexcept { return wb_queue_attach(handle_, object.handle()); }
    /* To wait for with poll or the like, never to be read. */
    result<std::ptrdiff_t> descriptor() const noexcept {
        std::ptrdiff_t fd = -1;
        wb_status s = wb_queue_fd(handle_, &fd);
        return {s, fd};
    }
};
using queue = owner<queue_ref>;

/* ------------------------------------------------------------------ endpoints and runtimes */

class endpoint_ref : public ref {
public:
    using ref::ref;
    result<void> bind(const struct sockaddr *address, std::uint32_t len) const noexcept {
        return wb_endpoint_bind(handle_, address, len);
    }
    result<void> listen(const config_ref &settings, const tls_ref &identity) const noexcept {
        return wb_endpoint_listen(handle_, settings.handle(), identity.handle());
    }
    /* Takes a bound UDP socket; on failure it stays the caller's. */
    result<void> adopt(std::ptrdiff_t fd) const noexcept { return wb_endpoint_adopt(handle_, fd); }
    /* Duplicates of the sockets, for the caller to close. */
    result<std::vector<std::ptrdiff_t>> export_sockets() const {
        std::vector<std::ptrdiff_t> out(256);
        std::size_t n = 0;
        wb_status s = wb_endpoint_export(handle_, out.data(), out.size(), &n);
        out.resize(s < 0 ? 0 : n < out.size() ? n : out.size());
        return {s, std::move(out)};
    }
    /* Secrets of 32 bytes one after the other: the first makes tokens, all are accepted. */
    result<void> secrets(view keys) const noexcept {
        return wb_endpoint_secrets(handle_, keys.data(), keys.size() / 32);
    }
    /* While paused, new connections are refused and those that are there go on. */
    result<void> pause(bool on = true) const noexcept { return wb_endpoint_pause(handle_, on ? 1 : 0); }
    /* Made with wb_sized<wb_limits>(); takes the place of all limits before. */
    result<void> limits(const wb_limits &limits) const noexcept { return wb_endpoint_limits(handle_, &limits); }
    result<wb_addr> address() const noexcept {
        wb_addr out{};
        wb_status s = wb_endpoint_address(handle_, &out);
        return {s, out};
    }
    result<void> rebind(const struct sockaddr *address = nullptr, std::uint32_t len = 0) const noexcept {
        return wb_endpoint_rebind(handle_, address, len);
    }
    result<void> close(std::uint32_t mode = WB_CLOSE_GRACEFUL) const noexcept { return wb_endpoint_close(handle_, mode); }
    /* Idle until started, so that user data can be set without a race. */
    result<conn> open(const config_ref &settings, const tls_ref &trust) const noexcept {
        wb_conn out = 0;
        wb_status s = wb_conn_open(handle_, settings.handle(), trust.handle(), &out);
        return detail::made<conn>(s, out);
    }
};
using endpoint = owner<endpoint_ref>;

class runtime_ref : public ref {
public:
    using ref::ref;
    result<void> close(std::uint32_t mode = WB_CLOSE_GRACEFUL) const noexcept { return wb_runtime_close(handle_, mode); }
    result<void> wait(nanoseconds timeout = forever) const noexcept { return wb_runtime_wait(handle_, timeout.count()); }
    /* After success no callback runs and none will start. */
    result<void> mute(nanoseconds timeout = forever) const noexcept { return wb_runtime_mute(handle_, timeout.count()); }

    /* Of a core: see make_core. Without a packet only time passes. */
    result<void> core_recv(std::int64_t now, const wb_packet *packet = nullptr) const noexcept {
        return wb_core_recv(handle_, packet, now);
    }
    result<void> core_transmit(std::int64_t now, wb_packet &packet, std::uint32_t max_segments = 1) const noexcept {
        return wb_core_transmit(handle_, &packet, max_segments, now);
    }
    result<std::int64_t> core_deadline() const noexcept {
        std::int64_t at = 0;
        wb_status s = wb_core_deadline(handle_, &at);
        return {s, at};
    }
    result<queue> make_queue() const noexcept {
        wb_queue out = 0;
        wb_status s = wb_queue_open(handle_, &out);
        return detail::made<queue>(s, out);
    }
    result<endpoint> make_endpoint(const config_ref &settings = config_ref()) const noexcept {
        wb_endpoint out = 0;
        wb_status s = wb_endpoint_open(handle_, settings.handle(), &out);
        return detail::made<endpoint>(s, out);
    }
    result<conn> connect(const tls_ref &trust, std::string_view host, std::uint16_t port,
                         const config_ref &settings = config_ref()) const noexcept {
        wb_conn out = 0;
        wb_status s =
            wb_client_connect(handle_, settings.handle(), trust.handle(), host.data(), host.size(), port, &out);
        return detail::made<conn>(s, out);
    }
    result<endpoint> listen(const tls_ref &identity, std::string_view address, std::uint16_t port,
                            const config_ref &settings = config_ref()) const noexcept {
        wb_endpoint out = 0;
        wb_status s =
            wb_server_listen(handle_, settings.handle(), identity.handle(), address.data(), address.size(), port, &out);
        return detail::made<endpoint>(s, out);
    }
};
using runtime = owner<runtime_ref>;

inline result<runtime> make_runtime(const config_ref &settings = config_ref()) noexcept {
    wb_runtime out = 0;
    wb_status s = wb_runtime_open(settings.handle(), &out);
    return detail::made<runtime>(s, out);
}

/* A runtime that the caller drives; the seed has 32 bytes, or none for the system's randomness. */
inline result<runtime> make_core(std::int64_t now, view seed = view(),
                                 const config_ref &settings = config_ref()) noexcept {
    wb_runtime out = 0;
    wb_status s = wb_core_open(settings.handle(), seed.data(), seed.size(), now, &out);
    return detail::made<runtime>(s, out);
}

/* ------------------------------------------------------------------ packets */

/* What anybody can know about a datagram's first packet; pointers lead into the datagram. */
inline result<wb_packet_desc> peek(view datagram, std::size_t short_cid_len = WB_CID_LEN) noexcept {
    wb_packet_desc out = wb_sized<wb_packet_desc>();
    wb_status s = wb_packet_peek(datagram.data(), datagram.size(), short_cid_len, &out);
    return {s, out};
}

/* ------------------------------------------------------------------ the library */

/* 0 absent or unknown, 1 stable, 2 experimental. */
inline std::int32_t feature(const char *name) noexcept { return wb_feature(name); }
inline const char *version() noexcept { return wb_version_text(); }
/* Lines for operators (level, part of the library, text) go to a function, from several threads; none ends it. */
inline result<void> log_to(std::uint32_t level,
                           std::function<void(std::uint32_t, std::string_view, std::string_view)> function) {
    using lines = std::function<void(std::uint32_t, std::string_view, std::string_view)>;
    if (!function || level == WB_LOG_OFF) return wb_log_set(WB_LOG_OFF, nullptr, nullptr, nullptr);
    std::unique_ptr<lines> kept(new lines(std::move(function)));
    wb_status s = wb_log_set(
        level,
        [](void *f, std::uint32_t lvl, const char *room, const char *text, std::size_t len) noexcept {
            (*static_cast<lines *>(f))(lvl, room, {text, len});
        },
        kept.get(), [](void *f) { delete static_cast<lines *>(f); });
    if (s == WB_OK) (void)kept.release();
    return s;
}
/* Whether the loaded library fits the header that this program was built with. */
inline bool abi_fits() noexcept { return wb_check_abi() != 0; }

} // namespace whimbrel

#endif /* WHIMBREL_HPP */
