/* A file's bytes as extents: runs of zeros become holes, the rest is cut into chunks. */
#include "common/repository/chunker.h"
#include "common/repository/tree.h"

#include <pthread.h>
#include <string.h>

/*
 * Content is looked at in windows that lie at multiples of their size in the file; a window of
 * zeros is a hole. Smaller ones would break the chunks of ordinary files into crumbs.
 */
enum { CONTENT_WINDOW_BYTES = 64 * 1024, PAGES_WINDOW_BYTES = 128 * 1024 };

/* At 600 KiB each, a file of some 40 TiB. */
enum { EXTENTS_MAX = 1 << 26 };

enum { JOBS_MAX = 4 }; /* chunks of one file that are stored at once: up to 16 MiB */

/* A chunk that a thread of the pool stores. */
typedef struct chunk_job {
    fx_content *content;
    unsigned char *chunk; /* FX_CHUNK_MAX_BYTES of room */
    size_t chunk_bytes;
    size_t extent; /* its number */
    struct chunk_job *next_free;
} chunk_job;

struct fx_content {
    fx_writer *writer;
    fx_cut cut;
    fx_chunker chunker;
    unsigned char *chunk; /* the chunk so far: FX_CHUNK_MAX_BYTES of room */
    size_t chunk_bytes;
    unsigned char window[PAGES_WINDOW_BYTES];
    size_t window_bytes; /* filled so far */
    fx_extent *extents;
    size_t extent_count;
    size_t extent_room;
    uint64_t size_bytes;  /* sum of the extents */
    fx_pool *pool;        /* NULL: chunks are stored at once */
    pthread_mutex_t lock; /* with a pool: guards the extents and the next three */
    pthread_cond_t is_stored;
    chunk_job jobs[JOBS_MAX];
    chunk_job *free_jobs;
    size_t running;
    fx_err failure; /* the first of this file */
};

static const unsigned char zeros[PAGES_WINDOW_BYTES];

fx_content *
fx_content_new(fx_writer *writer)
{
    fx_content *content = calloc(1, sizeof *content);
    FX_ASSERT(content != NULL);
    content->chunk = malloc(FX_CHUNK_MAX_BYTES);
    FX_ASSERT(content->chunk != NULL);
    content->writer = writer;
    fx_chunker_init(&content->chunker);
    int result = pthread_mutex_init(&content->lock, NULL);
    FX_ASSERT(result == 0);
    result = pthread_cond_init(&content->is_stored, NULL);
    FX_ASSERT(result == 0);
    return content;
}

void
fx_content_use_pool(fx_content *content, fx_pool *pool)
{
    FX_ASSERT(content->pool == NULL);
    content->pool = pool;
    for (size_t index = 0; index < JOBS_MAX; index++) {
        chunk_job *job = &content->jobs[index];
        job->content = content;
        job->chunk = malloc(FX_CHUNK_MAX_BYTES);
        FX_ASSERT(job->chunk != NULL);
        job->next_free = content->free_jobs;
        content->free_jobs = job;
    }
}

/* Until no thread stores a chunk of this file. */
static void
await_jobs(fx_content *content)
{
    (void)pthread_mutex_lock(&content->lock);
    while (content->running > 0) {
        (void)pthread_cond_wait(&content->is_stored, &content->lock);
    }
    (void)pthread_mutex_unlock(&content->lock);
}

void
fx_content_free(fx_content *content)
{
    if (content != NULL) {
        await_jobs(content);
        for (size_t index = 0; index < JOBS_MAX; index++) {
            free(content->jobs[index].chunk);
        }
        (void)pthread_mutex_destroy(&content->lock);
        (void)pthread_cond_destroy(&content->is_stored);
        free(content->extents);
        free(content->chunk);
        free(content);
    }
}

void
fx_content_begin(fx_content *content, fx_cut cut)
{
    await_jobs(content); /* of a file that was given up */
    content->failure = (fx_err){0};
    free(content->extents);
    content->extents = NULL;
    content->extent_count = 0;
    content->extent_room = 0;
    content->size_bytes = 0;
    content->chunk_bytes = 0;
    content->window_bytes = 0;
    content->cut = cut;
    fx_chunker_reset(&content->chunker);
}

static size_t
window_size(const fx_content *content)
{
    return content->cut == FX_CUT_PAGES ? PAGES_WINDOW_BYTES : CONTENT_WINDOW_BYTES;
}

