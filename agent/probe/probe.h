/* What can be observed: one call looks once, and ends by its timeout. */
#pragma once

#include "common/base/err.h"
#include "common/base/lsn.h"
#include "common/base/time.h"

typedef enum fx_probe_kind {
    FX_PROBE_POSTGRES,
    FX_PROBE_TCP,
    FX_PROBE_HTTP,
    FX_PROBE_PROCESS,
} fx_probe_kind;

typedef struct fx_probe_config {
    fx_probe_kind kind;
    /*
     * postgres: connection string; tcp: "host:port" or "[v6]:port"; http: address;
     * process: "pid:FILE" (a file that begins with a process id) or a command's name as in
     * /proc/PID/comm
     */
    const char *target;
    fx_dur timeout;
    bool write;          /* postgres: a primary must also commit a row (fresh connection, table
                            fortress.heartbeat) */
    int http_status;     /* the status that is well; 0: 200 to 399 */
    const char *ca_file; /* http: whom to believe, NULL: the system's authorities */
} fx_probe_config;

/* Of PostgreSQL, as far as it was learnt. */
typedef struct fx_probe_postgres {
    bool answered;
    bool in_recovery;
    uint32_t timeline;
    fx_lsn write_lsn;  /* primary: insert position; standby: received or replayed, the higher */
    fx_lsn replay_lsn; /* primary: the same as write_lsn */
    fx_dur
        replay_lag; /* age of the last replayed commit while something is left to replay, else 0 */
    bool streaming; /* standby: a WAL receiver runs and streams */
    char upstream[128]; /* whom it follows: "host:port" */
    bool wrote;         /* the write probe committed */
} fx_probe_postgres;

typedef struct fx_probe_result {
    bool ok;
    fx_dur took;
    fx_wall ended;
    char detail[256]; /* why not ok; else a short remark or "" */
    fx_code code;     /* of the failure */
    fx_probe_postgres postgres;
} fx_probe_result;

/* "postgres", "tcp", "http", "process". errors: INVALID */
FX_MUST_USE fx_code fx_probe_kind_parse(const char *text, fx_probe_kind *out_kind, fx_err *err);

/* Blocks for about `timeout` at most; what it finds is in the result, failures too. thread: any */
void fx_probe_run(const fx_probe_config *config, fx_probe_result *out_result);
