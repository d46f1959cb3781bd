#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/store/remote/objects.h"

/* What the server answers, one after the other; a status of 0: none, and it may have happened. */
typedef struct reply {
    int status;
    unsigned content_bytes;
    const char *body;
    const char *nonce;
    bool maybe_done;
} reply;

static const reply *replies;
static char asked[1024]; /* "GET /c/p/key?a=1 range: 2;" and so on */

static fx_code
send(
    fx_objects *objects,
    const fx_objects_ask *ask,
    fx_mono deadline,
    fx_buf *body,
    fx_remote_answer *out_answer,
    fx_err *err)
{
    char path[FX_OBJECTS_PATH_BYTES];
    size_t used = strlen(asked);
    (void)deadline;
    fx_objects_write_path(objects, ask, path);
    used += (size_t)snprintf(asked + used, sizeof asked - used, "%s %s", ask->method, path);
    for (size_t i = 0; i < ask->query_count; i++) {
        const fx_remote_pair *pair = &ask->query[i];
        used +=
            (size_t)snprintf(asked + used, sizeof asked - used, "?%s=%s", pair->name, pair->value);
    }
    for (size_t i = 0; i < ask->header_count; i++) {
        const fx_remote_pair *pair = &ask->headers[i];
        used +=
            (size_t)snprintf(asked + used, sizeof asked - used, " %s: %s", pair->name, pair->value);
    }
    (void)snprintf(asked + used, sizeof asked - used, ";");
    const reply *now = replies++;
    if (now->status == 0) {
        return fx_fail_as(err, FX_CLASS_UNKNOWN, FX_ERR_TIMEOUT, "could not ask: no answer");
    }
    *out_answer = (fx_remote_answer){
        .status = now->status,
        .maybe_done = now->maybe_done,
        .content_bytes = now->content_bytes,
        .has_content_bytes = now->content_bytes > 0};
    if (now->nonce != NULL) {
        (void)snprintf(out_answer->nonce, sizeof out_answer->nonce, "%s", now->nonce);
    }
    return now->body == NULL || body == NULL ? FX_OK : fx_buf_append_text(body, now->body, err);
}

static fx_wall
read_time(const char *text)
{
    return (fx_wall){.ns = strcmp(text, "noon") == 0 ? 12 : 0};
}

static const fx_remote_meaning meanings[] = {
    {"", 400, FX_ERR_INVALID, "it is refused"},
    {"", 404, FX_ERR_NOT_FOUND, "it is not there"},
    {"", 409, FX_ERR_CONFLICT, "it is being changed"},
    {"", 412, FX_ERR_EXISTS, "it exists already"},
};

static const fx_objects_service service = {
    .send = send,
    .meanings = meanings,
    .meaning_count = sizeof meanings / sizeof meanings[0],
    .range_header = "range",
    .list =
        {.fixed = {{"list", "1"}},
         .fixed_count = 1,
         .count_parameter = "max",
         .token_parameter = "from",
         .item = "L/O",
         .key = "L/O/K",
         .size = "L/O/S",
         .time = "L/O/T",
         .token = "L/N"},
    .read_time = read_time,
};

static fx_objects objects = {
    .service = &service, .container = "c", .base_path = "/c", .prefix = "p/"};

static fx_mono
soon(void)
{
    return fx_mono_after(fx_clock_mono(), FX_DUR_MS(60000));
}

/* The replies end with one of status 0, which nobody may ask for but where it is meant. */
static void
expect(const reply *list)
{
    replies = list;
    asked[0] = '\0';
}

static void
note_key(void *ctx, const char *key, uint64_t size_bytes)
{
    char *text = ctx;
    (void)snprintf(text + strlen(text), 200 - strlen(text), "%s=%d ", key, (int)size_bytes);
}

static void
note_time(void *ctx, const char *key, fx_wall stored)
{
    note_key(ctx, key, (uint64_t)stored.ns);
}

#define OBJECT(key, size) "<O><K>" key "</K><S>" size "</S></O>"

