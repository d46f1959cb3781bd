#include "tests/unit/common/repository/engine.h"

#include "common/repository/gap.h"
#include "common/repository/repair.h"
#include "common/repository/replicate.h"

static char url[URL_BYTES];
static fx_repository *repository;

static const fx_gap_object usual = {
    .stream = "wal/7000000000000000001/",
    .timeline = 3,
    .segment_bytes = 16 * 1024 * 1024,
    .from = {0x5000000},
    .to = {0x9000000},
    .found = {.ns = 1700000000000000000},
    .service = {"orders-db"},
    .host = {"db1"},
    .reason = "requested WAL segment has already been removed",
};

static int
make_repository(void **state)
{
    (void)state;
    fx_err err = {0};
    new_url(url);
    return fx_repository_create(url, key, &err) == FX_OK &&
                   fx_repository_open(url, NULL, &repository, &err) == FX_OK
               ? 0
               : -1;
}

static int
close_repository(void **state)
{
    (void)state;
    fx_repository_free(repository);
    repository = NULL;
    return 0;
}

static fx_gap_object_list
gaps_at(const char *where)
{
    fx_err err = {0};
    fx_gap_object_list list = {0};
    FX_AUTO(fx_repository) other = NULL;
    assert_int_equal(fx_repository_open(where, NULL, &other, &err), FX_OK);
    assert_int_equal(fx_gap_object_list_all(other, &list, &err), FX_OK);
    return list;
}

static void
a_gap_is_read_as_it_was_put(void **state)
{
    (void)state;
    fx_err err = {0};
    assert_int_equal(fx_gap_object_put(repository, &usual, &err), FX_OK);
    fx_gap_object_list list = gaps_at(url);
    assert_int_equal(list.count, 1);
    assert_int_equal(list.unreadable_count, 0);
    const fx_gap_object *read = &list.items[0];
    assert_int_equal(strlen(read->id), 64);
    assert_string_equal(read->stream, usual.stream);
    assert_int_equal(read->timeline, 3);
    assert_int_equal(read->segment_bytes, usual.segment_bytes);
    assert_int_equal(read->from.value, usual.from.value);
    assert_int_equal(read->to.value, usual.to.value);
    assert_int_equal(read->found.ns, usual.found.ns);
    assert_string_equal(read->service.text, "orders-db");
    assert_string_equal(read->host.text, "db1");
    assert_string_equal(read->reason, usual.reason);
    fx_gap_object_list_free(&list);
}

/* Who does not know whether a put has happened puts it once more. */
static void
the_same_gap_put_twice_is_one(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_gap_object earlier = usual;
    earlier.found.ns -= 1;
    assert_int_equal(fx_gap_object_put(repository, &usual, &err), FX_OK);
    assert_int_equal(fx_gap_object_put(repository, &usual, &err), FX_OK);
    assert_int_equal(fx_gap_object_put(repository, &earlier, &err), FX_OK);
    fx_gap_object_list list = gaps_at(url);
    assert_int_equal(list.count, 2);
    assert_int_equal(list.items[0].found.ns, earlier.found.ns);
    fx_gap_object_list_free(&list);
}

static void
what_is_no_gap_is_not_put(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "/", "wal", "/wal/", "wal/a b/", "wal/\n/"};
    fx_err err = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fx_gap_object gap = usual;
        (void)snprintf(gap.stream, sizeof gap.stream, "%s", bad[i]);
        assert_int_equal(fx_gap_object_put(repository, &gap, &err), FX_ERR_INVALID);
    }
    fx_gap_object gap = usual;
    gap.to.value = gap.from.value - 1;
    assert_int_equal(fx_gap_object_put(repository, &gap, &err), FX_ERR_INVALID);
    gap.to = gap.from;
    assert_int_equal(fx_gap_object_put(repository, &gap, &err), FX_OK);
}

static void
a_damaged_gap_is_counted_and_found_by_verify(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_verify_report report = {0};
    assert_int_equal(fx_gap_object_put(repository, &usual, &err), FX_OK);
    assert_int_equal(verify(url, false, &report, &err), FX_OK);
    const char *path = object_at(url, "/gaps/");
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(truncate(path, 60), 0);
    fx_gap_object_list list = gaps_at(url);
    assert_int_equal(list.count, 0);
    assert_int_equal(list.unreadable_count, 1);
    fx_gap_object_list_free(&list);
    assert_int_equal(verify(url, false, &report, &err), FX_ERR_DAMAGED);
    assert_int_equal(fx_gap_object_put(repository, &usual, &err), FX_ERR_DAMAGED);
}

static void
tiers_get_gaps_and_give_back_what_is_damaged(void **state)
{
    (void)state;
    fx_err err = {0};
    char tier[URL_BYTES];
    fx_replicate_report copied;
    fx_repair_report repaired;
    fx_snapshot snapshot;
    new_url(tier);
    assert_int_equal(backup(url, 1, &snapshot, &err), FX_OK);
    assert_int_equal(fx_gap_object_put(repository, &usual, &err), FX_OK);
    const fx_replicate_options replicating = {0};
    assert_int_equal(fx_repository_replicate(url, tier, &replicating, &copied, &err), FX_OK);
    fx_gap_object_list list = gaps_at(tier);
    assert_int_equal(list.count, 1);
    fx_gap_object_list_free(&list);
    const char *path = object_at(url, "/gaps/");
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(truncate(path, 60), 0);
    const char *others[] = {tier};
    const fx_repair_options repairing = {0};
    assert_int_equal(fx_repository_repair(url, others, 1, &repairing, &repaired, &err), FX_OK);
    assert_int_equal(repaired.healed_count, 1);
    assert_int_equal(restore(url, snapshot.id, 1, &err), FX_OK);
    list = gaps_at(url);
    assert_int_equal(list.count, 1);
    fx_gap_object_list_free(&list);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_gap_is_read_as_it_was_put, make_repository, close_repository),
        cmocka_unit_test_setup_teardown(
            the_same_gap_put_twice_is_one, make_repository, close_repository),
        cmocka_unit_test_setup_teardown(
            what_is_no_gap_is_not_put, make_repository, close_repository),
        cmocka_unit_test_setup_teardown(
            a_damaged_gap_is_counted_and_found_by_verify, make_repository, close_repository),
        cmocka_unit_test_setup_teardown(
            tiers_get_gaps_and_give_back_what_is_damaged, make_repository, close_repository),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
