#include "agent/depot/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/core/depot_rules.h"
#include "common/base/clock.h"

/* ---- rules
 * ----------------------------------------------------------------------------------------- */

/* Who put the lease of that name. */
typedef enum lease_owner { LEASE_IS_ABSENT, LEASE_IS_OWN, LEASE_IS_ANOTHERS } lease_owner;

/* Where it cannot be known it is another's. */
static lease_owner
find_lease_owner(const fx_depot_asker *asker, const char *lease)
{
    char key[FX_STORE_KEY_MAX_BYTES + 16];
    fx_name owner;
    uint64_t ignored = 0;
    fx_err why = {0};
    (void)snprintf(key, sizeof key, "leases/%s", lease);
    fx_code code = fx_shelf_owner(asker->room->shelf, key, &owner, &ignored, &why);
    if (code != FX_OK) {
        return code == FX_ERR_NOT_FOUND ? LEASE_IS_ABSENT : LEASE_IS_ANOTHERS;
    }
    return fx_name_is(&owner, &asker->share->host) ? LEASE_IS_OWN : LEASE_IS_ANOTHERS;
}

/* NULL: it may. */
static const char *
find_objection(const fx_depot_asker *asker, const char *key)
{
    const char *lease = NULL;
    bool is_collector = asker->share->access == FX_DEPOT_COLLECT;
    bool is_replicator = asker->share->access == FX_DEPOT_REPLICATE;
    if (asker->share->access == FX_DEPOT_READ) {
        return "it may only read";
    }
    fx_depot_put rule = fx_depot_put_rule(key, &lease);
    if (rule == FX_DEPOT_PUT_NEVER) {
        return "a depot keeps no such key";
    }
    if (rule == FX_DEPOT_PUT_FREELY || is_collector) {
        return NULL;
    }
    if (rule == FX_DEPOT_PUT_REPLICATOR) {
        return is_replicator ? NULL
                             : "only a host with the access \"replicate\" or \"collect\" may";
    }
    if (rule == FX_DEPOT_PUT_COLLECTOR || (rule == FX_DEPOT_PUT_SETTLEMENT && !is_replicator)) {
        return "only a host with the access \"collect\" may";
    }
    lease_owner owner = find_lease_owner(asker, lease);
    return owner == LEASE_IS_OWN || (is_replicator && owner == LEASE_IS_ABSENT)
               ? NULL
               : "the lease is not its own";
}

static fx_code
check_rules(const fx_depot_asker *asker, const char *key, fx_err *err)
{
    if (!fx_store_is_key(key)) {
        return fx_fail(err, FX_ERR_INVALID, "could not use \"%.100s\" as an object's key", key);
    }
    const char *why = find_objection(asker, key);
    return why == NULL ? FX_OK
                       : fx_fail(
                             err,
                             FX_ERR_DENIED,
                             "could not store \"%.100s\" for %s: %s",
                             key,
                             asker->share->host.text,
                             why);
}

bool
fx_depot_may_take_away(const fx_depot_asker *asker, const char *key)
{
    fx_name owner;
    uint64_t ignored = 0;
    fx_err why = {0};
    bool is_trusted =
        asker->share->access == FX_DEPOT_COLLECT || asker->share->access == FX_DEPOT_REPLICATE;
    return is_trusted && fx_store_is_key(key) && fx_depot_is_passing(key) &&
           fx_shelf_owner(asker->room->shelf, key, &owner, &ignored, &why) == FX_OK &&
           fx_name_is(&owner, &asker->share->host);
}

/* ---- quotas
 * ---------------------------------------------------------------------------------------- */

static fx_code
reserve(const fx_depot_asker *asker, const char *key, uint64_t size_bytes, fx_err *err)
{
    fx_depot_share *share = asker->share;
    fx_monitor_lock(&asker->depot->monitor);
    uint64_t taken = share->used_bytes + share->reserved_bytes;
    bool fits = share->quota_bytes == 0 ||
                (taken <= share->quota_bytes && size_bytes <= share->quota_bytes - taken);
    if (fits) {
        share->reserved_bytes += size_bytes;
    }
    fx_monitor_unlock(&asker->depot->monitor);
    return fits ? FX_OK
                : fx_fail(
                      err,
                      FX_ERR_NO_SPACE,
                      "could not store \"%.80s\": host %s has used %" PRIu64 " of its %" PRIu64
                      " bytes in this depot; raise its quota_bytes or collect",
                      key,
                      share->host.text,
                      taken,
                      share->quota_bytes);
}

