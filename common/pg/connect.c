#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/pg/internal.h"

enum { CONNINFO_MAX_OPTIONS = 96 };

bool
fx_pg_wait(const fx_pg *conn, bool for_write, fx_mono deadline)
{
    const short events = (short)(for_write ? POLLIN | POLLOUT : POLLIN);
    struct pollfd watched = {.fd = PQsocket(conn->pg), .events = events};
    for (;;) {
        const int64_t left_ns = deadline.ns - fx_clock_mono().ns;
        const int64_t left_ms = left_ns <= 0 ? 0 : (left_ns + FX_NS_PER_MS - 1) / FX_NS_PER_MS;
        const int ready = poll(&watched, 1, left_ms > INT32_MAX ? INT32_MAX : (int)left_ms);
        if (ready > 0) {
            return true;
        }
        if (ready == 0 || errno != EINTR) {
            return false;
        }
    }
}

/* ---- connection strings -------------------------------------------------------------------------
 */

static fx_code
fail_conninfo(char *message, fx_err *err)
{
    char line[160] = "out of memory";
    if (message != NULL) {
        fx_pg_first_line(message, line, sizeof line);
        PQfreemem(message);
    }
    return fx_fail(err, FX_ERR_INVALID, "could not read the connection string: %s", line);
}

static fx_code
append_option(fx_buf *out, const char *keyword, const char *value, fx_err *err)
{
    if (fx_buf_append_format(out, err, "%s%s='", out->size_bytes > 0 ? " " : "", keyword) !=
        FX_OK) {
        return err->code;
    }
    for (const char *c = value; *c != '\0'; c++) {
        if ((*c == '\'' || *c == '\\') && fx_buf_append(out, "\\", 1, err) != FX_OK) {
            return err->code;
        }
        if (fx_buf_append(out, c, 1, err) != FX_OK) {
            return err->code;
        }
    }
    return fx_buf_append(out, "'", 1, err);
}

static const char *
option_value(const PQconninfoOption *option, const fx_pg_option *options, size_t count)
{
    const char *value = option->val;
    for (size_t at = 0; at < count; at++) {
        if (strcmp(options[at].keyword, option->keyword) == 0) {
            value = options[at].value;
        }
    }
    return value;
}

fx_code
fx_pg_conninfo_with(
    const char *conninfo, const fx_pg_option *options, size_t count, fx_buf *out, fx_err *err)
{
    FX_ASSERT(conninfo != NULL && out != NULL);
    char *message = NULL;
    PQconninfoOption *parsed = PQconninfoParse(conninfo, &message);
    if (parsed == NULL) {
        return fail_conninfo(message, err);
    }
    fx_code code = FX_OK;
    for (const PQconninfoOption *at = parsed; code == FX_OK && at->keyword != NULL; at++) {
        const char *value = option_value(at, options, count);
        if (value != NULL && value[0] != '\0') {
            code = append_option(out, at->keyword, value, err);
        }
    }
    PQconninfoFree(parsed);
    return code;
}

/* ---- connecting ---------------------------------------------------------------------------------
 */

/*
 * The text of a refusal comes with its SQLSTATE because the connection is verbose while it is made:
 * "FATAL:  28P01: password authentication failed". Cuts the code out and keeps it.
 */
