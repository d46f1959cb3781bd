/*
 * Packs, index objects, snapshots and streams: the bytes as they are, and a container that is built
 * of them with true tags, so that all behind the cipher is reached too.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/hex.h"
#include "common/repository/pack_check.h"
#include "common/repository/snapshot.h"
#include "common/repository/stored.h"
#include "tests/fuzz/support/keys.h"
#include "tests/fuzz/support/recipe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

enum { BLOBS_MAX = 64, OUT_MAX_BYTES = 64 * 1024 };

static const char *const folders[] = {"packs/", "indexes/", "snapshots/", "streams/", "keys/"};

/* ---- reading
 * ---------------------------------------------------------------------------------------- */

static void
open_every_blob(fx_object *object, fx_bytes bytes)
{
    FX_AUTO(fx_zip) zip = fx_zip_new();
    fx_err err = {0};
    for (uint32_t i = 0; i < object->blob_count; i++) {
        FX_BUF_AUTO content;
        const fx_blob *blob = &object->blobs[i];
        const unsigned char *data = bytes.data;
        fx_buf_init(&content, FX_OBJECT_BLOB_MAX_BYTES);
        FX_ASSERT(blob->offset + blob->stored_bytes <= bytes.size_bytes);
        fx_bytes stored = {data + blob->offset, blob->stored_bytes};
        fx_code code = fx_object_open_blob(object, zip, i, stored, &content, &err);
        FX_ASSERT(
            code == FX_OK ? content.size_bytes == blob->content_bytes : content.size_bytes == 0);
        stored.size_bytes--;
        code = fx_object_open_blob(object, zip, i, stored, &content, &err);
        FX_ASSERT(code == FX_ERR_DAMAGED);
    }
}

static void
parse(fx_bytes bytes)
{
    const fuzz_keys *keys = fuzz_keys_get();
    fx_err err = {0};
    FX_AUTO(fx_object) object = NULL;
    fx_code code = fx_object_parse(bytes, bytes, bytes.size_bytes, &object, &err);
    FX_ASSERT((code == FX_OK) == (object != NULL));
    if (object == NULL) {
        return;
    }
    uint64_t end = FX_OBJECT_HEAD_BYTES + object->plain_bytes;
    for (uint32_t i = 0; i < object->blob_count; i++) {
        FX_ASSERT(object->blobs[i].offset == end);
        end += object->blobs[i].stored_bytes;
    }
    FX_ASSERT(end <= bytes.size_bytes);
    code = fx_object_unlock(object, &keys->key, &err);
    FX_ASSERT(code == FX_OK || code == FX_ERR_DAMAGED || code == FX_ERR_WRONG_KEY);
    if (code == FX_OK) {
        open_every_blob(object, bytes);
    }
}

/* As it arrives in a store: in the right place, and in the place of another. */
static void
check_stored(fx_bytes bytes, unsigned folder, bool is_keyed)
{
    unsigned char digest[FX_SHA256_BYTES];
    char hex[2 * FX_SHA256_BYTES + 1];
    char key[FX_KEY_TEXT_BYTES];
    fx_err err = {0};
    fx_sha256(bytes, digest);
    fx_hex_encode((fx_bytes){digest, sizeof digest}, hex);
    const char *name = folders[folder];
    if (folder == 0) {
        (void)snprintf(key, sizeof key, "%s%.2s/%s", name, hex, hex);
    } else {
        (void)snprintf(key, sizeof key, "%s%s", name, folder == 3 ? "wal/1/a" : hex);
    }
    fx_code code = fx_stored_check(key, bytes, is_keyed ? &fuzz_keys_get()->key : NULL, &err);
    FX_ASSERT(code == FX_OK || code == FX_ERR_DAMAGED || code == FX_ERR_UNSUPPORTED);
    key[strlen(name)] ^= 1;
    code = fx_stored_check(key, bytes, NULL, &err);
    FX_ASSERT(code == FX_ERR_DAMAGED || code == FX_ERR_UNSUPPORTED || folder == 3);
}

