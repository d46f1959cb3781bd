/* Reads the content of files on the pool's threads: several files, several parts of a large one. */
#include "agent/source/files/state.h"

#include <string.h>

/*
 * A large file's parts are cut into chunks each for itself: at a border every 64 MiB, a hundred
 * chunks, deduplication of shifted content loses one or two.
 */
enum { PART_BYTES = 64 * 1024 * 1024 };

typedef struct file_job {
    fx_folder *folder;
    size_t place;
    fx_reading reading;
    struct stat seen;
    atomic_size_t left; /* parts that are not read */
    size_t part_count;
    struct part *parts;
} file_job;

typedef struct part {
    file_job *file;
    fx_node node; /* its extents and size alone */
    fx_read_result result;
} part;

static fx_reader *
take_reader(fx_walk_state *work)
{
    (void)pthread_mutex_lock(&work->lock);
    fx_reader *reader = work->readers;
    if (reader != NULL) {
        work->readers = reader->next;
    }
    (void)pthread_mutex_unlock(&work->lock);
    if (reader == NULL) {
        reader = calloc(1, sizeof *reader);
        FX_ASSERT(reader != NULL);
        reader->content = fx_content_new(work->request->writer);
        reader->room = malloc(FX_READER_ROOM_BYTES);
        FX_ASSERT(reader->room != NULL);
    }
    return reader;
}

static void
give_reader(fx_walk_state *work, fx_reader *reader)
{
    (void)pthread_mutex_lock(&work->lock);
    reader->next = work->readers;
    work->readers = reader;
    (void)pthread_mutex_unlock(&work->lock);
}

void
fx_readers_free(fx_reader *readers)
{
    while (readers != NULL) {
        fx_reader *next = readers->next;
        fx_content_free(readers->content);
        free(readers->room);
        free(readers);
        readers = next;
    }
}

static void
count_step(void *ctx, uint64_t read_bytes)
{
    fx_walk_count(ctx, read_bytes, false);
}

/* Failures of the repository end the walk. */
static void
read_range(file_job *file, part *one, off_t from, off_t to)
{
    fx_walk_state *work = file->folder->work;
    const fx_events *events = work->request->events;
    fx_err err = {0};
    fx_reader *reader = take_reader(work);
    fx_read_request request = {
        .reading = &file->reading,
        .from = from,
        .to = to,
        .reader = reader,
        .cancel = events == NULL ? NULL : events->cancel,
        .progress = count_step,
        .ctx = work,
    };
    if (fx_read_part(&request, &one->node, &one->result, &err) != FX_OK) {
        fx_walk_fail(work, &err);
    }
    give_reader(work, reader);
}

/* What is known of the whole file once its parts are read. */
static void
settle(file_job *file, const fx_read_result *result, fx_node *content)
{
    fx_folder *folder = file->folder;
    fx_walk_state *work = folder->work;
    fx_node *node = &folder->nodes[file->place];
    const char *name = folder->names[file->place];
    if (result->outcome == FX_READ_UNREADABLE || result->outcome == FX_READ_GONE) {
        if (result->outcome == FX_READ_UNREADABLE) {
            fx_walk_warn_err(work, folder, name, &result->reason);
        } else {
            fx_walk_warn_gone(work, folder, name);
        }
        fx_node_deinit(node);
        *node = (fx_node){0};
        return;
    }
    if (result->outcome == FX_READ_CHANGED) {
        fx_walk_warn(
            work, folder, name, "it changed while it was read: what is saved may be a mixture");
    }
    node->extents = content->extents;
    node->extent_count = content->extent_count;
    node->size_bytes = content->size_bytes;
    *content = (fx_node){0};
    fx_walk_count_file(work, node->size_bytes);
}

void
fx_file_save_now(fx_folder *folder, size_t place, const struct stat *info)
{
    file_job file = {.folder = folder, .place = place};
    part whole = {.file = &file};
    whole.result = fx_read_open(folder->fd, folder->names[place], info, &file.reading);
    if (whole.result.outcome == FX_READ_DONE) {
        read_range(&file, &whole, 0, file.reading.before.st_size);
        fx_read_outcome closed = fx_read_close(&file.reading);
        if (whole.result.outcome == FX_READ_DONE) {
            whole.result.outcome = closed;
        }
    }
    if (!atomic_load(&folder->work->is_failing)) {
        settle(&file, &whole.result, &whole.node);
    }
    fx_node_deinit(&whole.node);
}

