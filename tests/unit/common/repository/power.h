/*
 * Power loss as a disk sees it. The linker gives this program its own open(), write(), fsync(),
 * link() and so on (--wrap), which do what libc's do and note it; from the notes a folder is made
 * as it may be found after the power went off at any of them: content that was not synced is lost,
 * zeros, or a part, and a name that was made or removed is so only if its folder was synced since.
 * What is tested is thus the posix store itself, and whoever else writes below the folder. Include
 * once a program.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/rng.h"

enum {
    OPS_MAX = 4096,
    INODES_MAX = 1024,
    NAME_BYTES = 160,
    PLACE_BYTES = 512,
    CONTENTS_BYTES = 64 << 20
};

typedef enum op_kind {
    OP_NAME,   /* `inode` is called `name` in `folder` from now on */
    OP_UNNAME, /* nothing is */
    OP_MOVE,   /* it was called `from` there: both at once */
    OP_WRITE,
    OP_SYNC,
    OP_SYNC_FOLDER,
} op_kind;

typedef struct op {
    op_kind kind;
    int folder; /* inode; of OP_SYNC_FOLDER itself */
    int inode;
    char name[NAME_BYTES];
    char from[NAME_BYTES];
    unsigned char *content; /* of the file, then */
    size_t content_bytes;
} op;

typedef struct inode {
    dev_t device;
    ino_t number;
    mode_t mode;
} inode;

static pthread_mutex_t power_lock = PTHREAD_MUTEX_INITIALIZER;
static bool is_recording;
static size_t kill_after_folders; /* after it has made so many, the process is killed; 0: never */

/* Shared with the process that is noted, so that that one can be gone afterwards. */
typedef struct power_notes {
    op ops[OPS_MAX];
    size_t op_count;
    inode inodes[INODES_MAX]; /* [0] is the folder; of several with one number the last is meant */
    int inode_count;
    unsigned char contents[CONTENTS_BYTES];
    size_t contents_bytes;
} power_notes;
static power_notes *notes;

/* NOLINTBEGIN(readability-identifier-naming,bugprone-reserved-identifier,cert-dcl37-c): the
 * linker's names */
int __real_open(const char *path, int flags, ...);
int __real_openat(int at, const char *path, int flags, ...);
int __real_mkostemp(char *path, int flags);
int __real_mkdir(const char *path, mode_t mode);
int __real_mkdirat(int at, const char *path, mode_t mode);
int __real_link(const char *from, const char *to);
int __real_linkat(int from_at, const char *from, int to_at, const char *to, int flags);
int __real_unlink(const char *path);
int __real_unlinkat(int at, const char *path, int flags);
int __real_rename(const char *from, const char *to);
int __real_ftruncate(int fd, off_t size);
ssize_t __real_write(int fd, const void *bytes, size_t size);
ssize_t __real_pwrite(int fd, const void *bytes, size_t size, off_t at);

int __wrap_open(const char *path, int flags, ...);
int __wrap_openat(int at, const char *path, int flags, ...);
int __wrap_mkostemp(char *path, int flags);
int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_mkdirat(int at, const char *path, mode_t mode);
int __wrap_link(const char *from, const char *to);
int __wrap_linkat(int from_at, const char *from, int to_at, const char *to, int flags);
int __wrap_unlink(const char *path);
int __wrap_unlinkat(int at, const char *path, int flags);
int __wrap_rename(const char *from, const char *to);
int __wrap_ftruncate(int fd, off_t size);
int __wrap_fsync(int fd);
int __wrap_fdatasync(int fd);
ssize_t __wrap_write(int fd, const void *bytes, size_t size);
ssize_t __wrap_pwrite(int fd, const void *bytes, size_t size, off_t at);

/* ---- notes
 * ----------------------------------------------------------------------------------------- */

static int
find_inode(const struct stat *info)
{
    for (int i = notes->inode_count - 1; i >= 0; i--) {
        if (notes->inodes[i].number == info->st_ino && notes->inodes[i].device == info->st_dev) {
            return i;
        }
    }
    return -1;
}

static int
add_inode(const struct stat *info)
{
    assert_true(notes->inode_count < INODES_MAX);
    notes->inodes[notes->inode_count] =
        (inode){.device = info->st_dev, .number = info->st_ino, .mode = info->st_mode};
    return notes->inode_count++;
}

static op *
add_op(op_kind kind, int folder_inode, int of)
{
    assert_true(notes->op_count < OPS_MAX);
    op *added = &notes->ops[notes->op_count++];
    *added = (op){.kind = kind, .folder = folder_inode, .inode = of};
    return added;
}

