#include "common/repository/index.h"

#include <string.h>

enum { RECORD_HEAD_BYTES = FX_ID_BYTES + 8 + 4, BLOBS_IN_PACK_MAX = 1 << 20 };

void
fx_index_free(fx_index *index)
{
    free(index->packs);
    free(index->entries);
    *index = (fx_index){0};
}

static void *
grow(void *items, size_t *capacity, size_t item_bytes)
{
    *capacity = *capacity == 0 ? 1024 : *capacity * 2;
    void *grown = realloc(items, *capacity * item_bytes);
    FX_ASSERT(grown != NULL);
    return grown;
}

uint32_t
fx_index_add_pack(fx_index *index, const fx_index_pack *pack)
{
    FX_ASSERT(index->pack_count < UINT32_MAX);
    if (index->pack_count == index->pack_capacity) {
        index->packs = grow(index->packs, &index->pack_capacity, sizeof *index->packs);
    }
    index->packs[index->pack_count] = *pack;
    return (uint32_t)index->pack_count++;
}

void
fx_index_add(fx_index *index, const fx_index_entry *entry)
{
    if (index->entry_count == index->entry_capacity) {
        index->entries = grow(index->entries, &index->entry_capacity, sizeof *index->entries);
    }
    index->entries[index->entry_count++] = *entry;
    index->sorted = false;
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

void
fx_index_sort(fx_index *index)
{
    if (!index->sorted && index->entry_count > 0) {
        qsort(index->entries, index->entry_count, sizeof *index->entries, by_id);
    }
    index->sorted = true;
}

const fx_index_entry *
fx_index_find(fx_index *index, const fx_chunk_id *id)
{
    if (index->entry_count == 0) {
        return NULL;
    }
    if (!index->sorted) {
        fx_index_sort(index);
    }
    size_t low = 0;
    size_t high = index->entry_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(index->entries[middle].id.bytes, id->bytes, FX_ID_BYTES) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == index->entry_count ||
        memcmp(index->entries[low].id.bytes, id->bytes, FX_ID_BYTES) != 0) {
        return NULL;
    }
    return &index->entries[low];
}

bool
fx_index_is_recorded(fx_index *index, const fx_chunk_id *id)
{
    const fx_index_entry *entry = fx_index_find(index, id);
    const fx_index_entry *end = index->entries + index->entry_count;
    for (; entry != NULL && entry < end && memcmp(entry->id.bytes, id->bytes, FX_ID_BYTES) == 0;
         entry++) {
        if (!index->packs[entry->pack].is_rescued) {
            return true;
        }
    }
    return false;
}

void
fx_index_merge(fx_index *into, const fx_index *from)
{
    uint32_t first = (uint32_t)into->pack_count;
    for (size_t i = 0; i < from->pack_count; i++) {
        (void)fx_index_add_pack(into, &from->packs[i]);
    }
    for (size_t i = 0; i < from->entry_count; i++) {
        fx_index_entry entry = from->entries[i];
        entry.pack += first;
        fx_index_add(into, &entry);
    }
}

fx_code
fx_index_encode(const fx_index_pack *pack, const fx_object_writer *object, fx_buf *out, fx_err *err)
{
    FX_ASSERT(pack->blob_count == object->count);
    unsigned char *room = NULL;
    size_t record_bytes = RECORD_HEAD_BYTES + (size_t)pack->blob_count * FX_ID_BYTES;
    if (fx_buf_extend(out, record_bytes, &room, err) != FX_OK) {
        return err->code;
    }
    memcpy(room, pack->name, FX_ID_BYTES);
    for (size_t i = 0; i < 8; i++) {
        room[FX_ID_BYTES + i] = (unsigned char)(pack->size_bytes >> (8 * i));
    }
    for (size_t i = 0; i < 4; i++) {
        room[FX_ID_BYTES + 8 + i] = (unsigned char)(pack->blob_count >> (8 * i));
    }
    for (uint32_t i = 0; i < pack->blob_count; i++) {
        const fx_chunk_id *id = fx_object_id_at(object, i);
        memcpy(room + RECORD_HEAD_BYTES + (size_t)i * FX_ID_BYTES, id->bytes, FX_ID_BYTES);
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

fx_code
fx_index_decode(fx_index *index, fx_bytes blob, fx_err *err)
{
    const unsigned char *data = blob.data;
    size_t left_bytes = blob.size_bytes;
    while (left_bytes > 0) {
        fx_index_pack pack = {0};
        if (left_bytes < RECORD_HEAD_BYTES) {
            return fx_fail(err, FX_ERR_DAMAGED, "could not read an index: a record is cut short");
        }
        memcpy(pack.name, data, FX_ID_BYTES);
        pack.size_bytes = get_number(data + FX_ID_BYTES, 8);
        pack.blob_count = (uint32_t)get_number(data + FX_ID_BYTES + 8, 4);
        data += RECORD_HEAD_BYTES;
        left_bytes -= RECORD_HEAD_BYTES;
        if (pack.blob_count > BLOBS_IN_PACK_MAX || left_bytes / FX_ID_BYTES < pack.blob_count) {
            return fx_fail(err, FX_ERR_DAMAGED, "could not read an index: a record is too long");
        }
        fx_index_entry entry = {.pack = fx_index_add_pack(index, &pack)};
        for (entry.blob = 0; entry.blob < pack.blob_count; entry.blob++) {
            memcpy(entry.id.bytes, data, FX_ID_BYTES);
            fx_index_add(index, &entry);
            data += FX_ID_BYTES;
        }
        left_bytes -= (size_t)pack.blob_count * FX_ID_BYTES;
    }
    return FX_OK;
}
