#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/hex.h"
#include "common/repository/forgotten.h"
#include "common/repository/replication.h"

bool
fx_replication_id(const char *store_key, fx_chunk_id *out_id)
{
    fx_err ignored = {0};
    return fx_hex_decode(
               strrchr(store_key, '/') + 1, out_id->bytes, sizeof out_id->bytes, &ignored) == FX_OK;
}

static int
by_age(const void *left, const void *right)
{
    const fx_candidate *one = left;
    const fx_candidate *two = right;
    return (one->header.began.ns > two->header.began.ns) -
           (one->header.began.ns < two->header.began.ns);
}

static bool
is_damage(fx_code code)
{
    return code == FX_ERR_DAMAGED || code == FX_ERR_UNSUPPORTED || code == FX_ERR_LIMIT ||
           code == FX_ERR_IO;
}

/* Reads one; damage is a finding. */
static fx_code
take_candidate(fx_replication *work, const fx_stored *item, fx_err *err)
{
    fx_candidate fresh = {0};
    FX_AUTO(fx_object) object = NULL;
    fx_err failure = {0};
    fx_buf_init(&fresh.bytes, FX_SNAPSHOT_OBJECT_MAX_BYTES);
    fx_code code = fx_stored_get(work->from, item->store_key, NULL, &fresh.bytes, &failure);
    fx_bytes all = fx_buf_bytes(&fresh.bytes);
    if (code == FX_OK) {
        code = fx_object_parse(all, all, all.size_bytes, &object, &failure);
    }
    if (code == FX_OK) {
        code = fx_snapshot_decode(object, item->store_key, &fresh.header, &failure);
    }
    if (code == FX_OK) {
        work->candidates[work->candidate_count++] = fresh;
        return FX_OK;
    }
    fx_buf_free(&fresh.bytes);
    if (is_damage(code)) {
        char text[FX_KEY_TEXT_BYTES + FX_ERR_MESSAGE_MAX_BYTES];
        (void)snprintf(text, sizeof text, "%s: not copied: %s", item->store_key, failure.message);
        fx_replication_find(work, text);
        work->copied.damaged_count++;
        return FX_OK;
    }
    *err = failure;
    return code == FX_ERR_NOT_FOUND ? FX_OK : fx_err_wrap(err, "reading \"%s\"", item->store_key);
}

fx_code
fx_replication_find_candidates(fx_replication *work, fx_err *err)
{
    fx_stored_list list = {0};
    fx_stored_list there = {0};
    fx_id_set forgotten = {0};
    fx_code code = fx_stored_list_read(work->from, "snapshots/", &list, err);
    if (code == FX_OK) {
        code = fx_stored_list_read(work->to, "snapshots/", &there, err);
    }
    if (code == FX_OK) {
        code = fx_forgotten_read(work->to, &forgotten, err);
    }
    work->candidates = calloc(list.count + 1, sizeof *work->candidates);
    FX_ASSERT(work->candidates != NULL);
    for (size_t i = 0; code == FX_OK && i < list.count; i++) {
        fx_chunk_id id;
        const char *store_key = list.items[i].store_key;
        if (fx_replication_id(store_key, &id) && !fx_id_set_has(&forgotten, &id) &&
            fx_stored_find(&there, store_key) == NULL) {
            code = take_candidate(work, &list.items[i], err);
        }
    }
    qsort(work->candidates, work->candidate_count, sizeof *work->candidates, by_age);
    fx_stored_list_free(&list);
    fx_stored_list_free(&there);
    fx_id_set_free(&forgotten);
    return code;
}

void
fx_replication_drop_candidate(fx_replication *work, size_t number)
{
    fx_buf_free(&work->candidates[number].bytes);
    work->candidate_count--;
    memmove(
        &work->candidates[number],
        &work->candidates[number + 1],
        (work->candidate_count - number) * sizeof *work->candidates);
}

/*
 * Those that are still there, not void and not forgotten at the source, now that packs and indexes
 * were listed: no collector has removed what they need before that.
 */
