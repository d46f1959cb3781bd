#include <stdio.h>
#include <string.h>

#include "agent/probe/kinds.h"
#include "common/base/clock.h"
#include "common/pg/pg.h"

/* One row, whatever the server is; a function that only one role has is reached in its branch only.
 */
static const char look[] =
    "SELECT pg_catalog.pg_is_in_recovery(),"
    " CASE WHEN pg_catalog.pg_is_in_recovery()"
    "  THEN greatest(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())"
    "  ELSE pg_catalog.pg_current_wal_insert_lsn() END,"
    " CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()"
    "  ELSE pg_catalog.pg_current_wal_insert_lsn() END,"
    " CASE WHEN pg_catalog.pg_is_in_recovery()"
    "   AND pg_catalog.pg_last_wal_receive_lsn() IS DISTINCT FROM"
    "       pg_catalog.pg_last_wal_replay_lsn()"
    "  THEN (extract(epoch FROM pg_catalog.clock_timestamp()"
    "        - pg_catalog.pg_last_xact_replay_timestamp()) * 1000000)::pg_catalog.int8"
    "  ELSE 0 END,"
    " CASE WHEN pg_catalog.pg_is_in_recovery()"
    "  THEN (SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver)"
    "  ELSE ('x' || substr(pg_catalog.pg_walfile_name("
    "        pg_catalog.pg_current_wal_insert_lsn()), 1, 8))::pg_catalog.bit(32)"
    "       ::pg_catalog.int4 END,"
    " (SELECT greatest(c.timeline_id, r.min_recovery_end_timeline)"
    "  FROM pg_catalog.pg_control_checkpoint() c, pg_catalog.pg_control_recovery() r),"
    " (SELECT status = 'streaming' FROM pg_catalog.pg_stat_wal_receiver),"
    " (SELECT sender_host || ':' || sender_port FROM pg_catalog.pg_stat_wal_receiver)";

static const char *
text_of(const fx_pg_result *row, size_t column)
{
    const char *value = fx_pg_value(row, 0, column);
    return value != NULL ? value : "";
}

static void
read_lsn(const fx_pg_result *row, size_t column, fx_lsn *out_lsn)
{
    fx_err err = {0};
    fx_ignore(
        fx_pg_lsn_parse(text_of(row, column), out_lsn, &err),
        "NULL before anything was received: stays 0");
}

static void
read_row(const fx_pg_result *row, fx_probe_postgres *found)
{
    found->answered = true;
    found->in_recovery = strcmp(text_of(row, 0), "t") == 0;
    read_lsn(row, 1, &found->write_lsn);
    read_lsn(row, 2, &found->replay_lsn);
    const long long lag_us = strtoll(text_of(row, 3), NULL, 10);
    found->replay_lag.ns = lag_us > 0 ? lag_us * 1000 : 0;
    const unsigned long timeline = strtoul(text_of(row, 4), NULL, 10);
    const unsigned long on_disk = strtoul(text_of(row, 5), NULL, 10);
    /* What is on disk may lag behind, but is all that a standby knows which does not stream. */
    found->timeline = (uint32_t)(timeline > on_disk ? timeline : on_disk);
    found->streaming = strcmp(text_of(row, 6), "t") == 0;
    (void)snprintf(found->upstream, sizeof found->upstream, "%s", text_of(row, 7));
}

static fx_code
write_row(fx_pg *conn, fx_mono deadline, fx_err *err)
{
    static const char upsert[] =
        "INSERT INTO fortress.heartbeat (id, at) VALUES (1, pg_catalog.clock_timestamp())"
        " ON CONFLICT (id) DO UPDATE SET at = excluded.at";
    /* Local, so that the probe asks whether this server writes, not whether its standbys keep up.
     */
    static const char local[] = "SET synchronous_commit = local";
    static const char create[] =
        "CREATE SCHEMA IF NOT EXISTS fortress;"
        "CREATE TABLE IF NOT EXISTS fortress.heartbeat ("
        " id pg_catalog.int4 PRIMARY KEY, at pg_catalog.timestamptz NOT NULL)";
    if (fx_pg_exec(conn, local, deadline, err) != FX_OK) {
        return err->code;
    }
    if (fx_pg_exec(conn, upsert, deadline, err) == FX_OK) {
        return FX_OK;
    }
    /* 42P01: the table is missing, 3F000: the schema is */
    if (strcmp(fx_pg_sqlstate(conn), "42P01") != 0 && strcmp(fx_pg_sqlstate(conn), "3F000") != 0) {
        return fx_err_wrap(err, "writing the heartbeat");
    }
    if (fx_pg_exec(conn, create, deadline, err) != FX_OK ||
        fx_pg_exec(conn, upsert, deadline, err) != FX_OK) {
        return fx_err_wrap(err, "making the table of the heartbeat");
    }
    return FX_OK;
}

/* A statement that we gave up on must not stay behind on the server, probe after probe. */
static fx_code
bound_statements(fx_pg *conn, fx_dur timeout, fx_mono deadline, fx_err *err)
{
    char sql[96];
    (void)snprintf(
        sql,
        sizeof sql,
        "SET statement_timeout = %lld; SET lock_timeout = %lld",
        (long long)fx_dur_ms(timeout) + 1,
        (long long)fx_dur_ms(timeout) + 1);
    return fx_pg_exec(conn, sql, deadline, err);
}

fx_code
fx_probe_postgres_run(
    const fx_probe_config *config, fx_mono deadline, fx_probe_result *result, fx_err *err)
{
    FX_AUTO(fx_pg) conn = NULL;
    FX_AUTO(fx_pg_result) row = NULL;
    if (fx_pg_open(config->target, deadline, &conn, err) != FX_OK ||
        bound_statements(conn, config->timeout, deadline, err) != FX_OK ||
        fx_pg_query(conn, look, NULL, deadline, &row, err) != FX_OK) {
        return err->code;
    }
    if (fx_pg_row_count(row) != 1 || fx_pg_column_count(row) != 8) {
        return fx_fail(err, FX_ERR_FAILED, "the server's answer is not one row");
    }
    read_row(row, &result->postgres);
    if (!config->write || result->postgres.in_recovery) {
        return FX_OK;
    }
    if (write_row(conn, deadline, err) != FX_OK) {
        return err->code;
    }
    result->postgres.wrote = true;
    return FX_OK;
}
