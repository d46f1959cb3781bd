#include "tests/unit/common/repository/engine.h"

#include "common/repository/hold.h"
#include "common/repository/tags.h"

static char url[URL_BYTES];
static fx_repository *repository;
static fx_snapshot first;

static int
make_snapshot(void **state)
{
    (void)state;
    fx_err err = {0};
    new_url(url);
    return fx_repository_create(url, key, &err) == FX_OK && backup(url, 1, &first, &err) == FX_OK &&
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

static fx_code
put_hold(const char *kind, bool is_release, fx_err *err)
{
    fx_hold what = {
        .is_release = is_release,
        .reason = "case 17",
        .who = fx_name_of("ada"),
        .host = fx_name_of("db1")};
    (void)snprintf(what.snapshot, sizeof what.snapshot, "%s", first.id);
    (void)snprintf(what.kind, sizeof what.kind, "%s", kind);
    return fx_hold_put(repository, &what, err);
}

static size_t
holds_in_force(void)
{
    fx_err err = {0};
    fx_hold_list list;
    size_t count = 0;
    assert_int_equal(fx_hold_list_all(repository, NULL, &list, &err), FX_OK);
    for (size_t i = 0; i < list.count; i++) {
        count += list.items[i].is_in_force;
    }
    fx_hold_list_free(&list);
    return count;
}

static void
a_held_snapshot_is_not_forgotten(void **state)
{
    (void)state;
    fx_err err = {0};
    assert_int_equal(put_hold("legal", false, &err), FX_OK);
    assert_int_equal(fx_repository_forget(repository, first.id, &err), FX_ERR_HELD);
    assert_non_null(strstr(err.message, "legal hold 1 of ada on db1"));
    assert_non_null(strstr(err.message, "case 17"));
    assert_int_equal(restore(url, first.id, 1, &err), FX_OK);
    assert_int_equal(put_hold("legal", true, &err), FX_OK);
    assert_int_equal(holds_in_force(), 0);
    assert_int_equal(fx_repository_forget(repository, first.id, &err), FX_OK);
}

static void
each_kind_is_released_for_itself_or_all_at_once(void **state)
{
    (void)state;
    fx_err err = {0};
    assert_int_equal(put_hold("legal", false, &err), FX_OK);
    assert_int_equal(put_hold("anomaly", false, &err), FX_OK);
    assert_int_equal(put_hold("anomaly", true, &err), FX_OK);
    assert_int_equal(holds_in_force(), 1);
    assert_int_equal(fx_repository_forget(repository, first.id, &err), FX_ERR_HELD);
    assert_int_equal(put_hold("anomaly", false, &err), FX_OK);
    assert_int_equal(put_hold("", true, &err), FX_OK);
    assert_int_equal(holds_in_force(), 0);
    assert_int_equal(put_hold("legal", false, &err), FX_OK);
    assert_int_equal(holds_in_force(), 1);
}

static void
a_hold_that_cannot_be_read_counts(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_verify_report report = {0};
    assert_int_equal(put_hold("legal", false, &err), FX_OK);
    const char *path = object_at(url, "/holds/");
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(truncate(path, 20), 0);
    assert_int_equal(holds_in_force(), 1);
    assert_int_equal(fx_repository_forget(repository, first.id, &err), FX_ERR_HELD);
    assert_int_equal(verify(url, false, &report, &err), FX_ERR_DAMAGED);
    assert_int_equal(put_hold("legal", true, &err), FX_OK);
    assert_int_equal(holds_in_force(), 1); /* nobody can say that it was of that kind */
    assert_int_equal(put_hold("", true, &err), FX_OK);
    assert_int_equal(fx_repository_forget(repository, first.id, &err), FX_OK);
}

static void
wrong_holds_are_refused(void **state)
{
    (void)state;
    fx_err err = {0};
    assert_int_equal(put_hold("forget", false, &err), FX_ERR_INVALID);
    assert_int_equal(put_hold("", false, &err), FX_ERR_INVALID);
    assert_int_equal(fx_repository_forget(repository, first.id, &err), FX_OK);
    assert_int_equal(put_hold("legal", false, &err), FX_ERR_NOT_FOUND);
}

/* Both put first and look afterwards: one of them sees the other. */
static void
a_hold_during_a_forget_is_not_acknowledged(void **state)
{
    (void)state;
    fx_err err = {0};
    uint32_t word = 0;
    assert_int_equal(fx_hold_begin_forget(repository, first.id, &word, &err), FX_OK);
    assert_int_equal(put_hold("legal", false, &err), FX_ERR_BUSY);
    assert_int_equal(fx_hold_end_forget(repository, first.id, word, &err), FX_OK);
    assert_int_equal(put_hold("legal", false, &err), FX_OK);
    assert_int_equal(fx_hold_begin_forget(repository, first.id, &word, &err), FX_ERR_HELD);
    assert_int_equal(put_hold("", true, &err), FX_OK);
    assert_int_equal(fx_hold_begin_forget(repository, first.id, &word, &err), FX_OK);
}

static void
the_word_of_a_forget_that_was_broken_off_can_be_released(void **state)
{
    (void)state;
    fx_err err = {0};
    uint32_t word = 0;
    assert_int_equal(fx_hold_begin_forget(repository, first.id, &word, &err), FX_OK);
    assert_int_equal(put_hold("", true, &err), FX_OK);
    assert_int_equal(put_hold("legal", false, &err), FX_OK);
    assert_int_equal(fx_repository_forget(repository, first.id, &err), FX_ERR_HELD);
}

/* At each change of a forget the power goes: the snapshot is whole or gone, and the next forget
 * ends it. */
static void
a_forget_that_is_cut_off_anywhere_leaves_all_or_nothing(void **state)
{
    (void)state;
    for (int cut = 1; cut < 5; cut++) {
        fx_err err = {0};
        char cut_url[URL_BYTES + 32];
        fx_snapshot second;
        assert_int_equal(backup(url, 2 + cut, &second, &err), FX_OK);
        (void)snprintf(cut_url, sizeof cut_url, "fault:lose:%d:%s", cut, url);
        FX_AUTO(fx_repository) cut_off = NULL;
        assert_int_equal(fx_repository_open(cut_url, NULL, &cut_off, &err), FX_OK);
        bool is_done = fx_repository_forget(cut_off, second.id, &err) == FX_OK;
        bool is_there = restore(url, second.id, 2 + cut, &err) == FX_OK;
        assert_true(!is_done || !is_there);
        assert_int_equal(restore(url, first.id, 1, &err), FX_OK);
        if (is_there) {
            assert_int_equal(fx_repository_forget(repository, second.id, &err), FX_OK);
        }
        assert_int_equal(restore(url, first.id, 1, &err), FX_OK);
    }
}

static void
tags_are_sorted_and_stand_once(void **state)
{
    (void)state;
    fx_err err = {0};
    char tags[FX_TAGS_BYTES] = "";
    assert_int_equal(fx_tags_add(tags, "nightly", &err), FX_OK);
    assert_int_equal(fx_tags_add(tags, "before-upgrade", &err), FX_OK);
    assert_int_equal(fx_tags_add(tags, "nightly", &err), FX_OK);
    assert_int_equal(fx_tags_add(tags, "zoo", &err), FX_OK);
    assert_int_equal(fx_tags_add(tags, "month", &err), FX_OK);
    assert_string_equal(tags, "before-upgrade,month,nightly,zoo");
    assert_true(fx_tags_has(tags, "zoo"));
    assert_false(fx_tags_has(tags, "night"));
    assert_int_equal(fx_tags_add(tags, "a,b", &err), FX_ERR_INVALID);
    assert_int_equal(fx_tags_add(tags, "", &err), FX_ERR_INVALID);
    for (int i = 4; i < FX_TAGS_MAX; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "n%d", i);
        assert_int_equal(fx_tags_add(tags, name, &err), FX_OK);
    }
    assert_int_equal(fx_tags_add(tags, "last", &err), FX_ERR_LIMIT);
}

int
main(void)
{
#define WITH_SNAPSHOT(test) cmocka_unit_test_setup_teardown(test, make_snapshot, close_repository)
    const struct CMUnitTest tests[] = {
        WITH_SNAPSHOT(a_held_snapshot_is_not_forgotten),
        WITH_SNAPSHOT(each_kind_is_released_for_itself_or_all_at_once),
        WITH_SNAPSHOT(a_hold_that_cannot_be_read_counts),
        WITH_SNAPSHOT(wrong_holds_are_refused),
        WITH_SNAPSHOT(a_hold_during_a_forget_is_not_acknowledged),
        WITH_SNAPSHOT(the_word_of_a_forget_that_was_broken_off_can_be_released),
        WITH_SNAPSHOT(a_forget_that_is_cut_off_anywhere_leaves_all_or_nothing),
        cmocka_unit_test(tags_are_sorted_and_stand_once),
    };
#undef WITH_SNAPSHOT
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
