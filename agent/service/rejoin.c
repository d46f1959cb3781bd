#include "agent/service/rejoin.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/pg/pg.h"

enum {
    ASK_MS = 1500, /* a promotion may be waiting */
    APART_MS = 10000,
    LOOK_EACH_MS = 10000,
    LOOK_STOPPED_MS = 2000,
    RETRY_MIN_MS = 10000,
    RETRY_DOUBLINGS_MAX = 6,
    FENCE_MS = 60000,
    CHECKPOINT_MS = 300000,
    REWIND_MS = 4 * 3600 * 1000,
    TEXT_MAX_BYTES = 1024 * 1024,
    FILE_MAX_BYTES = 4 * 1024 * 1024,
};

/* What pg_rewind would take from the source, and is each host's own. */
static const char *const own_files[] = {
    "postgresql.conf",
    "postgresql.auto.conf",
    "pg_hba.conf",
    "pg_ident.conf",
    "server.crt",
    "server.key",
};

/* ---- looking -------------------------------------------------------------------------------- */

static fx_code
open_upstream(
    const fx_keeper *keeper,
    const fx_service_goal *goal,
    fx_buf *out_conninfo,
    fx_pg **out_conn,
    fx_err *err)
{
    char port[16];
    (void)snprintf(port, sizeof port, "%" PRIu32, goal->upstream_port);
    const fx_pg_option options[] = {
        {"host", goal->upstream_address}, {"port", port}, {"connect_timeout", "3"}};
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(ASK_MS));
    if (fx_pg_conninfo_with(keeper->config->postgres->conninfo, options, 3, out_conninfo, err) !=
            FX_OK ||
        fx_pg_open(fx_buf_text(out_conninfo), deadline, out_conn, err) != FX_OK) {
        return fx_err_wrap(err, "asking the upstream \"%s\"", goal->upstream_host.text);
    }
    return FX_OK;
}

/* Not of pg_control_checkpoint(): right after a promotion that still speaks of the time before. */
static const char ask_history[] =
    "WITH now AS (SELECT pg_catalog.substr(pg_catalog.pg_walfile_name("
    "  pg_catalog.pg_current_wal_insert_lsn()), 1, 8) AS timeline)"
    " SELECT ('x' || timeline)::pg_catalog.bit(32)::pg_catalog.int4,"
    "  pg_catalog.pg_read_file('pg_wal/' || timeline || '.history', 0, 1048576, true) FROM now";

fx_code
fx_rejoin_has_diverged(
    const fx_keeper *keeper,
    const fx_service_goal *goal,
    const fx_fork_position *positions,
    size_t count,
    bool *out_diverged,
    fx_err *err)
{
    FX_BUF_AUTO conninfo;
    fx_buf_init(&conninfo, TEXT_MAX_BYTES);
    FX_AUTO(fx_pg) conn = NULL;
    FX_AUTO(fx_pg_result) row = NULL;
    bool in_recovery = false;
    *out_diverged = false;
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(ASK_MS));
    if (open_upstream(keeper, goal, &conninfo, &conn, err) != FX_OK ||
        fx_pg_is_in_recovery(conn, deadline, &in_recovery, err) != FX_OK) {
        return err->code;
    }
    if (in_recovery) {
        return FX_OK;
    }
    if (fx_pg_query(conn, ask_history, NULL, deadline, &row, err) != FX_OK) {
        return fx_err_wrap(err, "reading the timeline history of the upstream");
    }
    const char *number = fx_pg_row_count(row) == 1 ? fx_pg_value(row, 0, 0) : NULL;
    const char *history = number == NULL ? NULL : fx_pg_value(row, 0, 1);
    uint32_t timeline = number == NULL ? 0 : (uint32_t)strtoul(number, NULL, 10);
    if (timeline == 0 || (history == NULL && timeline != 1)) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not read the timeline history of \"%s\"",
            goal->upstream_host.text);
    }
    for (size_t i = 0; i < count && !*out_diverged; i++) {
        if (fx_fork_check(
                history == NULL ? "" : history, timeline, &positions[i], out_diverged, err) !=
            FX_OK) {
            return err->code;
        }
    }
    return FX_OK;
}

fx_code
fx_rejoin_have_files_diverged(
    const fx_keeper *keeper, const fx_service_goal *goal, bool *out_diverged, fx_err *err)
{
    fx_control control;
    *out_diverged = false;
    if (fx_follow_read_control(keeper, &control, err) != FX_OK) {
        return err->code;
    }
    const fx_fork_position positions[] = {
        {.timeline = control.timeline, .lsn = control.checkpoint, .is_begin = true},
        {.timeline = control.recovered_timeline, .lsn = control.recovered},
    };
    return fx_rejoin_has_diverged(keeper, goal, positions, 2, out_diverged, err);
}

