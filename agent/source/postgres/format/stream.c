#include "agent/source/postgres/format/stream.h"

#include <stdio.h>
#include <string.h>

static fx_code
tar_begin(void *ctx, const fx_tar_entry *entry, fx_err *err)
{
    fx_backup_stream *stream = ctx;
    return stream->sink.begin(stream->sink.ctx, stream->tablespace, entry, err);
}

static fx_code
tar_data(void *ctx, fx_bytes bytes, fx_err *err)
{
    fx_backup_stream *stream = ctx;
    return stream->sink.data(stream->sink.ctx, bytes, err);
}

static fx_code
tar_end(void *ctx, fx_err *err)
{
    fx_backup_stream *stream = ctx;
    return stream->sink.end(stream->sink.ctx, err);
}

void
fx_backup_stream_init(fx_backup_stream *stream, const fx_backup_sink *sink)
{
    FX_ASSERT(sink->begin != NULL && sink->data != NULL);
    FX_ASSERT(sink->end != NULL && sink->manifest != NULL);
    *stream = (fx_backup_stream){.sink = *sink};
}

/* The text up to the next NUL; moves `at` past it. NULL if there is none. */
static const char *
take_text(const char **at, const char *end)
{
    const char *text = *at;
    const char *nul = memchr(text, '\0', (size_t)(end - text));
    if (nul == NULL) {
        return NULL;
    }
    *at = nul + 1;
    return text;
}

/* "base.tar" is the data directory, "16384.tar" a tablespace. */
static fx_code
begin_archive(fx_backup_stream *stream, const char *at, const char *end, fx_err *err)
{
    const char *name = take_text(&at, end);
    const char *folder = name != NULL ? take_text(&at, end) : NULL;
    if (name == NULL || folder == NULL || at != end) {
        return fx_fail(
            err, FX_ERR_DAMAGED, "could not read the base backup: bad start of an archive");
    }
    const size_t digits = strspn(name, "0123456789");
    const bool is_base = strcmp(name, "base.tar") == 0;
    const bool is_tablespace =
        digits > 0 && digits < sizeof stream->tablespace && strcmp(name + digits, ".tar") == 0;
    if (!is_base && !is_tablespace) {
        return fx_fail(
            err, FX_ERR_DAMAGED, "could not read the base backup: archive named \"%.60s\"", name);
    }
    (void)snprintf(
        stream->tablespace, sizeof stream->tablespace, "%.*s", is_base ? 0 : (int)digits, name);
    const fx_tar_sink sink = {.ctx = stream, .begin = tar_begin, .data = tar_data, .end = tar_end};
    fx_tar_reader_init(&stream->tar, &sink);
    stream->part = FX_BACKUP_PART_ARCHIVE;
    stream->archive_count++;
    return FX_OK;
}

static fx_code
end_part(const fx_backup_stream *stream, fx_err *err)
{
    if (stream->part == FX_BACKUP_PART_ARCHIVE && fx_tar_finish(&stream->tar, err) != FX_OK) {
        return fx_err_wrap(err, "at the end of an archive of the base backup");
    }
    return FX_OK;
}

static fx_code
take_data(fx_backup_stream *stream, fx_bytes bytes, fx_err *err)
{
    switch (stream->part) {
    case FX_BACKUP_PART_ARCHIVE:
        return fx_tar_feed(&stream->tar, bytes, err);
    case FX_BACKUP_PART_MANIFEST:
        return stream->sink.manifest(stream->sink.ctx, bytes, err);
    case FX_BACKUP_PART_NONE:
        break;
    }
    return fx_fail(
        err, FX_ERR_DAMAGED, "could not read the base backup: data outside of an archive");
}

fx_code
fx_backup_stream_feed(fx_backup_stream *stream, fx_bytes message, fx_err *err)
{
    const char *at = message.data;
    if (message.size_bytes == 0) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not read the base backup: empty message");
    }
    const char *end = at + message.size_bytes;
    switch (at[0]) {
    case 'n':
        if (end_part(stream, err) != FX_OK) {
            return err->code;
        }
        return begin_archive(stream, at + 1, end, err);
    case 'm':
        if (stream->saw_manifest) {
            return fx_fail(err, FX_ERR_DAMAGED, "could not read the base backup: two manifests");
        }
        if (end_part(stream, err) != FX_OK) {
            return err->code;
        }
        stream->part = FX_BACKUP_PART_MANIFEST;
        stream->saw_manifest = true;
        return FX_OK;
    case 'd': {
        const fx_bytes bytes = {.data = at + 1, .size_bytes = message.size_bytes - 1};
        return take_data(stream, bytes, err);
    }
    case 'p':
        return FX_OK; /* how far the server has come */
    default:
        return fx_fail(
            err,
            FX_ERR_UNSUPPORTED,
            "could not read the base backup: message of kind 0x%02x; PostgreSQL 15 or newer is "
            "needed",
            (unsigned)(unsigned char)at[0]);
    }
}

fx_code
fx_backup_stream_finish(const fx_backup_stream *stream, fx_err *err)
{
    if (end_part(stream, err) != FX_OK) {
        return err->code;
    }
    if (stream->archive_count == 0 || !stream->saw_manifest) {
        return fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not read the base backup: it ended before the manifest came");
    }
    return FX_OK;
}
