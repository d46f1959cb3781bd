#include "agent/service/follow.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/probe/probe.h"
#include "common/base/clock.h"
#include "common/pg/pg.h"

enum { OBSERVE_MS = 2000, STATEMENT_MS = 5000, TEXT_MAX_BYTES = 65536 };

void
fx_follow_observe(const fx_keeper *keeper, const fx_service_goal *goal, fx_observation *out_seen)
{
    fx_probe_config config = {
        .kind = FX_PROBE_POSTGRES,
        .target = keeper->config->postgres->conninfo,
        .timeout = FX_DUR_MS(OBSERVE_MS),
        .write = true,
    };
    fx_probe_result result;
    fx_probe_run(&config, &result);
    const fx_probe_postgres *found = &result.postgres;
    *out_seen = (fx_observation){
        .answered = found->answered,
        .in_recovery = found->in_recovery,
        .healthy = result.ok,
        .streaming = found->streaming,
        .timeline = found->timeline,
        .write_lsn = found->write_lsn,
        .replay_lsn = found->replay_lsn,
        .replay_lag = found->replay_lag,
    };
    (void)snprintf(out_seen->detail, sizeof out_seen->detail, "%s", result.detail);
    char wanted[FX_SERVICE_ADDRESS_BYTES + 16];
    (void)snprintf(
        wanted, sizeof wanted, "%s:%" PRIu32, goal->upstream_address, goal->upstream_port);
    out_seen->follows_goal =
        found->streaming && goal->known && strcmp(wanted, found->upstream) == 0;
}

static fx_code
open_server(const fx_keeper *keeper, fx_mono deadline, fx_pg **out_conn, fx_err *err)
{
    return fx_pg_open(keeper->config->postgres->conninfo, deadline, out_conn, err);
}

static fx_code
build_conninfo(
    const fx_keeper *keeper,
    const fx_service_goal *goal,
    const char *host,
    fx_buf *out,
    fx_err *err)
{
    char port[16];
    (void)snprintf(port, sizeof port, "%" PRIu32, goal->upstream_port);
    const fx_pg_option options[] = {
        {"host", goal->upstream_address},
        {"port", port},
        {"application_name", host},
        {"connect_timeout", "3"},
    };
    return fx_pg_conninfo_with(
        keeper->config->postgres->replication_conninfo,
        options,
        sizeof options / sizeof options[0],
        out,
        err);
}

fx_code
fx_follow_upstream(
    const fx_keeper *keeper, const fx_service_goal *goal, const char *host, fx_err *err)
{
    if (goal->upstream_address[0] == '\0' || goal->upstream_port == 0) {
        return FX_OK; /* nobody to follow yet */
    }
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(STATEMENT_MS));
    FX_BUF_AUTO wanted;
    FX_BUF_AUTO current;
    FX_BUF_AUTO statement;
    fx_buf_init(&wanted, TEXT_MAX_BYTES);
    fx_buf_init(&current, TEXT_MAX_BYTES);
    fx_buf_init(&statement, TEXT_MAX_BYTES);
    FX_AUTO(fx_pg) conn = NULL;
    if (build_conninfo(keeper, goal, host, &wanted, err) != FX_OK ||
        open_server(keeper, deadline, &conn, err) != FX_OK ||
        fx_pg_query_text(
            conn, "SELECT current_setting('primary_conninfo')", NULL, deadline, &current, err) !=
            FX_OK) {
        return fx_err_wrap(err, "looking at whom the standby follows");
    }
    if (strcmp(fx_buf_text(&wanted), fx_buf_text(&current)) == 0) {
        return FX_OK;
    }
    if (fx_buf_append_text(&statement, "ALTER SYSTEM SET primary_conninfo = ", err) != FX_OK ||
        fx_pg_quote_literal(conn, fx_buf_text(&wanted), &statement, err) != FX_OK ||
        fx_pg_exec(conn, fx_buf_text(&statement), deadline, err) != FX_OK ||
        fx_pg_exec(conn, "SELECT pg_reload_conf()", deadline, err) != FX_OK) {
        return fx_err_wrap(err, "letting the standby follow \"%s\"", goal->upstream_host.text);
    }
    FX_LOG(
        keeper->log,
        INFO,
        "standby.follows",
        FX_STR("service", keeper->config->name),
        FX_STR("upstream", goal->upstream_host.text));
    return FX_OK;
}

