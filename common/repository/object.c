#include "common/repository/object.h"

#include <string.h>

#include "common/base/secret.h"

enum { SALT_AT = 16, SEALED_AT = 48, PLAIN_SIZE_AT = 128, SCOPE_AT = 132 };
enum { KEY_VERSION_AT = 140, BOUND_BYTES = 76, DIRECTORY_BOUND_BYTES = 68 };

static const char object_magic[8] = "FORTRESS";
/* The nonce of the directory's seal: above every blob's. */
static const uint64_t directory_number = UINT64_C(1) << 32;

static const char foot_magic[8] = "FXOBJEND";
static const char session_use[] = "fortress session key 1";
static const char object_use[] = "fortress object key 1";

static void
put_u32(unsigned char *to, uint32_t value)
{
    for (size_t i = 0; i < 4; i++) {
        to[i] = (unsigned char)(value >> (8 * i));
    }
}

static uint32_t
get_u32(const unsigned char *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 |
           (uint32_t)from[3] << 24;
}

fx_code
fx_session_begin(const fx_repository_key *key, fx_session *out_session, fx_err *err)
{
    fx_session session;
    const fx_scope_keys *scope = fx_repository_key_writes(key);
    const fx_scope_version *version = &scope->versions[scope->version_count - 1];
    FX_ASSERT(scope->can_write);
    session.scope = scope->id;
    session.key_version = version->number;
    fx_crypto_random(session.key, sizeof session.key);
    memcpy(session.id_key, scope->id_key, sizeof session.id_key);
    FX_BUF_AUTO sealed;
    fx_buf_init(&sealed, sizeof session.sealed);
    fx_bytes plain = {session.key, sizeof session.key};
    if (fx_box_seal(version->public_key, session_use, plain, &sealed, err) != FX_OK) {
        return fx_err_wrap(err, "sealing a session key");
    }
    FX_ASSERT(sealed.size_bytes == sizeof session.sealed);
    memcpy(session.sealed, sealed.data, sizeof session.sealed);
    *out_session = session;
    fx_wipe(&session, sizeof session);
    return FX_OK;
}

/*
 * The id key goes in too: the session key alone could be sealed by anyone who knows the scope's
 * public key, and such an object must not open.
 */
static void
derive_object_key(
    const unsigned char session_key[FX_KEY_BYTES],
    const unsigned char id_key[FX_KEY_BYTES],
    const unsigned char salt[32],
    unsigned char out_key[FX_KEY_BYTES])
{
    unsigned char both[2 * FX_KEY_BYTES];
    memcpy(both, session_key, FX_KEY_BYTES);
    memcpy(both + FX_KEY_BYTES, id_key, FX_KEY_BYTES);
    fx_hkdf_sha256(
        (fx_bytes){both, sizeof both}, (fx_bytes){salt, 32}, object_use, out_key, FX_KEY_BYTES);
    fx_wipe(both, sizeof both);
}

/* What every blob is bound to: the whole head, its number, and its line in the directory. */
static void
make_bound(
    unsigned char out_bound[BOUND_BYTES],
    const unsigned char head_digest[FX_SHA256_BYTES],
    uint32_t index,
    const fx_chunk_id *id,
    uint32_t content_bytes,
    uint32_t flags)
{
    memcpy(out_bound, head_digest, 32);
    put_u32(out_bound + 32, index);
    memcpy(out_bound + 36, id->bytes, 32);
    put_u32(out_bound + 68, content_bytes);
    put_u32(out_bound + 72, flags);
}

/* What the directory's tag is over: the whole head, the number of blobs, all their lines. */
static void
make_directory_bound(
    unsigned char out_bound[DIRECTORY_BOUND_BYTES],
    const unsigned char head_digest[FX_SHA256_BYTES],
    uint32_t count,
    const unsigned char directory_digest[FX_SHA256_BYTES])
{
    memcpy(out_bound, head_digest, 32);
    put_u32(out_bound + 32, count);
    memcpy(out_bound + 36, directory_digest, 32);
}

/* ---- writing ------------------------------------------------------------------------------------
 */

void
fx_object_writer_init(fx_object_writer *writer)
{
    size_t max_bytes = (size_t)128 * 1024 * 1024;
    *writer = (fx_object_writer){0};
    fx_buf_init(&writer->bytes, max_bytes);
    fx_buf_init(&writer->directory, max_bytes);
    fx_buf_init(&writer->scratch, 2 * (size_t)FX_OBJECT_BLOB_MAX_BYTES);
}

