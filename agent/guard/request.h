/* The guard's protocol as text: one line a request, one line a reply. */
#pragma once

#include "agent/core/guard.h"
#include "common/base/err.h"

enum { FX_GUARD_LINE_MAX_BYTES = 512 };

/* Without the newline. errors: INVALID */
FX_MUST_USE fx_code
fx_guard_request_parse(const char *line, fx_guard_request *out_request, fx_err *err);
void
fx_guard_request_format(const fx_guard_request *request, char out_line[FX_GUARD_LINE_MAX_BYTES]);

typedef enum fx_guard_state {
    FX_GUARD_DOWN,
    FX_GUARD_STARTING,
    FX_GUARD_RUNS_STANDBY,
    FX_GUARD_RUNS_PRIMARY,
    FX_GUARD_FENCING,
    FX_GUARD_HELD,
} fx_guard_state;

typedef struct fx_guard_status {
    fx_guard_state state;
    bool primary; /* what runs, or is stopping, falls under the lease */
    int64_t pid;  /* of the server, 0 none */
    uint64_t epoch;
    uint64_t fenced_epoch;
    fx_mono lease_end;
    bool has_cgroup;
    char detail[160];
} fx_guard_status;

void fx_guard_status_format(const fx_guard_status *status, char out_line[FX_GUARD_LINE_MAX_BYTES]);
/* Reads "ok state=…". errors: INVALID */
FX_MUST_USE fx_code
fx_guard_status_parse(const char *line, fx_guard_status *out_status, fx_err *err);
