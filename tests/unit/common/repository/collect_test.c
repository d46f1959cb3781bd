#include "tests/unit/common/repository/collecting.h"

#include "common/repository/key.h"
#include "common/store/store.h"

#include <sys/wait.h>

static void
nothing_is_left_of_a_forgotten_snapshot(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    fx_snapshot first;
    fx_snapshot second;
    fx_collect_report report = {0};
    new_repository(url);
    assert_int_equal(backup(url, 1, &first, &err), FX_OK);
    assert_int_equal(backup(url, 2, &second, &err), FX_OK);
    assert_int_equal(collect(url, &at_once, &report, &err), FX_OK);
    assert_int_equal(report.removed_pack_count, 0);
    assert_int_equal(forget(url, first.id, &err), FX_OK);

    fx_collect_options dry = at_once;
    dry.dry_run = true;
    assert_int_equal(collect(url, &dry, &report, &err), FX_OK);
    assert_int_equal(report.removed_pack_count, 1);
    assert_int_equal(count_objects(url, "/packs/"), 2);

    /* Two of the first pack's four chunks are needed by the second snapshot too: written anew. */
    assert_int_equal(collect(url, &at_once, &report, &err), FX_OK);
    assert_int_equal(report.removed_pack_count, 1);
    assert_int_equal(report.rewritten_chunk_count, 2);
    assert_int_equal(restore(url, second.id, 2, &err), FX_OK);
    expect_whole(url, 1);
    assert_int_equal(forget(url, second.id, &err), FX_OK);
    assert_int_equal(collect(url, &at_once, &report, &err), FX_OK);
    assert_int_equal(count_objects(url, "/packs/"), 0);
    assert_int_equal(count_objects(url, "/indexes/"), 0);
    assert_int_equal(count_objects(url, "/marks/"), 0);
    assert_int_equal(count_objects(url, "/leases/"), 0);
    expect_whole(url, 0);
}

/* A writer tells trees from data by it, and keeps them in packs of their own. */
static void
a_tree_that_is_written_anew_stays_a_tree(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    fx_chunk_id waste;
    fx_chunk_id root;
    fx_chunk_form form;
    fx_collect_report report = {0};
    FX_BUF_AUTO content;
    fx_buf_init(&content, FX_CHUNK_MAX_BYTES);
    new_repository(url);
    {
        FX_AUTO(fx_repository) repository = NULL;
        FX_AUTO(fx_writer) writer = NULL;
        fx_node node = {.kind = FX_NODE_FOLDER, .name = (char[]){"folder"}, .mode = 0755};
        fx_tree empty = {0};
        fx_tree tree = {&node, 1};
        fx_snapshot snapshot = {
            .host = fx_name_of("db1"), .source = "files:test", .kind = "files", .note = "{}"};
        unsigned char noise[8192];
        fx_rng rng;
        fx_rng_init(&rng, 7);
        for (size_t i = 0; i < sizeof noise; i++) {
            noise[i] = (unsigned char)fx_rng_next(&rng);
        }
        assert_int_equal(open_repository(url, &repository, &err), FX_OK);
        assert_int_equal(fx_writer_open(repository, &writer, &err), FX_OK);
        for (size_t i = 0; i < 4; i++) {
            fx_bytes piece = {noise + i * 2048, 2048};
            assert_int_equal(
                fx_writer_add_chunk(writer, FX_CHUNK_TREE, piece, &waste, &err), FX_OK);
        }
        assert_int_equal(fx_tree_write(writer, &empty, &node.subtree, &err), FX_OK);
        assert_int_equal(fx_tree_write(writer, &tree, &root, &err), FX_OK);
        assert_int_equal(fx_writer_commit(writer, &root, &snapshot, &err), FX_OK);
    }
    assert_int_equal(collect(url, &at_once, &report, &err), FX_OK);
    assert_int_equal(report.removed_pack_count, 1);
    assert_int_equal(report.rewritten_chunk_count, 2);
    FX_AUTO(fx_repository) repository = NULL;
    assert_int_equal(open_repository(url, &repository, &err), FX_OK);
    const fx_chunks chunks = fx_repository_own_chunks(repository);
    assert_int_equal(fx_repository_read_stored(&chunks, &root, &form, &content, &err), FX_OK);
    assert_int_equal(form.kind, FX_CHUNK_TREE);
    expect_whole(url, 1);
}

/* A snapshot of one file whose content is said to be that chunk. */
static void
claim_content(const char *url, const fx_chunk_id *chunk)
{
    fx_err err = {0};
    FX_AUTO(fx_repository) repository = NULL;
    FX_AUTO(fx_writer) writer = NULL;
    fx_chunk_id root;
    fx_extent extent = {.size_bytes = 100, .chunk = *chunk};
    fx_node node = {
        .kind = FX_NODE_FILE,
        .name = (char[]){"file"},
        .size_bytes = extent.size_bytes,
        .extents = &extent,
        .extent_count = 1};
    fx_tree tree = {&node, 1};
    fx_snapshot snapshot = {
        .host = fx_name_of("db2"), .source = "files:test", .kind = "files", .note = "{}"};
    assert_int_equal(open_repository(url, &repository, &err), FX_OK);
    assert_int_equal(fx_writer_open(repository, &writer, &err), FX_OK);
    assert_int_equal(fx_tree_write(writer, &tree, &root, &err), FX_OK);
    assert_int_equal(fx_writer_commit(writer, &root, &snapshot, &err), FX_OK);
}

/* As who can only write may do, who sees the ids of others' trees in the packs' directories: what a
 * tree needs is needed, wherever else its own chunk is named. */
