#include "tests/support/shelf.h"

#include <stdio.h>
#include <string.h>

struct fx_repository {
    char url[128]; /* "": free */
    fx_snapshot snapshots[FX_SHELF_SNAPSHOT_MAX];
    size_t count;
    size_t unreadable_count;
};

static fx_repository shelf[FX_SHELF_MAX];

static fx_repository *
find(const char *url)
{
    for (size_t i = 0; i < FX_SHELF_MAX; i++) {
        if (strcmp(shelf[i].url, url) == 0) {
            return &shelf[i];
        }
    }
    return NULL;
}

void
fx_shelf_put(const char *url, const fx_snapshot *snapshots, size_t count, size_t unreadable_count)
{
    fx_repository *to = find(url) != NULL ? find(url) : find("");
    FX_ASSERT(to != NULL);
    FX_ASSERT(count <= FX_SHELF_SNAPSHOT_MAX);
    *to = (fx_repository){.count = count, .unreadable_count = unreadable_count};
    (void)snprintf(to->url, sizeof to->url, "%s", url);
    for (size_t i = 0; i < count; i++) {
        to->snapshots[i] = snapshots[i];
    }
}

void
fx_shelf_lose(const char *url)
{
    fx_repository *lost = find(url);
    FX_ASSERT(lost != NULL);
    lost->url[0] = '\0';
}

fx_code
fx_repository_open(
    const char *url, const fx_repository_key *key, fx_repository **out_repository, fx_err *err)
{
    FX_ASSERT(key == NULL);
    fx_repository *found = find(url);
    if (found == NULL) {
        return fx_fail(err, FX_ERR_NOT_FOUND, "could not open repository \"%.80s\"", url);
    }
    *out_repository = found;
    return FX_OK;
}

void
fx_repository_free(fx_repository *repository)
{
    (void)repository; /* the shelf keeps it */
}

fx_code
fx_repository_list(
    fx_repository *repository,
    fx_snapshot_list *out_list,
    size_t *out_unreadable_count,
    fx_err *err)
{
    (void)err;
    fx_snapshot *items = calloc(repository->count + 1, sizeof *items);
    FX_ASSERT(items != NULL);
    for (size_t i = 0; i < repository->count; i++) {
        items[i] = repository->snapshots[i];
    }
    *out_list = (fx_snapshot_list){.items = items, .count = repository->count};
    *out_unreadable_count = repository->unreadable_count;
    return FX_OK;
}

void
fx_snapshot_list_free(fx_snapshot_list *list)
{
    free(list->items);
    *list = (fx_snapshot_list){.items = NULL};
}
