#include "agent/backup/wal_plan.h"

#include <stdio.h>
#include <string.h>

#include "common/pg/wal_name.h"

fx_code
fx_wal_stored_note(fx_wal_stored *stored, uint32_t timeline, uint64_t segment, fx_err *err)
{
    FX_ASSERT(timeline != 0);
    for (size_t at = 0; at < stored->count; at++) {
        if (stored->items[at].timeline == timeline) {
            if (segment + 1 > stored->items[at].next_segment) {
                stored->items[at].next_segment = segment + 1;
            }
            return FX_OK;
        }
    }
    if (stored->count == FX_WAL_TIMELINE_MAX) {
        return fx_fail(
            err,
            FX_ERR_LIMIT,
            "the repository holds WAL of more than %d timelines",
            FX_WAL_TIMELINE_MAX);
    }
    stored->items[stored->count].timeline = timeline;
    stored->items[stored->count].next_segment = segment + 1;
    stored->count++;
    return FX_OK;
}

static fx_code
read_line(const char *line, fx_wal_chain *chain, fx_err *err)
{
    char *after = NULL;
    const unsigned long timeline = strtoul(line, &after, 10);
    const size_t blanks = strspn(after, " \t");
    char position[FX_PG_LSN_TEXT_BYTES] = {0};
    const size_t length = strcspn(after + blanks, " \t");
    const uint32_t newest = chain->count > 0 ? chain->items[chain->count - 1].timeline : 0;
    if (after == line || blanks == 0 || length >= sizeof position || timeline > UINT32_MAX ||
        timeline <= newest) {
        return fx_fail(err, FX_ERR_INVALID, "could not read the timeline history: \"%.60s\"", line);
    }
    memcpy(position, after + blanks, length);
    fx_lsn end = {0};
    if (fx_pg_lsn_parse(position, &end, err) != FX_OK) {
        return fx_err_wrap(err, "reading the timeline history");
    }
    if (chain->count + 1 >= FX_WAL_TIMELINE_MAX) {
        return fx_fail(
            err, FX_ERR_LIMIT, "the timeline history has more than %d lines", FX_WAL_TIMELINE_MAX);
    }
    chain->items[chain->count].timeline = (uint32_t)timeline;
    chain->items[chain->count].end = end;
    chain->count++;
    return FX_OK;
}

fx_code
fx_wal_chain_read(fx_bytes history, uint32_t timeline, fx_wal_chain *out_chain, fx_err *err)
{
    out_chain->count = 0;
    const char *at = history.data;
    size_t left = history.size_bytes;
    while (left > 0) {
        char line[512] = {0}; /* the reason at the end of a line may be cut */
        const char *newline = memchr(at, '\n', left);
        const size_t length = newline != NULL ? (size_t)(newline - at) : left;
        const size_t taken = newline != NULL ? length + 1 : length;
        memcpy(line, at, length < sizeof line ? length : sizeof line - 1);
        at += taken;
        left -= taken;
        const char *text = line + strspn(line, " \t\r");
        if (text[0] == '\0' || text[0] == '#') {
            continue;
        }
        if (read_line(text, out_chain, err) != FX_OK) {
            return err->code;
        }
    }
    if (out_chain->count > 0 && out_chain->items[out_chain->count - 1].timeline >= timeline) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not read the timeline history: it names timeline %u before %u",
            (unsigned)out_chain->items[out_chain->count - 1].timeline,
            (unsigned)timeline);
    }
    out_chain->items[out_chain->count].timeline = timeline;
    out_chain->items[out_chain->count].end = (fx_lsn){.value = UINT64_MAX};
    out_chain->count++;
    return FX_OK;
}

uint32_t
fx_wal_chain_timeline_at(const fx_wal_chain *chain, fx_lsn lsn)
{
    FX_ASSERT(chain->count > 0);
    size_t at = 0;
    while (at + 1 < chain->count && lsn.value >= chain->items[at].end.value) {
        at++;
    }
    return chain->items[at].timeline;
}

static uint64_t
next_stored(const fx_wal_stored *stored, uint32_t timeline)
{
    for (size_t at = 0; at < stored->count; at++) {
        if (stored->items[at].timeline == timeline) {
            return stored->items[at].next_segment;
        }
    }
    return 0;
}

bool
fx_wal_resume(
    const fx_wal_chain *chain,
    const fx_wal_stored *stored,
    uint32_t segment_bytes,
    uint32_t *out_timeline,
    fx_lsn *out_start)
{
    FX_ASSERT(chain->count > 0 && segment_bytes > 0);
    for (size_t left = chain->count; left > 0; left--) {
        const size_t at = left - 1;
        const uint64_t next = next_stored(stored, chain->items[at].timeline);
        if (next == 0) {
            continue;
        }
        const uint64_t start = next * segment_bytes;
        const uint64_t end = chain->items[at].end.value;
        if (start < end) {
            *out_timeline = chain->items[at].timeline;
            *out_start = (fx_lsn){.value = start};
            return true;
        }
        /* All of this timeline, maybe more than the chain took over: go on where the next begins.
         */
        *out_timeline = chain->items[at + 1].timeline;
        *out_start = (fx_lsn){.value = end - end % segment_bytes};
        return true;
    }
    return false;
}
