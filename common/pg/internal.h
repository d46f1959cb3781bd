/* What the files of this door share. Only they include it. */
#pragma once

#include <libpq-fe.h>

#include "common/pg/pg.h"

struct fx_pg {
    PGconn *pg;
    bool broken;
    char sqlstate[6];
    char *copy_message; /* of the last fx_pg_copy_read; libpq's */
};

/* Waits until the socket is readable, or writable with `for_write`, too; false at the deadline. */
bool fx_pg_wait(const fx_pg *conn, bool for_write, fx_mono deadline);

/* Sends what libpq has buffered. errors: UNREACHABLE, TIMEOUT; the connection is broken then */
FX_MUST_USE fx_code fx_pg_flush(fx_pg *conn, fx_mono deadline, fx_err *err);

/* Fails as the connection itself says, or as `result` does; `doing` is "run the statement". */
FX_MUST_USE fx_code fx_pg_fail_connection(fx_pg *conn, const char *doing, fx_err *err);
FX_MUST_USE fx_code
fx_pg_fail_result(fx_pg *conn, const PGresult *result, const char *doing, fx_err *err);
FX_MUST_USE fx_code fx_pg_fail_timeout(fx_pg *conn, const char *doing, fx_err *err);

/* errors: as fx_pg_is_broken says */
FX_MUST_USE fx_code fx_pg_check_usable(const fx_pg *conn, fx_err *err);

/* The next result, NULL when the command has ended. errors: UNREACHABLE, TIMEOUT */
FX_MUST_USE fx_code
fx_pg_take_result(fx_pg *conn, fx_mono deadline, PGresult **out_result, fx_err *err);

/* The first line of a message of libpq, without the blanks around it. */
void fx_pg_first_line(const char *message, char *out_text, size_t room);
