/* Reads a tar stream as it comes, in pieces of any size. Pure; trusts nothing in it. */
#pragma once

#include "common/base/err.h"

enum { FX_TAR_BLOCK_BYTES = 512, FX_TAR_PATH_BYTES = 257, FX_TAR_LINK_BYTES = 101 };

typedef enum fx_tar_kind { FX_TAR_FILE, FX_TAR_FOLDER, FX_TAR_SYMLINK } fx_tar_kind;

/* `path` is relative, has no empty, "." or ".." part and no slash at its end. */
typedef struct fx_tar_entry {
    char path[FX_TAR_PATH_BYTES];
    char link_target[FX_TAR_LINK_BYTES];
    fx_tar_kind kind;
    uint32_t mode; /* the 12 permission bits */
    uint32_t uid;
    uint32_t gid;
    int64_t mtime_s;
    uint64_t size_bytes; /* of files, else 0 */
} fx_tar_entry;

/* For each entry begin, then data as often as needed (not for 0 bytes), then end. */
typedef struct fx_tar_sink {
    void *ctx;
    fx_code (*begin)(void *ctx, const fx_tar_entry *entry, fx_err *err);
    fx_code (*data)(void *ctx, fx_bytes bytes, fx_err *err);
    fx_code (*end)(void *ctx, fx_err *err);
} fx_tar_sink;

/* Place it on the stack. */
typedef struct fx_tar_reader {
    fx_tar_sink sink;
    unsigned char header[FX_TAR_BLOCK_BYTES];
    size_t header_bytes; /* of the header that have come */
    uint64_t data_left;  /* of the open entry */
    size_t padding_left; /* after its data */
    bool is_open;
    bool saw_end; /* a block of zeros: only zeros may follow */
} fx_tar_reader;

void fx_tar_reader_init(fx_tar_reader *reader, const fx_tar_sink *sink);

/* errors: DAMAGED (no tar), UNSUPPORTED (an entry kind that is not in the list), and the sink's */
FX_MUST_USE fx_code fx_tar_feed(fx_tar_reader *reader, fx_bytes bytes, fx_err *err);

/* errors: DAMAGED if the stream stopped inside an entry. PostgreSQL sends no end mark. */
FX_MUST_USE fx_code fx_tar_finish(const fx_tar_reader *reader, fx_err *err);
