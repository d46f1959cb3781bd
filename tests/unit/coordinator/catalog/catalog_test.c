#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/file.h"
#include "coordinator/catalog/catalog.h"
#include "tests/support/shelf.h"

#define SHELF_URL "posix:/shelf"
#define FIRST_ID  "1111111111111111111111111111111111111111111111111111111111111111"
#define SECOND_ID "2222222222222222222222222222222222222222222222222222222222222222"

typedef struct place {
    char folder[64];
    char path[96];
    fx_catalog *catalog;
} place;

static const fx_catalog_repository repository = {.name = "east", .url = SHELF_URL};

static const fx_snapshot snapshots[] = {
    {.id = FIRST_ID,
     .host = {"usw2-db1"},
     .source = "files:app-data",
     .kind = "files",
     .began = {.ns = 1000},
     .ended = {.ns = 2000},
     .file_count = 3,
     .size_bytes = UINT64_C(5000000000),
     .added_bytes = 100,
     .warning_count = 1,
     .note = "{}"},
    {.id = SECOND_ID,
     .host = {"usw2-db1"},
     .source = "files:app-data",
     .kind = "files",
     .began = {.ns = 3000},
     .added_bytes = 20},
};

static void
open_catalog(place *here)
{
    fx_err err;
    const fx_catalog_options options = {
        .path = here->path, .repositories = &repository, .repository_count = 1};
    if (fx_catalog_open(&options, &here->catalog, &err) != FX_OK) {
        fail_msg("%s", err.message);
    }
}

static void
refresh(place *here)
{
    fx_err err;
    if (fx_catalog_refresh(here->catalog, &err) != FX_OK) {
        fail_msg("%s", err.message);
    }
}

static int
make_place(void **state)
{
    static place here;
    (void)snprintf(here.folder, sizeof here.folder, "/tmp/fx-catalog-XXXXXX");
    assert_non_null(mkdtemp(here.folder));
    (void)snprintf(here.path, sizeof here.path, "%s/catalog.sqlite", here.folder);
    fx_shelf_put(SHELF_URL, snapshots, 2, 0);
    open_catalog(&here);
    *state = &here;
    return 0;
}

static void
remove_files(const place *here)
{
    static const char *const endings[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < 3; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s%s", here->path, endings[i]);
        (void)unlink(path);
    }
}

static int
remove_place(void **state)
{
    place *here = *state;
    fx_catalog_free(here->catalog);
    here->catalog = NULL;
    remove_files(here);
    return rmdir(here->folder);
}

static fx_catalog_list
list_all(const place *here)
{
    fx_err err;
    fx_catalog_list list = {.items = NULL};
    if (fx_catalog_list_snapshots(here->catalog, NULL, NULL, 100, &list, &err) != FX_OK) {
        fail_msg("%s", err.message);
    }
    return list;
}

static size_t
count_all(const place *here)
{
    fx_catalog_list list = list_all(here);
    size_t count = list.count;
    fx_catalog_list_free(&list);
    return count;
}

static void
refresh_reads_the_repository(void **state)
{
    place *here = *state;
    assert_int_equal(count_all(here), 0);
    refresh(here);
    fx_catalog_list list = list_all(here);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.items[0].snapshot.id, SECOND_ID); /* newest first */
    const fx_snapshot *first = &list.items[1].snapshot;
    assert_string_equal(list.items[1].repository.text, "east");
    assert_string_equal(first->host.text, "usw2-db1");
    assert_string_equal(first->note, "{}");
    assert_true(first->size_bytes == UINT64_C(5000000000));
    assert_int_equal(first->warning_count, 1);
    fx_catalog_list_free(&list);
}

static void
sources_tell_how_the_reading_went(void **state)
{
    place *here = *state;
    fx_catalog_source sources[FX_CATALOG_REPOSITORY_MAX];
    size_t count = 0;
    fx_shelf_put(SHELF_URL, snapshots, 2, 5);
    refresh(here);
    fx_catalog_sources(here->catalog, sources, &count);
    assert_int_equal(count, 1);
    assert_true(sources[0].reachable);
    assert_int_equal(sources[0].snapshot_count, 2);
    assert_int_equal(sources[0].unreadable_count, 5);
    assert_int_equal(sources[0].added_bytes, 120);
}

static void
lost_repository_keeps_what_was_known(void **state)
{
    place *here = *state;
    fx_catalog_source sources[FX_CATALOG_REPOSITORY_MAX];
    size_t count = 0;
    refresh(here);
    fx_shelf_lose(SHELF_URL);
    refresh(here);
    assert_int_equal(count_all(here), 2);
    fx_catalog_sources(here->catalog, sources, &count);
    assert_false(sources[0].reachable);
    assert_non_null(strstr(sources[0].error, "could not open repository"));
}

static void
deleted_snapshots_go(void **state)
{
    place *here = *state;
    refresh(here);
    fx_shelf_put(SHELF_URL, snapshots, 1, 0);
    refresh(here);
    assert_int_equal(count_all(here), 1);
}

