/* Index objects made anew of what packs tell of themselves. */
#include <stdio.h>
#include <string.h>

#include "common/repository/index_writer.h"
#include "common/repository/internal.h"
#include "common/repository/lease.h"
#include "common/repository/repair.h"

typedef struct reindex {
    fx_repository *repository;
    fx_reindex_report *report;
    fx_store *store;
    const char *lease;
    fx_id_set marked;
    uint64_t *first;  /* of each pack, the number of its first id; SIZE_MAX: it is not wanted */
    fx_chunk_id *ids; /* of the wanted packs, in their order */
    size_t pack_count;
} reindex;

static void
place_id(void *ctx, const fx_index_entry *entry)
{
    const reindex *work = ctx;
    fx_index_pack pack = fx_index_pack_at(work->repository->index, entry->pack);
    if (work->first[entry->pack] != UINT64_MAX && entry->blob < pack.blob_count) {
        work->ids[work->first[entry->pack] + entry->blob] = entry->id;
    }
}

/* Packs that only their own directories told of, and that stay. */
static void
choose(reindex *work)
{
    const fx_index *index = work->repository->index;
    uint64_t count = 0;
    work->pack_count = fx_index_pack_count(index);
    work->first = calloc(work->pack_count + 1, sizeof *work->first);
    FX_ASSERT(work->first != NULL);
    for (size_t i = 0; i < work->pack_count; i++) {
        fx_chunk_id name;
        fx_index_pack pack = fx_index_pack_at(index, (uint32_t)i);
        memcpy(name.bytes, pack.name, FX_ID_BYTES);
        work->first[i] = UINT64_MAX;
        if (pack.is_rescued != 0 && !fx_id_set_has(&work->marked, &name)) {
            work->first[i] = count;
            count += pack.blob_count;
            work->report->pack_count++;
        }
    }
    work->report->chunk_count += count;
    work->ids = calloc((size_t)count + 1, sizeof *work->ids);
    FX_ASSERT(work->ids != NULL);
    fx_index_each(index, place_id, work);
}

static fx_code
write_indexes(reindex *work, fx_err *err)
{
    fx_session session;
    fx_index_writer writer;
    fx_id_set names = {0};
    if (fx_session_begin(work->repository->key, &session, err) != FX_OK) {
        return err->code;
    }
    fx_index_writer_init(&writer, work->store, &session);
    writer.names = &names;
    writer.lease = work->lease;
    fx_code code = FX_OK;
    for (size_t i = 0; code == FX_OK && i < work->pack_count; i++) {
        fx_index_pack pack = fx_index_pack_at(work->repository->index, (uint32_t)i);
        if (work->first[i] != UINT64_MAX) {
            pack.is_rescued = 0;
            code = fx_index_writer_add(
                &writer, &pack, work->ids[work->first[i]].bytes, sizeof *work->ids, err);
        }
    }
    if (code == FX_OK) {
        code = fx_index_writer_finish(&writer, err);
    }
    work->report->index_count += names.count;
    fx_id_set_free(&names);
    fx_index_writer_free(&writer);
    fx_wipe(&session, sizeof session);
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "writing new indexes");
}

/* In a writer's order: lease, marks, indexes. Then the packs. */
static fx_code
reindex_scope(reindex *work, bool dry_run, fx_err *err)
{
    fx_repository *repository = work->repository;
    if (!dry_run && fx_marks_read(work->store, &work->marked, err) != FX_OK) {
        return err->code;
    }
    (void)pthread_mutex_lock(&repository->lock);
    fx_code code = fx_repository_refresh_indexes(repository, err);
    if (code == FX_OK) {
        code = fx_repository_rescue_packs(repository, err);
    }
    (void)pthread_mutex_unlock(&repository->lock);
    if (code != FX_OK) {
        return code;
    }
    choose(work);
    return dry_run ? FX_OK : write_indexes(work, err);
}

