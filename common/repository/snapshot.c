#include "common/repository/snapshot.h"

#include <stdio.h>
#include <string.h>

#include "proto/repository.pb-c.h"

#include "common/base/hex.h"
#include "common/repository/forgotten.h"
#include "common/repository/hold.h"
#include "common/repository/lease.h"
#include "common/repository/tags.h"

enum { SEALED_BYTES = FX_ID_BYTES + FX_SIGN_BYTES };
static const char signature_use[] = "fortress snapshot 1";

/* What a signature is about: all that is readable, and the root. */
static void
statement_of(
    const unsigned char head_digest[FX_SHA256_BYTES],
    const unsigned char root[FX_ID_BYTES],
    unsigned char out_statement[FX_SHA256_BYTES + FX_ID_BYTES])
{
    memcpy(out_statement, head_digest, FX_SHA256_BYTES);
    memcpy(out_statement + FX_SHA256_BYTES, root, FX_ID_BYTES);
}

/* ---- writing
 * ------------------------------------------------------------------------------------------ */

static fx_code
encode_header(const char *writer_lease, fx_snapshot *snapshot, fx_buf *out, fx_err *err)
{
    char lease[FX_LEASE_ID_BYTES];
    Fortress__Repository__SnapshotHeader header;
    fortress__repository__snapshot_header__init(&header);
    header.host = snapshot->host.text;
    header.source = snapshot->source;
    header.kind = snapshot->kind;
    header.began_wall_ns = snapshot->began.ns;
    header.ended_wall_ns = snapshot->ended.ns;
    header.file_count = snapshot->file_count;
    header.size_bytes = snapshot->size_bytes;
    header.added_bytes = snapshot->added_bytes;
    header.warning_count = snapshot->warning_count;
    header.note = snapshot->note;
    (void)snprintf(lease, sizeof lease, "%s", writer_lease);
    header.lease = lease;
    fx_name tags[FX_TAGS_MAX];
    char *tag_texts[FX_TAGS_MAX];
    header.tags = tag_texts;
    const char *at = snapshot->tags;
    while (header.n_tags < FX_TAGS_MAX && fx_tags_next(&at, &tags[header.n_tags])) {
        tag_texts[header.n_tags] = tags[header.n_tags].text;
        header.n_tags++;
    }
    unsigned char *room = NULL;
    size_t size_bytes = fortress__repository__snapshot_header__get_packed_size(&header);
    if (fx_buf_extend(out, size_bytes, &room, err) != FX_OK) {
        return err->code;
    }
    (void)fortress__repository__snapshot_header__pack(&header, room);
    return FX_OK;
}

/* The only blob: the root, signed where the key for that is here. */
static fx_code
add_root(
    fx_object_writer *object,
    const fx_scope_keys *scope,
    const fx_chunk_id *root,
    fx_zip *zip,
    fx_err *err)
{
    static const fx_chunk_id none;
    unsigned char sealed[SEALED_BYTES];
    unsigned char statement[FX_SHA256_BYTES + FX_ID_BYTES];
    fx_bytes content = {sealed, FX_ID_BYTES};
    memcpy(sealed, root->bytes, FX_ID_BYTES);
    if (scope->can_read) {
        statement_of(object->head_digest, root->bytes, statement);
        content.size_bytes = sizeof sealed;
        if (fx_scope_sign(
                scope,
                signature_use,
                (fx_bytes){statement, sizeof statement},
                sealed + FX_ID_BYTES,
                err) != FX_OK) {
            return err->code;
        }
    }
    return fx_object_add(object, zip, &none, FX_CHUNK_TREE + 1, content, err);
}

