#include "tests/unit/common/repository/engine.h"

#include <sys/wait.h>

#include "common/base/hex.h"
#include "common/repository/collect.h"
#include "common/repository/internal.h"
#include "common/repository/lease.h"
#include "common/store/store.h"

static const fx_collect_options at_once = {.live_percent = 60};

static fx_code
forget(const char *url, const char *id, fx_err *err)
{
    FX_AUTO(fx_repository) repository = NULL;
    if (fx_repository_open(url, key, &repository, err) != FX_OK) {
        return err->code;
    }
    return fx_repository_forget(repository, id, err);
}

static fx_code
collect(
    const char *url, const fx_collect_options *options, fx_collect_report *out_report, fx_err *err)
{
    return fx_repository_collect(url, key, options, out_report, err);
}

static size_t
count_objects(const char *url, const char *part)
{
    size_t count = 0;
    object_count = 0;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread */
    assert_int_equal(nftw(url + strlen("posix:"), note_object, 16, FTW_PHYS), 0);
    for (size_t i = 0; i < object_count; i++) {
        count += strstr(objects[i], part) != NULL;
    }
    return count;
}

static void
expect_whole(const char *url, size_t snapshot_count)
{
    fx_err err = {0};
    fx_verify_report report = {0};
    assert_int_equal(verify(url, true, &report, &err), FX_OK);
    assert_int_equal(report.snapshot_count, snapshot_count);
}

