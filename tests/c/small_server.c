/* The smallest honest server: answers every request with a line of text. Prints its port; ends when standard input does. */
#include "whimbrel.h"
#include <stdio.h>
#include <string.h>

static int fail(const char *what) {
    wb_error_info e = WB_INIT(wb_error_info);
    wb_last_error(&e);
    fprintf(stderr, "%s: %s (%s)\n", what, e.text, wb_status_name(e.status));
    return 1;
}

/* Runs on the library's threads, one event of a connection at a time. */
static void on_event(void *ctx, const wb_event *ev) {
    const char *text = ctx;
    wb_field answer[] = {WB_FIELD(":status", "200"), WB_FIELD("content-type", "text/plain")};
    size_t accepted = 0;
    if (ev->kind != WB_EV_H3_HEADERS) return;
    wb_stream_stop(ev->stream, 0x100); /* whatever body the request has, it is not wanted: H3_NO_ERROR */
    if (wb_h3_headers(ev->stream, answer, 2, 0) < 0 ||
        wb_stream_send_copy(ev->stream, text, strlen(text), WB_FIN, &accepted) != WB_OK)
        fail("response");
}

int main(int argc, char **argv) {
    wb_runtime runtime = 0;
    wb_config config = 0;
    wb_tls tls = 0;
    wb_endpoint endpoint = 0;
    wb_addr address;
    if (argc != 3) return fprintf(stderr, "usage: %s CERT.pem KEY.pem\n", argv[0]), 2;
    if (wb_runtime_open(0, &runtime) || wb_config_new(WB_CONFIG_CONN, &config) ||
        wb_config_on(config, WB_GROUP_ALL, on_event, (void *)"hello from a small server\n", NULL) ||
        wb_tls_new(WB_ROLE_SERVER, &tls) || wb_tls_identity_files(tls, argv[1], argv[2]) ||
        wb_server_listen(runtime, config, tls, "::", WB_TEXT_Z, 0, &endpoint) || wb_endpoint_address(endpoint, &address))
        return fail("start");
    printf("%u\n", address.port);
    fflush(stdout);
    while (getchar() != EOF) {
    }
    wb_runtime_close(runtime, WB_CLOSE_GRACEFUL);
    wb_runtime_wait(runtime, 2000000000);
    wb_handle_release_many((wb_handle[]){endpoint, config, tls, runtime}, 4);
    return 0;
}