fx_code
fx_snapshot_put(
    const fx_snapshot_place *place, const fx_chunk_id *root, fx_snapshot *snapshot, fx_err *err)
{
    FX_AUTO(fx_zip) zip = fx_zip_new();
    FX_BUF_AUTO plain;
    fx_buf_init(&plain, FX_OBJECT_PLAIN_MAX_BYTES);
    if (encode_header(place->lease, snapshot, &plain, err) != FX_OK) {
        return err->code;
    }
    fx_object_writer object;
    fx_object_writer_init(&object);
    unsigned char digest[FX_SHA256_BYTES];
    char store_key[FX_KEY_TEXT_BYTES];
    fx_code code =
        fx_object_begin(&object, place->session, FX_OBJECT_SNAPSHOT, fx_buf_bytes(&plain), err);
    if (code == FX_OK) {
        code = add_root(&object, place->scope, root, zip, err);
    }
    if (code == FX_OK) {
        code = fx_object_finish(&object, digest, err);
    }
    if (code == FX_OK) {
        fx_hex_encode((fx_bytes){digest, sizeof digest}, snapshot->id);
        (void)snprintf(store_key, sizeof store_key, "snapshots/%s", snapshot->id);
        fx_mono deadline = fx_repository_deadline();
        fx_err failure = {0};
        code =
            fx_store_put(place->store, store_key, fx_buf_bytes(&object.bytes), deadline, &failure);
        code = code == FX_ERR_EXISTS ? FX_OK : code; /* it is named by its bytes */
        if (code != FX_OK) {
            *err = failure;
        }
    }
    fx_object_writer_free(&object);
    return code;
}

/* ---- reading
 * ------------------------------------------------------------------------------------------ */

static void
set_text(char *out, size_t room_bytes, const char *text)
{
    (void)snprintf(out, room_bytes, "%s", text == NULL ? "" : text);
}

fx_code
fx_snapshot_decode(
    const fx_object *object, const char *store_key, fx_snapshot *out_snapshot, fx_err *err)
{
    Fortress__Repository__SnapshotHeader *header =
        fortress__repository__snapshot_header__unpack(NULL, object->plain_bytes, object->plain);
    fx_snapshot snapshot = {0};
    fx_err ignored = {0};
    if (header == NULL || fx_name_parse(header->host, "host", &snapshot.host, &ignored) != FX_OK) {
        if (header != NULL) {
            fortress__repository__snapshot_header__free_unpacked(header, NULL);
        }
        return fx_fail(err, FX_ERR_DAMAGED, "could not read \"%s\": its header is bad", store_key);
    }
    set_text(snapshot.id, sizeof snapshot.id, strrchr(store_key, '/') + 1);
    fx_scope_id_format(&object->scope, snapshot.scope);
    set_text(snapshot.source, sizeof snapshot.source, header->source);
    set_text(snapshot.kind, sizeof snapshot.kind, header->kind);
    set_text(snapshot.note, sizeof snapshot.note, header->note);
    set_text(snapshot.lease, sizeof snapshot.lease, header->lease);
    /* A tag that is none is the claim of a host that writes headers of its own. */
    for (size_t i = 0; i < header->n_tags && i < FX_TAGS_MAX; i++) {
        fx_ignore(fx_tags_add(snapshot.tags, header->tags[i], &ignored), "it is then not shown");
    }
    snapshot.began = (fx_wall){.ns = header->began_wall_ns};
    snapshot.ended = (fx_wall){.ns = header->ended_wall_ns};
    snapshot.file_count = header->file_count;
    snapshot.size_bytes = header->size_bytes;
    snapshot.added_bytes = header->added_bytes;
    snapshot.warning_count = header->warning_count;
    fortress__repository__snapshot_header__free_unpacked(header, NULL);
    *out_snapshot = snapshot;
    return FX_OK;
}

/* Opens the root of an object that is unlocked. errors: DAMAGED, also where the signature is none
 */
