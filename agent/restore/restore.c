#include "agent/restore/restore.h"

#include "agent/restore/staging.h"
#include "agent/restore/survey.h"
#include "agent/restore/unpack.h"
#include "common/base/hex.h"
#include "common/crypto/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One restore: what of the snapshot goes where. */
typedef struct restoring {
    fx_repository *repository;
    const fx_snapshot *snapshot;
    const fx_restore_options *options;
    const fx_events *events;
    fx_root root;
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

/* The snapshot's, or that of the folder which was found in it. */
static fx_root
wanted_root(const restoring *work)
{
    fx_root root = work->root;
    if (work->node != NULL) {
        root.id = work->node->subtree;
    }
    return root;
}

/* Follows the path down from the root. */
static fx_code
find_path(restoring *work, const char *path, fx_err *err)
{
    const char *name = path + strspn(path, "/");
    while (*name != '\0') {
        size_t name_bytes = strcspn(name, "/");
        bool is_folder = work->node == NULL || work->node->kind == FX_NODE_FOLDER;
        fx_tree *tree = NULL;
        const fx_root at = wanted_root(work);
        if (is_folder && fx_tree_read(&at.chunks, &at.id, &tree, err) != FX_OK) {
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

/* It may be the only one there is: that is for a person to decide. */
static void
tell_doubt(restoring *work)
{
    fx_err reason = {0};
    bool is_doubtful = false;
    const fx_snapshot *snapshot = work->snapshot;
    if (fx_repository_is_doubtful(work->repository, snapshot, &is_doubtful, &reason) != FX_OK) {
        fx_ignore(
            fx_err_wrap(&reason, "looking whether others of its data set are signed"),
            "it is told as a warning");
        count_warning(work, snapshot->id, reason.message);
    } else if (is_doubtful) {
        count_warning(
            work,
            snapshot->id,
            "it is not signed, others of the same data set are: a host that can only write may "
            "have put it in that host's name");
    }
}

static void
pass_progress(void *ctx, const fx_progress *progress)
{
    const restoring *work = ctx;
    fx_events_progress(work->events, progress);
}

/* NULL: this kind is ready as it is, or only a part is restored. */
static fx_code
find_settler(const restoring *work, const fx_source_driver **out_driver, fx_err *err)
{
    *out_driver = NULL;
    if (work->options->path != NULL) {
        return FX_OK;
    }
    const fx_source_driver *driver = NULL;
    if (fx_source_find(work->snapshot->kind, &driver, err) != FX_OK) {
        return err->code;
    }
    *out_driver = (driver->abilities & FX_SOURCE_SETTLES) != 0 ? driver : NULL;
    return FX_OK;
}

static fx_events
counted_events(restoring *work)
{
    return (fx_events){
        .ctx = work,
        .warning = count_warning,
        .progress = pass_progress,
        .cancel = work->events == NULL ? NULL : work->events->cancel,
    };
}

/* What cannot end well is not begun. */
static fx_code
check(restoring *work, fx_err *err)
{
    const fx_source_driver *driver = NULL;
    fx_code code = find_settler(work, &driver, err);
    if (code != FX_OK || driver == NULL) {
        return code;
    }
    const fx_events events = counted_events(work);
    const fx_check_options checking = {
        .target_time = work->options->target_time,
        .ignores_gaps = work->options->ignores_gaps,
    };
    return driver->check(work->repository, work->snapshot, &checking, &events, err);
}

/* Only a whole snapshot can be made ready for use. */
static fx_code
settle(restoring *work, fx_err *err)
{
    const fx_source_driver *driver = NULL;
    fx_code code = find_settler(work, &driver, err);
    if (code != FX_OK || driver == NULL) {
        return code;
    }
    const fx_events events = counted_events(work);
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
fill(restoring *work, int folder_fd, fx_apply *apply, fx_err *err)
{
    fx_unpack_request request = {
        .chunks = work->root.chunks,
        .folder_fd = folder_fd,
        .is_private = !work->options->in_place,
        .keeps = work->options->in_place || work->staging.is_resumed,
        .apply = apply,
        .events = work->events,
        .result = &work->result,
    };
    if (work->node == NULL) {
        request.total_count = work->snapshot->file_count;
        request.total_bytes = work->snapshot->size_bytes;
    } else if (work->node->kind != FX_NODE_FOLDER) {
        request.total_count = 1;
        request.total_bytes = work->node->size_bytes;
        return fx_unpack_node(&request, work->node, err);
    }
    const fx_root root = wanted_root(work);
    return fx_unpack_tree(&request, &root.id, err);
}

static fx_code
restore_staged(restoring *work, fx_err *err)
{
    FX_AUTO(fx_apply)
    apply = fx_apply_new(work->options->numeric_owner, work->events, &work->result.warning_count);
    if (fill(work, work->staging.fd, apply, err) != FX_OK) {
        return err->code;
    }
    apply_top(work, apply);
    work->result.has_left_owners = fx_apply_left_owners(apply);
    if (settle(work, err) != FX_OK) {
        return err->code;
    }
    return fx_staging_place(&work->staging, err);
}

enum { LABEL_BYTES = 6 };

/* Names a restore: the same snapshot and path. */
static void
label_of(const restoring *work, char out_label[2 * LABEL_BYTES + 1])
{
    const char *path = work->options->path == NULL ? "" : work->options->path;
    const char *id = work->snapshot->id;
    unsigned char digest[FX_SHA256_BYTES];
    FX_AUTO(fx_sha256_stream) stream = fx_sha256_stream_new();
    fx_sha256_stream_add(stream, (fx_bytes){id, strlen(id) + 1});
    fx_sha256_stream_add(stream, (fx_bytes){path, strlen(path)});
    fx_sha256_stream_finish(stream, digest);
    fx_hex_encode((fx_bytes){digest, LABEL_BYTES}, out_label);
}

/* Is it worth trying again? */
static bool
may_pass(const fx_err *err)
{
    return err->code == FX_ERR_CANCELLED || err->outcome != FX_CLASS_PERMANENT;
}

static fx_code
restore_beside(restoring *work, fx_err *err)
{
    char label[2 * LABEL_BYTES + 1];
    label_of(work, label);
    if (fx_staging_open(work->options->target, label, &work->staging, err) != FX_OK) {
        return err->code;
    }
    fx_code code = restore_staged(work, err);
    if (code != FX_OK && may_pass(err)) {
        fx_staging_leave(&work->staging);
        return fx_err_wrap(
            err,
            "the same restore goes on with what is in \"%.150s\"; remove that to begin anew",
            work->staging.path);
    }
    fx_staging_close(&work->staging);
    return code;
}

/* What is made ready for use by a driver is never half old, half new. */
static fx_code
check_in_place(const restoring *work, fx_err *err)
{
    const fx_source_driver *driver = NULL;
    fx_code code = find_settler(work, &driver, err);
    if (code != FX_OK || driver == NULL) {
        return code;
    }
    return fx_fail(
        err,
        FX_ERR_UNSUPPORTED,
        "could not restore in place: a snapshot of kind %.31s needs a folder of its own",
        work->snapshot->kind);
}

static fx_code
restore_in_place(restoring *work, fx_err *err)
{
    const char *target = work->options->target;
    if (check_in_place(work, err) != FX_OK) {
        return err->code;
    }
    int fd = open(target, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return fx_fail_errno(err, errno, "could not open the folder \"%.150s\"", target);
    }
    FX_AUTO(fx_apply)
    apply = fx_apply_new(work->options->numeric_owner, work->events, &work->result.warning_count);
    fx_code code = fill(work, fd, apply, err);
    if (code == FX_OK && work->node != NULL && work->node->kind == FX_NODE_FOLDER) {
        fx_apply_opened(apply, fd, work->node, target);
    }
    work->result.has_left_owners = fx_apply_left_owners(apply);
    if (code == FX_OK && syncfs(fd) != 0) {
        code = fx_fail_errno(err, errno, "could not sync \"%.150s\"", target);
    }
    (void)close(fd);
    return code;
}

static fx_code
survey(restoring *work, fx_err *err)
{
    char label[2 * LABEL_BYTES + 1];
    label_of(work, label);
    if (!work->options->in_place && fx_staging_check(work->options->target, label, err) != FX_OK) {
        return err->code;
    }
    if (work->options->in_place && check_in_place(work, err) != FX_OK) {
        return err->code;
    }
    if (work->node != NULL && work->node->kind != FX_NODE_FOLDER) {
        work->result.file_count = 1;
        work->result.done_bytes = work->node->size_bytes;
        return FX_OK;
    }
    const fx_root root = wanted_root(work);
    return fx_survey_tree(&root, work->events, &work->result, err);
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
    if (code == FX_OK) {
        tell_doubt(&work);
        code = check(&work, err);
    }
    if (code == FX_OK && options->path != NULL) {
        code = find_path(&work, options->path, err);
    }
    if (code == FX_OK) {
        if (options->dry_run) {
            code = survey(&work, err);
        } else {
            code = options->in_place ? restore_in_place(&work, err) : restore_beside(&work, err);
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