fx_code
fx_object_begin(
    fx_object_writer *writer,
    const fx_session *session,
    fx_object_type type,
    fx_bytes plain,
    fx_err *err)
{
    FX_ASSERT(plain.size_bytes <= FX_OBJECT_PLAIN_MAX_BYTES);
    fx_buf_clear(&writer->bytes);
    fx_buf_clear(&writer->directory);
    writer->count = 0;
    unsigned char head[FX_OBJECT_HEAD_BYTES] = {0};
    memcpy(head, object_magic, sizeof object_magic);
    put_u32(head + 8, FX_OBJECT_VERSION);
    put_u32(head + 12, type);
    fx_crypto_random(head + SALT_AT, 32);
    memcpy(head + SEALED_AT, session->sealed, sizeof session->sealed);
    put_u32(head + PLAIN_SIZE_AT, (uint32_t)plain.size_bytes);
    memcpy(head + SCOPE_AT, session->scope.bytes, sizeof session->scope.bytes);
    put_u32(head + KEY_VERSION_AT, session->key_version);
    derive_object_key(session->key, session->id_key, head + SALT_AT, writer->key);
    if (writer->aead == NULL) {
        writer->aead = fx_aead_new(writer->key);
    } else {
        fx_aead_set_key(writer->aead, writer->key);
    }
    if (fx_buf_append(&writer->bytes, head, sizeof head, err) != FX_OK ||
        fx_buf_append(&writer->bytes, plain.data, plain.size_bytes, err) != FX_OK) {
        return fx_err_wrap(err, "beginning an object");
    }
    fx_sha256(fx_buf_bytes(&writer->bytes), writer->head_digest);
    return FX_OK;
}

fx_code
fx_blob_draft_fill(
    fx_blob_draft *draft,
    uint32_t kind,
    fx_bytes content,
    fx_zip *zip,
    fx_buf *scratch,
    fx_err *err)
{
    FX_ASSERT(content.size_bytes <= FX_OBJECT_BLOB_MAX_BYTES);
    bool shrunk = false;
    fx_buf_clear(scratch);
    if (fx_zip_compress(zip, content, scratch, &shrunk, err) != FX_OK) {
        return err->code;
    }
    draft->content_bytes = (uint32_t)content.size_bytes;
    draft->flags = kind << 8 | (shrunk ? 1U : 0U);
    draft->plain = shrunk ? fx_buf_bytes(scratch) : content;
    return FX_OK;
}

fx_code
fx_object_reserve(
    fx_object_writer *writer, const fx_blob_draft *draft, fx_object_slot *out_slot, fx_err *err)
{
    FX_ASSERT(writer->count < FX_OBJECT_BLOB_MAX);
    uint32_t stored_bytes = (uint32_t)draft->plain.size_bytes + FX_AEAD_TAG_BYTES;
    unsigned char entry[FX_OBJECT_ENTRY_BYTES];
    memcpy(entry, draft->id.bytes, 32);
    put_u32(entry + 32, stored_bytes);
    put_u32(entry + 36, draft->content_bytes);
    put_u32(entry + 40, draft->flags);
    size_t offset = writer->bytes.size_bytes;
    unsigned char *room = NULL;
    if (fx_buf_extend(&writer->bytes, stored_bytes, &room, err) != FX_OK ||
        fx_buf_append(&writer->directory, entry, sizeof entry, err) != FX_OK) {
        return fx_err_wrap(err, "adding to an object");
    }
    *out_slot = (fx_object_slot){.number = writer->count++, .offset = offset};
    return FX_OK;
}

/* The nonce is the blob's number, under a key that this object alone has: none repeats. */
static void
fill(
    const fx_object_writer *writer,
    fx_aead *aead,
    const fx_object_slot *slot,
    const fx_blob_draft *draft)
{
    unsigned char bound[BOUND_BYTES];
    make_bound(
        bound, writer->head_digest, slot->number, &draft->id, draft->content_bytes, draft->flags);
    fx_aead_seal_into(
        aead,
        slot->number,
        (fx_bytes){bound, sizeof bound},
        draft->plain,
        writer->bytes.data + slot->offset);
}

void
fx_object_fill(
    const fx_object_writer *writer,
    fx_aead *aead,
    const fx_object_slot *slot,
    const fx_blob_draft *draft)
{
    fx_aead_set_key(aead, writer->key);
    fill(writer, aead, slot, draft);
}

