/*
 * The repository: deduplicated, compressed, encrypted snapshots in an object store, as
 * docs/format.md describes it.
 *
 * thread: one call per object at a time unless said otherwise
 */
#pragma once

#include <stdatomic.h>

#include "common/base/buf.h"
#include "common/base/name.h"
#include "common/base/progress.h"
#include "common/base/secret.h"
#include "common/base/time.h"

enum {
    FX_ID_BYTES = 32,
    FX_CHUNK_MIN_BYTES = 256 * 1024, /* of content-defined chunks, but for the last of a file */
    FX_CHUNK_MAX_BYTES = 4 * 1024 * 1024,
    FX_SNAPSHOT_ID_TEXT_BYTES = 65,
    FX_TAGS_BYTES = 512,
};

/* HMAC-SHA-256 of a chunk's content under the scope's id key. */
typedef struct fx_chunk_id {
    unsigned char bytes[FX_ID_BYTES];
} fx_chunk_id;

typedef struct fx_repository_key fx_repository_key;

/* Draws a scope's keys and writes the key file (mode 0600). errors: EXISTS (never replaces one),
 * DENIED, NO_SPACE */
FX_MUST_USE fx_code fx_repository_key_create(const char *path, fx_err *err);
/*
 * Opens a key file with what the environment gives (common/keyring/wrap.h).
 * errors: NOT_FOUND, DENIED (also when others may read the file), INVALID (no key file), DAMAGED,
 *         UNSUPPORTED, WRONG_KEY (nothing here opens any of it: lists the recipients)
 */
FX_MUST_USE fx_code
fx_repository_key_load(const char *path, fx_repository_key **out_key, fx_err *err);
/* Chooses the scope that is written to, by label or id (NULL: leaves it); else it is the first.
 * errors: NOT_FOUND, WRONG_KEY */
FX_MUST_USE fx_code
fx_repository_key_select(fx_repository_key *key, const char *which, fx_err *err);
/* Of the scope that is written to: false on a host that can only write. */
bool fx_repository_key_can_read(const fx_repository_key *key);
void fx_repository_key_free(fx_repository_key *key);
FX_DEFINE_AUTO(fx_repository_key);

typedef struct fx_repository fx_repository;

/*
 * The chunks of one scope. A tree names no others: else who may write to a scope, or has stolen its
 * keys, could have another's content restored by somebody who reads both.
 */
typedef struct fx_chunks {
    fx_repository *repository;
    const struct fx_scope_keys *scope; /* of the repository's key */
} fx_chunks;

/* A tree, and the chunks of its scope. */
typedef struct fx_root {
    fx_chunks chunks;
    fx_chunk_id id;
} fx_root;

/* errors: EXISTS (there is a repository already) and what the store reports */
FX_MUST_USE fx_code
fx_repository_create(const char *url, const fx_repository_key *key, fx_err *err);

/*
 * `key` NULL: only what needs no key (fx_repository_list). Borrows `key` until freed.
 * errors: NOT_FOUND (no repository there), WRONG_KEY (the key has none of its scopes), UNSUPPORTED
 *         (newer format)
 */
FX_MUST_USE fx_code fx_repository_open(
    const char *url, const fx_repository_key *key, fx_repository **out_repository, fx_err *err);
void fx_repository_free(fx_repository *repository);
FX_DEFINE_AUTO(fx_repository);

/*
 * Keeps a copy of the index in a folder of its own below `folder`, made if need be, so that only
 * what is new is read from the store; and large parts of the index lie there, not in memory. Before
 * anything else is done with the repository. errors: as those of making a folder
 */
FX_MUST_USE fx_code
fx_repository_use_cache(fx_repository *repository, const char *folder, fx_err *err);

/* How content is compressed from now on: a level of common/zip/zip.h, FX_ZIP_NONE for not at all.
 * Lists of files, which are this program's own, always are. */
void fx_repository_set_compression(fx_repository *repository, int level);

/* ---- snapshots ---------------------------------------------------------------------------------
 */

/* The readable header of a snapshot object. Lists of them are owned by the caller. */
typedef struct fx_snapshot {
    char id[FX_SNAPSHOT_ID_TEXT_BYTES]; /* SHA-256 of the object, hex */
    char scope[17];                     /* id of the scope that it belongs to, hex */
    fx_name host;
    char source[128];         /* name of the data set: "files:app-data", "postgres:orders-db" */
    char kind[32];            /* "files", "postgres" */
    char tags[FX_TAGS_BYTES]; /* common/repository/tags.h */
    char note[1024];          /* kind-specific, readable: JSON object text or "" */
    char lease[52];           /* of the writer; readers need not care */
    bool is_void;   /* put by a writer after its right to was revoked: lists leave it out */
    bool is_signed; /* by who could read its scope; told only where its root is read, too */
    uint32_t warning_count;
    fx_wall began; /* the instant that the snapshot speaks of: for PostgreSQL, the backup's start */
    fx_wall ended;
    fx_wall stored; /* when the store got it, as the store tells: no host can choose it; 0: it does
                       not tell */
    uint64_t file_count;
    uint64_t size_bytes;  /* of the saved data */
    uint64_t added_bytes; /* what it added to the store */
} fx_snapshot;

