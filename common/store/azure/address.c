#include "common/store/azure/address.h"

#include <stdio.h>
#include <string.h>

#include "common/http/http.h"
#include "common/store/remote/remote.h"

enum { BLOCK_MIN_MIB = 1, BLOCK_MAX_MIB = 128, BLOCK_USUAL_MIB = 16, MIB = 1024 * 1024 };

static const char names_allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789-$";

/* The part of a path up to the next slash; moves on behind it. false: empty, too long or odd. */
static bool
take_name(const char **at, char *out_name, size_t room_bytes)
{
    *at += strspn(*at, "/");
    size_t length = strcspn(*at, "/");
    if (length == 0 || length >= room_bytes || strspn(*at, names_allowed) < length) {
        return false;
    }
    memcpy(out_name, *at, length);
    out_name[length] = '\0';
    *at += length;
    return true;
}

static fx_code
take_block_size(const char *query, fx_azure_address *to, fx_err *err)
{
    char value[16];
    to->block_bytes = (size_t)BLOCK_USUAL_MIB * MIB;
    if (fx_remote_query_value(query, "block-mib", value, sizeof value)) {
        char *end = NULL;
        unsigned long mib = strtoul(value, &end, 10);
        if (*end != '\0' || mib < BLOCK_MIN_MIB || mib > BLOCK_MAX_MIB) {
            return fx_fail(
                err,
                FX_ERR_INVALID,
                "could not use \"%.10s\" as block-mib in the address: from %d to %d",
                value,
                BLOCK_MIN_MIB,
                BLOCK_MAX_MIB);
        }
        to->block_bytes = mib * MIB;
    }
    return FX_OK;
}

fx_code
fx_azure_address_parse(const char *rest, fx_azure_address *out_address, fx_err *err)
{
    fx_http_url url;
    fx_azure_address address = {0};
    if (fx_http_url_parse(rest, &url, err) != FX_OK) {
        return err->code;
    }
    const char *at = url.path;
    const char *blob = strstr(url.host, ".blob.");
    size_t account_bytes = blob == NULL ? 0 : (size_t)(blob - url.host);
    bool is_in_host = account_bytes > 0 && account_bytes < sizeof address.account;
    bool is_named = true;
    if (is_in_host) {
        memcpy(address.account, url.host, account_bytes);
    } else {
        is_named = take_name(&at, address.account, sizeof address.account);
    }
    is_named = is_named && take_name(&at, address.container, sizeof address.container);
    /* What can be a key can be a prefix, so that no character of a path needs to be encoded. */
    if (!is_named || !fx_remote_take_prefix(at, address.prefix, sizeof address.prefix)) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use the address: expected azure:https://ACCOUNT.blob.HOST/CONTAINER/PREFIX");
    }
    if (strcmp(url.scheme, "https") != 0 && !fx_remote_is_loopback(url.host)) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use the address: http without TLS is for this machine alone; use https");
    }
    (void)snprintf(address.scheme, sizeof address.scheme, "%s", url.scheme);
    (void)snprintf(address.host, sizeof address.host, "%s", url.authority);
    (void)snprintf(
        address.base_path,
        sizeof address.base_path,
        "%s%s/%s",
        is_in_host ? "" : "/",
        is_in_host ? "" : address.account,
        address.container);
    if (take_block_size(url.query, &address, err) != FX_OK) {
        return err->code;
    }
    *out_address = address;
    return FX_OK;
}
