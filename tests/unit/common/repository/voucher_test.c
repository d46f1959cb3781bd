#include "tests/unit/common/repository/engine.h"

#include "common/base/hex.h"
#include "common/repository/collect.h"
#include "common/repository/internal.h"
#include "common/repository/key.h"
#include "common/repository/own.h"
#include "common/repository/signed.h"
#include "common/repository/voucher.h"
#include "tests/support/poison.h"

enum { STORED_BYTES = 24000 }; /* of a file that does not compress */

/* Backs up with another key and cache: another host. What it added to the store. */
static uint64_t
backup_as(
    fx_repository_key *other, const char *own_cache, const char *url, int version, char *out_id)
{
    fx_err err = {0};
    fx_snapshot snapshot = {0};
    fx_repository_key *before = key;
    const char *cache_before = cache;
    key = other;
    cache = own_cache;
    fx_code code = backup(url, version, &snapshot, &err);
    key = before;
    cache = cache_before;
    if (code != FX_OK) {
        print_error("%s\n", err.message);
    }
    assert_int_equal(code, FX_OK);
    memcpy(out_id, snapshot.id, sizeof snapshot.id);
    return snapshot.added_bytes;
}

static void
new_cache(char out_path[URL_BYTES])
{
    (void)snprintf(out_path, URL_BYTES, "%s/cache%d", folder, serial++);
}

static void
collect_now(const char *url)
{
    fx_err err = {0};
    fx_collect_report report = {0};
    const fx_collect_options options = {.live_percent = 60};
    fx_code code = fx_repository_collect(url, key, &options, &report, &err);
    if (code != FX_OK) {
        print_error("%s\n", err.message);
    }
    assert_int_equal(code, FX_OK);
}

/* ---- attacks
 * ----------------------------------------------------------------------------------------- */

/* A pack that says it holds what all will store, and does not. */
static void
nobody_counts_on_a_pack_that_lies(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    char id[FX_SNAPSHOT_ID_TEXT_BYTES];
    char where[URL_BYTES];
    fx_verify_report report = {0};
    FX_BUF_AUTO content;
    FX_AUTO(fx_repository_key) thief = fx_write_only_key(key_path);
    new_url(url);
    new_cache(where);
    content_of(1, 1, &content);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    assert_int_equal(fx_poison_pack(url, thief, fx_buf_bytes(&content), &err), FX_OK);
    assert_true(backup_as(thief, where, url, 1, id) > UINT64_C(2) * STORED_BYTES);
    assert_int_equal(restore(url, id, 1, &err), FX_OK);
    assert_true(backup_as(key, NULL, url, 1, id) > UINT64_C(2) * STORED_BYTES);
    assert_int_equal(restore(url, id, 1, &err), FX_OK);
    /* Nor after somebody has looked: reading it finds the lie, and the collector keeps what is
     * true.
     */
    assert_int_equal(verify(url, true, &report, &err), FX_ERR_DAMAGED);
    collect_now(url);
    assert_int_equal(restore(url, id, 1, &err), FX_OK);
    assert_true(backup_as(key, NULL, url, 1, id) < STORED_BYTES);
    assert_int_equal(restore(url, id, 1, &err), FX_OK);
}

/* An index object that says of an honest pack that it holds something else. */
static void
nobody_counts_on_an_index_that_lies(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    char first[FX_SNAPSHOT_ID_TEXT_BYTES];
    char id[FX_SNAPSHOT_ID_TEXT_BYTES];
    FX_BUF_AUTO content;
    FX_AUTO(fx_repository_key) thief = fx_write_only_key(key_path);
    new_url(url);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    (void)backup_as(key, NULL, url, 1, first);
    content_of(FILES - 1, 2, &content);
    const char *pack = object_at(url, "/packs/");
    assert_int_equal(fx_poison_index(url, thief, pack, fx_buf_bytes(&content), &err), FX_OK);
    assert_true(backup_as(key, NULL, url, 2, id) > STORED_BYTES);
    assert_int_equal(restore(url, id, 2, &err), FX_OK);
    for (int i = 0; i < 2; i++) {
        collect_now(url);
        assert_int_equal(restore(url, first, 1, &err), FX_OK);
        assert_int_equal(restore(url, id, 2, &err), FX_OK);
    }
}

