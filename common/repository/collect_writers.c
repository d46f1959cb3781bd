#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/repository/collection.h"
#include "common/repository/forgotten.h"
#include "common/repository/lease.h"

enum { LOOK_MS = 250 }; /* between looks at the leases */

static fx_code
is_at_work(const fx_lease *lease, const char *who, const char *how, fx_err *err)
{
    char when[FX_WALL_TEXT_BYTES];
    fx_wall_format(lease->began, when);
    return fx_fail(
        err,
        FX_ERR_BUSY,
        "could not collect: %s of host \"%.64s\" (process %" PRId64
        ") is at work since %s; wait for it, or %s if it is gone",
        who,
        lease->node,
        lease->pid,
        when,
        how);
}

static const fx_lease *
find_lease(const fx_lease_list *list, const char *id)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i].id, id) == 0) {
            return &list->items[i];
        }
    }
    return NULL;
}

/*
 * May it be at work? Of a collector that is, the marks must stay: two that remove at once lose what
 * is needed. So a probable end is none here.
 */
static bool
is_perhaps_at_work(const fx_lease *lease)
{
    return lease != NULL && !lease->is_over && !lease->is_revoked;
}

/* One that has probably ended is not waited for but revoked: a wrong guess costs a backup that
 * fails, and nothing that was acknowledged. */
static bool
is_waited_for(const fx_collection *work, const fx_lease *lease)
{
    return is_perhaps_at_work(lease) && !lease->is_outlived &&
           strcmp(lease->id, fx_writer_lease(work->writer)) != 0;
}

/* The first of `waited` that is still at work, or NULL. */
static const fx_lease *
first_at_work(const fx_collection *work, const fx_lease_list *waited, const fx_lease_list *now)
{
    for (size_t i = 0; i < waited->count; i++) {
        const fx_lease *lease = find_lease(now, waited->items[i].id);
        if (is_waited_for(work, lease)) {
            return lease;
        }
    }
    return NULL;
}

static fx_code
revoke_all(fx_collection *work, const fx_lease_list *waited, const fx_lease_list *now, fx_err *err)
{
    for (size_t i = 0; i < waited->count; i++) {
        const fx_lease *lease = find_lease(now, waited->items[i].id);
        if (is_waited_for(work, lease)) {
            if (fx_lease_revoke(work->repository->store, lease->id, err) != FX_OK) {
                return fx_err_wrap(err, "revoking a writer");
            }
            work->report->revoked_count++;
        }
    }
    return FX_OK;
}

/* What a process that is gone sent last may still be on its way: it must not count unseen. */
static fx_code
revoke_gone(const fx_collection *work, const fx_lease_list *list, fx_err *err)
{
    for (size_t i = 0; i < list->count; i++) {
        const fx_lease *lease = &list->items[i];
        if ((lease->is_gone || lease->is_outlived) && !lease->is_revoked &&
            fx_lease_revoke(work->repository->store, lease->id, err) != FX_OK) {
            return fx_err_wrap(err, "revoking a writer that is gone");
        }
    }
    return FX_OK;
}

/*
 * Waits for writers whose lease is older than the mark: they may count on packs that go. Those
 * that come later see the mark.
 */
fx_code
fx_collection_await_writers(fx_collection *work, fx_err *err)
{
    fx_store *store = work->repository->store;
    fx_mono deadline = fx_mono_after(fx_clock_mono(), work->options->wait);
    fx_lease_list waited = {0};
    fx_code code = fx_lease_list_all(store, &waited, err);
    bool done = false;
    while (code == FX_OK && !done) {
        fx_lease_list now = {0};
        code = fx_lease_list_all(store, &now, err);
        const fx_lease *busy = code == FX_OK ? first_at_work(work, &waited, &now) : NULL;
        bool is_late = fx_clock_mono().ns >= deadline.ns;
        if (busy == NULL) {
            code = code == FX_OK ? revoke_gone(work, &now, err) : code;
            done = true;
        } else if (!is_late) {
            const fx_progress progress = {.step = "waiting for", .what = "writers", .count = 1};
            fx_repository_tell(work->repository, &progress);
            fx_clock_sleep(FX_DUR_MS(LOOK_MS));
        } else if (work->options->revoke) {
            code = revoke_all(work, &waited, &now, err);
        } else {
            code = is_at_work(busy, "a writer", "revoke it", err);
        }
        fx_lease_list_free(&now);
    }
    fx_lease_list_free(&waited);
    return code;
}

static fx_code
settle_one(const fx_collection *work, const char *lease, fx_err *err)
{
    fx_id_set counted = {0};
    for (size_t i = 0; i < work->root_count; i++) {
        fx_chunk_id id;
        fx_collection_id(work->root_list[i].id, &id);
        if (strcmp(work->root_list[i].lease, lease) == 0) {
            (void)fx_id_set_add(&counted, &id);
        }
    }
    fx_code code = fx_lease_settle(work->repository->store, lease, &counted, err);
    fx_id_set_free(&counted);
    return code;
}

/* For writers that were revoked, now or by a collector that was broken off: which snapshots count.
 */
