#include "common/repository/stored.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/repository/erasure.h"
#include "common/repository/gap.h"
#include "common/repository/internal.h"
#include "common/repository/plain.h"
#include "common/repository/voucher.h"

enum { LIST_MAX = 1 << 24 };

/* ---- lists
 * ------------------------------------------------------------------------------------------ */

static void
take(void *ctx, const char *key, uint64_t size_bytes)
{
    fx_stored_list *list = ctx;
    if (list->count == LIST_MAX) {
        list->overflow = true;
        return;
    }
    if ((list->count & (list->count - 1)) == 0) {
        list->items = realloc(list->items, (list->count * 2 + 1) * sizeof *list->items);
        FX_ASSERT(list->items != NULL);
    }
    fx_stored *item = &list->items[list->count++];
    *item = (fx_stored){.store_key = strdup(key), .size_bytes = size_bytes};
    FX_ASSERT(item->store_key != NULL);
}

void
fx_stored_list_free(fx_stored_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i].store_key);
    }
    free(list->items);
    *list = (fx_stored_list){0};
}

fx_code
fx_stored_list_read(fx_store *store, const char *prefix, fx_stored_list *out_list, fx_err *err)
{
    fx_stored_list list = {0};
    fx_err failure = {0};
    fx_code code = fx_store_list(store, prefix, fx_repository_deadline(), take, &list, &failure);
    if (code == FX_OK && list.overflow) {
        code = fx_fail(
            &failure, FX_ERR_LIMIT, "could not list %s: more than %d objects", prefix, LIST_MAX);
    }
    if (code != FX_OK && code != FX_ERR_NOT_FOUND) {
        fx_stored_list_free(&list);
        *err = failure;
        return fx_err_wrap(err, "listing %s", prefix);
    }
    *out_list = list;
    return FX_OK;
}

static int
by_key(const void *left, const void *right)
{
    const fx_stored *one = left;
    const fx_stored *two = right;
    return strcmp(one->store_key, two->store_key);
}

const fx_stored *
fx_stored_find(const fx_stored_list *list, const char *store_key)
{
    char text[FX_KEY_TEXT_BYTES] = "";
    const fx_stored wanted = {.store_key = text};
    if (list->count == 0 || strlen(store_key) >= sizeof text) {
        return NULL;
    }
    memcpy(text, store_key, strlen(store_key) + 1);
    return bsearch(&wanted, list->items, list->count, sizeof wanted, by_key);
}

bool
fx_stored_list_is_same(const fx_stored_list *left, const fx_stored_list *right)
{
    bool is_same = left->count == right->count;
    for (size_t i = 0; is_same && i < left->count; i++) {
        is_same = strcmp(left->items[i].store_key, right->items[i].store_key) == 0;
    }
    return is_same;
}

uint64_t
fx_stored_list_bytes(const fx_stored_list *list)
{
    uint64_t all = 0;
    for (size_t i = 0; i < list->count; i++) {
        all += list->items[i].size_bytes;
    }
    return all;
}

/* ---- checking
 * --------------------------------------------------------------------------------------- */

static fx_code
damaged(const char *store_key, const char *why, fx_err *err)
{
    return fx_fail(err, FX_ERR_DAMAGED, "could not use \"%.200s\": %s", store_key, why);
}

/* Every blob, where the key is here. */
static fx_code
open_blobs(fx_object *object, fx_bytes bytes, const fx_repository_key *key, fx_err *err)
{
    FX_BUF_AUTO content;
    FX_AUTO(fx_zip) zip = fx_zip_new();
    fx_buf_init(&content, FX_OBJECT_BLOB_MAX_BYTES);
    if (key == NULL || !fx_object_has_key(object, key)) {
        return FX_OK;
    }
    fx_code code = fx_object_unlock(object, key, err);
    for (uint32_t i = 0; code == FX_OK && i < object->blob_count; i++) {
        const fx_blob *blob = &object->blobs[i];
        const unsigned char *data = bytes.data;
        fx_buf_clear(&content);
        code = fx_object_open_blob(
            object, zip, i, (fx_bytes){data + blob->offset, blob->stored_bytes}, &content, err);
    }
    return code;
}

static fx_code
check_container(
    const char *store_key,
    fx_object_type type,
    fx_bytes bytes,
    const fx_repository_key *key,
    fx_err *err)
{
    FX_AUTO(fx_object) object = NULL;
    bool is_stream = type == FX_OBJECT_STREAM;
    if (!is_stream && !fx_is_named_by_digest(store_key, bytes)) {
        return damaged(store_key, "its bytes are not what was written", err);
    }
    if (fx_object_parse(bytes, bytes, bytes.size_bytes, &object, err) != FX_OK) {
        return fx_err_wrap(err, "reading \"%.200s\"", store_key);
    }
    FX_ASSERT(object != NULL);
    if (object->type != type) {
        return damaged(store_key, "it is of another kind", err);
    }
    const char *name = strchr(store_key, '/') + 1;
    if (is_stream && (object->plain_bytes != strlen(name) ||
                      memcmp(object->plain, name, object->plain_bytes) != 0)) {
        return damaged(store_key, "it was written as another", err);
    }
    if (type == FX_OBJECT_PACK && memcmp(name, name + 3, 2) != 0) {
        return damaged(store_key, "it lies in another pack's place", err);
    }
    return is_stream ? open_blobs(object, bytes, key, err) : FX_OK;
}

