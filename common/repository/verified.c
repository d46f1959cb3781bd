#include "common/repository/verified.h"

#include <string.h>

#include "common/base/file.h"
#include "common/crypto/digest.h"

enum { FILE_MAX_BYTES = 512 * 1024 * 1024, RECORD_BYTES = FX_ID_BYTES + 8 };

static const char file_magic[8] = "FXSCRUB1";

typedef struct record {
    fx_chunk_id name;
    fx_wall when;
    bool is_seen;
} record;

/* The loaded ones are sorted by name; those that are new follow in any order. */
struct fx_verified {
    record *items;
    size_t count;
    size_t room;
    size_t sorted_count;
};

static int
by_name(const void *left, const void *right)
{
    const record *one = left;
    const record *two = right;
    return memcmp(one->name.bytes, two->name.bytes, FX_ID_BYTES);
}

static record *
find(const fx_verified *verified, const fx_chunk_id *name)
{
    record wanted = {.name = *name};
    return verified->sorted_count == 0 ? NULL
                                       : bsearch(
                                             &wanted,
                                             verified->items,
                                             verified->sorted_count,
                                             sizeof *verified->items,
                                             by_name);
}

static void
add(fx_verified *verified, const record *item)
{
    if (verified->count == verified->room) {
        verified->room = verified->room == 0 ? 1024 : verified->room * 2;
        verified->items = realloc(verified->items, verified->room * sizeof *verified->items);
        FX_ASSERT(verified->items != NULL);
    }
    verified->items[verified->count++] = *item;
}

static void
decode(fx_verified *verified, fx_bytes bytes)
{
    const unsigned char *data = bytes.data;
    unsigned char digest[FX_SHA256_BYTES];
    size_t frame_bytes = sizeof file_magic + sizeof digest;
    if (bytes.size_bytes < frame_bytes || memcmp(data, file_magic, sizeof file_magic) != 0 ||
        (bytes.size_bytes - frame_bytes) % RECORD_BYTES != 0) {
        return;
    }
    size_t body_bytes = bytes.size_bytes - sizeof digest;
    fx_sha256((fx_bytes){data, body_bytes}, digest);
    if (memcmp(data + body_bytes, digest, sizeof digest) != 0) {
        return;
    }
    for (size_t at = sizeof file_magic; at < body_bytes; at += RECORD_BYTES) {
        record item = {0};
        uint64_t when = 0;
        memcpy(item.name.bytes, data + at, FX_ID_BYTES);
        for (size_t i = 0; i < 8; i++) {
            when |= (uint64_t)data[at + FX_ID_BYTES + i] << (8 * i);
        }
        item.when.ns = (int64_t)when;
        add(verified, &item);
    }
    if (verified->count > 0) {
        qsort(verified->items, verified->count, sizeof *verified->items, by_name);
    }
    verified->sorted_count = verified->count;
}

fx_verified *
fx_verified_load(const char *path)
{
    fx_verified *verified = calloc(1, sizeof *verified);
    FX_ASSERT(verified != NULL);
    fx_err ignored = {0};
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, FILE_MAX_BYTES);
    if (fx_file_read(path, &bytes, &ignored) == FX_OK) {
        decode(verified, fx_buf_bytes(&bytes));
    }
    return verified;
}

void
fx_verified_free(fx_verified *verified)
{
    if (verified != NULL) {
        free(verified->items);
        free(verified);
    }
}

fx_wall
fx_verified_at(const fx_verified *verified, const fx_chunk_id *name)
{
    const record *found = find(verified, name);
    return found == NULL ? (fx_wall){0} : found->when;
}

void
fx_verified_see(fx_verified *verified, const fx_chunk_id *name)
{
    record *found = find(verified, name);
    if (found != NULL) {
        found->is_seen = true;
    }
}

void
fx_verified_note(fx_verified *verified, const fx_chunk_id *name, fx_wall when)
{
    record *found = find(verified, name);
    if (found != NULL) {
        found->is_seen = true;
        found->when = when;
    } else {
        const record item = {.name = *name, .when = when, .is_seen = true};
        add(verified, &item);
    }
}

fx_code
fx_verified_save(const fx_verified *verified, const char *path, fx_err *err)
{
    FX_BUF_AUTO bytes;
    unsigned char digest[FX_SHA256_BYTES];
    fx_buf_init(&bytes, FILE_MAX_BYTES);
    if (fx_buf_append(&bytes, file_magic, sizeof file_magic, err) != FX_OK) {
        return err->code;
    }
    for (size_t i = 0; i < verified->count; i++) {
        const record *item = &verified->items[i];
        unsigned char *room = NULL;
        if (!item->is_seen || item->when.ns == 0) {
            continue;
        }
        if (fx_buf_extend(&bytes, RECORD_BYTES, &room, err) != FX_OK) {
            return fx_err_wrap(err, "noting what was verified");
        }
        memcpy(room, item->name.bytes, FX_ID_BYTES);
        for (size_t at = 0; at < 8; at++) {
            room[FX_ID_BYTES + at] = (unsigned char)((uint64_t)item->when.ns >> (8 * at));
        }
    }
    fx_sha256(fx_buf_bytes(&bytes), digest);
    if (fx_buf_append(&bytes, digest, sizeof digest, err) != FX_OK) {
        return err->code;
    }
    return fx_file_replace(path, fx_buf_bytes(&bytes), 0600, err);
}
