#include "agent/backup/wal_receiver.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BACK_OFF_MIN_MS = 200, BACK_OFF_MAX_MS = 10000 };

/* ---- making and status --------------------------------------------------------------------------
 */

fx_code
fx_wal_receiver_new(const fx_wal_config *config, fx_wal_receiver **out_receiver, fx_err *err)
{
    FX_ASSERT(config->conninfo != NULL && config->repository != NULL);
    const size_t length = config->slot != NULL ? strlen(config->slot) : 0;
    if (length == 0 || length >= FX_WAL_SLOT_BYTES ||
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

void
fx_wal_publish(fx_wal_receiver *receiver, bool streaming)
{
    fx_monitor_lock(&receiver->monitor);
    fx_wal_status *status = &receiver->status;
    status->streaming = streaming;
    memcpy(status->system, receiver->system, sizeof status->system);
    status->timeline = receiver->timeline;
    status->received = fx_wal_received_to(receiver);
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

void
fx_wal_report_gap(fx_wal_receiver *receiver, fx_lsn from, fx_lsn to, const char *reason)
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

/* ---- sessions -----------------------------------------------------------------------------------
 */

static fx_code
learn_system(fx_wal_receiver *receiver, const fx_pg_system *system, fx_err *err)
{
    uint32_t segment_bytes = 0;
    if (fx_pg_segment_bytes(
            receiver->conn, fx_wal_after_ms(FX_WAL_COMMAND_MAX_MS), &segment_bytes, err) != FX_OK) {
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
    return fx_wal_load_stored(receiver, err);
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
            receiver->config.conninfo,
            fx_wal_after_ms(FX_WAL_CONNECT_MAX_MS),
            &receiver->conn,
            err) != FX_OK ||
        fx_pg_identify(receiver->conn, fx_wal_after_ms(FX_WAL_COMMAND_MAX_MS), &system, err) !=
            FX_OK ||
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
    if (fx_wal_take_history(receiver, system.timeline, err) != FX_OK ||
        fx_wal_find_start(receiver, err) != FX_OK) {
        return err->code;
    }
    return fx_wal_stream(receiver, err);
}

static void
pause_before_retry(fx_wal_receiver *receiver, int64_t pause_ms)
{
    const int64_t half = pause_ms / 2;
    const int64_t length = half + (int64_t)fx_rng_below(&receiver->rng, (uint64_t)half + 1);
    const fx_mono until = fx_wal_after_ms(length);
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
        fx_wal_publish(receiver, false);
        if (code == FX_OK || atomic_load(&receiver->stop)) {
            continue;
        }
        publish_error(receiver, &err);
        if (receiver->progress != before || fx_wal_ms_since(began) > BACK_OFF_MAX_MS) {
            pause_ms = BACK_OFF_MIN_MS;
        }
        pause_before_retry(receiver, pause_ms);
        pause_ms = pause_ms * 2 < BACK_OFF_MAX_MS ? pause_ms * 2 : BACK_OFF_MAX_MS;
    }
}
