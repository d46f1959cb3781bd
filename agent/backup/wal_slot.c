#include "agent/backup/wal_receiver.h"

#include <stdio.h>
#include <string.h>

static fx_code
command(fx_wal_receiver *receiver, fx_pg_result **out_result, fx_err *err, const char *sql)
{
    return fx_pg_query(
        receiver->conn, sql, NULL, fx_wal_after_ms(FX_WAL_COMMAND_MAX_MS), out_result, err);
}

fx_code
fx_wal_take_history(fx_wal_receiver *receiver, uint32_t timeline, fx_err *err)
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
    return fx_wal_put(receiver, name, content, err);
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

void
fx_wal_go_to(fx_wal_receiver *receiver, uint32_t timeline, fx_lsn position)
{
    receiver->timeline = timeline;
    receiver->segment_start =
        (fx_lsn){.value = position.value - position.value % receiver->segment_bytes};
    receiver->segment_filled = 0;
    /* Also when that is less than before: another timeline's bytes say nothing about this one's. */
    receiver->durable = receiver->segment_start;
}

fx_code
fx_wal_find_start(fx_wal_receiver *receiver, fx_err *err)
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
    fx_wal_go_to(receiver, timeline, start);
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

fx_code
fx_wal_skip_gap(fx_wal_receiver *receiver, const char *reason, fx_err *err)
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
    fx_wal_go_to(receiver, fx_wal_chain_timeline_at(receiver->chain, slot.restart), slot.restart);
    if (receiver->segment_start.value <= from.value) {
        return fx_fail(err, FX_ERR_NOT_FOUND, "could not receive WAL: %s", reason);
    }
    fx_wal_report_gap(receiver, from, receiver->segment_start, reason);
    return FX_OK;
}
