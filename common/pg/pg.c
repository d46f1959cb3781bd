#include "common/pg/pg.h"

#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/pg/internal.h"

void
fx_pg_first_line(const char *message, char *out_text, size_t room)
{
    const char *begin = message + strspn(message, " \t\n");
    const size_t line = strcspn(begin, "\n");
    (void)snprintf(out_text, room, "%.*s", (int)(line < room ? line : room), begin);
}

fx_code
fx_pg_code_of(const char *sqlstate)
{
    static const struct {
        const char *prefix; /* longest first */
        fx_code code;
    } known[] = {
        {"42501", FX_ERR_DENIED},    /* insufficient_privilege */
        {"42704", FX_ERR_NOT_FOUND}, /* undefined_object: also a slot */
        {"42710", FX_ERR_EXISTS},    /* duplicate_object: also a slot */
        {"53100", FX_ERR_NO_SPACE},  /* disk_full */
        {"55000", FX_ERR_CONFLICT},  /* object_not_in_prerequisite_state */
        {"55006", FX_ERR_BUSY},      /* object_in_use */
        {"57014", FX_ERR_CANCELLED}, /* query_canceled */
        {"58P01", FX_ERR_NOT_FOUND}, /* undefined_file: also a removed WAL segment */
        {"08", FX_ERR_UNREACHABLE},  /* connection_exception */
        {"28", FX_ERR_DENIED},       /* invalid_authorization_specification */
        {"3D", FX_ERR_NOT_FOUND},    /* invalid_catalog_name */
        {"40", FX_ERR_CONFLICT},     /* transaction_rollback */
        {"53", FX_ERR_BUSY},         /* insufficient_resources */
        {"57P", FX_ERR_UNREACHABLE}, /* shutting down, crashed, starting up */
        {"58030", FX_ERR_IO},        /* io_error */
    };
    for (size_t at = 0; at < sizeof known / sizeof known[0]; at++) {
        if (strncmp(sqlstate, known[at].prefix, strlen(known[at].prefix)) == 0) {
            return known[at].code;
        }
    }
    return FX_ERR_FAILED;
}

fx_code
fx_pg_check_usable(const fx_pg *conn, fx_err *err)
{
    FX_ASSERT(conn != NULL);
    if (conn->broken) {
        return fx_fail(
            err, FX_ERR_UNREACHABLE, "the connection to PostgreSQL broke in an earlier call");
    }
    return FX_OK;
}

fx_code
fx_pg_fail_timeout(fx_pg *conn, const char *doing, fx_err *err)
{
    conn->broken = true;
    return fx_fail(err, FX_ERR_TIMEOUT, "could not %s: PostgreSQL did not answer in time", doing);
}

fx_code
fx_pg_fail_connection(fx_pg *conn, const char *doing, fx_err *err)
{
    conn->broken = true;
    char line[200] = {0};
    fx_pg_first_line(PQerrorMessage(conn->pg), line, sizeof line);
    return fx_fail_as(
        err,
        FX_CLASS_UNKNOWN,
        FX_ERR_UNREACHABLE,
        "could not %s: %s",
        doing,
        line[0] != '\0' ? line : "the connection was closed");
}

fx_code
fx_pg_fail_result(fx_pg *conn, const PGresult *result, const char *doing, fx_err *err)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (state == NULL) {
        return fx_pg_fail_connection(conn, doing, err);
    }
    (void)snprintf(conn->sqlstate, sizeof conn->sqlstate, "%s", state);
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const fx_code code = fx_pg_code_of(state);
    if (PQstatus(conn->pg) == CONNECTION_BAD || code == FX_ERR_UNREACHABLE) {
        conn->broken = true;
    }
    /* An error report means a rollback, except where it ended the session: a commit may precede. */
    const fx_err_class outcome = conn->broken              ? FX_CLASS_UNKNOWN
                                 : code == FX_ERR_BUSY     ? FX_CLASS_TRANSIENT
                                 : code == FX_ERR_CONFLICT ? FX_CLASS_TRANSIENT
                                                           : FX_CLASS_PERMANENT;
    return fx_fail_as(
        err,
        outcome,
        code,
        "could not %s: %.170s (SQLSTATE %s)",
        doing,
        text != NULL ? text : "no reason given",
        state);
}

bool
fx_pg_is_broken(const fx_pg *conn)
{
    return conn->broken || PQstatus(conn->pg) == CONNECTION_BAD;
}

const char *
fx_pg_sqlstate(const fx_pg *conn)
{
    return conn->sqlstate;
}

