#include "tests/unit/common/repository/engine.h"

#include "common/repository/repair.h"
#include "common/repository/replicate.h"
#include "common/store/store.h"

typedef struct told {
    int findings;
    int healed;
    char last[1024];
} told;

static void
on_finding(void *ctx, const char *text)
{
    told *to = ctx;
    to->findings++;
    (void)snprintf(to->last, sizeof to->last, "%s", text);
}

static void
on_healed(void *ctx, const char *text)
{
    told *to = ctx;
    assert_non_null(text);
    to->healed++;
}

static fx_code
repair(
    const char *url,
    const char *tier,
    bool has_key,
    told *to,
    fx_repair_report *out_report,
    fx_err *err)
{
    const fx_repair_options options = {
        .key = has_key ? key : NULL, .finding = on_finding, .healed = on_healed, .ctx = to};
    *to = (told){0};
    return fx_repository_repair(url, &tier, tier == NULL ? 0 : 1, &options, out_report, err);
}

static void
make_tiers(char url[URL_BYTES], char tier[URL_BYTES], fx_snapshot ids[2])
{
    fx_err err = {0};
    fx_replicate_report report;
    const fx_replicate_options options = {0};
    new_url(url);
    new_url(tier);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    assert_int_equal(backup(url, 1, &ids[0], &err), FX_OK);
    assert_int_equal(backup(url, 2, &ids[1], &err), FX_OK);
    FX_AUTO(fx_repository) repository = NULL;
    assert_int_equal(fx_repository_open(url, key, &repository, &err), FX_OK);
    assert_int_equal(
        fx_repository_put_named(repository, "wal/1/2", (fx_bytes){"content", 7}, &err), FX_OK);
    assert_int_equal(fx_repository_replicate(url, tier, &options, &report, &err), FX_OK);
}

static void
flip(const char *path, long place)
{
    unsigned char byte = 0;
    struct stat info;
    assert_int_equal(chmod(path, 0600), 0);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(fstat(fd, &info), 0);
    off_t at = info.st_size * place / 100;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    assert_int_equal(close(fd), 0);
}

static void
expect_whole(const char *url, const fx_snapshot ids[2])
{
    fx_err err = {0};
    fx_verify_report report = {0};
    assert_int_equal(verify(url, true, &report, &err), FX_OK);
    assert_int_equal(report.snapshot_count, 2);
    assert_int_equal(restore(url, ids[0].id, 1, &err), FX_OK);
    assert_int_equal(restore(url, ids[1].id, 2, &err), FX_OK);
}

/* Each kind of object, in its head, its middle and its end. */
static void
a_flipped_bit_anywhere_is_healed(void **state)
{
    (void)state;
    static const char *const kinds[] = {
        "/packs/", "/indexes/", "/snapshots/", "/streams/", "/keys/", "/config"};
    fx_err err = {0};
    fx_repair_report report;
    char url[URL_BYTES];
    char tier[URL_BYTES];
    fx_snapshot ids[2];
    told to;
    make_tiers(url, tier, ids);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        for (long place = 0; place < 100; place += 33) {
            flip(object_at(url, kinds[i]), place);
            assert_int_equal(repair(url, tier, true, &to, &report, &err), FX_OK);
            assert_int_equal(report.healed_count, 1);
            assert_int_equal(to.healed, 1);
        }
    }
    expect_whole(url, ids);
    assert_int_equal(repair(url, tier, false, &to, &report, &err), FX_OK);
    assert_int_equal(report.damaged_count, 0);
}

static void
a_missing_pack_comes_back_with_the_key(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_repair_report report;
    char url[URL_BYTES];
    char tier[URL_BYTES];
    fx_snapshot ids[2];
    told to;
    make_tiers(url, tier, ids);
    assert_int_equal(unlink(object_at(url, "/packs/")), 0);
    assert_int_equal(repair(url, tier, false, &to, &report, &err), FX_OK); /* it cannot tell */
    assert_int_equal(repair(url, tier, true, &to, &report, &err), FX_OK);
    assert_int_equal(report.healed_count, 1);
    expect_whole(url, ids);
}

