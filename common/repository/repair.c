#include <stdio.h>
#include <string.h>

#include "proto/repository.pb-c.h"

#include "common/base/clock.h"
#include "common/base/hex.h"
#include "common/base/pool.h"
#include "common/crypto/digest.h"
#include "common/repository/lease.h"
#include "common/repository/plain.h"
#include "common/repository/repairing.h"

static const char intent_prefix[] = "repairs/";

static bool
name_of(const char *store_key, fx_chunk_id *out_name)
{
    fx_err ignored = {0};
    const char *slash = strrchr(store_key, '/');
    return slash != NULL &&
           fx_hex_decode(slash + 1, out_name->bytes, sizeof out_name->bytes, &ignored) == FX_OK;
}

static bool
is_pack(const char *store_key)
{
    return strncmp(store_key, "packs/", strlen("packs/")) == 0;
}

void
fx_repairing_find(const fx_repairing *work, const char *text)
{
    if (work->options->finding != NULL) {
        work->options->finding(work->options->ctx, text);
    }
}

static bool
is_cancelled(const fx_repairing *work)
{
    return work->options->cancel != NULL && atomic_load(work->options->cancel);
}

bool
fx_repairing_add(fx_repairing *work, const char *store_key)
{
    fx_chunk_id digest;
    fx_sha256((fx_bytes){store_key, strlen(store_key)}, digest.bytes);
    if (!fx_id_set_add(&work->known, &digest)) {
        return false;
    }
    if ((work->wound_count & (work->wound_count - 1)) == 0) {
        work->wounds = realloc(work->wounds, (work->wound_count * 2 + 1) * sizeof *work->wounds);
        FX_ASSERT(work->wounds != NULL);
    }
    fx_wound *fresh = &work->wounds[work->wound_count++];
    *fresh = (fx_wound){.store_key = strdup(store_key)};
    FX_ASSERT(fresh->store_key != NULL);
    work->report->damaged_count++;
    return true;
}

void
fx_repairing_tell(
    const fx_repairing *work,
    const char *step,
    const char *what,
    uint64_t count,
    uint64_t total_count)
{
    const fx_progress progress = {
        .step = step, .what = what, .count = count, .total_count = total_count};
    if (work->options->progress != NULL) {
        work->options->progress(work->options->ctx, &progress);
    }
}

/* ---- looking
 * --------------------------------------------------------------------------------------- */

typedef struct looking {
    fx_repairing *work;
    const fx_stored *items;
} looking;

static bool
is_damage(fx_code code)
{
    return code == FX_ERR_DAMAGED || code == FX_ERR_UNSUPPORTED || code == FX_ERR_LIMIT ||
           code == FX_ERR_IO;
}

/* With the lock held. */
static void
note(fx_repairing *work, const fx_stored *item, fx_code code, const fx_err *err)
{
    fx_chunk_id name;
    work->report->checked_count++;
    work->report->checked_bytes += item->size_bytes;
    work->progress.count++;
    work->progress.done_bytes += item->size_bytes;
    if (code == FX_OK && is_pack(item->store_key) && name_of(item->store_key, &name)) {
        (void)fx_id_set_add(&work->good, &name);
    } else if (is_damage(code)) {
        char text[FX_REPAIR_TEXT_BYTES];
        (void)snprintf(text, sizeof text, "%s: damaged: %s", item->store_key, err->message);
        fx_repairing_find(work, text);
        (void)fx_repairing_add(work, item->store_key);
    }
    if (work->options->progress != NULL) {
        work->options->progress(work->options->ctx, &work->progress);
    }
}

/*
 * Whole, where nothing can be said of the blobs, a store that reads objects itself says so: none of
 * the bytes come here.
 */
static fx_code
check_one(const fx_repairing *work, const fx_stored *item, fx_err *err)
{
    fx_chunk_id name;
    unsigned char digest[FX_STORE_DIGEST_BYTES];
    FX_BUF_AUTO bytes;
    const fx_repository_key *key = work->options->key;
    fx_buf_init(&bytes, FX_STORE_OBJECT_MAX_BYTES);
    if (key == NULL && fx_store_can(work->store, FX_STORE_CAN_DIGEST) &&
        fx_stored_is_named_by_digest(item->store_key) && name_of(item->store_key, &name)) {
        fx_mono deadline = fx_repository_deadline();
        if (fx_store_digest(work->store, item->store_key, deadline, digest, err) != FX_OK) {
            return err->code;
        }
        return memcmp(digest, name.bytes, sizeof digest) == 0
                   ? FX_OK
                   : fx_fail(err, FX_ERR_DAMAGED, "its bytes are not what was written");
    }
    if (item->size_bytes < bytes.max_bytes) {
        fx_buf_reserve(&bytes, (size_t)item->size_bytes); /* no more than it takes */
    }
    return fx_stored_get(work->store, item->store_key, key, &bytes, err);
}

