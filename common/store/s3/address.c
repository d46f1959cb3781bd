#include "common/store/s3/address.h"

#include <stdio.h>
#include <string.h>

#include "common/http/http.h"
#include "common/store/remote/remote.h"

enum { PART_MIN_MIB = 5, PART_MAX_MIB = 128, PART_USUAL_MIB = 16, MIB = 1024 * 1024 };

#define AMAZON_SIGNING                                                                             \
    {                                                                                              \
        .algorithm = "AWS4-HMAC-SHA256", .key_prefix = "AWS4", .service = "s3",                    \
        .terminator = "aws4_request",                                                              \
    }

/* The last serves whoever is none of the others. */
static const fx_s3_dialect dialects[] = {
    {.name = "aws",
     .signing = AMAZON_SIGNING,
     .header_prefix = "x-amz-",
     .create_only = {"if-none-match", "*"},
     .digest_header = "x-amz-checksum-sha256",
     .default_region = "us-east-1",
     .puts_conditionally = true,
     .completes_conditionally = true,
     .has_multipart = true,
     .has_object_lock = true,
     .names_location = true},
    /* source: cloud.google.com/storage/docs/xml-api/reference-headers, .../multipart-uploads (which
     * take no preconditions), .../authentication/signatures */
    {.name = "gcs",
     .signing =
         {.algorithm = "GOOG4-HMAC-SHA256",
          .key_prefix = "GOOG4",
          .service = "storage",
          .terminator = "goog4_request"},
     .header_prefix = "x-goog-",
     .create_only = {"x-goog-if-generation-match", "0"},
     .digest_header = NULL,
     .default_region = "auto",
     .puts_conditionally = true,
     .completes_conditionally = false,
     .has_multipart = false,
     .has_object_lock = false,
     .names_location = false},
    {.name = "other",
     .signing = AMAZON_SIGNING,
     .header_prefix = "x-amz-",
     .create_only = {"if-none-match", "*"},
     .digest_header = "x-amz-checksum-sha256",
     .default_region = "us-east-1",
     .puts_conditionally = false,
     .completes_conditionally = false,
     .has_multipart = true,
     .has_object_lock = true,
     .names_location = false},
};

static const size_t dialect_count = sizeof dialects / sizeof dialects[0];

static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

static bool
ends_with(const char *text, const char *end)
{
    size_t length = strlen(text);
    size_t end_bytes = strlen(end);
    return length >= end_bytes && strcmp(text + length - end_bytes, end) == 0;
}

static bool
is_amazon(const char *host)
{
    return ends_with(host, ".amazonaws.com") || ends_with(host, ".amazonaws.com.cn");
}

static const fx_s3_dialect *
dialect_named(const char *name)
{
    for (size_t i = 0; i < dialect_count; i++) {
        if (strcmp(dialects[i].name, name) == 0) {
            return &dialects[i];
        }
    }
    return NULL;
}

static const fx_s3_dialect *
dialect_of(const char *host)
{
    if (is_amazon(host)) {
        return dialect_named("aws");
    }
    return dialect_named(ends_with(host, "storage.googleapis.com") ? "gcs" : "other");
}

static fx_code
take_names(const char *path, fx_s3_address *to, fx_err *err)
{
    const char *bucket = path + strspn(path, "/");
    size_t bucket_bytes = strcspn(bucket, "/");
    if (bucket_bytes < 3 || bucket_bytes > FX_S3_BUCKET_MAX_BYTES ||
        strspn(bucket, allowed) < bucket_bytes) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use the address: expected s3:https://HOST/BUCKET/PREFIX or "
            "s3://BUCKET/PREFIX");
    }
    if (!fx_remote_take_prefix(bucket + bucket_bytes, to->prefix, sizeof to->prefix)) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use the address: a prefix has letters, digits, '.', '_', '-' and single "
            "slashes, at most %d bytes",
            FX_S3_PREFIX_MAX_BYTES);
    }
    (void)snprintf(to->bucket, sizeof to->bucket, "%.*s", (int)bucket_bytes, bucket);
    return FX_OK;
}

static fx_code
unknown_value(const char *name, const char *value, fx_err *err)
{
    return fx_fail(
        err, FX_ERR_INVALID, "could not use \"%.40s\" as %s in the address", value, name);
}