static void
what_cannot_be_healed_is_named(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_repair_report report;
    char url[URL_BYTES];
    char tier[URL_BYTES];
    char path[512];
    fx_snapshot ids[2];
    told to;
    make_tiers(url, tier, ids);
    (void)snprintf(path, sizeof path, "%s", object_at(url, "/packs/"));
    flip(path, 50);
    flip(object_at(tier, strstr(path, "/packs/")), 60);
    assert_int_equal(repair(url, tier, false, &to, &report, &err), FX_ERR_DAMAGED);
    assert_int_equal(report.affected_snapshot_count, 0);
    assert_non_null(strstr(err.message, "key"));
    assert_int_equal(repair(url, tier, true, &to, &report, &err), FX_ERR_DAMAGED);
    assert_int_equal(report.healed_count, 0);
    /* One of the two packs: of the second snapshot alone, or of both. */
    bool first_fails = restore(url, ids[0].id, 1, &err) != FX_OK;
    bool second_fails = restore(url, ids[1].id, 2, &err) != FX_OK;
    assert_int_equal(report.affected_snapshot_count, (int)first_fails + (int)second_fails);
    assert_true(report.affected_snapshot_count > 0);
    assert_non_null(strstr(to.last, "cannot be restored whole"));
}

/* Power lost at each change: the next run heals it, without a key too. */
static void
a_repair_that_is_broken_off_goes_on(void **state)
{
    (void)state;
    bool is_done = false;
    for (int number = 1; !is_done; number++) {
        fx_err err = {0};
        fx_repair_report report;
        char url[URL_BYTES];
        char tier[URL_BYTES];
        char cut[URL_BYTES + 32];
        fx_snapshot ids[2];
        told to;
        make_tiers(url, tier, ids);
        flip(object_at(url, "/packs/"), 50);
        flip(object_at(url, "/snapshots/"), 50);
        (void)snprintf(cut, sizeof cut, "fault:lose:%d:%s", number, url);
        fx_code code = repair(cut, tier, false, &to, &report, &err);
        is_done = code == FX_OK && number > 6;
        err = (fx_err){0};
        assert_int_equal(repair(url, tier, false, &to, &report, &err), FX_OK);
        expect_whole(url, ids);
        assert_true(number < 50);
    }
}

static void
another_repository_heals_nothing(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_repair_report report;
    char url[URL_BYTES];
    char tier[URL_BYTES];
    char other[URL_BYTES];
    fx_snapshot ids[2];
    told to;
    make_tiers(url, tier, ids);
    make_tiers(other, tier, ids);
    assert_int_equal(repair(url, other, true, &to, &report, &err), FX_ERR_CONFLICT);
}

static fx_code
reindex(const char *url, bool dry_run, fx_reindex_report *out_report, fx_err *err)
{
    const fx_reindex_options options = {.key = key, .dry_run = dry_run};
    return fx_repository_reindex(url, &options, out_report, err);
}

static void
lost_and_damaged_indexes_are_made_anew(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_reindex_report report;
    char url[URL_BYTES];
    char tier[URL_BYTES];
    fx_snapshot ids[2];
    fx_verify_report verified;
    make_tiers(url, tier, ids);
    assert_int_equal(unlink(object_at(url, "/indexes/")), 0);
    flip(object_at(url, "/indexes/"), 50);
    assert_int_not_equal(verify(url, false, &verified, &err), FX_OK);
    err = (fx_err){0};
    assert_int_equal(reindex(url, true, &report, &err), FX_OK);
    assert_int_not_equal(verify(url, false, &verified, &err), FX_OK);
    err = (fx_err){0};
    assert_int_equal(reindex(url, false, &report, &err), FX_OK);
    assert_int_equal(report.pack_count, 2);
    assert_int_equal(report.removed_count, 1);
    expect_whole(url, ids);
    assert_int_equal(reindex(url, false, &report, &err), FX_OK);
    assert_int_equal(report.pack_count + report.removed_count + report.index_count, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flipped_bit_anywhere_is_healed),
        cmocka_unit_test(a_missing_pack_comes_back_with_the_key),
        cmocka_unit_test(what_cannot_be_healed_is_named),
        cmocka_unit_test(a_repair_that_is_broken_off_goes_on),
        cmocka_unit_test(another_repository_heals_nothing),
        cmocka_unit_test(lost_and_damaged_indexes_are_made_anew),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