/* The folder that a path leads to a name in; -1: none of ours. */
static int
locate(int at, const char *path, char out_name[NAME_BYTES])
{
    char parent[PLACE_BYTES] = ".";
    const char *slash = strrchr(path, '/');
    struct stat info;
    int found = -1;
    (void)snprintf(out_name, NAME_BYTES, "%s", slash == NULL ? path : slash + 1);
    if (slash != NULL) {
        (void)snprintf(parent, sizeof parent, "%.*s/", (int)(slash - path), path);
    }
    int fd = __real_openat(at, parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &info) == 0) {
        found = find_inode(&info);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return found;
}

/* After it has been made: `is_new`, or another name of what is known. */
static void
note_name(int at, const char *path, bool is_new)
{
    char name[NAME_BYTES] = "";
    struct stat info;
    int around = locate(at, path, name);
    if (around >= 0 && fstatat(at, path, &info, AT_SYMLINK_NOFOLLOW) == 0) {
        int of = is_new ? add_inode(&info) : find_inode(&info);
        assert_true(of >= 0);
        memcpy(add_op(OP_NAME, around, of)->name, name, NAME_BYTES);
    }
}

static void
note_content(int fd, op_kind kind)
{
    struct stat info;
    char path[64];
    int of = fstat(fd, &info) == 0 ? find_inode(&info) : -1;
    if (of < 0) {
        return;
    }
    if (S_ISDIR(info.st_mode)) {
        (void)add_op(OP_SYNC_FOLDER, of, of);
        return;
    }
    notes->inodes[of].mode = info.st_mode;
    op *added = add_op(kind, -1, of);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int again = __real_open(path, O_RDONLY | O_CLOEXEC);
    added->content_bytes = (size_t)info.st_size;
    added->content = notes->contents + notes->contents_bytes;
    notes->contents_bytes += added->content_bytes;
    assert_true(again >= 0 && notes->contents_bytes <= CONTENTS_BYTES);
    assert_int_equal(
        pread(again, added->content, added->content_bytes, 0), (ssize_t)added->content_bytes);
    (void)close(again);
}

static bool
begin_op(void)
{
    (void)pthread_mutex_lock(&power_lock);
    return is_recording;
}

static int
end_op(int result)
{
    int saved_errno = errno;
    (void)pthread_mutex_unlock(&power_lock);
    errno = saved_errno;
    return result;
}

/* ---- instead of libc's
 * ----------------------------------------------------------------------------- */

static int
open_noted(int at, const char *path, int flags, mode_t mode)
{
    struct stat info;
    bool is_new =
        begin_op() && (flags & O_CREAT) != 0 && fstatat(at, path, &info, AT_SYMLINK_NOFOLLOW) != 0;
    int fd = __real_openat(at, path, flags, mode);
    int saved_errno = errno;
    if (fd >= 0 && is_new) {
        note_name(at, path, true);
    } else if (fd >= 0 && is_recording && (flags & O_TRUNC) != 0) {
        note_content(fd, OP_WRITE);
    }
    errno = saved_errno;
    return end_op(fd);
}

static mode_t
mode_of(int flags, va_list rest)
{
    return (flags & O_CREAT) != 0 ? (mode_t)va_arg(rest, int) : 0;
}

int
__wrap_open(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_of(flags, rest);
    va_end(rest);
    return open_noted(AT_FDCWD, path, flags, mode);
}

int
__wrap_openat(int at, const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_of(flags, rest);
    va_end(rest);
    return open_noted(at, path, flags, mode);
}

int
__wrap_mkostemp(char *path, int flags)
{
    bool is_noted = begin_op();
    int fd = __real_mkostemp(path, flags);
    if (fd >= 0 && is_noted) {
        note_name(AT_FDCWD, path, true);
    }
    return end_op(fd);
}

int
__wrap_mkdirat(int at, const char *path, mode_t mode)
{
    bool is_noted = begin_op();
    int result = __real_mkdirat(at, path, mode);
    if (result == 0 && is_noted) {
        note_name(at, path, true);
        if (kill_after_folders > 0 && --kill_after_folders == 0) {
            (void)kill(getpid(), SIGKILL);
        }
    }
    return end_op(result);
}

int
__wrap_mkdir(const char *path, mode_t mode)
{
    return __wrap_mkdirat(AT_FDCWD, path, mode);
}

int
__wrap_linkat(int from_at, const char *from, int to_at, const char *to, int flags)
{
    bool is_noted = begin_op();
    int result = __real_linkat(from_at, from, to_at, to, flags);
    if (result == 0 && is_noted) {
        note_name(to_at, to, false);
    }
    return end_op(result);
}

