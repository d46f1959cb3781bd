/* Chunks in memory instead of the engine: for the tests of what is made of chunks. Include once a
 * program. */
#pragma once

#include "common/repository/repository.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { MEMORY_CHUNKS_MAX = 4096 };

/* A chunk's id is its number here: equal contents get the same one. */
static struct {
    unsigned char *data;
    size_t size_bytes;
} memory_chunks[MEMORY_CHUNKS_MAX];
static size_t memory_chunk_count;
static pthread_mutex_t memory_lock = PTHREAD_MUTEX_INITIALIZER;

fx_code
fx_writer_add_chunk(
    fx_writer *writer, fx_chunk_kind kind, fx_bytes content, fx_chunk_id *out_id, fx_err *err)
{
    (void)writer;
    (void)kind;
    (void)pthread_mutex_lock(&memory_lock);
    size_t number = 0;
    while (number < memory_chunk_count &&
           (memory_chunks[number].size_bytes != content.size_bytes ||
            memcmp(memory_chunks[number].data, content.data, content.size_bytes) != 0)) {
        number++;
    }
    if (number == MEMORY_CHUNKS_MAX) {
        (void)pthread_mutex_unlock(&memory_lock);
        return fx_fail(err, FX_ERR_LIMIT, "could not store a chunk: too many");
    }
    if (number == memory_chunk_count) {
        memory_chunks[number].data = malloc(content.size_bytes + 1);
        FX_ASSERT(memory_chunks[number].data != NULL);
        memcpy(memory_chunks[number].data, content.data, content.size_bytes);
        memory_chunks[number].size_bytes = content.size_bytes;
        memory_chunk_count++;
    }
    (void)pthread_mutex_unlock(&memory_lock);
    *out_id = (fx_chunk_id){{0}};
    memcpy(out_id->bytes, &number, sizeof number);
    return FX_OK;
}

fx_code
fx_repository_read_chunk(
    const fx_chunks *chunks, const fx_chunk_id *id, fx_buf *out_content, fx_err *err)
{
    (void)chunks;
    size_t number = 0;
    memcpy(&number, id->bytes, sizeof number);
    if (number >= memory_chunk_count) {
        return fx_fail(err, FX_ERR_NOT_FOUND, "could not read chunk %zu: not there", number);
    }
    return fx_buf_append(
        out_content, memory_chunks[number].data, memory_chunks[number].size_bytes, err);
}

static void
memory_forget(void)
{
    while (memory_chunk_count > 0) {
        free(memory_chunks[--memory_chunk_count].data);
    }
}
