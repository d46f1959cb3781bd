#include "agent/source/postgres/wal_gaps.h"

#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"

enum { SEGMENTS_MAX = 1 << 24 };

static const char wal_prefix[] = "wal/";

/* ---- what is stored -----------------------------------------------------------------------------
 */

/* Numbers of the whole segments below a prefix, on whatever timeline. */
typedef struct segments {
    size_t prefix_bytes;
    uint32_t segment_bytes;
    uint64_t *items; /* in order, some more than once */
    size_t count;
    bool has_overflow;
} segments;

static bool
is_segment_size(uint32_t segment_bytes)
{
    return segment_bytes >= FX_PG_SEGMENT_MIN_BYTES && segment_bytes <= FX_PG_SEGMENT_MAX_BYTES &&
           (segment_bytes & (segment_bytes - 1)) == 0;
}

static void
note_segment(void *ctx, const char *name)
{
    segments *all = ctx;
    fx_err ignored = {0};
    uint32_t timeline = 0;
    uint64_t segment = 0;
    if (strlen(name) <= all->prefix_bytes ||
        fx_pg_segment_parse(
            name + all->prefix_bytes, all->segment_bytes, &timeline, &segment, &ignored) != FX_OK) {
        return; /* a history, or a part of a segment */
    }
    if (all->count == SEGMENTS_MAX) {
        all->has_overflow = true;
        return;
    }
    if ((all->count & (all->count - 1)) == 0) {
        all->items = realloc(all->items, (all->count * 2 + 1) * sizeof *all->items);
        FX_ASSERT(all->items != NULL);
    }
    all->items[all->count++] = segment;
}

static int
by_number(const void *left, const void *right)
{
    const uint64_t one = *(const uint64_t *)left;
    const uint64_t two = *(const uint64_t *)right;
    return one < two ? -1 : one > two;
}

static fx_code
load_segments(
    fx_repository *repository,
    const char *stream,
    uint32_t segment_bytes,
    segments *out_all,
    fx_err *err)
{
    segments all = {.prefix_bytes = strlen(stream), .segment_bytes = segment_bytes};
    fx_code code = fx_repository_list_named(repository, stream, note_segment, &all, err);
    if (code == FX_OK && all.has_overflow) {
        code = fx_fail(err, FX_ERR_LIMIT, "could not list %s: too many segments", stream);
    }
    if (code != FX_OK) {
        free(all.items);
        return fx_err_wrap(err, "looking what WAL the repository holds");
    }
    if (all.count > 1) {
        qsort(all.items, all.count, sizeof *all.items, by_number);
    }
    *out_all = all;
    return FX_OK;
}

/* The first number from `from` on that is not there; at most `end`. */
static uint64_t
first_missing(const segments *all, uint64_t from, uint64_t end)
{
    uint64_t next = from;
    for (size_t i = 0; i < all->count && next < end && all->items[i] <= next; i++) {
        next += all->items[i] == next;
    }
    return next;
}

/* The segments that the gap touches: [*out_from, *out_end). */
static void
bounds_of(const fx_gap_object *gap, uint64_t *out_from, uint64_t *out_end)
{
    *out_from = gap->from.value / gap->segment_bytes;
    *out_end = gap->to.value / gap->segment_bytes + (gap->to.value % gap->segment_bytes != 0);
}

static bool
is_filled(const fx_gap_object *gap, const segments *all)
{
    uint64_t from = 0;
    uint64_t end = 0;
    bounds_of(gap, &from, &end);
    return first_missing(all, from, end) >= end;
}

/* ---- states -------------------------------------------------------------------------------------
 */

const char *
fx_gap_state_name(fx_gap_state state)
{
    switch (state) {
    case FX_GAP_OPEN:
        return "open";
    case FX_GAP_COVERED:
        return "covered";
    case FX_GAP_FILLED:
        return "filled";
    case FX_GAP_UNUSED:
        return "unused";
    }
    return "open";
}