static void
a_list_goes_on_where_the_page_before_says(void **state)
{
    (void)state;
    fx_err err = {0};
    char text[200] = "";
    const reply list[] = {
        {200, 0, "<L>" OBJECT("p/a", "1") OBJECT("q/b", "2") "<N>t</N></L>", NULL, false},
        {200, 0, "<L>" OBJECT("p/b", "3") "<N></N></L>", NULL, false}};
    expect(list);
    assert_int_equal(fx_objects_list(&objects, "x", soon(), note_key, text, &err), FX_OK);
    assert_string_equal(text, "a=1 b=3 ");
    assert_string_equal(
        asked, "GET /c?list=1?max=1000?prefix=p/x;GET /c?list=1?max=1000?prefix=p/x?from=t;");
}

static void
times_are_listed_where_they_are_told(void **state)
{
    (void)state;
    fx_err err = {0};
    char text[200] = "";
    const reply list[] = {
        {200,
         0,
         "<L><O><K>p/a</K><S>1</S><T>noon</T></O><O><K>p/b</K><S>1</S><T>?</T></O></L>",
         NULL,
         false}};
    expect(list);
    assert_int_equal(fx_objects_list_times(&objects, "", soon(), note_time, text, &err), FX_OK);
    assert_string_equal(text, "a=12 ");
}

/* Who reads a list relies on its order, over pages too. */
static void
a_list_that_lies_is_refused(void **state)
{
    (void)state;
    const reply lists[][2] = {
        {{200, 0, "<L>" OBJECT("p/b", "1") OBJECT("p/a", "1") "</L>", NULL, false}},
        {{200, 0, "<L>" OBJECT("p/a", "many") "</L>", NULL, false}},
        {{200, 0, "<L>" OBJECT("p/b", "1") "<N>t</N></L>", NULL, false},
         {200, 0, "<L>" OBJECT("p/b", "1") "</L>", NULL, false}},
        {{200, 0, "<L><N>t</N></L>", NULL, false}, {200, 0, "<L><N>t</N></L>", NULL, false}}};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        fx_err err = {0};
        char text[200] = "";
        expect(lists[i]);
        assert_int_equal(
            fx_objects_list(&objects, "", soon(), note_key, text, &err), FX_ERR_DAMAGED);
    }
}

static void
a_range_is_asked_for_and_no_more_is_taken(void **state)
{
    (void)state;
    fx_err err = {0};
    FX_BUF_AUTO out;
    fx_buf_init(&out, 64);
    const reply list[] = {
        {206, 0, "cd", NULL, false},
        {416, 0, NULL, NULL, false},
        {200, 0, "abcdef", NULL, false},
        {200, 6, NULL, NULL, false}};
    expect(list);
    assert_int_equal(fx_objects_get(&objects, "k", 2, 2, soon(), &out, &err), FX_OK);
    assert_string_equal(fx_buf_text(&out), "cd");
    assert_int_equal(fx_objects_get(&objects, "k", 9, UINT64_MAX, soon(), &out, &err), FX_OK);
    assert_int_equal(fx_objects_get(&objects, "k", 2, 2, soon(), &out, &err), FX_ERR_UNSUPPORTED);
    assert_int_equal(out.size_bytes, 2);
    assert_int_equal(fx_objects_get(&objects, "k", 0, 0, soon(), &out, &err), FX_OK);
    assert_string_equal(
        asked,
        "GET /c/p/k range: bytes=2-3;GET /c/p/k range: bytes=9-4611686018427387903;"
        "GET /c/p/k range: bytes=2-3;HEAD /c/p/k;");
}

