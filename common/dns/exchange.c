#include "common/dns/exchange.h"

#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"

typedef struct exchange {
    const fx_ldns_server *server;
    fx_mono deadline;
    fx_err_class outcome; /* of a failure from here on */
    int fd;
} exchange;

static fx_code
fail_errno(const exchange *with, int sys_errno, const char *what, fx_err *err)
{
    return fx_fail_as(
        err,
        with->outcome,
        FX_ERR_UNREACHABLE,
        "could not %s name server %s port %u: %s",
        what,
        with->server->address,
        with->server->port,
        strerrordesc_np(sys_errno));
}

static fx_code
wait_for(const exchange *with, short events, const char *what, fx_err *err)
{
    for (;;) {
        int64_t left_ms = fx_dur_ms(fx_mono_since(with->deadline, fx_clock_mono())) + 1;
        if (with->deadline.ns <= fx_clock_mono().ns) {
            return fx_fail_as(
                err,
                with->outcome,
                FX_ERR_TIMEOUT,
                "could not %s name server %s port %u: the deadline passed",
                what,
                with->server->address,
                with->server->port);
        }
        struct pollfd item = {.fd = with->fd, .events = events};
        int ready = poll(&item, 1, left_ms > INT_MAX ? INT_MAX : (int)left_ms);
        if (ready > 0) {
            return FX_OK;
        }
        if (ready < 0 && errno != EINTR) {
            return fail_errno(with, errno, what, err);
        }
    }
}

static fx_code
resolve(const fx_ldns_server *server, struct addrinfo **out_found, fx_err *err)
{
    char port[8];
    (void)snprintf(port, sizeof port, "%u", server->port);
    struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    if (server->port == 0 || getaddrinfo(server->address, port, &hints, out_found) != 0) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use \"%.100s\" port %u as a name server: an IPv4 or IPv6 address is "
            "expected",
            server->address,
            server->port);
    }
    return FX_OK;
}

fx_code
fx_ldns_check_server(const fx_ldns_server *server, fx_err *err)
{
    struct addrinfo *found = NULL;
    if (resolve(server, &found, err) != FX_OK) {
        return err->code;
    }
    freeaddrinfo(found);
    return FX_OK;
}

static fx_code
connect_to(exchange *with, fx_err *err)
{
    struct addrinfo *found = NULL;
    if (resolve(with->server, &found, err) != FX_OK) {
        return err->code;
    }
    with->fd =
        socket(found->ai_family, found->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    int result = with->fd < 0 ? -1 : connect(with->fd, found->ai_addr, found->ai_addrlen);
    int failure = result == 0 ? 0 : errno;
    freeaddrinfo(found);
    if (failure == EINPROGRESS) {
        if (wait_for(with, POLLOUT, "connect to", err) != FX_OK) {
            return err->code;
        }
        socklen_t size_bytes = sizeof failure;
        result = getsockopt(with->fd, SOL_SOCKET, SO_ERROR, &failure, &size_bytes);
        FX_ASSERT(result == 0);
    }
    return failure == 0 ? FX_OK : fail_errno(with, failure, "connect to", err);
}

static fx_code
send_all(const exchange *with, fx_bytes bytes, fx_err *err)
{
    const unsigned char *from = bytes.data;
    size_t sent_bytes = 0;
    while (sent_bytes < bytes.size_bytes) {
        if (wait_for(with, POLLOUT, "write to", err) != FX_OK) {
            return err->code;
        }
        ssize_t count =
            send(with->fd, from + sent_bytes, bytes.size_bytes - sent_bytes, MSG_NOSIGNAL);
        if (count < 0 && errno != EINTR && errno != EAGAIN) {
            return fail_errno(with, errno, "write to", err);
        }
        sent_bytes += count > 0 ? (size_t)count : 0;
    }
    return FX_OK;
}

static fx_code
receive_all(const exchange *with, unsigned char *to, size_t size_bytes, fx_err *err)
{
    size_t got_bytes = 0;
    while (got_bytes < size_bytes) {
        if (wait_for(with, POLLIN, "read from", err) != FX_OK) {
            return err->code;
        }
        ssize_t count = recv(with->fd, to + got_bytes, size_bytes - got_bytes, 0);
        if (count == 0) {
            return fx_fail_as(
                err,
                with->outcome,
                FX_ERR_UNREACHABLE,
                "could not read from name server %s port %u: it closed the connection",
                with->server->address,
                with->server->port);
        }
        if (count < 0 && errno != EINTR && errno != EAGAIN) {
            return fail_errno(with, errno, "read from", err);
        }
        got_bytes += count > 0 ? (size_t)count : 0;
    }
    return FX_OK;
}

/* Each message follows its length in two bytes: RFC 1035 section 4.2.2. */
static fx_code
converse(exchange *with, fx_bytes message, fx_buf *out, fx_err *err)
{
    if (connect_to(with, err) != FX_OK) {
        return err->code;
    }
    FX_BUF_AUTO framed;
    fx_buf_init(&framed, FX_LDNS_MESSAGE_MAX_BYTES + 2);
    unsigned char length[2] = {
        (unsigned char)(message.size_bytes >> 8), (unsigned char)(message.size_bytes & 0xff)};
    if (fx_buf_append(&framed, length, sizeof length, err) != FX_OK ||
        fx_buf_append(&framed, message.data, message.size_bytes, err) != FX_OK) {
        return err->code;
    }
    with->outcome = FX_CLASS_UNKNOWN;
    if (send_all(with, fx_buf_bytes(&framed), err) != FX_OK ||
        receive_all(with, length, sizeof length, err) != FX_OK) {
        return err->code;
    }
    size_t answer_bytes = ((size_t)length[0] << 8) | length[1];
    unsigned char *room = NULL;
    if (fx_buf_extend(out, answer_bytes, &room, err) != FX_OK) {
        err->outcome = FX_CLASS_UNKNOWN;
        return err->code;
    }
    return receive_all(with, room, answer_bytes, err);
}

fx_code
fx_ldns_exchange(
    const fx_ldns_server *server, fx_bytes message, fx_mono deadline, fx_buf *out, fx_err *err)
{
    FX_ASSERT(message.size_bytes <= FX_LDNS_MESSAGE_MAX_BYTES);
    exchange with = {
        .server = server, .deadline = deadline, .outcome = FX_CLASS_TRANSIENT, .fd = -1};
    fx_code code = converse(&with, message, out, err);
    if (with.fd >= 0) {
        (void)close(with.fd);
    }
    return code;
}
