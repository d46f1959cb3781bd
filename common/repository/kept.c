#include "common/repository/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/crypto/digest.h"
#include "common/repository/id_set.h"

enum {
    FILE_MAX_BYTES = 256 * 1024 * 1024, /* a million files, roughly */
    SLOTS = 16,                         /* data sets of one host that are saved at once */
    PATH_BYTES = 4096,
};

/* At the start of a file; entries follow. Of this machine, for this machine. */
typedef struct header {
    char magic[8];
    uint64_t size_bytes; /* of the file */
    int64_t began_ns;
    unsigned char root[FX_ID_BYTES];
    unsigned char check[FX_SHA256_BYTES]; /* of what is before */
} header;

/* Its content follows. */
typedef struct entry_head {
    unsigned char id[FX_ID_BYTES];
    uint32_t size_bytes;
} entry_head;

static const char kept_magic[8] = "FXKEPT01";

static void
seal_header(header *head)
{
    fx_sha256((fx_bytes){head, offsetof(header, check)}, head->check);
}

/* ---- writing
 * ---------------------------------------------------------------------------------------- */

struct fx_kept_writer {
    pthread_mutex_t lock; /* guards the rest */
    char path[PATH_BYTES];
    int fd;
    uint64_t size_bytes;
    fx_id_set ids; /* a list that several folders have is kept once */
    int failed;    /* errno of the first failure */
    bool is_full;
    bool is_done;
};

/*
 * One of a few names, whoever holds its lock: what a killed process left is used again. -1: it is
 * taken, or another file has got the name meanwhile.
 */
static int
open_slot(const char *path)
{
    struct stat here;
    struct stat there;
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &here) == 0 &&
        lstat(path, &there) == 0 && here.st_dev == there.st_dev && here.st_ino == there.st_ino &&
        here.st_uid == geteuid() && fchmod(fd, 0600) == 0 && ftruncate(fd, 0) == 0) {
        return fd;
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return -1;
}

fx_kept_writer *
fx_kept_writer_new(const char *folder)
{
    FX_AUTO(fx_kept_writer) writer = calloc(1, sizeof *writer);
    FX_ASSERT(writer != NULL);
    int result = pthread_mutex_init(&writer->lock, NULL);
    FX_ASSERT(result == 0);
    writer->fd = -1;
    writer->size_bytes = sizeof(header);
    for (int i = 0; writer->fd < 0 && i < SLOTS; i++) {
        int length = snprintf(writer->path, sizeof writer->path, "%s/lists-%d", folder, i);
        if (length > 0 && (size_t)length < sizeof writer->path) {
            writer->fd = open_slot(writer->path);
        }
    }
    return writer->fd < 0 ? NULL : FX_TAKE(writer);
}

void
fx_kept_writer_free(fx_kept_writer *writer)
{
    if (writer == NULL) {
        return;
    }
    if (writer->fd >= 0) {
        if (!writer->is_done) {
            (void)unlink(writer->path);
        }
        (void)close(writer->fd);
    }
    fx_id_set_free(&writer->ids);
    (void)pthread_mutex_destroy(&writer->lock);
    free(writer);
}

static bool
write_at(int fd, const void *bytes, size_t size_bytes, uint64_t offset)
{
    const unsigned char *data = bytes;
    while (size_bytes > 0) {
        ssize_t put_bytes = pwrite(fd, data, size_bytes, (off_t)offset);
        if (put_bytes < 0 && errno == EINTR) {
            continue;
        }
        if (put_bytes < 0) {
            return false;
        }
        data += put_bytes;
        offset += (uint64_t)put_bytes;
        size_bytes -= (size_t)put_bytes;
    }
    return true;
}

void
fx_kept_writer_add(fx_kept_writer *writer, const fx_chunk_id *id, fx_bytes content)
{
    entry_head head = {.size_bytes = (uint32_t)content.size_bytes};
    memcpy(head.id, id->bytes, sizeof head.id);
    (void)pthread_mutex_lock(&writer->lock);
    writer->is_full =
        writer->is_full || writer->size_bytes + sizeof head + content.size_bytes > FILE_MAX_BYTES;
    if (!writer->is_full && writer->failed == 0 && fx_id_set_add(&writer->ids, id)) {
        if (write_at(writer->fd, &head, sizeof head, writer->size_bytes) &&
            write_at(
                writer->fd, content.data, content.size_bytes, writer->size_bytes + sizeof head)) {
            writer->size_bytes += sizeof head + content.size_bytes;
        } else {
            writer->failed = errno;
        }
    }
    (void)pthread_mutex_unlock(&writer->lock);
}