static fx_code
take_multipart(const char *query, fx_s3_address *to, fx_err *err)
{
    char value[32];
    to->multipart = to->dialect->has_multipart ? FX_S3_MULTIPART_SAFE : FX_S3_MULTIPART_NEVER;
    if (fx_remote_query_value(query, "multipart", value, sizeof value)) {
        if (strcmp(value, "never") == 0) {
            to->multipart = FX_S3_MULTIPART_NEVER;
        } else if (strcmp(value, "unconditional") == 0) {
            to->multipart = FX_S3_MULTIPART_UNCONDITIONAL;
        } else if (strcmp(value, "safe") != 0) {
            return unknown_value("multipart", value, err);
        }
    }
    to->part_bytes = (size_t)PART_USUAL_MIB * MIB;
    if (fx_remote_query_value(query, "part-mib", value, sizeof value)) {
        char *end = NULL;
        unsigned long mib = strtoul(value, &end, 10);
        if (*end != '\0' || mib < PART_MIN_MIB || mib > PART_MAX_MIB) {
            return unknown_value("part-mib", value, err);
        }
        to->part_bytes = mib * MIB;
    }
    return FX_OK;
}

static fx_code
take_query(const char *query, const char *host, const char *region, fx_s3_address *to, fx_err *err)
{
    char value[32];
    to->dialect = dialect_of(host);
    if (fx_remote_query_value(query, "dialect", value, sizeof value)) {
        to->dialect = dialect_named(value);
        if (to->dialect == NULL) {
            return unknown_value("dialect", value, err);
        }
    }
    if (!fx_remote_query_value(query, "region", to->region, sizeof to->region)) {
        const char *from = region != NULL ? region : to->dialect->default_region;
        (void)snprintf(to->region, sizeof to->region, "%s", from);
    }
    if (to->region[0] == '\0' || strspn(to->region, allowed) < strlen(to->region)) {
        return unknown_value("region", to->region, err);
    }
    return take_multipart(query, to, err);
}

/* A name with a dot has no place in a certificate's wildcard. */
static fx_code
take_style(const char *query, const char *authority, bool usual, fx_s3_address *to, fx_err *err)
{
    char value[32];
    bool is_virtual = usual && strchr(to->bucket, '.') == NULL;
    if (fx_remote_query_value(query, "style", value, sizeof value)) {
        is_virtual = strcmp(value, "virtual") == 0;
        if (!is_virtual && strcmp(value, "path") != 0) {
            return unknown_value("style", value, err);
        }
    }
    if (is_virtual) {
        (void)snprintf(to->host, sizeof to->host, "%s.%s", to->bucket, authority);
        to->base_path[0] = '\0';
    } else {
        (void)snprintf(to->host, sizeof to->host, "%s", authority);
        (void)snprintf(to->base_path, sizeof to->base_path, "/%s", to->bucket);
    }
    return FX_OK;
}

fx_code
fx_s3_address_parse(const char *rest, const char *region, fx_s3_address *out_address, fx_err *err)
{
    char text[2200];
    fx_http_url url;
    fx_s3_address address = {0};
    bool is_short = strncmp(rest, "//", 2) == 0;
    int length = snprintf(
        text, sizeof text, "%s%s", is_short ? "https://s3.amazonaws.com" : "", rest + is_short);
    if (length >= (int)sizeof text) {
        return fx_fail(err, FX_ERR_INVALID, "could not use the address: it is too long");
    }
    if (fx_http_url_parse(text, &url, err) != FX_OK ||
        take_names(url.path, &address, err) != FX_OK ||
        take_query(url.query, url.host, region, &address, err) != FX_OK) {
        return err->code;
    }
    if (strcmp(url.scheme, "https") != 0 && !fx_remote_is_loopback(url.host)) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use the address: http without TLS is for this machine alone; use https");
    }
    if (is_short) {
        (void)snprintf(url.authority, sizeof url.authority, "s3.%s.amazonaws.com", address.region);
    }
    (void)snprintf(address.scheme, sizeof address.scheme, "%s", url.scheme);
    bool is_usual = is_amazon(url.host);
    if (take_style(url.query, url.authority, is_usual, &address, err) != FX_OK) {
        return err->code;
    }
    *out_address = address;
    return FX_OK;
}
