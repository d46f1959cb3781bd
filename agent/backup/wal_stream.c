#include "agent/backup/wal_receiver.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    LOOK_MS = 200,          /* how long a stop or a switch that is due may wait */
    STATUS_MS = 10000,      /* far below the server's wal_sender_timeout, 60 s by default */
    SILENCE_ASK_MS = 15000, /* ask the server for a sign of life */
    SILENCE_MAX_MS = 30000, /* and take it for dead */
    SWITCH_MAX_MS = 3000,
};

/* Microseconds from 1970 to 2000, where PostgreSQL's clock begins. */
static const int64_t postgres_epoch_us = INT64_C(946684800) * 1000000;

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
    return fx_pg_copy_write(receiver->conn, bytes, fx_wal_after_ms(FX_WAL_COMMAND_MAX_MS), err);
}

static fx_code
take_wal(fx_wal_receiver *receiver, const unsigned char *at, size_t size_bytes, fx_err *err)
{
    enum { HEADER_BYTES = 25 };
    if (size_bytes < HEADER_BYTES || read_u64(at + 1) != fx_wal_received_to(receiver).value) {
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
            (fx_wal_store_segment(receiver, err) != FX_OK ||
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
    if (fx_wal_store_partial(receiver, err) != FX_OK) {
        return err->code;
    }
    return tell_position(receiver, false, err);
}

static fx_code
switch_segment(const char *conninfo, bool *out_switched, fx_err *err)
{
    const fx_mono deadline = fx_wal_after_ms(SWITCH_MAX_MS);
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
    if (after == 0 || receiver->segment_filled == 0 ||
        fx_wal_ms_since(receiver->unsaved_since) < after ||
        fx_wal_ms_since(receiver->switch_tried) < after) {
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
    const int64_t silent_ms = fx_wal_ms_since(receiver->heard);
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
    if (fx_wal_ms_since(receiver->told) > STATUS_MS) {
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
    fx_wal_publish(receiver, true);
    if (tell_position(receiver, false, err) != FX_OK) {
        return err->code;
    }
    while (!atomic_load(&receiver->stop)) {
        fx_pg_copy_kind kind = FX_PG_COPY_IDLE;
        fx_bytes message = {0};
        if (fx_pg_copy_read(receiver->conn, fx_wal_after_ms(LOOK_MS), &kind, &message, err) !=
            FX_OK) {
            return fx_err_wrap(err, "receiving WAL");
        }
        if (kind == FX_PG_COPY_END) {
            *out_ended = true;
            return fx_pg_copy_end(receiver->conn, fx_wal_after_ms(FX_WAL_COMMAND_MAX_MS), err);
        }
        if (kind == FX_PG_COPY_DATA && take_message(receiver, message, err) != FX_OK) {
            return err->code;
        }
        if (keep_alive(receiver, err) != FX_OK) {
            return err->code;
        }
        maybe_switch(receiver);
        if (kind == FX_PG_COPY_IDLE) {
            fx_wal_publish(receiver, true);
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
        fx_pg_next(receiver->conn, fx_wal_after_ms(FX_WAL_COMMAND_MAX_MS), &kind, &rest, err) !=
            FX_OK) {
        return err->code;
    }
    if (timeline <= receiver->timeline || kind != FX_PG_NEXT_DONE) {
        return fx_fail(
            err,
            FX_ERR_FAILED,
            "the server goes on with timeline %.20s unexpectedly",
            timeline_text);
    }
    if (fx_wal_take_history(receiver, timeline, err) != FX_OK) {
        return err->code;
    }
    /* The new timeline's first segment repeats the old one's bytes up to the switch. */
    fx_wal_go_to(receiver, timeline, start);
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
    fx_code code = fx_pg_send(receiver->conn, sql, fx_wal_after_ms(FX_WAL_COMMAND_MAX_MS), err);
    if (code == FX_OK) {
        code =
            fx_pg_next(receiver->conn, fx_wal_after_ms(FX_WAL_COMMAND_MAX_MS), &kind, &rows, err);
    }
    if (code == FX_OK && kind == FX_PG_NEXT_COPY_BOTH) {
        bool ended = false;
        code = receive(receiver, &ended, err);
        if (code == FX_OK && !ended) {
            return FX_OK; /* told to stop */
        }
        if (code == FX_OK) {
            code = fx_pg_next(
                receiver->conn, fx_wal_after_ms(FX_WAL_COMMAND_MAX_MS), &kind, &rows, err);
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

fx_code
fx_wal_stream(fx_wal_receiver *receiver, fx_err *err)
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
                receiver->config.conninfo,
                fx_wal_after_ms(FX_WAL_CONNECT_MAX_MS),
                &receiver->conn,
                err) != FX_OK) {
            return err->code;
        }
        if (receiver->progress != before) {
            return fx_fail(err, FX_ERR_NOT_FOUND, "%s", reason);
        }
        if (fx_wal_skip_gap(receiver, reason, err) != FX_OK) {
            return err->code;
        }
    }
    return FX_OK;
}
