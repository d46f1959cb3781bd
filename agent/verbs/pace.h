/*
 * What there is to say of progress: how fast it goes, how long it will take, and the line that a
 * terminal shows. Pure: no clock, no input or output.
 */
#pragma once

#include "common/base/progress.h"
#include "common/base/time.h"

/* "1.5 GiB" */
enum { FX_SIZE_TEXT_BYTES = 24 };
void fx_size_format(uint64_t size_bytes, char out_text[FX_SIZE_TEXT_BYTES]);

/* The speed of one step, smoothed over the last seconds. Begins zeroed. */
typedef struct fx_pace {
    const char *step; /* this and the next: as the operation calls it */
    const char *what;
    bool has_begun;
    fx_mono began;
    fx_mono seen;
    uint64_t seen_bytes;
    uint64_t seen_count;
    double bytes_per_s;
    double count_per_s;
} fx_pace;

/* Call it now and then with what was counted; another step begins anew. */
void fx_pace_note(fx_pace *pace, const fx_progress *progress, fx_mono now);

/* At that speed, by bytes where their total is known, else by counts; -1: not known. */
int64_t fx_pace_left_s(const fx_pace *pace, const fx_progress *progress);

/* How much of a known total is done, 0 to 100; -1: not known, or an estimate that was too low. */
int fx_progress_percent(const fx_progress *progress);

enum { FX_PROGRESS_LINE_BYTES = 256 };

/*
 * One line without its end, at most `columns` - 1 long, so that a terminal does not wrap it:
 * "[====>     ]  42%  saving: 1234 files, 1.2 GiB of 3.0 GiB, 45.1 MiB/s, 0:41 left". Without room
 * the bar goes first, then the end of the text.
 */
void fx_progress_line(
    const fx_progress *progress,
    const fx_pace *pace,
    unsigned columns,
    char out_line[FX_PROGRESS_LINE_BYTES]);