static void
newest_is_one_a_source(void **state)
{
    place *here = *state;
    fx_err err;
    fx_catalog_list list = {.items = NULL};
    refresh(here);
    assert_int_equal(fx_catalog_list_newest(here->catalog, &list, &err), FX_OK);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.items[0].snapshot.id, SECOND_ID);
    fx_catalog_list_free(&list);
}

static void
list_is_filtered_and_limited(void **state)
{
    place *here = *state;
    fx_err err;
    fx_catalog_list list = {.items = NULL};
    refresh(here);
    assert_int_equal(
        fx_catalog_list_snapshots(here->catalog, "usw2-db1", "files:app-data", 1, &list, &err),
        FX_OK);
    assert_int_equal(list.count, 1);
    fx_catalog_list_free(&list);
    assert_int_equal(
        fx_catalog_list_snapshots(here->catalog, "' OR 1=1 --", NULL, 9, &list, &err), FX_OK);
    assert_int_equal(list.count, 0);
    fx_catalog_list_free(&list);
}

static void
note_is_shown_until_the_repository_tells(void **state)
{
    place *here = *state;
    fx_err err;
    const fx_catalog_note note = {
        .id = FIRST_ID,
        .host = "usw2-db1",
        .source = "files:app-data",
        .kind = "files",
        .taken = {.ns = 1000},
    };
    assert_int_equal(fx_catalog_add_note(here->catalog, &note, &err), FX_OK);
    fx_catalog_list list = list_all(here);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.items[0].repository.text, "");
    fx_catalog_list_free(&list);
    refresh(here);
    assert_int_equal(count_all(here), 2);
    assert_int_equal(fx_catalog_add_note(here->catalog, &note, &err), FX_OK);
    assert_int_equal(count_all(here), 2); /* known already */
}

static void
note_that_no_repository_confirms_goes(void **state)
{
    place *here = *state;
    fx_err err;
    const fx_catalog_note note = {
        .id = "3333", .host = "usw2-db1", .source = "files:other", .kind = "files"};
    assert_int_equal(fx_catalog_add_note(here->catalog, &note, &err), FX_OK);
    refresh(here);
    assert_int_equal(count_all(here), 2);
}

static void
deleted_file_is_made_anew(void **state)
{
    place *here = *state;
    refresh(here);
    remove_files(here);
    refresh(here);
    assert_int_equal(count_all(here), 2);
    assert_int_equal(access(here->path, F_OK), 0);
}

static void
file_that_is_no_database_is_made_anew(void **state)
{
    static const char text[] = "certainly not a database, whatever its name may say about it";
    place *here = *state;
    fx_err err;
    fx_catalog_free(FX_TAKE(here->catalog));
    remove_files(here);
    assert_int_equal(fx_file_replace(here->path, (fx_bytes){text, sizeof text}, 0600, &err), FX_OK);
    open_catalog(here);
    refresh(here);
    assert_int_equal(count_all(here), 2);
}

/* Damage in the middle of the file, behind a header that looks right. */
static void
damaged_pages_are_found_at_the_opening(void **state)
{
    place *here = *state;
    fx_err err;
    refresh(here);
    fx_catalog_free(FX_TAKE(here->catalog)); /* the last connection writes the log into the file */
    FX_BUF_AUTO content;
    fx_buf_init(&content, 1 << 24);
    assert_int_equal(fx_file_read(here->path, &content, &err), FX_OK);
    assert_true(content.size_bytes > 8192);
    memset(content.data + 4096, 0xa5, content.size_bytes - 4096);
    assert_int_equal(fx_file_replace(here->path, fx_buf_bytes(&content), 0600, &err), FX_OK);
    open_catalog(here);
    assert_int_equal(count_all(here), 0);
    refresh(here);
    assert_int_equal(count_all(here), 2);
}

static void
stop_loop(void *ctx)
{
    fx_loop_stop(ctx);
}

static void
refreshes_on_a_loop(void **state)
{
    place *here = *state;
    FX_AUTO(fx_loop) loop = fx_loop_new();
    fx_catalog_start(here->catalog, loop, FX_DUR_MS(3600000));
    (void)fx_loop_timer_start(loop, FX_DUR_MS(50), FX_DUR_MS(0), stop_loop, loop);
    fx_loop_run(loop);
    fx_catalog_stop(here->catalog);
    fx_loop_free(FX_TAKE(loop)); /* waits for the worker */
    assert_int_equal(count_all(here), 2);
}

#define WITH_PLACE(test) cmocka_unit_test_setup_teardown(test, make_place, remove_place)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PLACE(refresh_reads_the_repository),
        WITH_PLACE(sources_tell_how_the_reading_went),
        WITH_PLACE(lost_repository_keeps_what_was_known),
        WITH_PLACE(deleted_snapshots_go),
        WITH_PLACE(newest_is_one_a_source),
        WITH_PLACE(list_is_filtered_and_limited),
        WITH_PLACE(note_is_shown_until_the_repository_tells),
        WITH_PLACE(note_that_no_repository_confirms_goes),
        WITH_PLACE(deleted_file_is_made_anew),
        WITH_PLACE(file_that_is_no_database_is_made_anew),
        WITH_PLACE(damaged_pages_are_found_at_the_opening),
        WITH_PLACE(refreshes_on_a_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
