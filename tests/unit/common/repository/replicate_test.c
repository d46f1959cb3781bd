#include "tests/unit/common/repository/collecting.h"

#include "common/base/hex.h"
#include "common/repository/lease.h"
#include "common/repository/replicate.h"
#include "common/store/store.h"

static const fx_replicate_options plainly = {.job_count = 2};

static fx_code
replicate(const char *from, const char *to, fx_replicate_report *out_report, fx_err *err)
{
    return fx_repository_replicate(from, to, &plainly, out_report, err);
}

/* Every snapshot that is listed there can be restored. `ids` by version, from 1. */
static size_t
restore_listed(const char *url, const fx_snapshot *ids, int count)
{
    FX_AUTO(fx_repository) repository = NULL;
    fx_snapshot_list list = {0};
    size_t unreadable_count = 0;
    fx_err err = {0};
    if (fx_repository_open(url, key, &repository, &err) != FX_OK) {
        return 0;
    }
    assert_int_equal(fx_repository_list(repository, &list, &unreadable_count, &err), FX_OK);
    assert_int_equal(unreadable_count, 0);
    size_t listed = list.count;
    for (size_t i = 0; i < list.count; i++) {
        bool is_known = false;
        for (int version = 1; version <= count; version++) {
            if (strcmp(ids[version - 1].id, list.items[i].id) == 0) {
                is_known = true;
                assert_int_equal(restore(url, list.items[i].id, version, &err), FX_OK);
            }
        }
        assert_true(is_known);
    }
    fx_snapshot_list_free(&list);
    return listed;
}

static void
make_source(char url[URL_BYTES], fx_snapshot *out_ids, int count)
{
    fx_err err = {0};
    new_repository(url);
    for (int version = 1; version <= count; version++) {
        assert_int_equal(backup(url, version, &out_ids[version - 1], &err), FX_OK);
    }
}

static void
a_tier_gets_all_and_then_only_what_is_new(void **state)
{
    (void)state;
    fx_err err = {0};
    char from[URL_BYTES];
    char to[URL_BYTES];
    fx_snapshot ids[3];
    fx_replicate_report report;
    make_source(from, ids, 2);
    new_url(to);
    assert_int_equal(replicate(from, to, &report, &err), FX_OK);
    assert_int_equal(report.snapshot_count, 2);
    assert_int_equal(restore_listed(to, ids, 2), 2);
    expect_whole(to, 2);
    assert_int_equal(count_objects(to, "/leases/"), 0);
    assert_int_equal(count_objects(to, "/arriving/"), 0);

    assert_int_equal(replicate(from, to, &report, &err), FX_OK);
    assert_int_equal(report.copied_count, 0);
    assert_int_equal(backup(from, 3, &ids[2], &err), FX_OK);
    fx_tier_status status;
    assert_int_equal(fx_repository_tier_status(from, to, &status, &err), FX_OK);
    assert_int_equal(status.missing_snapshot_count, 1);
    assert_int_equal(status.oldest_missing.ns, 2003);
    assert_int_equal(status.newest.ns, 2002);
    assert_int_equal(status.missing_count, 4);
    assert_int_equal(replicate(from, to, &report, &err), FX_OK);
    assert_int_equal(report.copied_count, 4); /* a pack, an index, a voucher, a snapshot */
    assert_int_equal(report.copied_bytes, status.missing_bytes);
    assert_int_equal(restore_listed(to, ids, 3), 3);
    assert_int_equal(fx_repository_tier_status(from, to, &status, &err), FX_OK);
    assert_int_equal(status.missing_count, 0);
}