static fx_code
append_extent(fx_content *content, const fx_extent *extent, fx_err *err)
{
    fx_extent *last =
        content->extents == NULL ? NULL : &content->extents[content->extent_count - 1];
    content->size_bytes += extent->size_bytes;
    if (last != NULL && last->is_hole && extent->is_hole) {
        last->size_bytes += extent->size_bytes;
        return FX_OK;
    }
    if (content->extent_count == EXTENTS_MAX) {
        return fx_fail(err, FX_ERR_LIMIT, "could not save a file: more than %d parts", EXTENTS_MAX);
    }
    if (content->extent_count == content->extent_room) {
        size_t room = content->extent_room == 0 ? 4 : content->extent_room * 2;
        fx_extent *grown = realloc(content->extents, room * sizeof *grown);
        if (grown == NULL) {
            return fx_fail(
                err, FX_ERR_LIMIT, "could not save a file: no memory for %zu parts", room);
        }
        content->extents = grown;
        content->extent_room = room;
    }
    FX_ASSERT(content->extents != NULL);
    content->extents[content->extent_count++] = *extent;
    return FX_OK;
}

static fx_code
add_extent(fx_content *content, const fx_extent *extent, fx_err *err)
{
    (void)pthread_mutex_lock(&content->lock);
    fx_code code = append_extent(content, extent, err);
    (void)pthread_mutex_unlock(&content->lock);
    return code;
}

static fx_code
store_chunk(fx_content *content, fx_err *err)
{
    fx_extent extent = {.size_bytes = content->chunk_bytes};
    fx_bytes bytes = {content->chunk, content->chunk_bytes};
    if (fx_writer_add_chunk(content->writer, FX_CHUNK_DATA, bytes, &extent.chunk, err) != FX_OK) {
        return err->code;
    }
    return add_extent(content, &extent, err);
}

/* On a thread of the pool. */
static void
run_job(void *ctx)
{
    chunk_job *job = ctx;
    fx_content *content = job->content;
    fx_err err = {0};
    fx_chunk_id id;
    fx_bytes bytes = {job->chunk, job->chunk_bytes};
    fx_code code = fx_writer_add_chunk(content->writer, FX_CHUNK_DATA, bytes, &id, &err);
    (void)pthread_mutex_lock(&content->lock);
    if (code == FX_OK) {
        content->extents[job->extent].chunk = id;
    } else if (content->failure.code == FX_OK) {
        content->failure = err;
    }
    job->next_free = content->free_jobs;
    content->free_jobs = job;
    content->running--;
    (void)pthread_cond_signal(&content->is_stored);
    (void)pthread_mutex_unlock(&content->lock);
}

/* Leaves the chunk to the pool: its extent gets the id later. */
static fx_code
hand_over(fx_content *content, fx_err *err)
{
    fx_extent extent = {.size_bytes = content->chunk_bytes};
    (void)pthread_mutex_lock(&content->lock);
    while (content->free_jobs == NULL) {
        (void)pthread_cond_wait(&content->is_stored, &content->lock);
    }
    fx_code code = content->failure.code;
    if (code != FX_OK) {
        *err = content->failure;
    } else {
        code = append_extent(content, &extent, err);
    }
    chunk_job *job = content->free_jobs;
    if (code == FX_OK) {
        content->free_jobs = job->next_free;
        content->running++;
        job->extent = content->extent_count - 1;
    }
    (void)pthread_mutex_unlock(&content->lock);
    if (code == FX_OK) {
        unsigned char *room = job->chunk;
        job->chunk = content->chunk;
        job->chunk_bytes = content->chunk_bytes;
        content->chunk = room;
        fx_pool_submit(content->pool, run_job, job);
    }
    return code;
}

static fx_code
end_chunk(fx_content *content, bool is_last, fx_err *err)
{
    if (content->chunk_bytes == 0) {
        return FX_OK;
    }
    /* The last one of a file would only be waited for. */
    fx_code code =
        content->pool == NULL || is_last ? store_chunk(content, err) : hand_over(content, err);
    content->chunk_bytes = 0;
    fx_chunker_reset(&content->chunker);
    return code;
}