static void
take_sqlstate(fx_pg *conn, char *line)
{
    for (char *at = strstr(line, ":  "); at != NULL; at = strstr(at + 1, ":  ")) {
        const char *state = at + 3;
        if (strspn(state, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 && state[5] == ':') {
            memcpy(conn->sqlstate, state, 5);
            conn->sqlstate[5] = '\0';
            memmove(at + 2, at + 10, strlen(at + 10) + 1);
            return;
        }
    }
}

static fx_code
fail_open(fx_pg *conn, fx_err *err)
{
    char line[200] = {0};
    fx_pg_first_line(PQerrorMessage(conn->pg), line, sizeof line);
    take_sqlstate(conn, line);
    if (conn->sqlstate[0] != '\0') {
        return fx_fail(
            err,
            fx_pg_code_of(conn->sqlstate),
            "could not connect to PostgreSQL: %s (SQLSTATE %s)",
            line,
            conn->sqlstate);
    }
    const fx_code code = PQconnectionNeedsPassword(conn->pg) ? FX_ERR_DENIED : FX_ERR_UNREACHABLE;
    return fx_fail(err, code, "could not connect to PostgreSQL: %s", line);
}

static fx_code
finish_connecting(fx_pg *conn, fx_mono deadline, fx_err *err)
{
    if (PQstatus(conn->pg) == CONNECTION_BAD) {
        return fail_open(conn, err);
    }
    (void)PQsetErrorVerbosity(conn->pg, PQERRORS_VERBOSE);
    PostgresPollingStatusType state = PGRES_POLLING_WRITING;
    while (state != PGRES_POLLING_OK) {
        struct pollfd watched = {
            .fd = PQsocket(conn->pg),
            .events = (short)(state == PGRES_POLLING_WRITING ? POLLOUT : POLLIN)};
        const int64_t left_ms = (deadline.ns - fx_clock_mono().ns) / FX_NS_PER_MS;
        const int ready =
            left_ms <= 0 ? 0 : poll(&watched, 1, left_ms > INT32_MAX ? INT32_MAX : (int)left_ms);
        if (ready == 0) {
            return fx_fail_as(
                err,
                FX_CLASS_TRANSIENT,
                FX_ERR_TIMEOUT,
                "could not connect to PostgreSQL at %s port %s: no answer in time",
                PQhost(conn->pg),
                PQport(conn->pg));
        }
        if (ready < 0 && errno != EINTR) {
            return fx_fail_errno(err, errno, "could not wait for PostgreSQL");
        }
        if (ready > 0) {
            state = PQconnectPoll(conn->pg);
        }
        if (state == PGRES_POLLING_FAILED) {
            return fail_open(conn, err);
        }
    }
    (void)PQsetErrorVerbosity(conn->pg, PQERRORS_DEFAULT);
    if (PQsetnonblocking(conn->pg, 1) != 0) {
        return fail_open(conn, err);
    }
    return FX_OK;
}

static void
drop_notice(void *ctx, const PGresult *result)
{
    /* Notices are for people at a terminal; libpq would print them on standard error. */
    (void)ctx;
    (void)result;
}

static fx_code
start(const char *conninfo, bool replication, PGconn **out_pg, fx_err *err)
{
    static const char *const defaults[][2] = {
        {"fallback_application_name", "fortress"},
        {"dbname", "postgres"},
        {"keepalives", "1"},
        {"keepalives_idle", "5"},
        {"keepalives_interval", "3"},
        {"keepalives_count", "3"},
        {"tcp_user_timeout", "15000"},
    };
    char *message = NULL;
    PQconninfoOption *parsed = PQconninfoParse(conninfo, &message);
    if (parsed == NULL) {
        return fail_conninfo(message, err);
    }
    const char *keywords[CONNINFO_MAX_OPTIONS] = {0};
    const char *values[CONNINFO_MAX_OPTIONS] = {0};
    size_t count = 0;
    for (; count < sizeof defaults / sizeof defaults[0]; count++) {
        keywords[count] = defaults[count][0];
        values[count] = defaults[count][1];
    }
    for (const PQconninfoOption *at = parsed; at->keyword != NULL; at++) {
        FX_ASSERT(count + 2 < CONNINFO_MAX_OPTIONS);
        if (at->val != NULL && !(replication && strcmp(at->keyword, "replication") == 0)) {
            keywords[count] = at->keyword; /* a later one replaces an earlier one */
            values[count++] = at->val;
        }
    }
    if (replication) {
        keywords[count] = "replication";
        values[count++] = "true";
    }
    *out_pg = PQconnectStartParams(keywords, values, 0);
    PQconninfoFree(parsed);
    if (*out_pg == NULL) {
        return fx_fail(err, FX_ERR_LIMIT, "could not connect to PostgreSQL: out of memory");
    }
    return FX_OK;
}

static fx_code
open_as(const char *conninfo, bool replication, fx_mono deadline, fx_pg **out_conn, fx_err *err)
{
    FX_ASSERT(conninfo != NULL && out_conn != NULL);
    PGconn *pg = NULL;
    if (start(conninfo, replication, &pg, err) != FX_OK) {
        return err->code;
    }
    fx_pg *conn = calloc(1, sizeof *conn);
    FX_ASSERT(conn != NULL);
    conn->pg = pg;
    (void)PQsetNoticeReceiver(pg, drop_notice, NULL);
    if (finish_connecting(conn, deadline, err) != FX_OK) {
        fx_pg_free(conn);
        return err->code;
    }
    *out_conn = conn;
    return FX_OK;
}

fx_code
fx_pg_open(const char *conninfo, fx_mono deadline, fx_pg **out_conn, fx_err *err)
{
    return open_as(conninfo, false, deadline, out_conn, err);
}

fx_code
fx_pg_open_replication(const char *conninfo, fx_mono deadline, fx_pg **out_conn, fx_err *err)
{
    return open_as(conninfo, true, deadline, out_conn, err);
}

void
fx_pg_free(fx_pg *conn)
{
    if (conn == NULL) {
        return;
    }
    PQfreemem(conn->copy_message);
    PQfinish(conn->pg);
    free(conn);
}