static void
a_dry_run_changes_nothing(void **state)
{
    (void)state;
    fx_err err = {0};
    char from[URL_BYTES];
    char to[URL_BYTES];
    fx_snapshot id;
    fx_replicate_report dry;
    fx_replicate_report report;
    const fx_replicate_options dryly = {.dry_run = true};
    make_source(from, &id, 1);
    new_url(to);
    assert_int_equal(fx_repository_replicate(from, to, &dryly, &dry, &err), FX_OK);
    assert_int_equal(access(to + strlen("posix:"), F_OK), -1);
    assert_int_equal(replicate(from, to, &report, &err), FX_OK);
    assert_int_equal(dry.copied_count, report.copied_count);
    assert_int_equal(dry.copied_bytes, report.copied_bytes);
    assert_int_equal(dry.snapshot_count, 1);
}

static void
what_was_forgotten_in_a_tier_does_not_come_back(void **state)
{
    (void)state;
    fx_err err = {0};
    char from[URL_BYTES];
    char to[URL_BYTES];
    fx_snapshot ids[2];
    fx_replicate_report report;
    fx_collect_report collected;
    make_source(from, ids, 2);
    new_url(to);
    assert_int_equal(replicate(from, to, &report, &err), FX_OK);
    assert_int_equal(forget(to, ids[0].id, &err), FX_OK);
    assert_int_equal(collect(to, &at_once, &collected, &err), FX_OK);
    assert_int_equal(collected.removed_pack_count, 1);
    assert_int_equal(replicate(from, to, &report, &err), FX_OK);
    assert_int_equal(report.copied_count, 0);
    expect_whole(to, 1);
    expect_whole(from, 2);
    /* What only the source forgot stays in the tier. */
    assert_int_equal(forget(from, ids[1].id, &err), FX_OK);
    assert_int_equal(replicate(from, to, &report, &err), FX_OK);
    assert_int_equal(restore(to, ids[1].id, 2, &err), FX_OK);
}

static void
another_repository_is_refused(void **state)
{
    (void)state;
    fx_err err = {0};
    char from[URL_BYTES];
    char other[URL_BYTES];
    fx_snapshot ids[2];
    fx_replicate_report report;
    make_source(from, &ids[0], 1);
    make_source(other, &ids[1], 1);
    assert_int_equal(replicate(from, other, &report, &err), FX_ERR_CONFLICT);
    expect_whole(other, 1);
}

/* Power lost at each change of the target, or the answer to it: what is listed there is whole, and
 * the next run brings the rest. */
static void
lose_at_each_change(const char *kind)
{
    fx_err err = {0};
    char from[URL_BYTES];
    fx_snapshot ids[3];
    fx_replicate_report report;
    make_source(from, ids, 3);
    bool is_done = false;
    for (int number = 1; !is_done; number++) {
        char to[URL_BYTES];
        char cut[URL_BYTES + 32];
        new_url(to);
        (void)snprintf(cut, sizeof cut, "fault:%s:%d:%s", kind, number, to);
        is_done = replicate(from, cut, &report, &err) == FX_OK && number > 4;
        size_t listed = restore_listed(to, ids, 3);
        if (is_done) {
            assert_int_equal(listed, 3);
        }
        err = (fx_err){0};
        assert_int_equal(replicate(from, to, &report, &err), FX_OK);
        assert_int_equal(restore_listed(to, ids, 3), 3);
        expect_whole(to, 3);
        assert_true(number < 200);
    }
}

static void
power_lost_at_any_change_leaves_whole_snapshots(void **state)
{
    (void)state;
    lose_at_each_change("lose");
}

static void
an_answer_lost_at_any_change_leaves_whole_snapshots(void **state)
{
    (void)state;
    lose_at_each_change("doubt");
}

static void
flip(const char *path)
{
    unsigned char byte = 0;
    assert_int_equal(chmod(path, 0600), 0);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, &byte, 1, 300), 1);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, 300), 1);
    assert_int_equal(close(fd), 0);
}

static void
count_finding(void *ctx, const char *text)
{
    int *count = ctx;
    assert_non_null(text);
    ++*count;
}

