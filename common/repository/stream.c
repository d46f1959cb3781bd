/* Named streams: sealed objects under ordered names of their own. */
#include <stdio.h>
#include <string.h>

#include "common/repository/internal.h"

static const char prefix[] = "streams/";
static const char piece_use[] = "fortress stream id 1";

static fx_code
key_of(const char *name, char out_key[FX_KEY_TEXT_BYTES], fx_err *err)
{
    if (strlen(name) + sizeof prefix > FX_STORE_KEY_MAX_BYTES) {
        return fx_fail(err, FX_ERR_INVALID, "could not use \"%.80s…\" as a name: too long", name);
    }
    (void)snprintf(out_key, FX_KEY_TEXT_BYTES, "%s%s", prefix, name);
    return FX_OK;
}

/* Ids of pieces, under a key of their own: they say nothing about chunks of files. */
static fx_hmac *
new_piece_hmac(const fx_repository *repository)
{
    unsigned char key[FX_KEY_BYTES];
    fx_bytes id_key = {fx_repository_key_id_key(repository->key), FX_KEY_BYTES};
    fx_hkdf_sha256(id_key, (fx_bytes){"", 0}, piece_use, key, sizeof key);
    fx_hmac *hmac = fx_hmac_new(key);
    fx_wipe(key, sizeof key);
    return hmac;
}

/* The name is part of the object, so that one cannot be put in another's place. */
static fx_code
seal(
    fx_repository *repository,
    const char *name,
    fx_bytes content,
    fx_object_writer *object,
    fx_err *err)
{
    fx_session session;
    FX_AUTO(fx_zip) zip = fx_zip_new();
    FX_AUTO(fx_hmac) hmac = new_piece_hmac(repository);
    unsigned char digest[FX_SHA256_BYTES];
    fx_bytes plain = {name, strlen(name)};
    fx_zip_set_level(zip, repository->level);
    if (fx_session_begin(repository->key, &session, err) != FX_OK) {
        return err->code;
    }
    fx_code code = fx_object_begin(object, &session, FX_OBJECT_STREAM, plain, err);
    fx_wipe(&session, sizeof session);
    const unsigned char *data = content.data;
    size_t left_bytes = content.size_bytes;
    while (code == FX_OK && left_bytes > 0) {
        size_t part_bytes =
            left_bytes < FX_OBJECT_BLOB_MAX_BYTES ? left_bytes : FX_OBJECT_BLOB_MAX_BYTES;
        fx_chunk_id id;
        fx_bytes part = {data, part_bytes};
        fx_hmac_sha256(hmac, part, id.bytes);
        code = fx_object_add(object, zip, &id, FX_CHUNK_DATA + 1, part, err);
        data += part_bytes;
        left_bytes -= part_bytes;
    }
    return code == FX_OK ? fx_object_finish(object, digest, err) : code;
}

/* What a host that can only write can tell: the ids of the pieces, which nobody else makes. */
static fx_code
compare_ids(fx_repository *repository, const char *name, fx_bytes content, fx_err *err)
{
    char store_key[FX_KEY_TEXT_BYTES];
    FX_BUF_AUTO bytes;
    FX_AUTO(fx_object) object = NULL;
    FX_AUTO(fx_hmac) hmac = new_piece_hmac(repository);
    fx_buf_init(&bytes, FX_STORE_OBJECT_MAX_BYTES);
    if (key_of(name, store_key, err) != FX_OK ||
        fx_repository_load_object(repository, store_key, FX_OBJECT_STREAM, &bytes, &object, err) !=
            FX_OK) {
        return err->code;
    }
    FX_ASSERT(object != NULL);
    const unsigned char *data = content.data;
    size_t left_bytes = content.size_bytes;
    bool is_equal = object->plain_bytes == strlen(name) &&
                    memcmp(object->plain, name, object->plain_bytes) == 0;
    for (uint32_t i = 0; is_equal && i < object->blob_count; i++) {
        size_t part_bytes = object->blobs[i].content_bytes;
        fx_chunk_id id;
        is_equal = part_bytes <= left_bytes;
        if (is_equal) {
            fx_hmac_sha256(hmac, (fx_bytes){data, part_bytes}, id.bytes);
            is_equal = memcmp(&id, &object->blobs[i].id, sizeof id) == 0;
            data += part_bytes;
            left_bytes -= part_bytes;
        }
    }
    return is_equal && left_bytes == 0 ? FX_OK
                                       : fx_fail(
                                             err,
                                             FX_ERR_EXISTS,
                                             "could not store \"%s\": other content has that name",
                                             name);
}

