/* What gaps mean, over a real repository with base backups and segments as far as they matter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/source/postgres/wal_gaps.h"
#include "common/repository/tree.h"
#include "tests/support/folder.h"

enum { PATH_BYTES = 256, SEGMENT_BYTES = 1 << 24 };

#define SYSTEM "7000000000000000001"

/* All that the test stores is stored after this: 2001. */
static const fx_wall long_ago = {.ns = INT64_C(1000000000) * 1000000000};
static const fx_wall far_away = {.ns = INT64_C(4000000000) * 1000000000};

typedef struct place {
    char folder[64];
    fx_repository_key *key;
    fx_repository *repository;
} place;

static int
begin(void **state)
{
    fx_err err = {0};
    char url[PATH_BYTES];
    char key_file[PATH_BYTES];
    place *here = calloc(1, sizeof(*here));
    assert_non_null(here);
    (void)snprintf(here->folder, sizeof(here->folder), "/tmp/fx_wal_gaps_XXXXXX");
    assert_non_null(mkdtemp(here->folder));
    (void)snprintf(url, PATH_BYTES, "posix:%s/repository", here->folder);
    (void)snprintf(key_file, PATH_BYTES, "%s/key", here->folder);
    assert_int_equal(fx_repository_key_create(key_file, &err), FX_OK);
    assert_int_equal(fx_repository_key_load(key_file, &here->key, &err), FX_OK);
    assert_int_equal(fx_repository_create(url, here->key, &err), FX_OK);
    assert_int_equal(fx_repository_open(url, here->key, &here->repository, &err), FX_OK);
    *state = here;
    return 0;
}

static int
end(void **state)
{
    place *here = *state;
    fx_repository_free(here->repository);
    fx_repository_key_free(here->key);
    int result = test_folder_remove(here->folder);
    free(here);
    return result;
}

static fx_base_backup
backup_at(uint64_t segment, int64_t began_ns)
{
    return (fx_base_backup){
        .system = {.identifier = SYSTEM},
        .start = {segment * SEGMENT_BYTES},
        .stop = {segment * SEGMENT_BYTES + 100},
        .start_timeline = 1,
        .stop_timeline = 1,
        .segment_bytes = SEGMENT_BYTES,
        .server_version = 150000,
        .began = {.ns = began_ns},
        .ended = {.ns = began_ns + 1000}};
}

static void
save(const place *here, const fx_base_backup *backup)
{
    fx_err err = {0};
    FX_AUTO(fx_writer) writer = NULL;
    fx_chunk_id root;
    fx_tree tree = {0};
    fx_snapshot snapshot = {
        .host = fx_name_of("db1"),
        .source = "postgres:orders-db",
        .kind = "postgres",
        .began = backup->began,
        .ended = backup->ended};
    assert_int_equal(fx_base_backup_write_note(backup, &snapshot, &err), FX_OK);
    assert_int_equal(fx_writer_open(here->repository, &writer, &err), FX_OK);
    assert_int_equal(fx_tree_write(writer, &tree, &root, &err), FX_OK);
    assert_int_equal(fx_writer_commit(writer, &root, &snapshot, &err), FX_OK);
}

static void
store(const place *here, uint32_t timeline, uint64_t segment)
{
    fx_err err = {0};
    char file[FX_PG_SEGMENT_NAME_BYTES];
    char name[PATH_BYTES];
    fx_pg_segment_name(timeline, segment, SEGMENT_BYTES, file);
    (void)snprintf(name, sizeof(name), "wal/" SYSTEM "/%s", file);
    assert_int_equal(
        fx_repository_put_named(here->repository, name, (fx_bytes){"x", 1}, &err), FX_OK);
}

static void
put_gap(const place *here, uint64_t from, uint64_t to, fx_wall found)
{
    fx_err err = {0};
    const fx_gap_object gap = {
        .stream = "wal/" SYSTEM "/",
        .timeline = 1,
        .segment_bytes = SEGMENT_BYTES,
        .from = {from * SEGMENT_BYTES},
        .to = {to * SEGMENT_BYTES},
        .found = found,
        .service = fx_name_of("orders-db"),
        .host = fx_name_of("db1"),
        .reason = "slot lost"};
    assert_int_equal(fx_gap_object_put(here->repository, &gap, &err), FX_OK);
}

