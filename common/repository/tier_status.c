#include <stdio.h>

#include "common/repository/forgotten.h"
#include "common/repository/replication.h"

static void
add_missing(const fx_stored_list *list, const fx_stored_list *there, fx_tier_status *status)
{
    for (size_t i = 0; i < list->count; i++) {
        if (fx_stored_find(there, list->items[i].store_key) == NULL) {
            status->missing_count++;
            status->missing_bytes += list->items[i].size_bytes;
        }
    }
}

static fx_code
count_missing(fx_store *from, fx_store *to, const char *prefix, fx_tier_status *status, fx_err *err)
{
    fx_stored_list list = {0};
    fx_stored_list there = {0};
    fx_code code = fx_stored_list_read(from, prefix, &list, err);
    if (code == FX_OK) {
        code = fx_stored_list_read(to, prefix, &there, err);
    }
    add_missing(&list, &there, status);
    fx_stored_list_free(&list);
    fx_stored_list_free(&there);
    return code;
}

static void
count_snapshot(
    const fx_snapshot *snapshot,
    const fx_stored *here,
    const fx_stored_list *there,
    const fx_id_set *forgotten,
    fx_tier_status *status)
{
    fx_chunk_id id;
    bool is_there = fx_stored_find(there, here->store_key) != NULL;
    if (!fx_replication_id(here->store_key, &id) || fx_id_set_has(forgotten, &id)) {
        return;
    }
    if (is_there) {
        status->newest = snapshot->ended.ns > status->newest.ns ? snapshot->ended : status->newest;
        return;
    }
    status->missing_snapshot_count++;
    status->missing_count++;
    status->missing_bytes += here->size_bytes;
    if (status->oldest_missing.ns == 0 || snapshot->ended.ns < status->oldest_missing.ns) {
        status->oldest_missing = snapshot->ended;
    }
}

static fx_code
compare_snapshots(fx_repository *source, fx_store *to, fx_tier_status *status, fx_err *err)
{
    fx_snapshot_list snapshots = {0};
    fx_stored_list list = {0};
    fx_stored_list there = {0};
    fx_id_set forgotten = {0};
    size_t unreadable_count = 0;
    if (fx_repository_list(source, &snapshots, &unreadable_count, err) != FX_OK) {
        return err->code;
    }
    fx_code code = fx_stored_list_read(source->store, "snapshots/", &list, err);
    if (code == FX_OK) {
        code = fx_stored_list_read(to, "snapshots/", &there, err);
    }
    if (code == FX_OK) {
        code = fx_forgotten_read(to, &forgotten, err);
    }
    status->snapshot_count = there.count;
    for (size_t i = 0; code == FX_OK && i < snapshots.count; i++) {
        char store_key[FX_KEY_TEXT_BYTES];
        (void)snprintf(store_key, sizeof store_key, "snapshots/%s", snapshots.items[i].id);
        const fx_stored *here = fx_stored_find(&list, store_key);
        if (here != NULL) {
            count_snapshot(&snapshots.items[i], here, &there, &forgotten, status);
        }
    }
    fx_snapshot_list_free(&snapshots);
    fx_stored_list_free(&list);
    fx_stored_list_free(&there);
    fx_id_set_free(&forgotten);
    return code;
}

fx_code
fx_repository_tier_status(
    const char *from_url, const char *to_url, fx_tier_status *out_status, fx_err *err)
{
    FX_AUTO(fx_repository) source = NULL;
    FX_AUTO(fx_store) to = NULL;
    FX_BUF_AUTO config;
    fx_tier_status status = {0};
    fx_buf_init(&config, FX_REPLICATION_CONFIG_MAX_BYTES);
    if (fx_repository_open(from_url, NULL, &source, err) != FX_OK ||
        fx_store_open(to_url, &to, err) != FX_OK ||
        fx_replication_compare_config(source->store, to, &config, &status.is_there, err) != FX_OK ||
        compare_snapshots(source, to, &status, err) != FX_OK ||
        count_missing(source->store, to, "gaps/", &status, err) != FX_OK ||
        count_missing(source->store, to, "streams/", &status, err) != FX_OK) {
        return err->code;
    }
    /* Packs and indexes go with snapshots that need them. */
    if (status.missing_snapshot_count > 0 &&
        (count_missing(source->store, to, "packs/", &status, err) != FX_OK ||
         count_missing(source->store, to, "indexes/", &status, err) != FX_OK ||
         count_missing(source->store, to, "verified/", &status, err) != FX_OK)) {
        return err->code;
    }
    *out_status = status;
    return FX_OK;
}
