/*
 * What every store keeps. Each test runs against every driver; the fault driver here never fails.
 * With arguments it runs against the stores at these URLs alone: of servers that a test has
 * started.
 */
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/store/fault/fault.h"

static char folder[] = "/tmp/fx_store_test_XXXXXX";
static const char *const local[] = {"fake:", "posix:", "fault:lose:1000000:posix:", ""};
static const char *const *schemes = local;
static size_t scheme_count = sizeof local / sizeof local[0];
static bool is_remote;
static bool is_weak;  /* the store that is being tried */
static bool is_kept;  /* it removes only what it was permitted to before the test */
static char base[64]; /* what keeps this run apart from others on a server */
static int serial;
static const fx_mono never = {.ns = INT64_MAX};

/* "SCHEME…/NUMBER", before a query; or the number in place of "{}". */
static void
make_url(const char *scheme, int number, char out_url[512])
{
    if (strcmp(scheme, "fake:") == 0) {
        (void)snprintf(out_url, 512, "%s", scheme);
        return;
    }
    const char *place = strstr(scheme, "{}");
    if (place != NULL) {
        (void)snprintf(out_url, 512, "%.*s%d%s", (int)(place - scheme), scheme, number, place + 2);
        return;
    }
    const char *query = strchr(scheme, '?');
    int length = query == NULL ? (int)strlen(scheme) : (int)(query - scheme);
    (void)snprintf(
        out_url,
        512,
        "%.*s%s/%d%s",
        length,
        scheme,
        is_remote ? base : folder,
        number,
        query == NULL ? "" : query);
}

static fx_store *
open_new(const char *scheme)
{
    fx_err err = {0};
    char url[512];
    is_weak = strncmp(scheme, "weak=", 5) == 0;
    is_kept = strncmp(scheme, "kept=", 5) == 0;
    scheme += is_weak || is_kept ? 5 : 0;
    make_url(scheme, serial++, url);
    fx_store *store = NULL;
    if (fx_store_open(url, &store, &err) != FX_OK || fx_store_prepare(store, &err) != FX_OK) {
        fail_msg("%s: %s", url, err.message);
    }
    assert_int_equal(fx_store_prepare(store, &err), FX_OK);
    return store;
}

static fx_bytes
text(const char *value)
{
    return (fx_bytes){value, strlen(value)};
}

static void
assert_content(fx_store *store, const char *key, const char *expected)
{
    fx_err err = {0};
    FX_BUF_AUTO out;
    fx_buf_init(&out, 1000);
    assert_int_equal(fx_store_get(store, key, 0, 1000, never, &out, &err), FX_OK);
    assert_string_equal(fx_buf_text(&out), expected);
}

static void
check_put_get(fx_store *store)
{
    fx_err err = {0};
    assert_int_equal(fx_store_put(store, "a/b/c", text("one"), never, &err), FX_OK);
    assert_int_equal(fx_store_put(store, "a/b/c", text("two"), never, &err), FX_ERR_EXISTS);
    assert_int_equal(err.outcome, FX_CLASS_PERMANENT);
    assert_content(store, "a/b/c", "one");
    assert_int_equal(fx_store_put(store, "empty", text(""), never, &err), FX_OK);
    assert_content(store, "empty", "");
    uint64_t size_bytes = 99;
    assert_int_equal(fx_store_stat(store, "empty", never, &size_bytes, &err), FX_OK);
    assert_int_equal(size_bytes, 0);
    assert_int_equal(fx_store_stat(store, "a/b/c", never, &size_bytes, &err), FX_OK);
    assert_int_equal(size_bytes, 3);
}

static void
check_ranges(fx_store *store)
{
    fx_err err = {0};
    assert_int_equal(fx_store_put(store, "digits", text("0123456789"), never, &err), FX_OK);
    FX_BUF_AUTO out;
    fx_buf_init(&out, 6);
    assert_int_equal(fx_store_get(store, "digits", 2, 3, never, &out, &err), FX_OK);
    assert_string_equal(fx_buf_text(&out), "234");
    assert_int_equal(fx_store_get(store, "digits", 8, 100, never, &out, &err), FX_OK);
    assert_string_equal(fx_buf_text(&out), "23489");
    assert_int_equal(fx_store_get(store, "digits", 10, 5, never, &out, &err), FX_OK);
    assert_int_equal(fx_store_get(store, "digits", UINT64_MAX, 5, never, &out, &err), FX_OK);
    assert_string_equal(fx_buf_text(&out), "23489");
    assert_int_equal(fx_store_get(store, "digits", 0, 2, never, &out, &err), FX_ERR_LIMIT);
}

