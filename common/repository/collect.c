#include "common/repository/collect.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/hex.h"
#include "common/repository/forgotten.h"
#include "common/repository/index_writer.h"
#include "common/repository/key.h"
#include "common/repository/lease.h"
#include "common/repository/live.h"
#include "common/repository/voucher.h"

enum {
    INDEX_MANY = 16,       /* so many index objects are made few */
    BATCH_BLOBS = 1 << 20, /* ids gathered at a time for new index objects: 32 MiB */
    LOOK_MS = 250,         /* between looks at the leases */
};

typedef struct collection {
    fx_repository *repository;
    const fx_collect_options *options;
    fx_collect_report *report;
    fx_writer *writer; /* its lease says that a collector is at work; it writes packs anew */
    fx_live live;
    bool *missing;   /* an index object names it, but it is not there; as doomed */
    bool *doomed;    /* by number of the pack, of the one that counts where it has several */
    uint32_t *canon; /* that number */
    size_t pack_count;
    fx_id_set roots; /* ids of all snapshots whose chunks are kept */
    fx_snapshot *root_list;
    size_t root_count;
    fx_id_set index_names;   /* of new index objects */
    fx_id_set voucher_names; /* of new vouchers */
    char mark[FX_LEASE_ID_BYTES];
} collection;

/* ---- what is needed
 * --------------------------------------------------------------------------------- */

static void
id_of_text(const char *hex, fx_chunk_id *out_id)
{
    fx_err err = {0};
    fx_code code = fx_hex_decode(hex, out_id->bytes, sizeof out_id->bytes, &err);
    FX_ASSERT(code == FX_OK);
}

/* Chunks of other scopes are none of ours. */
static void
keep_scope(fx_snapshot_list *list, const char *scope)
{
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i].scope, scope) == 0) {
            list->items[kept++] = list->items[i];
        }
    }
    list->count = kept;
}

/* Marks what snapshots need that were not looked at yet. */
static fx_code
look_at_snapshots(collection *work, fx_err *err)
{
    fx_snapshot_list list = {0};
    size_t unreadable_count = 0;
    if (fx_repository_list(work->repository, &list, &unreadable_count, err) != FX_OK) {
        return err->code;
    }
    char scope[FX_SCOPE_ID_TEXT_BYTES];
    fx_scope_id_format(&fx_repository_key_writes(work->repository->key)->id, scope);
    keep_scope(&list, scope);
    fx_code code = FX_OK;
    if (unreadable_count > 0) {
        code = fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not collect: %zu snapshots cannot be read, so that nobody knows what they need; "
            "verify names them",
            unreadable_count);
    }
    for (size_t i = 0; code == FX_OK && i < list.count; i++) {
        fx_chunk_id id;
        id_of_text(list.items[i].id, &id);
        if (!fx_id_set_has(&work->roots, &id)) {
            code = fx_live_add_snapshot(&work->live, list.items[i].id, err);
        }
        if (code == FX_OK) {
            (void)fx_id_set_add(&work->roots, &id);
        }
    }
    free(work->root_list);
    work->root_list = FX_TAKE(list.items);
    work->root_count = list.count;
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "finding what snapshots need");
}

/* No snapshot that can be read with this key, or not all of it is there yet. */
static bool
is_not_whole(fx_code code)
{
    return code == FX_ERR_NOT_FOUND || code == FX_ERR_DAMAGED || code == FX_ERR_WRONG_KEY ||
           code == FX_ERR_UNSUPPORTED || code == FX_ERR_LIMIT;
}

/*
 * What a replicator is about to put, and may put late. As the last: where not all is there yet,
 * some of it is marked, and nobody may take from that that the rest is marked too.
 */
static fx_code
look_at_arriving(collection *work, const fx_id_set *arriving, fx_err *err)
{
    for (size_t i = 0; i < arriving->capacity; i++) {
        char hex[2 * FX_ID_BYTES + 1];
        char store_key[FX_KEY_TEXT_BYTES];
        fx_chunk_id root;
        fx_err failure = {0};
        if (!arriving->used[i] || fx_id_set_has(&work->roots, &arriving->slots[i])) {
            continue;
        }
        fx_hex_encode((fx_bytes){arriving->slots[i].bytes, FX_ID_BYTES}, hex);
        (void)snprintf(store_key, sizeof store_key, "arriving/%s", hex);
        fx_code code = fx_repository_root_at(work->repository, store_key, &root, &failure);
        if (code == FX_OK) {
            code = fx_live_add_root(&work->live, &root, &failure);
        }
        if (code != FX_OK && !is_not_whole(code)) {
            *err = failure;
            return fx_err_wrap(err, "looking what an arriving snapshot needs");
        }
    }
    return FX_OK;
}