/* What is damaged is noted, and what is gone is no matter. */
static fx_code
look_at_one(void *ctx, size_t number, fx_err *err)
{
    const looking *at = ctx;
    fx_repairing *work = at->work;
    const fx_stored *item = &at->items[number];
    fx_err found = {0};
    if (is_cancelled(work)) {
        return fx_fail(err, FX_ERR_CANCELLED, "could not repair all: it was cancelled");
    }
    fx_code code = check_one(work, item, &found);
    fx_monitor_lock(&work->monitor);
    note(work, item, code, &found);
    fx_monitor_unlock(&work->monitor);
    if (code != FX_OK && code != FX_ERR_NOT_FOUND && !is_damage(code)) {
        *err = found;
        return code;
    }
    return FX_OK;
}

static fx_code
look_at_all(fx_repairing *work, const fx_stored_list *list, fx_err *err)
{
    unsigned job_count = work->options->job_count;
    looking at = {work, list->items};
    work->listed_bytes += fx_stored_list_bytes(list);
    work->progress.total_bytes = work->has_listed_all ? work->listed_bytes : 0;
    return fx_pool_each(
        job_count == 0 ? FX_COPY_JOBS : job_count, list->count, look_at_one, &at, err);
}

/* What stands in a tier and lacks here, of what every tier has whole. */
static fx_code
find_lacking(fx_repairing *work, const char *prefix, const fx_stored_list *here, fx_err *err)
{
    for (size_t i = 0; i < work->tier_count; i++) {
        fx_stored_list there = {0};
        if (fx_stored_list_read(work->tiers[i], prefix, &there, err) != FX_OK) {
            return err->code;
        }
        for (size_t j = 0; j < there.count; j++) {
            if (fx_stored_find(here, there.items[j].store_key) == NULL) {
                (void)fx_repairing_add(work, there.items[j].store_key);
            }
        }
        fx_stored_list_free(&there);
    }
    return FX_OK;
}

static fx_code
look_at_prefix(fx_repairing *work, const char *prefix, bool has_every_tier_all, fx_err *err)
{
    fx_stored_list list = {0};
    if (fx_stored_list_read(work->store, prefix, &list, err) != FX_OK) {
        return err->code;
    }
    fx_code code = look_at_all(work, &list, err);
    if (code == FX_OK && has_every_tier_all) {
        code = find_lacking(work, prefix, &list, err);
    }
    fx_stored_list_free(&list);
    return code;
}

/* What a repair that was broken off has removed and not put yet. */
static fx_code
look_at_intents(fx_repairing *work, fx_err *err)
{
    fx_stored_list list = {0};
    fx_code code = fx_stored_list_read(work->store, intent_prefix, &list, err);
    for (size_t i = 0; code == FX_OK && i < list.count; i++) {
        const char *store_key = list.items[i].store_key + strlen(intent_prefix);
        uint64_t size_bytes = 0;
        fx_err failure = {0};
        code =
            fx_store_stat(work->store, store_key, fx_repository_deadline(), &size_bytes, &failure);
        if (code == FX_ERR_NOT_FOUND) {
            (void)fx_repairing_add(work, store_key);
            code = FX_OK;
        } else if (code != FX_OK) {
            *err = failure;
        }
    }
    fx_stored_list_free(&list);
    return code;
}

/* ---- healing
 * --------------------------------------------------------------------------------------- */

/* So that the next run knows of it if this one is broken off between removing and putting. */
static fx_code
put_intent(fx_repairing *work, const char *store_key, fx_err *err)
{
    char intent[FX_KEY_TEXT_BYTES + sizeof intent_prefix];
    Fortress__Repository__IdList none;
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, FX_STORE_KEY_MAX_BYTES);
    fortress__repository__id_list__init(&none);
    (void)snprintf(intent, sizeof intent, "%s%s", intent_prefix, store_key);
    if (fx_plain_encode("FXREPAIR", &none.base, &bytes, err) != FX_OK) {
        return err->code;
    }
    fx_err failure = {0};
    fx_mono deadline = fx_repository_deadline();
    fx_code code = fx_store_put(work->store, intent, fx_buf_bytes(&bytes), deadline, &failure);
    if (code != FX_OK && code != FX_ERR_EXISTS) {
        *err = failure;
        return code;
    }
    return FX_OK;
}