static void
check_absent(fx_store *store)
{
    fx_err err = {0};
    FX_BUF_AUTO out;
    fx_buf_init(&out, 10);
    uint64_t size_bytes = 0;
    assert_int_equal(fx_store_get(store, "no", 0, 5, never, &out, &err), FX_ERR_NOT_FOUND);
    assert_int_equal(fx_store_get(store, "no/no", 0, 5, never, &out, &err), FX_ERR_NOT_FOUND);
    assert_int_equal(fx_store_stat(store, "no", never, &size_bytes, &err), FX_ERR_NOT_FOUND);
    assert_int_equal(fx_store_remove(store, "no", never, &err), FX_ERR_NOT_FOUND);
}

static void
check_keys(fx_store *store)
{
    static const char *const bad[] = {
        "", "/a", "a/", "a//b", "../a", "a/../b", "a b", ".a", "a/.b"};
    fx_err err = {0};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(fx_store_put(store, bad[i], text("x"), never, &err), FX_ERR_INVALID);
    }
    char longest[FX_STORE_KEY_MAX_BYTES + 2];
    memset(longest, 'a', sizeof longest);
    for (size_t i = 100; i < sizeof longest; i += 101) {
        longest[i] = '/';
    }
    longest[FX_STORE_KEY_MAX_BYTES + 1] = '\0';
    assert_int_equal(fx_store_put(store, longest, text("x"), never, &err), FX_ERR_INVALID);
    longest[FX_STORE_KEY_MAX_BYTES] = '\0';
    assert_int_equal(fx_store_put(store, longest, text("x"), never, &err), FX_OK);
}

static void
collect(void *ctx, const char *key, uint64_t size_bytes)
{
    char *seen = ctx;
    size_t used = strlen(seen);
    (void)snprintf(seen + used, 300 - used, "%s=%d ", key, (int)size_bytes);
}

static void
assert_list(fx_store *store, const char *prefix, const char *expected)
{
    fx_err err = {0};
    char seen[300] = "";
    assert_int_equal(fx_store_list(store, prefix, never, collect, seen, &err), FX_OK);
    assert_string_equal(seen, expected);
}

static void
note_time(void *ctx, const char *key, fx_wall stored)
{
    collect(ctx, key, 0);
    int64_t age_ns = fx_clock_wall().ns - stored.ns;
    assert_true(age_ns > -INT64_C(60000000000) && age_ns < INT64_C(600000000000));
}

/* When each was stored, as far as the store tells. */
static void
assert_times(fx_store *store, const char *prefix, const char *expected)
{
    fx_err err = {0};
    char seen[300] = "";
    assert_int_equal(fx_store_list_times(store, prefix, never, note_time, seen, &err), FX_OK);
    assert_string_equal(seen, fx_store_can(store, FX_STORE_TELLS_TIMES) ? expected : "");
}

static void
check_list(fx_store *store)
{
    fx_err err = {0};
    static const char *const keys[] = {"p/b", "p/a/2", "p/a/1", "p/a-b", "q", "p/ab", "p/a.c"};
    assert_list(store, "", "");
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        assert_int_equal(fx_store_put(store, keys[i], text("x"), never, &err), FX_OK);
        char expected[64];
        (void)snprintf(expected, sizeof expected, "%s=1 ", keys[i]);
        char seen[300] = "";
        assert_int_equal(fx_store_list(store, keys[i], never, collect, seen, &err), FX_OK);
        assert_non_null(strstr(seen, expected)); /* every list sees the put before it */
    }
    assert_list(store, "", "p/a-b=1 p/a.c=1 p/a/1=1 p/a/2=1 p/ab=1 p/b=1 q=1 ");
    assert_list(store, "p/a/", "p/a/1=1 p/a/2=1 ");
    assert_times(store, "p/a/", "p/a/1=0 p/a/2=0 ");
    assert_list(store, "p/a", "p/a-b=1 p/a.c=1 p/a/1=1 p/a/2=1 p/ab=1 ");
    assert_list(store, "none", "");
    assert_int_equal(fx_store_remove(store, "p/a/1", never, &err), FX_OK);
    assert_list(store, "p/a/", "p/a/2=1 ");
    assert_int_equal(fx_store_put(store, "p/a/1", text("new"), never, &err), FX_OK);
    assert_list(store, "p/a/", "p/a/1=3 p/a/2=1 ");
}

