/*
 * A folder as a store: "posix:PATH". An object is a file named by its key. It is written under
 * tmp/, synced, and linked to its name, so that a crash leaves a whole object or none, and an
 * existing one is never replaced.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/outlet.h"
#include "common/store/posix/place.h"

enum { TEMPORARY_DAYS_MAX = 1, DIRECT_FROM_BYTES = 1024 * 1024 };

typedef struct posix_store {
    fx_place place;
    atomic_flag swept;
} posix_store;

static fx_code
open_root(posix_store *store, fx_err *err)
{
    store->place.root_fd = open(store->place.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (store->place.root_fd < 0 && errno != ENOENT) {
        return fx_fail_errno(err, errno, "could not open folder \"%.150s\"", store->place.root);
    }
    return FX_OK;
}

static fx_code
posix_open(void *state, const char *rest, fx_err *err)
{
    posix_store *store = state;
    fx_place_init(&store->place);
    atomic_flag_clear(&store->swept);
    size_t length = strlen(rest);
    if (length == 0 || length >= sizeof store->place.root) {
        return fx_fail(err, FX_ERR_INVALID, "could not use an empty or too long path as a store");
    }
    memcpy(store->place.root, rest, length + 1);
    return open_root(store, err);
}

static void
posix_close(void *state)
{
    posix_store *store = state;
    fx_place_deinit(&store->place);
}

/*
 * Removes temporaries that crashed processes left: none that is still written is a day old. Once an
 * opened store. What cannot be removed costs room alone, so that it fails nothing.
 */
