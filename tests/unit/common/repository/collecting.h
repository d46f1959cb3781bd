/* What tests of collections and tiers share: a repository, a backup forgotten, a collection, what
 * is left. Include once a program. */
#pragma once

#include "tests/unit/common/repository/engine.h"

#include "common/repository/collect.h"
#include "common/repository/internal.h"

static const fx_collect_options at_once = {.live_percent = 60};

static inline fx_code
forget(const char *url, const char *id, fx_err *err)
{
    FX_AUTO(fx_repository) repository = NULL;
    if (fx_repository_open(url, key, &repository, err) != FX_OK) {
        return err->code;
    }
    return fx_repository_forget(repository, id, err);
}

static inline void
new_repository(char url[URL_BYTES])
{
    fx_err err = {0};
    new_url(url);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
}

static inline fx_code
collect(
    const char *url, const fx_collect_options *options, fx_collect_report *out_report, fx_err *err)
{
    return fx_repository_collect(url, key, options, out_report, err);
}

static inline size_t
count_objects(const char *url, const char *part)
{
    size_t count = 0;
    object_count = 0;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread */
    assert_int_equal(nftw(url + strlen("posix:"), note_object, 16, FTW_PHYS), 0);
    for (size_t i = 0; i < object_count; i++) {
        count += strstr(objects[i], part) != NULL;
    }
    return count;
}

static inline void
expect_whole(const char *url, size_t snapshot_count)
{
    fx_err err = {0};
    fx_verify_report report = {0};
    assert_int_equal(verify(url, true, &report, &err), FX_OK);
    assert_int_equal(report.snapshot_count, snapshot_count);
}
