#include "common/repository/index.h"

#include <pthread.h>
#include <string.h>

#include "common/crypto/digest.h"
#include "common/repository/index_part.h"

enum {
    RECORD_HEAD_BYTES = FX_ID_BYTES + 8 + 4,
    BLOBS_IN_PACK_MAX = 1 << 20,
    PART_MAX = 48,     /* each at least twice as large as the next: more than fit a machine */
    SEAL_AT = 1 << 20, /* entries that wait in memory: 40 MiB */
};

/* What waits for the seal. */
typedef struct growing {
    fx_index_pack *packs;
    fx_index_entry *entries; /* numbers of packs count from first_pack */
    size_t pack_count;
    size_t pack_room;
    size_t entry_count;
    size_t entry_room;
} growing;

struct fx_index {
    char *folder;
    pthread_rwlock_t lock; /* guards the rest */
    fx_index_part parts[PART_MAX];
    uint32_t first_pack[PART_MAX + 1];
    size_t part_count;
    growing fresh;
};

fx_index *
fx_index_new(const char *folder)
{
    fx_index *index = calloc(1, sizeof *index);
    FX_ASSERT(index != NULL);
    index->folder = strdup(folder == NULL ? "/var/tmp" : folder);
    FX_ASSERT(index->folder != NULL);
    int result = pthread_rwlock_init(&index->lock, NULL);
    FX_ASSERT(result == 0);
    return index;
}

void
fx_index_free(fx_index *index)
{
    if (index == NULL) {
        return;
    }
    for (size_t i = 0; i < index->part_count; i++) {
        fx_index_part_free(&index->parts[i]);
    }
    free(index->fresh.packs);
    free(index->fresh.entries);
    free(index->folder);
    (void)pthread_rwlock_destroy(&index->lock);
    free(index);
}

/* A query changes nothing that anyone sees, but for the lock. */
static pthread_rwlock_t *
lock_of(const fx_index *index)
{
    union {
        const fx_index *in;
        fx_index *out;
    } same = {.in = index};
    return &same.out->lock;
}

static void
read_lock(const fx_index *index)
{
    (void)pthread_rwlock_rdlock(lock_of(index));
}

static void
unlock(const fx_index *index)
{
    (void)pthread_rwlock_unlock(lock_of(index));
}

/* ---- finding
 * --------------------------------------------------------------------------------------- */

size_t
fx_index_pack_count(const fx_index *index)
{
    read_lock(index);
    size_t count = index->first_pack[index->part_count];
    unlock(index);
    return count;
}

uint64_t
fx_index_entry_count(const fx_index *index)
{
    uint64_t count = 0;
    read_lock(index);
    for (size_t i = 0; i < index->part_count; i++) {
        count += index->parts[i].entry_count;
    }
    unlock(index);
    return count;
}

static const fx_index_pack *
pack_at(const fx_index *index, uint32_t number)
{
    FX_ASSERT(number < index->first_pack[index->part_count]);
    size_t part = 0;
    while (number >= index->first_pack[part + 1]) {
        part++;
    }
    return &index->parts[part].packs[number - index->first_pack[part]];
}

fx_index_pack
fx_index_pack_at(const fx_index *index, uint32_t number)
{
    read_lock(index);
    fx_index_pack pack = *pack_at(index, number);
    unlock(index);
    return pack;
}

static bool
next_place(
    const fx_index *index,
    const fx_chunk_id *id,
    fx_index_cursor *cursor,
    fx_index_entry *out_entry)
{
    for (; cursor->segment < index->part_count; cursor->segment++, cursor->next = 0) {
        const fx_index_part *part = &index->parts[cursor->segment];
        size_t at = cursor->next == 0 ? fx_index_part_search(part, id) : cursor->next;
        if (fx_index_part_match(part, at, id, out_entry)) {
            out_entry->pack += index->first_pack[cursor->segment];
            cursor->next = at + 1;
            return true;
        }
    }
    return false;
}

bool
fx_index_next(
    const fx_index *index,
    const fx_chunk_id *id,
    fx_index_cursor *cursor,
    fx_index_entry *out_entry)
{
    read_lock(index);
    bool found = next_place(index, id, cursor, out_entry);
    unlock(index);
    return found;
}

bool
fx_index_has(const fx_index *index, const fx_chunk_id *id)
{
    fx_index_cursor cursor = {0};
    fx_index_entry entry;
    return fx_index_next(index, id, &cursor, &entry);
}

bool
fx_index_is_recorded(const fx_index *index, const fx_chunk_id *id)
{
    fx_index_cursor cursor = {0};
    fx_index_entry entry;
    bool recorded = false;
    read_lock(index);
    while (!recorded && next_place(index, id, &cursor, &entry)) {
        recorded = pack_at(index, entry.pack)->is_rescued == 0;
    }
    unlock(index);
    return recorded;
}

