/* WAL that the repository lacks and will not get: remembered on disk, told with every report, put
 * into the repository. */
#pragma once

#include "agent/backup/wal.h"
#include "common/base/name.h"

enum { FX_GAP_REASON_BYTES = 160, FX_GAP_SYSTEM_BYTES = 24 };

typedef struct fx_gap {
    fx_name service;
    char system[FX_GAP_SYSTEM_BYTES]; /* of the server; "": not known */
    fx_lsn from;
    fx_lsn to;
    fx_wall since;
    uint32_t timeline;
    uint32_t segment_bytes;
    bool is_stored; /* the repository has it */
    char reason[FX_GAP_REASON_BYTES];
    char closed_by[FX_SNAPSHOT_ID_TEXT_BYTES]; /* "": open */
    fx_wall closed;
} fx_gap;

enum { FX_GAP_MAX = 32, FX_GAP_CLOSED_MAX = 32 };

/* A complete base backup: who restores from it needs no WAL before `start`. */
typedef struct fx_gap_cover {
    fx_name service;
    fx_lsn start;
    fx_wall began;
    fx_wall now;
    const char *snapshot;
} fx_gap_cover;

typedef struct fx_gaps fx_gaps;

/* Reads `path`, or begins with none. errors: DAMAGED, DENIED, IO */
FX_MUST_USE fx_code fx_gaps_open(const char *path, fx_gaps **out_gaps, fx_err *err);
void fx_gaps_free(fx_gaps *gaps);
FX_DEFINE_AUTO(fx_gaps);

/*
 * Keeps a gap; one of the same server and bounds that is open is the same. When there are
 * FX_GAP_MAX, the two oldest of one service become one with the bounds of both: none is forgotten.
 * Where the file cannot be written the gap is kept in memory.
 *
 * errors: NO_SPACE, IO
 * thread: any
 */
FX_MUST_USE fx_code fx_gaps_add(fx_gaps *gaps, const fx_gap *gap, fx_err *err);

/*
 * Closes the service's gaps that end at or before the cover's start and were known when it began: a
 * gap that was found later may lie on a timeline that the backup never was on. They are
 * kept, the newest FX_GAP_CLOSED_MAX, and listed as closed. When the file cannot be written they
 * stay open. errors: NO_SPACE, IO
 * thread: any
 */
FX_MUST_USE fx_code
fx_gaps_close(fx_gaps *gaps, const fx_gap_cover *cover, size_t *out_count, fx_err *err);

/* The open ones, oldest first; gives their number. thread: any */
size_t fx_gaps_list(fx_gaps *gaps, fx_gap out_list[FX_GAP_MAX]);

/* The closed ones likewise, in the order in which they were closed. */
size_t fx_gaps_list_closed(fx_gaps *gaps, fx_gap out_list[FX_GAP_CLOSED_MAX]);

/* One, open or closed, that the repository does not have yet; false: none. thread: any */
bool fx_gaps_find_unstored(fx_gaps *gaps, fx_gap *out_gap);

/* The repository has this one. One that became another meanwhile is none. errors: NO_SPACE, IO:
 * then it is put once more later, which does no harm. thread: any */
FX_MUST_USE fx_code fx_gaps_mark_stored(fx_gaps *gaps, const fx_gap *gap, fx_err *err);
