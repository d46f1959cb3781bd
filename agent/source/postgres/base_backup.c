#include "agent/source/postgres/base_backup.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/source/postgres/format/manifest.h"
#include "agent/source/postgres/format/stream.h"
#include "common/base/clock.h"
#include "common/json/json.h"

enum {
    CONNECT_MAX_MS = 15000,
    COMMAND_MAX_MS = 60000,
    IDLE_MAX_MS = 600000,
    CHECKPOINT_MAX_MS = 3600000, /* a spread checkpoint of a busy server takes long */
    MANIFEST_MAX_BYTES = 1024 * 1024 * 1024,
    PATH_BYTES = 320,
    CHUNKS_WAITING_MAX = 8,
    OLDEST_VERSION = 150000,
};

typedef struct taking {
    fx_writer *writer;
    fx_tree_builder *builder;
    fx_content *content;
    fx_file_sums *sums;
    fx_buf manifest;
    fx_base_backup *backup;
    uint64_t open_bytes;     /* of the open entry, so far */
    uint64_t expected_bytes; /* as the server estimates; without WAL */
    const fx_events *events;
    fx_backup_stream stream;
    char path[PATH_BYTES]; /* of the open entry, below the data directory */
    fx_node node;
    uint32_t crc;
    uint32_t uid; /* of the server's files: for what the server sends no owner for */
    uint32_t gid;
    char tablespace[FX_BACKUP_TABLESPACE_BYTES]; /* whose folder was added last */
} taking;

static fx_mono
after_ms(int64_t length_ms)
{
    return fx_mono_after(fx_clock_mono(), FX_DUR_MS(length_ms));
}

static void
tell(const taking *at)
{
    const fx_progress progress = {
        .step = "saving",
        .what = "files",
        .count = at->backup->file_count,
        .done_bytes = at->backup->size_bytes + at->open_bytes,
        .total_bytes = at->expected_bytes,
        .total_is_estimate = true};
    fx_events_progress(at->events, &progress);
}

/* ---- entries ------------------------------------------------------------------------------------
 */

/* Relation files and WAL change by the page: fixed blocks find unchanged pages again. */
static fx_cut
cut_of(const char *path)
{
    const bool in_database = strncmp(path, "base/", 5) == 0 || strncmp(path, "global/", 7) == 0 ||
                             strncmp(path, "pg_tblspc/", 10) == 0;
    const char *name = strrchr(path, '/');
    const bool is_relation = in_database && name != NULL && name[1] >= '0' && name[1] <= '9';
    return is_relation || strncmp(path, "pg_wal/0", 8) == 0 ? FX_CUT_PAGES : FX_CUT_CONTENT;
}

/* The server sends what is in a tablespace's folder, and not the folder. */
static fx_code
add_tablespace_folder(taking *at, const char *tablespace, const fx_tar_entry *entry, fx_err *err)
{
    if (strcmp(at->tablespace, tablespace) == 0) {
        return FX_OK;
    }
    (void)snprintf(at->tablespace, sizeof at->tablespace, "%s", tablespace);
    if (tablespace[0] == '\0') {
        return FX_OK;
    }
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "pg_tblspc/%s", tablespace);
    fx_node node = {
        .kind = FX_NODE_FOLDER,
        .mode = 0700,
        .uid = entry->uid,
        .gid = entry->gid,
        .mtime_ns = entry->mtime_s * 1000 * FX_NS_PER_MS};
    if (fx_tree_builder_add(at->builder, path, &node, err) != FX_OK) {
        fx_node_deinit(&node);
        return fx_err_wrap(err, "storing the folder of tablespace %s", tablespace);
    }
    return FX_OK;
}