fx_code
fx_object_add(
    fx_object_writer *writer,
    fx_zip *zip,
    const fx_chunk_id *id,
    uint32_t kind,
    fx_bytes content,
    fx_err *err)
{
    fx_blob_draft draft = {.id = *id};
    fx_object_slot slot = {0};
    if (fx_blob_draft_fill(&draft, kind, content, zip, &writer->scratch, err) != FX_OK ||
        fx_object_reserve(writer, &draft, &slot, err) != FX_OK) {
        return err->code;
    }
    fill(writer, writer->aead, &slot, &draft);
    return FX_OK;
}

const unsigned char *
fx_object_ids(const fx_object_writer *writer)
{
    return writer->directory.data;
}

fx_code
fx_object_finish(fx_object_writer *writer, unsigned char out_digest[FX_SHA256_BYTES], fx_err *err)
{
    unsigned char foot[FX_OBJECT_FOOT_BYTES - FX_AEAD_TAG_BYTES] = {0};
    put_u32(foot, writer->count);
    memcpy(foot + 8, foot_magic, sizeof foot_magic);
    fx_bytes directory = fx_buf_bytes(&writer->directory);
    unsigned char digest[FX_SHA256_BYTES];
    unsigned char bound[DIRECTORY_BOUND_BYTES];
    fx_sha256(directory, digest);
    make_directory_bound(bound, writer->head_digest, writer->count, digest);
    fx_bytes bound_bytes = {bound, sizeof bound};
    if (fx_buf_append(&writer->bytes, directory.data, directory.size_bytes, err) != FX_OK ||
        fx_aead_seal(
            writer->aead, directory_number, bound_bytes, (fx_bytes){0}, &writer->bytes, err) !=
            FX_OK ||
        fx_buf_append(&writer->bytes, foot, sizeof foot, err) != FX_OK) {
        return fx_err_wrap(err, "finishing an object");
    }
    fx_sha256(fx_buf_bytes(&writer->bytes), out_digest);
    return FX_OK;
}

void
fx_object_writer_free(fx_object_writer *writer)
{
    fx_buf_free(&writer->bytes);
    fx_buf_free(&writer->directory);
    fx_buf_free(&writer->scratch);
    fx_aead_free(writer->aead);
    writer->aead = NULL;
    fx_wipe(writer->key, sizeof writer->key);
}

/* ---- reading ------------------------------------------------------------------------------------
 */

static fx_code
damaged(fx_err *err, const char *what)
{
    return fx_fail(err, FX_ERR_DAMAGED, "could not read the object: %s", what);
}

fx_code
fx_object_tail_size(fx_bytes foot, uint64_t *out_tail_bytes, fx_err *err)
{
    const unsigned char *data = foot.data;
    if (foot.size_bytes < FX_OBJECT_FOOT_BYTES) {
        return damaged(err, "it is too short");
    }
    data += foot.size_bytes - FX_OBJECT_FOOT_BYTES + FX_AEAD_TAG_BYTES;
    uint32_t count = get_u32(data);
    if (memcmp(data + 8, foot_magic, sizeof foot_magic) != 0 || get_u32(data + 4) != 0 ||
        count > FX_OBJECT_BLOB_MAX) {
        return damaged(err, "its end is not one");
    }
    *out_tail_bytes = FX_OBJECT_FOOT_BYTES + (uint64_t)count * FX_OBJECT_ENTRY_BYTES;
    return FX_OK;
}