static void
what_is_damaged_is_not_copied(void **state)
{
    (void)state;
    fx_err err = {0};
    char from[URL_BYTES];
    char to[URL_BYTES];
    fx_snapshot ids[2];
    fx_replicate_report report;
    int findings = 0;
    const fx_replicate_options options = {.finding = count_finding, .ctx = &findings};
    make_source(from, ids, 1);
    new_url(to);
    assert_int_equal(replicate(from, to, &report, &err), FX_OK);
    assert_int_equal(backup(from, 2, &ids[1], &err), FX_OK);
    for (size_t i = 0; i < 1; i++) {
        object_count = 0;
        /* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread */
        assert_int_equal(nftw(from + strlen("posix:"), note_object, 16, FTW_PHYS), 0);
    }
    for (size_t i = 0; i < object_count; i++) {
        char other[2 * sizeof objects[0]];
        const char *tail = strstr(objects[i], "/packs/");
        (void)snprintf(
            other, sizeof other, "%s%s", to + strlen("posix:"), tail == NULL ? "" : tail);
        if (tail != NULL && access(other, F_OK) != 0) {
            flip(objects[i]);
        }
    }
    assert_int_equal(fx_repository_replicate(from, to, &options, &report, &err), FX_ERR_DAMAGED);
    assert_int_equal(report.damaged_count, 1);
    assert_int_equal(report.held_snapshot_count, 1);
    assert_int_equal(findings, 2);
    assert_int_equal(restore_listed(to, ids, 2), 1);
    expect_whole(to, 1);
}

/* Settlements are not signed: who may put into the source could make void what lies in all tiers.
 */
static void
what_the_source_calls_void_stays_in_the_tier_that_has_it(void **state)
{
    (void)state;
    fx_err err = {0};
    char from[URL_BYTES];
    char to[URL_BYTES];
    fx_snapshot ids[2];
    fx_snapshot_list list = {0};
    size_t unreadable_count = 0;
    fx_replicate_report report;
    fx_collect_report collected;
    const fx_id_set none = {0};
    const fx_collect_options options = {.live_percent = 60};
    FX_AUTO(fx_repository) repository = NULL;
    make_source(from, ids, 1);
    new_url(to);
    assert_int_equal(replicate(from, to, &report, &err), FX_OK);
    assert_int_equal(fx_repository_open(from, key, &repository, &err), FX_OK);
    assert_int_equal(fx_repository_list(repository, &list, &unreadable_count, &err), FX_OK);
    assert_int_equal(list.count, 1);
    assert_int_equal(fx_lease_revoke(repository->store, list.items[0].lease, &err), FX_OK);
    assert_int_equal(fx_lease_settle(repository->store, list.items[0].lease, &none, &err), FX_OK);
    fx_snapshot_list_free(&list);
    assert_int_equal(backup(from, 2, &ids[1], &err), FX_OK);
    assert_int_equal(replicate(from, to, &report, &err), FX_OK);
    assert_int_equal(restore_listed(from, ids, 2), 1);
    assert_int_equal(restore_listed(to, ids, 2), 2);
    assert_int_equal(count_objects(to, "/settled/"), 1);
    assert_int_equal(count_objects(to, "/revocations/"), 1);
    assert_int_equal(collect(to, &options, &collected, &err), FX_OK);
    expect_whole(to, 2);
}