static void
nothing_is_left_of_a_forgotten_snapshot(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    fx_snapshot first;
    fx_snapshot second;
    fx_collect_report report = {0};
    new_url(url);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
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
    fx_chunk_kind kind = FX_CHUNK_DATA;
    fx_collect_report report = {0};
    FX_BUF_AUTO content;
    fx_buf_init(&content, FX_CHUNK_MAX_BYTES);
    new_url(url);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
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
    assert_int_equal(fx_repository_read_stored(repository, &root, &kind, &content, &err), FX_OK);
    assert_int_equal(kind, FX_CHUNK_TREE);
    expect_whole(url, 1);
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

static fx_code
write_one(fx_writer *writer, int index, int version, fx_chunk_id *out_id, fx_err *err)
{
    FX_BUF_AUTO content;
    content_of(index, version, &content);
    return fx_writer_add_chunk(writer, FX_CHUNK_DATA, fx_buf_bytes(&content), out_id, err);
}

/* It may count on what is about to go. */
static void
a_writer_at_work_is_waited_for_or_revoked(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    fx_snapshot first;
    fx_snapshot second = {.host = fx_name_of("db1"), .source = "files:test", .kind = "files"};
    fx_collect_report report = {0};
    fx_chunk_id root;
    new_url(url);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    assert_int_equal(backup(url, 1, &first, &err), FX_OK);
    FX_AUTO(fx_repository) repository = NULL;
    FX_AUTO(fx_writer) writer = NULL;
    assert_int_equal(fx_repository_open(url, key, &repository, &err), FX_OK);
    assert_int_equal(fx_writer_open(repository, &writer, &err), FX_OK);
    assert_int_equal(forget(url, first.id, &err), FX_OK);
    assert_int_equal(write_one(writer, 0, 1, &root, &err), FX_OK);

    assert_int_equal(collect(url, &at_once, &report, &err), FX_ERR_BUSY);
    assert_non_null(strstr(err.message, "a writer of host"));
    assert_int_equal(count_objects(url, "/packs/"), 1);
    assert_int_equal(count_objects(url, "/marks/"), 0);

    fx_collect_options revoking = at_once;
    revoking.revoke = true;
    assert_int_equal(collect(url, &revoking, &report, &err), FX_OK);
    assert_int_equal(report.revoked_count, 1);
    assert_int_equal(report.removed_pack_count, 1);
    assert_int_equal(fx_writer_commit(writer, &root, &second, &err), FX_ERR_STALE);
    assert_int_equal(count_objects(url, "/snapshots/"), 0);
    expect_whole(url, 0);
}

/* The mark was there before its lease: it must not count on marked packs. */
static void
a_writer_that_sees_a_mark_stores_what_is_marked_again(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    fx_snapshot first;
    fx_snapshot second;
    new_url(url);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    assert_int_equal(backup(url, 1, &first, &err), FX_OK);
    fx_id_set packs = {0};
    fx_chunk_id name;
    const char *hex = strrchr(object_at(url, "/packs/"), '/') + 1;
    assert_int_equal(fx_hex_decode(hex, name.bytes, sizeof name.bytes, &err), FX_OK);
    (void)fx_id_set_add(&packs, &name);
    FX_AUTO(fx_store) store = NULL;
    assert_int_equal(fx_store_open(url, &store, &err), FX_OK);
    assert_int_equal(fx_mark_put(store, "0-mark", &packs, &err), FX_OK);
    fx_id_set_free(&packs);
    assert_int_equal(backup(url, 1, &second, &err), FX_OK);
    assert_true(second.added_bytes > UINT64_C(2) * 24000);
    assert_int_equal(fx_mark_remove(store, "0-mark", &err), FX_OK);
}

/* Its snapshot came after all was settled: it must not be taken for one. */
static void
a_late_snapshot_of_a_revoked_writer_is_void(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    fx_snapshot first;
    fx_id_set none = {0};
    fx_snapshot_list list;
    fx_collect_report report = {0};
    size_t unreadable_count = 0;
    new_url(url);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    assert_int_equal(backup(url, 1, &first, &err), FX_OK);
    FX_AUTO(fx_repository) repository = NULL;
    FX_AUTO(fx_store) store = NULL;
    assert_int_equal(fx_store_open(url, &store, &err), FX_OK);
    assert_int_equal(fx_repository_open(url, key, &repository, &err), FX_OK);
    assert_int_equal(fx_repository_list(repository, &list, &unreadable_count, &err), FX_OK);
    assert_int_equal(list.count, 1);
    assert_int_equal(fx_lease_settle(store, list.items[0].lease, &none, &err), FX_OK);
    fx_snapshot_list_free(&list);
    assert_int_equal(fx_repository_list(repository, &list, &unreadable_count, &err), FX_OK);
    assert_int_equal(list.count, 0);
    fx_snapshot_list_free(&list);
    assert_int_equal(collect(url, &at_once, &report, &err), FX_OK);
    assert_int_equal(report.void_snapshot_count, 1);
    assert_int_equal(count_objects(url, "/packs/"), 0);
    assert_int_equal(count_objects(url, "/snapshots/"), 0);
}

/* What it stored was removed, and then its index object came: nobody may count on that. */
static void
a_late_index_of_a_revoked_writer_is_not_believed(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    char name[FX_STORE_KEY_MAX_BYTES];
    fx_snapshot snapshot;
    fx_collect_report report = {0};
    fx_chunk_id id;
    FX_BUF_AUTO late;
    fx_buf_init(&late, 1 << 20);
    new_url(url);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    FX_AUTO(fx_repository) repository = NULL;
    FX_AUTO(fx_writer) writer = NULL;
    FX_AUTO(fx_store) store = NULL;
    assert_int_equal(fx_store_open(url, &store, &err), FX_OK);
    assert_int_equal(fx_repository_open(url, key, &repository, &err), FX_OK);
    assert_int_equal(fx_writer_open(repository, &writer, &err), FX_OK);
    for (int i = 0; i < FILES; i++) {
        assert_int_equal(write_one(writer, i, 1, &id, &err), FX_OK);
    }
    assert_int_equal(fx_writer_flush(writer, &err), FX_OK);
    const char *path = object_at(url, "/indexes/");
    assert_int_equal(fx_file_read(path, &late, &err), FX_OK);
    (void)snprintf(name, sizeof name, "indexes/%s", strrchr(path, '/') + 1);
    fx_collect_options revoking = at_once;
    revoking.revoke = true;
    assert_int_equal(collect(url, &revoking, &report, &err), FX_OK);
    assert_int_equal(report.removed_pack_count, 1);
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(10000));
    assert_int_equal(fx_store_put(store, name, fx_buf_bytes(&late), deadline, &err), FX_OK);

    assert_int_equal(backup(url, 1, &snapshot, &err), FX_OK);
    assert_int_equal(restore(url, snapshot.id, 1, &err), FX_OK);
    assert_int_equal(collect(url, &revoking, &report, &err), FX_OK);
    assert_int_equal(report.removed_pack_count, 0);
    assert_int_equal(count_objects(url, "/indexes/"), 1);
    assert_int_equal(restore(url, snapshot.id, 1, &err), FX_OK);
    expect_whole(url, 1);
}

