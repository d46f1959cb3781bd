/*
 * Puts the known gaps into the repository, each once, again and again until it is done: who
 * restores on another host finds them there.
 */
#pragma once

#include "agent/run/gaps.h"
#include "common/config/agent_config.h"
#include "common/loop/loop.h"

typedef struct fx_gap_upload fx_gap_upload;

/* Borrows all; looks every second. Without a repository it does nothing. */
fx_gap_upload *
fx_gap_upload_open(fx_loop *loop, const fx_agent_config *config, fx_gaps *gaps, const fx_log *log);
/* Begins nothing any more. */
void fx_gap_upload_stop(fx_gap_upload *upload);
/* After the loop was freed. */
void fx_gap_upload_free(fx_gap_upload *upload);
FX_DEFINE_AUTO(fx_gap_upload);