/* The second look: what arrives is listed before what has arrived. */
static fx_code
look_again(collection *work, fx_err *err)
{
    fx_id_set arriving = {0};
    fx_id_set forgotten = {0};
    fx_code code = fx_arriving_read(work->repository->store, &arriving, err);
    if (code == FX_OK) {
        code = look_at_snapshots(work, err);
    }
    if (code == FX_OK) {
        code = fx_forgotten_read(work->repository->store, &forgotten, err);
    }
    for (size_t i = 0; i < arriving.capacity; i++) { /* forgotten ones are roots of nothing */
        if (arriving.used[i] && fx_id_set_has(&forgotten, &arriving.slots[i])) {
            arriving.used[i] = false;
        }
    }
    if (code == FX_OK) {
        code = look_at_arriving(work, &arriving, err);
    }
    fx_id_set_free(&arriving);
    fx_id_set_free(&forgotten);
    return code;
}

typedef struct named_pack {
    unsigned char name[FX_ID_BYTES];
    uint32_t number;
} named_pack;

static int
by_name(const void *left, const void *right)
{
    const named_pack *one = left;
    const named_pack *two = right;
    int order = memcmp(one->name, two->name, FX_ID_BYTES);
    return order != 0 ? order : (one->number > two->number) - (one->number < two->number);
}

/* Does the pack hold what its record of that number says? */
static bool
is_true(const collection *work, uint32_t number, const fx_object *object)
{
    FX_BUF_AUTO record;
    fx_err ignored = {0};
    unsigned char digest[FX_ID_BYTES];
    fx_index_pack pack = fx_index_pack_at(work->repository->index, number);
    if (object->blob_count != pack.blob_count) {
        return false;
    }
    fx_buf_init(&record, sizeof pack + (size_t)object->blob_count * FX_ID_BYTES);
    const unsigned char *ids = object->blob_count == 0 ? NULL : object->blobs[0].id.bytes;
    if (fx_index_encode(&pack, ids, sizeof object->blobs[0], &record, &ignored) != FX_OK) {
        return false;
    }
    fx_index_record_of(
        &fx_repository_key_writes(work->repository->key)->id, fx_buf_bytes(&record), digest);
    return memcmp(digest, pack.record, sizeof digest) == 0;
}

/*
 * Of several records of one pack, the one that counts: what somebody vouches for, else what the
 * pack says itself. Anybody who can write can put an index object that lies.
 */
static uint32_t
choose_record(const collection *work, const named_pack *same, size_t count)
{
    const fx_index *index = work->repository->index;
    fx_index_pack first = fx_index_pack_at(index, same[0].number);
    bool differ = false;
    for (size_t i = 0; i < count; i++) {
        fx_index_pack pack = fx_index_pack_at(index, same[i].number);
        if (pack.is_trusted != 0) {
            return same[i].number;
        }
        differ = differ || memcmp(pack.record, first.record, sizeof first.record) != 0;
    }
    for (size_t i = 0; differ && i < count; i++) {
        fx_err ignored = {0};
        FX_AUTO(fx_object) object = NULL;
        if (fx_repository_load_pack(work->repository, same[i].number, &object, &ignored) == FX_OK &&
            is_true(work, same[i].number, object)) {
            return same[i].number;
        }
    }
    return same[0].number;
}

/*
 * A pack can stand in the index several times: in two index objects, or when its own directory
 * told of it before the index object of a writer that was still at work.
 */
