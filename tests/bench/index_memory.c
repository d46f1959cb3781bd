/*
 * What an index of many chunks takes: memory of the process's own, room on disk, time.
 *
 *   index_memory generate DIR CHUNKS CHUNKS_IN_A_PACK    a repository with that many chunks in its
 *                                                        index objects; packs are heads alone
 *   index_memory measure DIR                             opens it, looks chunks up, adds to it
 *   index_memory run PROGRAM ARGUMENT…                   any program's peak
 *
 * Each line: what was done, seconds, peak of RssAnon in MiB.
 */
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/rng.h"
#include "common/crypto/digest.h"
#include "common/repository/index_writer.h"
#include "common/repository/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    PATH_BYTES = 4096,
    PACK_BYTES = 8 * 1024 * 1024,
    LOOKUPS = 1000000,
    SAMPLE_MS = 5,
};

typedef struct bench {
    const char *folder;
    uint64_t chunk_count;
    uint64_t per_pack;
    fx_repository_key *key;
    fx_repository *repository;
    char url[PATH_BYTES];
} bench;

static void
must(fx_code code, const fx_err *err)
{
    if (code != FX_OK) {
        (void)fprintf(stderr, "index_memory: %s\n", err->message);
        exit(1); // NOLINT(concurrency-mt-unsafe): a benchmark may end so
    }
}

static void
give_up(const char *what)
{
    (void)fprintf(stderr, "index_memory: could not %s\n", what);
    exit(1); // NOLINT(concurrency-mt-unsafe): a benchmark may end so
}

/* Spread as digests are; any chunk's id can be made again. */
static void
id_of(uint64_t number, unsigned char out_id[FX_ID_BYTES])
{
    fx_rng rng;
    fx_rng_init(&rng, number);
    for (size_t at = 0; at < FX_ID_BYTES; at += sizeof(uint64_t)) {
        uint64_t word = fx_rng_next(&rng);
        memcpy(out_id + at, &word, sizeof word);
    }
}

/* ---- measuring
 * -------------------------------------------------------------------------------------- */

/* 0: the process has ended. */
static uint64_t
anonymous_kib(long pid)
{
    char path[64];
    char line[256];
    unsigned long long value = 0;
    (void)snprintf(path, sizeof path, "/proc/%ld/status", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return 0;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "RssAnon:", 8) == 0) {
            value = strtoull(line + 8, NULL, 10);
        }
    }
    (void)fclose(file);
    return value;
}

/* Waits for a child, and says what it took; its exit status. */
static int
watch(pid_t child, const char *what)
{
    uint64_t peak_kib = 0;
    fx_mono began = fx_clock_mono();
    siginfo_t info = {0};
    while (waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == 0) {
        uint64_t now_kib = anonymous_kib(child);
        peak_kib = now_kib > peak_kib ? now_kib : peak_kib;
        fx_clock_sleep(FX_DUR_MS(SAMPLE_MS));
    }
    int status = 0;
    if (waitpid(child, &status, 0) != child) {
        give_up("wait for a child");
    }
    int64_t took_ns = fx_clock_mono().ns - began.ns;
    (void)printf(
        "%-44s %8.2f s  peak %7.1f MiB\n", what, (double)took_ns / 1e9, (double)peak_kib / 1024);
    (void)fflush(stdout);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* Each step in a process of its own, so that the peak is its own. */
static void
step(bench *b, const char *what, void (*work)(bench *b))
{
    (void)fflush(stdout);
    pid_t child = fork();
    if (child < 0) {
        give_up("fork");
    }
    if (child == 0) {
        work(b);
        (void)fflush(stdout);
        _exit(0);
    }
    if (watch(child, what) != 0) {
        give_up("go on: a step failed");
    }
}

/* ---- generating
 * ------------------------------------------------------------------------------------- */

static void
open_key(bench *b)
{
    char path[PATH_BYTES];
    fx_err err = {0};
    (void)snprintf(path, sizeof path, "%s/key", b->folder);
    (void)snprintf(b->url, sizeof b->url, "%s/repo", b->folder);
    must(fx_repository_key_load(path, &b->key, &err), &err);
}

static void
make_packs_folder(const bench *b)
{
    char path[PATH_BYTES + 8];
    fx_err err = {0};
    (void)snprintf(path, sizeof path, "%s/packs", b->url);
    must(fx_file_make_folder(path, 0700, &err), &err);
}

/* Of the right size, of nothing but a head and a hole: who collects asks whose it is. */
static void
make_pack(const bench *b, const fx_index_pack *pack, fx_bytes head)
{
    char store_key[FX_KEY_TEXT_BYTES];
    char path[PATH_BYTES + FX_KEY_TEXT_BYTES];
    fx_pack_key(pack->name, store_key);
    (void)snprintf(path, sizeof path, "%s/%s", b->url, store_key);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno == ENOENT) {
        char *slash = strrchr(path, '/');
        FX_ASSERT(slash != NULL);
        *slash = '\0';
        (void)mkdir(path, 0700);
        *slash = '/';
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    }
    if (fd < 0 || write(fd, head.data, head.size_bytes) != (ssize_t)head.size_bytes ||
        ftruncate(fd, (off_t)pack->size_bytes) != 0 || close(fd) != 0) {
        give_up("make a pack");
    }
}

