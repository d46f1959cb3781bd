/*
 * The catalog: which snapshots exist, in SQLite. Derived: the repositories are the truth, and a
 * file that is missing or damaged is made anew from them, with a line in the log.
 */
#pragma once

#include "common/base/log.h"
#include "common/loop/loop.h"
#include "common/repository/repository.h"

typedef struct fx_catalog fx_catalog;

enum { FX_CATALOG_REPOSITORY_MAX = 16, FX_CATALOG_ERROR_BYTES = 256 };

typedef struct fx_catalog_repository {
    const char *name;
    const char *url;
} fx_catalog_repository;

typedef struct fx_catalog_options {
    const char *path; /* of the SQLite file, for example STATE_DIR/catalog.sqlite */
    const fx_catalog_repository *repositories; /* copied */
    size_t repository_count;
    const fx_log *log; /* borrowed, may be NULL */
} fx_catalog_options;

/* Opens, or makes anew what is missing or damaged; reads no repository yet. errors: DENIED, IO,
 * LIMIT */
FX_MUST_USE fx_code
fx_catalog_open(const fx_catalog_options *options, fx_catalog **out_catalog, fx_err *err);

/* After the loop that it was started on was freed. */
void fx_catalog_free(fx_catalog *catalog);
FX_DEFINE_AUTO(fx_catalog);

/*
 * Reads every repository and replaces what the catalog says of it. One that cannot be read keeps
 * what was known, is logged and shows in fx_catalog_sources. Blocks. errors: IO, DAMAGED (of the
 * catalog)
 *
 * thread: any; two calls wait for one another
 */
FX_MUST_USE fx_code fx_catalog_refresh(fx_catalog *catalog, fx_err *err);

/* Refreshes at once and then every `period`, on a worker thread of the loop. thread: the loop's */
void fx_catalog_start(fx_catalog *catalog, fx_loop *loop, fx_dur period);

/* No further refresh begins. thread: the loop's */
void fx_catalog_stop(fx_catalog *catalog);

/* What an agent's report says of one snapshot, heard earlier than the repository is read again. */
typedef struct fx_catalog_note {
    const char *id;
    const char *host;
    const char *source;
    const char *kind;
    fx_wall taken;
    uint64_t size_bytes;
    uint32_t warning_count;
} fx_catalog_note;

/* A snapshot that is known already stays as it is. thread: any. errors: IO, DAMAGED */
FX_MUST_USE fx_code
fx_catalog_add_note(fx_catalog *catalog, const fx_catalog_note *note, fx_err *err);

typedef struct fx_catalog_snapshot {
    fx_snapshot snapshot;
    fx_name repository; /* "" while only an agent's report tells of it */
} fx_catalog_snapshot;

typedef struct fx_catalog_list {
    fx_catalog_snapshot *items; /* newest first */
    size_t count;
} fx_catalog_list;
void fx_catalog_list_free(fx_catalog_list *list);

/*
 * The newest `limit` snapshots; `host` and `source` NULL for any. thread: any.
 * errors: IO, DAMAGED
 */
FX_MUST_USE fx_code fx_catalog_list_snapshots(
    fx_catalog *catalog,
    const char *host,
    const char *source,
    size_t limit,
    fx_catalog_list *out_list,
    fx_err *err);

/* The newest snapshot of each (host, source). thread: any. errors: IO, DAMAGED */
FX_MUST_USE fx_code
fx_catalog_list_newest(fx_catalog *catalog, fx_catalog_list *out_list, fx_err *err);

/* How the last reading of one repository went. */
typedef struct fx_catalog_source {
    fx_name name;
    bool reachable;
    fx_wall read_at; /* last success; 0: never */
    uint64_t snapshot_count;
    uint64_t unreadable_count;
    uint64_t added_bytes; /* what the snapshots added to the store */
    char error[FX_CATALOG_ERROR_BYTES];
} fx_catalog_source;

/* thread: any */
void fx_catalog_sources(
    fx_catalog *catalog,
    fx_catalog_source out_sources[FX_CATALOG_REPOSITORY_MAX],
    size_t *out_count);
