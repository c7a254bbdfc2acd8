/* What the C tests share: checks that name the line, two programs' worth of set-up, a clock. */
#ifndef CHECK_H
#define CHECK_H
#include "whimbrel.h"
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            wb_error_info info_ = WB_INIT(wb_error_info);                                                              \
            wb_last_error(&info_);                                                                                     \
            fprintf(stderr, "%s:%d: %s (last error: %s, %s)\n", __FILE__, __LINE__, #condition,                        \
                    wb_status_name(info_.status), info_.text);                                                         \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

#define OK(call) CHECK((call) == WB_OK)

/* Expects exactly one status and says what came instead. */
#define GIVES(call, wanted)                                                                                            \
    do {                                                                                                               \
        wb_status got_ = (call);                                                                                       \
        if (got_ != (wanted)) {                                                                                        \
            fprintf(stderr, "%s:%d: %s gives %s\n", __FILE__, __LINE__, #call, wb_status_name(got_));                  \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

#define SECOND ((int64_t)1000000000)

static inline void pause_ms(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

/* Waits until an atomic counter has a value: for what other threads do. */
#define EVENTUALLY(condition)                                                                                          \
    do {                                                                                                               \
        for (int i_ = 0; i_ < 1000 && !(condition); i_++) pause_ms(10);                                                \
        CHECK(condition);                                                                                              \
    } while (0)

/* A server and a client configuration for raw streams under the protocol name "echo". */
static inline wb_tls tls_for(uint32_t role, const char *folder) {
    char chain[512], key[512];
    wb_tls tls;
    wb_text alpn = {"echo", 4};
    snprintf(chain, sizeof chain, "%s/cert.pem", folder);
    snprintf(key, sizeof key, "%s/key.pem", folder);
    OK(wb_tls_new(role, &tls));
    OK(wb_tls_alpn(tls, &alpn, 1));
    if (role == WB_ROLE_SERVER)
        OK(wb_tls_identity_files(tls, chain, key));
    else
        OK(wb_tls_trust_file(tls, chain));
    return tls;
}

static inline void end(wb_runtime runtime) {
    OK(wb_runtime_close(runtime, WB_CLOSE_GRACEFUL));
    OK(wb_runtime_wait(runtime, 10 * SECOND));
}
#endif