static void
generate(bench *b)
{
    char path[PATH_BYTES];
    fx_err err = {0};
    fx_session session;
    fx_index_writer writer;
    fx_store *store = NULL;
    (void)snprintf(path, sizeof path, "%s/key", b->folder);
    must(fx_repository_key_create(path, &err), &err);
    open_key(b);
    must(fx_repository_create(b->url, b->key, &err), &err);
    must(fx_session_begin(b->key, &session, &err), &err);
    must(fx_store_open(b->url, &store, &err), &err);
    fx_index_writer_init(&writer, store, &session);
    fx_object_writer pack_writer;
    fx_object_writer_init(&pack_writer);
    must(fx_object_begin(&pack_writer, &session, FX_OBJECT_PACK, (fx_bytes){0}, &err), &err);
    const fx_bytes head = fx_buf_bytes(&pack_writer.bytes);
    make_packs_folder(b);
    unsigned char *ids = calloc(b->per_pack, FX_ID_BYTES);
    FX_ASSERT(ids != NULL);
    for (uint64_t number = 0; number < b->chunk_count; number += b->per_pack) {
        fx_index_pack pack = {.size_bytes = PACK_BYTES, .blob_count = (uint32_t)b->per_pack};
        id_of(UINT64_MAX - number, pack.name);
        for (uint64_t i = 0; i < b->per_pack; i++) {
            id_of(number + i, ids + i * FX_ID_BYTES);
        }
        must(fx_index_writer_add(&writer, &pack, ids, FX_ID_BYTES, &err), &err);
        make_pack(b, &pack, head);
    }
    must(fx_index_writer_finish(&writer, &err), &err);
    free(ids);
    fx_index_writer_free(&writer);
    fx_object_writer_free(&pack_writer);
    fx_store_free(store);
    (void)snprintf(path, sizeof path, "%s/count", b->folder);
    FILE *file = fopen(path, "we");
    if (file == NULL ||
        fprintf(file, "%" PRIu64 " %" PRIu64 "\n", b->chunk_count, b->per_pack) < 0 ||
        fclose(file) != 0) {
        give_up("write the file \"count\"");
    }
}

/* ---- steps
 * ------------------------------------------------------------------------------------------- */

static void
open_index(bench *b)
{
    char path[PATH_BYTES];
    fx_err err = {0};
    (void)snprintf(path, sizeof path, "%s/cache", b->folder);
    must(fx_repository_open(b->url, b->key, &b->repository, &err), &err);
    must(fx_repository_use_cache(b->repository, path, &err), &err);
    (void)pthread_mutex_lock(&b->repository->lock);
    must(fx_repository_load_indexes(b->repository, &err), &err);
    (void)pthread_mutex_unlock(&b->repository->lock);
    if (fx_index_entry_count(b->repository->index) < b->chunk_count) {
        give_up("find all chunks in the index");
    }
}

static void
look_up(bench *b, uint64_t first, uint64_t count, bool is_there)
{
    fx_rng rng;
    fx_rng_init(&rng, 1);
    fx_mono began = fx_clock_mono();
    for (size_t i = 0; i < LOOKUPS; i++) {
        fx_chunk_id id;
        id_of(first + fx_rng_below(&rng, count), id.bytes);
        if (fx_index_has(b->repository->index, &id) != is_there) {
            give_up("look up a chunk: the answer is wrong");
        }
    }
    (void)printf(
        "  %d %s: %.2f us each\n",
        LOOKUPS,
        is_there ? "hits" : "misses",
        (double)(fx_clock_mono().ns - began.ns) / 1e3 / LOOKUPS);
}

