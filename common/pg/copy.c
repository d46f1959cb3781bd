#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/pg/internal.h"

fx_code
fx_pg_identify(fx_pg *conn, fx_mono deadline, fx_pg_system *out_system, fx_err *err)
{
    FX_AUTO(fx_pg_result) result = NULL;
    if (fx_pg_query(conn, "IDENTIFY_SYSTEM", NULL, deadline, &result, err) != FX_OK) {
        return fx_err_wrap(err, "asking for the system identifier");
    }
    if (fx_pg_row_count(result) != 1 || fx_pg_column_count(result) < 3) {
        return fx_fail(err, FX_ERR_FAILED, "the server does not identify itself as expected");
    }
    const char *identifier = fx_pg_value(result, 0, 0);
    const char *timeline = fx_pg_value(result, 0, 1);
    const char *flushed = fx_pg_value(result, 0, 2);
    fx_pg_system system = {0};
    if (identifier == NULL || timeline == NULL || flushed == NULL ||
        strlen(identifier) >= sizeof system.identifier ||
        strspn(identifier, "0123456789") != strlen(identifier)) {
        return fx_fail(err, FX_ERR_FAILED, "the server does not identify itself as expected");
    }
    (void)snprintf(system.identifier, sizeof system.identifier, "%s", identifier);
    system.timeline = (uint32_t)strtoul(timeline, NULL, 10);
    if (system.timeline == 0) {
        return fx_fail(err, FX_ERR_FAILED, "the server names timeline \"%.20s\"", timeline);
    }
    if (fx_pg_lsn_parse(flushed, &system.flushed, err) != FX_OK) {
        return err->code;
    }
    *out_system = system;
    return FX_OK;
}

/* "16MB", "1GB": how SHOW prints it. */
fx_code
fx_pg_segment_bytes(fx_pg *conn, fx_mono deadline, uint32_t *out_bytes, fx_err *err)
{
    FX_BUF_AUTO text = {0};
    fx_buf_init(&text, 32);
    if (fx_pg_query_text(conn, "SHOW wal_segment_size", NULL, deadline, &text, err) != FX_OK) {
        return fx_err_wrap(err, "asking for wal_segment_size");
    }
    char *unit = NULL;
    const unsigned long number = strtoul(fx_buf_text(&text), &unit, 10);
    const uint32_t factor = strcmp(unit, "MB") == 0   ? 1024U * 1024U
                            : strcmp(unit, "GB") == 0 ? 1024U * 1024U * 1024U
                                                      : 0;
    if (factor == 0 || number == 0 || number > 1024 || number * factor > FX_PG_SEGMENT_MAX_BYTES) {
        return fx_fail(
            err, FX_ERR_UNSUPPORTED, "the server's wal_segment_size is \"%s\"", fx_buf_text(&text));
    }
    *out_bytes = (uint32_t)(number * factor);
    return FX_OK;
}

fx_code
fx_pg_send(fx_pg *conn, const char *sql, fx_mono deadline, fx_err *err)
{
    if (fx_pg_check_usable(conn, err) != FX_OK) {
        return err->code;
    }
    conn->sqlstate[0] = '\0';
    if (PQsendQuery(conn->pg, sql) != 1) {
        return fx_pg_fail_connection(conn, "send the command", err);
    }
    return fx_pg_flush(conn, deadline, err);
}

fx_code
fx_pg_next(
    fx_pg *conn,
    fx_mono deadline,
    fx_pg_next_kind *out_kind,
    fx_pg_result **out_result,
    fx_err *err)
{
    if (fx_pg_check_usable(conn, err) != FX_OK) {
        return err->code;
    }
    PGresult *result = NULL;
    for (;;) {
        if (fx_pg_take_result(conn, deadline, &result, err) != FX_OK) {
            return err->code;
        }
        if (result == NULL) {
            *out_kind = FX_PG_NEXT_DONE;
            return FX_OK;
        }
        const ExecStatusType status = PQresultStatus(result);
        if (status == PGRES_TUPLES_OK) {
            *out_kind = FX_PG_NEXT_ROWS;
            *out_result = (fx_pg_result *)result;
            return FX_OK;
        }
        if (status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) {
            *out_kind = status == PGRES_COPY_OUT ? FX_PG_NEXT_COPY_OUT : FX_PG_NEXT_COPY_BOTH;
            PQclear(result);
            return FX_OK;
        }
        if (status != PGRES_COMMAND_OK) {
            const fx_code code = fx_pg_fail_result(conn, result, "run the command", err);
            PQclear(result);
            return code;
        }
        PQclear(result); /* the end of one command: what follows, or the end of all, is next */
    }
}

fx_code
fx_pg_copy_read(
    fx_pg *conn, fx_mono deadline, fx_pg_copy_kind *out_kind, fx_bytes *out_message, fx_err *err)
{
    if (fx_pg_check_usable(conn, err) != FX_OK) {
        return err->code;
    }
    PQfreemem(conn->copy_message);
    conn->copy_message = NULL;
    for (;;) {
        const int got = PQgetCopyData(conn->pg, &conn->copy_message, 1);
        if (got > 0) {
            *out_kind = FX_PG_COPY_DATA;
            *out_message = (fx_bytes){.data = conn->copy_message, .size_bytes = (size_t)got};
            return FX_OK;
        }
        if (got == -1) {
            *out_kind = FX_PG_COPY_END;
            return FX_OK;
        }
        if (got < -1) {
            return fx_pg_fail_connection(conn, "read from PostgreSQL", err);
        }
        if (!fx_pg_wait(conn, false, deadline)) {
            *out_kind = FX_PG_COPY_IDLE;
            return FX_OK;
        }
        if (PQconsumeInput(conn->pg) == 0) {
            return fx_pg_fail_connection(conn, "read from PostgreSQL", err);
        }
    }
}

fx_code
fx_pg_copy_write(fx_pg *conn, fx_bytes message, fx_mono deadline, fx_err *err)
{
    FX_ASSERT(message.size_bytes > 0 && message.size_bytes <= INT32_MAX);
    if (fx_pg_check_usable(conn, err) != FX_OK) {
        return err->code;
    }
    for (;;) {
        const int put = PQputCopyData(conn->pg, message.data, (int)message.size_bytes);
        if (put == 1) {
            return fx_pg_flush(conn, deadline, err);
        }
        if (put < 0) {
            return fx_pg_fail_connection(conn, "send to PostgreSQL", err);
        }
        if (fx_pg_flush(conn, deadline, err) != FX_OK) {
            return err->code;
        }
    }
}

fx_code
fx_pg_copy_end(fx_pg *conn, fx_mono deadline, fx_err *err)
{
    if (fx_pg_check_usable(conn, err) != FX_OK) {
        return err->code;
    }
    for (;;) {
        const int put = PQputCopyEnd(conn->pg, NULL);
        if (put == 1) {
            return fx_pg_flush(conn, deadline, err);
        }
        if (put < 0 && PQstatus(conn->pg) == CONNECTION_OK) {
            return FX_OK; /* the server has ended the command as a whole, as it does on shutdown */
        }
        if (put < 0) {
            return fx_pg_fail_connection(conn, "end the copy", err);
        }
        if (fx_pg_flush(conn, deadline, err) != FX_OK) {
            return err->code;
        }
    }
}