static fx_code
open_root(
    fx_repository *repository,
    fx_object *object,
    const fx_buf *bytes,
    fx_snapshot *snapshot,
    fx_root *out_root,
    fx_err *err)
{
    unsigned char statement[FX_SHA256_BYTES + FX_ID_BYTES];
    FX_BUF_AUTO sealed;
    fx_buf_init(&sealed, SEALED_BYTES);
    if (object->blob_count != 1) {
        return fx_fail(err, FX_ERR_DAMAGED, "it has %u roots", object->blob_count);
    }
    if (fx_repository_open_blob(repository, object, bytes, 0, &sealed, err) != FX_OK) {
        return err->code;
    }
    FX_ASSERT(object->scope_keys != NULL); /* it was opened */
    snapshot->is_signed = sealed.size_bytes == SEALED_BYTES;
    if (!snapshot->is_signed && sealed.size_bytes != FX_ID_BYTES) {
        return fx_fail(err, FX_ERR_DAMAGED, "its root has another size");
    }
    statement_of(object->head_digest, sealed.data, statement);
    if (snapshot->is_signed && !fx_scope_check(
                                   object->scope_keys,
                                   object->key_version,
                                   signature_use,
                                   (fx_bytes){statement, sizeof statement},
                                   sealed.data + FX_ID_BYTES)) {
        return fx_fail(err, FX_ERR_DAMAGED, "it is not signed by its scope's key");
    }
    out_root->chunks = (fx_chunks){repository, object->scope_keys};
    memcpy(out_root->id.bytes, sealed.data, FX_ID_BYTES);
    return FX_OK;
}

/* Whole, so that its name can be checked. */
fx_code
fx_snapshot_read(
    fx_repository *repository,
    const char *store_key,
    fx_snapshot *out_snapshot,
    fx_root *out_root,
    fx_err *err)
{
    FX_BUF_AUTO bytes;
    FX_AUTO(fx_object) object = NULL;
    fx_buf_init(&bytes, FX_SNAPSHOT_OBJECT_MAX_BYTES);
    if (fx_repository_load_object(
            repository, store_key, FX_OBJECT_SNAPSHOT, &bytes, &object, err) != FX_OK) {
        return err->code;
    }
    FX_ASSERT(object != NULL);
    if (!fx_is_named_by_digest(store_key, fx_buf_bytes(&bytes))) {
        return fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not read \"%s\": its bytes are not what was written",
            store_key);
    }
    if (fx_snapshot_decode(object, store_key, out_snapshot, err) != FX_OK || out_root == NULL) {
        return err->code;
    }
    if (object->aead == NULL) {
        return fx_repository_explain_locked(repository, object, err);
    }
    return open_root(repository, object, &bytes, out_snapshot, out_root, err) == FX_OK
               ? FX_OK
               : fx_err_wrap(err, "reading \"%s\"", store_key);
}

/* What it claims, but not after the store got it: one that claims to be of the year 2100 is not the
 * latest for ever. */
static int64_t
believed_ns(const fx_snapshot *snapshot)
{
    bool is_later = snapshot->stored.ns != 0 && snapshot->began.ns > snapshot->stored.ns;
    return is_later ? snapshot->stored.ns : snapshot->began.ns;
}

static int
by_began(const void *left, const void *right)
{
    const fx_snapshot *one = left;
    const fx_snapshot *two = right;
    if (believed_ns(one) != believed_ns(two)) {
        return believed_ns(one) < believed_ns(two) ? -1 : 1;
    }
    return strcmp(one->id, two->id);
}

void
fx_snapshot_list_free(fx_snapshot_list *list)
{
    free(list->items);
    *list = (fx_snapshot_list){0};
}

static fx_code
mark_void(fx_repository *repository, fx_snapshot_list *list, fx_err *err)
{
    fx_settlements settled;
    fx_id_set forgotten = {0};
    if (fx_settlements_read(repository->store, &settled, err) != FX_OK) {
        return err->code;
    }
    fx_code code = fx_forgotten_read(repository->store, &forgotten, err);
    for (size_t i = 0; code == FX_OK && i < list->count; i++) {
        fx_chunk_id id;
        fx_err ignored = {0};
        fx_snapshot *snapshot = &list->items[i];
        if (fx_hex_decode(snapshot->id, id.bytes, sizeof id.bytes, &ignored) != FX_OK) {
            continue;
        }
        snapshot->is_void = fx_id_set_has(&forgotten, &id);
        if (!snapshot->is_void) {
            code = fx_settlements_void(&settled, snapshot->lease, &id, &snapshot->is_void, err);
        }
    }
    fx_settlements_free(&settled);
    fx_id_set_free(&forgotten);
    return code;
}

