/*
 * What ways of cutting content into chunks give on two versions of the same files:
 *
 *   chunking OLD NEW    two folders (or files); cuts each file of both, the old version first
 *
 * A line for each way: chunks and their average size, what both versions take when every chunk is
 * stored once, what the new version adds, both compressed as a backup does it and with what each
 * chunk costs in directories and indexes, and the speed of cutting alone.
 */
#include "common/base/clock.h"
#include "common/crypto/digest.h"
#include "common/repository/chunker.h"
#include "common/repository/id_set.h"
#include "common/zip/zip.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    OPEN_MAX_FOLDERS = 64,
    /* Parts of large files are cut for themselves, by several threads. */
    PART_BYTES = 64 * 1024 * 1024,
    HOLE_BYTES = 64 * 1024, /* windows of zeros are holes */
    /* Directory entry and tag in the pack, id in an index object. */
    CHUNK_COST_BYTES = 44 + 16 + 32,
};

#define KIB ((size_t)1024)
#define MIB ((size_t)1024 * 1024)

typedef struct way {
    const char *name;
    fx_chunk_limits limits; /* of content-defined chunks */
    size_t fixed_bytes;     /* or blocks of this size */
} way;

static const way ways[] = {
    {"content 16K/64K/256K, 2 bits", {16 * KIB, 64 * KIB, 256 * KIB, 18, 14}, 0},
    {"content 64K/256K/1M, 2 bits", {64 * KIB, 256 * KIB, MIB, 20, 16}, 0},
    {"content 128K/512K/2M, 2 bits", {128 * KIB, 512 * KIB, 2 * MIB, 21, 17}, 0},
    {"content 256K/1M/4M, 0 bits", {256 * KIB, MIB, 4 * MIB, 20, 20}, 0},
    {"content 256K/1M/4M, 1 bit", {256 * KIB, MIB, 4 * MIB, 21, 19}, 0},
    {"content 256K/1M/4M, 2 bits", {256 * KIB, MIB, 4 * MIB, 22, 18}, 0},
    {"content 256K/1M/4M, 3 bits", {256 * KIB, MIB, 4 * MIB, 23, 17}, 0},
    {"blocks of 8K", {0}, 8 * KIB},
    {"blocks of 32K", {0}, 32 * KIB},
    {"blocks of 64K", {0}, 64 * KIB},
    {"blocks of 128K", {0}, 128 * KIB},
    {"blocks of 256K", {0}, 256 * KIB},
    {"blocks of 512K", {0}, 512 * KIB},
};

typedef struct totals {
    uint64_t content_bytes;
    uint64_t chunk_count;
    uint64_t unique_count;
    uint64_t unique_bytes;
    uint64_t stored_bytes;
    int64_t cut_ns;
} totals;

/* Walking a tree has no place for a context. */
static const way *current;
static totals sums;
static fx_id_set seen;
static fx_chunker chunker;
static fx_zip *zip;
static fx_buf packed;
static const unsigned char zeros[HOLE_BYTES];

static void
fail(const char *what, const char *path)
{
    (void)fprintf(stderr, "chunking: could not %s \"%s\"\n", what, path);
    exit(1); // NOLINT(concurrency-mt-unsafe): a benchmark may end so
}

static void
store(fx_bytes chunk)
{
    fx_chunk_id id;
    fx_err err = {0};
    bool shrunk = false;
    fx_sha256(chunk, id.bytes);
    sums.chunk_count++;
    if (!fx_id_set_add(&seen, &id)) {
        return;
    }
    fx_buf_clear(&packed);
    if (fx_zip_compress(zip, chunk, &packed, &shrunk, &err) != FX_OK) {
        fail("compress", err.message);
    }
    sums.unique_count++;
    sums.unique_bytes += chunk.size_bytes;
    sums.stored_bytes += (shrunk ? packed.size_bytes : chunk.size_bytes) + CHUNK_COST_BYTES;
}

static size_t
next_cut(fx_bytes rest)
{
    bool is_end = false;
    if (current->fixed_bytes > 0) {
        return rest.size_bytes < current->fixed_bytes ? rest.size_bytes : current->fixed_bytes;
    }
    return fx_chunker_take(&chunker, rest, &is_end);
}