static fx_code
check_key_object(const char *store_key, fx_bytes bytes, fx_err *err)
{
    FX_AUTO(fx_key_object) object = NULL;
    char name[FX_KEY_OBJECT_NAME_BYTES];
    if (fx_key_object_decode(bytes, &object, err) != FX_OK) {
        return fx_err_wrap(err, "reading \"%.200s\"", store_key);
    }
    FX_ASSERT(object != NULL);
    fx_key_object_name(&object->scope, object->version, object->serial, name);
    return strcmp(name, store_key) == 0 ? FX_OK
                                        : damaged(store_key, "it was written as another", err);
}

static fx_code
check_erasure(const char *store_key, fx_bytes bytes, fx_err *err)
{
    FX_AUTO(fx_erasure) erasure = NULL;
    if (fx_erasure_decode(bytes, &erasure, err) != FX_OK) {
        return fx_err_wrap(err, "reading \"%.200s\"", store_key);
    }
    FX_ASSERT(erasure != NULL);
    char scope[FX_SCOPE_ID_TEXT_BYTES];
    char name[FX_KEY_TEXT_BYTES];
    fx_scope_id_format(&erasure->scope, scope);
    (void)snprintf(name, sizeof name, "erasures/%s/%08" PRIu32, scope, erasure->serial);
    return strcmp(name, store_key) == 0 ? FX_OK
                                        : damaged(store_key, "it was written as another", err);
}

/* What begins with a magic, or is a container of a type. */
typedef struct kind {
    const char *prefix;
    const char *magic;   /* of a readable object; else NULL */
    fx_object_type type; /* else of the container */
} kind;

static const kind kinds[] = {
    {"config", "FXCONFIG", 0},
    {"settled/", "FXSETTLE", 0},
    {"revocations/", "FXREVOKE", 0},
    {"forgotten/", "FXFORGOT", 0},
    {"leases/", "FXLEASE1", 0},
    {"leases-over/", "FXLEASE1", 0},
    {"marks/", "FXMARK01", 0},
    {"repairs/", "FXREPAIR", 0},
    {"holds/", "FXHOLD01", 0},
    {"packs/", NULL, FX_OBJECT_PACK},
    {"indexes/", NULL, FX_OBJECT_INDEX},
    {"snapshots/", NULL, FX_OBJECT_SNAPSHOT},
    {"arriving/", NULL, FX_OBJECT_SNAPSHOT},
    {"streams/", NULL, FX_OBJECT_STREAM},
};

bool
fx_stored_is_named_by_digest(const char *store_key)
{
    static const char *const prefixes[] = {
        "packs/", "indexes/", "snapshots/", "arriving/", "verified/", "gaps/"};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        if (strncmp(store_key, prefixes[i], strlen(prefixes[i])) == 0) {
            return true;
        }
    }
    return false;
}

fx_code
fx_stored_check(const char *store_key, fx_bytes bytes, const fx_repository_key *key, fx_err *err)
{
    fx_bytes message;
    if (strncmp(store_key, "keys/", strlen("keys/")) == 0) {
        return check_key_object(store_key, bytes, err);
    }
    if (strncmp(store_key, "erasures/", strlen("erasures/")) == 0) {
        return check_erasure(store_key, bytes, err);
    }
    if (strncmp(store_key, "verified/", strlen("verified/")) == 0) {
        if (!fx_is_named_by_digest(store_key, bytes)) {
            return damaged(store_key, "its bytes are not what was written", err);
        }
        return fx_voucher_check(bytes, err) == FX_OK
                   ? FX_OK
                   : fx_err_wrap(err, "reading \"%.200s\"", store_key);
    }
    if (strncmp(store_key, "gaps/", strlen("gaps/")) == 0) {
        fx_gap_object gap;
        return fx_gap_object_decode(store_key, bytes, &gap, err) == FX_OK
                   ? FX_OK
                   : fx_err_wrap(err, "reading \"%.200s\"", store_key);
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const kind *one = &kinds[i];
        if (strncmp(store_key, one->prefix, strlen(one->prefix)) != 0) {
            continue;
        }
        if (one->magic == NULL) {
            return check_container(store_key, one->type, bytes, key, err);
        }
        return fx_plain_decode(one->magic, bytes, &message, err) == FX_OK
                   ? FX_OK
                   : fx_err_wrap(err, "reading \"%.200s\"", store_key);
    }
    return damaged(store_key, "it is none of a repository's objects", err);
}

fx_code
fx_stored_get(
    fx_store *store,
    const char *store_key,
    const fx_repository_key *key,
    fx_buf *out_bytes,
    fx_err *err)
{
    fx_mono deadline = fx_repository_deadline();
    fx_buf_clear(out_bytes);
    if (fx_store_get(store, store_key, 0, out_bytes->max_bytes, deadline, out_bytes, err) !=
        FX_OK) {
        return err->code;
    }
    return fx_stored_check(store_key, fx_buf_bytes(out_bytes), key, err);
}