static void
open_and_look_up(bench *b)
{
    open_index(b);
    look_up(b, 0, b->chunk_count, true);
    look_up(b, b->chunk_count * 2, b->chunk_count, false);
}

/* As a writer's packs come, sealed now and then: parts are merged, at last into the largest. */
static void
add_and_merge(bench *b)
{
    open_index(b);
    fx_index *index = b->repository->index;
    uint64_t next = b->chunk_count;
    fx_err err = {0};
    fx_mono began = fx_clock_mono();
    for (uint64_t at = 0; next < b->chunk_count + b->chunk_count / 2 + 1; at++) {
        fx_index_pack pack = {.size_bytes = PACK_BYTES, .blob_count = (uint32_t)b->per_pack};
        id_of(UINT64_MAX / 2 - at, pack.name);
        fx_index_entry entry = {.pack = fx_index_add_pack(index, &pack)};
        for (entry.blob = 0; entry.blob < pack.blob_count; entry.blob++) {
            id_of(next++, entry.id.bytes);
            fx_index_add(index, &entry);
        }
        if (fx_index_is_due(index)) {
            fx_index_seal(index);
        }
    }
    fx_index_seal(index);
    (void)printf(
        "  %" PRIu64 " chunks added and merged: %.2f s\n",
        next - b->chunk_count,
        (double)(fx_clock_mono().ns - began.ns) / 1e9);
    look_up(b, 0, next, true);
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/saved", b->folder);
    must(fx_index_save(index, path, (fx_bytes){NULL, 0}, &err), &err);
}

static uint64_t
file_bytes(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? (uint64_t)info.st_size : 0;
}

static void
measure(bench *b)
{
    char path[PATH_BYTES];
    unsigned long long chunk_count = 0;
    unsigned long long per_pack = 0;
    (void)snprintf(path, sizeof path, "%s/count", b->folder);
    FILE *file = fopen(path, "re");
    char line[64] = "";
    if (file == NULL || fgets(line, sizeof line, file) == NULL) {
        give_up("read the file \"count\"");
    }
    (void)fclose(file);
    char *end = line;
    chunk_count = strtoull(line, &end, 10);
    per_pack = strtoull(end, NULL, 10);
    b->chunk_count = chunk_count;
    b->per_pack = per_pack;
    open_key(b);
    (void)printf("%llu chunks, %llu in a pack\n", chunk_count, per_pack);
    step(b, "index objects read, copy written", open_index);
    step(b, "copy mapped", open_index);
    step(b, "copy mapped, chunks looked up", open_and_look_up);
    step(b, "half as many added, merged, saved", add_and_merge);
    (void)snprintf(path, sizeof path, "%s/saved", b->folder);
    uint64_t all = chunk_count + chunk_count / 2;
    (void)printf(
        "file: %.1f MiB, %.2f bytes a chunk\n",
        (double)file_bytes(path) / 1048576,
        (double)file_bytes(path) / (double)all);
    (void)unlink(path);
}

static int
run(char **arguments)
{
    char what[128] = "";
    for (size_t i = 1; arguments[i] != NULL && i < 5; i++) {
        size_t used = strlen(what);
        const char *slash = strrchr(arguments[i], '/');
        (void)snprintf(
            what + used, sizeof what - used, "%s ", slash == NULL ? arguments[i] : slash + 1);
    }
    pid_t child = fork();
    if (child < 0) {
        give_up("fork");
    }
    if (child == 0) {
        (void)execv(arguments[0], arguments);
        _exit(127);
    }
    return watch(child, what);
}

int
main(int argc, char **argv)
{
    bench b = {0};
    if (argc == 5 && strcmp(argv[1], "generate") == 0) {
        b.folder = argv[2];
        b.chunk_count = strtoull(argv[3], NULL, 10);
        b.per_pack = strtoull(argv[4], NULL, 10);
        if (b.chunk_count == 0 || b.per_pack == 0 || b.per_pack > UINT16_MAX) {
            give_up("generate so many chunks");
        }
        generate(&b);
    } else if (argc == 3 && strcmp(argv[1], "measure") == 0) {
        b.folder = argv[2];
        measure(&b);
    } else if (argc >= 3 && strcmp(argv[1], "run") == 0) {
        return run(argv + 2);
    } else {
        give_up("understand: generate DIR CHUNKS IN_A_PACK, measure DIR, or run PROGRAM ARGUMENT…");
    }
    fx_repository_key_free(b.key);
    return 0;
}
