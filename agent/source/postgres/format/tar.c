#include "agent/source/postgres/format/tar.h"

#include <stdio.h>
#include <string.h>

/* Fields of a ustar header. source: POSIX.1-2017 pax, "ustar Interchange Format" */
enum {
    NAME_AT = 0,
    NAME_BYTES = 100,
    MODE_AT = 100,
    UID_AT = 108,
    GID_AT = 116,
    SMALL_NUMBER_BYTES = 8,
    SIZE_AT = 124,
    MTIME_AT = 136,
    NUMBER_BYTES = 12,
    CHECKSUM_AT = 148,
    KIND_AT = 156,
    LINK_AT = 157,
    LINK_BYTES = 100,
    MAGIC_AT = 257,
    PREFIX_AT = 345,
    PREFIX_BYTES = 155,
};

void
fx_tar_reader_init(fx_tar_reader *reader, const fx_tar_sink *sink)
{
    FX_ASSERT(sink->begin != NULL && sink->data != NULL && sink->end != NULL);
    *reader = (fx_tar_reader){.sink = *sink};
}

/* Octal text, or base 256 after a byte 0x80, as PostgreSQL writes sizes from 8 GiB on. */
static bool
read_number(const unsigned char *field, size_t field_bytes, uint64_t *out_number)
{
    uint64_t number = 0;
    if (field[0] == 0x80) {
        for (size_t at = 1; at < field_bytes; at++) {
            if (number >> 55 != 0) {
                return false;
            }
            number = (number << 8) | field[at];
        }
        *out_number = number;
        return true;
    }
    size_t at = 0;
    while (at < field_bytes && field[at] == ' ') {
        at++;
    }
    for (; at < field_bytes && field[at] >= '0' && field[at] <= '7'; at++) {
        number = (number << 3) | (uint64_t)(field[at] - '0');
    }
    if (at < field_bytes && field[at] != ' ' && field[at] != '\0') {
        return false;
    }
    *out_number = number;
    return true;
}

static bool
checksum_is_right(const unsigned char *header)
{
    uint64_t written = 0;
    if (!read_number(header + CHECKSUM_AT, SMALL_NUMBER_BYTES, &written)) {
        return false;
    }
    uint64_t sum = 0;
    for (size_t at = 0; at < FX_TAR_BLOCK_BYTES; at++) {
        const bool in_checksum = at >= CHECKSUM_AT && at < CHECKSUM_AT + SMALL_NUMBER_BYTES;
        sum += in_checksum ? ' ' : header[at];
    }
    return sum == written;
}

static bool
is_zero(const unsigned char *bytes, size_t size_bytes)
{
    for (size_t at = 0; at < size_bytes; at++) {
        if (bytes[at] != 0) {
            return false;
        }
    }
    return true;
}

/* No empty, "." or ".." part: nothing that could lead out of the folder that is written later. */
static bool
path_is_plain(const char *path)
{
    if (path[0] == '\0') {
        return false;
    }
    for (const char *part = path; part != NULL;) {
        const size_t length = strcspn(part, "/");
        if (length == 0 || (length == 1 && part[0] == '.') ||
            (length == 2 && part[0] == '.' && part[1] == '.')) {
            return false;
        }
        part = part[length] == '/' ? part + length + 1 : NULL;
    }
    return true;
}

static void
read_path(const unsigned char *header, char out_path[FX_TAR_PATH_BYTES])
{
    const char *text = (const char *)header;
    const bool is_ustar = memcmp(header + MAGIC_AT, "ustar", 5) == 0;
    if (is_ustar && header[PREFIX_AT] != '\0') {
        (void)snprintf(
            out_path,
            FX_TAR_PATH_BYTES,
            "%.*s/%.*s",
            PREFIX_BYTES,
            text + PREFIX_AT,
            NAME_BYTES,
            text + NAME_AT);
    } else {
        (void)snprintf(out_path, FX_TAR_PATH_BYTES, "%.*s", NAME_BYTES, text + NAME_AT);
    }
    const size_t length = strlen(out_path);
    if (length > 1 && out_path[length - 1] == '/') {
        out_path[length - 1] = '\0'; /* how folders are written */
    }
    if (strncmp(out_path, "./", 2) == 0) {
        memmove(out_path, out_path + 2, strlen(out_path + 2) + 1); /* "./pg_wal/archive_status" */
    }
}

static fx_code
read_kind(unsigned char mark, const char *path, fx_tar_kind *out_kind, fx_err *err)
{
    switch (mark) {
    case '\0':
    case '0':
        *out_kind = FX_TAR_FILE;
        return FX_OK;
    case '2':
        *out_kind = FX_TAR_SYMLINK;
        return FX_OK;
    case '5':
        *out_kind = FX_TAR_FOLDER;
        return FX_OK;
    default:
        return fx_fail(
            err,
            FX_ERR_UNSUPPORTED,
            "could not read the tar stream: \"%.100s\" is of kind 0x%02x",
            path,
            (unsigned)mark);
    }
}

