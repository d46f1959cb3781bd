#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "proto/depot_check.h"

static fx_buf packed;
static fx_depot_request request;
static Fortress__Depot__Get get;
static char key[FX_DEPOT_KEY_MAX_BYTES + 2];

static int
begin(void **state)
{
    (void)state;
    fx_buf_init(&packed, FX_DEPOT_MESSAGE_MAX_BYTES);
    fortress__depot__request__init(&request);
    fortress__depot__get__init(&get);
    (void)snprintf(key, sizeof key, "packs/0a/one");
    static char repository[] = "main";
    request.version = FORTRESS__DEPOT__VERSION__VERSION_CURRENT;
    request.repository = repository;
    request.body_case = FORTRESS__DEPOT__REQUEST__BODY_GET;
    request.get = &get;
    get.key = key;
    get.size_bytes = FX_DEPOT_PART_MAX_BYTES;
    return 0;
}

static int
end(void **state)
{
    (void)state;
    fx_buf_free(&packed);
    return 0;
}

static fx_code
unpack_packed(void)
{
    fx_err err;
    FX_AUTO(fx_depot_request) got = NULL;
    fx_buf_clear(&packed);
    assert_int_equal(fx_depot_request_pack(&request, &packed, &err), FX_OK);
    fx_code code = fx_depot_request_unpack(fx_buf_bytes(&packed), &got, &err);
    if (code == FX_OK) {
        assert_string_equal(got->repository, request.repository);
    }
    return code;
}

static void
a_request_comes_back_as_it_was(void **state)
{
    (void)state;
    assert_int_equal(unpack_packed(), FX_OK);
}

static void
every_field_has_its_limit(void **state)
{
    (void)state;
    static char bad_name[] = "../main";
    char *good_name = request.repository;
    get.size_bytes = FX_DEPOT_PART_MAX_BYTES + 1;
    assert_int_equal(unpack_packed(), FX_ERR_INVALID);
    get.size_bytes = 1;
    memset(key, 'a', FX_DEPOT_KEY_MAX_BYTES + 1);
    key[FX_DEPOT_KEY_MAX_BYTES + 1] = '\0';
    assert_int_equal(unpack_packed(), FX_ERR_INVALID);
    key[FX_DEPOT_KEY_MAX_BYTES] = '\0';
    assert_int_equal(unpack_packed(), FX_OK);
    key[3] = '\n';
    assert_int_equal(unpack_packed(), FX_ERR_INVALID);
    key[3] = 'a';
    request.repository = bad_name;
    assert_int_equal(unpack_packed(), FX_ERR_INVALID);
    request.repository = good_name;
    request.version++;
    assert_int_equal(unpack_packed(), FX_ERR_UNSUPPORTED);
    request.version--;
    request.body_case = FORTRESS__DEPOT__REQUEST__BODY__NOT_SET;
    assert_int_equal(unpack_packed(), FX_ERR_INVALID);
}

static void
pages_and_uploads_have_theirs(void **state)
{
    (void)state;
    static char nothing[] = "";
    unsigned char id[FX_DEPOT_UPLOAD_BYTES + 1] = {0};
    Fortress__Depot__List list;
    Fortress__Depot__Commit commit;
    fortress__depot__list__init(&list);
    fortress__depot__commit__init(&commit);
    list.prefix = nothing;
    list.after = nothing;
    request.body_case = FORTRESS__DEPOT__REQUEST__BODY_LIST;
    request.list = &list;
    assert_int_equal(unpack_packed(), FX_ERR_INVALID);
    list.limit = FX_DEPOT_PAGE_MAX;
    assert_int_equal(unpack_packed(), FX_OK);
    list.limit++;
    assert_int_equal(unpack_packed(), FX_ERR_INVALID);
    request.body_case = FORTRESS__DEPOT__REQUEST__BODY_COMMIT;
    request.commit = &commit;
    commit.upload.data = id;
    for (size_t length = 0; length <= sizeof id; length++) {
        commit.upload.len = length;
        assert_int_equal(unpack_packed(), length == FX_DEPOT_UPLOAD_BYTES ? FX_OK : FX_ERR_INVALID);
    }
}