/* Of the only gap. */
static fx_gap_state
state_of_gap(const place *here)
{
    fx_err err = {0};
    fx_snapshot_list snapshots = {0};
    fx_gap_verdicts verdicts = {0};
    size_t unreadable_count = 0;
    assert_int_equal(
        fx_repository_list(here->repository, &snapshots, &unreadable_count, &err), FX_OK);
    assert_int_equal(fx_gaps_judge(here->repository, &snapshots, &verdicts, &err), FX_OK);
    assert_int_equal(verdicts.count, 1);
    fx_gap_state found = verdicts.items[0].state;
    assert_true((found == FX_GAP_COVERED) == (verdicts.items[0].covered_by[0] != '\0'));
    fx_gap_verdicts_free(&verdicts);
    fx_snapshot_list_free(&snapshots);
    return found;
}

static void
a_gap_is_open_until_a_base_backup_from_behind_it_is_there(void **state)
{
    const place *here = *state;
    put_gap(here, 5, 9, (fx_wall){.ns = 5000});
    assert_int_equal(state_of_gap(here), FX_GAP_UNUSED);
    const fx_base_backup before = backup_at(3, 1000);
    save(here, &before);
    assert_int_equal(state_of_gap(here), FX_GAP_OPEN);
    const fx_base_backup inside = backup_at(8, 6000);
    save(here, &inside);
    assert_int_equal(state_of_gap(here), FX_GAP_OPEN);
    const fx_base_backup earlier = backup_at(9, 4999); /* perhaps of another timeline */
    save(here, &earlier);
    assert_int_equal(state_of_gap(here), FX_GAP_OPEN);
    const fx_base_backup behind = backup_at(9, 5000);
    save(here, &behind);
    assert_int_equal(state_of_gap(here), FX_GAP_COVERED);
}

static void
a_gap_is_filled_where_every_segment_is_there_after_all(void **state)
{
    const place *here = *state;
    const fx_base_backup before = backup_at(3, 1000);
    save(here, &before);
    put_gap(here, 5, 8, (fx_wall){.ns = 5000});
    store(here, 1, 4);
    store(here, 1, 5);
    store(here, 2, 5);
    store(here, 2, 7);
    store(here, 2, 8);
    assert_int_equal(state_of_gap(here), FX_GAP_OPEN);
    store(here, 2, 6);
    assert_int_equal(state_of_gap(here), FX_GAP_FILLED);
}

/* Anybody can put such objects. */
static void
absurd_gaps_do_no_harm(void **state)
{
    const place *here = *state;
    fx_err err = {0};
    const fx_base_backup before = backup_at(3, 1000);
    save(here, &before);
    store(here, 1, 4);
    static const uint32_t sizes[] = {0, 1, 3, SEGMENT_BYTES, UINT32_MAX};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        const fx_gap_object gap = {
            .stream = "wal/" SYSTEM "/",
            .segment_bytes = sizes[i],
            .from = {0},
            .to = {UINT64_MAX}};
        const fx_gap_object other = {.stream = "x/", .segment_bytes = sizes[i], .to = {UINT64_MAX}};
        assert_int_equal(fx_gap_object_put(here->repository, &gap, &err), FX_OK);
        assert_int_equal(fx_gap_object_put(here->repository, &other, &err), FX_OK);
    }
    fx_snapshot_list snapshots = {0};
    fx_gap_verdicts verdicts = {0};
    size_t unreadable_count = 0;
    assert_int_equal(
        fx_repository_list(here->repository, &snapshots, &unreadable_count, &err), FX_OK);
    assert_int_equal(fx_gaps_judge(here->repository, &snapshots, &verdicts, &err), FX_OK);
    for (size_t i = 0; i < verdicts.count; i++) {
        bool is_wal = strncmp(verdicts.items[i].gap.stream, "wal/", 4) == 0;
        assert_int_equal(verdicts.items[i].state, is_wal ? FX_GAP_OPEN : FX_GAP_UNUSED);
    }
    assert_int_equal(verdicts.count, 10);
    fx_gap_verdicts_free(&verdicts);
    fx_snapshot_list_free(&snapshots);
    /* They claim to have been found long ago, and WAL is missing, as it always is at the end. */
    fx_gap_question question = {.backup = &before, .target = long_ago};
    assert_int_equal(
        fx_gaps_check_target(here->repository, &question, NULL, &err), FX_ERR_NOT_FOUND);
    question.is_ignored = true;
    assert_int_equal(fx_gaps_check_target(here->repository, &question, NULL, &err), FX_OK);
}

