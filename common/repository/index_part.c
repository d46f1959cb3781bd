#include "common/repository/index_part.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/crypto/digest.h"

enum {
    PART_MAX = 64,
    IN_MEMORY_MAX = 256 * 1024, /* entries: larger parts become files, 10 MiB and more */
    WRITE_BYTES = 256 * 1024,
    TAIL_BYTES = FX_ID_BYTES + 4, /* of an entry with the whole id */
    HEAD_MAX = 2,
    /* So many entries are worth a table of 1 KiB, of 256 KiB. */
    ONE_HEAD_AT = 16 * 1024,
    TWO_HEADS_AT = 1024 * 1024,
};

/*
 * At the start of a file; packs, the packs' first places, table, entries and label follow. Of this
 * machine, for this machine.
 */
typedef struct header {
    char magic[8];
    uint64_t pack_count;
    uint64_t entry_count;
    uint64_t label_bytes;
    unsigned char check[FX_SHA256_BYTES]; /* of what is before */
} header;

static const char part_magic[8] = "FXINDEX3";

static void
seal_header(header *head)
{
    fx_sha256((fx_bytes){head, offsetof(header, check)}, head->check);
}

void
fx_index_part_free(fx_index_part *part)
{
    if (part->map != NULL) {
        (void)munmap(part->map, part->map_bytes);
    } else {
        free(part->packs);
        free(part->first);
        free(part->entries);
    }
    *part = (fx_index_part){0};
}

/* ---- entries
 * ---------------------------------------------------------------------------------------- */

static size_t
head_bytes_of(uint64_t entry_count)
{
    if (entry_count >= TWO_HEADS_AT) {
        return 2;
    }
    return entry_count >= ONE_HEAD_AT ? 1 : 0;
}

/* Slots of the table. */
static size_t
fan_count(size_t head_bytes)
{
    return head_bytes == 0 ? 0 : ((size_t)1 << (8 * head_bytes)) + 1;
}

static size_t
head_of(const unsigned char *id, size_t head_bytes)
{
    size_t head = 0;
    for (size_t i = 0; i < head_bytes; i++) {
        head = head << 8 | id[i];
    }
    return head;
}

static const unsigned char *
entry_at(const fx_index_part *part, size_t at)
{
    return part->entries + at * (TAIL_BYTES - part->head_bytes);
}

/* Where the ids with this head may be. A damaged table must not lead outside. */
static void
range_of(const fx_index_part *part, const fx_chunk_id *id, size_t *out_low, size_t *out_high)
{
    *out_low = 0;
    *out_high = part->entry_count;
    if (part->head_bytes > 0) {
        size_t head = head_of(id->bytes, part->head_bytes);
        size_t low = part->fan[head];
        size_t high = part->fan[head + 1];
        *out_high = high < part->entry_count ? high : part->entry_count;
        *out_low = low < *out_high ? low : *out_high;
    }
}