static fx_code
begin_entry(void *ctx, const char *tablespace, const fx_tar_entry *entry, fx_err *err)
{
    taking *at = ctx;
    if (tablespace[0] != '\0') {
        (void)snprintf(at->path, sizeof at->path, "pg_tblspc/%s/%s", tablespace, entry->path);
    } else {
        (void)snprintf(at->path, sizeof at->path, "%s", entry->path);
    }
    at->node = (fx_node){
        .kind = FX_NODE_FILE,
        .mode = entry->mode,
        .uid = entry->uid,
        .gid = entry->gid,
        .mtime_ns = entry->mtime_s * 1000 * FX_NS_PER_MS};
    at->crc = 0;
    at->uid = entry->uid;
    at->gid = entry->gid;
    if (add_tablespace_folder(at, tablespace, entry, err) != FX_OK) {
        return err->code;
    }
    switch (entry->kind) {
    case FX_TAR_FILE:
        at->node.size_bytes = entry->size_bytes;
        fx_content_begin(at->content, cut_of(at->path));
        return FX_OK;
    case FX_TAR_FOLDER:
        at->node.kind = FX_NODE_FOLDER;
        return FX_OK;
    case FX_TAR_SYMLINK:
        break;
    }
    /* With TABLESPACE_MAP the server sends no link: a link here would lead out of the restored
     * folder. */
    return fx_fail(
        err,
        FX_ERR_UNSUPPORTED,
        "could not back up \"%.120s\": the server sent a symbolic link",
        at->path);
}

static fx_code
add_data(void *ctx, fx_bytes bytes, fx_err *err)
{
    taking *at = ctx;
    at->crc = fx_crc32c(at->crc, bytes);
    at->open_bytes += bytes.size_bytes;
    tell(at);
    return fx_content_add(at->content, bytes, err);
}

static fx_code
end_entry(void *ctx, fx_err *err)
{
    taking *at = ctx;
    if (at->node.kind == FX_NODE_FILE) {
        const uint64_t announced_bytes = at->node.size_bytes;
        if (fx_content_end(at->content, &at->node, err) != FX_OK) {
            return fx_err_wrap(err, "storing \"%s\"", at->path);
        }
        FX_ASSERT(at->node.size_bytes == announced_bytes);
        at->backup->file_count++;
        at->backup->size_bytes += at->node.size_bytes;
        at->open_bytes = 0;
        tell(at);
        if (fx_file_sums_add(at->sums, at->path, at->node.size_bytes, at->crc, err) != FX_OK) {
            return err->code;
        }
    }
    const fx_code code = fx_tree_builder_add(at->builder, at->path, &at->node, err);
    if (code != FX_OK) {
        return fx_err_wrap(err, "storing \"%s\"", at->path);
    }
    at->node = (fx_node){0};
    return FX_OK;
}

static fx_code
add_manifest(void *ctx, fx_bytes bytes, fx_err *err)
{
    taking *at = ctx;
    return fx_buf_append(&at->manifest, bytes.data, bytes.size_bytes, err);
}

static fx_code
store_manifest(taking *at, fx_err *err)
{
    fx_node node = {
        .kind = FX_NODE_FILE,
        .mode = 0600,
        .uid = at->uid,
        .gid = at->gid,
        .mtime_ns = fx_clock_wall().ns};
    fx_content_begin(at->content, FX_CUT_CONTENT);
    if (fx_content_add(at->content, fx_buf_bytes(&at->manifest), err) != FX_OK ||
        fx_content_end(at->content, &node, err) != FX_OK ||
        fx_tree_builder_add(at->builder, "backup_manifest", &node, err) != FX_OK) {
        fx_node_deinit(&node);
        return fx_err_wrap(err, "storing the manifest");
    }
    return FX_OK;
}

/* ---- the conversation ---------------------------------------------------------------------------
 */

static fx_code
expect(fx_pg *conn, fx_pg_next_kind wanted, int64_t max_ms, fx_pg_result **out_result, fx_err *err)
{
    fx_pg_next_kind kind = FX_PG_NEXT_DONE;
    FX_AUTO(fx_pg_result) result = NULL;
    if (fx_pg_next(conn, after_ms(max_ms), &kind, &result, err) != FX_OK) {
        return fx_err_wrap(err, "taking a base backup");
    }
    if (kind != wanted) {
        return fx_fail(
            err,
            FX_ERR_FAILED,
            "could not take a base backup: the server did not answer as expected");
    }
    if (out_result != NULL) {
        *out_result = FX_TAKE(result);
    }
    return FX_OK;
}