/* ---- the host's own files ------------------------------------------------------------------- */

static void
marker_path(const fx_keeper *keeper, char out_path[PATH_MAX])
{
    (void)snprintf(out_path, PATH_MAX, "%s/rewinding", keeper->folder);
}

bool
fx_rejoin_is_unfinished(const fx_keeper *keeper)
{
    char path[PATH_MAX];
    marker_path(keeper, path);
    return access(path, F_OK) == 0;
}

/* Copies one file with its owner and mode; none, or one that is a link to elsewhere, is left. */
static fx_code
copy_file(const char *from, const char *to, fx_err *err)
{
    struct stat about;
    if (lstat(from, &about) != 0 || !S_ISREG(about.st_mode)) {
        return FX_OK;
    }
    FX_BUF_AUTO content;
    fx_buf_init(&content, FILE_MAX_BYTES);
    if (fx_file_read(from, &content, err) != FX_OK ||
        fx_file_replace(to, fx_buf_bytes(&content), about.st_mode & 0777U, err) != FX_OK) {
        return err->code;
    }
    if (chown(to, about.st_uid, about.st_gid) != 0) {
        return fx_fail_errno(err, errno, "could not give \"%s\" to its owner", to);
    }
    return FX_OK;
}

static fx_code
copy_own_files(const fx_keeper *keeper, bool back, fx_err *err)
{
    char here[PATH_MAX];
    char kept[PATH_MAX];
    for (size_t i = 0; i < sizeof own_files / sizeof own_files[0]; i++) {
        (void)snprintf(
            here, sizeof here, "%s/%s", keeper->config->postgres->data_dir, own_files[i]);
        (void)snprintf(kept, sizeof kept, "%s/rewind-%s", keeper->folder, own_files[i]);
        if (copy_file(back ? kept : here, back ? here : kept, err) != FX_OK) {
            return fx_err_wrap(err, "keeping the host's own configuration");
        }
    }
    return FX_OK;
}

/* Copies first, then the word that a rewind is under way: a later try keeps the first copies. */
static fx_code
begin(const fx_keeper *keeper, fx_err *err)
{
    static const char text[] =
        "pg_rewind was begun and has not ended: these files must not be started. It is tried\n"
        "again; or put a base backup in their place and remove this file.\n";
    if (fx_rejoin_is_unfinished(keeper)) {
        return FX_OK;
    }
    char kept[PATH_MAX];
    for (size_t i = 0; i < sizeof own_files / sizeof own_files[0]; i++) {
        (void)snprintf(kept, sizeof kept, "%s/rewind-%s", keeper->folder, own_files[i]);
        if (unlink(kept) != 0 && errno != ENOENT) {
            return fx_fail_errno(err, errno, "could not remove \"%s\"", kept);
        }
    }
    char path[PATH_MAX];
    marker_path(keeper, path);
    if (copy_own_files(keeper, false, err) != FX_OK) {
        return err->code;
    }
    return fx_file_replace(
        path, (fx_bytes){.data = text, .size_bytes = sizeof text - 1}, 0600, err);
}

static fx_code
write_signal_file(const fx_keeper *keeper, fx_err *err)
{
    char path[PATH_MAX];
    struct stat folder;
    (void)snprintf(path, sizeof path, "%s/standby.signal", keeper->config->postgres->data_dir);
    if (fx_file_replace(path, (fx_bytes){.data = "", .size_bytes = 0}, 0600, err) != FX_OK) {
        return err->code;
    }
    if (stat(keeper->config->postgres->data_dir, &folder) != 0 ||
        chown(path, folder.st_uid, folder.st_gid) != 0) {
        return fx_fail_errno(err, errno, "could not give \"%s\" to its owner", path);
    }
    return FX_OK;
}

static fx_code
end(const fx_keeper *keeper, fx_err *err)
{
    char path[PATH_MAX];
    marker_path(keeper, path);
    if (unlink(path) != 0) {
        return fx_fail_errno(err, errno, "could not remove \"%s\"", path);
    }
    return fx_file_sync_parent(path, err);
}

/* ---- rewinding ------------------------------------------------------------------------------ */

/* A server in single-user mode: recovers to the end of its WAL, makes a checkpoint and ends. */
static fx_code
run_recovery(const fx_keeper *keeper, fx_err *err)
{
    char program[PATH_MAX];
    (void)snprintf(program, sizeof program, "%s/postgres", keeper->config->postgres->bin_dir);
    const char *argv[] = {
        program, "--single", "-D", keeper->config->postgres->data_dir, "template1", NULL};
    FX_BUF_AUTO text;
    fx_buf_init(&text, TEXT_MAX_BYTES);
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(REWIND_MS));
    return fx_keeper_run(keeper, argv, deadline, &text, err);
}

