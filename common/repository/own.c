#include "common/repository/own.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/crypto/digest.h"

enum {
    FILE_MAX_BYTES = 64 * 1024 * 1024, /* two million chunks */
    MAGIC_BYTES = 8,
    HEAD_BYTES = FX_ID_BYTES + 4, /* then the records, and the digest of both */
};

static const char magic[MAGIC_BYTES] = "FXOWN001";

void
fx_own_free(fx_own *own)
{
    fx_buf_free(&own->bytes);
    free(own->entries);
    *own = (fx_own){0};
}

/* Whoever can write it could make us believe that chunks are stored. */
static bool
is_ours_alone(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0 && S_ISREG(info.st_mode) && info.st_uid == geteuid() &&
           (info.st_mode & 022) == 0;
}

/* How many bytes the entry at `data` takes; 0: there is none that is whole. */
static size_t
parse_entry(const unsigned char *data, size_t left_bytes, fx_own_entry *out_entry)
{
    unsigned char digest[FX_SHA256_BYTES];
    if (left_bytes < HEAD_BYTES + sizeof digest) {
        return 0;
    }
    uint32_t length = 0;
    memcpy(&length, data + FX_ID_BYTES, sizeof length);
    if (length > left_bytes - HEAD_BYTES - sizeof digest) {
        return 0;
    }
    fx_sha256((fx_bytes){data, HEAD_BYTES + (size_t)length}, digest);
    if (memcmp(data + HEAD_BYTES + length, digest, sizeof digest) != 0) {
        return 0;
    }
    memcpy(out_entry->index.bytes, data, FX_ID_BYTES);
    out_entry->records = (fx_bytes){data + HEAD_BYTES, length};
    return HEAD_BYTES + (size_t)length + sizeof digest;
}

void
fx_own_load(const char *path, fx_own *out_own)
{
    fx_err ignored = {0};
    fx_own_entry entry;
    size_t room = 0;
    *out_own = (fx_own){0};
    fx_buf_init(&out_own->bytes, FILE_MAX_BYTES);
    if (!is_ours_alone(path) || fx_file_read(path, &out_own->bytes, &ignored) != FX_OK ||
        out_own->bytes.size_bytes < MAGIC_BYTES ||
        memcmp(out_own->bytes.data, magic, MAGIC_BYTES) != 0) {
        fx_buf_clear(&out_own->bytes);
        return;
    }
    const unsigned char *data = out_own->bytes.data + MAGIC_BYTES;
    size_t left_bytes = out_own->bytes.size_bytes - MAGIC_BYTES;
    for (size_t taken = parse_entry(data, left_bytes, &entry); taken > 0;
         taken = parse_entry(data, left_bytes, &entry)) {
        if (out_own->count == room) {
            room = room == 0 ? 64 : room * 2;
            out_own->entries = realloc(out_own->entries, room * sizeof *out_own->entries);
            FX_ASSERT(out_own->entries != NULL);
        }
        out_own->entries[out_own->count++] = entry;
        data += taken;
        left_bytes -= taken;
    }
}

static fx_code
append(fx_buf *out, const fx_own_entry *entry, fx_err *err)
{
    unsigned char digest[FX_SHA256_BYTES];
    size_t before_bytes = out->size_bytes;
    uint32_t length = (uint32_t)entry->records.size_bytes;
    if (fx_buf_append(out, entry->index.bytes, FX_ID_BYTES, err) != FX_OK ||
        fx_buf_append(out, &length, sizeof length, err) != FX_OK ||
        fx_buf_append(out, entry->records.data, length, err) != FX_OK) {
        return err->code;
    }
    fx_sha256((fx_bytes){out->data + before_bytes, out->size_bytes - before_bytes}, digest);
    return fx_buf_append(out, digest, sizeof digest, err);
}

static fx_code
rewrite(const char *path, const fx_own *own, const fx_own_entry *entry, fx_err *err)
{
    FX_BUF_AUTO bytes;
    size_t first = own->count;
    size_t total_bytes = MAGIC_BYTES + HEAD_BYTES + FX_SHA256_BYTES + entry->records.size_bytes;
    fx_buf_init(&bytes, FILE_MAX_BYTES);
    while (first > 0) {
        size_t one_bytes =
            HEAD_BYTES + FX_SHA256_BYTES + own->entries[first - 1].records.size_bytes;
        if (total_bytes + one_bytes > FILE_MAX_BYTES) {
            break;
        }
        total_bytes += one_bytes;
        first--;
    }
    if (fx_buf_append(&bytes, magic, MAGIC_BYTES, err) != FX_OK) {
        return err->code;
    }
    for (size_t i = first; i < own->count; i++) {
        if (append(&bytes, &own->entries[i], err) != FX_OK) {
            return err->code;
        }
    }
    return append(&bytes, entry, err) == FX_OK
               ? fx_file_replace(path, fx_buf_bytes(&bytes), 0600, err)
               : err->code;
}

fx_code
fx_own_add(const char *path, const fx_own_entry *entry, fx_err *err)
{
    char folder[4096];
    fx_own own = {0};
    (void)snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    FX_ASSERT(slash != NULL);
    *slash = '\0';
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* closing it unlocks it */
    if (fd < 0 || flock(fd, LOCK_EX) != 0) {
        fx_code code = fx_fail_errno(err, errno, "could not lock \"%.200s\"", folder);
        if (fd >= 0) {
            (void)close(fd);
        }
        return code;
    }
    fx_own_load(path, &own);
    fx_code code = rewrite(path, &own, entry, err);
    fx_own_free(&own);
    (void)close(fd);
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "noting what was stored");
}