static fx_code
read_position(fx_pg_result *rows, fx_lsn *out_lsn, uint32_t *out_timeline, fx_err *err)
{
    const char *lsn = NULL;
    const char *timeline = NULL;
    if (fx_pg_row_count(rows) == 1 && fx_pg_column_count(rows) >= 2) {
        lsn = fx_pg_value(rows, 0, 0);
        timeline = fx_pg_value(rows, 0, 1);
    }
    if (lsn == NULL || timeline == NULL) {
        return fx_fail(
            err, FX_ERR_FAILED, "could not take a base backup: the server names no position");
    }
    *out_timeline = (uint32_t)strtoul(timeline, NULL, 10);
    return fx_pg_lsn_parse(lsn, out_lsn, err);
}

/* Of all tablespaces together, as PROGRESS has the server add them up beforehand. */
static uint64_t
read_sizes(fx_pg_result *tablespaces)
{
    uint64_t size_bytes = 0;
    for (size_t row = 0; row < fx_pg_row_count(tablespaces); row++) {
        const char *size_kib =
            fx_pg_column_count(tablespaces) > 2 ? fx_pg_value(tablespaces, row, 2) : NULL;
        size_bytes += size_kib == NULL ? 0 : strtoull(size_kib, NULL, 10) * 1024;
    }
    return size_bytes;
}

/*
 * Without it a server recycles WAL of the backup's own time at its next checkpoint, and then cannot
 * finish the backup. It goes away with the connection.
 */
static fx_code
reserve_wal(fx_pg *conn, fx_err *err)
{
    char sql[128];
    (void)snprintf(
        sql,
        sizeof sql,
        "CREATE_REPLICATION_SLOT fortress_base_%" PRIx64 " TEMPORARY PHYSICAL (RESERVE_WAL true)",
        (uint64_t)fx_clock_mono().ns ^ (uint64_t)getpid() << 48);
    if (fx_pg_exec(conn, sql, after_ms(COMMAND_MAX_MS), err) != FX_OK) {
        return fx_err_wrap(err, "reserving WAL for the time of a backup by a temporary slot");
    }
    return FX_OK;
}

static fx_code
send_command(fx_pg *conn, const char *label, fx_err *err)
{
    FX_BUF_AUTO sql = {0};
    fx_buf_init(&sql, 4096);
    if (fx_buf_append_text(&sql, "BASE_BACKUP (LABEL ", err) != FX_OK ||
        fx_pg_quote_literal(conn, label, &sql, err) != FX_OK ||
        fx_buf_append_text(
            &sql,
            ", CHECKPOINT 'fast', PROGRESS true, WAL true, WAIT false, TABLESPACE_MAP true, "
            "MANIFEST 'yes', MANIFEST_CHECKSUMS 'CRC32C')",
            err) != FX_OK) {
        return err->code;
    }
    return fx_pg_send(conn, fx_buf_text(&sql), after_ms(COMMAND_MAX_MS), err);
}

static fx_code
read_stream(fx_pg *conn, const fx_base_backup_options *options, taking *at, fx_err *err)
{
    const fx_backup_sink sink = {
        .ctx = at,
        .begin = begin_entry,
        .data = add_data,
        .end = end_entry,
        .manifest = add_manifest};
    const fx_dur idle_max = options->idle_max.ns > 0 ? options->idle_max : FX_DUR_MS(IDLE_MAX_MS);
    fx_backup_stream_init(&at->stream, &sink);
    for (;;) {
        if (fx_events_cancelled(options->events)) {
            return fx_fail(err, FX_ERR_CANCELLED, "the base backup was cancelled");
        }
        fx_pg_copy_kind kind = FX_PG_COPY_END;
        fx_bytes message = {0};
        const fx_mono deadline = fx_mono_after(fx_clock_mono(), idle_max);
        if (fx_pg_copy_read(conn, deadline, &kind, &message, err) != FX_OK) {
            return fx_err_wrap(err, "receiving the base backup");
        }
        if (kind == FX_PG_COPY_IDLE) {
            return fx_fail(
                err,
                FX_ERR_TIMEOUT,
                "could not receive the base backup: the server sent nothing for %" PRId64 " ms",
                fx_dur_ms(idle_max));
        }
        if (kind == FX_PG_COPY_END) {
            return FX_OK; /* complete, or the server failed: its next result tells */
        }
        if (fx_backup_stream_feed(&at->stream, message, err) != FX_OK) {
            return err->code;
        }
    }
}

