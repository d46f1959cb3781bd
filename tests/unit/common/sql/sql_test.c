#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/file.h"
#include "common/sql/sql.h"

typedef struct place {
    char folder[64];
    char path[96];
} place;

static const char *const schema[] = {
    "CREATE TABLE thing (name TEXT PRIMARY KEY, weight INTEGER) STRICT",
    "ALTER TABLE thing ADD COLUMN colour TEXT",
};

static int
make_place(void **state)
{
    static place here;
    (void)snprintf(here.folder, sizeof here.folder, "/tmp/fx-sql-XXXXXX");
    assert_non_null(mkdtemp(here.folder));
    (void)snprintf(here.path, sizeof here.path, "%s/db", here.folder);
    *state = &here;
    return 0;
}

static int
remove_place(void **state)
{
    place *here = *state;
    static const char *const names[] = {"db", "db-wal", "db-shm"};
    for (size_t i = 0; i < 3; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s/%s", here->folder, names[i]);
        (void)unlink(path);
    }
    return rmdir(here->folder);
}

static fx_sql *
open_db(const place *here, size_t versions)
{
    fx_err err;
    fx_sql *sql = NULL;
    assert_int_equal(fx_sql_open(here->path, FX_DUR_MS(1000), &sql, &err), FX_OK);
    assert_int_equal(fx_sql_migrate(sql, schema, versions, &err), FX_OK);
    return sql;
}

static void
put(fx_sql *sql, const char *name, int64_t weight)
{
    fx_err err;
    bool row = true;
    FX_AUTO(fx_sql_statement) insert = NULL;
    assert_int_equal(
        fx_sql_prepare(sql, "INSERT INTO thing (name, weight) VALUES (?, ?)", &insert, &err),
        FX_OK);
    fx_sql_bind_text(insert, 1, name);
    fx_sql_bind_int(insert, 2, weight);
    assert_int_equal(fx_sql_step(insert, &row, &err), FX_OK);
    assert_false(row);
}

static void
values_come_back_whatever_they_hold(void **state)
{
    static const char hostile[] = "x'); DROP TABLE thing; --";
    fx_err err;
    bool row = false;
    FX_AUTO(fx_sql) sql = open_db(*state, 1);
    put(sql, hostile, INT64_MIN);
    FX_AUTO(fx_sql_statement) query = NULL;
    assert_int_equal(fx_sql_prepare(sql, "SELECT name, weight FROM thing", &query, &err), FX_OK);
    assert_int_equal(fx_sql_step(query, &row, &err), FX_OK);
    assert_true(row);
    assert_string_equal(fx_sql_text(query, 0), hostile);
    assert_true(fx_sql_int(query, 1) == INT64_MIN);
    assert_int_equal(fx_sql_step(query, &row, &err), FX_OK);
    assert_false(row);
}

static void
migration_keeps_what_was_there(void **state)
{
    fx_err err;
    bool row = false;
    fx_sql *old = open_db(*state, 1);
    put(old, "anvil", 50);
    fx_sql_free(old);
    FX_AUTO(fx_sql) sql = open_db(*state, 2);
    FX_AUTO(fx_sql_statement) query = NULL;
    assert_int_equal(fx_sql_prepare(sql, "SELECT weight, colour FROM thing", &query, &err), FX_OK);
    assert_int_equal(fx_sql_step(query, &row, &err), FX_OK);
    assert_int_equal(fx_sql_int(query, 0), 50);
    assert_string_equal(fx_sql_text(query, 1), "");
}

static void
newer_schema_is_refused(void **state)
{
    const place *here = *state;
    fx_err err;
    fx_sql *newer = open_db(here, 2);
    fx_sql_free(newer);
    FX_AUTO(fx_sql) sql = NULL;
    assert_int_equal(fx_sql_open(here->path, FX_DUR_MS(1000), &sql, &err), FX_OK);
    assert_int_equal(fx_sql_migrate(sql, schema, 1, &err), FX_ERR_UNSUPPORTED);
}

static void
failed_migration_leaves_the_old_version(void **state)
{
    static const char *const broken[] = {
        "CREATE TABLE thing (name TEXT)",
        "CREATE TABLE other (x TEXT); CREATE TABLE thing (y TEXT)"};
    const place *here = *state;
    fx_err err;
    FX_AUTO(fx_sql) sql = NULL;
    assert_int_equal(fx_sql_open(here->path, FX_DUR_MS(1000), &sql, &err), FX_OK);
    assert_int_not_equal(fx_sql_migrate(sql, broken, 2, &err), FX_OK);
    assert_int_equal(fx_sql_migrate(sql, broken, 1, &err), FX_OK);
    assert_int_equal(fx_sql_run(sql, "CREATE TABLE other (x TEXT)", &err), FX_OK);
}

static void
constraint_is_a_conflict(void **state)
{
    fx_err err;
    bool row = false;
    FX_AUTO(fx_sql) sql = open_db(*state, 1);
    put(sql, "anvil", 1);
    FX_AUTO(fx_sql_statement) insert = NULL;
    assert_int_equal(
        fx_sql_prepare(sql, "INSERT INTO thing (name) VALUES ('anvil')", &insert, &err), FX_OK);
    assert_int_equal(fx_sql_step(insert, &row, &err), FX_ERR_CONFLICT);
}

static void
file_that_is_no_database_is_damaged(void **state)
{
    const place *here = *state;
    static const char text[] =
        "this is a letter to a friend and certainly not a database, not at all";
    fx_err err;
    assert_int_equal(fx_file_replace(here->path, (fx_bytes){text, sizeof text}, 0600, &err), FX_OK);
    fx_sql *sql = NULL;
    assert_int_equal(fx_sql_open(here->path, FX_DUR_MS(1000), &sql, &err), FX_ERR_DAMAGED);
    assert_null(sql);
}

static void
sound_file_passes_the_check(void **state)
{
    fx_err err;
    FX_AUTO(fx_sql) sql = open_db(*state, 2);
    assert_int_equal(fx_sql_check(sql, &err), FX_OK);
}

#define WITH_PLACE(test) cmocka_unit_test_setup_teardown(test, make_place, remove_place)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PLACE(values_come_back_whatever_they_hold),
        WITH_PLACE(migration_keeps_what_was_there),
        WITH_PLACE(newer_schema_is_refused),
        WITH_PLACE(failed_migration_leaves_the_old_version),
        WITH_PLACE(constraint_is_a_conflict),
        WITH_PLACE(file_that_is_no_database_is_damaged),
        WITH_PLACE(sound_file_passes_the_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
