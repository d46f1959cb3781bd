#include "agent/backup/wal.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/backup/wal_plan.h"
#include "common/base/clock.h"
#include "common/base/monitor.h"
#include "common/base/rng.h"

enum {
    CONNECT_MAX_MS = 10000,
    COMMAND_MAX_MS = 30000,
    LOOK_MS = 200,          /* how long a stop or a switch that is due may wait */
    STATUS_MS = 10000,      /* far below the server's wal_sender_timeout, 60 s by default */
    SILENCE_ASK_MS = 15000, /* ask the server for a sign of life */
    SILENCE_MAX_MS = 30000, /* and take it for dead */
    SWITCH_MAX_MS = 3000,
    BACK_OFF_MIN_MS = 200,
    BACK_OFF_MAX_MS = 10000,
    NAME_BYTES = 128,
    SLOT_BYTES = 64,
};

/* Microseconds from 1970 to 2000, where PostgreSQL's clock begins. */
static const int64_t postgres_epoch_us = INT64_C(946684800) * 1000000;

struct fx_wal_receiver {
    fx_wal_config config;
    char slot[SLOT_BYTES];
    atomic_bool stop;
    fx_rng rng;
    fx_monitor monitor; /* protects status */
    fx_wal_status status;

    /* What follows belongs to the thread of fx_wal_receiver_run(). */
    fx_pg *conn;
    char system[24];
    uint32_t segment_bytes;
    fx_wal_stored *stored;
    fx_wal_chain *chain;
    uint32_t timeline;
    fx_lsn segment_start; /* of the open segment: WAL before it is stored */
    fx_lsn durable;       /* further than that after a partial was stored */
    unsigned char *segment;
    size_t segment_filled;
    fx_mono unsaved_since;
    fx_mono switch_tried;
    fx_mono heard;
    fx_mono told;
    bool asked;
    uint64_t progress; /* segments stored: resets the pause between attempts */
};

static fx_mono
after_ms(int64_t length_ms)
{
    return fx_mono_after(fx_clock_mono(), FX_DUR_MS(length_ms));
}

static int64_t
ms_since(fx_mono then)
{
    return fx_dur_ms(fx_mono_since(fx_clock_mono(), then));
}

/* ---- making and status --------------------------------------------------------------------------
 */

fx_code
fx_wal_receiver_new(const fx_wal_config *config, fx_wal_receiver **out_receiver, fx_err *err)
{
    FX_ASSERT(config->conninfo != NULL && config->repository != NULL);
    const size_t length = config->slot != NULL ? strlen(config->slot) : 0;
    if (length == 0 || length >= SLOT_BYTES ||
        strspn(config->slot, "abcdefghijklmnopqrstuvwxyz0123456789_") != length) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "\"%.70s\" is no name of a replication slot: 1 to 63 of a-z, 0-9 and _",
            config->slot != NULL ? config->slot : "");
    }
    fx_wal_receiver *receiver = calloc(1, sizeof *receiver);
    FX_ASSERT(receiver != NULL);
    receiver->config = *config;
    memcpy(receiver->slot, config->slot, length + 1);
    atomic_init(&receiver->stop, false);
    fx_rng_init(&receiver->rng, (uint64_t)fx_clock_mono().ns ^ (uint64_t)getpid());
    fx_monitor_init(&receiver->monitor);
    receiver->stored = calloc(1, sizeof *receiver->stored);
    receiver->chain = calloc(1, sizeof *receiver->chain);
    FX_ASSERT(receiver->stored != NULL && receiver->chain != NULL);
    *out_receiver = receiver;
    return FX_OK;
}

void
fx_wal_receiver_free(fx_wal_receiver *receiver)
{
    if (receiver == NULL) {
        return;
    }
    FX_ASSERT(receiver->conn == NULL);
    fx_monitor_deinit(&receiver->monitor);
    free(receiver->stored);
    free(receiver->chain);
    free(receiver->segment);
    free(receiver);
}

void
fx_wal_receiver_stop(fx_wal_receiver *receiver)
{
    atomic_store(&receiver->stop, true);
}

