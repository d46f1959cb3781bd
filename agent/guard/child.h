/* Starts the managed server as a child that leaves at once when its parent dies. */
#pragma once

#include "agent/guard/confine.h"

enum { FX_CHILD_ARGUMENT_MAX = 32, FX_CHILD_GROUP_MAX = 64 };

/* Who the server runs as: looked up once, since name services may block. */
typedef struct fx_child_user {
    bool change; /* false: as this process */
    uid_t uid;
    gid_t gid;
    gid_t groups[FX_CHILD_GROUP_MAX];
    int group_count;
} fx_child_user;

/* `name` NULL: no change. errors: NOT_FOUND, INVALID (root), DENIED (not root, another name) */
FX_MUST_USE fx_code fx_child_user_find(const char *name, fx_child_user *out_user, fx_err *err);

/*
 * Runs argv[0] (NULL ends the list) in the confinement, with output appended to `log_fd`, SIGQUIT
 * when this process dies. errors: IO, LIMIT
 */
FX_MUST_USE fx_code fx_child_start(
    char *const *argv,
    const fx_child_user *user,
    const fx_confine *confine,
    int log_fd,
    pid_t *out_pid,
    fx_err *err);

/* chown to the user, where it changes. */
FX_MUST_USE fx_code fx_child_give(const fx_child_user *user, const char *path, fx_err *err);
