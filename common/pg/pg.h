/*
 * Connections to PostgreSQL in which every wait has a deadline. Door to libpq.
 *
 * A failure's message holds the server's own text and SQLSTATE. After TIMEOUT, UNREACHABLE or
 * CANCELLED the connection is broken: every later call fails; free it and open another.
 *
 * thread: any; one call per connection at a time
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/lsn.h"
#include "common/base/time.h"
#include "common/pg/wal_name.h"

/* ---- connection strings
 * --------------------------------------------------------------------------- */

typedef struct fx_pg_option {
    const char *keyword; /* "host" */
    const char *value;   /* NULL or "" leaves the option out */
} fx_pg_option;

/*
 * Takes `conninfo` ("key=value …" or a postgresql:// address), replaces the options given and
 * writes a quoted "key=value …" string. errors: INVALID, LIMIT
 */
FX_MUST_USE fx_code fx_pg_conninfo_with(
    const char *conninfo, const fx_pg_option *options, size_t count, fx_buf *out, fx_err *err);

/* ---- connection
 * ----------------------------------------------------------------------------------- */

typedef struct fx_pg fx_pg;

/*
 * Connects, with keepalives that notice a dead peer within about 15 s. Every host that the string
 * names is tried until the deadline. errors: INVALID (conninfo), DENIED, UNREACHABLE (also:
 * starting up), BUSY (no connection slot left), TIMEOUT (TRANSIENT)
 */
FX_MUST_USE fx_code
fx_pg_open(const char *conninfo, fx_mono deadline, fx_pg **out_conn, fx_err *err);

/* The same, for physical replication: understands IDENTIFY_SYSTEM, BASE_BACKUP, START_REPLICATION…
 */
FX_MUST_USE fx_code
fx_pg_open_replication(const char *conninfo, fx_mono deadline, fx_pg **out_conn, fx_err *err);

void fx_pg_free(fx_pg *conn);
FX_DEFINE_AUTO(fx_pg);

bool fx_pg_is_broken(const fx_pg *conn);

/* Of the last failure that the server reported on this connection, "" if there was none. */
const char *fx_pg_sqlstate(const fx_pg *conn);

/* The code that goes with an SQLSTATE. */
fx_code fx_pg_code_of(const char *sqlstate);

/* 150020 for 15.20 */
int fx_pg_server_version(const fx_pg *conn);

/* A parameter that the server reports by itself ("server_version", "TimeZone"); "" if it does not.
 */
const char *fx_pg_parameter(const fx_pg *conn, const char *name);

/* ---- statements
 * ----------------------------------------------------------------------------------- */

typedef struct fx_pg_params {
    const char *const *values; /* text for $1…; NULL is SQL's NULL */
    size_t count;
} fx_pg_params;

typedef struct fx_pg_result fx_pg_result;

/*
 * Runs a statement; `params` NULL: none, and then several statements may stand in `sql` (the last
 * one's result counts). errors: by SQLSTATE: DENIED, NOT_FOUND, BUSY, CONFLICT, NO_SPACE,
 * UNREACHABLE, FAILED…; TIMEOUT and UNREACHABLE are UNKNOWN: the statement may have taken effect
 */
FX_MUST_USE fx_code fx_pg_query(
    fx_pg *conn,
    const char *sql,
    const fx_pg_params *params,
    fx_mono deadline,
    fx_pg_result **out_result,
    fx_err *err);
void fx_pg_result_free(fx_pg_result *result);
FX_DEFINE_AUTO(fx_pg_result);

size_t fx_pg_row_count(const fx_pg_result *result);
size_t fx_pg_column_count(const fx_pg_result *result);
/* Borrowed; NULL for SQL's NULL. Asserts that the row and column exist. */
const char *fx_pg_value(const fx_pg_result *result, size_t row, size_t column);

/* A statement whose result does not matter. */
FX_MUST_USE fx_code fx_pg_exec(fx_pg *conn, const char *sql, fx_mono deadline, fx_err *err);

/* The one value of one row, "" for NULL. errors: also NOT_FOUND when there is no row */
FX_MUST_USE fx_code fx_pg_query_text(
    fx_pg *conn,
    const char *sql,
    const fx_pg_params *params,
    fx_mono deadline,
    fx_buf *out_text,
    fx_err *err);

/* Appends 'text' or "name", quoted for this connection. */
FX_MUST_USE fx_code fx_pg_quote_literal(fx_pg *conn, const char *text, fx_buf *out, fx_err *err);
FX_MUST_USE fx_code fx_pg_quote_identifier(fx_pg *conn, const char *name, fx_buf *out, fx_err *err);

/* ---- recovery
 * ------------------------------------------------------------------------------------- */

FX_MUST_USE fx_code
fx_pg_is_in_recovery(fx_pg *conn, fx_mono deadline, bool *out_in_recovery, fx_err *err);

/*
 * Asks for promotion and returns when the server was seen to be out of recovery; success also when
 * it was already. errors: TIMEOUT is UNKNOWN: it was asked for and may still happen
 */
FX_MUST_USE fx_code fx_pg_promote(fx_pg *conn, fx_mono deadline, fx_err *err);

/* ---- the replication protocol
 * ---------------------------------------------------------------------- */

typedef struct fx_pg_system {
    char identifier[24]; /* decimal: names one cluster for its life */
    uint32_t timeline;
    fx_lsn flushed;
} fx_pg_system;

/* IDENTIFY_SYSTEM. */
FX_MUST_USE fx_code
fx_pg_identify(fx_pg *conn, fx_mono deadline, fx_pg_system *out_system, fx_err *err);

/* The server's wal_segment_size. errors: also UNSUPPORTED (a size that no server should have) */
FX_MUST_USE fx_code
fx_pg_segment_bytes(fx_pg *conn, fx_mono deadline, uint32_t *out_bytes, fx_err *err);

/* Sends a command whose results are then taken one by one with fx_pg_next. */
FX_MUST_USE fx_code fx_pg_send(fx_pg *conn, const char *sql, fx_mono deadline, fx_err *err);

typedef enum fx_pg_next_kind {
    FX_PG_NEXT_ROWS,      /* `out_result` holds rows, maybe none */
    FX_PG_NEXT_COPY_OUT,  /* read with fx_pg_copy_read until END, then fx_pg_next again */
    FX_PG_NEXT_COPY_BOTH, /* likewise, and fx_pg_copy_write */
    FX_PG_NEXT_DONE,      /* nothing is left: another command may be sent */
} fx_pg_next_kind;

/* `out_result` is set for ROWS only. */
FX_MUST_USE fx_code fx_pg_next(
    fx_pg *conn,
    fx_mono deadline,
    fx_pg_next_kind *out_kind,
    fx_pg_result **out_result,
    fx_err *err);

typedef enum fx_pg_copy_kind {
    FX_PG_COPY_DATA, /* one CopyData message, at least one byte, valid until the next call */
    FX_PG_COPY_END,  /* the server has ended its side */
    FX_PG_COPY_IDLE, /* nothing came before the deadline; not a failure */
} fx_pg_copy_kind;

FX_MUST_USE fx_code fx_pg_copy_read(
    fx_pg *conn, fx_mono deadline, fx_pg_copy_kind *out_kind, fx_bytes *out_message, fx_err *err);
FX_MUST_USE fx_code fx_pg_copy_write(fx_pg *conn, fx_bytes message, fx_mono deadline, fx_err *err);
/* Ends our side of COPY BOTH; success also when the server has ended both. */
FX_MUST_USE fx_code fx_pg_copy_end(fx_pg *conn, fx_mono deadline, fx_err *err);
