/*
 * What servers of S3 and Azure answer: statuses, headers and bodies from the input, in the place of
 * the HTTP door's one call (the linker puts ours there); sleeping before another attempt is left
 * out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/http/http.h"
#include "common/store/s3/s3.h"
#include "common/store/store.h"
#include "tests/fuzz/support/recipe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

enum { CALLS_MAX = 64, GET_BYTES = 4096 };

static recipe answers;
static size_t call_count;

/* ---- the HTTP door
 * ---------------------------------------------------------------------------------- */

/* NOLINTBEGIN(readability-identifier-naming): the linker's --wrap wants these names */
fx_code __wrap_fx_http_call(
    fx_http_client *client,
    const fx_http_request *request,
    fx_mono deadline,
    fx_http_response *out_response,
    fx_buf *body,
    fx_err *err);
void __wrap_fx_clock_sleep(fx_dur length);
/* NOLINTEND(readability-identifier-naming) */

static void
tell_header(const fx_http_request *request, recipe *from)
{
    static const char *const names[] = {
        "ETag",
        "x-amz-bucket-region",
        "x-amz-meta-fortress-put",
        "x-ms-meta-fortressput",
        "x-amz-checksum-sha256",
        "x-ms-error-code",
        "Server",
        "Content-Length",
        "Date",
        "x-ms-has-immutability-policy"};
    char value[512];
    unsigned which = recipe_byte(from);
    fx_bytes text = recipe_take(from, recipe_byte(from));
    (void)snprintf(value, sizeof value, "%.*s", (int)text.size_bytes, (const char *)text.data);
    if (request->on_header != NULL) {
        request->on_header(
            request->header_ctx, names[which % (sizeof names / sizeof *names)], value);
    }
}

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp,readability-identifier-naming):
 * the name that the linker asks for */
fx_code
__wrap_fx_http_call(
    fx_http_client *client,
    const fx_http_request *request,
    fx_mono deadline,
    fx_http_response *out_response,
    fx_buf *body,
    fx_err *err)
{
    static const int statuses[] = {
        200, 200, 200, 200, 404, 403, 206, 416, 400, 409, 412, 503, 500, 429, 301, 501};
    (void)client;
    (void)deadline;
    if (answers.left_bytes == 0 || ++call_count > CALLS_MAX) {
        return fx_fail(err, FX_ERR_DENIED, "could not ask: no more answers");
    }
    unsigned how = recipe_byte(&answers);
    for (unsigned i = 0; i < how >> 4U; i++) {
        tell_header(request, &answers);
    }
    fx_bytes text = recipe_piece(&answers);
    *out_response = (fx_http_response){.status = statuses[how & 15U], .retry_after_s = -1};
    fx_buf *into =
        out_response->status >= 300 && request->refusal_body != NULL ? request->refusal_body : body;
    return fx_buf_append(into, text.data, text.size_bytes, err);
}

void
__wrap_fx_clock_sleep(fx_dur length)
{
    (void)length;
}
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp,readability-identifier-naming)
 */

/* ---- what asks
 * -------------------------------------------------------------------------------------- */

static fx_store *
store_of(unsigned which)
{
    static fx_store *stores[3];
    static const char *const urls[] = {
        "s3:http://127.0.0.1:1/bucket",
        "s3:http://127.0.0.1:1/bucket/p/q",
        "azure:http://127.0.0.1:1/account/container/p"};
    which %= 3;
    if (stores[which] == NULL) {
        fx_err err = {0};
        /* NOLINTBEGIN(concurrency-mt-unsafe): one thread */
        (void)setenv("AWS_ACCESS_KEY_ID", "fuzz", 1);
        (void)setenv("AWS_SECRET_ACCESS_KEY", "fuzz", 1);
        (void)setenv("AWS_REGION", "us-east-1", 1);
        (void)setenv("AZURE_STORAGE_KEY", "ZnV6eg==", 1);
        /* NOLINTEND(concurrency-mt-unsafe) */
        fx_code code = fx_store_open(urls[which], &stores[which], &err);
        FX_ASSERT(code == FX_OK);
    }
    return stores[which];
}

typedef struct listing {
    char last[FX_STORE_KEY_MAX_BYTES + 1];
} listing;

static void
see(listing *to, const char *key)
{
    FX_ASSERT(fx_store_is_key(key));
    FX_ASSERT(strcmp(to->last, key) < 0); /* readers rely on the order */
    (void)snprintf(to->last, sizeof to->last, "%s", key);
}

static void
visit(void *ctx, const char *key, uint64_t size_bytes)
{
    (void)size_bytes;
    see(ctx, key);
}

static void
visit_time(void *ctx, const char *key, fx_wall stored)
{
    FX_ASSERT(stored.ns != 0);
    see(ctx, key);
}

static fx_code
get(fx_store *store, fx_mono deadline, fx_err *err)
{
    FX_BUF_AUTO out;
    fx_buf_init(&out, GET_BYTES);
    fx_code code = fx_store_get(store, "packs/a", 3, GET_BYTES, deadline, &out, err);
    FX_ASSERT(code == FX_OK || out.size_bytes == 0);
    return code;
}

static fx_code
ask(fx_store *store, unsigned what, fx_err *err)
{
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(INT64_C(3600000)));
    uint64_t size_bytes = 0;
    listing seen = {{0}};
    fx_store_examination examination;
    switch (what % 8) {
    case 0:
    case 1:
        return fx_store_list(store, "packs/", deadline, visit, &seen, err);
    case 2:
        return fx_store_list_times(store, "packs/", deadline, visit_time, &seen, err);
    case 3:
        return get(store, deadline, err);
    case 4:
        return fx_store_stat(store, "packs/a", deadline, &size_bytes, err);
    case 5:
        return fx_store_put(store, "packs/a", (fx_bytes){"abc", 3}, deadline, err);
    case 6:
        return fx_store_remove(store, "packs/a", deadline, err);
    default:
        return fx_store_examine(store, deadline, &examination, err);
    }
}

/* As of an upload that has begun: the input as a whole. */
static void
find_text(const uint8_t *data, size_t size_bytes)
{
    fx_err err = {0};
    FX_BUF_AUTO body;
    char text[16];
    fx_buf_init(&body, size_bytes);
    fx_code code = fx_buf_append(&body, data, size_bytes, &err);
    FX_ASSERT(code == FX_OK);
    if (fx_s3_find_text(&body, "InitiateMultipartUploadResult/UploadId", text, sizeof text)) {
        FX_ASSERT(strlen(text) < sizeof text);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    fx_err err = {0};
    find_text(data, size_bytes);
    answers = (recipe){data, size_bytes};
    call_count = 0;
    unsigned how = recipe_byte(&answers);
    fx_code code = ask(store_of(how >> 4U), how, &err);
    FX_ASSERT(code == FX_OK || err.message[0] != '\0');
    return 0;
}