void
fx_gap_verdicts_free(fx_gap_verdicts *verdicts)
{
    free(verdicts->items);
    *verdicts = (fx_gap_verdicts){0};
}

/* A base backup, as far as it matters here. */
typedef struct base {
    const fx_snapshot *snapshot;
    char stream[FX_GAP_STREAM_BYTES];
    fx_lsn start;
} base;

typedef struct judging {
    fx_repository *repository;
    fx_gap_verdicts verdicts;
    bool *is_judged; /* of each verdict */
    base *bases;
    size_t base_count;
} judging;

static void
find_bases(judging *work, const fx_snapshot_list *snapshots)
{
    for (size_t i = 0; i < snapshots->count; i++) {
        fx_err ignored = {0};
        fx_base_backup backup;
        const fx_snapshot *snapshot = &snapshots->items[i];
        if (strcmp(snapshot->kind, "postgres") != 0 ||
            fx_base_backup_read_note(snapshot, &backup, &ignored) != FX_OK) {
            continue; /* one that nobody can use covers nothing */
        }
        base *one = &work->bases[work->base_count++];
        *one = (base){.snapshot = snapshot, .start = backup.start};
        (void)snprintf(
            one->stream, sizeof one->stream, "%s%s/", wal_prefix, backup.system.identifier);
    }
}

static void
judge(const judging *work, const segments *all, fx_gap_verdict *verdict)
{
    const fx_gap_object *gap = &verdict->gap;
    bool is_used = false;
    const base *covering = NULL;
    for (size_t i = 0; i < work->base_count; i++) {
        const base *one = &work->bases[i];
        if (strcmp(one->stream, gap->stream) != 0) {
            continue;
        }
        is_used = true;
        bool is_covering =
            one->start.value >= gap->to.value && one->snapshot->began.ns >= gap->found.ns;
        covering = is_covering ? one : covering; /* they come oldest first */
    }
    if (all != NULL && is_filled(gap, all)) {
        verdict->state = FX_GAP_FILLED;
    } else if (covering != NULL) {
        verdict->state = FX_GAP_COVERED;
        (void)snprintf(
            verdict->covered_by, sizeof verdict->covered_by, "%s", covering->snapshot->id);
    } else {
        verdict->state = is_used ? FX_GAP_OPEN : FX_GAP_UNUSED;
    }
}

/* This gap and all later ones of the same streams, which are listed once. */
static fx_code
judge_alike(judging *work, size_t first, fx_err *err)
{
    segments all = {0};
    const fx_gap_object *model = &work->verdicts.items[first].gap;
    bool is_wal = strncmp(model->stream, wal_prefix, strlen(wal_prefix)) == 0 &&
                  is_segment_size(model->segment_bytes);
    if (is_wal &&
        load_segments(work->repository, model->stream, model->segment_bytes, &all, err) != FX_OK) {
        return err->code;
    }
    for (size_t i = first; i < work->verdicts.count; i++) {
        fx_gap_verdict *one = &work->verdicts.items[i];
        if (!work->is_judged[i] && one->gap.segment_bytes == model->segment_bytes &&
            strcmp(one->gap.stream, model->stream) == 0) {
            judge(work, is_wal ? &all : NULL, one);
            work->is_judged[i] = true;
        }
    }
    free(all.items);
    return FX_OK;
}

