#include "common/sql/sql.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <sqlite3.h>

struct fx_sql {
    sqlite3 *db;
    size_t statement_count;
};

struct fx_sql_statement {
    fx_sql *sql;
    sqlite3_stmt *stmt;
};

static fx_code
code_of(int result)
{
    switch (result & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return FX_ERR_BUSY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return FX_ERR_DAMAGED;
    case SQLITE_FULL:
        return FX_ERR_NO_SPACE;
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
        return FX_ERR_DENIED;
    case SQLITE_CONSTRAINT:
        return FX_ERR_CONFLICT;
    case SQLITE_TOOBIG:
        return FX_ERR_LIMIT;
    default:
        return FX_ERR_IO;
    }
}

/* Fails as the database says, with its own text. */
static fx_code
fail_sql(const fx_sql *sql, const char *doing, fx_err *err)
{
    return fx_fail(
        err,
        code_of(sqlite3_extended_errcode(sql->db)),
        "could not %s: %s",
        doing,
        sqlite3_errmsg(sql->db));
}

static fx_code
configure(fx_sql *sql, fx_dur busy_max, fx_err *err)
{
    int64_t busy_ms = fx_dur_ms(busy_max);
    FX_ASSERT(busy_ms >= 0 && busy_ms <= INT_MAX);
    (void)sqlite3_extended_result_codes(sql->db, 1);
    (void)sqlite3_busy_timeout(sql->db, (int)busy_ms);
    /* Only WAL lets readers go on while a refresh writes. The first pragma also reads the file. */
    fx_code code = fx_sql_run(sql, "PRAGMA journal_mode = WAL", err);
    if (code == FX_OK) {
        code = fx_sql_run(sql, "PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON", err);
    }
    return code;
}

fx_code
fx_sql_open(const char *path, fx_dur busy_max, fx_sql **out_sql, fx_err *err)
{
    FX_AUTO(fx_sql) sql = calloc(1, sizeof *sql);
    FX_ASSERT(sql != NULL);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX;
    int result = sqlite3_open_v2(path, &sql->db, flags, NULL);
    FX_ASSERT(sql->db != NULL); /* NULL only when memory is exhausted */
    if (result != SQLITE_OK) {
        return fx_fail(
            err,
            code_of(result),
            "could not open the database \"%.120s\": %s",
            path,
            sqlite3_errmsg(sql->db));
    }
    if (configure(sql, busy_max, err) != FX_OK) {
        return fx_err_wrap(err, "opening the database \"%.160s\"", path);
    }
    *out_sql = FX_TAKE(sql);
    return FX_OK;
}

void
fx_sql_free(fx_sql *sql)
{
    if (sql == NULL) {
        return;
    }
    FX_ASSERT(sql->statement_count == 0);
    FX_ASSERT(sqlite3_close(sql->db) == SQLITE_OK);
    free(sql);
}

fx_code
fx_sql_run(fx_sql *sql, const char *text, fx_err *err)
{
    if (sqlite3_exec(sql->db, text, NULL, NULL, NULL) != SQLITE_OK) {
        return fail_sql(sql, "change the database", err);
    }
    return FX_OK;
}

static fx_code
read_version(fx_sql *sql, int64_t *out_version, fx_err *err)
{
    FX_AUTO(fx_sql_statement) statement = NULL;
    fx_code code = fx_sql_prepare(sql, "PRAGMA user_version", &statement, err);
    if (code != FX_OK) {
        return code;
    }
    bool row = false;
    code = fx_sql_step(statement, &row, err);
    if (code == FX_OK) {
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed by the cleanup attribute */
        *out_version = row ? fx_sql_int(statement, 0) : 0;
    }
    return code;
}

static fx_code
migrate_one(fx_sql *sql, const char *migration, size_t to_version, fx_err *err)
{
    char set_version[64]; /* a pragma takes no bound value */
    (void)snprintf(set_version, sizeof set_version, "PRAGMA user_version = %zu", to_version);
    fx_code code = fx_sql_run(sql, "BEGIN IMMEDIATE", err);
    if (code != FX_OK) {
        return code;
    }
    code = fx_sql_run(sql, migration, err);
    if (code == FX_OK) {
        code = fx_sql_run(sql, set_version, err);
    }
    if (code == FX_OK) {
        code = fx_sql_run(sql, "COMMIT", err);
    }
    if (code != FX_OK) {
        fx_err ignored;
        fx_ignore(fx_sql_run(sql, "ROLLBACK", &ignored), "the first failure is the one to report");
        return fx_err_wrap(err, "migrating the schema to version %zu", to_version);
    }
    return FX_OK;
}