static fx_code
reindex_scopes(
    const char *url,
    const fx_reindex_options *options,
    const char *lease,
    fx_reindex_report *report,
    fx_err *err)
{
    const fx_repository_key *key = options->key;
    bool has_one = false;
    for (size_t i = 0; i < key->scope_count; i++) {
        /* An index object is of one scope: others must not see into it. */
        const fx_repository_key one = {
            .keyring = key->keyring, .scopes = &key->scopes[i], .scope_count = 1};
        FX_AUTO(fx_repository) repository = NULL;
        if (!one.scopes->can_read || !one.scopes->can_write) {
            continue;
        }
        if (fx_repository_open(url, &one, &repository, err) != FX_OK) {
            return err->code;
        }
        if (!repository->has_write_scope) {
            continue;
        }
        has_one = true;
        repository->progress = options->progress;
        repository->progress_ctx = options->ctx;
        reindex work = {
            .repository = repository, .report = report, .store = repository->store, .lease = lease};
        fx_code code = reindex_scope(&work, options->dry_run, err);
        fx_id_set_free(&work.marked);
        free(work.first);
        free(work.ids);
        if (code != FX_OK) {
            return code;
        }
    }
    return has_one ? FX_OK
                   : fx_fail(
                         err,
                         FX_ERR_WRONG_KEY,
                         "could not make indexes anew: the key can read and write no scope that is "
                         "there");
}

/*
 * Their packs are named by new ones now. What cannot be read may be another scope's, if there are
 * such: then only that scope's holder can tell.
 */
static fx_code
remove_unreadable(
    const char *url, const fx_reindex_options *options, fx_reindex_report *report, fx_err *err)
{
    FX_AUTO(fx_repository) repository = NULL;
    if (fx_repository_open(url, options->key, &repository, err) != FX_OK) {
        return err->code;
    }
    (void)pthread_mutex_lock(&repository->lock);
    fx_code code = fx_repository_load_indexes(repository, err);
    (void)pthread_mutex_unlock(&repository->lock);
    for (size_t i = 0; code == FX_OK && i < repository->bad_count; i++) {
        const fx_bad_index *bad = &repository->bad[i];
        if (repository->foreign.count > 0 || bad->err.code != FX_ERR_DAMAGED) {
            report->kept_count++;
            continue;
        }
        report->removed_count++;
        fx_err failure = {0};
        code = options->dry_run
                   ? FX_OK
                   : fx_store_remove(
                         repository->store, bad->store_key, fx_repository_deadline(), &failure);
        if (code == FX_ERR_NOT_FOUND) {
            code = FX_OK;
        } else if (code != FX_OK) {
            *err = failure;
            code = fx_err_wrap(err, "removing \"%s\"", bad->store_key);
        }
    }
    return code;
}

fx_code
fx_repository_reindex(
    const char *url, const fx_reindex_options *options, fx_reindex_report *out_report, fx_err *err)
{
    FX_AUTO(fx_store) store = NULL;
    char lease[FX_LEASE_ID_BYTES] = "";
    *out_report = (fx_reindex_report){0};
    if (fx_store_open(url, &store, err) != FX_OK ||
        (!options->dry_run && fx_lease_begin(store, lease, err) != FX_OK)) {
        return err->code;
    }
    fx_code code = reindex_scopes(url, options, lease, out_report, err);
    if (code == FX_OK) {
        code = remove_unreadable(url, options, out_report, err);
    }
    if (options->dry_run) {
        return code;
    }
    /* An index object that comes late must not be trusted: see fx_repository_replicate(). */
    fx_err ignored = {0};
    bool is_certain = code == FX_OK || err->outcome == FX_CLASS_PERMANENT;
    if (is_certain || fx_lease_revoke(store, lease, &ignored) == FX_OK) {
        fx_ignore(fx_lease_end(store, lease, &ignored), "a collector removes it");
    }
    return code;
}