int
__wrap_link(const char *from, const char *to)
{
    return __wrap_linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int
__wrap_unlinkat(int at, const char *path, int flags)
{
    char name[NAME_BYTES] = "";
    int around = begin_op() ? locate(at, path, name) : -1;
    int result = __real_unlinkat(at, path, flags);
    if (result == 0 && around >= 0) {
        memcpy(add_op(OP_UNNAME, around, -1)->name, name, NAME_BYTES);
    }
    return end_op(result);
}

int
__wrap_unlink(const char *path)
{
    return __wrap_unlinkat(AT_FDCWD, path, 0);
}

int
__wrap_rename(const char *from, const char *to)
{
    char old[NAME_BYTES] = "";
    char name[NAME_BYTES] = "";
    struct stat info;
    int around = begin_op() ? locate(AT_FDCWD, from, old) : -1;
    int result = __real_rename(from, to);
    if (result == 0 && around >= 0) {
        assert_int_equal(locate(AT_FDCWD, to, name), around);
        assert_int_equal(lstat(to, &info), 0);
        op *added = add_op(OP_MOVE, around, find_inode(&info));
        memcpy(added->from, old, NAME_BYTES);
        memcpy(added->name, name, NAME_BYTES);
    }
    return end_op(result);
}

int
__wrap_ftruncate(int fd, off_t size)
{
    bool is_noted = begin_op();
    int result = __real_ftruncate(fd, size);
    if (result == 0 && is_noted) {
        note_content(fd, OP_WRITE);
    }
    return end_op(result);
}

/* There is no disk, and so no waiting for one. */
int
__wrap_fsync(int fd)
{
    if (begin_op()) {
        note_content(fd, OP_SYNC);
    }
    return end_op(0);
}

int
__wrap_fdatasync(int fd)
{
    return __wrap_fsync(fd);
}

ssize_t
__wrap_pwrite(int fd, const void *bytes, size_t size, off_t at)
{
    bool is_noted = begin_op();
    ssize_t put = __real_pwrite(fd, bytes, size, at);
    int saved_errno = errno;
    if (put > 0 && is_noted) {
        note_content(fd, OP_WRITE);
    }
    errno = saved_errno;
    (void)end_op(0);
    return put;
}

ssize_t
__wrap_write(int fd, const void *bytes, size_t size)
{
    bool is_noted = begin_op();
    ssize_t put = __real_write(fd, bytes, size);
    int saved_errno = errno;
    if (put > 0 && is_noted) {
        note_content(fd, OP_WRITE);
    }
    errno = saved_errno;
    (void)end_op(0);
    return put;
}

/* NOLINTEND(readability-identifier-naming,bugprone-reserved-identifier,cert-dcl37-c) */

/* Notes all that happens below the folder, which is empty and durable itself. */
static void
power_record(const char *root)
{
    struct stat info;
    notes = mmap(NULL, sizeof *notes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(notes, MAP_FAILED);
    assert_int_equal(lstat(root, &info), 0);
    (void)add_inode(&info);
    is_recording = true;
}

static void
power_forget(void)
{
    is_recording = false;
    assert_int_equal(munmap(notes, sizeof *notes), 0);
    notes = NULL;
}

/* ---- what is left
 * ---------------------------------------------------------------------------------- */

typedef enum loss {
    LOSS_ALL,  /* of what was not synced nothing is there */
    LOSS_DATA, /* names are as they were; content is zeros */
    LOSS_SOME, /* of each a part, by chance */
} loss;

typedef struct left_name {
    int folder;
    int inode;
    char name[NAME_BYTES];
} left_name;

typedef struct left {
    size_t cut; /* the notes->ops before it happened */
    loss how;
    fx_rng rng;
    left_name names[OPS_MAX];
    size_t name_count;
    uint64_t print; /* the same for the same names and content */
} left;

static bool
is_synced(const left *state, size_t index, op_kind kind, int of)
{
    for (size_t i = index + 1; i < state->cut; i++) {
        if (notes->ops[i].kind == kind && notes->ops[i].inode == of) {
            return true;
        }
    }
    return false;
}

static void
drop_name(left *state, int around, const char name[NAME_BYTES])
{
    for (size_t i = 0; i < state->name_count; i++) {
        if (state->names[i].folder == around && strcmp(state->names[i].name, name) == 0) {
            state->names[i] = state->names[--state->name_count];
            return;
        }
    }
}

static void
set_name(left *state, int around, const char name[NAME_BYTES], int of)
{
    drop_name(state, around, name);
    left_name *added = &state->names[state->name_count++];
    *added = (left_name){.folder = around, .inode = of};
    memcpy(added->name, name, NAME_BYTES);
}

static void
leave_names(left *state)
{
    for (size_t i = 0; i < state->cut; i++) {
        const op *one = &notes->ops[i];
        bool is_name = one->kind == OP_NAME || one->kind == OP_MOVE || one->kind == OP_UNNAME;
        bool is_left = is_name && (is_synced(state, i, OP_SYNC_FOLDER, one->folder) ||
                                   state->how == LOSS_DATA ||
                                   (state->how == LOSS_SOME && fx_rng_below(&state->rng, 2) == 0));
        if (!is_left) {
            continue;
        }
        if (one->kind == OP_MOVE) {
            drop_name(state, one->folder, one->from);
        }
        if (one->kind == OP_UNNAME) {
            drop_name(state, one->folder, one->name);
        } else {
            set_name(state, one->folder, one->name, one->inode);
        }
    }
}

typedef struct left_content {
    const op *synced; /* NULL: never */
    const op *latest; /* NULL: nothing since */
    size_t kept_bytes;
    size_t zero_bytes; /* behind them */
} left_content;

static left_content
leave_content(left *state, int of)
{
    left_content content = {0};
    for (size_t i = 0; i < state->cut; i++) {
        if (notes->ops[i].inode == of && notes->ops[i].kind == OP_SYNC) {
            content =
                (left_content){.synced = &notes->ops[i], .kept_bytes = notes->ops[i].content_bytes};
        } else if (notes->ops[i].inode == of && notes->ops[i].kind == OP_WRITE) {
            content.latest = &notes->ops[i];
        }
    }
    if (content.latest == NULL || state->how == LOSS_ALL) {
        content.latest = NULL;
        return content;
    }
    size_t latest_bytes = content.latest->content_bytes;
    uint64_t chance = state->how == LOSS_DATA ? 0 : fx_rng_below(&state->rng, 3);
    if (chance == 0) { /* the length is known, what was added is not */
        size_t old_bytes = content.kept_bytes < latest_bytes ? content.kept_bytes : latest_bytes;
        content.kept_bytes = old_bytes;
        content.zero_bytes = latest_bytes - old_bytes;
    } else {
        content.synced = content.latest;
        content.kept_bytes = chance == 1 ? latest_bytes / 2 : latest_bytes;
    }
    return content;
}

static void
add_print(left *state, const void *bytes, size_t size_bytes, uint64_t salt)
{
    uint64_t print = UINT64_C(1469598103934665603) ^ salt;
    for (size_t i = 0; i < size_bytes; i++) {
        print = (print ^ ((const unsigned char *)bytes)[i]) * UINT64_C(1099511628211);
    }
    state->print += print;
}

static void
make_left_file(left *state, int of, const char *path, size_t target_bytes)
{
    static const unsigned char zeros[4096];
    left_content content = leave_content(state, of);
    int fd =
        __real_open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, notes->inodes[of].mode & 07777);
    assert_true(fd >= 0);
    if (content.kept_bytes > 0) {
        assert_int_equal(
            __real_write(fd, content.synced->content, content.kept_bytes),
            (ssize_t)content.kept_bytes);
        size_t from = (size_t)(content.synced - notes->ops);
        add_print(state, &from, sizeof from, content.kept_bytes);
    }
    for (size_t done = 0; done < content.zero_bytes;) {
        size_t step = content.zero_bytes - done;
        step = step < sizeof zeros ? step : sizeof zeros;
        assert_int_equal(__real_write(fd, zeros, step), (ssize_t)step);
        done += step;
    }
    add_print(state, path + target_bytes, strlen(path + target_bytes), content.zero_bytes);
    assert_int_equal(close(fd), 0);
}

typedef struct left_folder {
    int inode;
    char path[PLACE_BYTES];
} left_folder;

/* Makes `target` what is left of the folder if power goes off before op `cut`; gives its print. */
static uint64_t
power_cut(size_t cut, loss how, uint64_t seed, const char *target)
{
    static left state;
    static left_folder folders[INODES_MAX];
    size_t folder_count = 1;
    state = (left){.cut = cut, .how = how};
    fx_rng_init(&state.rng, seed);
    leave_names(&state);
    assert_int_equal(__real_mkdir(target, 0700), 0);
    folders[0] = (left_folder){.inode = 0};
    for (size_t at = 0; at < folder_count; at++) {
        for (size_t i = 0; i < state.name_count; i++) {
            const left_name *one = &state.names[i];
            left_folder made = {.inode = one->inode};
            char path[2 * PLACE_BYTES];
            if (one->folder != folders[at].inode) {
                continue;
            }
            (void)snprintf(
                made.path, sizeof made.path, "%.300s/%.160s", folders[at].path, one->name);
            (void)snprintf(path, sizeof path, "%.300s%.500s", target, made.path);
            if (S_ISDIR(notes->inodes[one->inode].mode)) {
                assert_int_equal(__real_mkdir(path, notes->inodes[one->inode].mode & 07777), 0);
                add_print(&state, made.path, strlen(made.path), 1);
                folders[folder_count++] = made;
            } else {
                make_left_file(&state, one->inode, path, strlen(target));
            }
        }
    }
    return state.print;
}
