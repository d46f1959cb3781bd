/*
 * The limit that a restore is measured against: creates a copy of a folder with two threads, from
 * memory. Reads all of SOURCE first; then times creating the same folders, files and links, with
 * owners, modes and times, below TARGET, until all is durable. Prints the seconds.
 */
#include "common/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPEN_MAX_FOLDERS = 64, THREADS = 2 };

typedef struct item {
    char *path; /* relative to the root */
    struct stat info;
    char *content; /* of files, links' targets */
} item;

static item *items;
static size_t item_count;
static size_t root_bytes;
static int target_fd;
static atomic_size_t next_item;

static void
fail(const char *what, const char *path)
{
    char reason[128];
    const char *text = strerror_r(errno, reason, sizeof reason);
    (void)fprintf(stderr, "create_files: could not %s \"%s\": %s\n", what, path, text);
    exit(1); // NOLINT(concurrency-mt-unsafe): a benchmark may end so
}

static void *
must(void *memory)
{
    if (memory == NULL) {
        fail("get memory for", "files");
    }
    return memory;
}

static char *
read_content(const char *path, size_t size_bytes)
{
    char *content = must(malloc(size_bytes + 1));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t got_bytes = 0;
    while (fd >= 0 && got_bytes < size_bytes) {
        ssize_t got = read(fd, content + got_bytes, size_bytes - got_bytes);
        if (got <= 0) {
            break;
        }
        got_bytes += (size_t)got;
    }
    if (fd < 0 || got_bytes < size_bytes) {
        fail("read", path);
    }
    (void)close(fd);
    return content;
}

static int
take(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)type;
    (void)where;
    if (strlen(path) <= root_bytes) {
        return 0;
    }
    if ((item_count & (item_count - 1)) == 0) {
        items = must(realloc(items, (item_count * 2 + 1) * sizeof *items));
    }
    item *one = &items[item_count++];
    *one = (item){.path = must(strdup(path + root_bytes + 1)), .info = *info};
    if (S_ISREG(info->st_mode)) {
        one->content = read_content(path, (size_t)info->st_size);
    } else if (S_ISLNK(info->st_mode)) {
        one->content = must(calloc(1, (size_t)info->st_size + 1));
        if (readlink(path, one->content, (size_t)info->st_size) < 0) {
            fail("read", path);
        }
    }
    return 0;
}

static void
make_file(const item *one)
{
    int fd = openat(target_fd, one->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    size_t size_bytes = (size_t)one->info.st_size;
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, one->info.st_mtim};
    if (fd < 0 || write(fd, one->content, size_bytes) != (ssize_t)size_bytes ||
        fchown(fd, one->info.st_uid, one->info.st_gid) != 0 ||
        fchmod(fd, one->info.st_mode & 07777) != 0 || futimens(fd, times) != 0 || close(fd) != 0) {
        fail("create", one->path);
    }
}

static void
make_link(const item *one)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, one->info.st_mtim};
    if (symlinkat(one->content, target_fd, one->path) != 0 ||
        fchownat(target_fd, one->path, one->info.st_uid, one->info.st_gid, AT_SYMLINK_NOFOLLOW) !=
            0 ||
        utimensat(target_fd, one->path, times, AT_SYMLINK_NOFOLLOW) != 0) {
        fail("create", one->path);
    }
}

static void *
work(void *unused)
{
    (void)unused;
    for (size_t i = atomic_fetch_add(&next_item, 1); i < item_count;
         i = atomic_fetch_add(&next_item, 1)) {
        if (S_ISREG(items[i].info.st_mode)) {
            make_file(&items[i]);
        } else if (S_ISLNK(items[i].info.st_mode)) {
            make_link(&items[i]);
        }
    }
    return NULL;
}

static void
create_all(void)
{
    pthread_t threads[THREADS];
    for (size_t i = 0; i < item_count; i++) { /* nftw gives folders before what is in them */
        if (S_ISDIR(items[i].info.st_mode) && mkdirat(target_fd, items[i].path, 0700) != 0) {
            fail("create", items[i].path);
        }
    }
    for (size_t i = 0; i < THREADS; i++) {
        if (pthread_create(&threads[i], NULL, work, NULL) != 0) {
            fail("start", "a thread");
        }
    }
    for (size_t i = 0; i < THREADS; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    for (size_t i = item_count; i-- > 0;) {
        const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, items[i].info.st_mtim};
        if (S_ISDIR(items[i].info.st_mode) &&
            (fchownat(target_fd, items[i].path, items[i].info.st_uid, items[i].info.st_gid, 0) !=
                 0 ||
             fchmodat(target_fd, items[i].path, items[i].info.st_mode & 07777, 0) != 0 ||
             utimensat(target_fd, items[i].path, times, 0) != 0)) {
            fail("set the owner, mode and times of", items[i].path);
        }
    }
    if (syncfs(target_fd) != 0) {
        fail("sync", "the target");
    }
}

int
main(int argc, char **argv)
{
    if (argc != 3) {
        (void)fprintf(stderr, "Usage: create_files SOURCE TARGET\n");
        return 2;
    }
    root_bytes = strlen(argv[1]);
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread so far */
    if (nftw(argv[1], take, OPEN_MAX_FOLDERS, FTW_PHYS) != 0) {
        fail("read", argv[1]);
    }
    if (mkdir(argv[2], 0700) != 0) {
        fail("create", argv[2]);
    }
    target_fd = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (target_fd < 0) {
        fail("open", argv[2]);
    }
    fx_mono began = fx_clock_mono();
    create_all();
    (void)printf("%.3f\n", (double)fx_mono_since(fx_clock_mono(), began).ns / 1e9);
    return 0;
}
