#include "agent/backup/wal_receiver.h"

#include <stdio.h>
#include <string.h>

enum { NAME_BYTES = 128 };

typedef struct loading {
    fx_wal_receiver *receiver;
    size_t prefix_bytes;
    fx_err err;
} loading;

static void
note_stored(void *ctx, const char *name)
{
    loading *at = ctx;
    uint32_t timeline = 0;
    uint64_t segment = 0;
    fx_err err = {0};
    if (strlen(name) < at->prefix_bytes || at->err.code != FX_OK) {
        return;
    }
    const char *file = name + at->prefix_bytes;
    if (fx_pg_segment_parse(file, at->receiver->segment_bytes, &timeline, &segment, &err) ==
        FX_OK) {
        fx_ignore(
            fx_wal_stored_note(at->receiver->stored, timeline, segment, &at->err),
            "kept in at->err, which fx_wal_load_stored() returns");
    }
}

fx_code
fx_wal_load_stored(fx_wal_receiver *receiver, fx_err *err)
{
    char prefix[NAME_BYTES];
    (void)snprintf(prefix, sizeof prefix, "wal/%s/", receiver->system);
    loading at = {.receiver = receiver, .prefix_bytes = strlen(prefix)};
    receiver->stored->count = 0;
    if (fx_repository_list_named(receiver->config.repository, prefix, note_stored, &at, err) !=
        FX_OK) {
        return fx_err_wrap(err, "looking what WAL the repository holds");
    }
    if (at.err.code != FX_OK) {
        *err = at.err;
        return fx_err_wrap(err, "looking what WAL the repository holds");
    }
    return FX_OK;
}

fx_code
fx_wal_put(fx_wal_receiver *receiver, const char *file, fx_bytes content, fx_err *err)
{
    char name[NAME_BYTES];
    (void)snprintf(name, sizeof name, "wal/%s/%s", receiver->system, file);
    if (fx_repository_put_named(receiver->config.repository, name, content, err) != FX_OK) {
        return fx_err_wrap(err, "storing WAL as \"%s\"", name);
    }
    return FX_OK;
}

/* The long header of a segment's first page. source: PostgreSQL 15, access/xlog_internal.h */
static fx_code
check_segment(const fx_wal_receiver *receiver, fx_err *err)
{
    enum { ADDRESS_AT = 8, SYSTEM_AT = 24, HEADER_BYTES = 40 };
    uint64_t address = 0;
    uint64_t system = 0;
    if (receiver->segment_filled < HEADER_BYTES) {
        return FX_OK;
    }
    memcpy(&address, receiver->segment + ADDRESS_AT, sizeof address);
    memcpy(&system, receiver->segment + SYSTEM_AT, sizeof system);
    if (address != receiver->segment_start.value ||
        system != strtoull(receiver->system, NULL, 10)) {
        return fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not store WAL: what the server sent is not the start of the segment that was "
            "asked for");
    }
    return FX_OK;
}

static void
segment_name(const fx_wal_receiver *receiver, char out_name[FX_PG_SEGMENT_NAME_BYTES])
{
    fx_pg_segment_name(
        receiver->timeline,
        fx_pg_segment_of(receiver->segment_start, receiver->segment_bytes),
        receiver->segment_bytes,
        out_name);
}

fx_code
fx_wal_store_segment(fx_wal_receiver *receiver, fx_err *err)
{
    FX_ASSERT(receiver->segment_filled == receiver->segment_bytes);
    char name[FX_PG_SEGMENT_NAME_BYTES];
    segment_name(receiver, name);
    const fx_mono began = fx_clock_mono();
    const fx_bytes content = {.data = receiver->segment, .size_bytes = receiver->segment_bytes};
    if (check_segment(receiver, err) != FX_OK ||
        fx_wal_put(receiver, name, content, err) != FX_OK ||
        fx_wal_stored_note(
            receiver->stored,
            receiver->timeline,
            fx_pg_segment_of(receiver->segment_start, receiver->segment_bytes),
            err) != FX_OK) {
        return err->code;
    }
    receiver->segment_start.value += receiver->segment_bytes;
    receiver->segment_filled = 0;
    receiver->durable = receiver->segment_start;
    receiver->progress++;
    FX_LOG(
        receiver->config.log,
        INFO,
        "wal.stored",
        FX_STR("segment", name),
        FX_DUR("took_ms", fx_mono_since(fx_clock_mono(), began)));
    fx_wal_publish(receiver, true);
    return FX_OK;
}

fx_code
fx_wal_store_partial(fx_wal_receiver *receiver, fx_err *err)
{
    if (receiver->segment_filled == 0 ||
        receiver->durable.value >= fx_wal_received_to(receiver).value) {
        return FX_OK;
    }
    char name[FX_PG_SEGMENT_NAME_BYTES];
    char file[FX_PG_SEGMENT_NAME_BYTES + 32];
    segment_name(receiver, name);
    (void)snprintf(file, sizeof file, "%s.%08zX.partial", name, receiver->segment_filled);
    const fx_bytes content = {.data = receiver->segment, .size_bytes = receiver->segment_filled};
    if (check_segment(receiver, err) != FX_OK ||
        fx_wal_put(receiver, file, content, err) != FX_OK) {
        return err->code;
    }
    receiver->durable = fx_wal_received_to(receiver);
    FX_LOG(receiver->config.log, INFO, "wal.stored", FX_STR("segment", file));
    fx_wal_publish(receiver, true);
    return FX_OK;
}