static void
a_put_in_doubt_is_settled_by_the_nonce(void **state)
{
    (void)state;
    const struct {
        reply replies[2];
        fx_code code;
        fx_err_class outcome;
    } cases[] = {
        {{{201, 0, NULL, NULL, false}}, FX_OK, FX_CLASS_PERMANENT},
        {{{412, 0, NULL, NULL, false}}, FX_ERR_EXISTS, FX_CLASS_PERMANENT},
        {{{400, 0, NULL, NULL, false}}, FX_ERR_INVALID, FX_CLASS_PERMANENT},
        {{{412, 0, NULL, NULL, true}, {200, 4, NULL, "ours", false}}, FX_OK, FX_CLASS_PERMANENT},
        {{{0}, {200, 4, NULL, "ours", false}}, FX_OK, FX_CLASS_PERMANENT},
        {{{0}, {200, 3, NULL, "ours", false}}, FX_ERR_DAMAGED, FX_CLASS_PERMANENT},
        {{{0}, {200, 4, NULL, "theirs", false}}, FX_ERR_EXISTS, FX_CLASS_PERMANENT},
        {{{409, 0, NULL, NULL, false}, {200, 4, NULL, "theirs", false}},
         FX_ERR_EXISTS,
         FX_CLASS_PERMANENT},
        {{{0}, {404, 0, NULL, NULL, false}}, FX_ERR_TIMEOUT, FX_CLASS_UNKNOWN},
        {{{0}, {0}}, FX_ERR_TIMEOUT, FX_CLASS_UNKNOWN},
    };
    const fx_objects_put put = {.key = "k", .body = {"body", 4}, .nonce = "ours"};
    const fx_objects_ask ask = {
        .method = "PUT", .key = "k", .body = put.body, .is_change = true, .what = "store"};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fx_err err = {0};
        fx_remote_answer answer;
        expect(cases[i].replies);
        assert_int_equal(
            fx_objects_create(&objects, &put, &ask, soon(), &answer, &err), cases[i].code);
        if (cases[i].code != FX_OK) {
            assert_int_equal(err.outcome, cases[i].outcome);
        }
    }
}

static fx_code
take_part(void *ctx, size_t index, fx_bytes part, fx_mono deadline, fx_err *err)
{
    char *text = ctx;
    size_t used = strlen(text);
    (void)deadline;
    (void)snprintf(
        text + used, 100 - used, "%zu:%.*s ", index, (int)part.size_bytes, (const char *)part.data);
    return index < 2 ? FX_OK
                     : fx_fail_as(err, FX_CLASS_UNKNOWN, FX_ERR_TIMEOUT, "could not: no answer");
}

static void
parts_alone_leave_no_doubt(void **state)
{
    (void)state;
    fx_err err = {0};
    char text[100] = "";
    fx_bytes two = {"abcd", 4};
    fx_bytes three = {"abcde", 5};
    assert_int_equal(fx_objects_send_parts(two, 2, take_part, text, soon(), &err), FX_OK);
    assert_string_equal(text, "0:ab 1:cd ");
    assert_int_equal(
        fx_objects_send_parts(three, 2, take_part, text, soon(), &err), FX_ERR_TIMEOUT);
    assert_int_equal(err.outcome, FX_CLASS_TRANSIENT);
    assert_string_equal(text, "0:ab 1:cd 0:ab 1:cd 2:e ");
}

static void
what_an_attempt_before_removed_counts_as_removed(void **state)
{
    (void)state;
    fx_err err = {0};
    const reply list[] = {{404, 0, NULL, NULL, true}, {404, 0, NULL, NULL, false}};
    expect(list);
    assert_int_equal(fx_objects_remove(&objects, "k", soon(), &err), FX_OK);
    assert_int_equal(fx_objects_remove(&objects, "k", soon(), &err), FX_ERR_NOT_FOUND);
}

static void
a_size_that_is_not_told_is_not_guessed(void **state)
{
    (void)state;
    fx_err err = {0};
    uint64_t size_bytes = 1;
    const reply list[] = {{200, 0, NULL, NULL, false}, {200, 7, NULL, NULL, false}};
    expect(list);
    assert_int_equal(fx_objects_stat(&objects, "k", soon(), &size_bytes, &err), FX_ERR_DAMAGED);
    assert_int_equal(size_bytes, 1);
    assert_int_equal(fx_objects_stat(&objects, "k", soon(), &size_bytes, &err), FX_OK);
    assert_int_equal(size_bytes, 7);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_goes_on_where_the_page_before_says),
        cmocka_unit_test(times_are_listed_where_they_are_told),
        cmocka_unit_test(a_list_that_lies_is_refused),
        cmocka_unit_test(a_range_is_asked_for_and_no_more_is_taken),
        cmocka_unit_test(a_put_in_doubt_is_settled_by_the_nonce),
        cmocka_unit_test(parts_alone_leave_no_doubt),
        cmocka_unit_test(what_an_attempt_before_removed_counts_as_removed),
        cmocka_unit_test(a_size_that_is_not_told_is_not_guessed),
    };
    return cmocka_run_group_tests_name("objects", tests, NULL, NULL);
}