static fx_code
accept_equal(fx_repository *repository, const char *name, fx_bytes content, fx_err *err)
{
    if (!fx_repository_key_can_read(repository->key)) {
        return compare_ids(repository, name, content, err);
    }
    FX_BUF_AUTO there;
    fx_buf_init(&there, FX_NAMED_MAX_BYTES);
    fx_code code = fx_repository_get_named(repository, name, &there, err);
    if (code == FX_ERR_DAMAGED || code == FX_ERR_UNSUPPORTED) {
        fx_err reason = *err;
        return fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not store \"%.100s\": object \"%s%.100s\" of that name is damaged (%.120s); "
            "verify the repository, remove that object and store again",
            name,
            prefix,
            name,
            reason.message);
    }
    if (code != FX_OK) {
        return fx_err_wrap(err, "comparing with what is stored");
    }
    if (there.size_bytes != content.size_bytes ||
        (content.size_bytes > 0 && memcmp(there.data, content.data, content.size_bytes) != 0)) {
        return fx_fail(
            err, FX_ERR_EXISTS, "could not store \"%s\": other content has that name", name);
    }
    return FX_OK;
}

fx_code
fx_repository_put_named(fx_repository *repository, const char *name, fx_bytes content, fx_err *err)
{
    char store_key[FX_KEY_TEXT_BYTES];
    if (fx_repository_need_key(repository, err) != FX_OK || key_of(name, store_key, err) != FX_OK) {
        return err->code;
    }
    if (content.size_bytes > FX_NAMED_MAX_BYTES) {
        return fx_fail(err, FX_ERR_LIMIT, "could not store \"%s\": too long", name);
    }
    fx_object_writer object;
    fx_object_writer_init(&object);
    fx_code code = seal(repository, name, content, &object, err);
    if (code == FX_OK) {
        fx_mono deadline = fx_repository_deadline();
        code =
            fx_store_put(repository->store, store_key, fx_buf_bytes(&object.bytes), deadline, err);
    }
    fx_object_writer_free(&object);
    return code == FX_ERR_EXISTS ? accept_equal(repository, name, content, err) : code;
}

static fx_code
open_all(
    fx_repository *repository,
    const char *store_key,
    const char *name,
    fx_buf *out_content,
    fx_err *err)
{
    FX_BUF_AUTO bytes;
    FX_AUTO(fx_object) object = NULL;
    fx_buf_init(&bytes, FX_STORE_OBJECT_MAX_BYTES);
    if (fx_repository_load_object(repository, store_key, FX_OBJECT_STREAM, &bytes, &object, err) !=
        FX_OK) {
        return err->code;
    }
    if (object->plain_bytes != strlen(name) || memcmp(object->plain, name, strlen(name)) != 0) {
        return fx_fail(
            err, FX_ERR_DAMAGED, "could not read \"%s\": it was written as another", store_key);
    }
    size_t before_bytes = out_content->size_bytes;
    for (uint32_t i = 0; i < object->blob_count; i++) {
        if (fx_repository_open_blob(repository, object, &bytes, i, out_content, err) != FX_OK) {
            out_content->size_bytes = before_bytes;
            return fx_err_wrap(err, "reading \"%s\"", store_key);
        }
    }
    return FX_OK;
}

fx_code
fx_repository_get_named(
    fx_repository *repository, const char *name, fx_buf *out_content, fx_err *err)
{
    char store_key[FX_KEY_TEXT_BYTES];
    if (fx_repository_need_read(repository, err) != FX_OK ||
        key_of(name, store_key, err) != FX_OK) {
        return err->code;
    }
    (void)pthread_mutex_lock(&repository->lock);
    fx_code code = open_all(repository, store_key, name, out_content, err);
    (void)pthread_mutex_unlock(&repository->lock);
    return code;
}

typedef struct visitor {
    fx_named_visit visit;
    void *ctx;
} visitor;

static void
visit_key(void *ctx, const char *key, uint64_t size_bytes)
{
    (void)size_bytes;
    const visitor *to = ctx;
    to->visit(to->ctx, key + sizeof prefix - 1);
}

fx_code
fx_repository_list_named(
    fx_repository *repository,
    const char *name_prefix,
    fx_named_visit visit,
    void *ctx,
    fx_err *err)
{
    char store_key[FX_KEY_TEXT_BYTES];
    if (key_of(name_prefix, store_key, err) != FX_OK) {
        return err->code;
    }
    visitor to = {visit, ctx};
    return fx_store_list(
        repository->store, store_key, fx_repository_deadline(), visit_key, &to, err);
}

typedef struct time_visitor {
    fx_named_visit_time visit;
    void *ctx;
} time_visitor;

static void
visit_time(void *ctx, const char *store_key, fx_wall stored)
{
    const time_visitor *to = ctx;
    to->visit(to->ctx, strchr(store_key, '/') + 1, stored);
}

fx_code
fx_repository_list_named_times(
    fx_repository *repository,
    const char *name_prefix,
    fx_named_visit_time visit,
    void *ctx,
    fx_err *err)
{
    char store_key[FX_KEY_TEXT_BYTES];
    if (key_of(name_prefix, store_key, err) != FX_OK) {
        return err->code;
    }
    time_visitor to = {visit, ctx};
    return fx_store_list_times(
        repository->store, store_key, fx_repository_deadline(), visit_time, &to, err);
}
