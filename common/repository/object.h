/*
 * The sealed object that packs, indexes, snapshots and streams are made of: a header with a sealed
 * session key, readable bytes, encrypted blobs, and a readable directory of them. Bytes:
 * docs/format.md, "Objects".
 */
#pragma once

#include "common/repository/key.h"
#include "common/zip/zip.h"

enum {
    FX_OBJECT_VERSION = 1,
    FX_OBJECT_HEAD_BYTES = 144,
    FX_OBJECT_ENTRY_BYTES = 44,
    FX_OBJECT_FOOT_BYTES = 32,
    FX_OBJECT_PLAIN_MAX_BYTES = 64 * 1024,
    FX_OBJECT_BLOB_MAX = 1 << 20,
    FX_OBJECT_SEALED_KEY_BYTES = FX_BOX_OVERHEAD_BYTES + FX_KEY_BYTES,
    FX_OBJECT_BLOB_MAX_BYTES = FX_CHUNK_MAX_BYTES,
    FX_OBJECT_STORED_MAX_BYTES = FX_CHUNK_MAX_BYTES + FX_AEAD_TAG_BYTES,
};

typedef enum fx_object_type {
    FX_OBJECT_PACK = 1,
    FX_OBJECT_INDEX,
    FX_OBJECT_SNAPSHOT,
    FX_OBJECT_STREAM,
} fx_object_type;

/* One run's key, sealed to the scope. */
typedef struct fx_session {
    unsigned char key[FX_KEY_BYTES];
    unsigned char id_key[FX_KEY_BYTES];
    unsigned char sealed[FX_OBJECT_SEALED_KEY_BYTES];
    fx_scope_id scope;
    uint32_t key_version;
} fx_session;
FX_MUST_USE fx_code
fx_session_begin(const fx_repository_key *key, fx_session *out_session, fx_err *err);

/* ---- writing ------------------------------------------------------------------------------------
 */

/* A blob to be stored: its line of the directory, and the bytes that are encrypted. */
typedef struct fx_blob_draft {
    fx_chunk_id id;
    uint32_t content_bytes;
    uint32_t flags;
    fx_bytes plain; /* the content or its zstd frame: borrowed */
} fx_blob_draft;

/*
 * Makes a draft of content, with an id and kind; compresses where that is worth it. `scratch` then
 * holds what the draft borrows. errors: LIMIT
 */
FX_MUST_USE fx_code fx_blob_draft_fill(
    fx_blob_draft *draft,
    uint32_t kind,
    fx_bytes content,
    fx_zip *zip,
    fx_buf *scratch,
    fx_err *err);

typedef struct fx_object_writer {
    fx_buf bytes;
    fx_buf directory;
    fx_buf scratch;
    fx_aead *aead;
    unsigned char key[FX_KEY_BYTES]; /* of this object alone */
    unsigned char head_digest[FX_SHA256_BYTES];
    uint32_t count;
} fx_object_writer;

void fx_object_writer_init(fx_object_writer *writer);

/* Begins a new object, forgetting the last. Draws a new salt: its key is used for this object
 * alone. */
FX_MUST_USE fx_code fx_object_begin(
    fx_object_writer *writer,
    const fx_session *session,
    fx_object_type type,
    fx_bytes plain,
    fx_err *err);
FX_MUST_USE fx_code fx_object_add(
    fx_object_writer *writer,
    fx_zip *zip,
    const fx_chunk_id *id,
    uint32_t kind,
    fx_bytes content,
    fx_err *err);

/* The place of a blob that several threads fill at once. */
typedef struct fx_object_slot {
    uint32_t number;
    size_t offset;
} fx_object_slot;

/* Enters the blob in the directory and keeps its room. thread: one at a time */
FX_MUST_USE fx_code fx_object_reserve(
    fx_object_writer *writer, const fx_blob_draft *draft, fx_object_slot *out_slot, fx_err *err);
/*
 * Encrypts into the place. The bytes must not move meanwhile: reserve() only within what
 * fx_buf_reserve() has taken. thread: several at once, each with an `aead` of its own
 */
void fx_object_fill(
    const fx_object_writer *writer,
    fx_aead *aead,
    const fx_object_slot *slot,
    const fx_blob_draft *draft);

/* The ids of the blobs so far, FX_OBJECT_ENTRY_BYTES apart; until more are added. */
const unsigned char *fx_object_ids(const fx_object_writer *writer);

/* Completes `writer->bytes`; gives its SHA-256. */
FX_MUST_USE fx_code
fx_object_finish(fx_object_writer *writer, unsigned char out_digest[FX_SHA256_BYTES], fx_err *err);
void fx_object_writer_free(fx_object_writer *writer);

/* ---- reading ------------------------------------------------------------------------------------
 */

typedef struct fx_blob {
    fx_chunk_id id;
    uint64_t offset;
    uint32_t stored_bytes;
    uint32_t content_bytes;
    uint32_t flags; /* as stored: bit 0 compressed, from bit 8 the kind */
} fx_blob;

typedef struct fx_object {
    fx_object_type type;
    uint32_t version;
    unsigned char salt[32];
    unsigned char sealed[FX_OBJECT_SEALED_KEY_BYTES];
    fx_scope_id scope;
    uint32_t key_version;
    unsigned char head_digest[FX_SHA256_BYTES];
    unsigned char *plain;
    size_t plain_bytes;
    fx_blob *blobs;
    uint32_t blob_count;
    unsigned char directory_digest[FX_SHA256_BYTES];
    unsigned char directory_tag[FX_AEAD_TAG_BYTES];
    fx_aead *aead;                   /* once unlocked */
    const fx_scope_keys *scope_keys; /* likewise: borrowed of the key */
} fx_object;

/*
 * From the object's first bytes (at least head and plain part), its last ones (directory and foot)
 * and its size. errors: DAMAGED, UNSUPPORTED (newer version), LIMIT
 */
FX_MUST_USE fx_code fx_object_parse(
    fx_bytes head, fx_bytes tail, uint64_t size_bytes, fx_object **out_object, fx_err *err);
void fx_object_free(fx_object *object);
FX_DEFINE_AUTO(fx_object);

/* Whose it is, by its head alone. false: it is no object. */
bool fx_object_scope(fx_bytes head, fx_scope_id *out_scope);

/* How many of the last bytes the directory and foot take. errors: DAMAGED */
FX_MUST_USE fx_code fx_object_tail_size(fx_bytes foot, uint64_t *out_tail_bytes, fx_err *err);

/* Is the private key for it here? */
bool fx_object_has_key(const fx_object *object, const fx_repository_key *key);
/* Fails with WRONG_KEY, saying why it is not. */
FX_MUST_USE fx_code
fx_object_explain_locked(const fx_object *object, const fx_repository_key *key, fx_err *err);

/*
 * Also checks that the directory is the one that was written, whole: no blob is left out.
 * errors: DAMAGED; WRONG_KEY where its key is not here
 */
FX_MUST_USE fx_code fx_object_unlock(fx_object *object, const fx_repository_key *key, fx_err *err);

/* Appends the blob's content. errors: DAMAGED */
FX_MUST_USE fx_code fx_object_open_blob(
    fx_object *object, fx_zip *zip, uint32_t index, fx_bytes stored, fx_buf *out, fx_err *err);