static void
check_large(fx_store *store)
{
    fx_err err = {0};
    size_t size_bytes = 20 * 1024 * 1024 + 7;
    unsigned char *data = malloc(size_bytes);
    assert_non_null(data);
    for (size_t i = 0; i < size_bytes; i++) {
        data[i] = (unsigned char)(i * 2654435761U >> 13);
    }
    assert_int_equal(
        fx_store_put(store, "large", (fx_bytes){data, size_bytes}, never, &err), FX_OK);
    FX_BUF_AUTO out;
    fx_buf_init(&out, size_bytes);
    assert_int_equal(fx_store_get(store, "large", 0, size_bytes, never, &out, &err), FX_OK);
    assert_int_equal(out.size_bytes, size_bytes);
    assert_memory_equal(out.data, data, size_bytes);
    free(data);
}

enum { RIVALS = 8 };

typedef struct rival {
    fx_store *store;
    char body[32];
    fx_code code;
} rival;

static void *
put_one(void *ctx)
{
    rival *self = ctx;
    fx_err err = {0};
    self->code = fx_store_put(self->store, "prize", text(self->body), never, &err);
    return NULL;
}

/* Of several that put one key at once exactly one wins, and its bytes are there. */
static void
check_rivals(fx_store *store)
{
    rival rivals[RIVALS];
    pthread_t threads[RIVALS];
    const char *winner = NULL;
    if (is_weak) {
        return;
    }
    for (size_t i = 0; i < RIVALS; i++) {
        rivals[i] = (rival){.store = store};
        (void)snprintf(rivals[i].body, sizeof rivals[i].body, "of rival %zu", i);
        assert_int_equal(pthread_create(&threads[i], NULL, put_one, &rivals[i]), 0);
    }
    for (size_t i = 0; i < RIVALS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        if (rivals[i].code == FX_OK) {
            assert_null(winner);
            winner = rivals[i].body;
        } else {
            assert_int_equal(rivals[i].code, FX_ERR_EXISTS);
        }
    }
    assert_non_null(winner);
    assert_content(store, "prize", winner);
}

enum { HANDS = 4 };

static int many_objects = 100; /* servers get more than a page of any of them */

typedef struct hand {
    fx_store *store;
    int first;
    int failed_count;
} hand;

static void *
put_quarter(void *ctx)
{
    hand *self = ctx;
    fx_err err = {0};
    for (int i = self->first; i < many_objects; i += HANDS) {
        char key[32];
        (void)snprintf(key, sizeof key, "many/%04d", i);
        self->failed_count += fx_store_put(self->store, key, text(key), never, &err) != FX_OK;
    }
    return NULL;
}

static void
count_in_order(void *ctx, const char *key, uint64_t size_bytes)
{
    int *next = ctx;
    char expected[32];
    (void)snprintf(expected, sizeof expected, "many/%04d", *next);
    assert_string_equal(key, expected);
    assert_int_equal(size_bytes, strlen(expected));
    (*next)++;
}

static void
check_many(fx_store *store)
{
    fx_err err = {0};
    hand hands[HANDS];
    pthread_t threads[HANDS];
    for (int i = 0; i < HANDS; i++) {
        hands[i] = (hand){.store = store, .first = i};
        assert_int_equal(pthread_create(&threads[i], NULL, put_quarter, &hands[i]), 0);
    }
    for (size_t i = 0; i < HANDS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(hands[i].failed_count, 0);
    }
    int next = 0;
    assert_int_equal(fx_store_list(store, "many/", never, count_in_order, &next, &err), FX_OK);
    assert_int_equal(next, many_objects);
}