fx_code
fx_gaps_judge(
    fx_repository *repository,
    const fx_snapshot_list *snapshots,
    fx_gap_verdicts *out_verdicts,
    fx_err *err)
{
    fx_gap_object_list gaps = {0};
    if (fx_gap_object_list_all(repository, &gaps, err) != FX_OK) {
        return err->code;
    }
    judging work = {
        .repository = repository,
        .verdicts = {.count = gaps.count, .unreadable_count = gaps.unreadable_count},
        .is_judged = calloc(gaps.count + 1, sizeof *work.is_judged),
        .bases = calloc(snapshots->count + 1, sizeof *work.bases),
    };
    work.verdicts.items = calloc(gaps.count + 1, sizeof *work.verdicts.items);
    FX_ASSERT(work.verdicts.items != NULL && work.is_judged != NULL && work.bases != NULL);
    for (size_t i = 0; i < gaps.count; i++) {
        work.verdicts.items[i].gap = gaps.items[i];
    }
    if (gaps.count > 0) {
        find_bases(&work, snapshots);
    }
    fx_code code = FX_OK;
    for (size_t i = 0; code == FX_OK && i < gaps.count; i++) {
        if (!work.is_judged[i]) {
            code = judge_alike(&work, i, err);
        }
    }
    fx_gap_object_list_free(&gaps);
    free(work.is_judged);
    free(work.bases);
    if (code != FX_OK) {
        fx_gap_verdicts_free(&work.verdicts);
        return code;
    }
    *out_verdicts = work.verdicts;
    return FX_OK;
}

void
fx_gap_format(const fx_gap_object *gap, char out_text[FX_GAP_TEXT_BYTES])
{
    char from[FX_PG_LSN_TEXT_BYTES];
    char to[FX_PG_LSN_TEXT_BYTES];
    char found[FX_WALL_TEXT_BYTES];
    fx_pg_lsn_format(gap->from, from);
    fx_pg_lsn_format(gap->to, to);
    fx_wall_format(gap->found, found);
    (void)snprintf(
        out_text,
        FX_GAP_TEXT_BYTES,
        "WAL %s to %s%s%s is missing, found%s%s at %.19sZ: %s",
        from,
        to,
        fx_name_is_none(&gap->service) ? "" : " of ",
        gap->service.text,
        fx_name_is_none(&gap->host) ? "" : " by ",
        gap->host.text,
        found,
        gap->reason);
}

/* ---- before a restore ---------------------------------------------------------------------------
 */

/* When the store got the last of the WAL before a segment. */
typedef struct last_before {
    size_t prefix_bytes;
    uint32_t segment_bytes;
    uint64_t missing;
    fx_wall stored;
    bool is_told; /* by the store, of anything */
} last_before;

static void
note_time(void *ctx, const char *name, fx_wall stored)
{
    last_before *last = ctx;
    char file[FX_PG_SEGMENT_NAME_BYTES];
    fx_err ignored = {0};
    uint32_t timeline = 0;
    uint64_t segment = 0;
    last->is_told = true;
    if (strlen(name) < last->prefix_bytes + sizeof file - 1) {
        return;
    }
    (void)snprintf(file, sizeof file, "%s", name + last->prefix_bytes);
    bool is_part = name[last->prefix_bytes + sizeof file - 1] != '\0';
    if (fx_pg_segment_parse(file, last->segment_bytes, &timeline, &segment, &ignored) != FX_OK ||
        segment >= last->missing + (is_part ? 1 : 0)) {
        return;
    }
    if (stored.ns > last->stored.ns) {
        last->stored = stored;
    }
}

/* The first gap in the way of a replay of the backup; its first missing segment. NULL: none. */
static const fx_gap_object *
find_in_the_way(
    const fx_gap_object_list *gaps,
    const fx_base_backup *backup,
    const char *stream,
    const segments *all,
    uint64_t *out_missing)
{
    const fx_gap_object *found = NULL;
    /* A backup holds its own WAL; of a primary, the whole segment of its end. */
    uint64_t own_end =
        backup->stop.value == 0 ? 0 : (backup->stop.value - 1) / all->segment_bytes + 1;
    for (size_t i = 0; i < gaps->count; i++) {
        const fx_gap_object *gap = &gaps->items[i];
        uint64_t from = 0;
        uint64_t end = 0;
        if (strcmp(gap->stream, stream) != 0 || gap->segment_bytes != all->segment_bytes) {
            continue;
        }
        bounds_of(gap, &from, &end);
        from = from > own_end ? from : own_end;
        uint64_t missing = first_missing(all, from, end);
        if (from < end && missing < end && (found == NULL || missing < *out_missing)) {
            found = gap;
            *out_missing = missing;
        }
    }
    return found;
}