/* 400,000 empty keys are 800 KB of message and some 15 MB of memory. */
static void
a_message_takes_only_so_much_memory(void **state)
{
    (void)state;
    fx_err err;
    FX_AUTO(fx_depot_request) got = NULL;
    Fortress__Depot__Remove remove = FORTRESS__DEPOT__REMOVE__INIT;
    static char nothing[] = "";
    enum { MANY = 400000 };
    char **keys = calloc(MANY, sizeof *keys);
    assert_non_null(keys);
    for (size_t i = 0; i < MANY; i++) {
        keys[i] = nothing;
    }
    remove.keys = keys;
    remove.n_keys = MANY;
    request.body_case = FORTRESS__DEPOT__REQUEST__BODY_REMOVE;
    request.remove = &remove;
    assert_int_equal(fx_depot_request_pack(&request, &packed, &err), FX_OK);
    free(keys);
    assert_int_equal(fx_depot_request_unpack(fx_buf_bytes(&packed), &got, &err), FX_ERR_DAMAGED);
}

static void
bytes_that_are_no_message_are_refused(void **state)
{
    (void)state;
    fx_err err;
    FX_AUTO(fx_depot_request) got = NULL;
    FX_AUTO(fx_depot_reply) reply = NULL;
    unsigned char bytes[64];
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(
        fx_depot_request_unpack((fx_bytes){bytes, sizeof bytes}, &got, &err), FX_ERR_DAMAGED);
    assert_int_equal(
        fx_depot_reply_unpack((fx_bytes){bytes, sizeof bytes}, &reply, &err), FX_ERR_DAMAGED);
    assert_int_equal(
        fx_depot_request_unpack((fx_bytes){bytes, FX_DEPOT_MESSAGE_MAX_BYTES + 1}, &got, &err),
        FX_ERR_LIMIT);
}

static void
tickets_are_complete(void **state)
{
    (void)state;
    fx_err err;
    char *keys[] = {key};
    static char name[] = "depot1";
    static char reason[] = "line\nfeed";
    fx_depot_ticket ticket;
    FX_AUTO(fx_depot_ticket) got = NULL;
    fortress__depot__ticket__init(&ticket);
    ticket.id = name;
    ticket.cluster = name;
    ticket.depot = name;
    ticket.repository = name;
    ticket.reason = reason;
    ticket.issued_wall_ns = 5;
    ticket.expires_wall_ns = 5;
    for (int i = 0; i < 3; i++) {
        fx_buf_clear(&packed);
        assert_int_equal(fx_depot_ticket_pack(&ticket, &packed, &err), FX_OK);
        fx_code code = fx_depot_ticket_unpack(fx_buf_bytes(&packed), &got, &err);
        assert_int_equal(code, i < 2 ? FX_ERR_INVALID : FX_OK);
        ticket.keys = keys; /* the first has none, the second no time */
        ticket.n_keys = 1;
        ticket.expires_wall_ns += i; /* 5, 5, 6 */
    }
    assert_string_equal(got->reason, "line?feed");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_request_comes_back_as_it_was, begin, end),
        cmocka_unit_test_setup_teardown(every_field_has_its_limit, begin, end),
        cmocka_unit_test_setup_teardown(pages_and_uploads_have_theirs, begin, end),
        cmocka_unit_test_setup_teardown(a_message_takes_only_so_much_memory, begin, end),
        cmocka_unit_test_setup_teardown(bytes_that_are_no_message_are_refused, begin, end),
        cmocka_unit_test_setup_teardown(tickets_are_complete, begin, end),
    };
    return cmocka_run_group_tests_name("depot_check", tests, NULL, NULL);
}