int
fx_pg_server_version(const fx_pg *conn)
{
    return PQserverVersion(conn->pg);
}

const char *
fx_pg_parameter(const fx_pg *conn, const char *name)
{
    const char *value = PQparameterStatus(conn->pg, name);
    return value != NULL ? value : "";
}

/* ---- statements ---------------------------------------------------------------------------------
 */

fx_code
fx_pg_flush(fx_pg *conn, fx_mono deadline, fx_err *err)
{
    int left = PQflush(conn->pg);
    while (left == 1) {
        if (!fx_pg_wait(conn, true, deadline)) {
            return fx_pg_fail_timeout(conn, "send to PostgreSQL", err);
        }
        if (PQconsumeInput(conn->pg) == 0) {
            return fx_pg_fail_connection(conn, "send to PostgreSQL", err);
        }
        left = PQflush(conn->pg);
    }
    if (left < 0) {
        return fx_pg_fail_connection(conn, "send to PostgreSQL", err);
    }
    return FX_OK;
}

fx_code
fx_pg_take_result(fx_pg *conn, fx_mono deadline, PGresult **out_result, fx_err *err)
{
    while (PQisBusy(conn->pg) == 1) {
        if (!fx_pg_wait(conn, false, deadline)) {
            return fx_pg_fail_timeout(conn, "run the statement", err);
        }
        if (PQconsumeInput(conn->pg) == 0) {
            return fx_pg_fail_connection(conn, "run the statement", err);
        }
    }
    *out_result = PQgetResult(conn->pg);
    return FX_OK;
}

/* Takes every result of the statement; keeps the last good one, fails with the first bad one. */
static fx_code
collect(fx_pg *conn, fx_mono deadline, PGresult **out_last, fx_err *err)
{
    fx_code code = FX_OK;
    PGresult *last = NULL;
    for (;;) {
        PGresult *result = NULL;
        if (fx_pg_take_result(conn, deadline, &result, err) != FX_OK) {
            PQclear(last);
            return err->code;
        }
        if (result == NULL) {
            break;
        }
        const ExecStatusType status = PQresultStatus(result);
        if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) {
            PQclear(last);
            last = result;
            continue;
        }
        if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) {
            conn->broken = true; /* there is no way out of a copy that nobody reads */
            code = fx_fail(err, FX_ERR_UNSUPPORTED, "could not run the statement: it copies");
        } else if (code == FX_OK) {
            code = fx_pg_fail_result(conn, result, "run the statement", err);
        }
        PQclear(result);
        if (conn->broken) {
            break;
        }
    }
    if (code != FX_OK) {
        PQclear(last);
        return code;
    }
    if (last == NULL) {
        return fx_pg_fail_connection(conn, "run the statement", err);
    }
    *out_last = last;
    return FX_OK;
}

fx_code
fx_pg_query(
    fx_pg *conn,
    const char *sql,
    const fx_pg_params *params,
    fx_mono deadline,
    fx_pg_result **out_result,
    fx_err *err)
{
    FX_ASSERT(sql != NULL && out_result != NULL);
    if (fx_pg_check_usable(conn, err) != FX_OK) {
        return err->code;
    }
    conn->sqlstate[0] = '\0';
    int sent = 0;
    if (params == NULL) {
        sent = PQsendQuery(conn->pg, sql);
    } else {
        FX_ASSERT(params->count <= UINT16_MAX);
        sent = PQsendQueryParams(
            conn->pg, sql, (int)params->count, NULL, params->values, NULL, NULL, 0);
    }
    if (sent != 1) {
        return fx_pg_fail_connection(conn, "send the statement", err);
    }
    PGresult *result = NULL;
    if (fx_pg_flush(conn, deadline, err) != FX_OK ||
        collect(conn, deadline, &result, err) != FX_OK) {
        return err->code;
    }
    *out_result = (fx_pg_result *)result;
    return FX_OK;
}

/* The struct has no definition: it is libpq's result under our name. */
static const PGresult *
inner(const fx_pg_result *result)
{
    FX_ASSERT(result != NULL);
    return (const PGresult *)result;
}

void
fx_pg_result_free(fx_pg_result *result)
{
    PQclear((PGresult *)result);
}

size_t
fx_pg_row_count(const fx_pg_result *result)
{
    return (size_t)PQntuples(inner(result));
}

size_t
fx_pg_column_count(const fx_pg_result *result)
{
    return (size_t)PQnfields(inner(result));
}