static void
find_doubles(collection *work)
{
    named_pack *all = calloc(work->pack_count + 1, sizeof *all);
    work->canon = realloc(work->canon, (work->pack_count + 1) * sizeof *work->canon);
    FX_ASSERT(all != NULL && work->canon != NULL);
    for (size_t i = 0; i < work->pack_count; i++) {
        fx_index_pack pack = fx_index_pack_at(work->repository->index, (uint32_t)i);
        memcpy(all[i].name, pack.name, FX_ID_BYTES);
        all[i].number = (uint32_t)i;
    }
    qsort(all, work->pack_count, sizeof *all, by_name);
    for (size_t i = 0; i < work->pack_count;) {
        size_t end = i + 1;
        while (end < work->pack_count && memcmp(all[i].name, all[end].name, FX_ID_BYTES) == 0) {
            end++;
        }
        uint32_t chosen = choose_record(work, &all[i], end - i);
        while (i < end) {
            work->canon[all[i++].number] = chosen;
        }
    }
    free(all);
}

/* Another record of a pack may count now: what was decided goes with it. */
static void
carry_over(collection *work)
{
    for (size_t i = 0; i < work->pack_count; i++) {
        uint32_t counts = work->canon[i];
        if (counts != i && work->doomed[i]) {
            work->doomed[counts] = true;
            work->missing[counts] = work->missing[counts] || work->missing[i];
            work->doomed[i] = false;
            work->missing[i] = false;
        }
    }
}

static bool
is_doomed(const collection *work, uint32_t pack)
{
    return pack < work->pack_count && work->doomed[work->canon[pack]];
}

/* Named by an index object that came late, or lost. */
static fx_code
find_missing(collection *work, fx_err *err)
{
    fx_id_set there = {0};
    fx_code code = fx_repository_list_packs(work->repository, &there, err);
    for (size_t i = 0; code == FX_OK && i < work->pack_count; i++) {
        fx_index_pack pack = fx_index_pack_at(work->repository->index, (uint32_t)i);
        fx_chunk_id name;
        memcpy(name.bytes, pack.name, FX_ID_BYTES);
        if (work->canon[i] == i && !fx_id_set_has(&there, &name)) {
            work->missing[i] = true;
            work->doomed[i] = true;
        }
    }
    fx_id_set_free(&there);
    return code;
}

/* Learns of packs and chunks that came since. */
static fx_code
learn(collection *work, bool orphans_too, fx_err *err)
{
    fx_repository *repository = work->repository;
    (void)pthread_mutex_lock(&repository->lock);
    fx_code code = fx_repository_load_indexes(repository, err);
    if (code == FX_OK && orphans_too) {
        code = fx_repository_rescue_packs(repository, err);
    }
    (void)pthread_mutex_unlock(&repository->lock);
    if (code != FX_OK) {
        return code;
    }
    fx_live_measure(&work->live, repository);
    work->doomed = realloc(work->doomed, (work->live.pack_count + 1) * sizeof *work->doomed);
    work->missing = realloc(work->missing, (work->live.pack_count + 1) * sizeof *work->missing);
    FX_ASSERT(work->doomed != NULL && work->missing != NULL);
    while (work->pack_count < work->live.pack_count) {
        work->missing[work->pack_count] = false;
        work->doomed[work->pack_count++] = false;
    }
    find_doubles(work);
    carry_over(work);
    return find_missing(work, err);
}

/* ---- what goes
 * -------------------------------------------------------------------------------------- */

static void
choose_packs(collection *work)
{
    const fx_live *live = &work->live;
    for (size_t i = 0; i < work->pack_count; i++) {
        if (work->canon[i] != i) {
            continue;
        }
        uint64_t all = live->first[i + 1] - live->first[i];
        uint64_t needed = live->counts[i];
        work->doomed[i] =
            work->missing[i] || needed == 0 || needed * 100 < all * work->options->live_percent;
        work->report->pack_count++;
        work->report->chunk_count += all;
    }
    work->report->live_chunk_count = live->live_count;
}

static void
doomed_names(const collection *work, fx_id_set *names)
{
    for (size_t i = 0; i < work->pack_count; i++) {
        if (work->doomed[i]) {
            fx_index_pack pack = fx_index_pack_at(work->repository->index, (uint32_t)i);
            fx_chunk_id name;
            memcpy(name.bytes, pack.name, FX_ID_BYTES);
            (void)fx_id_set_add(names, &name);
        }
    }
}

/* Is there a place of the chunk in a pack that stays? With `is_certain`, one that is vouched for:
 * then no other place is needed. */
