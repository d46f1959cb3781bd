/*
 * Copies objects from one store to another on several threads, each checked before it is put, all
 * together no faster than a limit.
 */
#pragma once

#include <stdatomic.h>

#include "common/repository/stored.h"

enum { FX_COPY_JOBS = 4, FX_COPY_JOBS_MAX = 64 };

typedef struct fx_copier fx_copier;

typedef struct fx_copy_options {
    fx_store *from; /* borrowed, like all here */
    fx_store *to;
    const fx_repository_key *key; /* NULL: streams are checked by their structure only */
    unsigned job_count;           /* 0: FX_COPY_JOBS */
    uint64_t limit_bytes_s;       /* 0: none */
    /* Something is wrong with an object; one call at a time. */
    void (*finding)(void *ctx, const char *text);
    fx_progress_function progress; /* likewise; or NULL */
    void *ctx;
    const atomic_bool *cancel; /* or NULL */
} fx_copy_options;

fx_copier *fx_copier_new(const fx_copy_options *options);
void fx_copier_free(fx_copier *copier);
FX_DEFINE_AUTO(fx_copier);

/* For the progress, whose total is not known before most of it is: what follows is little. */
void fx_copier_expect(fx_copier *copier, uint64_t more_bytes, bool is_most);

typedef struct fx_copy_result {
    uint64_t copied_count;
    uint64_t copied_bytes;
    uint64_t damaged_count; /* not copied: a finding each */
    uint64_t gone_count;    /* listed, but removed since */
} fx_copy_result;

/*
 * Copies what is listed; what is there already is left as it is. Adds to the result. One call at a
 * time. errors: the stores', CANCELLED; nothing more was begun then
 */
FX_MUST_USE fx_code fx_copier_run(
    fx_copier *copier,
    const fx_stored *const *items,
    size_t count,
    fx_copy_result *result,
    fx_err *err);

/* Waits until so many bytes more are within the limit. thread: any. errors: CANCELLED */
FX_MUST_USE fx_code fx_copier_wait(fx_copier *copier, uint64_t size_bytes, fx_err *err);

/* Tells one finding. thread: any */
void fx_copier_find(fx_copier *copier, const char *text);
