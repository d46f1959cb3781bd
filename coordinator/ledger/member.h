/*
 * The region's etcd member: a process of its own, which a coordinator starts, restarts when it
 * ended, and adopts after its own restart. It is never stopped here: the quorum must not depend on
 * our restarts.
 */
#pragma once

#include <sys/types.h>

#include "common/base/log.h"

typedef struct fx_member_options {
    const char *binary; /* "etcd", found by PATH */
    const char *name;
    const char *data_dir;
    const char *client_url;
    const char *peer_url;
    const char *initial_cluster;
    const char *cluster;   /* token: members of another cluster are refused */
    const char *state_dir; /* of the coordinator: etcd.pid, etcd.log */
    int64_t quota_bytes;   /* of the database: beyond it nothing can be written */
    const char *ca_file;
    const char *certificate_file;
    const char *key_file;
    const fx_log *log;
} fx_member_options;

typedef struct fx_etcd_member fx_etcd_member;

/* Borrows the texts until freed. */
fx_etcd_member *fx_etcd_member_new(const fx_member_options *options);
/* The process goes on. */
void fx_etcd_member_free(fx_etcd_member *member);
FX_DEFINE_AUTO(fx_etcd_member);

/*
 * Sees to it that the process runs: adopts the one that etcd.pid names, else the etcd of the same
 * user that works on `data_dir` (found in /proc; etcd.pid is written anew), starts one otherwise,
 * with a pause of 1 s to 30 s between starts. To be called every second.
 *
 * errors: what kept it from being started, or its number from being noted
 * thread: one call at a time
 */
FX_MUST_USE fx_code fx_etcd_member_tend(fx_etcd_member *member, fx_mono now, fx_err *err);

/* 0: does not run, as far as the last call of tend saw. */
pid_t fx_etcd_member_pid(const fx_etcd_member *member);