/* The good copy is in memory and has been checked. */
static fx_code
replace(fx_repairing *work, const char *store_key, const fx_buf *good, fx_err *err)
{
    char intent[FX_KEY_TEXT_BYTES + sizeof intent_prefix];
    fx_err failure = {0};
    fx_store *store = work->store;
    if (put_intent(work, store_key, err) != FX_OK) {
        return err->code;
    }
    fx_code code = fx_store_remove(store, store_key, fx_repository_deadline(), &failure);
    if (code == FX_OK || code == FX_ERR_NOT_FOUND) {
        failure = (fx_err){0};
        code =
            fx_store_put(store, store_key, fx_buf_bytes(good), fx_repository_deadline(), &failure);
    }
    if (code != FX_OK && code != FX_ERR_EXISTS) {
        *err = failure;
        return fx_err_wrap(err, "replacing \"%.200s\"", store_key);
    }
    (void)snprintf(intent, sizeof intent, "%s%s", intent_prefix, store_key);
    fx_err ignored = {0};
    fx_ignore(
        fx_store_remove(store, intent, fx_repository_deadline(), &ignored),
        "the next run looks again and finds the object there");
    return FX_OK;
}

static void
tell_healed(fx_repairing *work, fx_wound *one, size_t tier)
{
    char text[FX_REPAIR_TEXT_BYTES];
    fx_chunk_id name;
    one->is_healed = true;
    work->report->healed_count++;
    if (is_pack(one->store_key) && name_of(one->store_key, &name)) {
        (void)fx_id_set_add(&work->good, &name);
    }
    (void)snprintf(
        text,
        sizeof text,
        "%s: %s from tier %zu",
        one->store_key,
        work->options->dry_run ? "can be healed" : "healed",
        tier + 1);
    if (work->options->healed != NULL) {
        work->options->healed(work->options->ctx, text);
    }
}

/* From the first tier that has a good one. A failure to write ends the repair; what a tier cannot
 * give is looked for in the next one. */
static fx_code
heal(fx_repairing *work, fx_wound *one, fx_err *err)
{
    char text[FX_REPAIR_TEXT_BYTES];
    fx_chunk_id name;
    fx_err last = {0};
    FX_BUF_AUTO good;
    fx_buf_init(&good, FX_STORE_OBJECT_MAX_BYTES);
    if (is_pack(one->store_key) && name_of(one->store_key, &name) &&
        fx_id_set_has(&work->marked, &name)) {
        (void)snprintf(
            text, sizeof text, "%s: not healed: a collector is about to remove it", one->store_key);
        fx_repairing_find(work, text);
        return FX_OK;
    }
    for (size_t i = 0; i < work->tier_count; i++) {
        last = (fx_err){0};
        if (fx_stored_get(work->tiers[i], one->store_key, work->options->key, &good, &last) !=
            FX_OK) {
            continue;
        }
        if (!work->options->dry_run && replace(work, one->store_key, &good, err) != FX_OK) {
            return err->code;
        }
        tell_healed(work, one, i);
        return FX_OK;
    }
    (void)snprintf(
        text,
        sizeof text,
        "%s: cannot be healed: %s%s%s",
        one->store_key,
        work->tier_count == 0 ? "no other tier was named" : "no tier has a good one",
        last.code == FX_OK ? "" : "; the last said: ",
        last.code == FX_OK ? "" : last.message);
    fx_repairing_find(work, text);
    return FX_OK;
}

fx_code
fx_repairing_heal(fx_repairing *work, fx_err *err)
{
    for (size_t i = 0; i < work->wound_count; i++) {
        if (is_cancelled(work)) {
            return fx_fail(err, FX_ERR_CANCELLED, "could not repair all: it was cancelled");
        }
        if (!work->wounds[i].is_tried) {
            fx_repairing_tell(work, "healing", "objects", i, work->wound_count);
        }
        if (!work->wounds[i].is_tried && heal(work, &work->wounds[i], err) != FX_OK) {
            return err->code;
        }
        work->wounds[i].is_tried = true;
    }
    return FX_OK;
}

size_t
fx_repairing_open_count(const fx_repairing *work)
{
    size_t count = 0;
    for (size_t i = 0; i < work->wound_count; i++) {
        count += !work->wounds[i].is_healed;
    }
    return count;
}

/* ---- all
 * ------------------------------------------------------------------------------------------ */

