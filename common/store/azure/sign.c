#include "common/store/azure/sign.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/crypto/digest.h"

enum { TEXT_MAX_BYTES = 16 * 1024 };

void
fx_azure_time_format(fx_wall when, char out_time[FX_AZURE_TIME_BYTES])
{
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t seconds = (time_t)(when.ns / 1000000000);
    struct tm parts;
    const struct tm *done = gmtime_r(&seconds, &parts);
    FX_ASSERT(done != NULL);
    int length = snprintf(
        out_time,
        FX_AZURE_TIME_BYTES,
        "%s, %02d %s %04d %02d:%02d:%02d GMT",
        days[parts.tm_wday],
        parts.tm_mday,
        months[parts.tm_mon],
        parts.tm_year + 1900,
        parts.tm_hour,
        parts.tm_min,
        parts.tm_sec);
    FX_ASSERT(length < FX_AZURE_TIME_BYTES);
}

static const char *
value_of(const fx_azure_to_sign *what, const char *name)
{
    for (size_t i = 0; i < what->header_count; i++) {
        if (strcmp(what->headers[i].name, name) == 0) {
            return what->headers[i].value;
        }
    }
    return "";
}

static int
by_name(const void *left, const void *right)
{
    return strcmp(((const fx_remote_pair *)left)->name, ((const fx_remote_pair *)right)->name);
}

static fx_code
append_standard(const fx_azure_to_sign *what, fx_buf *out, fx_err *err)
{
    static const char *const names[] = {
        "content-encoding",
        "content-language",
        "", /* the length */
        "content-md5",
        "content-type",
        "date",
        "if-modified-since",
        "if-match",
        "if-none-match",
        "if-unmodified-since",
        "range"};
    fx_code code = fx_buf_append_format(out, err, "%s\n", what->method);
    for (size_t i = 0; code == FX_OK && i < sizeof names / sizeof names[0]; i++) {
        if (names[i][0] == '\0' && what->content_bytes > 0) {
            code = fx_buf_append_format(out, err, "%zu\n", what->content_bytes);
        } else {
            code = fx_buf_append_format(out, err, "%s\n", value_of(what, names[i]));
        }
    }
    return code;
}

fx_code
fx_azure_text_to_sign(const fx_azure_to_sign *what, fx_buf *out, fx_err *err)
{
    fx_remote_pair pairs[FX_REMOTE_PAIR_MAX];
    fx_code code = append_standard(what, out, err);
    memcpy(pairs, what->headers, sizeof pairs);
    qsort(pairs, what->header_count, sizeof pairs[0], by_name);
    for (size_t i = 0; code == FX_OK && i < what->header_count; i++) {
        if (strncmp(pairs[i].name, "x-ms-", 5) == 0) {
            code = fx_buf_append_format(out, err, "%s:%s\n", pairs[i].name, pairs[i].value);
        }
    }
    if (code == FX_OK) {
        code = fx_buf_append_format(out, err, "/%s%s", what->account, what->path);
    }
    memcpy(pairs, what->query, sizeof pairs);
    qsort(pairs, what->query_count, sizeof pairs[0], by_name);
    for (size_t i = 0; code == FX_OK && i < what->query_count; i++) {
        code = fx_buf_append_format(out, err, "\n%s:%s", pairs[i].name, pairs[i].value);
    }
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "signing a request");
}

fx_code
fx_azure_sign(const fx_secret *key, const fx_azure_to_sign *what, fx_buf *out, fx_err *err)
{
    unsigned char signature[FX_SHA256_BYTES];
    FX_BUF_AUTO text;
    fx_buf_init(&text, TEXT_MAX_BYTES);
    if (fx_azure_text_to_sign(what, &text, err) != FX_OK) {
        return err->code;
    }
    fx_hmac_sha256_once((fx_bytes){key->data, key->size_bytes}, fx_buf_bytes(&text), signature);
    if (fx_buf_append_format(out, err, "SharedKey %s:", what->account) != FX_OK) {
        return err->code;
    }
    return fx_base64_encode((fx_bytes){signature, sizeof signature}, out, err);
}