fx_code
fx_follow_promote(const fx_keeper *keeper, fx_mono deadline, fx_err *err)
{
    FX_AUTO(fx_pg) conn = NULL;
    if (open_server(keeper, deadline, &conn, err) != FX_OK) {
        return fx_err_wrap(err, "promoting \"%s\"", keeper->config->name);
    }
    return fx_pg_promote(conn, deadline, err);
}

fx_code
fx_follow_checkpoint(const fx_keeper *keeper, fx_err *err)
{
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(STATEMENT_MS));
    FX_AUTO(fx_pg) conn = NULL;
    if (open_server(keeper, deadline, &conn, err) != FX_OK) {
        return err->code;
    }
    return fx_pg_exec(conn, "CHECKPOINT", deadline, err);
}

/* The value of a line "KEY:   VALUE" of pg_controldata. */
static bool
find_value(const char *text, const char *key, char *out_value, size_t room)
{
    const char *at = strstr(text, key);
    if (at == NULL) {
        return false;
    }
    at += strlen(key);
    at += strspn(at, " ");
    (void)snprintf(out_value, room, "%.*s", (int)strcspn(at, "\n"), at);
    return true;
}

static bool
find_lsn(const char *text, const char *key, fx_lsn *out_lsn)
{
    char value[64];
    fx_err err;
    return find_value(text, key, value, sizeof value) &&
           fx_pg_lsn_parse(value, out_lsn, &err) == FX_OK;
}

static bool
find_timeline(const char *text, const char *key, uint32_t *out_timeline)
{
    char value[64];
    if (!find_value(text, key, value, sizeof value)) {
        return false;
    }
    *out_timeline = (uint32_t)strtoul(value, NULL, 10);
    return true;
}

fx_code
fx_follow_read_control(const fx_keeper *keeper, fx_control *out_control, fx_err *err)
{
    char program[PATH_MAX];
    (void)snprintf(program, sizeof program, "%s/pg_controldata", keeper->config->postgres->bin_dir);
    const char *argv[] = {program, "-D", keeper->config->postgres->data_dir, NULL};
    FX_BUF_AUTO text;
    fx_buf_init(&text, TEXT_MAX_BYTES);
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(STATEMENT_MS));
    if (fx_keeper_run(keeper, argv, deadline, &text, err) != FX_OK) {
        return err->code;
    }
    fx_control control = {.state = ""};
    const char *all = fx_buf_text(&text);
    if (!find_value(all, "Database cluster state:", control.state, sizeof control.state) ||
        !find_lsn(all, "Latest checkpoint location:", &control.checkpoint) ||
        !find_timeline(all, "Latest checkpoint's TimeLineID:", &control.timeline) ||
        !find_lsn(all, "Minimum recovery ending location:", &control.recovered) ||
        !find_timeline(all, "Min recovery ending loc's timeline:", &control.recovered_timeline)) {
        return fx_fail(err, FX_ERR_INVALID, "could not understand what pg_controldata says");
    }
    control.is_shut_down = strcmp(control.state, "shut down") == 0 ||
                           strcmp(control.state, "shut down in recovery") == 0;
    *out_control = control;
    return FX_OK;
}

fx_code
fx_follow_read_files(
    const fx_keeper *keeper, fx_service_files *out_files, fx_lsn *out_checkpoint, fx_err *err)
{
    fx_control control;
    if (fx_follow_read_control(keeper, &control, err) != FX_OK) {
        return err->code;
    }
    *out_checkpoint = control.checkpoint;
    const char *state = control.state;
    char label[PATH_MAX];
    (void)snprintf(label, sizeof label, "%s/backup_label", keeper->config->postgres->data_dir);
    bool primary = strcmp(state, "in production") == 0 || strcmp(state, "shut down") == 0 ||
                   strcmp(state, "shutting down") == 0 || strcmp(state, "in crash recovery") == 0;
    *out_files =
        primary && access(label, F_OK) != 0 ? FX_SERVICE_FILES_PRIMARY : FX_SERVICE_FILES_STANDBY;
    return FX_OK;
}