static void
read_whole(void *ctx)
{
    file_job *file = ctx;
    fx_folder *folder = file->folder;
    if (!atomic_load(&folder->work->is_failing)) {
        fx_file_save_now(folder, file->place, &file->seen);
    }
    free(file);
    fx_folder_leave(folder, true);
}

static off_t
part_end(const file_job *file, size_t index)
{
    off_t size = file->reading.before.st_size;
    off_t from = (off_t)PART_BYTES * (off_t)index;
    return size - from < PART_BYTES ? size : from + PART_BYTES;
}

/*
 * The parts' extents in order, holes that meet at a border made one. Where the file ended early for
 * one part and not for those behind it, it ends there: their content would lie at the wrong place.
 */
static void
join_parts(file_job *file, fx_node *out_content)
{
    size_t count = 0;
    for (size_t index = 0; index < file->part_count; index++) {
        count += file->parts[index].node.extent_count;
    }
    fx_extent *joined = calloc(count + 1, sizeof *joined);
    FX_ASSERT(joined != NULL);
    size_t used = 0;
    uint64_t size_bytes = 0;
    for (size_t index = 0; index < file->part_count; index++) {
        const fx_node *one = &file->parts[index].node;
        for (size_t at = 0; at < one->extent_count; at++) {
            if (used > 0 && joined[used - 1].is_hole && one->extents[at].is_hole) {
                joined[used - 1].size_bytes += one->extents[at].size_bytes;
            } else {
                joined[used++] = one->extents[at];
            }
        }
        size_bytes += one->size_bytes;
        if (size_bytes < (uint64_t)part_end(file, index)) {
            break;
        }
    }
    *out_content = (fx_node){.extents = joined, .extent_count = used, .size_bytes = size_bytes};
}

static void
finish_parts(file_job *file)
{
    fx_folder *folder = file->folder;
    fx_read_result result = {.outcome = fx_read_close(&file->reading)};
    for (size_t index = 0; index < file->part_count; index++) {
        const fx_read_result *one = &file->parts[index].result;
        if (one->outcome > result.outcome) {
            result = *one;
        }
    }
    fx_node content;
    join_parts(file, &content);
    if (!atomic_load(&folder->work->is_failing)) {
        settle(file, &result, &content);
    }
    fx_node_deinit(&content);
    for (size_t index = 0; index < file->part_count; index++) {
        fx_node_deinit(&file->parts[index].node);
    }
    free(file->parts);
    free(file);
    fx_folder_leave(folder, true);
}

static void
read_one_part(void *ctx)
{
    part *one = ctx;
    file_job *file = one->file;
    off_t from = (off_t)PART_BYTES * (one - file->parts);
    off_t to = part_end(file, (size_t)(one - file->parts));
    if (!atomic_load(&file->folder->work->is_failing)) {
        read_range(file, one, from, to);
    }
    if (atomic_fetch_sub(&file->left, 1) == 1) {
        finish_parts(file);
    }
}

/* false: it cannot be opened, and is settled. */
static bool
open_for_parts(file_job *file)
{
    fx_folder *folder = file->folder;
    fx_read_result opened =
        fx_read_open(folder->fd, folder->names[file->place], &file->seen, &file->reading);
    if (opened.outcome != FX_READ_DONE) {
        fx_node none = {0};
        settle(file, &opened, &none);
        return false;
    }
    off_t size = file->reading.before.st_size;
    file->part_count = size == 0 ? 1 : (size_t)((size + PART_BYTES - 1) / PART_BYTES);
    file->parts = calloc(file->part_count, sizeof *file->parts);
    FX_ASSERT(file->parts != NULL);
    atomic_init(&file->left, file->part_count);
    return true;
}

void
fx_file_save(fx_folder *folder, size_t place, const struct stat *info)
{
    fx_walk_state *work = folder->work;
    file_job *file = calloc(1, sizeof *file);
    FX_ASSERT(file != NULL);
    file->folder = folder;
    file->place = place;
    file->seen = *info;
    (void)atomic_fetch_add(&folder->users, 1);
    (void)atomic_fetch_add(&folder->pending, 1);
    if (info->st_size <= PART_BYTES) {
        fx_pool_submit(work->pool, read_whole, file);
        return;
    }
    if (!open_for_parts(file)) {
        free(file);
        fx_folder_leave(folder, true);
        return;
    }
    /* The last part's thread frees them. */
    part *parts = file->parts;
    size_t count = file->part_count;
    for (size_t index = 0; index < count; index++) {
        parts[index].file = file;
    }
    for (size_t index = 0; index < count; index++) {
        fx_pool_submit(work->pool, read_one_part, &parts[index]);
    }
}