void
fx_wal_receiver_status(fx_wal_receiver *receiver, fx_wal_status *out_status)
{
    fx_monitor_lock(&receiver->monitor);
    *out_status = receiver->status;
    fx_monitor_unlock(&receiver->monitor);
}

static fx_lsn
received_to(const fx_wal_receiver *receiver)
{
    return (fx_lsn){.value = receiver->segment_start.value + receiver->segment_filled};
}

static void
publish(fx_wal_receiver *receiver, bool streaming)
{
    fx_monitor_lock(&receiver->monitor);
    fx_wal_status *status = &receiver->status;
    status->streaming = streaming;
    memcpy(status->system, receiver->system, sizeof status->system);
    status->timeline = receiver->timeline;
    status->received = received_to(receiver);
    if (status->stored.value != receiver->durable.value) {
        status->stored = receiver->durable;
        status->stored_at = fx_clock_wall();
    }
    status->segment_count = receiver->progress;
    if (streaming) {
        status->error[0] = '\0';
    }
    fx_monitor_unlock(&receiver->monitor);
}

static void
publish_error(fx_wal_receiver *receiver, const fx_err *err)
{
    fx_monitor_lock(&receiver->monitor);
    fx_wal_status *status = &receiver->status;
    const bool is_new = strcmp(status->error, err->message) != 0;
    status->streaming = false;
    if (status->error[0] == '\0') {
        status->error_since = fx_clock_wall();
    }
    (void)snprintf(status->error, sizeof status->error, "%s", err->message);
    fx_monitor_unlock(&receiver->monitor);
    if (is_new) {
        FX_LOG(receiver->config.log, WARN, "wal.interrupted", FX_ERR_FIELD(err));
    }
}

static void
report_gap(fx_wal_receiver *receiver, fx_lsn from, fx_lsn to, const char *reason)
{
    fx_wal_gap gap = {
        .timeline = receiver->timeline,
        .segment_bytes = receiver->segment_bytes,
        .from = from,
        .to = to,
        .found_at = fx_clock_wall()};
    memcpy(gap.system, receiver->system, sizeof gap.system);
    (void)snprintf(gap.reason, sizeof gap.reason, "%.159s", reason);
    char from_text[FX_PG_LSN_TEXT_BYTES];
    char to_text[FX_PG_LSN_TEXT_BYTES];
    fx_pg_lsn_format(from, from_text);
    fx_pg_lsn_format(to, to_text);
    FX_LOG(
        receiver->config.log,
        ERROR,
        "wal.gap",
        FX_STR("system", receiver->system),
        FX_STR("from_lsn", from_text),
        FX_STR("to_lsn", to_text),
        FX_STR("reason", reason),
        FX_STR("action", "take a new base backup: no restore passes this gap"));
    fx_monitor_lock(&receiver->monitor);
    receiver->status.gap_count++;
    fx_monitor_unlock(&receiver->monitor);
    if (receiver->config.gap != NULL) {
        receiver->config.gap(receiver->config.ctx, &gap);
    }
}

/* ---- what is stored -----------------------------------------------------------------------------
 */

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
            "kept in at->err, which load_stored() returns");
    }
}

static fx_code
load_stored(fx_wal_receiver *receiver, fx_err *err)
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

static fx_code
put(fx_wal_receiver *receiver, const char *file, fx_bytes content, fx_err *err)
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

