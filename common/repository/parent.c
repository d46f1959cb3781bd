/* Which earlier snapshot a new one builds on. */
#include <stdio.h>
#include <string.h>

#include "common/base/hex.h"
#include "common/repository/internal.h"
#include "common/repository/kept.h"
#include "common/repository/snapshot.h"

/* A data set's name may hold anything: a digest stands for it. */
bool
fx_repository_kept_path(
    const fx_repository *repository,
    const char *source,
    const char *host,
    char out_path[FX_KEPT_PATH_BYTES])
{
    char scope[FX_SCOPE_ID_TEXT_BYTES];
    char hex[2 * FX_SHA256_BYTES + 1];
    unsigned char digest[FX_SHA256_BYTES];
    if (repository->cache_folder == NULL || !fx_repository_is_write_only(repository)) {
        return false;
    }
    FX_AUTO(fx_sha256_stream) stream = fx_sha256_stream_new();
    fx_sha256_stream_add(stream, (fx_bytes){host, strlen(host) + 1});
    fx_sha256_stream_add(stream, (fx_bytes){source, strlen(source) + 1});
    fx_sha256_stream_finish(stream, digest);
    fx_hex_encode((fx_bytes){digest, sizeof digest}, hex);
    fx_scope_id_format(&fx_repository_key_writes(repository->key)->id, scope);
    int length = snprintf(
        out_path, FX_KEPT_PATH_BYTES, "%s/parent-%s-%.32s", repository->cache_folder, scope, hex);
    return length > 0 && length < FX_KEPT_PATH_BYTES;
}

/* What this host has kept of its last snapshot, where it cannot read that. */
static fx_code
find_kept(
    fx_repository *repository,
    const char *source,
    const char *host,
    fx_snapshot *out_parent,
    fx_root *out_root,
    fx_err *err)
{
    char path[FX_KEPT_PATH_BYTES];
    fx_kept *kept = NULL;
    fx_err reason = {0};
    if (!fx_repository_kept_path(repository, source, host, path) ||
        fx_kept_load(path, &kept, &reason) != FX_OK) {
        return fx_fail(err, FX_ERR_NOT_FOUND, "could not find an earlier snapshot to build on");
    }
    fx_snapshot parent = {.began = fx_kept_began(kept)};
    (void)snprintf(parent.source, sizeof parent.source, "%s", source);
    (void)snprintf(parent.host.text, sizeof parent.host.text, "%s", host);
    fx_kept_free(repository->kept);
    repository->kept = kept;
    *out_parent = parent;
    *out_root = (fx_root){fx_repository_own_chunks(repository), fx_kept_root(kept)};
    return FX_OK;
}

/* errors: NOT_FOUND: not signed; those of reading */
static fx_code
open_signed(fx_repository *repository, const fx_snapshot *one, fx_root *out_root, fx_err *err)
{
    fx_snapshot opened = {0};
    char store_key[FX_KEY_TEXT_BYTES];
    (void)snprintf(store_key, sizeof store_key, "snapshots/%.64s", one->id);
    (void)pthread_mutex_lock(&repository->lock);
    fx_code code = fx_snapshot_read(repository, store_key, &opened, out_root, err);
    (void)pthread_mutex_unlock(&repository->lock);
    return code != FX_OK || opened.is_signed
               ? code
               : fx_fail(err, FX_ERR_NOT_FOUND, "snapshot %.16s is not signed", one->id);
}

typedef struct data_set {
    const char *source;
    const char *host;
    const char *scope;
} data_set;

/* The newest that is signed. One that cannot be read may be somebody's lie: an older one will do.
 * errors: NOT_FOUND; of the newest that could not be read */
static fx_code
find_signed(
    fx_repository *repository,
    const fx_snapshot_list *list,
    const data_set *wanted,
    fx_snapshot *out_parent,
    fx_root *out_root,
    fx_err *err)
{
    fx_err first = {0};
    for (size_t i = list->count; i > 0; i--) {
        const fx_snapshot *one = &list->items[i - 1];
        fx_err failure = {0};
        if (strcmp(one->source, wanted->source) != 0 || strcmp(one->host.text, wanted->host) != 0 ||
            strcmp(one->scope, wanted->scope) != 0) {
            continue;
        }
        if (open_signed(repository, one, out_root, &failure) == FX_OK) {
            *out_parent = *one;
            out_parent->is_signed = true;
            return FX_OK;
        }
        if (failure.code != FX_ERR_NOT_FOUND && first.code == FX_OK) {
            first = failure;
        }
    }
    if (first.code != FX_OK) {
        *err = first;
        return err->code;
    }
    return fx_fail(err, FX_ERR_NOT_FOUND, "could not find an earlier snapshot to build on");
}

fx_code
fx_repository_find_parent(
    fx_repository *repository,
    const char *source,
    const char *host,
    fx_snapshot *out_parent,
    fx_root *out_root,
    fx_err *err)
{
    fx_snapshot_list list = {0};
    size_t unreadable_count = 0;
    if (fx_repository_need_key(repository, err) != FX_OK) {
        return err->code;
    }
    if (fx_repository_is_write_only(repository)) {
        return find_kept(repository, source, host, out_parent, out_root, err);
    }
    if (!fx_repository_key_can_read(repository->key)) {
        return fx_fail(err, FX_ERR_NOT_FOUND, "could not find an earlier snapshot to build on");
    }
    if (fx_repository_list(repository, &list, &unreadable_count, err) != FX_OK) {
        return err->code;
    }
    char scope[FX_SCOPE_ID_TEXT_BYTES];
    fx_scope_id_format(&fx_repository_key_writes(repository->key)->id, scope);
    const data_set wanted = {source, host, scope};
    fx_code code = find_signed(repository, &list, &wanted, out_parent, out_root, err);
    fx_snapshot_list_free(&list);
    return code;
}

fx_code
fx_repository_is_doubtful(
    fx_repository *repository, const fx_snapshot *snapshot, bool *out_doubtful, fx_err *err)
{
    fx_err reason = {0};
    fx_root root;
    fx_snapshot other;
    fx_snapshot_list list = {0};
    size_t unreadable_count = 0;
    const data_set same = {snapshot->source, snapshot->host.text, snapshot->scope};
    fx_code code = open_signed(repository, snapshot, &root, &reason);
    *out_doubtful = false;
    if (code == FX_OK) {
        return FX_OK;
    }
    if (code == FX_ERR_NOT_FOUND) {
        if (fx_repository_list(repository, &list, &unreadable_count, err) != FX_OK) {
            return err->code;
        }
        code = find_signed(repository, &list, &same, &other, &root, &reason);
        *out_doubtful = code == FX_OK;
        fx_snapshot_list_free(&list);
    }
    if (code != FX_OK && code != FX_ERR_NOT_FOUND) {
        *err = reason;
        return code;
    }
    return FX_OK;
}
