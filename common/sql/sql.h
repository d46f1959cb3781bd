/*
 * A SQLite database: statements with bound values only, transactions, migrations by user_version.
 * Door to SQLite.
 *
 * thread: one call per database at a time
 */
#pragma once

#include "common/base/err.h"
#include "common/base/time.h"

typedef struct fx_sql fx_sql;
typedef struct fx_sql_statement fx_sql_statement;

/*
 * Creates what is missing (mode 0600 less the umask); WAL journal, foreign keys on, waits up to
 * `busy_max` for other writers.
 * errors: DENIED, IO, NO_SPACE, DAMAGED (not a database, or a damaged one)
 */
FX_MUST_USE fx_code fx_sql_open(const char *path, fx_dur busy_max, fx_sql **out_sql, fx_err *err);
void fx_sql_free(fx_sql *sql); /* after its statements */
FX_DEFINE_AUTO(fx_sql);

/*
 * Brings the schema from the version that the file has to `count`: migrations[i] leads from version
 * i to i + 1, each in a transaction with its version. errors: UNSUPPORTED (the file is newer),
 * DAMAGED
 */
FX_MUST_USE fx_code
fx_sql_migrate(fx_sql *sql, const char *const *migrations, size_t count, fx_err *err);

/* Reads the whole file for damage ("PRAGMA quick_check"). errors: DAMAGED with the first finding */
FX_MUST_USE fx_code fx_sql_check(fx_sql *sql, fx_err *err);

/* Runs literal statements that give no rows: BEGIN, COMMIT, ROLLBACK. */
FX_MUST_USE fx_code fx_sql_run(fx_sql *sql, const char *text, fx_err *err);

/* `text` must be a literal; values go into its `?` by the functions below. */
FX_MUST_USE fx_code
fx_sql_prepare(fx_sql *sql, const char *text, fx_sql_statement **out_statement, fx_err *err);
void fx_sql_statement_free(fx_sql_statement *statement);
FX_DEFINE_AUTO(fx_sql_statement);

/* `index` counts from 1. Text is copied; NULL binds NULL. */
void fx_sql_bind_text(fx_sql_statement *statement, int index, const char *text);
void fx_sql_bind_int(fx_sql_statement *statement, int index, int64_t number);

/* Gives the next row, or none. errors: BUSY, DAMAGED, NO_SPACE, IO, CONFLICT (a constraint) */
FX_MUST_USE fx_code fx_sql_step(fx_sql_statement *statement, bool *out_row, fx_err *err);

/* Ready to be bound and stepped again. */
void fx_sql_reset(fx_sql_statement *statement);

/* Of the row at hand; `column` counts from 0. NULL reads as "" and 0. Text is valid until the next
 * step. */
const char *fx_sql_text(fx_sql_statement *statement, int column);
int64_t fx_sql_int(fx_sql_statement *statement, int column);
