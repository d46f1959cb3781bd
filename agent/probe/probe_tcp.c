#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/probe/kinds.h"
#include "common/base/clock.h"

enum { HOST_BYTES = 256, PORT_BYTES = 8 };

static fx_code
split(const char *target, char out_host[HOST_BYTES], char out_port[PORT_BYTES], fx_err *err)
{
    const char *colon = strrchr(target, ':');
    size_t length = colon != NULL ? (size_t)(colon - target) : 0;
    if (length > 2 && target[0] == '[' && target[length - 1] == ']') {
        target++;
        length -= 2;
    }
    if (colon == NULL || length == 0 || length >= HOST_BYTES ||
        strspn(colon + 1, "0123456789") != strlen(colon + 1) || strlen(colon + 1) == 0 ||
        strlen(colon + 1) > 5) {
        return fx_fail(err, FX_ERR_INVALID, "\"%.100s\" is not host:port", target);
    }
    (void)snprintf(out_host, HOST_BYTES, "%.*s", (int)length, target);
    (void)snprintf(out_port, PORT_BYTES, "%.5s", colon + 1);
    return FX_OK;
}

static fx_code
finish_connecting(int fd, fx_mono deadline, const char *target, fx_err *err)
{
    struct pollfd watched = {.fd = fd, .events = POLLOUT};
    for (;;) {
        const int64_t left_ms = (deadline.ns - fx_clock_mono().ns) / FX_NS_PER_MS;
        const int ready = left_ms <= 0 ? 0 : poll(&watched, 1, (int)left_ms);
        if (ready > 0) {
            break;
        }
        if (ready == 0) {
            return fx_fail(
                err, FX_ERR_TIMEOUT, "could not connect to %.120s: no answer in time", target);
        }
        if (errno != EINTR) {
            return fx_fail_errno(err, errno, "could not wait for %.120s", target);
        }
    }
    int reason = 0;
    socklen_t size_bytes = sizeof reason;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &reason, &size_bytes) != 0) {
        reason = errno;
    }
    if (reason != 0) {
        return fx_fail_errno(err, reason, "could not connect to %.120s", target);
    }
    return FX_OK;
}

static fx_code
connect_to(const struct addrinfo *address, fx_mono deadline, const char *target, fx_err *err)
{
    const int fd =
        socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd < 0) {
        return fx_fail_errno(err, errno, "could not open a socket");
    }
    fx_code code = FX_OK;
    if (connect(fd, address->ai_addr, address->ai_addrlen) != 0) {
        code = errno == EINPROGRESS
                   ? finish_connecting(fd, deadline, target, err)
                   : fx_fail_errno(err, errno, "could not connect to %.120s", target);
    }
    (void)close(fd);
    return code;
}

/*
 * Resolving a name cannot be bounded with getaddrinfo: addresses are the rule here, and a
 * resolver's own timeout bounds the exception.
 */
fx_code
fx_probe_tcp_run(
    const fx_probe_config *config, fx_mono deadline, fx_probe_result *result, fx_err *err)
{
    (void)result;
    char host[HOST_BYTES];
    char port[PORT_BYTES];
    if (split(config->target, host, port, err) != FX_OK) {
        return err->code;
    }
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *addresses = NULL;
    const int failed = getaddrinfo(host, port, &hints, &addresses);
    if (failed != 0) {
        return fx_fail(
            err, FX_ERR_UNREACHABLE, "could not resolve %.120s: %s", host, gai_strerror(failed));
    }
    fx_code code = fx_fail(err, FX_ERR_UNREACHABLE, "%.120s has no address", host);
    for (const struct addrinfo *at = addresses; code != FX_OK && at != NULL; at = at->ai_next) {
        code = connect_to(at, deadline, config->target, err);
    }
    freeaddrinfo(addresses);
    return code;
}