fx_code
fx_sql_migrate(fx_sql *sql, const char *const *migrations, size_t count, fx_err *err)
{
    int64_t version = 0;
    fx_code code = read_version(sql, &version, err);
    if (code != FX_OK) {
        return code;
    }
    if (version < 0 || (uint64_t)version > count) {
        return fx_fail(
            err,
            FX_ERR_UNSUPPORTED,
            "could not use the database: its schema has version %lld, this program knows %zu",
            (long long)version,
            count);
    }
    for (size_t i = (size_t)version; i < count && code == FX_OK; i++) {
        code = migrate_one(sql, migrations[i], i + 1, err);
    }
    return code;
}

fx_code
fx_sql_check(fx_sql *sql, fx_err *err)
{
    FX_AUTO(fx_sql_statement) statement = NULL;
    fx_code code = fx_sql_prepare(sql, "PRAGMA quick_check(1)", &statement, err);
    if (code != FX_OK) {
        return code;
    }
    bool row = false;
    code = fx_sql_step(statement, &row, err);
    if (code == FX_OK && (!row || strcmp(fx_sql_text(statement, 0), "ok") != 0)) {
        return fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not trust the database: %.160s",
            /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed by the cleanup attribute */
            row ? fx_sql_text(statement, 0) : "the check says nothing");
    }
    return code;
}

fx_code
fx_sql_prepare(fx_sql *sql, const char *text, fx_sql_statement **out_statement, fx_err *err)
{
    sqlite3_stmt *stmt = NULL;
    if (sqlite3_prepare_v2(sql->db, text, -1, &stmt, NULL) != SQLITE_OK) {
        return fail_sql(sql, "prepare a statement", err);
    }
    FX_ASSERT(stmt != NULL);
    fx_sql_statement *statement = calloc(1, sizeof *statement);
    FX_ASSERT(statement != NULL);
    *statement = (fx_sql_statement){.sql = sql, .stmt = stmt};
    sql->statement_count++;
    *out_statement = statement;
    return FX_OK;
}

void
fx_sql_statement_free(fx_sql_statement *statement)
{
    if (statement == NULL) {
        return;
    }
    (void)sqlite3_finalize(statement->stmt); /* repeats the result of the last step */
    statement->sql->statement_count--;
    free(statement);
}

/* Fails only for an index that is not in the literal text, or while a row is at hand. */
static void
must_bind(int result)
{
    FX_ASSERT(result == SQLITE_OK || result == SQLITE_TOOBIG);
}

void
fx_sql_bind_text(fx_sql_statement *statement, int index, const char *text)
{
    must_bind(sqlite3_bind_text(statement->stmt, index, text, -1, SQLITE_TRANSIENT));
}

void
fx_sql_bind_int(fx_sql_statement *statement, int index, int64_t number)
{
    must_bind(sqlite3_bind_int64(statement->stmt, index, number));
}

fx_code
fx_sql_step(fx_sql_statement *statement, bool *out_row, fx_err *err)
{
    int result = sqlite3_step(statement->stmt);
    if (result != SQLITE_ROW && result != SQLITE_DONE) {
        return fail_sql(statement->sql, "run a statement", err);
    }
    *out_row = result == SQLITE_ROW;
    return FX_OK;
}

void
fx_sql_reset(fx_sql_statement *statement)
{
    (void)sqlite3_reset(statement->stmt); /* repeats the result of the last step */
    (void)sqlite3_clear_bindings(statement->stmt);
}

const char *
fx_sql_text(fx_sql_statement *statement, int column)
{
    const unsigned char *text = sqlite3_column_text(statement->stmt, column);
    return text == NULL ? "" : (const char *)text;
}

int64_t
fx_sql_int(fx_sql_statement *statement, int column)
{
    return sqlite3_column_int64(statement->stmt, column);
}