/* What was reserved is stored, or is not. */
static void
settle(const fx_depot_asker *asker, uint64_t size_bytes, bool is_stored)
{
    fx_monitor_lock(&asker->depot->monitor);
    FX_ASSERT(asker->share->reserved_bytes >= size_bytes);
    asker->share->reserved_bytes -= size_bytes;
    asker->share->used_bytes += is_stored ? size_bytes : 0;
    fx_monitor_unlock(&asker->depot->monitor);
}

void
fx_depot_give_back(const fx_depot_asker *asker, const fx_name *owner, uint64_t size_bytes)
{
    fx_monitor_lock(&asker->depot->monitor);
    for (size_t i = 0; i < asker->room->share_count; i++) {
        fx_depot_share *share = &asker->room->shares[i];
        if (fx_name_is(&share->host, owner)) {
            share->used_bytes -= size_bytes < share->used_bytes ? size_bytes : share->used_bytes;
        }
    }
    fx_monitor_unlock(&asker->depot->monitor);
}

/* Where it is not known whether it is stored it counts, until the depot counts anew at a start. */
static bool
may_be_stored(fx_code code, const fx_err *err)
{
    return code == FX_OK || err->outcome == FX_CLASS_UNKNOWN;
}

/* ---- whole objects and appends
 * --------------------------------------------------------------------- */

fx_code
fx_depot_put_whole(const fx_depot_asker *asker, const char *key, fx_bytes content, fx_err *err)
{
    FX_AUTO(fx_stage) stage = NULL;
    const fx_name *host = &asker->share->host;
    uint64_t ignored = 0;
    fx_name owner;
    fx_err why = {0};
    if (check_rules(asker, key, err) != FX_OK) {
        return err->code;
    }
    /* What is there is there, whatever the quota. */
    if (fx_shelf_owner(asker->room->shelf, key, &owner, &ignored, &why) == FX_OK) {
        return fx_fail(err, FX_ERR_EXISTS, "could not store \"%.100s\": it exists already", key);
    }
    if (reserve(asker, key, content.size_bytes, err) != FX_OK) {
        return err->code;
    }
    fx_code code = fx_stage_begin(asker->room->shelf, host, key, content.size_bytes, &stage, err);
    if (code == FX_OK) {
        code = fx_stage_add(stage, content, err);
    }
    if (code == FX_OK) {
        code = fx_stage_commit(stage, err);
    }
    settle(asker, content.size_bytes, may_be_stored(code, err));
    return code;
}

fx_code
fx_depot_append(
    const fx_depot_asker *asker, const char *key, uint64_t offset, fx_bytes content, fx_err *err)
{
    if (check_rules(asker, key, err) != FX_OK ||
        reserve(asker, key, content.size_bytes, err) != FX_OK) {
        return err->code;
    }
    fx_code code =
        fx_shelf_append(asker->room->shelf, &asker->share->host, key, offset, content, err);
    settle(asker, content.size_bytes, may_be_stored(code, err));
    return code;
}

/* ---- uploads
 * --------------------------------------------------------------------------------------- */

/* With the monitor held. */
static bool
has_room(const fx_depot_asker *asker)
{
    size_t all = 0;
    size_t own = 0;
    for (const fx_depot_upload *at = asker->depot->uploads; at != NULL; at = at->next) {
        all++;
        own += fx_name_is(&at->share->host, &asker->share->host) ? 1 : 0;
    }
    return all < FX_DEPOT_UPLOAD_MAX && own < FX_DEPOT_HOST_UPLOAD_MAX;
}

/* Adds it, or gives the stage back. */
static bool
add_upload(const fx_depot_asker *asker, fx_stage *stage, unsigned char *out_id)
{
    fx_depot_upload *upload = calloc(1, sizeof *upload);
    FX_ASSERT(upload != NULL);
    *upload = (fx_depot_upload){
        .room = asker->room, .share = asker->share, .stage = stage, .last = fx_clock_mono()};
    fx_crypto_random(upload->id, sizeof upload->id);
    memcpy(out_id, upload->id, sizeof upload->id);
    fx_monitor_lock(&asker->depot->monitor);
    bool is_added = has_room(asker);
    if (is_added) {
        upload->next = asker->depot->uploads;
        asker->depot->uploads = upload;
    }
    fx_monitor_unlock(&asker->depot->monitor);
    if (!is_added) {
        free(upload);
    }
    return is_added;
}

