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
};

/* At the start of a file; packs, entries and label follow. Of this machine, for this machine. */
typedef struct header {
    char magic[8];
    uint64_t pack_count;
    uint64_t entry_count;
    uint64_t label_bytes;
    unsigned char check[FX_SHA256_BYTES]; /* of what is before */
} header;

static const char part_magic[8] = "FXINDEX2";

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
        free(part->entries);
    }
    *part = (fx_index_part){0};
}

size_t
fx_index_part_search(const fx_index_part *part, const fx_chunk_id *id)
{
    size_t low = 0;
    size_t high = part->entry_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(part->entries[middle].id.bytes, id->bytes, FX_ID_BYTES) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* ---- several as one
 * ------------------------------------------------------------------------------- */

/* Goes through the entries of several parts in order. */
typedef struct merging {
    const fx_index_part *parts;
    size_t count;
    size_t at[PART_MAX];
    uint32_t first_pack[PART_MAX];
    size_t pack_count;
    size_t entry_count;
} merging;

static merging
merge_of(const fx_index_part *parts, size_t count)
{
    FX_ASSERT(count <= PART_MAX);
    merging work = {.parts = parts, .count = count};
    for (size_t i = 0; i < count; i++) {
        work.first_pack[i] = (uint32_t)work.pack_count;
        work.pack_count += parts[i].pack_count;
        work.entry_count += parts[i].entry_count;
    }
    FX_ASSERT(work.pack_count < UINT32_MAX);
    return work;
}

static bool
next_entry(merging *work, fx_index_entry *out_entry)
{
    size_t least = work->count;
    for (size_t i = 0; i < work->count; i++) {
        const fx_index_part *part = &work->parts[i];
        if (work->at[i] < part->entry_count &&
            (least == work->count || memcmp(
                                         part->entries[work->at[i]].id.bytes,
                                         work->parts[least].entries[work->at[least]].id.bytes,
                                         FX_ID_BYTES) < 0)) {
            least = i;
        }
    }
    if (least == work->count) {
        return false;
    }
    *out_entry = work->parts[least].entries[work->at[least]++];
    out_entry->pack += work->first_pack[least];
    return true;
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

static bool
write_entries(int fd, merging *work)
{
    enum { BATCH = WRITE_BYTES / (int)sizeof(fx_index_entry) };
    fx_index_entry *batch = calloc(BATCH, sizeof *batch);
    FX_ASSERT(batch != NULL);
    size_t count = 0;
    bool done = true;
    while (done && next_entry(work, &batch[count])) {
        if (++count == BATCH) {
            done = write_whole(fd, batch, count * sizeof *batch);
            count = 0;
        }
    }
    done = done && write_whole(fd, batch, count * sizeof *batch);
    free(batch);
    return done;
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
    return done && write_entries(fd, work) && write_whole(fd, label.data, label.size_bytes);
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
    if (memcmp(head.magic, part_magic, sizeof head.magic) != 0 ||
        memcmp(head.check, expected.check, sizeof head.check) != 0 || head.pack_count > most ||
        head.entry_count > most || head.label_bytes > most ||
        sizeof head + head.pack_count * sizeof(fx_index_pack) +
                head.entry_count * sizeof(fx_index_entry) + head.label_bytes !=
            most) {
        return false;
    }
    void *map = mmap(NULL, (size_t)most, PROT_READ | PROT_WRITE, sharing, fd, 0);
    if (map == MAP_FAILED) {
        return false;
    }
    unsigned char *bytes = map;
    *out_part = (fx_index_part){
        .packs = (void *)(bytes + sizeof head),
        .entries = (void *)(bytes + sizeof head + head.pack_count * sizeof(fx_index_pack)),
        .pack_count = (size_t)head.pack_count,
        .entry_count = (size_t)head.entry_count,
        .map = map,
        .map_bytes = (size_t)most,
    };
    *out_label_bytes = head.label_bytes;
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
    merging work = merge_of(parts, count);
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
        .entries = calloc(work->entry_count + 1, sizeof(fx_index_entry)),
    };
    FX_ASSERT(merged.packs != NULL && merged.entries != NULL);
    for (size_t i = 0; i < work->count; i++) {
        const fx_index_part *part = &work->parts[i];
        memcpy(
            merged.packs + merged.pack_count, part->packs, part->pack_count * sizeof *part->packs);
        merged.pack_count += part->pack_count;
    }
    while (next_entry(work, &merged.entries[merged.entry_count])) {
        merged.entry_count++;
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
    merging work = merge_of(parts, count);
    fx_index_part merged;
    if (folder != NULL && work.entry_count > IN_MEMORY_MAX &&
        merge_in_file(&work, folder, &merged)) {
        return merged;
    }
    work = merge_of(parts, count);
    return merge_in_memory(&work);
}
