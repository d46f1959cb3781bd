#include "common/store/depot/address.h"

#include <stdio.h>
#include <string.h>

static fx_code
bad_address(fx_err *err)
{
    return fx_fail(
        err,
        FX_ERR_INVALID,
        "could not use this as a depot's address: expected depot:HOST:PORT/NAME or "
        "depot:HOST:PORT/NAME?host=NAME-IN-ITS-CERTIFICATE");
}

static bool
is_port(const char *text)
{
    size_t length = strlen(text);
    if (length == 0 || length > 5 || strspn(text, "0123456789") != length) {
        return false;
    }
    unsigned long port = strtoul(text, NULL, 10);
    return port > 0 && port <= UINT16_MAX;
}

fx_code
fx_depot_address_parse(const char *rest, fx_depot_address *out_address, fx_err *err)
{
    static const char host_query[] = "?host=";
    const char *slash = strchr(rest, '/');
    const char *query = strchr(rest, '?');
    size_t authority_bytes = slash == NULL ? 0 : (size_t)(slash - rest);
    char name[FX_NAME_MAX_BYTES + 2];
    if (authority_bytes == 0 || authority_bytes > FX_DEPOT_HOST_MAX_BYTES ||
        memchr(rest, '@', authority_bytes) != NULL || (query != NULL && query < slash)) {
        return bad_address(err);
    }
    (void)snprintf(
        out_address->url, sizeof out_address->url, "tls+tcp://%.*s", (int)authority_bytes, rest);
    const char *colon = strrchr(out_address->url + strlen("tls+tcp:"), ':');
    size_t host_bytes = colon == NULL ? 0 : authority_bytes - strlen(colon);
    if (host_bytes == 0 || !is_port(colon + 1)) {
        return bad_address(err);
    }
    (void)snprintf(out_address->peer, sizeof out_address->peer, "%.*s", (int)host_bytes, rest);
    size_t name_bytes = query == NULL ? strlen(slash + 1) : (size_t)(query - slash - 1);
    (void)snprintf(name, sizeof name, "%.*s", (int)(name_bytes > 64 ? 64 : name_bytes), slash + 1);
    if (query != NULL) {
        const char *peer = query + strlen(host_query);
        if (strncmp(query, host_query, strlen(host_query)) != 0 || peer[0] == '\0' ||
            strlen(peer) > FX_DEPOT_HOST_MAX_BYTES) {
            return bad_address(err);
        }
        (void)snprintf(out_address->peer, sizeof out_address->peer, "%s", peer);
    }
    return fx_name_parse(name, "a depot's repository", &out_address->repository, err);
}