fx_code
fx_collection_settle_revoked(fx_collection *work, fx_err *err)
{
    fx_lease_list leases = {0};
    fx_store *store = work->repository->store;
    fx_code code = fx_lease_list_unsettled(store, &leases, err);
    for (size_t i = 0; code == FX_OK && i < leases.count; i++) {
        code = settle_one(work, leases.items[i].id, err);
    }
    fx_lease_list_free(&leases);
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "settling revoked writers");
}

fx_code
fx_collection_clear_leases(fx_collection *work, fx_err *err)
{
    fx_lease_list leases = {0};
    fx_store *store = work->repository->store;
    fx_code code = fx_lease_list_all(store, &leases, err);
    if (code == FX_OK) {
        code = revoke_gone(work, &leases, err);
    }
    for (size_t i = 0; code == FX_OK && i < leases.count; i++) {
        if (leases.items[i].is_over || leases.items[i].is_outlived) {
            fx_err failure = {0};
            code = fx_lease_clear(store, leases.items[i].id, &failure);
            if (code == FX_ERR_DENIED) { /* over it is all the same */
                code = FX_OK;
            } else if (code != FX_OK) {
                *err = failure;
            }
        }
    }
    fx_lease_list_free(&leases);
    return code;
}

/*
 * One that was so slow to begin that a collector before it took it for a writer and revoked it: the
 * next one would not see that it is at work.
 */
static fx_code
keep_right(const fx_collection *work, fx_err *err)
{
    bool is_revoked = true;
    const char *own = fx_writer_lease(work->writer);
    if (fx_lease_is_revoked(work->repository->store, own, &is_revoked, err) != FX_OK) {
        return err->code;
    }
    return !is_revoked ? FX_OK
                       : fx_fail(
                             err,
                             FX_ERR_STALE,
                             "could not collect: another collector revoked this one; begin again");
}

/*
 * The mark that is named like the lease holds no packs; it says that this collector is at work. Put
 * first, looked for afterwards: of two that begin at once at least one sees the other.
 */
fx_code
fx_collection_begin_alone(fx_collection *work, fx_err *err)
{
    fx_store *store = work->repository->store;
    const char *own = fx_writer_lease(work->writer);
    fx_id_set none = {0};
    fx_key_list marks = {0};
    fx_lease_list leases = {0};
    fx_code code = fx_mark_put(store, own, &none, err);
    if (code == FX_OK) {
        code = fx_repository_list_keys(work->repository, "marks/", &marks, err);
    }
    if (code == FX_OK) {
        code = fx_lease_list_all(store, &leases, err);
    }
    for (size_t i = 0; code == FX_OK && i < marks.count; i++) {
        char owner[FX_LEASE_ID_BYTES] = "";
        const char *id = strchr(marks.items[i], '/') + 1;
        (void)snprintf(owner, sizeof owner, "%.*s", (int)strcspn(id, "."), id);
        const fx_lease *lease = find_lease(&leases, owner);
        if (strcmp(owner, own) == 0) {
            continue;
        }
        code = is_perhaps_at_work(lease) && !work->options->take_over
                   ? is_at_work(lease, "a collector", "take over", err)
                   : fx_mark_remove(store, id, err);
    }
    fx_key_list_free(&marks);
    fx_lease_list_free(&leases);
    return code == FX_OK ? keep_right(work, err) : code;
}

static void
mark_name(const fx_collection *work, unsigned number, char out_name[FX_LEASE_ID_BYTES])
{
    int length =
        snprintf(out_name, FX_LEASE_ID_BYTES, "%.49s.%u", fx_writer_lease(work->writer), number);
    FX_ASSERT(length > 0 && length < FX_LEASE_ID_BYTES);
}

static fx_code
put_mark(fx_collection *work, const fx_id_set *packs, fx_err *err)
{
    char name[FX_LEASE_ID_BYTES];
    mark_name(work, ++work->mark_count, name);
    return fx_mark_put(work->repository->store, name, packs, err);
}

fx_code
fx_collection_put_marks(fx_collection *work, fx_err *err)
{
    fx_id_set packs = {0};
    fx_code code = FX_OK;
    for (size_t i = 0; code == FX_OK && i < work->pack_count; i++) {
        if (work->doomed[i]) {
            fx_index_pack pack = fx_index_pack_at(work->repository->index, (uint32_t)i);
            fx_chunk_id name;
            memcpy(name.bytes, pack.name, FX_ID_BYTES);
            (void)fx_id_set_add(&packs, &name);
        }
        if (packs.count == FX_MARK_PACK_MAX) {
            code = put_mark(work, &packs, err);
            fx_id_set_free(&packs);
        }
    }
    if (code == FX_OK && packs.count > 0) {
        code = put_mark(work, &packs, err);
    }
    fx_id_set_free(&packs);
    return code;
}

void
fx_collection_remove_marks(fx_collection *work)
{
    fx_err ignored = {0};
    fx_store *store = work->repository->store;
    for (unsigned number = 1; number <= work->mark_count; number++) {
        char name[FX_LEASE_ID_BYTES];
        mark_name(work, number, name);
        fx_ignore(fx_mark_remove(store, name, &ignored), "the next collector removes it");
    }
    fx_ignore(
        fx_mark_remove(store, fx_writer_lease(work->writer), &ignored),
        "the next collector removes it");
}