static void
take_time(void *ctx, const char *key, fx_wall stored)
{
    fx_snapshot_list *list = ctx;
    const char *id = key + strlen("snapshots/");
    /* In order of their ids, as the store lists. */
    size_t low = 0;
    size_t high = list->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(list->items[middle].id, id) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < list->count && strcmp(list->items[low].id, id) == 0) {
        list->items[low].stored = stored;
    }
}

fx_code
fx_repository_list_all(
    fx_repository *repository,
    fx_snapshot_list *out_list,
    size_t *out_unreadable_count,
    fx_err *err)
{
    FX_ASSERT(repository->magic == FX_REPOSITORY_MAGIC);
    fx_key_list keys = {0};
    fx_snapshot_list list = {0};
    size_t unreadable_count = 0;
    fx_code code = fx_repository_list_keys(repository, "snapshots/", &keys, err);
    if (code == FX_OK) {
        list.items = calloc(keys.count + 1, sizeof *list.items);
        FX_ASSERT(list.items != NULL);
    }
    for (size_t i = 0; code == FX_OK && i < keys.count; i++) {
        fx_err one = {0};
        (void)pthread_mutex_lock(&repository->lock);
        if (fx_snapshot_read(repository, keys.items[i], &list.items[list.count], NULL, &one) ==
            FX_OK) {
            list.count++;
        } else if (one.code == FX_ERR_UNREACHABLE || one.code == FX_ERR_TIMEOUT) {
            *err = one;
            code = one.code;
        } else {
            unreadable_count++;
        }
        (void)pthread_mutex_unlock(&repository->lock);
    }
    fx_key_list_free(&keys);
    if (code == FX_OK) {
        fx_mono deadline = fx_repository_deadline();
        code =
            fx_store_list_times(repository->store, "snapshots/", deadline, take_time, &list, err);
    }
    if (code != FX_OK) {
        fx_snapshot_list_free(&list);
        return code;
    }
    if (mark_void(repository, &list, err) != FX_OK) {
        fx_snapshot_list_free(&list);
        return err->code;
    }
    qsort(list.items, list.count, sizeof *list.items, by_began);
    *out_list = list;
    *out_unreadable_count = unreadable_count;
    return FX_OK;
}

fx_code
fx_repository_list(
    fx_repository *repository,
    fx_snapshot_list *out_list,
    size_t *out_unreadable_count,
    fx_err *err)
{
    fx_snapshot_list list = {0};
    if (fx_repository_list_all(repository, &list, out_unreadable_count, err) != FX_OK) {
        return err->code;
    }
    size_t kept = 0;
    for (size_t i = 0; i < list.count; i++) {
        if (!list.items[i].is_void) {
            list.items[kept++] = list.items[i];
        }
    }
    list.count = kept;
    *out_list = list;
    return FX_OK;
}

static bool
matches(
    const fx_snapshot *snapshot,
    const char *which,
    const char *source,
    const char *host,
    fx_wall before)
{
    bool latest = strcmp(which, "latest") == 0;
    return (source == NULL || strcmp(snapshot->source, source) == 0) &&
           (host == NULL || strcmp(snapshot->host.text, host) == 0) &&
           (before.ns == 0 || believed_ns(snapshot) <= before.ns) &&
           (latest || strncmp(snapshot->id, which, strlen(which)) == 0);
}

