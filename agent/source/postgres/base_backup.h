/*
 * Takes a base backup over the replication protocol into a repository's tree, with the WAL that it
 * needs to become consistent, so that the snapshot restores alone.
 */
#pragma once

#include "agent/source/source.h"
#include "common/pg/pg.h"
#include "common/repository/tree.h"

typedef struct fx_base_backup_options {
    const char *conninfo;    /* of a role with REPLICATION; primary or standby */
    const char *label;       /* written into backup_label */
    fx_dur idle_max;         /* the server may say nothing for so long; 0: 10 minutes */
    const fx_events *events; /* may be NULL */
} fx_base_backup_options;

typedef struct fx_base_backup {
    fx_chunk_id root; /* the data directory; a tablespace is the folder pg_tblspc/OID */
    fx_pg_system system;
    fx_lsn start;
    fx_lsn stop; /* consistent from here on */
    uint32_t start_timeline;
    uint32_t stop_timeline;
    uint32_t segment_bytes;
    int server_version;
    fx_wall began;
    fx_wall ended; /* by this host's clock, after the stop position */
    uint64_t file_count;
    uint64_t size_bytes;
    uint32_t tablespace_count;
} fx_base_backup;

/*
 * Stores everything through `writer` and leaves the commit to the caller. Every file's checksum was
 * compared with the server's manifest.
 *
 * errors: what fx_pg_open reports, DENIED (no REPLICATION), UNSUPPORTED (older than 15), DAMAGED,
 *         CANCELLED, FAILED (also: WAL of the backup's own time was already removed), and the
 * writer's
 */
FX_MUST_USE fx_code fx_base_backup_take(
    fx_writer *writer,
    const fx_base_backup_options *options,
    fx_base_backup *out_backup,
    fx_err *err);

/* The snapshot's note: a JSON object that restore reads back with fx_base_backup_read_note. errors:
 * LIMIT */
FX_MUST_USE fx_code
fx_base_backup_write_note(const fx_base_backup *backup, fx_snapshot *header, fx_err *err);

/* Fills what the note holds (all but root, counts and sizes). errors: INVALID */
FX_MUST_USE fx_code
fx_base_backup_read_note(const fx_snapshot *header, fx_base_backup *out_backup, fx_err *err);