/* Nothing is begun after the deadline, and nothing of it is there later. */
static void
check_deadline(fx_store *store)
{
    fx_err err = {0};
    const fx_mono past = {.ns = 1};
    uint64_t size_bytes = 0;
    FX_BUF_AUTO out;
    fx_buf_init(&out, 100);
    assert_int_equal(fx_store_put(store, "late", text("x"), past, &err), FX_ERR_TIMEOUT);
    assert_int_equal(err.outcome, FX_CLASS_TRANSIENT);
    assert_int_equal(fx_store_get(store, "late", 0, 1, past, &out, &err), FX_ERR_TIMEOUT);
    assert_int_equal(fx_store_stat(store, "late", past, &size_bytes, &err), FX_ERR_TIMEOUT);
    assert_int_equal(fx_store_list(store, "", past, collect, NULL, &err), FX_ERR_TIMEOUT);
    assert_int_equal(fx_store_remove(store, "late", past, &err), FX_ERR_TIMEOUT);
    assert_int_equal(fx_store_stat(store, "late", never, &size_bytes, &err), FX_ERR_NOT_FOUND);
}

static void
check_append(fx_store *store)
{
    fx_err err = {0};
    const char *key = "wal/1";
    if (!fx_store_can(store, FX_STORE_CAN_APPEND)) {
        assert_int_equal(
            fx_store_append(store, key, 0, text("x"), never, &err), FX_ERR_UNSUPPORTED);
        return;
    }
    assert_int_equal(fx_store_append(store, key, 3, text("x"), never, &err), FX_ERR_NOT_FOUND);
    assert_int_equal(fx_store_append(store, key, 0, text("one"), never, &err), FX_OK);
    assert_int_equal(fx_store_append(store, key, 0, text("one"), never, &err), FX_ERR_CONFLICT);
    assert_int_equal(fx_store_append(store, key, 4, text("x"), never, &err), FX_ERR_CONFLICT);
    assert_int_equal(fx_store_append(store, key, 3, text("two"), never, &err), FX_OK);
    assert_int_equal(fx_store_append(store, key, 6, text(""), never, &err), FX_OK);
    assert_content(store, key, "onetwo");
    assert_list(store, "wal/", "wal/1=6 ");
    assert_int_equal(fx_store_put(store, key, text("x"), never, &err), FX_ERR_EXISTS);
    assert_int_equal(fx_store_put(store, "whole", text("all"), never, &err), FX_OK);
    assert_int_equal(fx_store_append(store, "whole", 3, text("x"), never, &err), FX_ERR_EXISTS);
    assert_content(store, "whole", "all");
}

