#include "tests/unit/common/repository/engine.h"

#include "common/repository/internal.h"
#include "common/repository/key.h"
#include "common/repository/snapshot.h"
#include "tests/support/poison.h"

static const char source[] = "files:test";
static const char host[] = "db1";

/* In the name of the same host, as all backups of this program. */
static void
backup_as(fx_repository_key *other, const char *url, int version, fx_snapshot *out_snapshot)
{
    fx_err err = {0};
    fx_repository_key *before = key;
    key = other;
    fx_code code = backup(url, version, out_snapshot, &err);
    key = before;
    assert_int_equal(code, FX_OK);
}

static fx_code
find_parent(const char *url, fx_snapshot *out_parent, fx_err *err)
{
    fx_root root;
    FX_AUTO(fx_repository) repository = NULL;
    assert_int_equal(open_repository(url, &repository, err), FX_OK);
    return fx_repository_find_parent(repository, source, host, out_parent, &root, err);
}

static bool
is_doubtful(const char *url, const fx_snapshot *snapshot)
{
    fx_err err = {0};
    FX_AUTO(fx_repository) repository = NULL;
    assert_int_equal(open_repository(url, &repository, &err), FX_OK);
    fx_snapshot found = {0};
    const fx_wall any = {0};
    assert_int_equal(
        fx_repository_find(repository, snapshot->id, NULL, NULL, any, &found, &err), FX_OK);
    bool is_doubtful = false;
    assert_int_equal(fx_repository_is_doubtful(repository, &found, &is_doubtful, &err), FX_OK);
    return is_doubtful;
}

/* A snapshot of that root, signed by whoever holds `sign` in the place of the scope's key. */
static void
put_signed_by(
    const char *url,
    const unsigned char sign[FX_SIGN_KEY_BYTES],
    const fx_snapshot *like,
    fx_snapshot *out_snapshot)
{
    fx_err err = {0};
    fx_session session;
    fx_root root;
    FX_AUTO(fx_repository) repository = NULL;
    assert_int_equal(open_repository(url, &repository, &err), FX_OK);
    assert_int_equal(fx_repository_snapshot_root(repository, like->id, &root, &err), FX_OK);
    assert_int_equal(fx_session_begin(key, &session, &err), FX_OK);
    fx_scope_keys scope = *fx_repository_key_writes(key);
    fx_scope_version version = scope.versions[scope.version_count - 1];
    memcpy(version.sign, sign, sizeof version.sign);
    scope.versions = &version;
    scope.version_count = 1;
    fx_snapshot_place place = {
        .store = repository->store, .session = &session, .scope = &scope, .lease = ""};
    fx_snapshot snapshot = *like;
    snapshot.began.ns += 1000;
    assert_int_equal(fx_snapshot_put(&place, &root.id, &snapshot, &err), FX_OK);
    *out_snapshot = snapshot;
}

/* What it says of a file's size and times would keep the file from being read. */
static void
nobody_builds_on_a_snapshot_that_another_put_in_his_name(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    fx_snapshot own = {0};
    fx_snapshot forged = {0};
    fx_snapshot found = {0};
    new_url(url);
    FX_AUTO(fx_repository_key) thief = fx_write_only_key(key_path);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);

    backup_as(thief, url, 1, &forged);
    assert_int_equal(find_parent(url, &found, &err), FX_ERR_NOT_FOUND);
    assert_false(is_doubtful(url, &forged)); /* there is no other */

    backup_as(key, url, 2, &own);
    backup_as(thief, url, 3, &forged);
    assert_int_equal(find_parent(url, &found, &err), FX_OK);
    assert_string_equal(found.id, own.id);
    assert_true(found.is_signed);
    assert_true(is_doubtful(url, &forged));
    assert_false(is_doubtful(url, &own));
}

static void
a_signature_of_another_key_is_damage(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    fx_verify_report report = {0};
    fx_snapshot own = {0};
    fx_snapshot forged = {0};
    fx_snapshot found = {0};
    unsigned char sign[FX_SIGN_KEY_BYTES] = {1, 2, 3};
    new_url(url);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    backup_as(key, url, 1, &own);
    put_signed_by(url, sign, &own, &forged);

    assert_int_equal(restore(url, forged.id, 1, &err), FX_ERR_DAMAGED);
    assert_non_null(strstr(err.message, "not signed"));
    assert_int_equal(verify(url, false, &report, &err), FX_ERR_DAMAGED);
    assert_int_equal(report.damage_count, 1);
    assert_int_equal(find_parent(url, &found, &err), FX_OK);
    assert_string_equal(found.id, own.id);
}

/* A newer one of his that is damaged is passed over: it costs time, and nothing else. */
static void
a_damaged_parent_gives_way_to_the_one_before(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    fx_snapshot first = {0};
    fx_snapshot second = {0};
    fx_snapshot found = {0};
    char part[80];
    new_url(url);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    backup_as(key, url, 1, &first);
    backup_as(key, url, 2, &second);
    (void)snprintf(part, sizeof part, "snapshots/%.64s", second.id);
    assert_int_equal(chmod(object_at(url, part), 0600), 0);
    assert_int_equal(truncate(object_at(url, part), 100), 0);
    assert_int_equal(find_parent(url, &found, &err), FX_OK);
    assert_string_equal(found.id, first.id);
}

/* The same put with the scope's own key is none: what the test above shows is the key. */
static void
a_signature_of_the_scope_counts(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    fx_snapshot own = {0};
    fx_snapshot later = {0};
    fx_snapshot found = {0};
    const fx_scope_keys *scope = fx_repository_key_writes(key);
    new_url(url);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    backup_as(key, url, 1, &own);
    put_signed_by(url, scope->versions[scope->version_count - 1].sign, &own, &later);
    assert_int_equal(find_parent(url, &found, &err), FX_OK);
    assert_string_equal(found.id, later.id);
    assert_int_equal(restore(url, later.id, 1, &err), FX_OK);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_builds_on_a_snapshot_that_another_put_in_his_name),
        cmocka_unit_test(a_signature_of_another_key_is_damage),
        cmocka_unit_test(a_damaged_parent_gives_way_to_the_one_before),
        cmocka_unit_test(a_signature_of_the_scope_counts),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
