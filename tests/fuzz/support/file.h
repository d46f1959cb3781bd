/* A file for what reads from a path: the same in each run of a process, in memory where it can be.
 */
#pragma once

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/base.h"

static char fuzz_path[64];

static inline void
fuzz_file_remove(void)
{
    (void)unlink(fuzz_path);
}

/* Gives its path. */
static inline const char *
fuzz_file_write(fx_bytes bytes)
{
    if (fuzz_path[0] == '\0') {
        const char *folder = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
        (void)snprintf(fuzz_path, sizeof fuzz_path, "%s/fortress-fuzz-%ld", folder, (long)getpid());
        (void)atexit(fuzz_file_remove);
    }
    int fd = open(fuzz_path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    FX_ASSERT(fd >= 0);
    ssize_t written = bytes.size_bytes == 0 ? 0 : write(fd, bytes.data, bytes.size_bytes);
    FX_ASSERT(written == (ssize_t)bytes.size_bytes);
    int result = close(fd);
    FX_ASSERT(result == 0);
    return fuzz_path;
}