static bool
is_elsewhere(const collection *work, const fx_chunk_id *id, bool is_certain)
{
    fx_index_cursor cursor = {0};
    fx_index_entry entry;
    while (fx_index_next(work->repository->index, id, &cursor, &entry)) {
        if (!is_doomed(work, entry.pack) &&
            (!is_certain ||
             fx_index_pack_at(work->repository->index, entry.pack).is_trusted != 0)) {
            return true;
        }
    }
    return false;
}

/* ---- writing anew
 * ----------------------------------------------------------------------------------- */

/* Needed chunks in packs that go. */
typedef struct moving {
    const collection *work;
    fx_index_entry *items;
    size_t count;
    size_t room;
} moving;

static void
gather(void *ctx, const fx_index_entry *entry)
{
    moving *list = ctx;
    const collection *work = list->work;
    if (!is_doomed(work, entry->pack) || !fx_live_has(&work->live, entry->pack, entry->blob)) {
        return;
    }
    if (list->count == list->room) {
        list->room = list->room == 0 ? 1024 : list->room * 2;
        list->items = realloc(list->items, list->room * sizeof *list->items);
        FX_ASSERT(list->items != NULL);
    }
    list->items[list->count++] = *entry;
}

/* As they lie in the store, so that each pack is read once and from its start on. */
static int
compare_places(const void *left, const void *right)
{
    const fx_index_entry *a = left;
    const fx_index_entry *b = right;
    if (a->pack != b->pack) {
        return a->pack < b->pack ? -1 : 1;
    }
    return (a->blob > b->blob) - (a->blob < b->blob);
}

static fx_code
move_chunk(collection *work, const fx_chunk_id *id, fx_err *err)
{
    FX_BUF_AUTO content;
    fx_buf_init(&content, FX_CHUNK_MAX_BYTES);
    fx_chunk_kind kind;
    fx_chunk_id again;
    if (is_elsewhere(work, id, true)) {
        return FX_OK;
    }
    if (fx_repository_read_stored(work->repository, id, &kind, &content, err) != FX_OK ||
        fx_writer_add_chunk(work->writer, kind, fx_buf_bytes(&content), &again, err) != FX_OK) {
        return err->code;
    }
    FX_ASSERT(memcmp(again.bytes, id->bytes, FX_ID_BYTES) == 0);
    work->report->rewritten_chunk_count++;
    return FX_OK;
}

/* Stores again what is needed of the packs that go. A chunk that cannot be read stays where it is.
 */
static fx_code
write_anew(collection *work, fx_err *err)
{
    moving list = {.work = work};
    fx_id_set names = {0};
    doomed_names(work, &names);
    fx_writer_avoid(work->writer, &names);
    fx_id_set_free(&names);
    fx_index_each(work->repository->index, gather, &list);
    if (list.count > 0) {
        qsort(list.items, list.count, sizeof *list.items, compare_places);
    }
    fx_code code = FX_OK;
    for (size_t i = 0; code == FX_OK && i < list.count; i++) {
        fx_err failure = {0};
        code = move_chunk(work, &list.items[i].id, &failure);
        if (code == FX_ERR_DAMAGED || code == FX_ERR_NOT_FOUND) {
            code = FX_OK;
        } else if (code != FX_OK) {
            *err = failure;
        }
    }
    free(list.items);
    return code == FX_OK ? fx_writer_flush(work->writer, err)
                         : fx_err_wrap(err, "writing packs anew");
}

/* Packs that hold the only place of a needed chunk stay after all. */
static void
spare(void *ctx, const fx_index_entry *entry)
{
    const collection *work = ctx;
    if (is_doomed(work, entry->pack) && !work->missing[work->canon[entry->pack]] &&
        fx_live_has(&work->live, entry->pack, entry->blob) &&
        !is_elsewhere(work, &entry->id, true)) {
        work->doomed[work->canon[entry->pack]] = false;
    }
}

/* Of needed chunks that were only in packs that are lost. */
typedef struct losses {
    const collection *work;
    uint64_t chunk_count;
} losses;

static void
count_lost(void *ctx, const fx_index_entry *entry)
{
    losses *lost = ctx;
    const collection *work = lost->work;
    lost->chunk_count += is_doomed(work, entry->pack) &&
                         fx_live_has(&work->live, entry->pack, entry->blob) &&
                         !is_elsewhere(work, &entry->id, false);
}