static void
sweep(posix_store *store)
{
    if (store->place.root_fd < 0 || atomic_flag_test_and_set(&store->swept)) {
        return;
    }
    int fd = openat(store->place.root_fd, "tmp", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (folder == NULL) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return;
    }
    int64_t oldest_s = fx_clock_wall().ns / 1000000000 - (int64_t)TEMPORARY_DAYS_MAX * 24 * 3600;
    const struct dirent *entry = NULL;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this call's own */
    while ((entry = readdir(folder)) != NULL) {
        struct stat info;
        if (fstatat(fd, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(info.st_mode) &&
            info.st_mtime < oldest_s) {
            (void)unlinkat(fd, entry->d_name, 0);
        }
    }
    (void)closedir(folder);
}

static fx_code
posix_prepare(void *state, fx_err *err)
{
    posix_store *store = state;
    if (fx_file_make_folder(store->place.root, 0750, err) != FX_OK) {
        return err->code;
    }
    if (store->place.root_fd < 0 && open_root(store, err) != FX_OK) {
        return err->code;
    }
    if (mkdirat(store->place.root_fd, "tmp", 0750) != 0 && errno != EEXIST) {
        return fx_fail_errno(err, errno, "could not create \"%.150s/tmp\"", store->place.root);
    }
    sweep(store);
    return fx_file_sync_parent(store->place.root, err);
}

/* Packs go past the page cache: a backup leaves that to those who work on the machine. */
static bool
write_body(int fd, fx_bytes body)
{
    fx_outlet outlet = {.fd = fd, .direct_fd = -1};
    if (body.size_bytes >= DIRECT_FROM_BYTES) {
        outlet.direct_fd = fx_direct_open(fd);
    }
    if (outlet.direct_fd >= 0) {
        outlet.room = fx_direct_room_new();
    }
    int failed = fx_outlet_write(&outlet, body, 0);
    if (outlet.direct_fd >= 0) {
        (void)close(outlet.direct_fd);
    }
    free(outlet.room);
    errno = failed;
    return failed == 0;
}

/* On failure nothing of the temporary is left. */
static fx_code
write_temporary(posix_store *store, const char *key, fx_bytes body, char *out_name, fx_err *err)
{
    int fd = -1;
    if (fx_place_make_temporary(&store->place, "", key, out_name, &fd, err) != FX_OK) {
        return err->code;
    }
    bool written = write_body(fd, body) && fsync(fd) == 0;
    int saved_errno = errno;
    (void)close(fd);
    if (!written) {
        (void)unlinkat(store->place.root_fd, out_name, 0);
        errno = saved_errno;
        return fx_place_failed(&store->place, "write", key, err);
    }
    return FX_OK;
}

static fx_code
posix_put(void *state, const char *key, fx_bytes body, fx_mono deadline, fx_err *err)
{
    posix_store *store = state;
    char temporary[FX_PLACE_TEMPORARY_BYTES];
    sweep(store);
    if (fx_store_check_deadline(deadline, key, err) != FX_OK ||
        write_temporary(store, key, body, temporary, err) != FX_OK) {
        return err->code;
    }
    if (fx_store_check_deadline(deadline, key, err) != FX_OK) { /* a slow disk: nothing is there */
        (void)unlinkat(store->place.root_fd, temporary, 0);
        return err->code;
    }
    return fx_place_link(&store->place, temporary, key, err);
}

/* NOLINTBEGIN(readability-function-size): a range and a deadline are what a get is */
static fx_code
posix_get(
    void *state,
    const char *key,
    uint64_t offset,
    uint64_t size_bytes,
    fx_mono deadline,
    fx_buf *out,
    fx_err *err)
{
    posix_store *store = state;
    if (fx_store_check_deadline(deadline, key, err) != FX_OK) {
        return err->code;
    }
    int fd = fx_place_open(&store->place, key, O_RDONLY);
    struct stat info;
    if (fd < 0) {
        return fx_place_failed(&store->place, "open", key, err);
    }
    fx_code code = FX_OK;
    if (fstat(fd, &info) != 0) {
        code = fx_place_failed(&store->place, "look at", key, err);
    }
    uint64_t file_bytes = code == FX_OK ? (uint64_t)info.st_size : 0;
    uint64_t left_bytes = offset < file_bytes ? file_bytes - offset : 0;
    size_t want_bytes = (size_t)(left_bytes < size_bytes ? left_bytes : size_bytes);
    unsigned char *room = NULL;
    size_t begin_bytes = out->size_bytes;
    if (code == FX_OK && fx_buf_extend(out, want_bytes, &room, err) != FX_OK) {
        code = fx_err_wrap(err, "reading \"%.100s\"", key);
    }
    size_t got_bytes = 0;
    while (code == FX_OK && got_bytes < want_bytes) {
        ssize_t got =
            pread(fd, room + got_bytes, want_bytes - got_bytes, (off_t)(offset + got_bytes));
        if (got < 0 && errno != EINTR) {
            code = fx_place_failed(&store->place, "read", key, err);
        } else if (got == 0) {
            out->size_bytes = begin_bytes + got_bytes;
            break;
        } else if (got > 0) {
            got_bytes += (size_t)got;
        }
    }
    (void)close(fd);
    return code;
}
/* NOLINTEND(readability-function-size) */

static fx_code
posix_stat(void *state, const char *key, fx_mono deadline, uint64_t *out_size_bytes, fx_err *err)
{
    posix_store *store = state;
    if (fx_store_check_deadline(deadline, key, err) != FX_OK) {
        return err->code;
    }
    int fd = fx_place_open(&store->place, key, O_PATH);
    struct stat info;
    fx_code code = FX_OK;
    if (fd < 0 || fstat(fd, &info) != 0) {
        code = fx_place_failed(&store->place, "look at", key, err);
    } else {
        *out_size_bytes = (uint64_t)info.st_size;
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return code;
}

typedef struct listing {
    fx_store_visit visit; /* or visit_time */
    fx_store_visit_time visit_time;
    void *ctx;
} listing;

static bool
visit_all(void *ctx, const char *key, uint64_t size_bytes, fx_wall stored)
{
    const listing *to = ctx;
    if (to->visit_time != NULL) {
        to->visit_time(to->ctx, key, stored);
    } else {
        to->visit(to->ctx, key, size_bytes);
    }
    return true;
}

static fx_code
list_all(const posix_store *store, const char *prefix, fx_mono deadline, listing *to, fx_err *err)
{
    fx_place_walk walk = {
        .place = &store->place,
        .prefix = prefix,
        .after = "",
        .deadline = deadline,
        .visit = visit_all,
        .ctx = to};
    return fx_place_list(&walk, err);
}

static fx_code
posix_list(
    void *state, const char *prefix, fx_mono deadline, fx_store_visit visit, void *ctx, fx_err *err)
{
    listing to = {.visit = visit, .ctx = ctx};
    return list_all(state, prefix, deadline, &to, err);
}

static fx_code
posix_list_times(
    void *state,
    const char *prefix,
    fx_mono deadline,
    fx_store_visit_time visit,
    void *ctx,
    fx_err *err)
{
    listing to = {.visit_time = visit, .ctx = ctx};
    return list_all(state, prefix, deadline, &to, err);
}

/* What a user may see: no names that begin with a dot. */
static int
is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static fx_code
stored_whole(const char *key, fx_err *err)
{
    return fx_fail(err, FX_ERR_EXISTS, "could not add to \"%s\": it was stored whole", key);
}

/* A put leaves a file that nobody may write. */
static bool
is_whole(int folder, const char *key)
{
    const char *slash = strrchr(key, '/');
    struct stat info;
    return folder >= 0 &&
           fstatat(folder, slash == NULL ? key : slash + 1, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
           (info.st_mode & S_IWUSR) == 0;
}

/* The object that appends make, made if asked for, and its folder. */
static int
open_appended(const posix_store *store, const char *key, bool make, int *out_folder)
{
    const char *slash = strrchr(key, '/');
    if (store->place.root_fd < 0) {
        errno = ENOENT;
        return -1;
    }
    *out_folder = fx_place_open_folder(&store->place, key, make);
    if (*out_folder < 0) {
        return -1;
    }
    return openat(
        *out_folder,
        slash == NULL ? key : slash + 1,
        O_RDWR | O_NOFOLLOW | O_CLOEXEC | (make ? O_CREAT : 0),
        0640);
}

/*
 * What a failed write added is taken off again, so that the next append finds what it expects;
 * *out_undone: whether it could be.
 */
static bool
add_bytes(int fd, uint64_t offset, fx_bytes bytes, bool *out_undone)
{
    *out_undone = true;
    int failed = fx_write_at(fd, bytes, offset);
    if (failed == 0 && fsync(fd) == 0) {
        return true;
    }
    failed = failed == 0 ? errno : failed;
    *out_undone = ftruncate(fd, (off_t)offset) == 0 && fsync(fd) == 0;
    errno = failed;
    return false;
}

/* The object is locked: of two appends at one offset the second sees what the first added. */
static fx_code
append_locked(
    const posix_store *store, const char *key, int fd, uint64_t offset, fx_bytes bytes, fx_err *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return fx_place_failed(&store->place, "look at", key, err);
    }
    if (info.st_nlink == 0) {
        return fx_fail_as(
            err,
            FX_CLASS_TRANSIENT,
            FX_ERR_NOT_FOUND,
            "could not add to \"%s\": it was removed meanwhile",
            key);
    }
    if ((info.st_mode & S_IWUSR) == 0) {
        return stored_whole(key, err);
    }
    if ((uint64_t)info.st_size != offset) {
        return fx_fail(
            err,
            FX_ERR_CONFLICT,
            "could not add to \"%s\" at %" PRIu64 ": it has %jd bytes",
            key,
            offset,
            (intmax_t)info.st_size);
    }
    bool undone = false;
    if (!add_bytes(fd, offset, bytes, &undone)) {
        fx_code code = fx_place_failed(&store->place, "add to", key, err);
        err->outcome = undone ? err->outcome : FX_CLASS_UNKNOWN;
        return code;
    }
    return FX_OK;
}

static fx_code
posix_append(
    void *state, const char *key, uint64_t offset, fx_bytes bytes, fx_mono deadline, fx_err *err)
{
    posix_store *store = state;
    int folder = -1;
    if (fx_store_check_deadline(deadline, key, err) != FX_OK) {
        return err->code;
    }
    int fd = open_appended(store, key, offset == 0, &folder);
    fx_code code = fd < 0 ? fx_place_failed(&store->place, "open", key, err) : FX_OK;
    if (code == FX_ERR_DENIED && is_whole(folder, key)) {
        code = stored_whole(key, err);
    }
    if (code == FX_OK && flock(fd, LOCK_EX) != 0) {
        code = fx_place_failed(&store->place, "lock", key, err);
    }
    if (code == FX_OK) {
        code = append_locked(store, key, fd, offset, bytes, err);
    }
    /* The name must be durable too, also where the append that made it crashed before this. */
    if (code == FX_OK && fsync(folder) != 0) {
        code = fx_place_failed(&store->place, "sync the folder of", key, err);
        err->outcome = FX_CLASS_UNKNOWN;
    }
    if (fd >= 0) {
        (void)close(fd); /* gives the lock up */
    }
    if (folder >= 0) {
        (void)close(folder);
    }
    return code;
}

static fx_code
posix_remove(void *state, const char *key, fx_mono deadline, fx_err *err)
{
    posix_store *store = state;
    if (fx_store_check_deadline(deadline, key, err) != FX_OK) {
        return err->code;
    }
    const char *slash = strrchr(key, '/');
    char path[FX_STORE_KEY_MAX_BYTES + 1] = ".";
    if (slash != NULL) {
        memcpy(path, key, (size_t)(slash - key));
        path[slash - key] = '\0';
    }
    int folder = fx_place_open(&store->place, path, O_RDONLY | O_DIRECTORY);
    fx_code code = FX_OK;
    if (folder < 0 || unlinkat(folder, slash == NULL ? key : slash + 1, 0) != 0) {
        code = fx_place_failed(&store->place, "remove", key, err);
    } else if (fsync(folder) != 0) {
        code = fx_place_failed(&store->place, "sync the folder of", key, err);
        err->outcome = FX_CLASS_UNKNOWN;
    }
    if (folder >= 0) {
        (void)close(folder);
    }
    return code;
}

static unsigned
posix_abilities(const void *state)
{
    (void)state;
    return FX_STORE_CAN_APPEND | FX_STORE_TELLS_TIMES;
}

/* Temporaries that still lie there: of crashed processes, or of puts that go on. */
static uint32_t
count_temporaries(const posix_store *store)
{
    struct dirent **entries = NULL;
    int count = scandirat(store->place.root_fd, "tmp", &entries, is_visible, NULL);
    for (int i = 0; i < count; i++) {
        free(entries[i]);
    }
    free(entries);
    return count > 0 ? (uint32_t)count : 0;
}

static fx_code
posix_examine(void *state, fx_mono deadline, fx_store_examination *to, fx_err *err)
{
    (void)deadline;
    (void)err;
    const posix_store *store = state;
    to->versioning = FX_STORE_NO;
    to->object_lock = FX_STORE_NO;
    to->knows_clock_skew = true; /* the clock is ours */
    to->leftover_count = count_temporaries(store);
    to->leftovers = to->leftover_count > 0 ? FX_STORE_YES : FX_STORE_NO;
    struct statvfs room;
    if (store->place.root_fd >= 0 && fstatvfs(store->place.root_fd, &room) == 0) {
        fx_store_note(
            to,
            "%" PRIu64 " MiB are free",
            (uint64_t)room.f_bavail * (uint64_t)room.f_frsize / (UINT64_C(1024) * 1024));
    }
    fx_store_note(
        to,
        "whoever may write to this folder may remove what is in it: keep another tier elsewhere");
    return FX_OK;
}

const fx_store_driver fx_store_driver_posix = {
    .name = "posix",
    .state_bytes = sizeof(posix_store),
    .open = posix_open,
    .close = posix_close,
    .prepare = posix_prepare,
    .put = posix_put,
    .get = posix_get,
    .stat = posix_stat,
    .list = posix_list,
    .remove = posix_remove,
    .examine = posix_examine,
    .abilities = posix_abilities,
    .append = posix_append,
    .list_times = posix_list_times,
};