/* A collector at the target is about to remove a pack that a snapshot may need. */
static void
a_marked_pack_is_not_counted_on(void **state)
{
    (void)state;
    fx_err err = {0};
    char from[URL_BYTES];
    char to[URL_BYTES];
    fx_snapshot ids[2];
    fx_replicate_report report;
    FX_AUTO(fx_store) store = NULL;
    fx_id_set names = {0};
    make_source(from, ids, 1);
    new_url(to);
    assert_int_equal(replicate(from, to, &report, &err), FX_OK);
    const char *path = object_at(to, "/packs/");
    fx_chunk_id name;
    assert_int_equal(
        fx_hex_decode(strrchr(path, '/') + 1, name.bytes, sizeof name.bytes, &err), FX_OK);
    (void)fx_id_set_add(&names, &name);
    assert_int_equal(fx_store_open(to, &store, &err), FX_OK);
    assert_int_equal(fx_mark_put(store, "1-1.1", &names, &err), FX_OK);
    fx_id_set_free(&names);
    assert_int_equal(backup(from, 2, &ids[1], &err), FX_OK);
    assert_int_equal(replicate(from, to, &report, &err), FX_ERR_BUSY);
    assert_int_equal(report.held_snapshot_count, 1);
    assert_int_equal(restore_listed(to, ids, 2), 1);
    assert_int_equal(fx_mark_remove(store, "1-1.1", &err), FX_OK);
    assert_int_equal(replicate(from, to, &report, &err), FX_OK);
    assert_int_equal(restore_listed(to, ids, 2), 2);
}

/* A replicator that was stopped before its last put: collectors may come and go meanwhile, and its
 * put may come at any time. */
static void
a_snapshot_that_arrives_late_is_whole(void **state)
{
    (void)state;
    fx_err err = {0};
    char from[URL_BYTES];
    char to[URL_BYTES];
    char late[2 * URL_BYTES];
    char arriving[2 * URL_BYTES];
    fx_snapshot ids[2];
    fx_replicate_report report;
    fx_collect_report collected;
    make_source(from, ids, 2);
    new_url(to);
    assert_int_equal(replicate(from, to, &report, &err), FX_OK);
    (void)snprintf(late, sizeof late, "%s/snapshots/%s", to + strlen("posix:"), ids[1].id);
    (void)snprintf(arriving, sizeof arriving, "%s/arriving/%s", to + strlen("posix:"), ids[1].id);
    (void)snprintf(objects[0], sizeof objects[0], "%s/arriving", to + strlen("posix:"));
    (void)mkdir(objects[0], 0700);
    assert_int_equal(rename(late, arriving), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(collect(to, &at_once, &collected, &err), FX_OK);
        assert_int_equal(collected.removed_pack_count, 0);
    }
    assert_int_equal(forget(to, ids[0].id, &err), FX_OK);
    assert_int_equal(collect(to, &at_once, &collected, &err), FX_OK);
    assert_int_equal(link(arriving, late), 0);
    assert_int_equal(restore_listed(to, ids, 2), 1);
    expect_whole(to, 1);
    assert_int_equal(collect(to, &at_once, &collected, &err), FX_OK);
    assert_int_equal(access(arriving, F_OK), -1);
    /* And one that was forgotten meanwhile is not listed when it comes. */
    char kept[2 * URL_BYTES];
    (void)snprintf(kept, sizeof kept, "%s/kept", folder);
    assert_int_equal(link(late, kept), 0);
    assert_int_equal(forget(to, ids[1].id, &err), FX_OK);
    assert_int_equal(rename(kept, late), 0);
    assert_int_equal(restore_listed(to, ids, 2), 0);
    assert_int_equal(collect(to, &at_once, &collected, &err), FX_OK);
    assert_int_equal(access(late, F_OK), -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tier_gets_all_and_then_only_what_is_new),
        cmocka_unit_test(a_dry_run_changes_nothing),
        cmocka_unit_test(what_was_forgotten_in_a_tier_does_not_come_back),
        cmocka_unit_test(another_repository_is_refused),
        cmocka_unit_test(power_lost_at_any_change_leaves_whole_snapshots),
        cmocka_unit_test(an_answer_lost_at_any_change_leaves_whole_snapshots),
        cmocka_unit_test(what_is_damaged_is_not_copied),
        cmocka_unit_test(what_the_source_calls_void_stays_in_the_tier_that_has_it),
        cmocka_unit_test(a_marked_pack_is_not_counted_on),
        cmocka_unit_test(a_snapshot_that_arrives_late_is_whole),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