static fx_code
read_header(const unsigned char *header, fx_tar_entry *out_entry, fx_err *err)
{
    if (!checksum_is_right(header)) {
        return fx_fail(
            err, FX_ERR_DAMAGED, "could not read the tar stream: no header where one is due");
    }
    fx_tar_entry entry = {0};
    read_path(header, entry.path);
    if (!path_is_plain(entry.path)) {
        return fx_fail(
            err, FX_ERR_DAMAGED, "could not read the tar stream: bad path \"%.100s\"", entry.path);
    }
    if (read_kind(header[KIND_AT], entry.path, &entry.kind, err) != FX_OK) {
        return err->code;
    }
    uint64_t mode = 0;
    uint64_t uid = 0;
    uint64_t gid = 0;
    uint64_t mtime_s = 0;
    uint64_t size_bytes = 0;
    if (!read_number(header + MODE_AT, SMALL_NUMBER_BYTES, &mode) ||
        !read_number(header + UID_AT, SMALL_NUMBER_BYTES, &uid) ||
        !read_number(header + GID_AT, SMALL_NUMBER_BYTES, &gid) ||
        !read_number(header + MTIME_AT, NUMBER_BYTES, &mtime_s) ||
        !read_number(header + SIZE_AT, NUMBER_BYTES, &size_bytes) || uid > UINT32_MAX ||
        gid > UINT32_MAX || mtime_s > INT64_MAX / 1000000000 || size_bytes > INT64_MAX) {
        return fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not read the tar stream: bad number of \"%.100s\"",
            entry.path);
    }
    entry.mode = (uint32_t)(mode & 07777);
    entry.uid = (uint32_t)uid;
    entry.gid = (uint32_t)gid;
    entry.mtime_s = (int64_t)mtime_s;
    entry.size_bytes = entry.kind == FX_TAR_FILE ? size_bytes : 0;
    if (entry.kind == FX_TAR_SYMLINK) {
        (void)snprintf(
            entry.link_target,
            sizeof entry.link_target,
            "%.*s",
            LINK_BYTES,
            (const char *)header + LINK_AT);
    }
    *out_entry = entry;
    return FX_OK;
}

static fx_code
take_header(fx_tar_reader *reader, fx_err *err)
{
    reader->header_bytes = 0;
    if (is_zero(reader->header, sizeof reader->header)) {
        reader->saw_end = true;
        return FX_OK;
    }
    if (reader->saw_end) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not read the tar stream: data after its end");
    }
    fx_tar_entry entry = {0};
    if (read_header(reader->header, &entry, err) != FX_OK) {
        return err->code;
    }
    reader->data_left = entry.size_bytes;
    reader->padding_left =
        (FX_TAR_BLOCK_BYTES - entry.size_bytes % FX_TAR_BLOCK_BYTES) % FX_TAR_BLOCK_BYTES;
    reader->is_open = true;
    return reader->sink.begin(reader->sink.ctx, &entry, err);
}

static fx_code
close_when_done(fx_tar_reader *reader, fx_err *err)
{
    if (!reader->is_open || reader->data_left > 0) {
        return FX_OK;
    }
    reader->is_open = false;
    return reader->sink.end(reader->sink.ctx, err);
}

static size_t
smaller(size_t left, uint64_t right)
{
    return right < left ? (size_t)right : left;
}

fx_code
fx_tar_feed(fx_tar_reader *reader, fx_bytes bytes, fx_err *err)
{
    const unsigned char *at = bytes.data;
    size_t left = bytes.size_bytes;
    while (left > 0) {
        size_t taken = 0;
        if (reader->data_left > 0) {
            taken = smaller(left, reader->data_left);
            const fx_bytes part = {.data = at, .size_bytes = taken};
            if (reader->sink.data(reader->sink.ctx, part, err) != FX_OK) {
                return err->code;
            }
            reader->data_left -= taken;
        } else if (reader->padding_left > 0) {
            taken = smaller(left, reader->padding_left);
            reader->padding_left -= taken;
        } else {
            taken = smaller(left, sizeof reader->header - reader->header_bytes);
            memcpy(reader->header + reader->header_bytes, at, taken);
            reader->header_bytes += taken;
            if (reader->header_bytes == sizeof reader->header &&
                take_header(reader, err) != FX_OK) {
                return err->code;
            }
        }
        if (close_when_done(reader, err) != FX_OK) {
            return err->code;
        }
        at += taken;
        left -= taken;
    }
    return FX_OK;
}

fx_code
fx_tar_finish(const fx_tar_reader *reader, fx_err *err)
{
    if (reader->header_bytes > 0 || reader->is_open || reader->padding_left > 0) {
        return fx_fail(
            err, FX_ERR_DAMAGED, "could not read the tar stream: it stops inside an entry");
    }
    return FX_OK;
}
