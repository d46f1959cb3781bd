#include "tests/support/port.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PORT_MIN = 20000, PORT_END = 32000, TRIES = 1000 };

/* Keeps the name until the process ends: its socket stays open. */
static bool
claim(uint16_t port)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int length =
        snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "fortress test port %d", (int)port);
    socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&name, bytes) == 0) {
        return true;
    }
    (void)close(fd);
    return false;
}

static bool
is_free(uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is = fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0;
    (void)close(fd);
    return is;
}

uint16_t
test_free_port(void)
{
    for (int i = 0; i < TRIES; i++) {
        uint16_t drawn = 0;
        if (getrandom(&drawn, sizeof drawn, 0) != (ssize_t)sizeof drawn) {
            break;
        }
        uint16_t port = (uint16_t)(PORT_MIN + drawn % (PORT_END - PORT_MIN));
        if (is_free(port) && claim(port)) {
            return port;
        }
    }
    (void)fprintf(stderr, "no free port on 127.0.0.1\n");
    exit(1); /* NOLINT(concurrency-mt-unsafe): one thread */
}
