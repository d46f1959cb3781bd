#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/repository/replication.h"

fx_code
fx_replication_copy_missing(
    fx_replication *work,
    const fx_stored_list *there,
    const fx_stored_list *list,
    fx_copy_result *result,
    fx_err *err)
{
    const fx_stored **items = calloc(list->count + 1, sizeof(const fx_stored *));
    FX_ASSERT(items != NULL);
    size_t count = 0;
    uint64_t all_bytes = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (fx_stored_find(there, list->items[i].store_key) == NULL) {
            items[count++] = &list->items[i];
            all_bytes += list->items[i].size_bytes;
        }
    }
    fx_code code = FX_OK;
    if (work->options->dry_run) {
        result->copied_count += count;
        result->copied_bytes += all_bytes;
    } else {
        fx_copier_expect(work->copier, all_bytes, list == &work->packs);
        code = fx_copier_run(work->copier, items, count, result, err);
    }
    free(items);
    return code;
}

fx_code
fx_replication_copy_prefix(fx_replication *work, const char *prefix, fx_err *err)
{
    fx_stored_list list = {0};
    fx_stored_list there = {0};
    if (fx_stored_list_read(work->from, prefix, &list, err) != FX_OK) {
        return fx_err_wrap(err, "at the source");
    }
    fx_code code = fx_stored_list_read(work->to, prefix, &there, err);
    if (code == FX_OK) {
        code = fx_replication_copy_missing(work, &there, &list, &work->copied, err);
    }
    fx_stored_list_free(&list);
    fx_stored_list_free(&there);
    return code;
}

fx_code
fx_replication_compare_config(
    fx_store *from, fx_store *to, fx_buf *config, bool *out_is_there, fx_err *err)
{
    FX_BUF_AUTO there;
    fx_buf_init(&there, FX_REPLICATION_CONFIG_MAX_BYTES);
    fx_code code = fx_stored_get(from, "config", NULL, config, err);
    if (code == FX_ERR_NOT_FOUND) {
        return fx_fail(err, FX_ERR_NOT_FOUND, "could not copy: there is no repository to copy");
    }
    if (code != FX_OK) {
        return fx_err_wrap(err, "at the source");
    }
    fx_err failure = {0};
    code = fx_stored_get(to, "config", NULL, &there, &failure);
    *out_is_there = code == FX_OK;
    if (code != FX_OK && code != FX_ERR_NOT_FOUND) {
        *err = failure;
        return fx_err_wrap(err, "at the target");
    }
    if (*out_is_there && (there.size_bytes != config->size_bytes ||
                          memcmp(there.data, config->data, there.size_bytes) != 0)) {
        return fx_fail(
            err,
            FX_ERR_CONFLICT,
            "could not copy: the target is another repository; a tier is made by copying alone");
    }
    return FX_OK;
}

/* As in a new repository, the config last. */
fx_code
fx_replication_copy_identity(fx_replication *work, fx_err *err)
{
    FX_BUF_AUTO config;
    bool is_there = false;
    fx_buf_init(&config, FX_REPLICATION_CONFIG_MAX_BYTES);
    if (fx_replication_compare_config(work->from, work->to, &config, &is_there, err) != FX_OK ||
        fx_replication_copy_prefix(work, "keys/", err) != FX_OK ||
        fx_replication_copy_prefix(work, "erasures/", err) != FX_OK) {
        return err->code;
    }
    const fx_stored item = {.store_key = (char[]){"config"}, .size_bytes = config.size_bytes};
    const fx_stored_list list = {.items = (fx_stored[]){item}, .count = is_there ? 0 : 1};
    const fx_stored_list none = {0};
    return fx_replication_copy_missing(work, &none, &list, &work->copied, err);
}

/* Adds a snapshot of the tier to the settlement of its lease, if that is one of `fresh`. */
static fx_code
add_present(
    const fx_replication *work,
    const char *store_key,
    fx_settlements *fresh,
    bool *is_larger,
    fx_err *err)
{
    FX_BUF_AUTO bytes;
    FX_AUTO(fx_object) object = NULL;
    fx_err failure = {0};
    fx_snapshot header;
    fx_chunk_id id;
    fx_buf_init(&bytes, FX_SNAPSHOT_OBJECT_MAX_BYTES);
    fx_code code = fx_stored_get(work->to, store_key, NULL, &bytes, &failure);
    fx_bytes all = fx_buf_bytes(&bytes);
    if (code == FX_OK) {
        code = fx_object_parse(all, all, all.size_bytes, &object, &failure);
    }
    if (code == FX_OK) {
        code = fx_snapshot_decode(object, store_key, &header, &failure);
    }
    for (size_t i = 0; code == FX_OK && i < fresh->count; i++) {
        if (strcmp(fresh->items[i].id, header.lease) == 0 && fx_replication_id(store_key, &id)) {
            is_larger[i] = fx_id_set_add(&fresh->items[i].snapshots, &id) || is_larger[i];
        }
    }
    /* One that cannot be read counts nowhere; one that is gone was forgotten. */
    if (code == FX_OK || code == FX_ERR_NOT_FOUND || code == FX_ERR_DAMAGED ||
        code == FX_ERR_UNSUPPORTED || code == FX_ERR_LIMIT) {
        return FX_OK;
    }
    *err = failure;
    return code;
}

/* Leaves those that the tier does not have and that can be read. */
static void
keep_fresh(fx_settlements *settled, const fx_stored_list *there)
{
    size_t kept = 0;
    for (size_t i = 0; i < settled->count; i++) {
        char store_key[FX_KEY_TEXT_BYTES];
        fx_settlement one = settled->items[i];
        (void)snprintf(store_key, sizeof store_key, "settled/%s", one.id);
        if (one.is_damaged || fx_stored_find(there, store_key) != NULL) {
            fx_id_set_free(&one.snapshots);
        } else {
            settled->items[kept++] = one;
        }
    }
    settled->count = kept;
}

