/*
 * Writing to an open file at a place, through the page cache or past it. Past it spares a copy of
 * everything, leaves the cache to those who read, and has the disk at work from the first moment;
 * it is for large runs of what nobody reads soon, and that is fsynced anyway. source: open(2),
 * O_DIRECT
 */
#pragma once

#include "common/base/base.h"

/* All of it, through the cache. 0 or an errno. */
FX_MUST_USE int fx_write_at(int fd, fx_bytes bytes, uint64_t at);

typedef struct fx_outlet {
    int fd;
    int direct_fd;       /* the same file, past the cache; -1: all goes through it */
    unsigned char *room; /* FX_DIRECT_ROOM_BYTES of fx_direct_room_new(), where direct_fd is none */
} fx_outlet;

enum { FX_DIRECT_ROOM_BYTES = 1024 * 1024 };

/* Opens a file that is open for writing once more, past the cache. -1 where that cannot be. */
int fx_direct_open(int fd);
/* free() it. thread: one writes with it at a time */
unsigned char *fx_direct_room_new(void);

/*
 * All of it: whole blocks of large runs past the cache, the rest and what the file system does not
 * take there through it. Only an fsync makes it durable. 0 or an errno.
 */
FX_MUST_USE int fx_outlet_write(const fx_outlet *outlet, fx_bytes bytes, uint64_t at);