static fx_code
converse(fx_pg *conn, const fx_base_backup_options *options, taking *at, fx_err *err)
{
    FX_AUTO(fx_pg_result) start = NULL;
    FX_AUTO(fx_pg_result) tablespaces = NULL;
    FX_AUTO(fx_pg_result) stop = NULL;
    fx_base_backup *backup = at->backup;
    if (reserve_wal(conn, err) != FX_OK || send_command(conn, options->label, err) != FX_OK ||
        expect(conn, FX_PG_NEXT_ROWS, CHECKPOINT_MAX_MS, &start, err) != FX_OK ||
        read_position(start, &backup->start, &backup->start_timeline, err) != FX_OK ||
        expect(conn, FX_PG_NEXT_ROWS, IDLE_MAX_MS, &tablespaces, err) != FX_OK ||
        expect(conn, FX_PG_NEXT_COPY_OUT, IDLE_MAX_MS, NULL, err) != FX_OK) {
        return err->code;
    }
    at->expected_bytes = read_sizes(tablespaces);
    tell(at);
    if (read_stream(conn, options, at, err) != FX_OK ||
        expect(conn, FX_PG_NEXT_ROWS, IDLE_MAX_MS, &stop, err) != FX_OK ||
        read_position(stop, &backup->stop, &backup->stop_timeline, err) != FX_OK ||
        fx_backup_stream_finish(&at->stream, err) != FX_OK) {
        return err->code;
    }
    for (size_t row = 0; row < fx_pg_row_count(tablespaces); row++) {
        backup->tablespace_count += fx_pg_value(tablespaces, row, 0) != NULL ? 1 : 0;
    }
    backup->ended = fx_clock_wall();
    return expect(conn, FX_PG_NEXT_DONE, IDLE_MAX_MS, NULL, err);
}

static fx_code
take_with(fx_pg *conn, const fx_base_backup_options *options, taking *at, fx_err *err)
{
    if (fx_pg_server_version(conn) < OLDEST_VERSION) {
        return fx_fail(
            err,
            FX_ERR_UNSUPPORTED,
            "could not take a base backup: the server is of version %d, 15 or newer is needed",
            fx_pg_server_version(conn) / 10000);
    }
    at->backup->server_version = fx_pg_server_version(conn);
    if (fx_pg_identify(conn, after_ms(COMMAND_MAX_MS), &at->backup->system, err) != FX_OK ||
        fx_pg_segment_bytes(conn, after_ms(COMMAND_MAX_MS), &at->backup->segment_bytes, err) !=
            FX_OK ||
        converse(conn, options, at, err) != FX_OK ||
        fx_manifest_check(fx_buf_bytes(&at->manifest), at->sums, err) != FX_OK ||
        store_manifest(at, err) != FX_OK) {
        return err->code;
    }
    return fx_tree_builder_finish(at->builder, at->writer, &at->backup->root, err);
}

fx_code
fx_base_backup_take(
    fx_writer *writer,
    const fx_base_backup_options *options,
    fx_base_backup *out_backup,
    fx_err *err)
{
    FX_ASSERT(writer != NULL && options->conninfo != NULL && options->label != NULL);
    FX_AUTO(fx_pg) conn = NULL;
    if (fx_pg_open_replication(options->conninfo, after_ms(CONNECT_MAX_MS), &conn, err) != FX_OK) {
        return fx_err_wrap(err, "opening a replication connection for a base backup");
    }
    FX_AUTO(fx_tree_builder) builder = fx_tree_builder_new();
    /* One stream of bytes: its chunks are compressed and encrypted by several threads. */
    FX_AUTO(fx_pool) pool = fx_pool_new(fx_pool_cores(), CHUNKS_WAITING_MAX);
    FX_AUTO(fx_content) content = fx_content_new(writer);
    fx_content_use_pool(content, pool);
    FX_AUTO(fx_file_sums) sums = fx_file_sums_new();
    fx_base_backup backup = {.began = fx_clock_wall()};
    taking at = {
        .writer = writer,
        .builder = builder,
        .content = content,
        .sums = sums,
        .backup = &backup,
        .events = options->events};
    fx_buf_init(&at.manifest, MANIFEST_MAX_BYTES);
    const fx_code code = take_with(conn, options, &at, err);
    fx_node_deinit(&at.node);
    fx_buf_free(&at.manifest);
    if (code != FX_OK) {
        return code;
    }
    *out_backup = backup;
    return FX_OK;
}