fx_code
fx_replication_confirm_candidates(fx_replication *work, fx_err *err)
{
    fx_stored_list list = {0};
    fx_settlements settled = {0};
    fx_id_set forgotten = {0};
    fx_code code = fx_stored_list_read(work->from, "snapshots/", &list, err);
    if (code == FX_OK) {
        code = fx_settlements_read(work->from, &settled, err);
    }
    if (code == FX_OK) {
        code = fx_settlements_need_all(&settled, err); /* each goes before its revocation */
    }
    if (code == FX_OK) {
        code = fx_forgotten_read(work->from, &forgotten, err);
    }
    for (size_t i = work->candidate_count; code == FX_OK && i > 0; i--) {
        char store_key[FX_KEY_TEXT_BYTES];
        fx_chunk_id id;
        const fx_snapshot *header = &work->candidates[i - 1].header;
        (void)snprintf(store_key, sizeof store_key, "snapshots/%s", header->id);
        bool is_over = fx_stored_find(&list, store_key) == NULL ||
                       !fx_replication_id(store_key, &id) || fx_id_set_has(&forgotten, &id);
        if (!is_over) {
            code = fx_settlements_void(&settled, header->lease, &id, &is_over, err);
        }
        if (is_over) {
            fx_replication_drop_candidate(work, i - 1);
        }
    }
    fx_stored_list_free(&list);
    fx_settlements_free(&settled);
    fx_id_set_free(&forgotten);
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "looking which snapshots still count");
}

static fx_code
put_snapshot(fx_replication *work, const char *folder, const fx_candidate *one, fx_err *err)
{
    char store_key[FX_KEY_TEXT_BYTES];
    fx_err failure = {0};
    (void)snprintf(store_key, sizeof store_key, "%s/%s", folder, one->header.id);
    fx_code code = fx_store_put(
        work->to, store_key, fx_buf_bytes(&one->bytes), fx_repository_deadline(), &failure);
    if (code != FX_OK && code != FX_ERR_EXISTS) {
        *err = failure;
        return fx_err_wrap(err, "putting \"%s\"", store_key);
    }
    return FX_OK;
}

/* From here on a collector that takes this one's right keeps what an announced snapshot needs, if
 * all of that is there. */
fx_code
fx_replication_announce(fx_replication *work, fx_err *err)
{
    for (size_t i = 0; i < work->candidate_count; i++) {
        if (put_snapshot(work, "arriving", &work->candidates[i], err) != FX_OK) {
            return err->code;
        }
    }
    return fx_lease_begin(work->to, work->lease, err);
}

fx_code
fx_replication_check_lease(const fx_replication *work, fx_err *err)
{
    bool is_revoked = true;
    if (fx_lease_is_revoked(work->to, work->lease, &is_revoked, err) != FX_OK) {
        return err->code;
    }
    return !is_revoked
               ? FX_OK
               : fx_fail(
                     err,
                     FX_ERR_STALE,
                     "could not copy the snapshots: a collector at the target did not wait; what "
                     "was copied stays, run it again");
}

/*
 * The last put may come late. An index object that does so could name packs that are gone by then:
 * whoever reads it must see that something was revoked.
 */
void
fx_replication_end_lease(fx_replication *work, const fx_err *err)
{
    fx_err ignored = {0};
    if (work->lease[0] == '\0') {
        return;
    }
    bool is_certain = err->code == FX_OK || err->outcome == FX_CLASS_PERMANENT;
    if (is_certain || fx_lease_revoke(work->to, work->lease, &ignored) == FX_OK) {
        fx_ignore(fx_lease_end(work->to, work->lease, &ignored), "a collector removes it");
    }
    work->lease[0] = '\0';
}

/* It has arrived: the announcement is not needed any more. */
static void
remove_announcement(const fx_replication *work, const fx_candidate *one)
{
    fx_chunk_id id;
    fx_err ignored = {0};
    if (fx_hex_decode(one->header.id, id.bytes, sizeof id.bytes, &ignored) == FX_OK) {
        fx_ignore(fx_arriving_remove(work->to, &id, &ignored), "a collector removes it later");
    }
}

fx_code
fx_replication_put_snapshots(fx_replication *work, fx_err *err)
{
    for (size_t i = 0; i < work->candidate_count; i++) {
        const fx_candidate *one = &work->candidates[i];
        if (!work->options->dry_run) {
            if (put_snapshot(work, "snapshots", one, err) != FX_OK) {
                return err->code;
            }
            remove_announcement(work, one);
        }
        work->report->snapshot_count++;
        work->copied.copied_count++;
        work->copied.copied_bytes += one->bytes.size_bytes;
    }
    return FX_OK;
}
