/* What the engine's own files share. */
#pragma once

#include <pthread.h>

#include "common/repository/id_set.h"
#include "common/repository/index.h"
#include "common/repository/key_object.h"
#include "common/repository/object.h"
#include "common/store/store.h"

enum {
    FX_REPOSITORY_MAGIC = 0x4ea05174,
    FX_REPOSITORY_ID_BYTES = 16,
    FX_OPEN_PACK_MAX = 64, /* heads and directories kept */
    FX_SEGMENT_MAX = 8,    /* pieces of packs kept */
    FX_SEGMENT_FIRST_BYTES = 256 * 1024,
    FX_SEGMENT_BYTES = 2 * 1024 * 1024,
    FX_SNAPSHOT_OBJECT_MAX_BYTES = 128 * 1024,
    FX_KEY_TEXT_BYTES = FX_STORE_KEY_MAX_BYTES + 1,
    FX_REQUESTS_AT_ONCE = 16, /* of small ones, where the store's answers are waited for */
};

/* A pack's head and directory, unlocked. */
typedef struct fx_open_pack {
    uint32_t pack;
    uint64_t used_at;
    fx_object *object;
} fx_open_pack;

/* Some of a pack's bytes, as stored. */
typedef struct fx_segment {
    uint32_t pack;
    uint64_t offset;
    uint64_t used_at;
    fx_buf bytes;
} fx_segment;

typedef struct fx_bad_index {
    char *store_key;
    fx_err err;
} fx_bad_index;

struct fx_repository {
    uint32_t magic;
    fx_store *store;
    unsigned char id[FX_REPOSITORY_ID_BYTES];
    const fx_repository_key *key;              /* borrowed; NULL: keyless */
    unsigned char key_digest[FX_SHA256_BYTES]; /* of all that can be read with it */
    bool has_write_scope;   /* the repository has the scope that the key writes to */
    bool is_writing;        /* what a writer may count on matters */
    pthread_mutex_t lock;   /* guards all below */
    fx_key_names key_names; /* of the key objects, once they were asked for */
    bool has_key_names;
    fx_index *index;
    fx_id_set loaded;         /* names of index objects that are in the index */
    fx_id_set foreign;        /* of them, those of scopes that are not ours */
    size_t saved_count;       /* of them, those that the copy on disk holds */
    fx_id_set vouchers;       /* names of those that the index has taken into account */
    fx_id_set vouched;        /* while it is loaded: records that they speak of */
    size_t saved_vouchers;    /* of `vouchers`, those that the copy on disk tells of */
    fx_id_set own;            /* names of own index objects that are in the index: write-only */
    struct fx_kept *kept;     /* lists of the parent snapshot; write-only */
    char *own_path;           /* of what this host stored; NULL: nothing remembers it */
    char *cache;              /* path of that copy; NULL: none is kept */
    char *cache_folder;       /* that it lies in */
    struct fx_bad_index *bad; /* index objects that cannot be read */
    size_t bad_count;
    size_t rescued_count; /* packs in the index that only their own directories told of */
    bool rescued;         /* directories of packs that no index names are in the index */
    fx_hmac **hmacs;      /* one a scope of the key */
    fx_zip *zip;
    int level; /* of content that is written */
    uint64_t use_count;
    fx_progress_function progress; /* of the operation under way; NULL: nobody asks */
    void *progress_ctx;
    fx_open_pack packs[FX_OPEN_PACK_MAX];
    fx_segment segments[FX_SEGMENT_MAX];
};

/* Tells how far the operation has come. */
void fx_repository_tell(const fx_repository *repository, const fx_progress *progress);

/* No store of ours needs longer for one object; a person who waits longer wants to know. */
fx_mono fx_repository_deadline(void);

/* "packs/0a/0a1b…" */
/* Adds the names of all packs that are in the store. */
FX_MUST_USE fx_code
fx_repository_list_packs(fx_repository *repository, fx_id_set *names, fx_err *err);
void fx_pack_key(const unsigned char name[FX_ID_BYTES], char out_key[FX_KEY_TEXT_BYTES]);

/* errors: WRONG_KEY when there is no key to write with */
FX_MUST_USE fx_code fx_repository_need_key(const fx_repository *repository, fx_err *err);
/* errors: WRONG_KEY when there is no key that reads anything */
FX_MUST_USE fx_code fx_repository_need_read(const fx_repository *repository, fx_err *err);

/* How a chunk is stored. */
typedef struct fx_chunk_form {
    fx_chunk_kind kind;
    bool is_compressed;
} fx_chunk_form;

/* fx_repository_read_chunk, and what kind of chunk it is stored as. errors, thread: the same */
FX_MUST_USE fx_code fx_repository_read_stored(
    const fx_chunks *chunks,
    const fx_chunk_id *id,
    fx_chunk_form *out_form,
    fx_buf *out_content,
    fx_err *err);

/* Those of the scope that is written to; there must be a key. */
fx_chunks fx_repository_own_chunks(fx_repository *repository);

/*
 * Reads a pack's head and directory, and unlocks it if its key is here. errors: as the store's,
 * DAMAGED. thread: any
 */