/* SHA-256 of "abc": FIPS 180-2, appendix B.1. */
static void
check_digest(fx_store *store)
{
    static const unsigned char of_abc[FX_STORE_DIGEST_BYTES] = {
        0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
        0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
        0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    fx_err err = {0};
    unsigned char digest[FX_STORE_DIGEST_BYTES];
    assert_int_equal(fx_store_put(store, "digest", text("abc"), never, &err), FX_OK);
    if (!fx_store_can(store, FX_STORE_CAN_DIGEST)) {
        assert_int_equal(fx_store_digest(store, "digest", never, digest, &err), FX_ERR_UNSUPPORTED);
        return;
    }
    assert_int_equal(fx_store_digest(store, "digest", never, digest, &err), FX_OK);
    assert_memory_equal(digest, of_abc, sizeof digest);
    assert_int_equal(fx_store_digest(store, "absent", never, digest, &err), FX_ERR_NOT_FOUND);
}

static void
check_retention(fx_store *store)
{
    fx_err err = {0};
    fx_store_retention hour = {.until = {fx_clock_wall().ns + INT64_C(3600000000000)}};
    if (!fx_store_can(store, FX_STORE_CAN_RETAIN)) {
        assert_int_equal(
            fx_store_put_retained(store, "kept", text("x"), &hour, never, &err),
            FX_ERR_UNSUPPORTED);
        return;
    }
    fx_code code = fx_store_put_retained(store, "kept", text("x"), &hour, never, &err);
    if (is_remote && code == FX_ERR_UNSUPPORTED) { /* a bucket without Object Lock */
        return;
    }
    assert_int_equal(code, FX_OK);
    assert_int_equal(
        fx_store_put_retained(store, "kept", text("y"), &hour, never, &err), FX_ERR_EXISTS);
    hour.until.ns += INT64_C(3600000000000);
    assert_int_equal(fx_store_retain(store, "kept", &hour, never, &err), FX_OK);
    assert_int_equal(fx_store_retain(store, "none", &hour, never, &err), FX_ERR_NOT_FOUND);
    assert_content(store, "kept", "x");
}

static void
check_examination(fx_store *store)
{
    fx_err err = {0};
    fx_store_examination found = {0};
    fx_mono soon = fx_mono_after(fx_clock_mono(), FX_DUR_MS(20000));
    if (fx_store_examine(store, soon, &found, &err) != FX_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(found.can_put, FX_STORE_YES);
    assert_int_equal(found.can_get, FX_STORE_YES);
    assert_int_equal(found.can_list, FX_STORE_YES);
    assert_int_equal(found.can_remove, is_kept ? FX_STORE_NO : FX_STORE_YES);
    assert_int_equal(found.refuses_replacement, is_weak ? FX_STORE_NO : FX_STORE_YES);
    assert_int_equal(found.lists_consistently, FX_STORE_YES);
    assert_int_equal(
        found.can_append, fx_store_can(store, FX_STORE_CAN_APPEND) ? FX_STORE_YES : FX_STORE_NO);
    if (!is_kept) {
        assert_list(store, "", ""); /* it leaves nothing */
    }
}

typedef struct check_case {
    const char *name;
    void (*run)(fx_store *store);
} check_case;

static void
every_driver_keeps_the_contract(void **state)
{
    (void)state;
    static const check_case checks[] = {
        {"put and get", check_put_get},
        {"digest", check_digest},
        {"ranges", check_ranges},
        {"absent", check_absent},
        {"keys", check_keys},
        {"list", check_list},
        {"large", check_large},
        {"rivals", check_rivals},
        {"many", check_many},
        {"deadline", check_deadline},
        {"append", check_append},
        {"retention", check_retention},
        {"examination", check_examination},
    };
    for (size_t i = 0; i < scheme_count; i++) {
        for (size_t j = 0; j < sizeof checks / sizeof checks[0]; j++) {
            fx_mono began = fx_clock_mono();
            fx_store *store = open_new(schemes[i]);
            checks[j].run(store);
            fx_store_free(store);
            print_message(
                "           %s %s: %lld ms\n",
                schemes[i][0] == '\0' ? "path" : schemes[i],
                checks[j].name,
                (long long)fx_dur_ms(fx_mono_since(fx_clock_mono(), began)));
        }
    }
}

static void
unknown_schemes_are_refused(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_store *store = NULL;
    assert_int_equal(fx_store_open("", &store, &err), FX_ERR_INVALID);
    assert_int_equal(fx_store_open("s4:bucket", &store, &err), FX_ERR_INVALID);
    assert_int_equal(fx_store_open("fault:x", &store, &err), FX_ERR_INVALID);
    assert_null(store);
}

/* A link planted in the folder leads nowhere. */
static void
posix_follows_no_symbolic_link(void **state)
{
    (void)state;
    fx_err err = {0};
    char path[96];
    fx_store *store = open_new("posix:");
    (void)snprintf(path, sizeof path, "%s/%d/packs", folder, serial - 1);
    assert_int_equal(symlink("/etc", path), 0);
    FX_BUF_AUTO out;
    fx_buf_init(&out, 100000);
    assert_int_not_equal(fx_store_get(store, "packs/passwd", 0, 10, never, &out, &err), FX_OK);
    assert_int_not_equal(fx_store_put(store, "packs/x", text("x"), never, &err), FX_OK);
    assert_list(store, "", "");
    fx_store_free(store);
}

enum { MANY = 300 };

typedef struct putter {
    const char *url;
    const char *name;
    int failed_count;
} putter;

static void *
put_many(void *ctx)
{
    putter *self = ctx;
    fx_err err = {0};
    fx_store *store = NULL;
    self->failed_count = fx_store_open(self->url, &store, &err) != FX_OK;
    for (int i = 0; self->failed_count == 0 && i < MANY; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "%s/%d", self->name, i);
        self->failed_count += fx_store_put(store, key, text(key), never, &err) != FX_OK;
    }
    fx_store_free(store);
    return NULL;
}

/* An agent stores WAL and a backup at the same time, each through a store of its own. */
static void
two_stores_of_one_folder_do_not_disturb_each_other(void **state)
{
    (void)state;
    char url[96];
    (void)snprintf(url, sizeof url, "posix:%s/%d", folder, serial);
    fx_store *store = open_new("posix:");
    putter both[] = {{.url = url, .name = "one"}, {.url = url, .name = "two"}};
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, put_many, &both[i]), 0);
    }
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(both[i].failed_count, 0);
        for (int j = 0; j < MANY; j++) {
            char key[32];
            (void)snprintf(key, sizeof key, "%s/%d", both[i].name, j);
            assert_content(store, key, key);
        }
    }
    fx_store_free(store);
}