void
fx_index_each(
    const fx_index *index, void (*visit)(void *ctx, const fx_index_entry *entry), void *ctx)
{
    read_lock(index);
    for (size_t i = 0; i < index->part_count; i++) {
        fx_index_walk walk = {.part = &index->parts[i]};
        fx_index_entry entry;
        while (fx_index_walk_next(&walk, &entry)) {
            entry.pack += index->first_pack[i];
            visit(ctx, &entry);
        }
    }
    unlock(index);
}

/* ---- adding
 * ---------------------------------------------------------------------------------------- */

static void *
grow(void *items, size_t *room, size_t item_bytes)
{
    *room = *room == 0 ? 1024 : *room * 2;
    void *grown = realloc(items, *room * item_bytes);
    FX_ASSERT(grown != NULL);
    return grown;
}

uint32_t
fx_index_add_pack(fx_index *index, const fx_index_pack *pack)
{
    growing *fresh = &index->fresh;
    if (fresh->pack_count == fresh->pack_room) {
        fresh->packs = grow(fresh->packs, &fresh->pack_room, sizeof *fresh->packs);
    }
    fresh->packs[fresh->pack_count] = *pack;
    return index->first_pack[index->part_count] + (uint32_t)fresh->pack_count++;
}

void
fx_index_add(fx_index *index, const fx_index_entry *entry)
{
    growing *fresh = &index->fresh;
    uint32_t first = index->first_pack[index->part_count];
    FX_ASSERT(entry->pack >= first && entry->pack - first < fresh->pack_count);
    if (fresh->entry_count == fresh->entry_room) {
        fresh->entries = grow(fresh->entries, &fresh->entry_room, sizeof *fresh->entries);
    }
    fresh->entries[fresh->entry_count] = *entry;
    fresh->entries[fresh->entry_count++].pack -= first;
}

fx_index_mark
fx_index_marked(const fx_index *index)
{
    return (fx_index_mark){index->fresh.pack_count, index->fresh.entry_count};
}

void
fx_index_roll_back(fx_index *index, const fx_index_mark *mark)
{
    index->fresh.pack_count = mark->pack_count;
    index->fresh.entry_count = mark->entry_count;
}

static int
by_id(const void *left, const void *right)
{
    const fx_index_entry *one = left;
    const fx_index_entry *two = right;
    int order = memcmp(one->id.bytes, two->id.bytes, FX_ID_BYTES);
    if (order != 0) {
        return order;
    }
    return one->pack < two->pack ? -1 : one->pack > two->pack;
}

/* The last two become one while the last is not much smaller. */
static void
settle(fx_index *index)
{
    while (index->part_count >= 2) {
        fx_index_part *last = &index->parts[index->part_count - 1];
        fx_index_part *before = last - 1;
        if (before->entry_count > 2 * last->entry_count) {
            break;
        }
        fx_index_part merged = fx_index_part_merge(before, 2, index->folder);
        fx_index_part_free(before);
        fx_index_part_free(last);
        *before = merged;
        index->first_pack[index->part_count - 1] = index->first_pack[index->part_count];
        index->part_count--;
    }
}

void
fx_index_seal(fx_index *index)
{
    growing *fresh = &index->fresh;
    if (fresh->pack_count == 0) {
        return;
    }
    if (fresh->entry_count > 1) {
        qsort(fresh->entries, fresh->entry_count, sizeof *fresh->entries, by_id);
    }
    fx_index_part made =
        fx_index_part_make(fresh->packs, fresh->pack_count, fresh->entries, fresh->entry_count);
    (void)pthread_rwlock_wrlock(&index->lock);
    FX_ASSERT(index->part_count < PART_MAX);
    uint32_t first = index->first_pack[index->part_count];
    index->parts[index->part_count] = made;
    index->part_count++;
    index->first_pack[index->part_count] = first + (uint32_t)made.pack_count;
    index->fresh = (growing){0};
    settle(index);
    (void)pthread_rwlock_unlock(&index->lock);
}

bool
fx_index_is_due(const fx_index *index)
{
    return index->fresh.entry_count >= SEAL_AT;
}

/* ---- kept on disk
 * ------------------------------------------------------------------------------------- */

fx_code
fx_index_save(const fx_index *index, const char *path, fx_bytes label, fx_err *err)
{
    read_lock(index);
    fx_code code = fx_index_part_save(index->parts, index->part_count, path, label, err);
    unlock(index);
    return code;
}

fx_code
fx_index_load(fx_index *index, const char *path, fx_buf *out_label, fx_err *err)
{
    FX_ASSERT(index->part_count == 0 && index->fresh.pack_count == 0);
    (void)pthread_rwlock_wrlock(&index->lock);
    fx_code code = fx_index_part_load(path, &index->parts[0], out_label, err);
    if (code == FX_OK) {
        index->part_count = 1;
        index->first_pack[1] = (uint32_t)index->parts[0].pack_count;
    }
    (void)pthread_rwlock_unlock(&index->lock);
    return code;
}

