/*
 * Calls one store and prints what came of it, for tests against servers:
 *   store_tool [--shift-s N] [--deadline-ms N] URL prepare | put KEY TEXT | fill KEY BYTES |
 *              get KEY | stat KEY | list PREFIX | remove KEY
 * "OK …", or "CODE OUTCOME message (context)"; the exit status is 0 for both.
 */
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/store/remote/remote.h"
#include "common/store/store.h"

enum { DEADLINE_USUAL_MS = 60000, BODY_MAX_BYTES = FX_STORE_OBJECT_MAX_BYTES };

typedef struct task {
    fx_store *store;
    const char *verb;
    const char *key;
    const char *text;
    fx_mono deadline;
} task;

static void
print_key(void *ctx, const char *key, uint64_t size_bytes)
{
    (void)ctx;
    (void)printf("%s %llu\n", key, (unsigned long long)size_bytes);
}

static fx_code
fill(const task *t, fx_err *err)
{
    size_t size_bytes = strtoul(t->text, NULL, 10);
    if (size_bytes > BODY_MAX_BYTES) {
        return fx_fail(err, FX_ERR_LIMIT, "could not make an object of %zu bytes", size_bytes);
    }
    unsigned char *body = malloc(size_bytes + 1);
    FX_ASSERT(body != NULL);
    memset(body, 'f', size_bytes);
    fx_code code = fx_store_put(t->store, t->key, (fx_bytes){body, size_bytes}, t->deadline, err);
    free(body);
    return code;
}

static fx_code
get(const task *t, fx_err *err)
{
    FX_BUF_AUTO out;
    fx_buf_init(&out, BODY_MAX_BYTES);
    fx_code code = fx_store_get(t->store, t->key, 0, BODY_MAX_BYTES, t->deadline, &out, err);
    if (code == FX_OK) {
        (void)printf("%.200s\n", fx_buf_text(&out));
    }
    return code;
}

static fx_code
run(const task *t, fx_err *err)
{
    uint64_t size_bytes = 0;
    fx_code code = FX_OK;
    if (strcmp(t->verb, "prepare") == 0) {
        return fx_store_prepare(t->store, err);
    }
    if (strcmp(t->verb, "put") == 0) {
        return fx_store_put(
            t->store, t->key, (fx_bytes){t->text, strlen(t->text)}, t->deadline, err);
    }
    if (strcmp(t->verb, "fill") == 0) {
        return fill(t, err);
    }
    if (strcmp(t->verb, "get") == 0) {
        return get(t, err);
    }
    if (strcmp(t->verb, "list") == 0) {
        return fx_store_list(t->store, t->key, t->deadline, print_key, NULL, err);
    }
    if (strcmp(t->verb, "remove") == 0) {
        return fx_store_remove(t->store, t->key, t->deadline, err);
    }
    if (strcmp(t->verb, "stat") == 0) {
        code = fx_store_stat(t->store, t->key, t->deadline, &size_bytes, err);
        (void)(code == FX_OK && printf("%llu\n", (unsigned long long)size_bytes));
        return code;
    }
    return fx_fail(err, FX_ERR_INVALID, "could not do \"%.20s\": there is no such verb", t->verb);
}

int
main(int argc, char **argv)
{
    static const char *const outcomes[] = {"PERMANENT", "TRANSIENT", "UNKNOWN"};
    int64_t deadline_ms = DEADLINE_USUAL_MS;
    int at = 1;
    for (; at + 1 < argc && strncmp(argv[at], "--", 2) == 0; at += 2) {
        int64_t number = strtoll(argv[at + 1], NULL, 10);
        if (strcmp(argv[at], "--shift-s") == 0) {
            fx_remote_shift_clock((fx_dur){.ns = number * 1000000000});
        } else {
            deadline_ms = number;
        }
    }
    if (argc - at < 2) {
        return 2;
    }
    fx_err err = {0};
    task t = {
        .verb = argv[at + 1],
        .key = argc - at > 2 ? argv[at + 2] : "",
        .text = argc - at > 3 ? argv[at + 3] : "",
        .deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(deadline_ms))};
    fx_code code = fx_store_open(argv[at], &t.store, &err);
    if (code == FX_OK) {
        code = run(&t, &err);
    }
    fx_store_free(t.store);
    if (code == FX_OK) {
        (void)puts("OK");
    } else {
        (void)printf(
            "%s %s %s (%s)\n", fx_code_name(code), outcomes[err.outcome], err.message, err.context);
    }
    return 0;
}
