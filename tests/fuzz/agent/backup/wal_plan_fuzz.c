/*
 * The first byte: of which timeline. Then, up to a NUL, a timeline's history as a server sends it;
 * then names of what a repository holds, each ended by a NUL, and the last as a WAL position.
 */
#include <string.h>

#include "agent/backup/wal_plan.h"
#include "common/pg/wal_name.h"

enum { SEGMENT_BYTES = 16 * 1024 * 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

static void
take_name(const char *name, fx_wal_stored *stored)
{
    fx_err err = {0};
    uint32_t timeline = 0;
    uint64_t segment = 0;
    fx_lsn lsn = {0};
    if (fx_pg_segment_parse(name, SEGMENT_BYTES, &timeline, &segment, &err) == FX_OK) {
        char again[FX_PG_SEGMENT_NAME_BYTES];
        fx_pg_segment_name(timeline, segment, SEGMENT_BYTES, again);
        FX_ASSERT(strcmp(name, again) == 0);
        FX_ASSERT(fx_wal_stored_note(stored, timeline, segment, &err) == FX_OK);
    }
    if (fx_pg_history_parse(name, &timeline, &err) == FX_OK) {
        char again[FX_PG_HISTORY_NAME_BYTES];
        fx_pg_history_name(timeline, again);
        FX_ASSERT(strcmp(name, again) == 0);
    }
    if (fx_pg_lsn_parse(name, &lsn, &err) == FX_OK) {
        char again[FX_PG_LSN_TEXT_BYTES];
        fx_lsn back = {0};
        fx_pg_lsn_format(lsn, again);
        FX_ASSERT(fx_pg_lsn_parse(again, &back, &err) == FX_OK && back.value == lsn.value);
    }
}

static void
plan(const fx_wal_chain *chain, const fx_wal_stored *stored)
{
    uint32_t timeline = 0;
    fx_lsn start = {0};
    if (fx_wal_resume(chain, stored, SEGMENT_BYTES, &timeline, &start)) {
        FX_ASSERT(timeline != 0 && start.value % SEGMENT_BYTES == 0);
    }
    FX_ASSERT(fx_wal_chain_timeline_at(chain, start) != 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    static fx_wal_chain chain;
    static fx_wal_stored stored;
    if (size_bytes == 0) {
        return 0;
    }
    const uint32_t timeline = data[0] == 0 ? UINT32_MAX : data[0];
    char *text = malloc(size_bytes);
    FX_ASSERT(text != NULL);
    memcpy(text, data + 1, size_bytes - 1);
    text[size_bytes - 1] = '\0';
    stored.count = 0;
    size_t history_bytes = strlen(text);
    for (size_t at = history_bytes + 1; at < size_bytes; at += strlen(text + at) + 1) {
        take_name(text + at, &stored);
    }
    fx_err err = {0};
    if (fx_wal_chain_read((fx_bytes){text, history_bytes}, timeline, &chain, &err) == FX_OK) {
        FX_ASSERT(chain.items[chain.count - 1].timeline == timeline);
        plan(&chain, &stored);
    }
    free(text);
    return 0;
}