size_t
fx_index_part_search(const fx_index_part *part, const fx_chunk_id *id)
{
    size_t low = 0;
    size_t high = 0;
    size_t skip_bytes = part->head_bytes;
    range_of(part, id, &low, &high);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const unsigned char *tail = entry_at(part, middle);
        if (memcmp(tail, id->bytes + skip_bytes, FX_ID_BYTES - skip_bytes) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Is the place in that pack (0), before it (-1) or after it (1)? */
static int
side_of(const fx_index_part *part, uint32_t place, size_t pack)
{
    return place < part->first[pack] ? -1 : place >= part->first[pack + 1];
}

/*
 * false: no pack has such a place, so the file is damaged. Packs hold about equally many chunks, so
 * that a guess by proportion is mostly near; every other step halves.
 */
static bool
find_place(const fx_index_part *part, uint32_t place, fx_index_entry *out_entry)
{
    size_t low = 0;
    size_t high = part->pack_count;
    bool is_guess = true;
    while (low < high) {
        size_t at = low + (high - low) / 2;
        uint32_t from = part->first[low];
        uint32_t end = part->first[high];
        if (is_guess && place >= from && place < end) {
            at = low + (size_t)((uint64_t)(place - from) * (high - low) / (end - from));
        }
        is_guess = !is_guess;
        int side = side_of(part, place, at);
        if (side == 0) {
            out_entry->pack = (uint32_t)at;
            out_entry->blob = place - part->first[at];
            return true;
        }
        low = side > 0 ? at + 1 : low;
        high = side < 0 ? at : high;
    }
    return false;
}

static uint32_t
place_at(const fx_index_part *part, size_t at)
{
    uint32_t place = 0;
    memcpy(&place, entry_at(part, at) + FX_ID_BYTES - part->head_bytes, sizeof place);
    return place;
}

bool
fx_index_part_match(
    const fx_index_part *part, size_t at, const fx_chunk_id *id, fx_index_entry *out_entry)
{
    size_t low = 0;
    size_t high = 0;
    size_t skip_bytes = part->head_bytes;
    range_of(part, id, &low, &high);
    if (at < low || at >= high ||
        memcmp(entry_at(part, at), id->bytes + skip_bytes, FX_ID_BYTES - skip_bytes) != 0) {
        return false;
    }
    fx_index_entry entry = {.id = *id};
    if (!find_place(part, place_at(part, at), &entry)) {
        return false;
    }
    *out_entry = entry;
    return true;
}

/* The next entry as it stands: its place in `blob`, no pack. */
static bool
next_raw(fx_index_walk *walk, fx_index_entry *out_entry)
{
    const fx_index_part *part = walk->part;
    size_t skip_bytes = part->head_bytes;
    if (walk->at == part->entry_count) {
        return false;
    }
    while (skip_bytes > 0 && walk->head + 2 < fan_count(skip_bytes) &&
           part->fan[walk->head + 1] <= walk->at) {
        walk->head++;
    }
    for (size_t i = 0; i < skip_bytes; i++) {
        out_entry->id.bytes[i] = (unsigned char)(walk->head >> (8 * (skip_bytes - 1 - i)));
    }
    memcpy(out_entry->id.bytes + skip_bytes, entry_at(part, walk->at), FX_ID_BYTES - skip_bytes);
    out_entry->pack = 0;
    out_entry->blob = place_at(part, walk->at++);
    return true;
}

bool
fx_index_walk_next(fx_index_walk *walk, fx_index_entry *out_entry)
{
    while (next_raw(walk, out_entry)) {
        if (find_place(walk->part, out_entry->blob, out_entry)) {
            return true;
        }
    }
    return false;
}

static uint32_t *
first_places(const fx_index_pack *packs, size_t count)
{
    uint32_t *first = calloc(count + 1, sizeof *first);
    FX_ASSERT(first != NULL);
    for (size_t i = 0; i < count; i++) {
        FX_ASSERT(packs[i].blob_count <= UINT32_MAX - first[i]);
        first[i + 1] = first[i] + packs[i].blob_count;
    }
    return first;
}

fx_index_part
fx_index_part_make(
    fx_index_pack *packs, size_t pack_count, fx_index_entry *entries, size_t entry_count)
{
    fx_index_part part = {
        .packs = packs,
        .first = first_places(packs, pack_count),
        .pack_count = pack_count,
        .entry_count = entry_count,
    };
    /* In place: what is written never passes what is still to be read. */
    unsigned char *bytes = (unsigned char *)entries;
    for (size_t i = 0; i < entry_count; i++) {
        fx_index_entry entry = entries[i];
        FX_ASSERT(entry.pack < pack_count && entry.blob < packs[entry.pack].blob_count);
        uint32_t place = part.first[entry.pack] + entry.blob;
        memcpy(bytes + i * TAIL_BYTES, entry.id.bytes, FX_ID_BYTES);
        memcpy(bytes + i * TAIL_BYTES + FX_ID_BYTES, &place, sizeof place);
    }
    part.entries = realloc(bytes, entry_count * TAIL_BYTES + 1);
    FX_ASSERT(part.entries != NULL);
    return part;
}

/* ---- several as one
 * ------------------------------------------------------------------------------- */

/* Goes through the entries of several parts in order. */
typedef struct merging {
    const fx_index_part *parts;
    size_t count;
    fx_index_walk walks[PART_MAX];
    fx_index_entry heads[PART_MAX]; /* the next of each part, as it stands */
    bool is_more[PART_MAX];
    uint32_t first_place[PART_MAX];
    size_t pack_count;
    size_t entry_count;
} merging;

static void
merge_begin(merging *work, const fx_index_part *parts, size_t count)
{
    FX_ASSERT(count <= PART_MAX);
    uint64_t place_count = 0;
    *work = (merging){.parts = parts, .count = count};
    for (size_t i = 0; i < count; i++) {
        work->first_place[i] = (uint32_t)place_count;
        work->walks[i] = (fx_index_walk){.part = &parts[i]};
        work->is_more[i] = next_raw(&work->walks[i], &work->heads[i]);
        work->pack_count += parts[i].pack_count;
        work->entry_count += parts[i].entry_count;
        place_count += parts[i].first[parts[i].pack_count];
    }
    FX_ASSERT(work->pack_count < UINT32_MAX && place_count < UINT32_MAX);
}

/* Its place in `blob`, no pack. */
static bool
next_entry(merging *work, fx_index_entry *out_entry)
{
    size_t least = work->count;
    for (size_t i = 0; i < work->count; i++) {
        if (work->is_more[i] &&
            (least == work->count ||
             memcmp(work->heads[i].id.bytes, work->heads[least].id.bytes, FX_ID_BYTES) < 0)) {
            least = i;
        }
    }
    if (least == work->count) {
        return false;
    }
    *out_entry = work->heads[least];
    out_entry->blob += work->first_place[least];
    work->is_more[least] = next_raw(&work->walks[least], &work->heads[least]);
    return true;
}

/* Packs and first places of all parts: the one after the other. */
static void
gather_packs(const merging *work, fx_index_pack *packs, uint32_t *first)
{
    size_t count = 0;
    for (size_t i = 0; i < work->count; i++) {
        const fx_index_part *part = &work->parts[i];
        memcpy(packs + count, part->packs, part->pack_count * sizeof *part->packs);
        for (size_t at = 0; at <= part->pack_count; at++) {
            first[count + at] = part->first[at] + work->first_place[i];
        }
        count += part->pack_count;
    }
}

/* ---- files
 * ---------------------------------------------------------------------------------------- */

static bool
write_whole(int fd, const void *bytes, size_t size_bytes)
{
    const unsigned char *data = bytes;
    while (size_bytes > 0) {
        ssize_t put_bytes = write(fd, data, size_bytes);
        if (put_bytes < 0 && errno == EINTR) {
            continue;
        }
        if (put_bytes < 0) {
            return false;
        }
        data += put_bytes;
        size_bytes -= (size_t)put_bytes;
    }
    return true;
}

/* Also fills the table. */
static bool
write_entries(int fd, merging *work, size_t head_bytes, uint32_t *fan)
{
    enum { BATCH = WRITE_BYTES / TAIL_BYTES };
    size_t entry_bytes = TAIL_BYTES - head_bytes;
    unsigned char *batch = malloc(WRITE_BYTES);
    FX_ASSERT(batch != NULL);
    size_t count = 0;
    size_t head = 0;
    bool done = true;
    fx_index_entry entry;
    for (size_t at = 0; done && next_entry(work, &entry); at++) {
        unsigned char *to = batch + count * entry_bytes;
        memcpy(to, entry.id.bytes + head_bytes, FX_ID_BYTES - head_bytes);
        memcpy(to + FX_ID_BYTES - head_bytes, &entry.blob, sizeof entry.blob);
        while (head_bytes > 0 && head < head_of(entry.id.bytes, head_bytes)) {
            fan[++head] = (uint32_t)at;
        }
        if (++count == BATCH) {
            done = write_whole(fd, batch, count * entry_bytes);
            count = 0;
        }
    }
    while (head + 1 < fan_count(head_bytes)) {
        fan[++head] = (uint32_t)work->entry_count;
    }
    done = done && write_whole(fd, batch, count * entry_bytes);
    free(batch);
    return done;
}

/* The table lies before the entries, and is known after them. */
static bool
write_sorted(int fd, merging *work)
{
    size_t head_bytes = head_bytes_of(work->entry_count);
    size_t fan_bytes = fan_count(head_bytes) * sizeof(uint32_t);
    uint32_t *fan = calloc(1, fan_bytes + 1);
    FX_ASSERT(fan != NULL);
    off_t fan_at = lseek(fd, 0, SEEK_CUR);
    bool done =
        fan_at >= 0 && write_whole(fd, fan, fan_bytes) && write_entries(fd, work, head_bytes, fan);
    off_t end = done ? lseek(fd, 0, SEEK_CUR) : -1;
    done = end >= 0 && lseek(fd, fan_at, SEEK_SET) == fan_at && write_whole(fd, fan, fan_bytes) &&
           lseek(fd, end, SEEK_SET) == end;
    free(fan);
    return done;
}

static bool
write_firsts(int fd, const merging *work)
{
    uint32_t last = 0;
    bool done = true;
    for (size_t i = 0; done && i < work->count; i++) {
        const fx_index_part *part = &work->parts[i];
        uint32_t *first = calloc(part->pack_count + 1, sizeof *first);
        FX_ASSERT(first != NULL);
        for (size_t at = 0; at <= part->pack_count; at++) {
            first[at] = part->first[at] + work->first_place[i];
        }
        last = first[part->pack_count];
        done = write_whole(fd, first, part->pack_count * sizeof *first);
        free(first);
    }
    return done && write_whole(fd, &last, sizeof last);
}

static bool
write_part(int fd, merging *work, fx_bytes label)
{
    header head = {
        .pack_count = work->pack_count,
        .entry_count = work->entry_count,
        .label_bytes = label.size_bytes,
    };
    memcpy(head.magic, part_magic, sizeof head.magic);
    seal_header(&head);
    bool done = write_whole(fd, &head, sizeof head);
    for (size_t i = 0; done && i < work->count; i++) {
        const fx_index_part *part = &work->parts[i];
        done = write_whole(fd, part->packs, part->pack_count * sizeof *part->packs);
    }
    return done && write_firsts(fd, work) && write_sorted(fd, work) &&
           write_whole(fd, label.data, label.size_bytes);
}

/* Do the packs' places follow one another? A damaged disk must not lead merging astray. */
static bool
has_good_firsts(const fx_index_part *part)
{
    for (size_t i = 0; i < part->pack_count; i++) {
        if (part->first[i] > part->first[i + 1]) {
            return false;
        }
    }
    return part->first[0] == 0 && part->first[part->pack_count] <= INT32_MAX;
}

/*
 * false: it is not such a file, or cannot be mapped. `sharing`: what is noted in the packs goes
 * into the file (MAP_SHARED: nobody else has it) or takes memory (MAP_PRIVATE).
 */
static bool
map_part(int fd, int sharing, fx_index_part *out_part, uint64_t *out_label_bytes)
{
    struct stat info;
    header head;
    if (fstat(fd, &info) != 0 || pread(fd, &head, sizeof head, 0) != (ssize_t)sizeof head) {
        return false;
    }
    header expected = head;
    seal_header(&expected);
    uint64_t most = (uint64_t)info.st_size;
    size_t head_bytes = head_bytes_of(head.entry_count);
    if (memcmp(head.magic, part_magic, sizeof head.magic) != 0 ||
        memcmp(head.check, expected.check, sizeof head.check) != 0 || head.pack_count > most ||
        head.entry_count > most || head.label_bytes > most || head.entry_count >= UINT32_MAX ||
        sizeof head + head.pack_count * sizeof(fx_index_pack) +
                (head.pack_count + 1 + fan_count(head_bytes)) * sizeof(uint32_t) +
                head.entry_count * (TAIL_BYTES - head_bytes) + head.label_bytes !=
            most) {
        return false;
    }
    void *map = mmap(NULL, (size_t)most, PROT_READ | PROT_WRITE, sharing, fd, 0);
    if (map == MAP_FAILED) {
        return false;
    }
    unsigned char *bytes = map;
    size_t firsts_at = sizeof head + (size_t)head.pack_count * sizeof(fx_index_pack);
    size_t fan_at = firsts_at + ((size_t)head.pack_count + 1) * sizeof(uint32_t);
    *out_part = (fx_index_part){
        .packs = (void *)(bytes + sizeof head),
        .first = (void *)(bytes + firsts_at),
        .fan = (void *)(bytes + fan_at),
        .entries = bytes + fan_at + fan_count(head_bytes) * sizeof(uint32_t),
        .head_bytes = head_bytes,
        .pack_count = (size_t)head.pack_count,
        .entry_count = (size_t)head.entry_count,
        .map = map,
        .map_bytes = (size_t)most,
    };
    *out_label_bytes = head.label_bytes;
    if (!has_good_firsts(out_part)) {
        fx_index_part_free(out_part);
        return false;
    }
    return true;
}

fx_code
fx_index_part_save(
    const fx_index_part *parts, size_t count, const char *path, fx_bytes label, fx_err *err)
{
    char temporary[4096];
    int length = snprintf(temporary, sizeof temporary, "%s.%ld", path, (long)getpid());
    if (length < 0 || (size_t)length >= sizeof temporary) {
        return fx_fail(err, FX_ERR_INVALID, "could not write \"%.100s…\": too long", path);
    }
    merging work;
    merge_begin(&work, parts, count);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    bool done = fd >= 0 && write_part(fd, &work, label) && fdatasync(fd) == 0;
    int failed = errno;
    if (fd >= 0 && close(fd) != 0 && done) {
        failed = errno;
        done = false;
    }
    if (done && rename(temporary, path) != 0) {
        failed = errno;
        done = false;
    }
    if (!done) {
        (void)unlink(temporary);
        return fx_fail_errno(err, failed, "could not write \"%.200s\"", path);
    }
    return FX_OK;
}

fx_code
fx_index_part_load(const char *path, fx_index_part *out_part, fx_buf *out_label, fx_err *err)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return fx_fail_errno(err, errno, "could not open \"%.200s\"", path);
    }
    /* Whoever can write it could make us believe that chunks are stored. */
    struct stat info;
    if (fstat(fd, &info) != 0 || info.st_uid != geteuid() || (info.st_mode & 022) != 0) {
        (void)close(fd);
        return fx_fail(err, FX_ERR_DENIED, "could not use \"%.200s\": others can write it", path);
    }
    fx_index_part part;
    uint64_t label_bytes = 0;
    bool done = map_part(fd, MAP_PRIVATE, &part, &label_bytes);
    (void)close(fd);
    if (!done) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not use \"%.200s\": it is damaged", path);
    }
    const unsigned char *label = part.map;
    if (fx_buf_append(out_label, label + part.map_bytes - label_bytes, (size_t)label_bytes, err) !=
        FX_OK) {
        fx_index_part_free(&part);
        return err->code;
    }
    *out_part = part;
    return FX_OK;
}

