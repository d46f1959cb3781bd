#include "common/base/outlet.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    BLOCK_BYTES = 4096,            /* no disk of ours has larger ones */
    DIRECT_MIN_BYTES = 128 * 1024, /* shorter runs are better gathered by the page cache */
};

int
fx_write_at(int fd, fx_bytes bytes, uint64_t at)
{
    const unsigned char *data = bytes.data;
    size_t done_bytes = 0;
    while (done_bytes < bytes.size_bytes) {
        ssize_t put_bytes =
            pwrite(fd, data + done_bytes, bytes.size_bytes - done_bytes, (off_t)(at + done_bytes));
        if (put_bytes < 0 && errno != EINTR) {
            return errno;
        }
        done_bytes += put_bytes < 0 ? 0 : (size_t)put_bytes;
    }
    return 0;
}

int
fx_direct_open(int fd)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_WRONLY | O_DIRECT | O_CLOEXEC);
}

unsigned char *
fx_direct_room_new(void)
{
    unsigned char *room = aligned_alloc(BLOCK_BYTES, FX_DIRECT_ROOM_BYTES);
    FX_ASSERT(room != NULL);
    return room;
}

/* Whole blocks at the beginning of a block. */
static int
write_blocks(const fx_outlet *outlet, fx_bytes bytes, uint64_t at)
{
    const unsigned char *data = bytes.data;
    size_t done_bytes = 0;
    while (done_bytes < bytes.size_bytes) {
        size_t left_bytes = bytes.size_bytes - done_bytes;
        size_t step_bytes = left_bytes < FX_DIRECT_ROOM_BYTES ? left_bytes : FX_DIRECT_ROOM_BYTES;
        memcpy(outlet->room, data + done_bytes, step_bytes);
        ssize_t put_bytes =
            pwrite(outlet->direct_fd, outlet->room, step_bytes, (off_t)(at + done_bytes));
        if (put_bytes < 0 && errno == EINTR) {
            continue;
        }
        if (put_bytes < 0 && errno != EINVAL) {
            return errno;
        }
        if (put_bytes <= 0 || put_bytes % BLOCK_BYTES != 0) { /* other blocks than ours */
            return fx_write_at(
                outlet->fd, (fx_bytes){data + done_bytes, left_bytes}, at + done_bytes);
        }
        done_bytes += (size_t)put_bytes;
    }
    return 0;
}

int
fx_outlet_write(const fx_outlet *outlet, fx_bytes bytes, uint64_t at)
{
    if (outlet->direct_fd < 0 || bytes.size_bytes < DIRECT_MIN_BYTES) {
        return fx_write_at(outlet->fd, bytes, at);
    }
    const unsigned char *data = bytes.data;
    size_t head_bytes = (size_t)((BLOCK_BYTES - at % BLOCK_BYTES) % BLOCK_BYTES);
    size_t tail_bytes = (size_t)((at + bytes.size_bytes) % BLOCK_BYTES);
    size_t whole_bytes = bytes.size_bytes - head_bytes - tail_bytes;
    size_t tail_from = head_bytes + whole_bytes;
    int failed = fx_write_at(outlet->fd, (fx_bytes){data, head_bytes}, at);
    if (failed == 0) {
        failed = write_blocks(outlet, (fx_bytes){data + head_bytes, whole_bytes}, at + head_bytes);
    }
    return failed != 0
               ? failed
               : fx_write_at(outlet->fd, (fx_bytes){data + tail_from, tail_bytes}, at + tail_from);
}