fx_code
fx_kept_writer_finish(
    fx_kept_writer *writer, const char *path, const fx_chunk_id *root, fx_wall began, fx_err *err)
{
    header head = {.size_bytes = writer->size_bytes, .began_ns = began.ns};
    memcpy(head.magic, kept_magic, sizeof head.magic);
    memcpy(head.root, root->bytes, sizeof head.root);
    seal_header(&head);
    if (writer->is_full) {
        return fx_fail(
            err,
            FX_ERR_LIMIT,
            "could not keep the snapshot's lists: more than %d MiB",
            FILE_MAX_BYTES >> 20);
    }
    if (writer->failed != 0) {
        return fx_fail_errno(err, writer->failed, "could not write \"%.200s\"", writer->path);
    }
    if (!write_at(writer->fd, &head, sizeof head, 0) || rename(writer->path, path) != 0) {
        return fx_fail_errno(err, errno, "could not write \"%.200s\"", path);
    }
    writer->is_done = true;
    return FX_OK;
}

/* ---- reading
 * ---------------------------------------------------------------------------------------- */

typedef struct entry {
    fx_chunk_id id;
    fx_bytes content;
} entry;

struct fx_kept {
    void *map;
    size_t map_bytes;
    header head;
    entry *entries; /* sorted by id */
    size_t count;
};

static int
by_id(const void *left, const void *right)
{
    const entry *one = left;
    const entry *two = right;
    return memcmp(one->id.bytes, two->id.bytes, FX_ID_BYTES);
}

static bool
find_entries(fx_kept *kept)
{
    const unsigned char *data = kept->map;
    size_t at = sizeof(header);
    size_t room = 0;
    while (at < kept->map_bytes) {
        entry_head head;
        if (kept->map_bytes - at < sizeof head) {
            return false;
        }
        memcpy(&head, data + at, sizeof head);
        at += sizeof head;
        if (head.size_bytes > kept->map_bytes - at || head.size_bytes > FX_CHUNK_MAX_BYTES) {
            return false;
        }
        if (kept->count == room) {
            room = room == 0 ? 1024 : room * 2;
            kept->entries = realloc(kept->entries, room * sizeof *kept->entries);
            FX_ASSERT(kept->entries != NULL);
        }
        entry *one = &kept->entries[kept->count++];
        memcpy(one->id.bytes, head.id, sizeof head.id);
        one->content = (fx_bytes){data + at, head.size_bytes};
        at += head.size_bytes;
    }
    if (kept->count > 0) {
        qsort(kept->entries, kept->count, sizeof *kept->entries, by_id);
    }
    return true;
}

static bool
map_file(fx_kept *kept, int fd, const struct stat *info)
{
    if (info->st_size < (off_t)sizeof(header) || info->st_size > FILE_MAX_BYTES) {
        return false;
    }
    void *map = mmap(NULL, (size_t)info->st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED) {
        return false;
    }
    kept->map = map;
    kept->map_bytes = (size_t)info->st_size;
    memcpy(&kept->head, map, sizeof kept->head);
    header expected = kept->head;
    seal_header(&expected);
    return memcmp(kept->head.magic, kept_magic, sizeof kept_magic) == 0 &&
           memcmp(kept->head.check, expected.check, sizeof expected.check) == 0 &&
           kept->head.size_bytes == kept->map_bytes && find_entries(kept);
}

fx_code
fx_kept_load(const char *path, fx_kept **out_kept, fx_err *err)
{
    struct stat info;
    FX_AUTO(fx_kept) kept = calloc(1, sizeof *kept);
    FX_ASSERT(kept != NULL);
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): FX_AUTO frees it */
        return fx_fail_errno(err, errno, "could not open \"%.200s\"", path);
    }
    if (fstat(fd, &info) != 0 || info.st_uid != geteuid() || (info.st_mode & 022) != 0) {
        (void)close(fd);
        return fx_fail(err, FX_ERR_DENIED, "could not use \"%.200s\": others can write it", path);
    }
    bool is_good = map_file(kept, fd, &info);
    (void)close(fd);
    if (!is_good) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not use \"%.200s\": it is damaged", path);
    }
    *out_kept = FX_TAKE(kept);
    return FX_OK;
}

void
fx_kept_free(fx_kept *kept)
{
    if (kept == NULL) {
        return;
    }
    if (kept->map != NULL) {
        (void)munmap(kept->map, kept->map_bytes);
    }
    free(kept->entries);
    free(kept);
}

fx_chunk_id
fx_kept_root(const fx_kept *kept)
{
    fx_chunk_id root;
    memcpy(root.bytes, kept->head.root, sizeof root.bytes);
    return root;
}

fx_wall
fx_kept_began(const fx_kept *kept)
{
    return (fx_wall){kept->head.began_ns};
}

bool
fx_kept_find(const fx_kept *kept, const fx_chunk_id *id, fx_bytes *out_content)
{
    const entry wanted = {.id = *id};
    const entry *found =
        kept->count == 0
            ? NULL
            : bsearch(&wanted, kept->entries, kept->count, sizeof *kept->entries, by_id);
    if (found != NULL) {
        *out_content = found->content;
    }
    return found != NULL;
}