/*
 * Files of a server that crashed are recovered first, by a server in single-user mode that
 * pg_rewind starts; it refuses to while standby.signal is there. The agent starts nothing
 * meanwhile, and the guard writes the file before it starts a standby.
 *
 * pg_rewind before PostgreSQL 16 takes the timeline of the last checkpoint for the files' own. A
 * server that died soon after its promotion and was a standby since has none on its newest one:
 * then we recover it.
 */
static fx_code
prepare_recovery(const fx_keeper *keeper, fx_err *err)
{
    fx_control control;
    char path[PATH_MAX];
    if (fx_follow_read_control(keeper, &control, err) != FX_OK) {
        return err->code;
    }
    bool is_behind = control.is_shut_down && control.recovered_timeline > control.timeline;
    (void)snprintf(path, sizeof path, "%s/standby.signal", keeper->config->postgres->data_dir);
    if ((!control.is_shut_down || is_behind) && unlink(path) != 0 && errno != ENOENT) {
        return fx_fail_errno(err, errno, "could not remove \"%s\"", path);
    }
    if (is_behind && run_recovery(keeper, err) != FX_OK) {
        return fx_err_wrap(
            err, "making a checkpoint on timeline %" PRIu32, control.recovered_timeline);
    }
    return FX_OK;
}

static fx_code
run_rewind(const fx_keeper *keeper, const char *conninfo, fx_err *err)
{
    char program[PATH_MAX];
    (void)snprintf(program, sizeof program, "%s/pg_rewind", keeper->config->postgres->bin_dir);
    const char *argv[] = {
        program,
        "--target-pgdata",
        keeper->config->postgres->data_dir,
        "--source-server",
        conninfo,
        NULL,
    };
    FX_BUF_AUTO text;
    fx_buf_init(&text, TEXT_MAX_BYTES);
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(REWIND_MS));
    return fx_keeper_run(keeper, argv, deadline, &text, err);
}

fx_code
fx_rejoin_rewind(const fx_keeper *keeper, const fx_service_goal *goal, fx_err *err)
{
    FX_BUF_AUTO conninfo;
    fx_buf_init(&conninfo, TEXT_MAX_BYTES);
    FX_AUTO(fx_pg) conn = NULL;
    bool in_recovery = true;
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(CHECKPOINT_MS));
    if (open_upstream(keeper, goal, &conninfo, &conn, err) != FX_OK ||
        fx_pg_is_in_recovery(conn, deadline, &in_recovery, err) != FX_OK) {
        return err->code;
    }
    if (in_recovery) {
        return fx_fail(
            err,
            FX_ERR_BUSY,
            "could not rewind: \"%s\" is not primary yet",
            goal->upstream_host.text);
    }
    /* pg_rewind reads the source's timeline from its last checkpoint. */
    if (fx_pg_exec(conn, "CHECKPOINT", deadline, err) != FX_OK || begin(keeper, err) != FX_OK ||
        prepare_recovery(keeper, err) != FX_OK) {
        return fx_err_wrap(err, "preparing pg_rewind");
    }
    fx_err ignored;
    fx_code code = run_rewind(keeper, fx_buf_text(&conninfo), err);
    fx_err *second = code == FX_OK ? err : &ignored; /* the first failure is the one to tell */
    fx_code after = write_signal_file(keeper, second);
    if (after == FX_OK) {
        after = copy_own_files(keeper, true, second);
    }
    if (code == FX_OK) {
        code = after == FX_OK ? end(keeper, err) : after;
    }
    return code;
}

/* ---- from step to step ---------------------------------------------------------------------- */

static bool
is_about(const fx_rejoin *rejoin, const fx_service_goal *goal)
{
    return rejoin->goal.epoch == goal->epoch && rejoin->goal.role == goal->role &&
           rejoin->goal.upstream_port == goal->upstream_port &&
           strcmp(rejoin->goal.upstream_address, goal->upstream_address) == 0;
}

static void
look_now(fx_rejoin *rejoin, const fx_rejoin_facts *facts)
{
    fx_err err;
    bool diverged = false;
    fx_mono now = fx_clock_mono();
    rejoin->next_look =
        fx_mono_after(now, FX_DUR_MS(facts->starts ? LOOK_STOPPED_MS : LOOK_EACH_MS));
    fx_code code =
        facts->starts
            ? fx_rejoin_have_files_diverged(facts->keeper, facts->goal, &diverged, &err)
            : fx_rejoin_has_diverged(facts->keeper, facts->goal, &facts->at, 1, &diverged, &err);
    if (code != FX_OK) {
        FX_LOG(facts->keeper->log, WARN, "standby.not_compared", FX_ERR_FIELD(&err));
        return; /* it starts, or goes on, and is looked at again */
    }
    if (diverged && !rejoin->diverged) {
        FX_LOG(
            facts->keeper->log,
            WARN,
            "standby.diverged",
            FX_STR("service", facts->keeper->config->name),
            FX_STR("upstream", facts->goal->upstream_host.text),
            FX_STR("seen", facts->starts ? "its files" : "the running server"),
            FX_INT("timeline", facts->at.timeline),
            FX_INT("lsn", facts->at.lsn.value));
    }
    rejoin->diverged = diverged;
}