static fx_code
add_to_chunk(fx_content *content, fx_bytes bytes, fx_err *err)
{
    const unsigned char *data = bytes.data;
    size_t left_bytes = bytes.size_bytes;
    while (left_bytes > 0) {
        bool is_end = content->cut == FX_CUT_PAGES; /* a window is a page block */
        size_t took_bytes = left_bytes;
        if (content->cut == FX_CUT_CONTENT) {
            took_bytes = fx_chunker_take(&content->chunker, (fx_bytes){data, left_bytes}, &is_end);
        }
        FX_ASSERT(took_bytes <= FX_CHUNK_MAX_BYTES - content->chunk_bytes);
        memcpy(content->chunk + content->chunk_bytes, data, took_bytes);
        content->chunk_bytes += took_bytes;
        data += took_bytes;
        left_bytes -= took_bytes;
        if (is_end && end_chunk(content, false, err) != FX_OK) {
            return err->code;
        }
    }
    return FX_OK;
}

static fx_code
put_hole(fx_content *content, uint64_t size_bytes, fx_err *err)
{
    if (end_chunk(content, false, err) != FX_OK) {
        return err->code;
    }
    fx_extent hole = {.size_bytes = size_bytes, .is_hole = true};
    return add_extent(content, &hole, err);
}

/* A whole window, or the last piece of a file. */
static fx_code
put_window(fx_content *content, fx_bytes bytes, fx_err *err)
{
    if (memcmp(bytes.data, zeros, bytes.size_bytes) == 0) {
        return put_hole(content, bytes.size_bytes, err);
    }
    return add_to_chunk(content, bytes, err);
}

static fx_code
fill_window(fx_content *content, const unsigned char *data, size_t size_bytes, fx_err *err)
{
    memcpy(content->window + content->window_bytes, data, size_bytes);
    content->window_bytes += size_bytes;
    if (content->window_bytes < window_size(content)) {
        return FX_OK;
    }
    fx_bytes window = {content->window, content->window_bytes};
    content->window_bytes = 0;
    return put_window(content, window, err);
}

fx_code
fx_content_add(fx_content *content, fx_bytes bytes, fx_err *err)
{
    const unsigned char *data = bytes.data;
    size_t left_bytes = bytes.size_bytes;
    size_t whole_bytes = window_size(content);
    while (left_bytes > 0) {
        size_t room_bytes = whole_bytes - content->window_bytes;
        size_t step_bytes = left_bytes < room_bytes ? left_bytes : room_bytes;
        fx_code code = step_bytes == whole_bytes
                           ? put_window(content, (fx_bytes){data, step_bytes}, err)
                           : fill_window(content, data, step_bytes, err);
        if (code != FX_OK) {
            return code;
        }
        data += step_bytes;
        left_bytes -= step_bytes;
    }
    return FX_OK;
}

fx_code
fx_content_add_hole(fx_content *content, uint64_t size_bytes, fx_err *err)
{
    while (size_bytes > 0) {
        size_t whole_bytes = window_size(content);
        uint64_t step_bytes = whole_bytes - content->window_bytes;
        fx_code code = FX_OK;
        if (content->window_bytes == 0 && size_bytes >= whole_bytes) {
            step_bytes = size_bytes - size_bytes % whole_bytes;
            code = put_hole(content, step_bytes, err);
        } else {
            step_bytes = size_bytes < step_bytes ? size_bytes : step_bytes;
            code = fill_window(content, zeros, (size_t)step_bytes, err);
        }
        if (code != FX_OK) {
            return code;
        }
        size_bytes -= step_bytes;
    }
    return FX_OK;
}

fx_code
fx_content_end(fx_content *content, fx_node *node, fx_err *err)
{
    FX_ASSERT(node->extents == NULL);
    fx_bytes rest = {content->window, content->window_bytes};
    content->window_bytes = 0;
    if (rest.size_bytes > 0 && put_window(content, rest, err) != FX_OK) {
        return err->code;
    }
    if (end_chunk(content, true, err) != FX_OK) {
        return err->code;
    }
    await_jobs(content);
    if (content->failure.code != FX_OK) {
        *err = content->failure;
        return err->code;
    }
    node->extents = FX_TAKE(content->extents);
    node->extent_count = content->extent_count;
    node->size_bytes = content->size_bytes;
    content->extent_count = 0;
    content->extent_room = 0;
    return FX_OK;
}