/* A snapshot's header and its root, which may be signed. */
static void
read_snapshot(fx_bytes bytes, bool is_keyed)
{
    const fuzz_keys *keys = fuzz_keys_get();
    unsigned char digest[FX_SHA256_BYTES];
    char hex[2 * FX_SHA256_BYTES + 1];
    char key[FX_KEY_TEXT_BYTES];
    fx_err err = {0};
    fx_snapshot snapshot = {0};
    fx_root root;
    FX_AUTO(fx_store) store = NULL;
    fx_store_allow_test_drivers();
    fx_code code = fx_store_open("fake:", &store, &err);
    FX_ASSERT(code == FX_OK);
    fx_sha256(bytes, digest);
    fx_hex_encode((fx_bytes){digest, sizeof digest}, hex);
    (void)snprintf(key, sizeof key, "snapshots/%s", hex);
    code = fx_store_put(store, key, bytes, fx_repository_deadline(), &err);
    FX_ASSERT(code == FX_OK);
    fx_repository repository = {
        .magic = FX_REPOSITORY_MAGIC,
        .store = store,
        .key = is_keyed ? &keys->key : NULL,
        .has_write_scope = true,
        .zip = fx_zip_new()};
    code = fx_snapshot_read(&repository, key, &snapshot, NULL, &err);
    fx_code whole = fx_snapshot_read(&repository, key, &snapshot, &root, &err);
    FX_ASSERT(whole != FX_OK || (code == FX_OK && is_keyed));
    fx_key_names_free(&repository.key_names);
    fx_zip_free(repository.zip);
}

/* As `verify --read-data` checks a pack; `told` says what the index says of it. */
static void
check_pack(fx_bytes bytes, unsigned told)
{
    const fuzz_keys *keys = fuzz_keys_get();
    fx_err err = {0};
    FX_AUTO(fx_store) store = NULL;
    fx_pack_checker *checker = fx_pack_checker_new();
    fx_repository repository = {
        .magic = FX_REPOSITORY_MAGIC,
        .has_write_scope = true,
        .key = (told & 1U) == 0 ? &keys->key : NULL};
    fx_index_pack pack = {
        .size_bytes = (uint32_t)bytes.size_bytes + ((told & 2U) == 0 ? 0 : 1),
        .is_rescued = (told & 4U) == 0 ? 0 : 1};
    char key[FX_KEY_TEXT_BYTES];
    uint64_t read_bytes = 0;
    fx_store_allow_test_drivers();
    fx_code code = fx_store_open("fake:", &store, &err);
    FX_ASSERT(code == FX_OK);
    repository.store = store;
    repository.zip = checker->zip;
    repository.index = fx_index_new(NULL);
    fx_sha256(bytes, pack.name);
    pack.name[0] = (unsigned char)(pack.name[0] ^ ((told & 8U) == 0 ? 0 : 1));
    FX_AUTO(fx_object) object = NULL;
    if (fx_object_parse(bytes, bytes, bytes.size_bytes, &object, &err) == FX_OK) {
        pack.blob_count = object->blob_count;
        fx_index_entry entry = {.pack = fx_index_add_pack(repository.index, &pack)};
        for (uint32_t i = 0; (told & 16U) == 0 && i < object->blob_count; i++) {
            entry.id = object->blobs[i].id;
            entry.blob = i;
            fx_index_add(repository.index, &entry);
        }
        fx_index_seal(repository.index);
    }
    fx_pack_key(pack.name, key);
    code = fx_pack_check(&repository, checker, &pack, true, &read_bytes, &err);
    FX_ASSERT(code == FX_ERR_NOT_FOUND);
    code = fx_store_put(store, key, bytes, fx_repository_deadline(), &err);
    FX_ASSERT(code == FX_OK);
    code = fx_pack_check(&repository, checker, &pack, (told & 32U) == 0, &read_bytes, &err);
    FX_ASSERT(code != FX_ERR_NOT_FOUND && code != FX_ERR_LIMIT);
    fx_key_names_free(&repository.key_names);
    fx_index_free(repository.index);
    fx_pack_checker_free(checker);
}

/* ---- building
 * --------------------------------------------------------------------------------------- */

/* The same in every run but for what is drawn when an object begins. */
static const fx_session *
session(void)
{
    static fx_session one;
    static bool is_begun;
    if (!is_begun) {
        fx_err err = {0};
        fx_code code = fx_session_begin(&fuzz_keys_get()->key, &one, &err);
        FX_ASSERT(code == FX_OK);
        is_begun = true;
    }
    return &one;
}

enum { SIGNED_ROOT = 15 }; /* instead of a kind */

/* What a snapshot's only blob is: the root, and what its scope's key says of it. */
static fx_bytes
sign_root(const fx_object_writer *writer, fx_bytes content, fx_buf *out)
{
    unsigned char statement[FX_SHA256_BYTES + FX_ID_BYTES] = {0};
    unsigned char signature[FX_SIGN_BYTES];
    fx_err err = {0};
    memcpy(statement, writer->head_digest, FX_SHA256_BYTES);
    if (content.size_bytes >= FX_ID_BYTES) {
        memcpy(statement + FX_SHA256_BYTES, content.data, FX_ID_BYTES);
    }
    fx_code code = fx_scope_sign(
        &fuzz_keys_get()->scope,
        "fortress snapshot 1",
        (fx_bytes){statement, sizeof statement},
        signature,
        &err);
    FX_ASSERT(code == FX_OK);
    code = fx_buf_append(out, statement + FX_SHA256_BYTES, FX_ID_BYTES, &err);
    FX_ASSERT(code == FX_OK);
    code = fx_buf_append(out, signature, sizeof signature, &err);
    FX_ASSERT(code == FX_OK);
    return fx_buf_bytes(out);
}