static bool
is_time_to_look(fx_rejoin *rejoin, const fx_rejoin_facts *facts, fx_mono now)
{
    if (facts->streaming || !facts->runs) {
        rejoin->apart_since = (fx_mono){0};
    } else if (rejoin->apart_since.ns == 0) {
        rejoin->apart_since = now;
    }
    bool apart = rejoin->apart_since.ns != 0 &&
                 fx_dur_over(fx_mono_since(now, rejoin->apart_since), FX_DUR_MS(APART_MS));
    return (facts->starts || apart) && now.ns >= rejoin->next_look.ns;
}

static fx_rejoin_act
hold(const fx_rejoin *rejoin, const char *what, char trouble[256])
{
    (void)snprintf(trouble, 256, "%s; %.150s", what, rejoin->detail);
    return FX_REJOIN_HOLD;
}

static fx_rejoin_act
decide(const fx_rejoin *rejoin, const fx_rejoin_facts *facts, fx_mono now, char trouble[256])
{
    if (facts->keeper->config->postgres->no_rewind) {
        (void)snprintf(
            trouble,
            256,
            "has WAL that %s never got and no_rewind is set: run pg_rewind or put a base backup "
            "in its place",
            facts->goal->upstream_host.text);
        return FX_REJOIN_LEAVE;
    }
    if (now.ns < rejoin->next_try.ns) {
        return facts->starts ? hold(rejoin, "pg_rewind failed and is tried again", trouble)
                             : FX_REJOIN_LEAVE;
    }
    (void)snprintf(
        trouble,
        256,
        "has WAL that %s never got: is being rewound",
        facts->goal->upstream_host.text);
    return facts->starts ? FX_REJOIN_REWIND : FX_REJOIN_STOP;
}

fx_rejoin_act
fx_rejoin_look(fx_rejoin *rejoin, const fx_rejoin_facts *facts, char trouble[256])
{
    fx_mono now = fx_clock_mono();
    if (!is_about(rejoin, facts->goal)) {
        *rejoin = (fx_rejoin){.goal = *facts->goal};
    }
    if (facts->starts && fx_rejoin_is_unfinished(facts->keeper)) {
        static const char what[] = "a rewind of its files has not ended";
        return facts->may_rewind && now.ns >= rejoin->next_try.ns ? FX_REJOIN_REWIND
                                                                  : hold(rejoin, what, trouble);
    }
    if (!facts->may_rewind) {
        return FX_REJOIN_LEAVE;
    }
    if (facts->streaming) {
        rejoin->diverged = false;
    }
    if (is_time_to_look(rejoin, facts, now)) {
        look_now(rejoin, facts);
    }
    return rejoin->diverged ? decide(rejoin, facts, now, trouble) : FX_REJOIN_LEAVE;
}

static fx_code
fence_and_rewind(const fx_rejoin_facts *facts, fx_err *err)
{
    /* The guard starts again what ends by itself: only a fenced one stays down. */
    fx_guard_request request = {
        .kind = FX_GUARD_FENCE, .epoch = facts->goal->epoch, .orderly = true};
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(FENCE_MS));
    if (fx_guard_ask(facts->keeper->folder, &request, deadline, NULL, err) != FX_OK) {
        return fx_err_wrap(err, "stopping the server before pg_rewind");
    }
    return fx_rejoin_rewind(facts->keeper, facts->goal, err);
}

fx_code
fx_rejoin_run(fx_rejoin *rejoin, const fx_rejoin_facts *facts, fx_err *err)
{
    fx_mono began = fx_clock_mono();
    fx_code code = fence_and_rewind(facts, err);
    fx_mono now = fx_clock_mono();
    rejoin->next_look = now;
    if (code == FX_OK) {
        FX_LOG(
            facts->keeper->log,
            INFO,
            "standby.rewound",
            FX_STR("service", facts->keeper->config->name),
            FX_STR("upstream", facts->goal->upstream_host.text),
            FX_DUR("took_ms", fx_mono_since(now, began)));
        *rejoin = (fx_rejoin){.goal = *facts->goal};
        return FX_OK;
    }
    unsigned doublings = rejoin->failure_count;
    rejoin->failure_count += doublings < RETRY_DOUBLINGS_MAX ? 1U : 0U;
    rejoin->next_try = fx_mono_after(now, FX_DUR_MS((int64_t)RETRY_MIN_MS << doublings));
    (void)snprintf(rejoin->detail, sizeof rejoin->detail, "%.150s", err->message);
    return code;
}