FX_MUST_USE fx_code fx_repository_load_pack(
    const fx_repository *repository, uint32_t number, fx_object **out_pack, fx_err *err);

/* Keys of objects, in order. */
typedef struct fx_key_list {
    char **items;
    size_t count;
    bool overflow;
} fx_key_list;
FX_MUST_USE fx_code fx_repository_list_keys(
    fx_repository *repository, const char *prefix, fx_key_list *list, fx_err *err);
void fx_key_list_free(fx_key_list *list);

/* Whose an object is, as its head says; needs no key. errors: DAMAGED (no object), NOT_FOUND, the
 * store's */
FX_MUST_USE fx_code fx_repository_scope_of(
    const fx_repository *repository, const char *store_key, fx_scope_id *out_scope, fx_err *err);

/* The id of a chunk in an unlocked pack. With the lock held. */
void fx_repository_chunk_id(
    fx_repository *repository, const fx_object *object, fx_bytes content, fx_chunk_id *out_id);

/*
 * Fails: the object's key is not here. DAMAGED when the repository has no such scope or key
 * version, so that the head lies; else WRONG_KEY. With the lock held.
 */
FX_MUST_USE fx_code
fx_repository_explain_locked(fx_repository *repository, const fx_object *object, fx_err *err);

/*
 * Reads a whole object, and unlocks it if its key is here; `bytes` keeps it. errors: as the
 * store's, DAMAGED
 */
FX_MUST_USE fx_code fx_repository_load_object(
    fx_repository *repository,
    const char *store_key,
    fx_object_type type,
    fx_buf *bytes,
    fx_object **out_object,
    fx_err *err);

/* Opens blob `index` of a whole object that is in memory. errors: DAMAGED, WRONG_KEY (locked) */
FX_MUST_USE fx_code fx_repository_open_blob(
    fx_repository *repository,
    fx_object *object,
    const fx_buf *bytes,
    uint32_t index,
    fx_buf *out,
    fx_err *err);

/*
 * Adds index objects that appeared since. Damaged ones are remembered in `bad` and do not fail it.
 * With the lock held.
 */
FX_MUST_USE fx_code fx_repository_load_indexes(fx_repository *repository, fx_err *err);

/* The same for a writer: forgets all if an index object is gone, perhaps with packs it names. */
FX_MUST_USE fx_code fx_repository_refresh_indexes(fx_repository *repository, fx_err *err);

/* With the lock held, too. */
void fx_repository_forget_indexes(fx_repository *repository);

/* The object "config". errors: DAMAGED, UNSUPPORTED */
FX_MUST_USE fx_code
fx_config_decode(const fx_buf *bytes, unsigned char out_id[FX_REPOSITORY_ID_BYTES], fx_err *err);

/* The readable part of a snapshot object of that key. errors: DAMAGED */
FX_MUST_USE fx_code fx_snapshot_decode(
    const fx_object *object, const char *store_key, fx_snapshot *out_snapshot, fx_err *err);

/* The root of a snapshot object that lies under any key. errors: as fx_repository_snapshot_root()
 */
FX_MUST_USE fx_code fx_repository_root_at(
    fx_repository *repository, const char *store_key, fx_root *out_root, fx_err *err);

/* As fx_repository_list(), with those that are void or were forgotten. */
FX_MUST_USE fx_code fx_repository_list_all(
    fx_repository *repository,
    fx_snapshot_list *out_list,
    size_t *out_unreadable_count,
    fx_err *err);

/* The scope that is written to can be written to only. */
bool fx_repository_is_write_only(const fx_repository *repository);

const char *fx_writer_lease(const fx_writer *writer);

/* For this writer's content from now on. thread: while nothing is added */
void fx_writer_set_compression(fx_writer *writer, int level);

/* Where the lists of a data set's last snapshot are kept; false: nowhere. */
enum { FX_KEPT_PATH_BYTES = 4096 };
bool fx_repository_kept_path(
    const fx_repository *repository,
    const char *source,
    const char *host,
    char out_path[FX_KEPT_PATH_BYTES]);

/* Vouches for packs that were opened, as far as they are still there; `opened` are their records.
 * Gives how many it were. Before anything is added. errors: the store's */
FX_MUST_USE fx_code
fx_writer_vouch(fx_writer *writer, const fx_id_set *opened, uint64_t *out_count, fx_err *err);

/* The writer stores again what only such packs hold, by their numbers in the index. Before anything
 * is added. thread: asked on any */
typedef bool (*fx_writer_avoids)(const void *ctx, uint32_t pack);
void fx_writer_avoid(fx_writer *writer, fx_writer_avoids avoids, const void *ctx);

/* The sets take the names of all index objects and vouchers that the writer puts from now on. */
void fx_writer_tell_names(fx_writer *writer, fx_id_set *indexes, fx_id_set *vouchers);

/*
 * Adds what the directories of packs say that no readable index names; once. Such packs serve
 * reading: a writer stores their chunks again. With the lock held.
 */
FX_MUST_USE fx_code fx_repository_rescue_packs(fx_repository *repository, fx_err *err);

/* "Is named by the SHA-256 of its bytes". */
bool fx_is_named_by_digest(const char *store_key, fx_bytes bytes);