/* NOLINTBEGIN(readability-function-size): the parameters are the question */
fx_code
fx_repository_find(
    fx_repository *repository,
    const char *which,
    const char *source,
    const char *host,
    fx_wall before,
    fx_snapshot *out_snapshot,
    fx_err *err)
{
    bool latest = strcmp(which, "latest") == 0;
    if (!latest && (strlen(which) < 8 || strspn(which, "0123456789abcdef") != strlen(which))) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use \"%.80s\" as a snapshot: \"latest\" or at least 8 digits of its id",
            which);
    }
    fx_snapshot_list list = {0};
    size_t unreadable_count = 0;
    if (fx_repository_list(repository, &list, &unreadable_count, err) != FX_OK) {
        return err->code;
    }
    const fx_snapshot *found = NULL;
    size_t count = 0;
    for (size_t i = 0; i < list.count; i++) {
        if (matches(&list.items[i], which, source, host, before)) {
            found = &list.items[i];
            count++;
        }
    }
    fx_code code = FX_OK;
    if (found == NULL) {
        code = fx_fail(
            err,
            FX_ERR_NOT_FOUND,
            "could not find snapshot \"%.70s\"%s%.100s among %zu (%zu more could not be read)",
            which,
            source == NULL ? "" : " of ",
            source == NULL ? "" : source,
            list.count,
            unreadable_count);
    } else if (count > 1 && !latest) {
        code = fx_fail(
            err, FX_ERR_INVALID, "could not choose: \"%.70s\" begins %zu snapshots", which, count);
    } else {
        *out_snapshot = *found;
    }
    fx_snapshot_list_free(&list);
    return code;
}
/* NOLINTEND(readability-function-size) */

fx_code
fx_repository_forget(fx_repository *repository, const char *snapshot_id, fx_err *err)
{
    char store_key[FX_KEY_TEXT_BYTES];
    FX_ASSERT(repository->magic == FX_REPOSITORY_MAGIC);
    (void)snprintf(store_key, sizeof store_key, "snapshots/%.64s", snapshot_id);
    fx_mono deadline = fx_repository_deadline();
    uint64_t size_bytes = 0;
    uint32_t word = 0;
    if (fx_store_stat(repository->store, store_key, deadline, &size_bytes, err) != FX_OK ||
        fx_hold_begin_forget(repository, snapshot_id, &word, err) != FX_OK) {
        return fx_err_wrap(err, "forgetting snapshot %.16s", snapshot_id);
    }
    fx_err failure = {0};
    fx_code code = fx_forgotten_put(repository->store, snapshot_id, &failure);
    if (code == FX_OK) {
        code = fx_store_remove(repository->store, store_key, deadline, &failure);
        /* Or a collector was faster; or the object goes with one that the store lets remove it. */
        if (code == FX_ERR_NOT_FOUND || code == FX_ERR_DENIED) {
            failure = (fx_err){0};
            code = FX_OK;
        }
    }
    /* In doubt the word stays: the put may still come, and a hold must not trust in itself. */
    fx_err kept = {0};
    if (code == FX_OK || failure.outcome != FX_CLASS_UNKNOWN) {
        fx_ignore(
            fx_hold_end_forget(repository, snapshot_id, word, &kept),
            "then a later hold is told that it may be too late");
    }
    if (code != FX_OK) {
        *err = failure;
        return fx_err_wrap(err, "forgetting snapshot %.16s", snapshot_id);
    }
    return FX_OK;
}

fx_code
fx_repository_root_at(
    fx_repository *repository, const char *store_key, fx_root *out_root, fx_err *err)
{
    fx_snapshot ignored;
    if (fx_repository_need_read(repository, err) != FX_OK) {
        return err->code;
    }
    (void)pthread_mutex_lock(&repository->lock);
    fx_code code = fx_snapshot_read(repository, store_key, &ignored, out_root, err);
    (void)pthread_mutex_unlock(&repository->lock);
    return code;
}

fx_code
fx_repository_snapshot_root(
    fx_repository *repository, const char *snapshot_id, fx_root *out_root, fx_err *err)
{
    char store_key[FX_KEY_TEXT_BYTES];
    (void)snprintf(store_key, sizeof store_key, "snapshots/%.64s", snapshot_id);
    return fx_repository_root_at(repository, store_key, out_root, err);
}
