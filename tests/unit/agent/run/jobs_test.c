/* Jobs over a real repository, which holds what an earlier process of the agent saved. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/run/jobs.h"
#include "agent/source/postgres/base_backup.h"
#include "common/repository/tree.h"
#include "tests/support/folder.h"

enum { PATH_BYTES = 256, LOOK_MS = 5, GIVE_UP_MS = 20000 };

static char host[] = "usw2-db1";
static char service[] = "orders-db";
static const fx_log silent = {.fd = -1, .min_level = FX_ERROR, .program = "test"};

typedef struct place {
    char folder[64];
    char url[PATH_BYTES];
    char key_file[PATH_BYTES];
    char gaps_path[PATH_BYTES];
    fx_config_repository repository;
    fx_config_job job; /* runs only when ordered */
    fx_agent_config config;
    fx_loop *loop;
    fx_gaps *gaps;
    fx_jobs *jobs;
    fx_mono give_up;
} place;

static void
open_jobs(place *here)
{
    fx_err err = {0};
    here->repository = (fx_config_repository){.url = here->url, .key_file = here->key_file};
    here->job = (fx_config_job){
        .name = service, .kind = FX_CONFIG_JOB_POSTGRES, .service = service, .interval_s = 0};
    here->config = (fx_agent_config){
        .host = host,
        .state_dir = here->folder,
        .repository = &here->repository,
        .jobs = &here->job,
        .jobs_count = 1};
    assert_int_equal(fx_gaps_open(here->gaps_path, &here->gaps, &err), FX_OK);
    here->loop = fx_loop_new();
}

static int
begin(void **state)
{
    fx_err err = {0};
    place *here = calloc(1, sizeof(*here));
    assert_non_null(here);
    (void)snprintf(here->folder, sizeof(here->folder), "/tmp/fx_jobs_test_XXXXXX");
    assert_non_null(mkdtemp(here->folder));
    (void)snprintf(here->url, PATH_BYTES, "posix:%s/repository", here->folder);
    (void)snprintf(here->key_file, PATH_BYTES, "%s/key", here->folder);
    (void)snprintf(here->gaps_path, PATH_BYTES, "%s/gaps", here->folder);
    FX_AUTO(fx_repository_key) key = NULL;
    assert_int_equal(fx_repository_key_create(here->key_file, &err), FX_OK);
    assert_int_equal(fx_repository_key_load(here->key_file, &key, &err), FX_OK);
    assert_int_equal(fx_repository_create(here->url, key, &err), FX_OK);
    open_jobs(here);
    *state = here;
    return 0;
}

static int
end(void **state)
{
    place *here = *state;
    fx_jobs_stop(here->jobs);
    fx_loop_free(here->loop);
    fx_jobs_free(here->jobs);
    fx_gaps_free(here->gaps);
    int result = test_folder_remove(here->folder);
    free(here);
    return result;
}

/* A base backup as far as a job looks at it: the snapshot with its note, over an empty tree. */
static void
save_base_backup(const place *here, const char *note, uint64_t start, fx_snapshot *out_snapshot)
{
    fx_err err = {0};
    FX_AUTO(fx_repository_key) key = NULL;
    FX_AUTO(fx_repository) repository = NULL;
    FX_AUTO(fx_writer) writer = NULL;
    fx_chunk_id root;
    fx_tree tree = {0};
    assert_int_equal(fx_repository_key_load(here->key_file, &key, &err), FX_OK);
    assert_int_equal(fx_repository_open(here->url, key, &repository, &err), FX_OK);
    assert_int_equal(fx_writer_open(repository, &writer, &err), FX_OK);
    fx_snapshot snapshot = {
        .host = fx_name_of(host),
        .source = "postgres:orders-db",
        .kind = "postgres",
        .began = {.ns = 2000},
        .ended = {.ns = 3000}};
    const fx_base_backup base = {
        .system = {.identifier = "7000000000000000001"},
        .start = {start},
        .stop = {start + 100},
        .start_timeline = 1,
        .stop_timeline = 1,
        .segment_bytes = 16 * 1024 * 1024,
        .server_version = 150000,
        .began = {.ns = 2000},
        .ended = {.ns = 3000}};
    if (fx_base_backup_write_note(&base, &snapshot, &err) != FX_OK) {
        fail_msg("%s", err.message);
    }
    if (note != NULL) {
        (void)snprintf(snapshot.note, sizeof(snapshot.note), "%s", note);
    }
    assert_int_equal(fx_tree_write(writer, &tree, &root, &err), FX_OK);
    if (fx_writer_commit(writer, &root, &snapshot, &err) != FX_OK) {
        fail_msg("%s", err.message);
    }
    *out_snapshot = snapshot;
}