typedef struct fx_snapshot_list {
    fx_snapshot *items; /* oldest first, by `began`, but at most `stored` */
    size_t count;
} fx_snapshot_list;
void fx_snapshot_list_free(fx_snapshot_list *list);

/* Reads the headers; needs no key. Objects that cannot be read are counted, not fatal. */
FX_MUST_USE fx_code fx_repository_list(
    fx_repository *repository,
    fx_snapshot_list *out_list,
    size_t *out_unreadable_count,
    fx_err *err);

/*
 * Finds one by id, unambiguous prefix of at least 8 digits, or "latest" (of `source` and `host`
 * where they are not NULL, and not after `before` unless that is 0). errors: NOT_FOUND, INVALID
 * (ambiguous)
 */
FX_MUST_USE fx_code fx_repository_find(
    fx_repository *repository,
    const char *which,
    const char *source,
    const char *host,
    fx_wall before,
    fx_snapshot *out_snapshot,
    fx_err *err);

/*
 * The newest snapshot of the data set in the scope that is written to, with its root: what a new
 * one may build on. (Chunks of another scope are none of ours: erasing that would break us.) Only
 * what is signed counts, since who can only write could put what it likes in another host's name,
 * and what a parent says of a file is not read again. Who can only write finds what it has kept of
 * its own last one: id and counts are not told then. errors: NOT_FOUND (also where nothing can be
 * read), and those of reading
 */
FX_MUST_USE fx_code fx_repository_find_parent(
    fx_repository *repository,
    const char *source,
    const char *host,
    fx_snapshot *out_parent,
    fx_root *out_root,
    fx_err *err);

/*
 * Is it not signed, although there is one of its data set that is? Then a host that can only write
 * may have put it in the other's name. errors: of reading the snapshot, or others where no signed
 * one was found: it cannot be told then
 */
FX_MUST_USE fx_code fx_repository_is_doubtful(
    fx_repository *repository, const fx_snapshot *snapshot, bool *out_doubtful, fx_err *err);

/* Removes a snapshot, unless it is held (common/repository/hold.h); what only it needs goes with
 * the next collection. errors: NOT_FOUND, HELD (naming the hold), and the store's */
FX_MUST_USE fx_code
fx_repository_forget(fx_repository *repository, const char *snapshot_id, fx_err *err);

/* ---- writing -----------------------------------------------------------------------------------
 */

typedef struct fx_writer fx_writer;

/* Loads the index. Chunks are stored as they come; nothing counts until the commit.
 */
FX_MUST_USE fx_code fx_writer_open(fx_repository *repository, fx_writer **out_writer, fx_err *err);

/* Without a commit before it, leaves only unreferenced packs behind, which a later collection
 * takes. */
void fx_writer_free(fx_writer *writer);
FX_DEFINE_AUTO(fx_writer);

typedef enum fx_chunk_kind { FX_CHUNK_DATA, FX_CHUNK_TREE } fx_chunk_kind;

/*
 * Stores a chunk unless it is known; at most FX_CHUNK_MAX_BYTES. After a failure the writer is of
 * no more use: every further call, a commit too, gives the same error.
 */
FX_MUST_USE fx_code fx_writer_add_chunk(
    fx_writer *writer, fx_chunk_kind kind, fx_bytes content, fx_chunk_id *out_id, fx_err *err);

/*
 * Is the chunk stored where this writer may count on it? To be asked of every chunk that a new
 * snapshot takes over from an old one without adding it. thread: any
 */
bool fx_writer_has(const fx_writer *writer, const fx_chunk_id *id);

/*
 * Keeps the lists of the snapshot in the cache folder, from now on until the commit, where they
 * cannot be read back: the next fx_repository_find_parent() then finds them. No effect elsewhere.
 */
void fx_writer_keep_lists(fx_writer *writer);

/* Makes all that was added durable, and known to later writers, without a snapshot. */
FX_MUST_USE fx_code fx_writer_flush(fx_writer *writer, fx_err *err);

/*
 * Makes packs and index durable, then puts the snapshot object, which alone commits. `header` gives
 * host to note; id, sizes added are filled in. `root` is the tree's root chunk. errors: STALE (a
 * collector revoked this writer's right to commit), and the store's
 */