/* Of a host that can only write, whose packs nobody has opened yet. */
static void
a_lie_about_a_pack_that_nobody_opened_removes_nothing(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    char id[FX_SNAPSHOT_ID_TEXT_BYTES];
    FX_BUF_AUTO content;
    FX_AUTO(fx_repository_key) thief = fx_write_only_key(key_path);
    new_url(url);
    content_of(FILES - 1, 2, &content);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    (void)backup_as(thief, NULL, url, 1, id);
    const char *pack = object_at(url, "/packs/");
    assert_int_equal(fx_poison_index(url, thief, pack, fx_buf_bytes(&content), &err), FX_OK);
    for (int i = 0; i < 2; i++) {
        collect_now(url);
        assert_int_equal(restore(url, id, 1, &err), FX_OK);
    }
}

/* ---- what hosts that can only write know
 * ------------------------------------------------------------------------------------------ */

static void
a_writer_remembers_what_it_stored(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    char id[FX_SNAPSHOT_ID_TEXT_BYTES];
    char where[URL_BYTES];
    char other[URL_BYTES];
    FX_AUTO(fx_repository_key) writer = fx_write_only_key(key_path);
    new_url(url);
    new_cache(where);
    new_cache(other);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    assert_true(backup_as(writer, where, url, 1, id) > UINT64_C(2) * STORED_BYTES);
    assert_int_equal(backup_as(writer, where, url, 1, id), 0);
    collect_now(url); /* nothing to do */
    assert_int_equal(backup_as(writer, where, url, 1, id), 0);
    /* Its word is not enough for others. */
    assert_true(backup_as(writer, other, url, 1, id) > UINT64_C(2) * STORED_BYTES);
    assert_true(backup_as(key, NULL, url, 1, id) > UINT64_C(2) * STORED_BYTES);
    assert_int_equal(restore(url, id, 1, &err), FX_OK);
}

/* A collector rewrites the index: what nobody has opened stays known to who stored it. */
static void
a_collection_takes_no_memory_away(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    char first[FX_SNAPSHOT_ID_TEXT_BYTES];
    char id[FX_SNAPSHOT_ID_TEXT_BYTES];
    char where[URL_BYTES];
    fx_verify_report report = {0};
    FX_AUTO(fx_repository_key) writer = fx_write_only_key(key_path);
    new_url(url);
    new_cache(where);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    (void)backup_as(key, NULL, url, 1, first);
    (void)backup_as(writer, where, url, 2, id);
    FX_AUTO(fx_repository) repository = NULL;
    assert_int_equal(fx_repository_open(url, key, &repository, &err), FX_OK);
    assert_int_equal(fx_repository_forget(repository, first, &err), FX_OK);
    collect_now(url); /* removes a pack, so that it puts new index objects */
    assert_int_equal(backup_as(writer, where, url, 2, id), 0);
    assert_int_equal(restore(url, id, 2, &err), FX_OK);
    /* And what it removes is not counted on: there is no such pack. */
    assert_int_equal(fx_repository_forget(repository, id, &err), FX_OK);
    fx_snapshot_list list = {0};
    size_t unreadable = 0;
    assert_int_equal(fx_repository_list(repository, &list, &unreadable, &err), FX_OK);
    for (size_t i = 0; i < list.count; i++) {
        assert_int_equal(fx_repository_forget(repository, list.items[i].id, &err), FX_OK);
    }
    fx_snapshot_list_free(&list);
    collect_now(url);
    assert_true(backup_as(writer, where, url, 2, id) > STORED_BYTES);
    assert_int_equal(restore(url, id, 2, &err), FX_OK);
    assert_int_equal(verify(url, true, &report, &err), FX_OK);
}

static void
what_a_verifier_opened_counts_for_all(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    char id[FX_SNAPSHOT_ID_TEXT_BYTES];
    char where[URL_BYTES];
    char other[URL_BYTES];
    fx_verify_report report = {0};
    FX_AUTO(fx_repository_key) writer = fx_write_only_key(key_path);
    new_url(url);
    new_cache(where);
    new_cache(other);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    (void)backup_as(writer, where, url, 1, id);
    assert_int_equal(verify(url, false, &report, &err), FX_OK);
    assert_int_equal(report.vouched_pack_count, 0);
    assert_int_equal(verify(url, true, &report, &err), FX_OK);
    assert_true(report.vouched_pack_count >= 1);
    assert_int_equal(report.vouch_failure.code, FX_OK);
    assert_int_equal(verify(url, true, &report, &err), FX_OK);
    assert_int_equal(report.vouched_pack_count, 0);
    assert_int_equal(backup_as(writer, other, url, 1, id), 0);
    assert_int_equal(backup_as(writer, NULL, url, 1, id), 0); /* without a cache folder too */
    assert_int_equal(backup_as(key, NULL, url, 1, id), 0);
    assert_int_equal(restore(url, id, 1, &err), FX_OK);
}

