#include "common/store/s3/sign.h"

#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/hex.h"
#include "common/crypto/digest.h"
#include "common/http/http.h"

enum { CANONICAL_MAX_BYTES = 32 * 1024, HEX_BYTES = FX_SHA256_BYTES * 2 + 1, DAY_BYTES = 8 };

void
fx_s3_time_format(fx_wall when, char out_time[FX_S3_TIME_BYTES])
{
    char text[FX_WALL_TEXT_BYTES]; /* 2026-11-23T01:02:03.456Z */
    size_t used = 0;
    fx_wall_format(when, text);
    for (const char *at = text; *at != '\0' && *at != '.'; at++) {
        if (*at != '-' && *at != ':') {
            FX_ASSERT(used < FX_S3_TIME_BYTES - 2);
            out_time[used++] = *at;
        }
    }
    FX_ASSERT(used == FX_S3_TIME_BYTES - 2);
    out_time[used++] = 'Z';
    out_time[used] = '\0';
}

static int
by_name(const void *left, const void *right)
{
    return strcmp(((const fx_remote_pair *)left)->name, ((const fx_remote_pair *)right)->name);
}

fx_code
fx_s3_build_query(fx_remote_pair *pairs, size_t count, fx_buf *out, fx_err *err)
{
    qsort(pairs, count, sizeof *pairs, by_name);
    for (size_t i = 0; i < count; i++) {
        if ((i > 0 && fx_buf_append_text(out, "&", err) != FX_OK) ||
            fx_http_escape(pairs[i].name, out, err) != FX_OK ||
            fx_buf_append_text(out, "=", err) != FX_OK ||
            fx_http_escape(pairs[i].value, out, err) != FX_OK) {
            return err->code;
        }
    }
    return FX_OK;
}

static fx_code
append_names(const fx_remote_pair *headers, size_t count, fx_buf *out, fx_err *err)
{
    for (size_t i = 0; i < count; i++) {
        if (fx_buf_append_format(out, err, "%s%s", i > 0 ? ";" : "", headers[i].name) != FX_OK) {
            return err->code;
        }
    }
    return FX_OK;
}

/* The request as both sides write it down, to be digested. */
static fx_code
append_canonical(const fx_s3_to_sign *what, const fx_remote_pair *headers, fx_buf *out, fx_err *err)
{
    if (fx_buf_append_format(out, err, "%s\n%s\n%s\n", what->method, what->path, what->query) !=
        FX_OK) {
        return err->code;
    }
    for (size_t i = 0; i < what->header_count; i++) {
        if (fx_buf_append_format(out, err, "%s:%s\n", headers[i].name, headers[i].value) != FX_OK) {
            return err->code;
        }
    }
    if (fx_buf_append_text(out, "\n", err) != FX_OK ||
        append_names(headers, what->header_count, out, err) != FX_OK ||
        fx_buf_append_format(out, err, "\n%s", what->payload_digest) != FX_OK) {
        return err->code;
    }
    return FX_OK;
}

/* HMAC(HMAC(HMAC(HMAC(prefix + secret, day), region), service), terminator) */
static void
derive_key(const fx_s3_signer *signer, const char *day, unsigned char key[FX_SHA256_BYTES])
{
    const fx_s3_signing *signing = signer->signing;
    const char *const steps[] = {signer->region, signing->service, signing->terminator};
    const fx_secret *secret_key = signer->secret_key;
    size_t prefix_bytes = strlen(signing->key_prefix);
    size_t size_bytes = prefix_bytes + secret_key->size_bytes;
    unsigned char *first = malloc(size_bytes + 1);
    FX_ASSERT(first != NULL);
    memcpy(first, signing->key_prefix, prefix_bytes);
    memcpy(first + prefix_bytes, secret_key->data, secret_key->size_bytes);
    fx_hmac_sha256_once((fx_bytes){first, size_bytes}, (fx_bytes){day, DAY_BYTES}, key);
    fx_wipe(first, size_bytes);
    free(first);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        unsigned char next[FX_SHA256_BYTES];
        fx_hmac_sha256_once(
            (fx_bytes){key, FX_SHA256_BYTES}, (fx_bytes){steps[i], strlen(steps[i])}, next);
        memcpy(key, next, sizeof next);
        fx_wipe(next, sizeof next);
    }
}

/* The digest of the canonical request, in hexadecimal. */
static fx_code
digest_request(
    const fx_s3_to_sign *what, const fx_remote_pair *headers, char out_hex[HEX_BYTES], fx_err *err)
{
    unsigned char digest[FX_SHA256_BYTES];
    FX_BUF_AUTO text;
    fx_buf_init(&text, CANONICAL_MAX_BYTES);
    fx_code code = append_canonical(what, headers, &text, err);
    if (code == FX_OK) {
        fx_sha256(fx_buf_bytes(&text), digest);
        fx_hex_encode((fx_bytes){digest, sizeof digest}, out_hex);
    }
    if (text.size_bytes > 0) {
        fx_wipe(text.data, text.size_bytes); /* a session token is among the headers */
    }
    return code;
}

static fx_code
sign_sorted(
    const fx_s3_signer *signer,
    const fx_s3_to_sign *what,
    const fx_remote_pair *headers,
    const char *time,
    fx_buf *out,
    fx_err *err)
{
    const fx_s3_signing *signing = signer->signing;
    unsigned char bytes[FX_SHA256_BYTES];
    char hex[HEX_BYTES];
    char scope[160];
    (void)snprintf(
        scope,
        sizeof scope,
        "%.*s/%s/%s/%s",
        DAY_BYTES,
        time,
        signer->region,
        signing->service,
        signing->terminator);
    FX_BUF_AUTO text;
    fx_buf_init(&text, CANONICAL_MAX_BYTES);
    if (digest_request(what, headers, hex, err) != FX_OK ||
        fx_buf_append_format(&text, err, "%s\n%s\n%s\n%s", signing->algorithm, time, scope, hex) !=
            FX_OK) {
        return err->code;
    }
    derive_key(signer, time, bytes);
    fx_hmac_sha256_once((fx_bytes){bytes, sizeof bytes}, fx_buf_bytes(&text), bytes);
    fx_hex_encode((fx_bytes){bytes, sizeof bytes}, hex);
    fx_wipe(bytes, sizeof bytes);
    if (fx_buf_append_format(
            out,
            err,
            "%s Credential=%s/%s, SignedHeaders=",
            signing->algorithm,
            signer->access_key,
            scope) != FX_OK ||
        append_names(headers, what->header_count, out, err) != FX_OK) {
        return err->code;
    }
    return fx_buf_append_format(out, err, ", Signature=%s", hex);
}

fx_code
fx_s3_sign(
    const fx_s3_signer *signer,
    const fx_s3_to_sign *what,
    const char time[FX_S3_TIME_BYTES],
    fx_buf *out,
    fx_err *err)
{
    FX_ASSERT(what->header_count <= FX_S3_SIGNED_HEADER_MAX);
    fx_remote_pair headers[FX_S3_SIGNED_HEADER_MAX];
    memcpy(headers, what->headers, sizeof headers);
    qsort(headers, what->header_count, sizeof headers[0], by_name);
    if (sign_sorted(signer, what, headers, time, out, err) != FX_OK) {
        return fx_err_wrap(err, "signing a request");
    }
    return FX_OK;
}