/* ---- merging
 * ---------------------------------------------------------------------------------------- */

static fx_index_part
merge_in_memory(merging *work)
{
    fx_index_part merged = {
        .packs = calloc(work->pack_count + 1, sizeof(fx_index_pack)),
        .first = calloc(work->pack_count + 1, sizeof(uint32_t)),
        .entries = malloc(work->entry_count * TAIL_BYTES + 1),
        .pack_count = work->pack_count,
        .entry_count = work->entry_count,
    };
    FX_ASSERT(merged.packs != NULL && merged.first != NULL && merged.entries != NULL);
    gather_packs(work, merged.packs, merged.first);
    unsigned char *to = merged.entries;
    fx_index_entry entry;
    for (; next_entry(work, &entry); to += TAIL_BYTES) {
        memcpy(to, entry.id.bytes, FX_ID_BYTES);
        memcpy(to + FX_ID_BYTES, &entry.blob, sizeof entry.blob);
    }
    return merged;
}

static bool
merge_in_file(merging *work, const char *folder, fx_index_part *out_part)
{
    uint64_t label_bytes = 0;
    int fd = open(folder, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    bool done = fd >= 0 && write_part(fd, work, (fx_bytes){NULL, 0}) &&
                map_part(fd, MAP_SHARED, out_part, &label_bytes);
    if (fd >= 0) {
        (void)close(fd);
    }
    return done;
}

fx_index_part
fx_index_part_merge(const fx_index_part *parts, size_t count, const char *folder)
{
    merging work;
    fx_index_part merged;
    merge_begin(&work, parts, count);
    if (folder != NULL && work.entry_count > IN_MEMORY_MAX &&
        merge_in_file(&work, folder, &merged)) {
        return merged;
    }
    merge_begin(&work, parts, count);
    return merge_in_memory(&work);
}