static size_t warning_count;

static void
count_warning(void *ctx, const char *path, const char *reason)
{
    (void)ctx;
    (void)path;
    assert_non_null(strstr(reason, "WAL 0/5000000 to 0/8000000 of orders-db is missing"));
    warning_count++;
}

static fx_code
ask(const place *here, const fx_base_backup *backup, fx_wall target, bool is_ignored, fx_err *err)
{
    const fx_events events = {.warning = count_warning};
    const fx_gap_question question = {.backup = backup, .target = target, .is_ignored = is_ignored};
    warning_count = 0;
    return fx_gaps_check_target(here->repository, &question, &events, err);
}

static void
a_time_behind_a_gap_is_refused(void **state)
{
    const place *here = *state;
    fx_err err = {0};
    const fx_base_backup before = backup_at(3, 1000);
    store(here, 1, 4);
    put_gap(here, 5, 8, far_away);
    store(here, 1, 8);
    assert_int_equal(ask(here, &before, far_away, false, &err), FX_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "WAL 0/5000000 to 0/8000000"));
    assert_int_equal(warning_count, 1);
    assert_int_equal(ask(here, &before, long_ago, false, &err), FX_OK); /* stored is more */
    assert_int_equal(warning_count, 0);
    assert_int_equal(ask(here, &before, far_away, true, &err), FX_OK);
    assert_int_equal(warning_count, 1);
    assert_int_equal(ask(here, &before, (fx_wall){0}, false, &err), FX_OK);
    assert_int_equal(warning_count, 1);
}

/* A tier tells of later times than the first store: then it counts when the gap was found. */
static void
a_time_after_a_gap_was_found_is_refused(void **state)
{
    const place *here = *state;
    fx_err err = {0};
    const fx_base_backup before = backup_at(3, 1000);
    store(here, 1, 4);
    put_gap(here, 5, 8, (fx_wall){.ns = 500000});
    assert_int_equal(ask(here, &before, (fx_wall){.ns = 500001}, false, &err), FX_ERR_NOT_FOUND);
    assert_int_equal(ask(here, &before, (fx_wall){.ns = 500000}, false, &err), FX_OK);
}

static void
a_gap_that_is_not_in_the_way_does_not_matter(void **state)
{
    const place *here = *state;
    fx_err err = {0};
    put_gap(here, 5, 8, (fx_wall){.ns = 500000});
    const fx_base_backup behind = backup_at(8, 1000);
    assert_int_equal(ask(here, &behind, far_away, false, &err), FX_OK);
    const fx_base_backup inside = backup_at(7, 1000); /* it holds its own WAL, to its end */
    assert_int_equal(ask(here, &inside, far_away, false, &err), FX_OK);
    fx_base_backup other = backup_at(3, 1000);
    (void)snprintf(other.system.identifier, sizeof(other.system.identifier), "1");
    assert_int_equal(ask(here, &other, far_away, false, &err), FX_OK);
    const fx_base_backup before = backup_at(3, 1000);
    assert_int_equal(ask(here, &before, far_away, false, &err), FX_ERR_NOT_FOUND);
    for (uint64_t segment = 5; segment < 8; segment++) {
        store(here, 2, segment); /* another host had them */
    }
    assert_int_equal(ask(here, &before, far_away, false, &err), FX_OK);
    assert_int_equal(warning_count, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_gap_is_open_until_a_base_backup_from_behind_it_is_there, begin, end),
        cmocka_unit_test_setup_teardown(
            a_gap_is_filled_where_every_segment_is_there_after_all, begin, end),
        cmocka_unit_test_setup_teardown(absurd_gaps_do_no_harm, begin, end),
        cmocka_unit_test_setup_teardown(a_time_behind_a_gap_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(a_time_after_a_gap_was_found_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(a_gap_that_is_not_in_the_way_does_not_matter, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