/* ---- in index objects
 * --------------------------------------------------------------------------------- */

fx_code
fx_index_encode(
    const fx_index_pack *pack,
    const unsigned char *ids,
    size_t stride_bytes,
    fx_buf *out,
    fx_err *err)
{
    unsigned char *room = NULL;
    size_t record_bytes = RECORD_HEAD_BYTES + (size_t)pack->blob_count * FX_ID_BYTES;
    if (fx_buf_extend(out, record_bytes, &room, err) != FX_OK) {
        return err->code;
    }
    memcpy(room, pack->name, FX_ID_BYTES);
    for (size_t i = 0; i < 8; i++) {
        room[FX_ID_BYTES + i] = (unsigned char)((uint64_t)pack->size_bytes >> (8 * i));
    }
    for (size_t i = 0; i < 4; i++) {
        room[FX_ID_BYTES + 8 + i] = (unsigned char)(pack->blob_count >> (8 * i));
    }
    for (size_t i = 0; i < pack->blob_count; i++) {
        memcpy(room + RECORD_HEAD_BYTES + i * FX_ID_BYTES, ids + i * stride_bytes, FX_ID_BYTES);
    }
    return FX_OK;
}

static uint64_t
get_number(const unsigned char *from, size_t size_bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size_bytes; i++) {
        value |= (uint64_t)from[i] << (8 * i);
    }
    return value;
}

void
fx_index_record_of(const fx_scope_id *scope, fx_bytes record, unsigned char out_digest[FX_ID_BYTES])
{
    static const char use[] = "fortress pack record 1"; /* with its NUL */
    FX_AUTO(fx_sha256_stream) stream = fx_sha256_stream_new();
    fx_sha256_stream_add(stream, (fx_bytes){use, sizeof use});
    fx_sha256_stream_add(stream, (fx_bytes){scope->bytes, sizeof scope->bytes});
    fx_sha256_stream_add(stream, record);
    fx_sha256_stream_finish(stream, out_digest);
}

size_t
fx_index_trust(fx_index *index, const fx_id_set *records)
{
    static const fx_chunk_id none;
    size_t count = 0;
    (void)pthread_rwlock_wrlock(&index->lock);
    for (size_t i = 0; records->count > 0 && i < index->part_count; i++) {
        for (size_t at = 0; at < index->parts[i].pack_count; at++) {
            fx_index_pack *pack = &index->parts[i].packs[at];
            fx_chunk_id record;
            memcpy(record.bytes, pack->record, FX_ID_BYTES);
            if (pack->is_trusted == 0 && memcmp(&record, &none, sizeof none) != 0 &&
                fx_id_set_has(records, &record)) {
                pack->is_trusted = 1;
                count++;
            }
        }
    }
    (void)pthread_rwlock_unlock(&index->lock);
    return count;
}

fx_code
fx_index_take_record(fx_bytes *records, fx_bytes *out_record, fx_err *err)
{
    const unsigned char *data = records->data;
    if (records->size_bytes < RECORD_HEAD_BYTES) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not read an index: a record is cut short");
    }
    uint64_t count = get_number(data + FX_ID_BYTES + 8, 4);
    if (count > BLOBS_IN_PACK_MAX || get_number(data + FX_ID_BYTES, 8) > UINT32_MAX ||
        (records->size_bytes - RECORD_HEAD_BYTES) / FX_ID_BYTES < count) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not read an index: a record is too long");
    }
    size_t record_bytes = RECORD_HEAD_BYTES + (size_t)count * FX_ID_BYTES;
    *out_record = (fx_bytes){data, record_bytes};
    *records = (fx_bytes){data + record_bytes, records->size_bytes - record_bytes};
    return FX_OK;
}

fx_code
fx_index_decode(fx_index *index, fx_bytes blob, const fx_index_origin *origin, fx_err *err)
{
    while (blob.size_bytes > 0) {
        fx_index_pack pack = {.is_trusted = origin->is_trusted};
        fx_bytes record;
        if (fx_index_take_record(&blob, &record, err) != FX_OK) {
            return err->code;
        }
        const unsigned char *data = record.data;
        memcpy(pack.name, data, FX_ID_BYTES);
        pack.size_bytes = (uint32_t)get_number(data + FX_ID_BYTES, 8);
        pack.blob_count = (uint32_t)get_number(data + FX_ID_BYTES + 8, 4);
        if (origin->scope != NULL) {
            fx_index_record_of(origin->scope, record, pack.record);
        }
        fx_index_entry entry = {.pack = fx_index_add_pack(index, &pack)};
        for (entry.blob = 0; entry.blob < pack.blob_count; entry.blob++) {
            memcpy(
                entry.id.bytes,
                data + RECORD_HEAD_BYTES + (size_t)entry.blob * FX_ID_BYTES,
                FX_ID_BYTES);
            fx_index_add(index, &entry);
        }
    }
    return FX_OK;
}
