/* Whimbrel under the benchmark's protocol, through the C ABI: what server and client share.
 *
 * A stream carries an 8-byte number N, any bytes and FIN; the answer is N bytes and FIN. Over HTTP/3 the number is the
 * path and the bytes are the request's body. A client says `ready`, waits for a line, works, prints a JSON line and waits
 * for the next line; the harness reads both processes' CPU clocks at these moments. benches/peers has the same words.
 */
#ifndef BENCH_H
#define BENCH_H

#include "whimbrel.h"

#define WINDOW (16u << 20)
#define BLOCK (1u << 20)
#define STREAMS 256
#define IDLE_MS 600000
#define RAW_HEAD 8

struct options {
    const char *host, *certs;
    uint16_t port;
    int h3;
    int queue; /* events come from a queue that the main thread empties, not by callbacks on the worker */
    uint64_t payload, congestion;
};

extern struct options options;

/* Ends the program with one line when a call has failed. */
void must(wb_status s, const char *what);
_Noreturn void fail(const char *text);

double wall(void);
wb_config conn_config(void);
wb_tls tls_object(uint32_t role);
wb_runtime one_worker(void);

/* Takes what the queue has, waiting at most as long as given (negative: for ever), and hands it to `handle` (null: throws
 * it away). */
void pump(wb_queue queue, wb_event_fn handle, int64_t timeout_ns);

/* Sends the rest of a body and FIN, as far as the stream takes it; `*left` bytes remain. 1 when all is handed over. */
int push(wb_stream stream, uint64_t *left);

/* Reads and throws away what is there; 1 when the end was read. `*got` grows by the bytes. */
int drain(wb_stream stream, uint64_t *got);

_Noreturn void serve(void);
int drive(int argc, char **argv);

#endif