static fx_code
parse_head(fx_bytes head, uint64_t size_bytes, fx_object *object, fx_err *err)
{
    const unsigned char *data = head.data;
    if (head.size_bytes < FX_OBJECT_HEAD_BYTES || size_bytes < FX_OBJECT_HEAD_BYTES) {
        return damaged(err, "it is too short");
    }
    if (memcmp(data, object_magic, sizeof object_magic) != 0) {
        return damaged(err, "its beginning is not one");
    }
    object->version = get_u32(data + 8);
    if (object->version != FX_OBJECT_VERSION) {
        return fx_fail(
            err,
            FX_ERR_UNSUPPORTED,
            "could not read the object: format version %u, this program knows %d",
            object->version,
            FX_OBJECT_VERSION);
    }
    uint32_t type = get_u32(data + 12);
    uint32_t plain_bytes = get_u32(data + PLAIN_SIZE_AT);
    if (type < FX_OBJECT_PACK || type > FX_OBJECT_STREAM || get_u32(data + KEY_VERSION_AT) == 0 ||
        plain_bytes > FX_OBJECT_PLAIN_MAX_BYTES ||
        head.size_bytes < FX_OBJECT_HEAD_BYTES + (size_t)plain_bytes) {
        return damaged(err, "its head is malformed");
    }
    object->type = (fx_object_type)type;
    memcpy(object->salt, data + SALT_AT, sizeof object->salt);
    memcpy(object->sealed, data + SEALED_AT, sizeof object->sealed);
    memcpy(object->scope.bytes, data + SCOPE_AT, sizeof object->scope.bytes);
    object->key_version = get_u32(data + KEY_VERSION_AT);
    object->plain = malloc(plain_bytes + 1);
    FX_ASSERT(object->plain != NULL);
    memcpy(object->plain, data + FX_OBJECT_HEAD_BYTES, plain_bytes);
    object->plain[plain_bytes] = 0;
    object->plain_bytes = plain_bytes;
    fx_sha256((fx_bytes){data, FX_OBJECT_HEAD_BYTES + (size_t)plain_bytes}, object->head_digest);
    return FX_OK;
}

static fx_code
parse_directory(const unsigned char *data, uint64_t end, fx_object *object, fx_err *err)
{
    uint64_t offset = FX_OBJECT_HEAD_BYTES + (uint64_t)object->plain_bytes;
    object->blobs = calloc(object->blob_count + 1, sizeof *object->blobs);
    FX_ASSERT(object->blobs != NULL);
    for (uint32_t i = 0; i < object->blob_count; i++) {
        const unsigned char *entry = data + (size_t)i * FX_OBJECT_ENTRY_BYTES;
        fx_blob *blob = &object->blobs[i];
        memcpy(blob->id.bytes, entry, 32);
        blob->offset = offset;
        blob->stored_bytes = get_u32(entry + 32);
        blob->content_bytes = get_u32(entry + 36);
        blob->flags = get_u32(entry + 40);
        if (blob->stored_bytes < FX_AEAD_TAG_BYTES ||
            blob->stored_bytes > FX_OBJECT_STORED_MAX_BYTES ||
            blob->content_bytes > FX_OBJECT_BLOB_MAX_BYTES) {
            return damaged(err, "its directory is malformed");
        }
        offset += blob->stored_bytes;
    }
    return offset == end ? FX_OK : damaged(err, "its directory does not fit its size");
}

bool
fx_object_scope(fx_bytes head, fx_scope_id *out_scope)
{
    const unsigned char *data = head.data;
    if (head.size_bytes < FX_OBJECT_HEAD_BYTES ||
        memcmp(data, object_magic, sizeof object_magic) != 0) {
        return false;
    }
    memcpy(out_scope->bytes, data + SCOPE_AT, sizeof out_scope->bytes);
    return true;
}

fx_code
fx_object_parse(
    fx_bytes head, fx_bytes tail, uint64_t size_bytes, fx_object **out_object, fx_err *err)
{
    FX_AUTO(fx_object) object = calloc(1, sizeof *object);
    FX_ASSERT(object != NULL);
    uint64_t tail_bytes = 0;
    if (parse_head(head, size_bytes, object, err) != FX_OK ||
        fx_object_tail_size(tail, &tail_bytes, err) != FX_OK) {
        return err->code; /* NOLINT(clang-analyzer-unix.Malloc): FX_AUTO frees it */
    }
    if (tail_bytes > tail.size_bytes || tail_bytes > size_bytes) {
        return damaged(err, "its directory is longer than itself");
    }
    object->blob_count = (uint32_t)((tail_bytes - FX_OBJECT_FOOT_BYTES) / FX_OBJECT_ENTRY_BYTES);
    const unsigned char *directory =
        (const unsigned char *)tail.data + (tail.size_bytes - tail_bytes);
    size_t directory_bytes = (size_t)object->blob_count * FX_OBJECT_ENTRY_BYTES;
    fx_sha256((fx_bytes){directory, directory_bytes}, object->directory_digest);
    memcpy(object->directory_tag, directory + directory_bytes, sizeof object->directory_tag);
    if (parse_directory(directory, size_bytes - tail_bytes, object, err) != FX_OK) {
        return err->code;
    }
    *out_object = FX_TAKE(object);
    return FX_OK;
}

void
fx_object_free(fx_object *object)
{
    if (object == NULL) {
        return;
    }
    free(object->plain);
    free(object->blobs);
    fx_aead_free(object->aead);
    free(object);
}