/* Power failed after the link and before the temporary went: tmp/ still names the object. */
static void
what_a_crash_leaves_in_tmp_is_never_written_to(void **state)
{
    (void)state;
    fx_err err = {0};
    char from[128];
    char left[128];
    char url[96];
    (void)snprintf(url, sizeof url, "posix:%s/%d", folder, serial);
    fx_store *store = open_new("posix:");
    assert_int_equal(fx_store_put(store, "a", text("acknowledged"), never, &err), FX_OK);
    fx_store_free(store);
    (void)snprintf(from, sizeof from, "%s/a", url + strlen("posix:"));
    (void)snprintf(left, sizeof left, "%s/tmp/%d-0", url + strlen("posix:"), (int)getpid());
    assert_int_equal(link(from, left), 0);

    assert_int_equal(fx_store_open(url, &store, &err), FX_OK);
    assert_int_equal(fx_store_put(store, "b", text("next"), never, &err), FX_OK);

    assert_content(store, "a", "acknowledged");
    fx_store_free(store);
}

static void
faults_come_where_they_are_asked_for(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_store *store = open_new("fault:lose:2:posix:");
    assert_int_equal(fx_store_put(store, "a", text("x"), never, &err), FX_OK);
    assert_int_equal(fx_store_put(store, "b", text("x"), never, &err), FX_ERR_UNREACHABLE);
    uint64_t size_bytes = 0;
    assert_int_equal(fx_store_stat(store, "a", never, &size_bytes, &err), FX_ERR_UNREACHABLE);
    fx_store_free(store);
    assert_int_equal(fx_store_fault_changes(), 2);

    store = open_new("fault:doubt:1:posix:");
    assert_int_equal(fx_store_put(store, "a", text("x"), never, &err), FX_ERR_TIMEOUT);
    assert_int_equal(err.outcome, FX_CLASS_UNKNOWN);
    fx_store_free(store);
    char url[96];
    (void)snprintf(url, sizeof url, "%s/%d", folder, serial - 1);
    assert_int_equal(fx_store_open(url, &store, &err), FX_OK);
    assert_content(store, "a", "x"); /* it happened all the same */
    fx_store_free(store);
}

static int
make_folder(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_store *store = NULL;
    /* A mistyped configuration must not keep backups in memory. */
    if (fx_store_open("fake:", &store, &err) != FX_ERR_INVALID) {
        return -1;
    }
    fx_store_allow_test_drivers();
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int
remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

static int
remove_folder(void **state)
{
    (void)state;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread */
    return nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_driver_keeps_the_contract),
        cmocka_unit_test(unknown_schemes_are_refused),
        cmocka_unit_test(posix_follows_no_symbolic_link),
        cmocka_unit_test(two_stores_of_one_folder_do_not_disturb_each_other),
        cmocka_unit_test(what_a_crash_leaves_in_tmp_is_never_written_to),
        cmocka_unit_test(faults_come_where_they_are_asked_for),
    };
    const struct CMUnitTest remote_tests[] = {
        cmocka_unit_test(every_driver_keeps_the_contract),
    };
    if (argc > 1) {
        is_remote = true;
        many_objects = 1100;
        (void)snprintf(base, sizeof base, "/run-%d", (int)getpid());
        const char **given = calloc((size_t)argc, sizeof *given);
        FX_ASSERT(given != NULL);
        for (int i = 1; i < argc; i++) {
            given[i - 1] = argv[i];
        }
        schemes = given;
        scheme_count = (size_t)argc - 1;
        int failed_count = cmocka_run_group_tests_name("remote store", remote_tests, NULL, NULL);
        free(given);
        return failed_count;
    }
    return cmocka_run_group_tests_name("store", tests, make_folder, remove_folder);
}