/*
 * What a snapshot needs that is listed in the tier is there, whatever the source says of its
 * writer; and who may put into the source could say it of any: in the tier it counts on. `there`:
 * settlements of the tier.
 */
static fx_code
settle_present(fx_replication *work, const fx_stored_list *there, fx_err *err)
{
    fx_settlements fresh = {0};
    fx_stored_list snapshots = {0};
    if (fx_settlements_read(work->from, &fresh, err) != FX_OK) {
        return err->code;
    }
    keep_fresh(&fresh, there);
    bool *is_larger = calloc(fresh.count + 1, sizeof *is_larger);
    FX_ASSERT(is_larger != NULL);
    fx_code code = FX_OK;
    if (fresh.count > 0) {
        code = fx_stored_list_read(work->to, "snapshots/", &snapshots, err);
    }
    for (size_t i = 0; code == FX_OK && i < snapshots.count; i++) {
        code = add_present(work, snapshots.items[i].store_key, &fresh, is_larger, err);
    }
    for (size_t i = 0; code == FX_OK && i < fresh.count; i++) {
        if (is_larger[i] && !work->options->dry_run) {
            code = fx_lease_settle(work->to, fresh.items[i].id, &fresh.items[i].snapshots, err);
        }
    }
    free(is_larger);
    fx_stored_list_free(&snapshots);
    fx_settlements_free(&fresh);
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "settling what is in the tier");
}

/*
 * What the source said of its revoked writers: their snapshots that count must not become void, and
 * who reads a late index object must see that something was revoked. What was not said yet is not
 * copied: a collector at the target would say it anew, of the snapshots there.
 */
fx_code
fx_replication_copy_settlements(fx_replication *work, fx_err *err)
{
    fx_stored_list settled = {0};
    fx_stored_list revoked = {0};
    fx_stored_list there = {0};
    fx_stored_list known = {0};
    fx_code code = fx_stored_list_read(work->from, "settled/", &settled, err);
    if (code == FX_OK) {
        code = fx_stored_list_read(work->to, "settled/", &there, err);
    }
    if (code == FX_OK) {
        code = settle_present(work, &there, err);
    }
    if (code == FX_OK) { /* with those that were put just now */
        fx_stored_list_free(&there);
        code = fx_stored_list_read(work->to, "settled/", &there, err);
    }
    if (code == FX_OK) {
        code = fx_replication_copy_missing(work, &there, &settled, &work->copied, err);
    }
    if (code == FX_OK) {
        code = fx_stored_list_read(work->from, "revocations/", &revoked, err);
    }
    if (code == FX_OK) {
        code = fx_stored_list_read(work->to, "revocations/", &known, err);
    }
    size_t kept = 0;
    for (size_t i = 0; i < revoked.count; i++) {
        char store_key[FX_KEY_TEXT_BYTES];
        fx_stored item = revoked.items[i];
        const char *id = strchr(item.store_key, '/') + 1;
        (void)snprintf(store_key, sizeof store_key, "settled/%.400s", id);
        if (fx_stored_find(&settled, store_key) != NULL) {
            revoked.items[kept++] = item;
        } else {
            free(item.store_key);
        }
    }
    revoked.count = kept;
    if (code == FX_OK) {
        code = fx_replication_copy_missing(work, &known, &revoked, &work->copied, err);
    }
    fx_stored_list_free(&settled);
    fx_stored_list_free(&revoked);
    fx_stored_list_free(&there);
    fx_stored_list_free(&known);
    return code;
}

fx_code
fx_replication_copy_indexes(fx_replication *work, fx_err *err)
{
    fx_stored_list there = {0};
    fx_copy_result result = {0};
    if (fx_stored_list_read(work->to, "indexes/", &there, err) != FX_OK) {
        return err->code;
    }
    fx_code code = fx_replication_copy_missing(work, &there, &work->indexes, &result, err);
    fx_stored_list_free(&there);
    work->copied.copied_count += result.copied_count;
    work->copied.copied_bytes += result.copied_bytes;
    work->copied.damaged_count += result.damaged_count;
    if (code == FX_OK && result.gone_count > 0) {
        code = fx_fail(
            err,
            FX_ERR_BUSY,
            "could not copy: a collector at the source made its indexes anew; run it again");
    }
    return code;
}

fx_code
fx_replication_copy_streams(fx_replication *work, fx_err *err)
{
    fx_stored_list list = {0};
    fx_stored_list there = {0};
    if (fx_stored_list_read(work->from, "streams/", &list, err) != FX_OK ||
        fx_stored_list_read(work->to, "streams/", &there, err) != FX_OK) {
        fx_stored_list_free(&list);
        return err->code;
    }
    for (size_t i = 0; i < list.count; i++) {
        const fx_stored *other = fx_stored_find(&there, list.items[i].store_key);
        if (other != NULL && other->size_bytes != list.items[i].size_bytes) {
            char text[FX_KEY_TEXT_BYTES + 80];
            (void)snprintf(
                text,
                sizeof text,
                "%s: not copied: another object of that name is there",
                list.items[i].store_key);
            fx_replication_find(work, text);
            work->copied.damaged_count++;
        }
    }
    fx_code code = fx_replication_copy_missing(work, &there, &list, &work->copied, err);
    fx_stored_list_free(&list);
    fx_stored_list_free(&there);
    return code;
}
