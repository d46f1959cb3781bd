/* The managed server's files and process, as the guard handles them: signal file, start, state. */
#pragma once

#include "agent/core/guard.h"
#include "agent/guard/child.h"
#include "agent/guard/guard.h"

typedef struct fx_guard_server {
    const fx_guard_options *options;
    fx_confine confine;
    fx_child_user user;
    int log_fd;
    pid_t pid; /* 0: none */
} fx_guard_server;

FX_MUST_USE fx_code
fx_guard_server_open(fx_guard_server *server, const fx_guard_options *options, fx_err *err);
void fx_guard_server_close(fx_guard_server *server);

/* Without it the server would come up as a primary. Durable on return; nothing without a cluster.
 */
FX_MUST_USE fx_code fx_guard_server_write_signal_file(const fx_guard_server *server, fx_err *err);

/* Puts the signal file in place or away as the role says, then starts. */
FX_MUST_USE fx_code fx_guard_server_start(fx_guard_server *server, fx_guard_role role, fx_err *err);

/* True once the server says in postmaster.pid that it takes connections. */
bool fx_guard_server_is_up(const fx_guard_server *server);

/* What must survive: highest epoch seen, fenced epoch. Absent: both 0. errors: DAMAGED, IO */
FX_MUST_USE fx_code
fx_guard_server_load(const fx_guard_server *server, fx_guard_model *model, fx_err *err);
FX_MUST_USE fx_code
fx_guard_server_save(const fx_guard_server *server, const fx_guard_model *model, fx_err *err);