/* One blob, tagged as it must be, whatever its line of the directory says. */
static void
add_blob(fx_object_writer *writer, fx_zip *zip, recipe *from)
{
    unsigned how = recipe_byte(from);
    fx_err err = {0};
    FX_BUF_AUTO scratch;
    fx_buf_init(&scratch, OUT_MAX_BYTES);
    FX_BUF_AUTO root;
    fx_buf_init(&root, OUT_MAX_BYTES);
    fx_bytes content = recipe_piece(from);
    if (how >> 4U == SIGNED_ROOT) {
        content = sign_root(writer, content, &root);
    }
    fx_blob_draft draft = {
        .content_bytes = (uint32_t)content.size_bytes,
        .flags = (how >> 4U) << 8U | (how & 1U),
        .plain = content};
    if ((how & 2U) != 0) { /* a true zstd frame; what is short does not shrink: several times */
        unsigned char *room = NULL;
        FX_BUF_AUTO many;
        fx_buf_init(&many, OUT_MAX_BYTES);
        size_t times = 1 + recipe_byte(from) % 16;
        for (size_t i = 0;
             i < times && fx_buf_extend(&many, content.size_bytes, &room, &err) == FX_OK;
             i++) {
            memcpy(room, content.data, content.size_bytes);
        }
        fx_code code =
            fx_blob_draft_fill(&draft, how >> 4U, fx_buf_bytes(&many), zip, &scratch, &err);
        FX_ASSERT(code == FX_OK);
        if ((how & 4U) != 0) {
            FX_AUTO(fx_hmac) hmac = fx_hmac_new(fuzz_keys_get()->scope.id_key);
            fx_hmac_sha256(hmac, fx_buf_bytes(&many), draft.id.bytes);
        }
        if (draft.plain.data == many.data) { /* it lives no longer than this block */
            fx_buf_clear(&scratch);
            code = fx_buf_append(&scratch, many.data, many.size_bytes, &err);
            FX_ASSERT(code == FX_OK);
            draft.plain = fx_buf_bytes(&scratch);
        }
    } else if ((how & 4U) != 0) {
        FX_AUTO(fx_hmac) hmac = fx_hmac_new(fuzz_keys_get()->scope.id_key);
        fx_hmac_sha256(hmac, content, draft.id.bytes);
    }
    if ((how & 8U) != 0) {
        draft.content_bytes = (uint32_t)recipe_number(from, 3);
    }
    fx_object_slot slot = {0};
    fx_code code = fx_object_reserve(writer, &draft, &slot, &err);
    FX_ASSERT(code == FX_OK);
    fx_object_fill(writer, writer->aead, &slot, &draft);
}

static void
build(recipe *from, fx_object_writer *writer)
{
    FX_AUTO(fx_zip) zip = fx_zip_new();
    unsigned char digest[FX_SHA256_BYTES];
    fx_err err = {0};
    fx_session one = *session();
    unsigned type = recipe_byte(from);
    one.scope.bytes[0] ^= (type & 8U) != 0 ? 1 : 0;
    one.key_version += (type & 16U) != 0 ? 1 : 0;
    one.sealed[40] ^= (type & 32U) != 0 ? 1 : 0;
    fx_bytes plain = recipe_piece(from);
    fx_code code = fx_object_begin(writer, &one, (fx_object_type)(1 + (type & 3U)), plain, &err);
    FX_ASSERT(code == FX_OK);
    for (size_t i = 0; i < BLOBS_MAX && from->left_bytes > 0; i++) {
        add_blob(writer, zip, from);
    }
    code = fx_object_finish(writer, digest, &err);
    FX_ASSERT(code == FX_OK);
}

static void
check(fx_bytes bytes, unsigned how)
{
    parse(bytes);
    check_stored(bytes, how % 5, (how & 8U) != 0);
    check_pack(bytes, how >> 2U);
    read_snapshot(bytes, (how & 2U) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    recipe from = {data, size_bytes};
    fx_object_writer writer;
    unsigned how = recipe_byte(&from);
    check((fx_bytes){from.at, from.left_bytes}, how);
    size_t damage_at = (size_t)recipe_number(&from, 2);
    unsigned damage = recipe_byte(&from);
    fx_object_writer_init(&writer);
    build(&from, &writer);
    writer.bytes.data[damage_at % writer.bytes.size_bytes] ^= (unsigned char)damage;
    check(fx_buf_bytes(&writer.bytes), how);
    fx_object_writer_free(&writer);
    return 0;
}