static fx_code
spare_packs(collection *work, fx_err *err)
{
    losses lost = {.work = work};
    fx_index_each(work->repository->index, spare, work);
    fx_index_each(work->repository->index, count_lost, &lost);
    return lost.chunk_count == 0 ? FX_OK
                                 : fx_fail(
                                       err,
                                       FX_ERR_DAMAGED,
                                       "could not collect: packs with %" PRIu64
                                       " needed chunks are missing; verify names them",
                                       lost.chunk_count);
}

/* ---- the writers
 * ------------------------------------------------------------------------------------ */

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

static bool
is_waited_for(const collection *work, const fx_lease *lease)
{
    return lease != NULL && !lease->is_over && !lease->is_revoked &&
           strcmp(lease->id, fx_writer_lease(work->writer)) != 0;
}

/* The first of `waited` that is still at work, or NULL. */
static const fx_lease *
first_at_work(const collection *work, const fx_lease_list *waited, const fx_lease_list *now)
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
revoke_all(collection *work, const fx_lease_list *waited, const fx_lease_list *now, fx_err *err)
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
revoke_gone(const collection *work, const fx_lease_list *list, fx_err *err)
{
    for (size_t i = 0; i < list->count; i++) {
        const fx_lease *lease = &list->items[i];
        if (lease->is_gone && !lease->is_revoked &&
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
static fx_code
await_writers(collection *work, fx_err *err)
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
settle_one(const collection *work, const char *lease, fx_err *err)
{
    fx_id_set counted = {0};
    for (size_t i = 0; i < work->root_count; i++) {
        fx_chunk_id id;
        id_of_text(work->root_list[i].id, &id);
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
static fx_code
settle_revoked(collection *work, fx_err *err)
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

/* ---- one collector at a time
 * ------------------------------------------------------------------------ */

/*
 * One that was so slow to begin that a collector before it took it for a writer and revoked it: the
 * next one would not see that it is at work.
 */
static fx_code
keep_right(const collection *work, fx_err *err)
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
 * The mark of that name holds no packs; it says that this collector is at work. Put first, looked
 * for afterwards: of two that begin at once at least one sees the other.
 */
static fx_code
begin_alone(collection *work, fx_err *err)
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
        code = is_waited_for(work, lease) && !work->options->take_over
                   ? is_at_work(lease, "a collector", "take over", err)
                   : fx_mark_remove(store, id, err);
    }
    fx_key_list_free(&marks);
    fx_lease_list_free(&leases);
    return code == FX_OK ? keep_right(work, err) : code;
}

static void
remove_marks(collection *work)
{
    fx_err ignored = {0};
    fx_store *store = work->repository->store;
    if (work->mark[0] != '\0') {
        fx_ignore(fx_mark_remove(store, work->mark, &ignored), "the next collector removes it");
    }
    fx_ignore(
        fx_mark_remove(store, fx_writer_lease(work->writer), &ignored),
        "the next collector removes it");
}

/* ---- new index objects
 * ------------------------------------------------------------------------------- */

/* The ids of the packs [first, end) that stay, in their order. */
typedef struct batch {
    const collection *work;
    uint32_t first;
    uint32_t end;
    fx_chunk_id *ids;
} batch;

static void
place_id(void *ctx, const fx_index_entry *entry)
{
    const batch *some = ctx;
    const fx_live *live = &some->work->live;
    if (entry->pack >= some->first && entry->pack < some->end) {
        uint64_t at = live->first[entry->pack] - live->first[some->first] + entry->blob;
        if (entry->blob < live->first[entry->pack + 1] - live->first[entry->pack]) {
            some->ids[at] = entry->id;
        }
    }
}

static fx_code
write_batch(batch *some, fx_index_writer *writer, fx_voucher_writer *voucher, fx_err *err)
{
    const collection *work = some->work;
    fx_index_each(work->repository->index, place_id, some);
    for (uint32_t i = some->first; i < some->end; i++) {
        fx_index_pack pack = fx_index_pack_at(work->repository->index, i);
        const fx_chunk_id *ids = some->ids + (work->live.first[i] - work->live.first[some->first]);
        bool is_vouched = pack.is_trusted != 0;
        if (work->canon[i] == i && !is_doomed(work, i) &&
            (fx_index_writer_add(writer, &pack, ids->bytes, sizeof *ids, err) != FX_OK ||
             fx_voucher_writer_add(voucher, &pack, ids->bytes, sizeof *ids, is_vouched, err) !=
                 FX_OK)) {
            return err->code;
        }
    }
    return FX_OK;
}

static fx_code
write_indexes(collection *work, fx_err *err)
{
    fx_session session;
    fx_index_writer writer;
    fx_voucher_writer voucher;
    const fx_live *live = &work->live;
    if (fx_session_begin(work->repository->key, &session, err) != FX_OK) {
        return err->code;
    }
    fx_index_writer_init(&writer, work->repository->store, &session);
    writer.names = &work->index_names;
    fx_voucher_writer_init(
        &voucher, work->repository->store, fx_repository_key_writes(work->repository->key));
    voucher.names = &work->voucher_names;
    fx_code code = FX_OK;
    for (uint32_t first = 0; code == FX_OK && first < work->pack_count;) {
        batch some = {.work = work, .first = first, .end = first + 1};
        while (some.end < work->pack_count &&
               live->first[some.end + 1] - live->first[first] <= BATCH_BLOBS) {
            some.end++;
        }
        some.ids = calloc(live->first[some.end] - live->first[first] + 1, sizeof *some.ids);
        FX_ASSERT(some.ids != NULL);
        code = write_batch(&some, &writer, &voucher, err);
        free(some.ids);
        first = some.end;
    }
    if (code == FX_OK) {
        code = fx_index_writer_finish(&writer, err);
    }
    if (code == FX_OK) {
        code = fx_voucher_writer_finish(&voucher, err);
    }
    fx_index_writer_free(&writer);
    fx_voucher_writer_free(&voucher);
    fx_wipe(&session, sizeof session);
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "writing new indexes");
}

static fx_code
remove_key(collection *work, const char *store_key, fx_err *err)
{
    fx_err failure = {0};
    fx_mono deadline = fx_repository_deadline();
    fx_code code = fx_store_remove(work->repository->store, store_key, deadline, &failure);
    if (code != FX_OK && code != FX_ERR_NOT_FOUND) {
        *err = failure;
        return fx_err_wrap(err, "removing \"%s\"", store_key);
    }
    return FX_OK;
}

/* What they say of packs that stay, the new ones say. Those with bad signatures say nothing. */
static fx_code
remove_old_vouchers(collection *work, fx_err *err)
{
    const fx_repository *repository = work->repository;
    char prefix[FX_VOUCHER_PREFIX_BYTES];
    fx_voucher_prefix(&fx_repository_key_writes(repository->key)->id, prefix);
    for (size_t i = 0; i < repository->vouchers.capacity; i++) {
        char hex[2 * FX_ID_BYTES + 1];
        char store_key[FX_KEY_TEXT_BYTES];
        const fx_chunk_id *name = &repository->vouchers.slots[i];
        if (!repository->vouchers.used[i] || fx_id_set_has(&work->voucher_names, name)) {
            continue;
        }
        fx_hex_encode((fx_bytes){name->bytes, FX_ID_BYTES}, hex);
        (void)snprintf(store_key, sizeof store_key, "%s%s", prefix, hex);
        if (remove_key(work, store_key, err) != FX_OK) {
            return err->code;
        }
    }
    return FX_OK;
}

/* Those whose packs all stand in the new ones; damaged ones too: their packs' directories spoke. */
static fx_code
remove_old_indexes(collection *work, fx_err *err)
{
    fx_repository *repository = work->repository;
    for (size_t i = 0; i < repository->loaded.capacity; i++) {
        char hex[2 * FX_ID_BYTES + 1];
        char store_key[FX_KEY_TEXT_BYTES];
        const fx_chunk_id *name = &repository->loaded.slots[i];
        if (!repository->loaded.used[i] || fx_id_set_has(&work->index_names, name) ||
            fx_id_set_has(&repository->foreign, name)) {
            continue;
        }
        fx_hex_encode((fx_bytes){name->bytes, FX_ID_BYTES}, hex);
        (void)snprintf(store_key, sizeof store_key, "indexes/%s", hex);
        if (remove_key(work, store_key, err) != FX_OK) {
            return err->code;
        }
    }
    /* A damaged one may be another scope's: then only that scope's holder can tell. */
    for (size_t i = 0; repository->foreign.count == 0 && i < repository->bad_count; i++) {
        const fx_bad_index *bad = &repository->bad[i];
        if (bad->err.code == FX_ERR_DAMAGED && remove_key(work, bad->store_key, err) != FX_OK) {
            return err->code;
        }
    }
    return FX_OK;
}

static fx_code
remove_packs(collection *work, fx_err *err)
{
    for (size_t i = 0; i < work->pack_count; i++) {
        char store_key[FX_KEY_TEXT_BYTES];
        if (!work->doomed[i] || work->missing[i]) { /* of several numbers, only one is */
            continue;
        }
        fx_index_pack pack = fx_index_pack_at(work->repository->index, (uint32_t)i);
        fx_pack_key(pack.name, store_key);
        if (remove_key(work, store_key, err) != FX_OK) {
            return err->code;
        }
        work->report->removed_pack_count++;
        work->report->removed_bytes += pack.size_bytes;
    }
    return FX_OK;
}

/* ---- what is left of writers
 * ------------------------------------------------------------------------ */

static fx_code
clear_leases(collection *work, fx_err *err)
{
    fx_lease_list leases = {0};
    fx_store *store = work->repository->store;
    fx_code code = fx_lease_list_all(store, &leases, err);
    if (code == FX_OK) {
        code = revoke_gone(work, &leases, err);
    }
    for (size_t i = 0; code == FX_OK && i < leases.count; i++) {
        if (leases.items[i].is_over) {
            code = fx_lease_clear(store, leases.items[i].id, err);
        }
    }
    fx_lease_list_free(&leases);
    return code;
}

/* Snapshots that revoked writers put all the same. */
static fx_code
remove_void(collection *work, fx_err *err)
{
    fx_snapshot_list list = {0};
    size_t unreadable_count = 0;
    fx_code code = fx_repository_list_all(work->repository, &list, &unreadable_count, err);
    for (size_t i = 0; code == FX_OK && i < list.count; i++) {
        char store_key[FX_KEY_TEXT_BYTES];
        if (list.items[i].is_void && !work->options->dry_run) {
            (void)snprintf(store_key, sizeof store_key, "snapshots/%s", list.items[i].id);
            code = remove_key(work, store_key, err);
            work->report->void_snapshot_count++;
        }
    }
    fx_snapshot_list_free(&list);
    return code;
}

/* Announcements of what has arrived, or was forgotten. A snapshot goes only after it was said to be
 * forgotten. */
static fx_code
remove_arrived(const collection *work, fx_err *err)
{
    fx_id_set arriving = {0};
    fx_id_set settled = {0};
    fx_key_list list = {0};
    fx_store *store = work->repository->store;
    fx_code code = fx_arriving_read(store, &arriving, err);
    if (code == FX_OK && arriving.count > 0) {
        code = fx_forgotten_read(store, &settled, err);
    }
    if (code == FX_OK && arriving.count > 0) {
        code = fx_repository_list_keys(work->repository, "snapshots/", &list, err);
    }
    for (size_t i = 0; code == FX_OK && i < list.count; i++) {
        fx_chunk_id id;
        fx_err ignored = {0};
        const char *hex = strrchr(list.items[i], '/') + 1;
        if (fx_hex_decode(hex, id.bytes, sizeof id.bytes, &ignored) == FX_OK) {
            (void)fx_id_set_add(&settled, &id);
        }
    }
    for (size_t i = 0; code == FX_OK && i < arriving.capacity; i++) {
        if (arriving.used[i] && fx_id_set_has(&settled, &arriving.slots[i])) {
            code = fx_arriving_remove(store, &arriving.slots[i], err);
        }
    }
    fx_id_set_free(&arriving);
    fx_id_set_free(&settled);
    fx_key_list_free(&list);
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "removing announcements");
}

/* ---- all
 * -------------------------------------------------------------------------------------------- */

/* From the mark on: docs/format.md, "Collecting". */
static fx_code
remove_unneeded(collection *work, fx_err *err)
{
    fx_store *store = work->repository->store;
    fx_id_set names = {0};
    doomed_names(work, &names);
    (void)snprintf(
        work->mark,
        sizeof work->mark,
        "%.*s.1",
        (int)sizeof work->mark - 3,
        fx_writer_lease(work->writer));
    fx_code code = fx_mark_put(store, work->mark, &names, err);
    fx_id_set_free(&names);
    if (code != FX_OK || await_writers(work, err) != FX_OK || learn(work, false, err) != FX_OK ||
        look_again(work, err) != FX_OK || spare_packs(work, err) != FX_OK ||
        settle_revoked(work, err) != FX_OK || write_indexes(work, err) != FX_OK ||
        remove_old_vouchers(work, err) != FX_OK || remove_old_indexes(work, err) != FX_OK ||
        remove_packs(work, err) != FX_OK) {
        return err->code;
    }
    return FX_OK;
}

static bool
has_doomed(const collection *work)
{
    for (size_t i = 0; i < work->pack_count; i++) {
        if (work->doomed[i]) {
            return true;
        }
    }
    return false;
}

static fx_code
collect(collection *work, fx_err *err)
{
    fx_repository *repository = work->repository;
    if (begin_alone(work, err) != FX_OK || learn(work, true, err) != FX_OK ||
        look_at_snapshots(work, err) != FX_OK) {
        return err->code;
    }
    choose_packs(work);
    bool has_work = has_doomed(work) || repository->bad_count > 0 ||
                    repository->loaded.count - repository->foreign.count > INDEX_MANY ||
                    repository->vouchers.count > INDEX_MANY || repository->rescued_count > 0;
    if (work->options->dry_run) {
        for (size_t i = 0; i < work->pack_count; i++) {
            work->report->removed_pack_count += work->doomed[i];
            work->report->removed_bytes +=
                work->doomed[i] ? fx_index_pack_at(repository->index, (uint32_t)i).size_bytes : 0;
        }
        return FX_OK;
    }
    if (has_work && (write_anew(work, err) != FX_OK || learn(work, false, err) != FX_OK ||
                     remove_unneeded(work, err) != FX_OK)) {
        return err->code;
    }
    if (clear_leases(work, err) != FX_OK || remove_arrived(work, err) != FX_OK) {
        return err->code;
    }
    return remove_void(work, err);
}

/* The repository's key has one scope. Adds to the report. */
static fx_code
collect_scope(
    fx_repository *repository,
    const fx_collect_options *options,
    fx_collect_report *report,
    fx_err *err)
{
    FX_AUTO(fx_writer) writer = NULL;
    if (fx_writer_open(repository, &writer, err) != FX_OK) {
        return fx_err_wrap(err, "beginning to collect");
    }
    collection work = {
        .repository = repository, .options = options, .report = report, .writer = writer};
    fx_code code = collect(&work, err);
    remove_marks(&work);
    report->index_count +=
        work.index_names.count > 0 ? work.index_names.count : repository->loaded.count;
    free(work.missing);
    free(work.doomed);
    free(work.canon);
    free(work.root_list);
    fx_live_free(&work.live);
    fx_id_set_free(&work.roots);
    fx_id_set_free(&work.index_names);
    fx_id_set_free(&work.voucher_names);
    return code;
}

fx_code
fx_repository_collect(
    const char *url,
    const fx_repository_key *key,
    const fx_collect_options *options,
    fx_collect_report *out_report,
    fx_err *err)
{
    fx_collect_report report = {0};
    fx_code code = FX_OK;
    bool has_one = false;
    for (size_t i = 0; code == FX_OK && i < key->scope_count; i++) {
        /* Packs and index objects belong to one scope each: others must not see into them. */
        const fx_repository_key one = {
            .keyring = key->keyring, .scopes = &key->scopes[i], .scope_count = 1};
        FX_AUTO(fx_repository) repository = NULL;
        if (!one.scopes->can_read || !one.scopes->can_write) {
            continue;
        }
        code = fx_repository_open(url, &one, &repository, err);
        if (code == FX_OK && repository->has_write_scope) {
            has_one = true;
            code = collect_scope(repository, options, &report, err);
        }
    }
    if (code == FX_OK && !has_one) {
        code = fx_fail(
            err, FX_ERR_WRONG_KEY, "could not collect: the key can read no scope that is there");
    }
    *out_report = report;
    return code;
}