static fx_code
store_segment(fx_wal_receiver *receiver, fx_err *err)
{
    FX_ASSERT(receiver->segment_filled == receiver->segment_bytes);
    char name[FX_PG_SEGMENT_NAME_BYTES];
    segment_name(receiver, name);
    const fx_mono began = fx_clock_mono();
    const fx_bytes content = {.data = receiver->segment, .size_bytes = receiver->segment_bytes};
    if (check_segment(receiver, err) != FX_OK || put(receiver, name, content, err) != FX_OK ||
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
    publish(receiver, true);
    return FX_OK;
}

static fx_code
store_partial(fx_wal_receiver *receiver, fx_err *err)
{
    if (receiver->segment_filled == 0 || receiver->durable.value >= received_to(receiver).value) {
        return FX_OK;
    }
    char name[FX_PG_SEGMENT_NAME_BYTES];
    char file[FX_PG_SEGMENT_NAME_BYTES + 32];
    segment_name(receiver, name);
    (void)snprintf(file, sizeof file, "%s.%08zX.partial", name, receiver->segment_filled);
    const fx_bytes content = {.data = receiver->segment, .size_bytes = receiver->segment_filled};
    if (check_segment(receiver, err) != FX_OK || put(receiver, file, content, err) != FX_OK) {
        return err->code;
    }
    receiver->durable = received_to(receiver);
    FX_LOG(receiver->config.log, INFO, "wal.stored", FX_STR("segment", file));
    publish(receiver, true);
    return FX_OK;
}

/* ---- the server's side --------------------------------------------------------------------------
 */

static fx_code
command(fx_wal_receiver *receiver, fx_pg_result **out_result, fx_err *err, const char *sql)
{
    return fx_pg_query(receiver->conn, sql, NULL, after_ms(COMMAND_MAX_MS), out_result, err);
}

/* Stores the history of `timeline` and reads it; timeline 1 has none. */
static fx_code
take_history(fx_wal_receiver *receiver, uint32_t timeline, fx_err *err)
{
    if (timeline == 1) {
        return fx_wal_chain_read((fx_bytes){.data = ""}, 1, receiver->chain, err);
    }
    char sql[64];
    char name[FX_PG_HISTORY_NAME_BYTES];
    (void)snprintf(sql, sizeof sql, "TIMELINE_HISTORY %u", (unsigned)timeline);
    fx_pg_history_name(timeline, name);
    FX_AUTO(fx_pg_result) result = NULL;
    if (command(receiver, &result, err, sql) != FX_OK) {
        return fx_err_wrap(err, "asking for the history of timeline %u", (unsigned)timeline);
    }
    const char *text = fx_pg_row_count(result) == 1 && fx_pg_column_count(result) == 2
                           ? fx_pg_value(result, 0, 1)
                           : NULL;
    if (text == NULL) {
        return fx_fail(err, FX_ERR_FAILED, "the server gave no history of its timeline");
    }
    const fx_bytes content = {.data = text, .size_bytes = strlen(text)};
    if (fx_wal_chain_read(content, timeline, receiver->chain, err) != FX_OK) {
        return err->code;
    }
    return put(receiver, name, content, err);
}

typedef struct slot_state {
    bool exists;
    bool has_position;
    fx_lsn restart;
} slot_state;

static fx_code
read_slot(fx_wal_receiver *receiver, slot_state *out_slot, fx_err *err)
{
    char sql[128];
    (void)snprintf(sql, sizeof sql, "READ_REPLICATION_SLOT %s", receiver->slot);
    FX_AUTO(fx_pg_result) result = NULL;
    if (command(receiver, &result, err, sql) != FX_OK) {
        return fx_err_wrap(err, "reading the replication slot \"%s\"", receiver->slot);
    }
    slot_state slot = {0};
    if (fx_pg_row_count(result) == 1 && fx_pg_column_count(result) >= 2) {
        const char *position = fx_pg_value(result, 0, 1);
        slot.exists = fx_pg_value(result, 0, 0) != NULL;
        slot.has_position = position != NULL;
        if (position != NULL && fx_pg_lsn_parse(position, &slot.restart, err) != FX_OK) {
            return err->code;
        }
    }
    *out_slot = slot;
    return FX_OK;
}

static fx_code
make_slot(fx_wal_receiver *receiver, fx_err *err)
{
    char sql[160];
    (void)snprintf(
        sql, sizeof sql, "CREATE_REPLICATION_SLOT %s PHYSICAL (RESERVE_WAL true)", receiver->slot);
    FX_AUTO(fx_pg_result) result = NULL;
    if (command(receiver, &result, err, sql) != FX_OK) {
        return fx_err_wrap(err, "creating the replication slot \"%s\"", receiver->slot);
    }
    FX_LOG(receiver->config.log, INFO, "slot.created", FX_STR("slot", receiver->slot));
    return FX_OK;
}

/* A slot that holds WAL back; one that lost its position is made anew. */
static fx_code
ensure_slot(fx_wal_receiver *receiver, bool renew, slot_state *out_slot, fx_err *err)
{
    if (read_slot(receiver, out_slot, err) != FX_OK) {
        return err->code;
    }
    if (out_slot->exists && (renew || !out_slot->has_position)) {
        char sql[128];
        (void)snprintf(sql, sizeof sql, "DROP_REPLICATION_SLOT %s", receiver->slot);
        FX_AUTO(fx_pg_result) result = NULL;
        if (command(receiver, &result, err, sql) != FX_OK) {
            return fx_err_wrap(err, "dropping the lost slot \"%s\"", receiver->slot);
        }
        out_slot->exists = false;
    }
    if (out_slot->exists) {
        return FX_OK;
    }
    if (make_slot(receiver, err) != FX_OK || read_slot(receiver, out_slot, err) != FX_OK) {
        return err->code;
    }
    if (!out_slot->has_position) {
        return fx_fail(
            err, FX_ERR_FAILED, "the new replication slot \"%s\" reserves no WAL", receiver->slot);
    }
    return FX_OK;
}

static void
go_to(fx_wal_receiver *receiver, uint32_t timeline, fx_lsn position)
{
    receiver->timeline = timeline;
    receiver->segment_start =
        (fx_lsn){.value = position.value - position.value % receiver->segment_bytes};
    receiver->segment_filled = 0;
    /* Also when that is less than before: another timeline's bytes say nothing about this one's. */
    receiver->durable = receiver->segment_start;
}

/* The server no longer has the WAL that is due: goes on with the oldest that it will keep. */
static fx_code
skip_gap(fx_wal_receiver *receiver, const char *reason, fx_err *err)
{
    slot_state slot = {0};
    if (ensure_slot(receiver, false, &slot, err) != FX_OK) {
        return err->code;
    }
    if (slot.restart.value < receiver->segment_start.value + receiver->segment_bytes &&
        ensure_slot(receiver, true, &slot, err) != FX_OK) {
        return err->code;
    }
    const fx_lsn from = receiver->segment_start;
    go_to(receiver, fx_wal_chain_timeline_at(receiver->chain, slot.restart), slot.restart);
    if (receiver->segment_start.value <= from.value) {
        return fx_fail(err, FX_ERR_NOT_FOUND, "could not receive WAL: %s", reason);
    }
    report_gap(receiver, from, receiver->segment_start, reason);
    return FX_OK;
}

/* ---- streaming ----------------------------------------------------------------------------------
 */

static uint64_t
read_u64(const unsigned char *bytes)
{
    uint64_t value = 0;
    for (size_t at = 0; at < sizeof value; at++) {
        value = (value << 8) | bytes[at];
    }
    return value;
}

static void
write_u64(unsigned char *bytes, uint64_t value)
{
    for (size_t at = sizeof value; at > 0; at--) {
        bytes[at - 1] = (unsigned char)(value & 0xFF);
        value >>= 8;
    }
}

/* "Written" and "flushed" are both what is durable in the repository; nothing is ever applied. */
static fx_code
tell_position(fx_wal_receiver *receiver, bool ask, fx_err *err)
{
    unsigned char message[34] = {'r'};
    const int64_t now_us = fx_clock_wall().ns / 1000 - postgres_epoch_us;
    write_u64(message + 1, receiver->durable.value);
    write_u64(message + 9, receiver->durable.value);
    write_u64(message + 25, (uint64_t)now_us);
    message[33] = ask ? 1 : 0;
    receiver->told = fx_clock_mono();
    const fx_bytes bytes = {.data = message, .size_bytes = sizeof message};
    return fx_pg_copy_write(receiver->conn, bytes, after_ms(COMMAND_MAX_MS), err);
}

static fx_code
take_wal(fx_wal_receiver *receiver, const unsigned char *at, size_t size_bytes, fx_err *err)
{
    enum { HEADER_BYTES = 25 };
    if (size_bytes < HEADER_BYTES || read_u64(at + 1) != received_to(receiver).value) {
        return fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not receive WAL: the server sent another position than due");
    }
    at += HEADER_BYTES;
    size_bytes -= HEADER_BYTES;
    while (size_bytes > 0) {
        if (receiver->segment_filled == 0) {
            receiver->unsaved_since = fx_clock_mono();
        }
        const size_t room = receiver->segment_bytes - receiver->segment_filled;
        const size_t taken = size_bytes < room ? size_bytes : room;
        memcpy(receiver->segment + receiver->segment_filled, at, taken);
        receiver->segment_filled += taken;
        at += taken;
        size_bytes -= taken;
        if (receiver->segment_filled == receiver->segment_bytes &&
            (store_segment(receiver, err) != FX_OK ||
             tell_position(receiver, false, err) != FX_OK)) {
            return err->code;
        }
    }
    return FX_OK;
}

static fx_code
take_message(fx_wal_receiver *receiver, fx_bytes message, fx_err *err)
{
    enum { KEEPALIVE_BYTES = 18 };
    const unsigned char *at = message.data;
    receiver->heard = fx_clock_mono();
    receiver->asked = false;
    if (at[0] == 'w') {
        return take_wal(receiver, at, message.size_bytes, err);
    }
    if (at[0] != 'k' || message.size_bytes < KEEPALIVE_BYTES) {
        return fx_fail(
            err,
            FX_ERR_UNSUPPORTED,
            "could not receive WAL: message of kind 0x%02x",
            (unsigned)at[0]);
    }
    if (at[KEEPALIVE_BYTES - 1] == 0) {
        return FX_OK;
    }
    /*
     * We report more often than the server needs to ask: it asks when it shuts down and waits until
     * all of its WAL is safe here. Then the open segment must be, or it would wait for ever.
     */
    if (store_partial(receiver, err) != FX_OK) {
        return err->code;
    }
    return tell_position(receiver, false, err);
}

static fx_code
switch_segment(const char *conninfo, bool *out_switched, fx_err *err)
{
    const fx_mono deadline = after_ms(SWITCH_MAX_MS);
    FX_AUTO(fx_pg) conn = NULL;
    bool in_recovery = true;
    *out_switched = false;
    if (fx_pg_open(conninfo, deadline, &conn, err) != FX_OK ||
        fx_pg_is_in_recovery(conn, deadline, &in_recovery, err) != FX_OK) {
        return fx_err_wrap(err, "to close the open WAL segment");
    }
    if (in_recovery) {
        return FX_OK;
    }
    if (fx_pg_exec(conn, "SELECT pg_catalog.pg_switch_wal()", deadline, err) != FX_OK) {
        return fx_err_wrap(err, "closing the open WAL segment");
    }
    *out_switched = true;
    return FX_OK;
}

/* A standby that we receive from may have been promoted: it is asked first, then the primary named.
 */
static fx_code
switch_somewhere(const fx_wal_receiver *receiver, bool *out_switched, fx_err *err)
{
    if (switch_segment(receiver->config.conninfo, out_switched, err) != FX_OK) {
        return err->code;
    }
    if (*out_switched || receiver->config.primary_conninfo == NULL) {
        return FX_OK; /* a standby's primary has an agent that does it, or archive_timeout */
    }
    return switch_segment(receiver->config.primary_conninfo, out_switched, err);
}

static void
maybe_switch(fx_wal_receiver *receiver)
{
    const int64_t after = fx_dur_ms(receiver->config.switch_after);
    if (after == 0 || receiver->segment_filled == 0 || ms_since(receiver->unsaved_since) < after ||
        ms_since(receiver->switch_tried) < after) {
        return;
    }
    fx_err err = {0};
    bool switched = false;
    receiver->switch_tried = fx_clock_mono();
    if (switch_somewhere(receiver, &switched, &err) != FX_OK) {
        FX_LOG(receiver->config.log, WARN, "wal.not_switched", FX_ERR_FIELD(&err));
    } else if (switched) {
        FX_LOG(receiver->config.log, DEBUG, "wal.switched", FX_STR("slot", receiver->slot));
    }
}

static fx_code
keep_alive(fx_wal_receiver *receiver, fx_err *err)
{
    const int64_t silent_ms = ms_since(receiver->heard);
    if (silent_ms > SILENCE_MAX_MS) {
        return fx_fail_as(
            err,
            FX_CLASS_TRANSIENT,
            FX_ERR_TIMEOUT,
            "could not receive WAL: the server has been silent for %" PRId64 " ms",
            silent_ms);
    }
    if (silent_ms > SILENCE_ASK_MS && !receiver->asked) {
        receiver->asked = true;
        return tell_position(receiver, true, err);
    }
    if (ms_since(receiver->told) > STATUS_MS) {
        return tell_position(receiver, false, err);
    }
    return FX_OK;
}

/* Until the server ends the stream or we are told to stop. */
static fx_code
receive(fx_wal_receiver *receiver, bool *out_ended, fx_err *err)
{
    receiver->heard = fx_clock_mono();
    receiver->asked = false;
    publish(receiver, true);
    if (tell_position(receiver, false, err) != FX_OK) {
        return err->code;
    }
    while (!atomic_load(&receiver->stop)) {
        fx_pg_copy_kind kind = FX_PG_COPY_IDLE;
        fx_bytes message = {0};
        if (fx_pg_copy_read(receiver->conn, after_ms(LOOK_MS), &kind, &message, err) != FX_OK) {
            return fx_err_wrap(err, "receiving WAL");
        }
        if (kind == FX_PG_COPY_END) {
            *out_ended = true;
            return fx_pg_copy_end(receiver->conn, after_ms(COMMAND_MAX_MS), err);
        }
        if (kind == FX_PG_COPY_DATA && take_message(receiver, message, err) != FX_OK) {
            return err->code;
        }
        if (keep_alive(receiver, err) != FX_OK) {
            return err->code;
        }
        maybe_switch(receiver);
        if (kind == FX_PG_COPY_IDLE) {
            publish(receiver, true);
        }
    }
    return FX_OK;
}

/* At the end of its timeline the server names the next one and where it begins. */
static fx_code
follow_timeline(fx_wal_receiver *receiver, const fx_pg_result *next, fx_err *err)
{
    const char *timeline_text = NULL;
    const char *start_text = NULL;
    fx_lsn start = {0};
    if (fx_pg_row_count(next) == 1 && fx_pg_column_count(next) >= 2) {
        timeline_text = fx_pg_value(next, 0, 0);
        start_text = fx_pg_value(next, 0, 1);
    }
    if (timeline_text == NULL || start_text == NULL) {
        return fx_fail(err, FX_ERR_FAILED, "the server ended its timeline and names no next one");
    }
    const uint32_t timeline = (uint32_t)strtoul(timeline_text, NULL, 10);
    fx_pg_next_kind kind = FX_PG_NEXT_ROWS;
    FX_AUTO(fx_pg_result) rest = NULL;
    if (fx_pg_lsn_parse(start_text, &start, err) != FX_OK ||
        fx_pg_next(receiver->conn, after_ms(COMMAND_MAX_MS), &kind, &rest, err) != FX_OK) {
        return err->code;
    }
    if (timeline <= receiver->timeline || kind != FX_PG_NEXT_DONE) {
        return fx_fail(
            err,
            FX_ERR_FAILED,
            "the server goes on with timeline %.20s unexpectedly",
            timeline_text);
    }
    if (take_history(receiver, timeline, err) != FX_OK) {
        return err->code;
    }
    /* The new timeline's first segment repeats the old one's bytes up to the switch. */
    go_to(receiver, timeline, start);
    FX_LOG(
        receiver->config.log,
        INFO,
        "timeline.followed",
        FX_INT("timeline", timeline),
        FX_STR("lsn", start_text));
    return FX_OK;
}

static bool
wal_is_gone(const fx_pg *conn)
{
    /* 58P01: the segment was removed; 55000: the slot was invalidated because it held too much */
    return strcmp(fx_pg_sqlstate(conn), "58P01") == 0 || strcmp(fx_pg_sqlstate(conn), "55000") == 0;
}

/* One START_REPLICATION. `out_again`: there is more to stream on this connection. */
static fx_code
stream_once(fx_wal_receiver *receiver, bool *out_again, fx_err *err)
{
    char sql[192];
    char start[FX_PG_LSN_TEXT_BYTES];
    fx_pg_lsn_format(receiver->segment_start, start);
    receiver->segment_filled = 0;
    (void)snprintf(
        sql,
        sizeof sql,
        "START_REPLICATION SLOT %s PHYSICAL %s TIMELINE %u",
        receiver->slot,
        start,
        (unsigned)receiver->timeline);
    *out_again = false;
    fx_pg_next_kind kind = FX_PG_NEXT_DONE;
    FX_AUTO(fx_pg_result) rows = NULL;
    fx_code code = fx_pg_send(receiver->conn, sql, after_ms(COMMAND_MAX_MS), err);
    if (code == FX_OK) {
        code = fx_pg_next(receiver->conn, after_ms(COMMAND_MAX_MS), &kind, &rows, err);
    }
    if (code == FX_OK && kind == FX_PG_NEXT_COPY_BOTH) {
        bool ended = false;
        code = receive(receiver, &ended, err);
        if (code == FX_OK && !ended) {
            return FX_OK; /* told to stop */
        }
        if (code == FX_OK) {
            code = fx_pg_next(receiver->conn, after_ms(COMMAND_MAX_MS), &kind, &rows, err);
        }
    }
    if (code != FX_OK) {
        if (!wal_is_gone(receiver->conn)) {
            return fx_err_wrap(err, "streaming WAL from %s", start);
        }
        *out_again = true;
        return FX_OK; /* the caller looks for the gap: the message is in `err` */
    }
    if (kind != FX_PG_NEXT_ROWS) {
        return fx_fail_as(
            err, FX_CLASS_TRANSIENT, FX_ERR_UNREACHABLE, "the server ended the stream of WAL");
    }
    *out_again = true;
    return follow_timeline(receiver, rows, err);
}

static fx_code
stream(fx_wal_receiver *receiver, fx_err *err)
{
    bool again = true;
    while (again && !atomic_load(&receiver->stop)) {
        const uint64_t before = receiver->progress;
        err->code = FX_OK;
        if (stream_once(receiver, &again, err) != FX_OK) {
            return err->code;
        }
        if (!wal_is_gone(receiver->conn)) {
            continue;
        }
        char reason[FX_ERR_MESSAGE_MAX_BYTES];
        (void)snprintf(reason, sizeof reason, "%s", err->message);
        /* The sender reports this as the end of its session: a new connection asks what is left. */
        fx_pg_free(FX_TAKE(receiver->conn));
        if (fx_pg_open_replication(
                receiver->config.conninfo, after_ms(CONNECT_MAX_MS), &receiver->conn, err) !=
            FX_OK) {
            return err->code;
        }
        if (receiver->progress != before) {
            return fx_fail(err, FX_ERR_NOT_FOUND, "%s", reason);
        }
        if (skip_gap(receiver, reason, err) != FX_OK) {
            return err->code;
        }
    }
    return FX_OK;
}

/* ---- sessions -----------------------------------------------------------------------------------
 */

static fx_code
learn_system(fx_wal_receiver *receiver, const fx_pg_system *system, fx_err *err)
{
    uint32_t segment_bytes = 0;
    if (fx_pg_segment_bytes(receiver->conn, after_ms(COMMAND_MAX_MS), &segment_bytes, err) !=
        FX_OK) {
        return err->code;
    }
    if (segment_bytes > FX_NAMED_MAX_BYTES) {
        return fx_fail(
            err,
            FX_ERR_UNSUPPORTED,
            "could not receive WAL: segments of %u MiB are longer than the %d MiB that a "
            "repository "
            "takes",
            (unsigned)(segment_bytes / (1024U * 1024U)),
            FX_NAMED_MAX_BYTES / (1024 * 1024));
    }
    if (strcmp(receiver->system, system->identifier) == 0 &&
        receiver->segment_bytes == segment_bytes) {
        return FX_OK;
    }
    if (receiver->system[0] != '\0') {
        FX_LOG(
            receiver->config.log,
            WARN,
            "wal.other_system",
            FX_STR("before", receiver->system),
            FX_STR("now", system->identifier));
    }
    unsigned char *segment = realloc(receiver->segment, segment_bytes);
    FX_ASSERT(segment != NULL);
    receiver->segment = segment;
    receiver->segment_bytes = segment_bytes;
    receiver->segment_filled = 0;
    receiver->durable = (fx_lsn){0};
    memcpy(receiver->system, system->identifier, sizeof receiver->system);
    return load_stored(receiver, err);
}

static fx_code
find_start(fx_wal_receiver *receiver, fx_err *err)
{
    slot_state slot = {0};
    uint32_t timeline = 0;
    fx_lsn start = {0};
    if (ensure_slot(receiver, false, &slot, err) != FX_OK) {
        return err->code;
    }
    if (!fx_wal_resume(
            receiver->chain, receiver->stored, receiver->segment_bytes, &timeline, &start)) {
        timeline = fx_wal_chain_timeline_at(receiver->chain, slot.restart);
        start = slot.restart;
    }
    go_to(receiver, timeline, start);
    char text[FX_PG_LSN_TEXT_BYTES];
    fx_pg_lsn_format(receiver->segment_start, text);
    FX_LOG(
        receiver->config.log,
        INFO,
        "wal.receiving",
        FX_STR("system", receiver->system),
        FX_INT("timeline", receiver->timeline),
        FX_STR("from_lsn", text));
    return FX_OK;
}

/* The newest timeline that the repository knows of this system. */
static uint32_t
newest_stored(const fx_wal_receiver *receiver)
{
    uint32_t newest = 0;
    for (size_t at = 0; at < receiver->stored->count; at++) {
        if (receiver->stored->items[at].timeline > newest) {
            newest = receiver->stored->items[at].timeline;
        }
    }
    return newest;
}

static fx_code
session(fx_wal_receiver *receiver, fx_err *err)
{
    fx_pg_system system = {0};
    if (fx_pg_open_replication(
            receiver->config.conninfo, after_ms(CONNECT_MAX_MS), &receiver->conn, err) != FX_OK ||
        fx_pg_identify(receiver->conn, after_ms(COMMAND_MAX_MS), &system, err) != FX_OK ||
        learn_system(receiver, &system, err) != FX_OK) {
        return err->code;
    }
    if (system.timeline < newest_stored(receiver)) {
        return fx_fail_as(
            err,
            FX_CLASS_TRANSIENT,
            FX_ERR_STALE,
            "could not receive WAL: the server is on timeline %u and the repository already holds "
            "timeline %u: it is an old primary, or a standby that has not followed yet",
            (unsigned)system.timeline,
            (unsigned)newest_stored(receiver));
    }
    if (take_history(receiver, system.timeline, err) != FX_OK ||
        find_start(receiver, err) != FX_OK) {
        return err->code;
    }
    return stream(receiver, err);
}

static void
pause_before_retry(fx_wal_receiver *receiver, int64_t pause_ms)
{
    const int64_t half = pause_ms / 2;
    const int64_t length = half + (int64_t)fx_rng_below(&receiver->rng, (uint64_t)half + 1);
    const fx_mono until = after_ms(length);
    while (!atomic_load(&receiver->stop) && fx_clock_mono().ns < until.ns) {
        fx_clock_sleep(FX_DUR_MS(50));
    }
}

void
fx_wal_receiver_run(fx_wal_receiver *receiver)
{
    int64_t pause_ms = BACK_OFF_MIN_MS;
    while (!atomic_load(&receiver->stop)) {
        fx_err err = {0};
        const uint64_t before = receiver->progress;
        const fx_mono began = fx_clock_mono();
        const fx_code code = session(receiver, &err);
        fx_pg_free(FX_TAKE(receiver->conn));
        publish(receiver, false);
        if (code == FX_OK || atomic_load(&receiver->stop)) {
            continue;
        }
        publish_error(receiver, &err);
        if (receiver->progress != before || ms_since(began) > BACK_OFF_MAX_MS) {
            pause_ms = BACK_OFF_MIN_MS;
        }
        pause_before_retry(receiver, pause_ms);
        pause_ms = pause_ms * 2 < BACK_OFF_MAX_MS ? pause_ms * 2 : BACK_OFF_MAX_MS;
    }
}