const char *
fx_pg_value(const fx_pg_result *result, size_t row, size_t column)
{
    FX_ASSERT(row < fx_pg_row_count(result));
    FX_ASSERT(column < fx_pg_column_count(result));
    const int at_row = (int)row;
    const int at_column = (int)column;
    if (PQgetisnull(inner(result), at_row, at_column) == 1) {
        return NULL;
    }
    return PQgetvalue(inner(result), at_row, at_column);
}

fx_code
fx_pg_exec(fx_pg *conn, const char *sql, fx_mono deadline, fx_err *err)
{
    FX_AUTO(fx_pg_result) result = NULL;
    return fx_pg_query(conn, sql, NULL, deadline, &result, err);
}

fx_code
fx_pg_query_text(
    fx_pg *conn,
    const char *sql,
    const fx_pg_params *params,
    fx_mono deadline,
    fx_buf *out_text,
    fx_err *err)
{
    FX_AUTO(fx_pg_result) result = NULL;
    if (fx_pg_query(conn, sql, params, deadline, &result, err) != FX_OK) {
        return err->code;
    }
    if (fx_pg_row_count(result) == 0 || fx_pg_column_count(result) == 0) {
        return fx_fail(err, FX_ERR_NOT_FOUND, "the statement gave no row: %.120s", sql);
    }
    const char *value = fx_pg_value(result, 0, 0);
    fx_buf_clear(out_text);
    return fx_buf_append_text(out_text, value != NULL ? value : "", err);
}

static fx_code
append_quoted(fx_pg *conn, char *quoted, fx_buf *out, fx_err *err)
{
    if (quoted == NULL) {
        char line[160] = {0};
        fx_pg_first_line(PQerrorMessage(conn->pg), line, sizeof line);
        return fx_fail(err, FX_ERR_INVALID, "could not quote a text: %s", line);
    }
    const fx_code code = fx_buf_append_text(out, quoted, err);
    PQfreemem(quoted);
    return code;
}

fx_code
fx_pg_quote_literal(fx_pg *conn, const char *text, fx_buf *out, fx_err *err)
{
    return append_quoted(conn, PQescapeLiteral(conn->pg, text, strlen(text)), out, err);
}

fx_code
fx_pg_quote_identifier(fx_pg *conn, const char *name, fx_buf *out, fx_err *err)
{
    return append_quoted(conn, PQescapeIdentifier(conn->pg, name, strlen(name)), out, err);
}

/* ---- recovery -----------------------------------------------------------------------------------
 */

fx_code
fx_pg_is_in_recovery(fx_pg *conn, fx_mono deadline, bool *out_in_recovery, fx_err *err)
{
    FX_BUF_AUTO text = {0};
    fx_buf_init(&text, 16);
    if (fx_pg_query_text(
            conn, "SELECT pg_catalog.pg_is_in_recovery()", NULL, deadline, &text, err) != FX_OK) {
        return fx_err_wrap(err, "asking whether the server is in recovery");
    }
    *out_in_recovery = strcmp(fx_buf_text(&text), "t") == 0;
    return FX_OK;
}

fx_code
fx_pg_promote(fx_pg *conn, fx_mono deadline, fx_err *err)
{
    bool in_recovery = true;
    if (fx_pg_is_in_recovery(conn, deadline, &in_recovery, err) != FX_OK) {
        if (err->outcome == FX_CLASS_UNKNOWN) {
            err->outcome = FX_CLASS_TRANSIENT; /* nothing was asked for yet */
        }
        return fx_err_wrap(err, "before promotion");
    }
    if (!in_recovery) {
        return FX_OK;
    }
    /* Not pg_promote(true, n): it holds the only connection while it waits in steps of 100 ms. */
    if (fx_pg_exec(conn, "SELECT pg_catalog.pg_promote(false)", deadline, err) != FX_OK) {
        return fx_err_wrap(err, "asking for promotion");
    }
    for (;;) {
        if (fx_pg_is_in_recovery(conn, deadline, &in_recovery, err) != FX_OK) {
            err->outcome = FX_CLASS_UNKNOWN;
            return fx_err_wrap(err, "after promotion was asked for");
        }
        if (!in_recovery) {
            return FX_OK;
        }
        if (fx_clock_mono().ns >= deadline.ns) {
            return fx_fail(
                err,
                FX_ERR_TIMEOUT,
                "could not see the promotion end: it was asked for and the server is still in "
                "recovery at the deadline");
        }
        fx_clock_sleep(FX_DUR_MS(20)); /* between two looks, bounded by the deadline */
    }
}