static void
add_gap(const place *here, const char *of, uint64_t from, uint64_t to, int64_t since_ns)
{
    fx_err err = {0};
    fx_gap gap = {
        .service = fx_name_of(of),
        .from = {from},
        .to = {to},
        .since = {.ns = since_ns},
        .reason = "slot lost"};
    assert_int_equal(fx_gaps_add(here->gaps, &gap, &err), FX_OK);
}

static void
stop_when_known(void *ctx)
{
    place *here = ctx;
    fx_snapshot newest;
    if (fx_jobs_newest(here->jobs, 0, &newest) || fx_loop_now(here->loop).ns > here->give_up.ns) {
        fx_loop_stop(here->loop);
    }
}

/* Lets the jobs look up what the repository has. */
static void
look_up(place *here, fx_snapshot *out_newest)
{
    here->jobs = fx_jobs_open(here->loop, &here->config, here->gaps, &silent);
    here->give_up = fx_mono_after(fx_loop_now(here->loop), FX_DUR_MS(GIVE_UP_MS));
    fx_loop_timer *timer = fx_loop_timer_start(
        here->loop, FX_DUR_MS(LOOK_MS), FX_DUR_MS(LOOK_MS), stop_when_known, here);
    fx_loop_run(here->loop);
    fx_loop_timer_stop(timer);
    assert_true(fx_jobs_newest(here->jobs, 0, out_newest));
}

/* The agent may have ended between a base backup and the note that it closes gaps: the next one
 * makes up for it. Only what ends before the backup's start, was known when it began, and is of its
 * service. */
static void
a_completed_base_backup_closes_the_gaps_before_it(void **state)
{
    place *here = *state;
    fx_snapshot saved;
    fx_snapshot newest;
    fx_gap list[FX_GAP_MAX];
    save_base_backup(here, NULL, 0x5000028, &saved);
    add_gap(here, service, 0x1000000, 0x3000000, 1000);
    add_gap(here, service, 0x4000000, 0x6000000, 1000);
    add_gap(here, service, 0x1000000, 0x3000000, 2500);
    add_gap(here, "other", 0x1000000, 0x3000000, 1000);
    look_up(here, &newest);
    assert_string_equal(newest.id, saved.id);
    assert_int_equal(fx_gaps_list(here->gaps, list), 3);
    assert_int_equal(list[0].from.value, 0x4000000);
    assert_int_equal(list[1].since.ns, 2500);
    assert_string_equal(list[2].service.text, "other");
    assert_int_equal(fx_gaps_list_closed(here->gaps, list), 1);
    assert_int_equal(list[0].from.value, 0x1000000);
    assert_string_equal(list[0].closed_by, saved.id);
    assert_true(list[0].closed.ns > 0);
}

static void
a_backup_whose_note_cannot_be_read_closes_nothing(void **state)
{
    place *here = *state;
    fx_snapshot saved;
    fx_snapshot newest;
    fx_gap list[FX_GAP_MAX];
    save_base_backup(here, "{\"start\": 7}", 0x5000028, &saved);
    add_gap(here, service, 0x1000000, 0x3000000, 1000);
    look_up(here, &newest);
    assert_int_equal(fx_gaps_list(here->gaps, list), 1);
    assert_int_equal(fx_gaps_list_closed(here->gaps, list), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_completed_base_backup_closes_the_gaps_before_it, begin, end),
        cmocka_unit_test_setup_teardown(
            a_backup_whose_note_cannot_be_read_closes_nothing, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
