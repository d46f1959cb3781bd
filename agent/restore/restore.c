#include "agent/restore/restore.h"

#include "agent/restore/staging.h"
#include "agent/restore/unpack.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One restore: what of the snapshot goes where. */
typedef struct restoring {
    fx_repository *repository;
    const fx_snapshot *snapshot;
    const fx_restore_options *options;
    const fx_events *events;
    fx_chunk_id root;
    fx_tree *tree;       /* that holds `node` */
    const fx_node *node; /* what options->path names; NULL: the whole */
    fx_staging staging;
    fx_restore_result result;
} restoring;

static const fx_node *
find_node(const fx_tree *tree, const char *name, size_t name_bytes)
{
    for (size_t index = 0; index < tree->node_count; index++) {
        const fx_node *node = &tree->nodes[index];
        if (strlen(node->name) == name_bytes && memcmp(node->name, name, name_bytes) == 0) {
            return node;
        }
    }
    return NULL;
}

/* Follows the path down from the root. */
static fx_code
find_path(restoring *work, const char *path, fx_err *err)
{
    const char *name = path + strspn(path, "/");
    while (*name != '\0') {
        size_t name_bytes = strcspn(name, "/");
        bool is_folder = work->node == NULL || work->node->kind == FX_NODE_FOLDER;
        const fx_chunk_id *id = work->node == NULL ? &work->root : &work->node->subtree;
        fx_tree *tree = NULL;
        if (is_folder && fx_tree_read(work->repository, id, &tree, err) != FX_OK) {
            return fx_err_wrap(err, "looking for \"%.200s\" in the snapshot", path);
        }
        const fx_node *node = is_folder ? find_node(tree, name, name_bytes) : NULL;
        if (node == NULL) {
            fx_tree_free(tree);
            return fx_fail(
                err,
                FX_ERR_NOT_FOUND,
                "could not restore \"%.180s\": it is not in the snapshot",
                path);
        }
        fx_tree_free(work->tree);
        work->tree = tree;
        work->node = node;
        name += name_bytes;
        name += strspn(name, "/");
    }
    return FX_OK;
}

/* The target's own owner and mode: the restored folder's, else those that an empty target had. */
static void
apply_top(restoring *work, fx_apply *apply)
{
    const fx_staging *staging = &work->staging;
    if (work->node != NULL && work->node->kind == FX_NODE_FOLDER) {
        if (!staging->is_inside) {
            fx_apply_opened(apply, staging->fd, work->node, staging->target);
        }
        return;
    }
    if (staging->had_target && !staging->is_inside &&
        (fchown(staging->fd, staging->target_uid, staging->target_gid) != 0 ||
         fchmod(staging->fd, (mode_t)staging->target_mode) != 0)) {
        fx_apply_warn(apply, staging->target, "could not keep the folder's owner and mode");
    }
}

/* Counts the warnings that a driver gives by itself. */
static void
count_warning(void *ctx, const char *path, const char *reason)
{
    restoring *work = ctx;
    work->result.warning_count++;
    fx_events_warn(work->events, path, reason);
}

static void
pass_progress(void *ctx, const fx_progress *progress)
{
    const restoring *work = ctx;
    fx_events_progress(work->events, progress);
}

/* Only a whole snapshot can be made ready for use. */
static fx_code
settle(restoring *work, fx_err *err)
{
    const fx_source_driver *driver = NULL;
    if (work->options->path != NULL) {
        return FX_OK;
    }
    if (fx_source_find(work->snapshot->kind, &driver, err) != FX_OK) {
        return err->code;
    }
    if ((driver->abilities & FX_SOURCE_SETTLES) == 0) {
        return FX_OK;
    }
    const fx_events events = {
        .ctx = work,
        .warning = count_warning,
        .progress = pass_progress,
        .cancel = work->events == NULL ? NULL : work->events->cancel,
    };
    const fx_settle_options settling = {
        .folder_fd = work->staging.fd,
        .folder = work->staging.path,
        .final = work->staging.target,
        .target_time = work->options->target_time,
        .url = work->options->url,
        .key_file = work->options->key_file,
    };
    return driver->settle(work->repository, work->snapshot, &settling, &events, err);
}

static fx_code
fill_staging(restoring *work, fx_apply *apply, fx_err *err)
{
    fx_unpack_request request = {
        .repository = work->repository,
        .folder_fd = work->staging.fd,
        .is_private = true,
        .apply = apply,
        .events = work->events,
        .total_bytes = work->node == NULL ? work->snapshot->size_bytes : 0,
        .result = &work->result,
    };
    if (work->node != NULL && work->node->kind != FX_NODE_FOLDER) {
        return fx_unpack_node(&request, work->node, err);
    }
    return fx_unpack_tree(&request, work->node == NULL ? &work->root : &work->node->subtree, err);
}

static fx_code
restore_staged(restoring *work, fx_err *err)
{
    FX_AUTO(fx_apply)
    apply = fx_apply_new(work->options->numeric_owner, work->events, &work->result.warning_count);
    if (fill_staging(work, apply, err) != FX_OK) {
        return err->code;
    }
    apply_top(work, apply);
    if (settle(work, err) != FX_OK) {
        return err->code;
    }
    return fx_staging_place(&work->staging, err);
}

fx_code
fx_restore(
    fx_repository *repository,
    const fx_snapshot *snapshot,
    const fx_restore_options *options,
    const fx_events *events,
    fx_restore_result *out_result,
    fx_err *err)
{
    restoring work = {
        .repository = repository,
        .snapshot = snapshot,
        .options = options,
        .events = events,
    };
    fx_code code = fx_repository_snapshot_root(repository, snapshot->id, &work.root, err);
    if (code == FX_OK && options->path != NULL) {
        code = find_path(&work, options->path, err);
    }
    if (code == FX_OK) {
        code = fx_staging_open(options->target, &work.staging, err);
        if (code == FX_OK) {
            code = restore_staged(&work, err);
            fx_staging_close(&work.staging);
        }
        if (code != FX_OK) {
            code = fx_err_wrap(err, "restoring to \"%.150s\"", options->target);
        }
    }
    fx_tree_free(work.tree);
    if (code == FX_OK) {
        *out_result = work.result;
    }
    return code;
}