/* ---- the note -----------------------------------------------------------------------------------
 */

static void
set_lsn(fx_json *note, const char *key, fx_lsn lsn)
{
    char text[FX_PG_LSN_TEXT_BYTES];
    fx_pg_lsn_format(lsn, text);
    fx_json_set_text(note, key, text);
}

fx_code
fx_base_backup_write_note(const fx_base_backup *backup, fx_snapshot *header, fx_err *err)
{
    FX_AUTO(fx_json) note = fx_json_object();
    FX_BUF_AUTO text = {0};
    fx_buf_init(&text, sizeof header->note - 1);
    fx_json_set_text(note, "system", backup->system.identifier);
    fx_json_set_int(note, "timeline", backup->start_timeline);
    fx_json_set_int(note, "stop_timeline", backup->stop_timeline);
    set_lsn(note, "start_lsn", backup->start);
    set_lsn(note, "stop_lsn", backup->stop);
    fx_json_set_int(note, "segment_bytes", backup->segment_bytes);
    fx_json_set_int(note, "server_version", backup->server_version);
    fx_json_set_int(note, "tablespaces", backup->tablespace_count);
    char began[FX_WALL_TEXT_BYTES];
    char ended[FX_WALL_TEXT_BYTES];
    fx_wall_format(backup->began, began);
    fx_wall_format(backup->ended, ended);
    fx_json_set_text(note, "began", began);
    fx_json_set_text(note, "ended", ended);
    if (fx_json_print(note, 0, &text, err) != FX_OK) {
        return fx_err_wrap(err, "writing the snapshot's note");
    }
    (void)snprintf(header->note, sizeof header->note, "%s", fx_buf_text(&text));
    return FX_OK;
}

static fx_code
read_note(const fx_json *note, fx_base_backup *backup, fx_err *err)
{
    (void)snprintf(
        backup->system.identifier,
        sizeof backup->system.identifier,
        "%s",
        fx_json_as_text(fx_json_get(note, "system"), ""));
    backup->start_timeline = (uint32_t)fx_json_as_int(fx_json_get(note, "timeline"), 0);
    backup->stop_timeline = (uint32_t)fx_json_as_int(fx_json_get(note, "stop_timeline"), 0);
    backup->segment_bytes = (uint32_t)fx_json_as_int(fx_json_get(note, "segment_bytes"), 0);
    backup->server_version = (int)fx_json_as_int(fx_json_get(note, "server_version"), 0);
    backup->tablespace_count = (uint32_t)fx_json_as_int(fx_json_get(note, "tablespaces"), 0);
    if (fx_pg_lsn_parse(fx_json_as_text(fx_json_get(note, "start_lsn"), ""), &backup->start, err) !=
            FX_OK ||
        fx_pg_lsn_parse(fx_json_as_text(fx_json_get(note, "stop_lsn"), ""), &backup->stop, err) !=
            FX_OK ||
        fx_wall_parse(fx_json_as_text(fx_json_get(note, "began"), ""), &backup->began, err) !=
            FX_OK ||
        fx_wall_parse(fx_json_as_text(fx_json_get(note, "ended"), ""), &backup->ended, err) !=
            FX_OK) {
        return err->code;
    }
    const bool size_is_good = backup->segment_bytes >= FX_PG_SEGMENT_MIN_BYTES &&
                              backup->segment_bytes <= FX_PG_SEGMENT_MAX_BYTES &&
                              (backup->segment_bytes & (backup->segment_bytes - 1)) == 0;
    if (backup->system.identifier[0] == '\0' || backup->start_timeline == 0 || !size_is_good) {
        return fx_fail(
            err, FX_ERR_INVALID, "it lacks the system, the timeline or the segment size");
    }
    return FX_OK;
}

fx_code
fx_base_backup_read_note(const fx_snapshot *header, fx_base_backup *out_backup, fx_err *err)
{
    FX_AUTO(fx_json) note = NULL;
    fx_base_backup backup = {0};
    const fx_bytes text = {.data = header->note, .size_bytes = strlen(header->note)};
    if (fx_json_parse(text, &note, err) != FX_OK || read_note(note, &backup, err) != FX_OK) {
        return fx_err_wrap(err, "reading the note of snapshot %.16s", header->id);
    }
    *out_backup = backup;
    return FX_OK;
}
