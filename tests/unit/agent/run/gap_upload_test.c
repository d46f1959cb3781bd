/* Gaps on their way into a real repository, which cannot be reached at first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/run/gap_upload.h"
#include "common/repository/gap.h"
#include "tests/support/folder.h"

enum { PATH_BYTES = 256, LOOK_MS = 5, GIVE_UP_MS = 20000, BEFORE_MS = 1500 };

static char host[] = "usw2-db1";
static const fx_log silent = {.fd = -1, .min_level = FX_ERROR, .program = "test"};

typedef struct place {
    char folder[64];
    char url[PATH_BYTES];
    char gaps_path[PATH_BYTES];
    fx_config_repository repository;
    fx_agent_config config;
    fx_repository_key *key;
    fx_loop *loop;
    fx_gaps *gaps;
    fx_gap_upload *upload;
    fx_mono give_up;
} place;

static int
begin(void **state)
{
    fx_err err = {0};
    char key_file[PATH_BYTES];
    place *here = calloc(1, sizeof(*here));
    assert_non_null(here);
    (void)snprintf(here->folder, sizeof(here->folder), "/tmp/fx_gap_upload_XXXXXX");
    assert_non_null(mkdtemp(here->folder));
    (void)snprintf(here->url, PATH_BYTES, "posix:%s/repository", here->folder);
    (void)snprintf(here->gaps_path, PATH_BYTES, "%s/gaps", here->folder);
    (void)snprintf(key_file, PATH_BYTES, "%s/key", here->folder);
    assert_int_equal(fx_repository_key_create(key_file, &err), FX_OK);
    assert_int_equal(fx_repository_key_load(key_file, &here->key, &err), FX_OK);
    assert_int_equal(fx_gaps_open(here->gaps_path, &here->gaps, &err), FX_OK);
    here->repository = (fx_config_repository){.url = here->url};
    here->config = (fx_agent_config){.host = host, .repository = &here->repository};
    here->loop = fx_loop_new();
    *state = here;
    return 0;
}

static int
end(void **state)
{
    place *here = *state;
    fx_gap_upload_stop(here->upload);
    fx_loop_free(here->loop);
    fx_gap_upload_free(here->upload);
    fx_gaps_free(here->gaps);
    fx_repository_key_free(here->key);
    int result = test_folder_remove(here->folder);
    free(here);
    return result;
}

static void
add_gap(const place *here)
{
    fx_err err = {0};
    fx_gap gap = {
        .service = fx_name_of("orders-db"),
        .system = "7000000000000000001",
        .timeline = 3,
        .segment_bytes = 1 << 24,
        .from = {0x5000000},
        .to = {0x9000000},
        .since = {.ns = 1000},
        .reason = "slot lost"};
    assert_int_equal(fx_gaps_add(here->gaps, &gap, &err), FX_OK);
}

static void
make_repository(void *ctx)
{
    fx_err err = {0};
    const place *here = ctx;
    assert_int_equal(fx_repository_create(here->url, here->key, &err), FX_OK);
}

static void
stop_when_stored(void *ctx)
{
    const place *here = ctx;
    fx_gap gap;
    if (!fx_gaps_find_unstored(here->gaps, &gap) || fx_loop_now(here->loop).ns > here->give_up.ns) {
        fx_loop_stop(here->loop);
    }
}

static void
a_gap_comes_into_the_repository_once_that_is_there(void **state)
{
    place *here = *state;
    fx_err err = {0};
    fx_gap gap;
    fx_gap_object_list list;
    FX_AUTO(fx_repository) repository = NULL;
    add_gap(here);
    here->upload = fx_gap_upload_open(here->loop, &here->config, here->gaps, &silent);
    here->give_up = fx_mono_after(fx_loop_now(here->loop), FX_DUR_MS(GIVE_UP_MS));
    fx_loop_timer *late =
        fx_loop_timer_start(here->loop, FX_DUR_MS(BEFORE_MS), FX_DUR_MS(0), make_repository, here);
    fx_loop_timer *timer = fx_loop_timer_start(
        here->loop, FX_DUR_MS(LOOK_MS), FX_DUR_MS(LOOK_MS), stop_when_stored, here);
    fx_loop_run(here->loop);
    fx_loop_timer_stop(timer);
    fx_loop_timer_stop(late);
    assert_false(fx_gaps_find_unstored(here->gaps, &gap));
    assert_int_equal(unlink(here->gaps_path), 0); /* the host is lost */
    assert_int_equal(fx_repository_open(here->url, NULL, &repository, &err), FX_OK);
    assert_int_equal(fx_gap_object_list_all(repository, &list, &err), FX_OK);
    assert_int_equal(list.count, 1);
    const fx_gap_object *read = &list.items[0];
    assert_string_equal(read->stream, "wal/7000000000000000001/");
    assert_string_equal(read->service.text, "orders-db");
    assert_string_equal(read->host.text, host);
    assert_string_equal(read->reason, "slot lost");
    assert_int_equal(read->from.value, 0x5000000);
    assert_int_equal(read->to.value, 0x9000000);
    assert_int_equal(read->found.ns, 1000);
    assert_int_equal(read->timeline, 3);
    assert_int_equal(read->segment_bytes, 1 << 24);
    fx_gap_object_list_free(&list);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_gap_comes_into_the_repository_once_that_is_there, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