/* Without holes. First all cuts, for their time, and then what is stored. */
static void
cut_run(fx_bytes run)
{
    const unsigned char *data = run.data;
    size_t *cuts = calloc(run.size_bytes / (4 * KIB) + 2, sizeof *cuts);
    FX_ASSERT(cuts != NULL);
    size_t count = 0;
    fx_chunker_reset(&chunker);
    fx_mono began = fx_clock_mono();
    for (size_t at = 0; at < run.size_bytes; count++) {
        cuts[count] = next_cut((fx_bytes){data + at, run.size_bytes - at});
        at += cuts[count];
    }
    sums.cut_ns += fx_clock_mono().ns - began.ns;
    for (size_t i = 0, at = 0; i < count; at += cuts[i++]) {
        store((fx_bytes){data + at, cuts[i]});
    }
    free(cuts);
}

static bool
is_hole(const unsigned char *data, size_t size_bytes)
{
    return memcmp(data, zeros, size_bytes) == 0;
}

static void
cut_part(fx_bytes part)
{
    const unsigned char *data = part.data;
    size_t from = 0;
    for (size_t at = 0; at < part.size_bytes; at += HOLE_BYTES) {
        size_t left = part.size_bytes - at;
        if (is_hole(data + at, left < HOLE_BYTES ? left : HOLE_BYTES)) {
            cut_run((fx_bytes){data + from, at - from});
            from = at + HOLE_BYTES;
        }
    }
    if (from < part.size_bytes) {
        cut_run((fx_bytes){data + from, part.size_bytes - from});
    }
}

static int
cut_file(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)place;
    if (kind != FTW_F || !S_ISREG(info->st_mode) || info->st_size == 0) {
        return 0;
    }
    size_t size_bytes = (size_t)info->st_size;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    void *map =
        fd < 0 ? MAP_FAILED : mmap(NULL, size_bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (map == MAP_FAILED) {
        fail("read", path);
    }
    for (size_t at = 0; at < size_bytes; at += PART_BYTES) {
        size_t left = size_bytes - at;
        cut_part((fx_bytes){(unsigned char *)map + at, left < PART_BYTES ? left : PART_BYTES});
    }
    sums.content_bytes += size_bytes;
    (void)munmap(map, size_bytes);
    (void)close(fd);
    return 0;
}

static void
cut_tree(const char *path)
{
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread */
    if (nftw(path, cut_file, OPEN_MAX_FOLDERS, FTW_PHYS) != 0) {
        fail("walk", path);
    }
}

static double
mib(uint64_t bytes)
{
    return (double)bytes / MIB;
}

static void
try_way(const char *old_path, const char *new_path)
{
    sums = (totals){0};
    if (current->fixed_bytes == 0) {
        fx_chunker_init_with(&chunker, &current->limits);
    }
    cut_tree(old_path);
    totals before = sums;
    cut_tree(new_path);
    (void)printf(
        "| %s | %llu | %.0f | %.1f | %.2f | %.1f | %.1f | ",
        current->name,
        (unsigned long long)sums.unique_count,
        (double)sums.unique_bytes / KIB / (double)sums.unique_count,
        mib(sums.unique_bytes),
        (double)sums.content_bytes / (double)sums.unique_bytes,
        mib(sums.stored_bytes),
        mib(sums.stored_bytes - before.stored_bytes));
    if (current->fixed_bytes > 0) {
        (void)printf("- |\n");
    } else {
        (void)printf("%.1f |\n", (double)sums.content_bytes / (double)sums.cut_ns);
    }
    (void)fflush(stdout);
    fx_id_set_free(&seen);
}

int
main(int argc, char **argv)
{
    if (argc != 3) {
        fail("understand: chunking OLD NEW, not", argc > 1 ? argv[1] : "");
    }
    zip = fx_zip_new();
    fx_buf_init(&packed, (size_t)2 * FX_CHUNK_MAX_BYTES);
    (void)printf("| chunks | unique | KiB each | unique MiB | ratio | stored MiB | second adds MiB "
                 "| cut GB/s "
                 "|\n|---|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        current = &ways[i];
        try_way(argv[1], argv[2]);
    }
    fx_buf_free(&packed);
    fx_zip_free(zip);
    return 0;
}