bool
fx_object_has_key(const fx_object *object, const fx_repository_key *key)
{
    const fx_scope_keys *scope = fx_repository_key_scope(key, &object->scope);
    return scope != NULL && scope->can_read && object->key_version <= scope->version_count;
}

fx_code
fx_object_explain_locked(const fx_object *object, const fx_repository_key *key, fx_err *err)
{
    const fx_scope_keys *scope = fx_repository_key_scope(key, &object->scope);
    char hex[FX_SCOPE_ID_TEXT_BYTES];
    fx_scope_id_format(&object->scope, hex);
    if (scope == NULL) {
        return fx_fail(
            err,
            FX_ERR_WRONG_KEY,
            "could not open the object: it is of scope %s, which the key file does not have",
            hex);
    }
    if (scope->reason.code != FX_OK) {
        *err = scope->reason;
        return err->code;
    }
    if (!scope->can_read) {
        return fx_fail(
            err,
            FX_ERR_WRONG_KEY,
            "could not open the object: the key file can only write to scope \"%s\"; use one that "
            "holds its private key",
            scope->label.text);
    }
    return fx_fail(
        err,
        FX_ERR_WRONG_KEY,
        "could not open the object: it needs key version %u of scope \"%s\", the key file has up "
        "to "
        "%zu; the scope was rotated with another copy of it",
        object->key_version,
        scope->label.text,
        scope->version_count);
}

fx_code
fx_object_unlock(fx_object *object, const fx_repository_key *key, fx_err *err)
{
    FX_BUF_AUTO session;
    fx_buf_init(&session, FX_KEY_BYTES);
    fx_bytes sealed = {object->sealed, sizeof object->sealed};
    const fx_scope_keys *scope = fx_repository_key_scope(key, &object->scope);
    if (!fx_object_has_key(object, key)) {
        return fx_object_explain_locked(object, key, err);
    }
    const fx_scope_version *version = &scope->versions[object->key_version - 1];
    if (fx_box_open(version->private_key, session_use, sealed, &session, err) != FX_OK ||
        session.size_bytes != FX_KEY_BYTES) {
        return damaged(err, "its sealed key does not open");
    }
    fx_aead_free(object->aead);
    unsigned char object_key[FX_KEY_BYTES];
    derive_object_key(session.data, scope->id_key, object->salt, object_key);
    object->aead = fx_aead_new(object_key);
    object->scope_keys = scope;
    fx_wipe(object_key, sizeof object_key);
    fx_wipe(session.data, session.size_bytes);
    unsigned char bound[DIRECTORY_BOUND_BYTES];
    make_directory_bound(bound, object->head_digest, object->blob_count, object->directory_digest);
    fx_buf_clear(&session);
    if (fx_aead_open(
            object->aead,
            directory_number,
            (fx_bytes){bound, sizeof bound},
            (fx_bytes){object->directory_tag, sizeof object->directory_tag},
            &session,
            err) != FX_OK) {
        return damaged(err, "its directory is not what was written");
    }
    return FX_OK;
}

fx_code
fx_object_open_blob(
    fx_object *object, fx_zip *zip, uint32_t index, fx_bytes stored, fx_buf *out, fx_err *err)
{
    FX_ASSERT(object->aead != NULL);
    FX_ASSERT(index < object->blob_count);
    const fx_blob *blob = &object->blobs[index];
    if (stored.size_bytes != blob->stored_bytes) {
        return damaged(err, "a blob is cut short");
    }
    unsigned char bound[BOUND_BYTES];
    make_bound(bound, object->head_digest, index, &blob->id, blob->content_bytes, blob->flags);
    fx_bytes bound_bytes = {bound, sizeof bound};
    if ((blob->flags & 1U) == 0) {
        if (blob->stored_bytes != blob->content_bytes + FX_AEAD_TAG_BYTES) {
            return damaged(err, "a blob has another size than its directory says");
        }
        return fx_aead_open(object->aead, index, bound_bytes, stored, out, err);
    }
    FX_BUF_AUTO compressed;
    fx_buf_init(&compressed, FX_OBJECT_STORED_MAX_BYTES);
    if (fx_aead_open(object->aead, index, bound_bytes, stored, &compressed, err) != FX_OK) {
        return err->code;
    }
    return fx_zip_expand(zip, fx_buf_bytes(&compressed), blob->content_bytes, out, err);
}