static void
a_tree_that_is_named_as_content_is_still_walked(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    fx_snapshot first;
    fx_collect_report report = {0};
    new_repository(url);
    assert_int_equal(backup(url, 1, &first, &err), FX_OK);
    FX_AUTO(fx_repository) repository = NULL;
    fx_root root;
    assert_int_equal(open_repository(url, &repository, &err), FX_OK);
    assert_int_equal(fx_repository_snapshot_root(repository, first.id, &root, &err), FX_OK);
    claim_content(url, &root.id);
    assert_int_equal(collect(url, &at_once, &report, &err), FX_OK);
    assert_int_equal(report.removed_pack_count, 0);
    assert_int_equal(restore(url, first.id, 1, &err), FX_OK);
}

/* Its pack may be there, and an index object that lies may hide what it holds. */
static void
a_needed_chunk_that_no_pack_has_stops_it(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    fx_collect_report report = {0};
    fx_snapshot first;
    new_repository(url);
    assert_int_equal(backup(url, 1, &first, &err), FX_OK);
    assert_int_equal(forget(url, first.id, &err), FX_OK);
    const fx_chunk_id nowhere = {{1, 2, 3}};
    claim_content(url, &nowhere);
    assert_int_equal(collect(url, &at_once, &report, &err), FX_ERR_DAMAGED);
    assert_non_null(strstr(err.message, "needs 1 chunks that are in no pack"));
    assert_int_equal(report.removed_pack_count, 0);
}

/* What a broken-off backup left, and a pack whose index is gone. */
static void
orphans_go_and_lost_indexes_come_back(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    char cut_url[URL_BYTES + 32];
    fx_snapshot snapshot;
    fx_snapshot none;
    fx_collect_report report = {0};
    new_url(url);
    (void)snprintf(cut_url, sizeof cut_url, "fault:lose:3:%s", url); /* lease, pack, index */
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    assert_int_equal(backup(url, 1, &snapshot, &err), FX_OK);
    assert_int_not_equal(backup(cut_url, 2, &none, &err), FX_OK);
    assert_int_equal(count_objects(url, "/packs/"), 2);
    assert_int_equal(unlink(object_at(url, "/indexes/")), 0);
    fx_collect_options revoking = at_once;
    revoking.revoke = true; /* the lease that was cut off is of this process, which lives */
    assert_int_equal(collect(url, &revoking, &report, &err), FX_OK);
    assert_int_equal(report.removed_pack_count, 1);
    assert_int_equal(restore(url, snapshot.id, 1, &err), FX_OK);
    expect_whole(url, 1);
}

static void
a_snapshot_that_cannot_be_read_stops_it(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    fx_snapshot snapshot;
    fx_collect_report report = {0};
    new_repository(url);
    assert_int_equal(backup(url, 1, &snapshot, &err), FX_OK);
    assert_int_equal(unlink(object_at(url, "/packs/")), 0);
    assert_int_not_equal(collect(url, &at_once, &report, &err), FX_OK);
    assert_non_null(strstr(err.context, "reading all of snapshot"));
    assert_int_equal(count_objects(url, "/snapshots/"), 1);
    assert_int_equal(count_objects(url, "/indexes/"), 1);
}

/* In a process of its own, which is gone afterwards. */
static bool
collect_in_child(const char *url, const fx_collect_options *options)
{
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        fx_err err = {0};
        fx_collect_report report = {0};
        _exit(collect(url, options, &report, &err) == FX_OK ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status) == 0;
}

/* Cuts a collection at each of its writes in turn. */
static void
power_loss_takes_nothing_that_is_needed(void **state)
{
    (void)state;
    static const char *const kinds[] = {"lose", "doubt"};
    for (size_t kind = 0; kind < 2; kind++) {
        bool is_through = false;
        for (int cut = 1; !is_through; cut += 1 + (int)kind) {
            fx_err err = {0};
            char url[URL_BYTES];
            char cut_url[URL_BYTES + 32];
            fx_snapshot snapshots[4];
            fx_collect_report report = {0};
            fx_collect_options revoking = at_once;
            revoking.revoke = true;
            new_url(url);
            (void)snprintf(cut_url, sizeof cut_url, "fault:%s:%d:%s", kinds[kind], cut, url);
            assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
            for (int version = 1; version < 4; version++) {
                assert_int_equal(backup(url, version, &snapshots[version], &err), FX_OK);
            }
            assert_int_equal(forget(url, snapshots[1].id, &err), FX_OK);
            assert_int_equal(forget(url, snapshots[2].id, &err), FX_OK);
            is_through = collect_in_child(cut_url, &revoking) && cut > 8;
            assert_int_equal(restore(url, snapshots[3].id, 3, &err), FX_OK);
            assert_int_equal(backup(url, 4, &snapshots[0], &err), FX_OK);
            assert_int_equal(collect(url, &revoking, &report, &err), FX_OK);
            assert_int_equal(restore(url, snapshots[3].id, 3, &err), FX_OK);
            assert_int_equal(restore(url, snapshots[0].id, 4, &err), FX_OK);
            expect_whole(url, 2);
            assert_int_equal(count_objects(url, "/marks/"), 0);
            assert_true(cut < 40);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_left_of_a_forgotten_snapshot),
        cmocka_unit_test(a_tree_that_is_written_anew_stays_a_tree),
        cmocka_unit_test(a_tree_that_is_named_as_content_is_still_walked),
        cmocka_unit_test(a_needed_chunk_that_no_pack_has_stops_it),
        cmocka_unit_test(orphans_go_and_lost_indexes_come_back),
        cmocka_unit_test(a_snapshot_that_cannot_be_read_stops_it),
        cmocka_unit_test(power_loss_takes_nothing_that_is_needed),
    };
    return cmocka_run_group_tests_name("collect", tests, make_folder, remove_folder);
}