/* A put of its may still be on its way: from the settlement on, it counts no more. */
static void
a_writer_that_is_gone_is_revoked_and_settled(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    int status = 0;
    fx_snapshot snapshots[2];
    fx_collect_report report = {0};
    new_url(url);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    assert_int_equal(backup(url, 1, &snapshots[0], &err), FX_OK);
    assert_int_equal(backup(url, 2, &snapshots[1], &err), FX_OK);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        fx_repository *repository = NULL;
        fx_writer *writer = NULL;
        _exit(
            fx_repository_open(url, key, &repository, &err) == FX_OK &&
                    fx_writer_open(repository, &writer, &err) == FX_OK
                ? 0
                : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(forget(url, snapshots[0].id, &err), FX_OK);
    assert_int_equal(collect(url, &at_once, &report, &err), FX_OK);
    assert_int_equal(count_objects(url, "/revocations/"), 1);
    assert_int_equal(count_objects(url, "/settled/"), 1);
    assert_int_equal(count_objects(url, "/leases/"), 0);
    expect_whole(url, 1);
}

/* It revoked itself and took its lease away: its snapshot counts if the collector saw it. */
static void
a_revoked_writer_without_a_lease_is_settled(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    fx_snapshot snapshots[2];
    fx_snapshot_list list;
    fx_collect_report report = {0};
    size_t unreadable_count = 0;
    new_url(url);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    assert_int_equal(backup(url, 1, &snapshots[0], &err), FX_OK);
    assert_int_equal(backup(url, 2, &snapshots[1], &err), FX_OK);
    FX_AUTO(fx_repository) repository = NULL;
    FX_AUTO(fx_store) store = NULL;
    assert_int_equal(fx_store_open(url, &store, &err), FX_OK);
    assert_int_equal(fx_repository_open(url, key, &repository, &err), FX_OK);
    assert_int_equal(fx_repository_list(repository, &list, &unreadable_count, &err), FX_OK);
    assert_int_equal(list.count, 2);
    for (size_t i = 0; i < list.count; i++) {
        assert_int_equal(fx_lease_revoke(store, list.items[i].lease, &err), FX_OK);
    }
    fx_snapshot_list_free(&list);
    assert_int_equal(forget(url, snapshots[0].id, &err), FX_OK);
    assert_int_equal(collect(url, &at_once, &report, &err), FX_OK);
    assert_int_equal(count_objects(url, "/settled/"), 2);
    assert_int_equal(restore(url, snapshots[1].id, 2, &err), FX_OK);
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
    new_url(url);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
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
        cmocka_unit_test(orphans_go_and_lost_indexes_come_back),
        cmocka_unit_test(a_writer_at_work_is_waited_for_or_revoked),
        cmocka_unit_test(a_writer_that_sees_a_mark_stores_what_is_marked_again),
        cmocka_unit_test(a_late_snapshot_of_a_revoked_writer_is_void),
        cmocka_unit_test(a_late_index_of_a_revoked_writer_is_not_believed),
        cmocka_unit_test(a_writer_that_is_gone_is_revoked_and_settled),
        cmocka_unit_test(a_revoked_writer_without_a_lease_is_settled),
        cmocka_unit_test(a_snapshot_that_cannot_be_read_stops_it),
        cmocka_unit_test(power_loss_takes_nothing_that_is_needed),
    };
    return cmocka_run_group_tests_name("collect", tests, make_folder, remove_folder);
}