fx_code
fx_depot_begin(
    const fx_depot_asker *asker,
    const char *key,
    uint64_t size_bytes,
    unsigned char out_id[FX_DEPOT_UPLOAD_BYTES],
    fx_err *err)
{
    fx_stage *stage = NULL;
    if (check_rules(asker, key, err) != FX_OK) {
        return err->code;
    }
    if (size_bytes > FX_STORE_OBJECT_MAX_BYTES) {
        return fx_fail(
            err,
            FX_ERR_LIMIT,
            "could not store \"%.100s\": %" PRIu64 " bytes are too many",
            key,
            size_bytes);
    }
    fx_depot_sweep(asker->depot);
    if (reserve(asker, key, size_bytes, err) != FX_OK) {
        return err->code;
    }
    fx_code code =
        fx_stage_begin(asker->room->shelf, &asker->share->host, key, size_bytes, &stage, err);
    if (code == FX_OK && !add_upload(asker, stage, out_id)) {
        fx_stage_free(stage);
        code = fx_fail(
            err,
            FX_ERR_BUSY,
            "could not begin to store \"%.100s\": too many objects are on their way",
            key);
    }
    if (code != FX_OK) {
        settle(asker, size_bytes, false);
    }
    return code;
}

/* Takes the upload for this thread alone. */
static fx_code
take_upload(
    const fx_depot_asker *asker, const unsigned char *id, fx_depot_upload **out_upload, fx_err *err)
{
    fx_code code = FX_ERR_STALE;
    fx_monitor_lock(&asker->depot->monitor);
    for (fx_depot_upload *at = asker->depot->uploads; at != NULL; at = at->next) {
        if (at->share == asker->share && memcmp(at->id, id, sizeof at->id) == 0) {
            code = at->is_busy ? FX_ERR_BUSY : FX_OK;
            if (code == FX_OK) {
                at->is_busy = true;
                *out_upload = at;
            }
        }
    }
    fx_monitor_unlock(&asker->depot->monitor);
    if (code == FX_ERR_BUSY) {
        return fx_fail(err, code, "could not go on: a part of this object is being stored");
    }
    return code == FX_OK
               ? FX_OK
               : fx_fail(err, FX_ERR_STALE, "could not go on: this object was not begun here");
}

static void
give_upload_back(const fx_depot_asker *asker, fx_depot_upload *upload)
{
    fx_monitor_lock(&asker->depot->monitor);
    upload->is_busy = false;
    upload->last = fx_clock_mono();
    fx_monitor_unlock(&asker->depot->monitor);
}

/* Of an upload that this thread has taken. */
static void
end_upload(const fx_depot_asker *asker, fx_depot_upload *upload, bool is_stored)
{
    settle(asker, fx_stage_size_bytes(upload->stage), is_stored);
    fx_monitor_lock(&asker->depot->monitor);
    for (fx_depot_upload **at = &asker->depot->uploads; *at != NULL; at = &(*at)->next) {
        if (*at == upload) {
            *at = upload->next;
            break;
        }
    }
    fx_monitor_unlock(&asker->depot->monitor);
    fx_stage_free(upload->stage);
    free(upload);
}

fx_code
fx_depot_add_part(const fx_depot_asker *asker, const Fortress__Depot__Part *part, fx_err *err)
{
    fx_depot_upload *upload = NULL;
    if (take_upload(asker, part->upload.data, &upload, err) != FX_OK) {
        return err->code;
    }
    uint64_t done = fx_stage_done_bytes(upload->stage);
    bool is_known = part->offset <= done && part->content.len == done - part->offset;
    fx_code code = FX_OK;
    if (part->offset == done && part->content.len > 0) {
        code = fx_stage_add(upload->stage, (fx_bytes){part->content.data, part->content.len}, err);
        if (code != FX_OK) { /* what is on disk now is not known */
            end_upload(asker, upload, false);
            return code;
        }
    } else if (!is_known) { /* else the answer to it was lost */
        code = fx_fail(
            err,
            FX_ERR_CONFLICT,
            "could not store the part at %" PRIu64 ": %" PRIu64 " bytes are there",
            part->offset,
            done);
    }
    give_upload_back(asker, upload);
    return code;
}

fx_code
fx_depot_commit(
    const fx_depot_asker *asker, const unsigned char id[FX_DEPOT_UPLOAD_BYTES], fx_err *err)
{
    fx_depot_upload *upload = NULL;
    if (take_upload(asker, id, &upload, err) != FX_OK) {
        return err->code;
    }
    fx_code code = fx_stage_commit(upload->stage, err);
    end_upload(asker, upload, may_be_stored(code, err));
    return code;
}