/* ---- own records
 * ------------------------------------------------------------------------------------------- */

static void
what_is_damaged_of_the_own_record_is_not_known(void **state)
{
    (void)state;
    fx_err err = {0};
    char path[URL_BYTES];
    struct stat info;
    (void)snprintf(path, sizeof path, "%s/own", folder);
    for (int i = 0; i < 3; i++) {
        char text[8] = "record0";
        text[6] = (char)('0' + i);
        const fx_own_entry entry = {.index = {{(unsigned char)i}}, .records = {text, sizeof text}};
        assert_int_equal(fx_own_add(path, &entry, &err), FX_OK);
    }
    fx_own own;
    fx_own_load(path, &own);
    assert_int_equal(own.count, 3);
    assert_string_equal(own.entries[2].records.data, "record2");
    fx_own_free(&own);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    for (off_t size = info.st_size - 1; size > 0; size--) {
        assert_int_equal(truncate(path, size), 0);
        fx_own_load(path, &own);
        assert_true(own.count < 3);
        fx_own_free(&own);
    }
    const fx_own_entry entry = {.records = {"new", 4}};
    assert_int_equal(fx_own_add(path, &entry, &err), FX_OK);
    assert_int_equal(chmod(path, 0622), 0);
    fx_own_load(path, &own);
    assert_int_equal(own.count, 0);
    fx_own_free(&own);
}

/* ---- bytes
 * -------------------------------------------------------------------------------------------- */

static void
only_what_a_key_of_the_scope_has_signed_is_a_voucher(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    char id[FX_SNAPSHOT_ID_TEXT_BYTES];
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, 1 << 20);
    new_url(url);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    (void)backup_as(key, NULL, url, 1, id);
    assert_int_equal(fx_file_read(object_at(url, "/verified/"), &bytes, &err), FX_OK);
    fx_scope_keys scope = *fx_repository_key_writes(key);
    {
        FX_AUTO(fx_voucher) voucher = NULL;
        fx_id_set digests = {0};
        assert_int_equal(fx_voucher_decode(fx_buf_bytes(&bytes), &scope, &voucher, &err), FX_OK);
        assert_int_equal(voucher->kept.size_bytes, 0);
        assert_int_equal(fx_voucher_digests(voucher->records, &scope.id, &digests, &err), FX_OK);
        assert_true(digests.count >= 1);
        fx_id_set_free(&digests);
        fx_bytes cut = {voucher->records.data, voucher->records.size_bytes - 1};
        assert_int_equal(fx_voucher_digests(cut, &scope.id, &digests, &err), FX_ERR_DAMAGED);
        fx_id_set_free(&digests);
    }
    for (size_t i = 0; i < bytes.size_bytes; i++) {
        fx_voucher *voucher = NULL;
        bytes.data[i] ^= 1;
        assert_int_not_equal(
            fx_voucher_decode(fx_buf_bytes(&bytes), &scope, &voucher, &err), FX_OK);
        assert_null(voucher);
        bytes.data[i] ^= 1;
    }
    fx_voucher *voucher = NULL;
    fx_scope_keys other = scope;
    other.id.bytes[0] ^= 1;
    assert_int_equal(
        fx_voucher_decode(fx_buf_bytes(&bytes), &other, &voucher, &err), FX_ERR_DAMAGED);
    other = scope;
    other.version_count = 0;
    assert_int_equal(
        fx_voucher_decode(fx_buf_bytes(&bytes), &other, &voucher, &err), FX_ERR_WRONG_KEY);
    fx_scope_version version = scope.versions[0];
    version.verify_key[0] ^= 1;
    other = scope;
    other.versions = &version;
    assert_int_equal(
        fx_voucher_decode(fx_buf_bytes(&bytes), &other, &voucher, &err), FX_ERR_DAMAGED);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_counts_on_a_pack_that_lies),
        cmocka_unit_test(nobody_counts_on_an_index_that_lies),
        cmocka_unit_test(a_lie_about_a_pack_that_nobody_opened_removes_nothing),
        cmocka_unit_test(a_writer_remembers_what_it_stored),
        cmocka_unit_test(a_collection_takes_no_memory_away),
        cmocka_unit_test(what_a_verifier_opened_counts_for_all),
        cmocka_unit_test(what_is_damaged_of_the_own_record_is_not_known),
        cmocka_unit_test(only_what_a_key_of_the_scope_has_signed_is_a_voucher),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
