/* The part of an https URL that a client needs. Shared by the example clients. */
#ifndef URL_H
#define URL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct url {
    char host[256];      /* without the brackets of an IPv6 address */
    char authority[300]; /* as the :authority field wants it */
    unsigned short port;
    const char *path; /* at least "/" */
};

/* 0, or -1 when the text is not https://HOST[:PORT][/PATH]. */
static inline int url_parse(const char *text, struct url *out) {
    if (strncmp(text, "https://", 8) != 0) return -1;
    const char *host = text + 8;
    const char *end = host + strcspn(host, "/?#");
    const char *host_end = end, *port = NULL;
    if (*host == '[') {
        const char *close = memchr(host, ']', (size_t)(end - host));
        if (close == NULL || (close + 1 != end && close[1] != ':')) return -1;
        port = close + 1 == end ? NULL : close + 2;
        host++;
        host_end = close;
    } else {
        const char *colon = memchr(host, ':', (size_t)(end - host));
        if (colon != NULL) {
            port = colon + 1;
            host_end = colon;
        }
    }
    size_t host_len = (size_t)(host_end - host), authority_len = (size_t)(end - (text + 8));
    if (host_len == 0 || host_len >= sizeof out->host || authority_len >= sizeof out->authority) return -1;
    memcpy(out->host, host, host_len);
    out->host[host_len] = 0;
    memcpy(out->authority, text + 8, authority_len);
    out->authority[authority_len] = 0;
    out->port = 443;
    if (port != NULL) {
        char *stop;
        unsigned long number = strtoul(port, &stop, 10);
        if (stop != end || stop == port || number == 0 || number > 65535) return -1;
        out->port = (unsigned short)number;
    }
    out->path = *end == '/' ? end : "/";
    return 0;
}

#endif
