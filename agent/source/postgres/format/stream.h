/*
 * Takes the messages of BASE_BACKUP's copy stream apart: archives of files, and the manifest. Pure.
 *
 * source: PostgreSQL 15 documentation, 55.4 Streaming Replication Protocol, BASE_BACKUP
 */
#pragma once

#include "agent/source/postgres/format/tar.h"

enum { FX_BACKUP_TABLESPACE_BYTES = 11 };

typedef struct fx_backup_sink {
    void *ctx;
    /* `tablespace` is the OID in decimal, "" for the data directory itself. */
    fx_code (*begin)(void *ctx, const char *tablespace, const fx_tar_entry *entry, fx_err *err);
    fx_code (*data)(void *ctx, fx_bytes bytes, fx_err *err);
    fx_code (*end)(void *ctx, fx_err *err);
    fx_code (*manifest)(void *ctx, fx_bytes bytes, fx_err *err);
} fx_backup_sink;

typedef enum fx_backup_part {
    FX_BACKUP_PART_NONE,
    FX_BACKUP_PART_ARCHIVE,
    FX_BACKUP_PART_MANIFEST,
} fx_backup_part;

typedef struct fx_backup_stream {
    fx_backup_sink sink;
    fx_backup_part part;
    char tablespace[FX_BACKUP_TABLESPACE_BYTES];
    fx_tar_reader tar;
    uint32_t archive_count;
    bool saw_manifest;
} fx_backup_stream;

/* The stream points into itself: it must not be moved afterwards. */
void fx_backup_stream_init(fx_backup_stream *stream, const fx_backup_sink *sink);

/* One CopyData message. errors: DAMAGED, UNSUPPORTED, and the sink's */
FX_MUST_USE fx_code fx_backup_stream_feed(fx_backup_stream *stream, fx_bytes message, fx_err *err);

/* errors: DAMAGED if an entry is cut short, or if archive or manifest never came */
FX_MUST_USE fx_code fx_backup_stream_finish(const fx_backup_stream *stream, fx_err *err);
