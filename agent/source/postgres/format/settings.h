/* The recovery settings that make a restored data directory replay WAL up to where it should. Pure.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/time.h"

typedef struct fx_recovery {
    const char *agent;    /* absolute path of fortress-agent */
    const char *url;      /* of the repository, absolute */
    const char *key_file; /* absolute */
    const char *system;   /* system identifier */
    fx_wall target_time;  /* 0: as far as there is WAL */
} fx_recovery;

/*
 * Takes the old postgresql.auto.conf, drops every setting of recovery and replication upstream from
 * it and appends what `recovery` asks for. errors: LIMIT, INVALID (a line break in a path)
 *
 * source: PostgreSQL 15 documentation, 20.5.5 Archive Recovery, 20.5.6 Recovery Target
 */
FX_MUST_USE fx_code fx_recovery_settings(
    fx_bytes old_settings, const fx_recovery *recovery, fx_buf *out_settings, fx_err *err);
