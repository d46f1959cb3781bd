#include "agent/depot/shelf.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/hex.h"
#include "common/base/monitor.h"
#include "common/base/outlet.h"

#define OWNER_ATTRIBUTE "user.fortress.host"
#define STAGE_PREFIX    "depot-"

enum { SCRUB_PIECE_BYTES = 1024 * 1024, APPEND_LOCKS = 16 };

static const fx_mono never = {.ns = INT64_MAX};

struct fx_shelf {
    fx_place place;
    fx_store *store;
    int lock_fd;
    /* Of an append and the note of its owner, by key: two hosts may begin the same object. */
    fx_monitor append_locks[APPEND_LOCKS];
};

/* ---- opening
 * --------------------------------------------------------------------------------------- */

static fx_code
lock_folder(fx_shelf *shelf, fx_err *err)
{
    /* No key begins with a dot: nobody reaches this file by the wire. */
    shelf->lock_fd = openat(
        shelf->place.root_fd, ".depot-lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0640);
    if (shelf->lock_fd < 0) {
        return fx_place_failed(&shelf->place, "open", ".depot-lock", err);
    }
    if (flock(shelf->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        return fx_fail(
            err,
            FX_ERR_BUSY,
            "could not serve \"%.150s\": another depot serves it",
            shelf->place.root);
    }
    return FX_OK;
}

static fx_code
check_attributes(const fx_shelf *shelf, fx_err *err)
{
    if (fsetxattr(shelf->lock_fd, OWNER_ATTRIBUTE, "-", 1, 0) == 0) {
        return FX_OK;
    }
    if (errno == ENOTSUP) {
        return fx_fail(
            err,
            FX_ERR_UNSUPPORTED,
            "could not serve \"%.150s\": its file system keeps no user attributes, which tell who "
            "put what",
            shelf->place.root);
    }
    return fx_place_failed(&shelf->place, "set an attribute of", ".depot-lock", err);
}

/* Only this process writes there: whatever was staged before it began is nobody's. */
static void
remove_stages(const fx_shelf *shelf)
{
    int fd = fx_place_open(&shelf->place, "tmp", O_RDONLY | O_DIRECTORY);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (folder == NULL) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return;
    }
    const struct dirent *entry = NULL;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this call's own */
    while ((entry = readdir(folder)) != NULL) {
        if (strncmp(entry->d_name, STAGE_PREFIX, strlen(STAGE_PREFIX)) == 0) {
            (void)unlinkat(fd, entry->d_name, 0);
        }
    }
    (void)closedir(folder);
}

static fx_code
open_store(fx_shelf *shelf, fx_err *err)
{
    char url[PATH_MAX + 8];
    (void)snprintf(url, sizeof url, "posix:%s", shelf->place.root);
    if (fx_store_open(url, &shelf->store, err) != FX_OK ||
        fx_store_prepare(shelf->store, err) != FX_OK) {
        return err->code;
    }
    shelf->place.root_fd = open(shelf->place.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (shelf->place.root_fd < 0) {
        return fx_fail_errno(err, errno, "could not open folder \"%.150s\"", shelf->place.root);
    }
    return FX_OK;
}

fx_code
fx_shelf_open(const char *path, fx_shelf **out_shelf, fx_err *err)
{
    FX_AUTO(fx_shelf) shelf = calloc(1, sizeof *shelf);
    FX_ASSERT(shelf != NULL);
    fx_place_init(&shelf->place);
    shelf->lock_fd = -1;
    for (size_t i = 0; i < APPEND_LOCKS; i++) {
        fx_monitor_init(&shelf->append_locks[i]);
    }
    if (strlen(path) >= sizeof shelf->place.root) {
        return fx_fail(err, FX_ERR_INVALID, "could not serve \"%.100s…\": too long a path", path);
    }
    memcpy(shelf->place.root, path, strlen(path) + 1);
    if (open_store(shelf, err) != FX_OK || lock_folder(shelf, err) != FX_OK ||
        check_attributes(shelf, err) != FX_OK) {
        return err->code;
    }
    remove_stages(shelf);
    *out_shelf = FX_TAKE(shelf);
    return FX_OK;
}

void
fx_shelf_free(fx_shelf *shelf)
{
    if (shelf == NULL) {
        return;
    }
    fx_store_free(shelf->store);
    for (size_t i = 0; i < APPEND_LOCKS; i++) {
        fx_monitor_deinit(&shelf->append_locks[i]);
    }
    if (shelf->lock_fd >= 0) {
        (void)close(shelf->lock_fd);
    }
    fx_place_deinit(&shelf->place);
    free(shelf);
}

const char *
fx_shelf_path(const fx_shelf *shelf)
{
    return shelf->place.root;
}

fx_store *
fx_shelf_store(const fx_shelf *shelf)
{
    return shelf->store;
}

uint64_t
fx_shelf_free_bytes(const fx_shelf *shelf)
{
    struct statvfs room;
    return fstatvfs(shelf->place.root_fd, &room) == 0
               ? (uint64_t)room.f_bavail * (uint64_t)room.f_frsize
               : 0;
}

/* ---- owners
 * ---------------------------------------------------------------------------------------- */

/* None where the attribute is absent or no name. */
static fx_name
read_owner(int fd)
{
    char text[FX_NAME_MAX_BYTES + 1] = "";
    fx_name owner = {.text = ""};
    fx_err ignored = {0};
    ssize_t length = fgetxattr(fd, OWNER_ATTRIBUTE, text, FX_NAME_MAX_BYTES);
    if (length > 0) {
        text[length] = '\0';
        fx_ignore(fx_name_parse(text, "owner", &owner, &ignored), "then it is nobody's");
    }
    return owner;
}

static bool
set_owner(int fd, const fx_name *owner)
{
    return fsetxattr(fd, OWNER_ATTRIBUTE, owner->text, strlen(owner->text), 0) == 0;
}

fx_code
fx_shelf_owner(
    const fx_shelf *shelf,
    const char *key,
    fx_name *out_owner,
    uint64_t *out_size_bytes,
    fx_err *err)
{
    struct stat info;
    if (!fx_store_is_key(key)) {
        return fx_fail(err, FX_ERR_INVALID, "could not use \"%.100s\" as an object's key", key);
    }
    int fd = fx_place_open(&shelf->place, key, O_RDONLY | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) != 0) {
        fx_code code = fx_place_failed(&shelf->place, "look at", key, err);
        if (fd >= 0) {
            (void)close(fd);
        }
        return code;
    }
    fx_code code = FX_OK;
    if (S_ISREG(info.st_mode)) {
        *out_owner = read_owner(fd);
        *out_size_bytes = (uint64_t)info.st_size;
    } else {
        code = fx_fail(err, FX_ERR_NOT_FOUND, "could not look at \"%.100s\": no object", key);
    }
    (void)close(fd);
    return code;
}

typedef struct counting {
    const fx_shelf *shelf;
    fx_shelf_visit visit;
    void *ctx;
    fx_err *err;
    fx_code code;
} counting;

static bool
count_one(void *ctx, const char *key, uint64_t size_bytes, fx_wall stored)
{
    counting *c = ctx;
    fx_name owner;
    (void)stored;
    if (fx_store_is_key(key)) {
        c->code = fx_shelf_owner(c->shelf, key, &owner, &size_bytes, c->err);
        if (c->code == FX_OK) {
            c->visit(c->ctx, &owner, size_bytes);
        }
    }
    return c->code == FX_OK;
}

fx_code
fx_shelf_count(const fx_shelf *shelf, fx_shelf_visit visit, void *ctx, fx_err *err)
{
    counting c = {.shelf = shelf, .visit = visit, .ctx = ctx, .err = err};
    fx_place_walk walk = {
        .place = &shelf->place,
        .prefix = "",
        .after = "",
        .deadline = never,
        .visit = count_one,
        .ctx = &c};
    fx_code code = fx_place_list(&walk, err);
    return code != FX_OK ? code : c.code;
}

fx_code
fx_shelf_list(const fx_shelf *shelf, const fx_place_walk *walk, fx_err *err)
{
    fx_place_walk own = *walk;
    own.place = &shelf->place;
    return fx_place_list(&own, err);
}

/* ---- new objects
 * ----------------------------------------------------------------------------------- */

struct fx_stage {
    const fx_shelf *shelf;
    char key[FX_STORE_KEY_MAX_BYTES + 1];
    char temporary[FX_PLACE_TEMPORARY_BYTES]; /* "": it has none any more */
    int fd;
    uint64_t size_bytes;
    uint64_t done_bytes;
    fx_sha256_stream *digest;
};

/* "packs/0a/0a1b…": the digest that the last part of a key is. */
static bool
digest_of_name(const char *key, unsigned char out_digest[FX_SHA256_BYTES])
{
    fx_err ignored = {0};
    const char *slash = strrchr(key, '/');
    const char *name = slash == NULL ? key : slash + 1;
    return strncmp(key, "forgotten/", strlen("forgotten/")) != 0 &&
           strncmp(key, "repairs/", strlen("repairs/")) != 0 &&
           strlen(name) == (size_t)2 * FX_SHA256_BYTES &&
           fx_hex_decode(name, out_digest, FX_SHA256_BYTES, &ignored) == FX_OK;
}

static fx_code
check_new(const fx_shelf *shelf, const char *key, fx_err *err)
{
    uint64_t ignored = 0;
    fx_err why = {0};
    if (!fx_store_is_key(key)) {
        return fx_fail(err, FX_ERR_INVALID, "could not use \"%.100s\" as an object's key", key);
    }
    fx_code code = fx_store_stat(shelf->store, key, never, &ignored, &why);
    if (code == FX_OK) {
        return fx_fail(err, FX_ERR_EXISTS, "could not store \"%.100s\": it exists already", key);
    }
    if (code != FX_ERR_NOT_FOUND) {
        *err = why;
        return err->code;
    }
    return FX_OK;
}

/* A file that nobody may write gets no attribute: for as long as that takes its owner may. */
static bool
mark_stage(int fd, const fx_name *owner)
{
    return fchmod(fd, 0640) == 0 && set_owner(fd, owner) && fchmod(fd, 0440) == 0;
}

fx_code
fx_stage_begin(
    const fx_shelf *shelf,
    const fx_name *owner,
    const char *key,
    uint64_t size_bytes,
    fx_stage **out_stage,
    fx_err *err)
{
    if (check_new(shelf, key, err) != FX_OK) {
        return err->code;
    }
    FX_AUTO(fx_stage) stage = calloc(1, sizeof *stage);
    FX_ASSERT(stage != NULL);
    stage->shelf = shelf;
    stage->fd = -1;
    stage->size_bytes = size_bytes;
    stage->digest = fx_sha256_stream_new();
    (void)snprintf(stage->key, sizeof stage->key, "%s", key);
    char temporary[FX_PLACE_TEMPORARY_BYTES];
    if (fx_place_make_temporary(&shelf->place, STAGE_PREFIX, key, temporary, &stage->fd, err) !=
        FX_OK) {
        return err->code;
    }
    memcpy(stage->temporary, temporary, sizeof temporary);
    if (!mark_stage(stage->fd, owner)) {
        return fx_place_failed(&shelf->place, "note who puts", key, err);
    }
    *out_stage = FX_TAKE(stage);
    return FX_OK;
}

uint64_t
fx_stage_done_bytes(const fx_stage *stage)
{
    return stage->done_bytes;
}

uint64_t
fx_stage_size_bytes(const fx_stage *stage)
{
    return stage->size_bytes;
}

const char *
fx_stage_key(const fx_stage *stage)
{
    return stage->key;
}

fx_code
fx_stage_add(fx_stage *stage, fx_bytes bytes, fx_err *err)
{
    if (bytes.size_bytes > stage->size_bytes - stage->done_bytes) {
        return fx_fail(
            err,
            FX_ERR_LIMIT,
            "could not store \"%.100s\": more comes than was announced",
            stage->key);
    }
    int failed = fx_write_at(stage->fd, bytes, stage->done_bytes);
    if (failed != 0) {
        errno = failed;
        return fx_place_failed(&stage->shelf->place, "write", stage->key, err);
    }
    fx_sha256_stream_add(stage->digest, bytes);
    stage->done_bytes += bytes.size_bytes;
    return FX_OK;
}

fx_code
fx_stage_commit(fx_stage *stage, fx_err *err)
{
    unsigned char wanted[FX_SHA256_BYTES];
    unsigned char found[FX_SHA256_BYTES];
    if (stage->done_bytes != stage->size_bytes) {
        return fx_fail(
            err,
            FX_ERR_CONFLICT,
            "could not store \"%.100s\": parts of it are missing",
            stage->key);
    }
    fx_sha256_stream_finish(stage->digest, found);
    if (digest_of_name(stage->key, wanted) && memcmp(wanted, found, sizeof found) != 0) {
        return fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not store \"%.100s\": its content has another SHA-256 than its name",
            stage->key);
    }
    if (fsync(stage->fd) != 0) {
        return fx_place_failed(&stage->shelf->place, "sync", stage->key, err);
    }
    fx_code code = fx_place_link(&stage->shelf->place, stage->temporary, stage->key, err);
    stage->temporary[0] = '\0';
    return code;
}