FX_MUST_USE fx_code
fx_writer_commit(fx_writer *writer, const fx_chunk_id *root, fx_snapshot *header, fx_err *err);

/* ---- reading -----------------------------------------------------------------------------------
 */

/* The root tree of a snapshot. errors: NOT_FOUND, DAMAGED, WRONG_KEY */
FX_MUST_USE fx_code fx_repository_snapshot_root(
    fx_repository *repository, const char *snapshot_id, fx_root *out_root, fx_err *err);

/*
 * Gives a chunk's content, authenticated and with its id computed again.
 * errors: NOT_FOUND (naming the chunk), DAMAGED (naming the pack; also where the chunk is another
 *         scope's), WRONG_KEY
 * thread: any
 */
FX_MUST_USE fx_code fx_repository_read_chunk(
    const fx_chunks *chunks, const fx_chunk_id *id, fx_buf *out_content, fx_err *err);

/* Has the content this id in the scope? thread: any */
bool fx_repository_is_chunk(const fx_chunks *chunks, const fx_chunk_id *id, fx_bytes content);

/* ---- named streams: closed WAL segments, timeline histories
 * --------------------------------------- */

/*
 * Stores encrypted content under an ordered readable name ("wal/SYSTEM/000000010000000000000004"),
 * durable on return. Content equal to what is there already is success; other content: EXISTS.
 * units: content at most FX_NAMED_MAX_BYTES
 */
enum { FX_NAMED_MAX_BYTES = 64 * 1024 * 1024 };
FX_MUST_USE fx_code
fx_repository_put_named(fx_repository *repository, const char *name, fx_bytes content, fx_err *err);
/* errors: NOT_FOUND, DAMAGED, WRONG_KEY */
FX_MUST_USE fx_code fx_repository_get_named(
    fx_repository *repository, const char *name, fx_buf *out_content, fx_err *err);

typedef void (*fx_named_visit)(void *ctx, const char *name);
/* In order of name; needs no key. */
FX_MUST_USE fx_code fx_repository_list_named(
    fx_repository *repository, const char *prefix, fx_named_visit visit, void *ctx, fx_err *err);
typedef void (*fx_named_visit_time)(void *ctx, const char *name, fx_wall stored);
/* When the store got them, by its own clock; visits nothing where it does not tell. */
FX_MUST_USE fx_code fx_repository_list_named_times(
    fx_repository *repository,
    const char *prefix,
    fx_named_visit_time visit,
    void *ctx,
    fx_err *err);

/* ---- verification
 * -------------------------------------------------------------------------------- */

typedef struct fx_verify_report {
    uint64_t pack_count;
    uint64_t chunk_count;
    uint64_t snapshot_count;
    uint64_t named_count;
    uint64_t locked_count;    /* snapshots and named objects of scopes whose key is not here */
    uint64_t read_pack_count; /* of pack_count, those whose data was read */
    uint64_t read_bytes;
    uint64_t damage_count;
    uint64_t remnant_count;      /* packs that a revoked writer named late: nothing needs them */
    uint64_t vouched_pack_count; /* of hosts that only write: later backups may count on them now */
    fx_err vouch_failure;        /* why it could not be said that they were opened */
} fx_verify_report;

/* Called once a finding: what is damaged, and for snapshots that it makes unrestorable, which. */
typedef void (*fx_verify_finding)(void *ctx, const char *text);

/*
 * Structure: every object is named by its hash where it should be, every snapshot's tree is
 * complete in the index and every index entry's pack is there with that size (but for remnants:
 * docs/format.md, "What an index object promises"). With `read_data` also
 * every blob is opened. FX_OK when nothing is damaged, else DAMAGED with the first finding.
 */
FX_MUST_USE fx_code fx_repository_verify(
    fx_repository *repository,
    bool read_data,
    fx_verify_finding finding,
    void *ctx,
    fx_verify_report *out_report,
    fx_err *err);

typedef struct fx_verify_options {
    bool read_data;
    /* With read_data: only one of `part_count` parts, numbered from 1; 0: all. */
    uint32_t part;
    uint32_t part_count;
    /* With read_data: only so many millionths of the bytes, those that were not read for the
     * longest; 0: all. Needs `state_folder`. */
    uint32_t share_ppm;
    const char *state_folder; /* remembers what was read, and when; NULL: nothing does */
    fx_verify_finding finding;
    fx_progress_function progress; /* or NULL */
    void *ctx;
    const atomic_bool *cancel; /* what was read until then is remembered; or NULL */
} fx_verify_options;

/* errors: also CANCELLED, INVALID */
FX_MUST_USE fx_code fx_repository_verify_with(
    fx_repository *repository,
    const fx_verify_options *options,
    fx_verify_report *out_report,
    fx_err *err);
