/* The driver: base backups of a PostgreSQL server as snapshots of kind "postgres". */
#include <stdio.h>

#include "agent/source/postgres/base_backup.h"
#include "agent/source/postgres/settle.h"
#include "agent/source/source.h"
#include "common/repository/tags.h"

static fx_code
backup_postgres(
    fx_repository *repository,
    const fx_backup_options *options,
    const fx_events *events,
    fx_snapshot *out_snapshot,
    fx_err *err)
{
    if (options->what_count != 1) {
        return fx_fail(err, FX_ERR_INVALID, "a backup of PostgreSQL takes one connection string");
    }
    fx_base_backup backup = {0};
    fx_snapshot header = {0};
    if (fx_name_parse(options->host, "host", &header.host, err) != FX_OK) {
        return err->code;
    }
    FX_AUTO(fx_writer) writer = NULL;
    if (fx_writer_open(repository, &writer, err) != FX_OK) {
        return err->code;
    }
    const fx_base_backup_options base_options = {
        .conninfo = options->what[0], .label = "fortress", .events = events};
    if (fx_base_backup_take(writer, &base_options, &backup, err) != FX_OK) {
        return err->code;
    }
    char derived[64];
    (void)snprintf(derived, sizeof derived, "system-%s", backup.system.identifier);
    const char *name = options->name != NULL ? options->name : derived;
    (void)snprintf(header.source, sizeof header.source, "postgres:%s", name);
    (void)snprintf(header.kind, sizeof header.kind, "postgres");
    fx_tags_copy(options->tags, header.tags);
    header.began = backup.began;
    header.ended = backup.ended;
    header.file_count = backup.file_count;
    header.size_bytes = backup.size_bytes;
    if (fx_base_backup_write_note(&backup, &header, err) != FX_OK ||
        fx_writer_commit(writer, &backup.root, &header, err) != FX_OK) {
        return err->code;
    }
    *out_snapshot = header;
    return FX_OK;
}

const fx_source_driver fx_source_driver_postgres = {
    .kind = "postgres",
    .abilities = FX_SOURCE_SETTLES | FX_SOURCE_REPLAYS,
    .backup = backup_postgres,
    .check = fx_postgres_check,
    .settle = fx_postgres_settle,
};