void
fx_stage_free(fx_stage *stage)
{
    if (stage == NULL) {
        return;
    }
    if (stage->fd >= 0) {
        (void)close(stage->fd);
    }
    if (stage->temporary[0] != '\0') {
        (void)unlinkat(stage->shelf->place.root_fd, stage->temporary, 0);
    }
    fx_sha256_stream_free(stage->digest);
    free(stage);
}

/* Whoever adds first owns it: a crash may have come between the object and the note. */
static fx_code
note_owner(const fx_shelf *shelf, const fx_name *owner, const char *key, fx_err *err)
{
    fx_code code = FX_OK;
    int fd = fx_place_open(&shelf->place, key, O_RDONLY | O_NONBLOCK);
    fx_name now = fd < 0 ? (fx_name){.text = ""} : read_owner(fd);
    if (fd < 0 || (fx_name_is_none(&now) && (!set_owner(fd, owner) || fsync(fd) != 0))) {
        code = fx_place_failed(&shelf->place, "note who adds to", key, err);
        err->outcome = FX_CLASS_UNKNOWN; /* the bytes are there */
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return code;
}

static fx_code
append_locked(
    const fx_shelf *shelf,
    const fx_name *owner,
    const char *key,
    uint64_t offset,
    fx_bytes bytes,
    fx_err *err)
{
    fx_name now = {.text = ""};
    uint64_t size_bytes = 0;
    fx_err why = {0};
    fx_code found = fx_shelf_owner(shelf, key, &now, &size_bytes, &why);
    if (found == FX_OK && !fx_name_is_none(&now) && !fx_name_is(&now, owner)) {
        return fx_fail(
            err,
            FX_ERR_DENIED,
            "could not add to \"%.100s\": it is another host's, and %s is asking",
            key,
            owner->text);
    }
    if (fx_store_append(shelf->store, key, offset, bytes, never, err) != FX_OK) {
        return err->code;
    }
    return fx_name_is_none(&now) ? note_owner(shelf, owner, key, err) : FX_OK;
}

fx_code
fx_shelf_append(
    fx_shelf *shelf,
    const fx_name *owner,
    const char *key,
    uint64_t offset,
    fx_bytes bytes,
    fx_err *err)
{
    uint32_t hash = 2166136261U; /* FNV-1a */
    for (const char *at = key; *at != '\0'; at++) {
        hash = (hash ^ (unsigned char)*at) * 16777619U;
    }
    fx_monitor *lock = &shelf->append_locks[hash % APPEND_LOCKS];
    fx_monitor_lock(lock);
    fx_code code = append_locked(shelf, owner, key, offset, bytes, err);
    fx_monitor_unlock(lock);
    return code;
}

/* ---- looking
 * --------------------------------------------------------------------------------------- */

fx_code
fx_shelf_scrub(const fx_shelf *shelf, const char *key, fx_shelf_finding *out_finding, fx_err *err)
{
    fx_shelf_finding found = {0};
    unsigned char wanted[FX_SHA256_BYTES];
    FX_AUTO(fx_sha256_stream) digest = fx_sha256_stream_new();
    FX_BUF_AUTO piece;
    fx_buf_init(&piece, SCRUB_PIECE_BYTES);
    for (bool more = true; more;) {
        fx_buf_clear(&piece);
        if (fx_store_get(
                shelf->store, key, found.size_bytes, SCRUB_PIECE_BYTES, never, &piece, err) !=
            FX_OK) {
            return err->code;
        }
        fx_sha256_stream_add(digest, fx_buf_bytes(&piece));
        found.size_bytes += piece.size_bytes;
        more = piece.size_bytes == SCRUB_PIECE_BYTES;
    }
    fx_sha256_stream_finish(digest, found.sha256);
    found.is_named = digest_of_name(key, wanted);
    found.is_whole = found.is_named && memcmp(wanted, found.sha256, sizeof wanted) == 0;
    *out_finding = found;
    return FX_OK;
}