/* No time after this one can be replayed to: what is missing was written after the last that was
 * stored before it, and before it was found to be missing. */
static fx_code
find_reachable(
    fx_repository *repository,
    const fx_base_backup *backup,
    const fx_gap_object *gap,
    uint64_t missing,
    fx_wall *out_reachable,
    fx_err *err)
{
    last_before last = {
        .prefix_bytes = strlen(gap->stream),
        .segment_bytes = backup->segment_bytes,
        .missing = missing,
        .stored = backup->ended,
    };
    if (fx_repository_list_named_times(repository, gap->stream, note_time, &last, err) != FX_OK) {
        return fx_err_wrap(err, "looking when WAL was stored");
    }
    fx_wall reachable = last.is_told && last.stored.ns < gap->found.ns ? last.stored : gap->found;
    *out_reachable = reachable.ns > backup->ended.ns ? reachable : backup->ended;
    return FX_OK;
}

static fx_code
refuse(const fx_gap_object *gap, fx_wall target, fx_wall reachable, fx_err *err)
{
    char from[FX_PG_LSN_TEXT_BYTES];
    char to[FX_PG_LSN_TEXT_BYTES];
    char wanted[FX_WALL_TEXT_BYTES];
    char last[FX_WALL_TEXT_BYTES];
    fx_pg_lsn_format(gap->from, from);
    fx_pg_lsn_format(gap->to, to);
    fx_wall_format(target, wanted);
    fx_wall_format(reachable, last);
    return fx_fail(
        err,
        FX_ERR_NOT_FOUND,
        "could not restore to %.19sZ: WAL %s to %s, between this backup and then, is missing; "
        "choose a backup from behind this gap, or a time up to %.19sZ (--ignore-gaps tries it "
        "anyway)",
        wanted,
        from,
        to,
        last);
}

static fx_code
judge_gap(
    fx_repository *repository,
    const fx_gap_question *question,
    const fx_gap_object *gap,
    uint64_t missing,
    const fx_events *events,
    fx_err *err)
{
    fx_wall reachable = {0};
    fx_wall target = question->target;
    char text[FX_GAP_TEXT_BYTES];
    if (find_reachable(repository, question->backup, gap, missing, &reachable, err) != FX_OK) {
        return err->code;
    }
    if (target.ns != 0 && target.ns <= reachable.ns) {
        return FX_OK; /* it is reached before the gap */
    }
    fx_gap_format(gap, text);
    fx_events_warn(events, gap->stream, text);
    return target.ns == 0 || question->is_ignored ? FX_OK : refuse(gap, target, reachable, err);
}

fx_code
fx_gaps_check_target(
    fx_repository *repository,
    const fx_gap_question *question,
    const fx_events *events,
    fx_err *err)
{
    const fx_base_backup *backup = question->backup;
    fx_gap_object_list gaps = {0};
    segments all = {0};
    char stream[FX_GAP_STREAM_BYTES];
    (void)snprintf(stream, sizeof stream, "%s%s/", wal_prefix, backup->system.identifier);
    fx_err failure = {0};
    if (fx_gap_object_list_all(repository, &gaps, &failure) != FX_OK) {
        /* Nothing that is restored rests on them. */
        fx_events_warn(events, "gaps", failure.message);
        return FX_OK;
    }
    if (gaps.unreadable_count > 0) {
        fx_events_warn(events, stream, "some gaps that were recorded cannot be read: run verify");
    }
    fx_code code = gaps.count == 0
                       ? FX_OK
                       : load_segments(repository, stream, backup->segment_bytes, &all, err);
    if (code == FX_OK && gaps.count > 0) {
        uint64_t missing = 0;
        const fx_gap_object *gap = find_in_the_way(&gaps, backup, stream, &all, &missing);
        if (gap != NULL) {
            code = judge_gap(repository, question, gap, missing, events, err);
        }
    }
    free(all.items);
    fx_gap_object_list_free(&gaps);
    return code;
}