/* The config of the repository, or where that is damaged or gone, of a tier. */
static fx_code
compare_configs(fx_repairing *work, fx_err *err)
{
    enum { CONFIG_MAX_BYTES = 4096 };
    FX_BUF_AUTO known;
    FX_BUF_AUTO other;
    fx_buf_init(&known, CONFIG_MAX_BYTES);
    fx_buf_init(&other, CONFIG_MAX_BYTES);
    fx_err failure = {0};
    fx_code code = fx_stored_get(work->store, "config", NULL, &known, &failure);
    if (code == FX_ERR_NOT_FOUND) {
        (void)fx_repairing_add(work, "config");
    } else if (code != FX_OK && !is_damage(code)) {
        *err = failure;
        return code;
    }
    bool has_one = code == FX_OK;
    for (size_t i = 0; i < work->tier_count; i++) {
        failure = (fx_err){0};
        code = fx_stored_get(work->tiers[i], "config", NULL, &other, &failure);
        if (code != FX_OK && !is_damage(code)) {
            *err = failure;
            return fx_err_wrap(err, "looking at tier %zu", i + 1);
        }
        if (code != FX_OK) {
            continue;
        }
        if (has_one && (known.size_bytes != other.size_bytes ||
                        memcmp(known.data, other.data, known.size_bytes) != 0)) {
            return fx_fail(
                err, FX_ERR_CONFLICT, "could not repair: tier %zu is of another repository", i + 1);
        }
        if (!has_one) {
            fx_buf_clear(&known);
            if (fx_buf_append(&known, other.data, other.size_bytes, err) != FX_OK) {
                return err->code;
            }
            has_one = true;
        }
    }
    return FX_OK;
}

static fx_code
repair_all(fx_repairing *work, const char *url, fx_err *err)
{
    static const struct {
        const char *prefix;
        bool has_every_tier_all;
    } kinds[] = {
        {"config", false},
        {"keys/", true},
        {"erasures/", true},
        {"settled/", false},
        {"revocations/", false},
        {"forgotten/", false},
        {"holds/", false},
        {"gaps/", false},
        {"indexes/", false},
        {"verified/", false},
        {"snapshots/", false},
        {"streams/", false},
        {"packs/", false},
    };
    if (look_at_intents(work, err) != FX_OK) {
        return err->code;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        work->has_listed_all = i + 1 == sizeof kinds / sizeof *kinds;
        if (look_at_prefix(work, kinds[i].prefix, kinds[i].has_every_tier_all, err) != FX_OK) {
            return err->code;
        }
    }
    if (fx_repairing_heal(work, err) != FX_OK) {
        return err->code;
    }
    if (work->options->key != NULL && fx_repairing_with_key(work, url, err) != FX_OK) {
        return err->code;
    }
    size_t open_count = fx_repairing_open_count(work);
    if (open_count > 0) {
        return fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not heal %zu of %zu objects%s",
            open_count,
            work->wound_count,
            work->options->key == NULL ? "; which snapshots need them only a key can tell" : "");
    }
    return work->options->dry_run && work->wound_count > 0
               ? fx_fail(
                     err,
                     FX_ERR_DAMAGED,
                     "could not call it whole: %zu objects are damaged or missing; all can be "
                     "healed",
                     work->wound_count)
               : FX_OK;
}

static fx_code
open_tiers(fx_repairing *work, const char *const *urls, fx_err *err)
{
    for (size_t i = 0; i < work->tier_count; i++) {
        if (fx_store_open(urls[i], &work->tiers[i], err) != FX_OK) {
            return err->code;
        }
    }
    return compare_configs(work, err);
}

/* Beside collectors: one that removes packs waits for this. */
static fx_code
repair_under_lease(fx_repairing *work, const char *url, fx_err *err)
{
    char lease[FX_LEASE_ID_BYTES];
    if (work->options->dry_run) {
        return repair_all(work, url, err);
    }
    if (fx_lease_begin(work->store, lease, err) != FX_OK) {
        return err->code;
    }
    fx_code code = fx_marks_read(work->store, &work->marked, err);
    if (code == FX_OK) {
        code = repair_all(work, url, err);
    }
    fx_err ignored = {0};
    fx_ignore(fx_lease_end(work->store, lease, &ignored), "a collector removes it");
    return code;
}

fx_code
fx_repository_repair(
    const char *url,
    const char *const *tier_urls,
    size_t tier_count,
    const fx_repair_options *options,
    fx_repair_report *out_report,
    fx_err *err)
{
    FX_AUTO(fx_store) store = NULL;
    *out_report = (fx_repair_report){0};
    FX_ASSERT(tier_count <= FX_REPAIR_TIERS_MAX);
    if (fx_store_open(url, &store, err) != FX_OK) {
        return err->code;
    }
    fx_repairing work = {
        .options = options,
        .report = out_report,
        .store = store,
        .tier_count = tier_count,
        .progress = {.step = "checking", .what = "objects"}};
    fx_monitor_init(&work.monitor);
    fx_code code = open_tiers(&work, tier_urls, err);
    if (code == FX_OK) {
        code = repair_under_lease(&work, url, err);
    }
    fx_monitor_deinit(&work.monitor);
    for (size_t i = 0; i < work.wound_count; i++) {
        free(work.wounds[i].store_key);
    }
    free(work.wounds);
    for (size_t i = 0; i < tier_count; i++) {
        fx_store_free(work.tiers[i]);
    }
    fx_id_set_free(&work.marked);
    fx_id_set_free(&work.good);
    fx_id_set_free(&work.known);
    return code;
}
