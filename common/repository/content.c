/* A file's bytes as extents: runs of zeros become holes, the rest is cut into chunks. */
#include "common/repository/chunker.h"
#include "common/repository/tree.h"

#include <string.h>

/*
 * Content is looked at in windows that lie at multiples of their size in the file; a window of
 * zeros is a hole. Smaller ones would break the chunks of ordinary files into crumbs.
 */
enum { CONTENT_WINDOW_BYTES = 64 * 1024, PAGES_WINDOW_BYTES = 128 * 1024 };

/* At 600 KiB each, a file of some 40 TiB. */
enum { EXTENTS_MAX = 1 << 26 };

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
    uint64_t size_bytes; /* sum of the extents */
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
    return content;
}

void
fx_content_free(fx_content *content)
{
    if (content != NULL) {
        free(content->extents);
        free(content->chunk);
        free(content);
    }
}

void
fx_content_begin(fx_content *content, fx_cut cut)
{
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
add_extent(fx_content *content, const fx_extent *extent, fx_err *err)
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
end_chunk(fx_content *content, fx_err *err)
{
    if (content->chunk_bytes == 0) {
        return FX_OK;
    }
    fx_extent extent = {.size_bytes = content->chunk_bytes};
    fx_bytes bytes = {content->chunk, content->chunk_bytes};
    if (fx_writer_add_chunk(content->writer, FX_CHUNK_DATA, bytes, &extent.chunk, err) != FX_OK) {
        return err->code;
    }
    content->chunk_bytes = 0;
    fx_chunker_reset(&content->chunker);
    return add_extent(content, &extent, err);
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
        if (is_end && end_chunk(content, err) != FX_OK) {
            return err->code;
        }
    }
    return FX_OK;
}

static fx_code
put_hole(fx_content *content, uint64_t size_bytes, fx_err *err)
{
    if (end_chunk(content, err) != FX_OK) {
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
    if (end_chunk(content, err) != FX_OK) {
        return err->code;
    }
    node->extents = FX_TAKE(content->extents);
    node->extent_count = content->extent_count;
    node->size_bytes = content->size_bytes;
    content->extent_count = 0;
    content->extent_room = 0;
    return FX_OK;
}
