/*
 * The room that the ledger's store has, and what its leader does to keep it: compaction,
 * defragmentation of one member at a time, disarming the alarm. Pure.
 * source: etcd 3.4, "Maintenance": history compaction, defragmentation, space quota
 */
#pragma once

#include <stdint.h>

#include "common/base/name.h"
#include "common/base/time.h"

enum {
    FX_STORE_MEMBER_MAX = 9,
    FX_STORE_ENDPOINT_BYTES = 128,
    FX_STORE_FILLING_PERCENT = 60, /* of the quota: beyond it somebody is to look */
    FX_STORE_SPARSE_PERCENT = 25,  /* of the quota: a smaller database is not worth a pause */
};

typedef struct fx_store_member {
    char endpoint[FX_STORE_ENDPOINT_BYTES];
    bool answers;
    bool leads;
    int64_t size_bytes;   /* of the file, which the quota bounds */
    int64_t in_use_bytes; /* of it; the rest is free pages, used again before the file grows */
} fx_store_member;

typedef struct fx_store_health {
    fx_mono looked_at; /* 0: never */
    int64_t quota_bytes;
    int64_t revision; /* the newest that a member knew */
    bool no_space;    /* alarms hold for the whole cluster, whoever raised them */
    bool corrupt;
    fx_store_member members[FX_STORE_MEMBER_MAX];
    size_t member_count;
} fx_store_health;

typedef enum fx_store_trouble {
    FX_STORE_WELL,
    FX_STORE_FILLING,  /* a database is beyond FX_STORE_FILLING_PERCENT of the quota */
    FX_STORE_NO_SPACE, /* nothing can be written: no lease is renewed */
    FX_STORE_CORRUPT,  /* members disagree about what is stored */
} fx_store_trouble;

fx_store_trouble fx_store_judge(const fx_store_health *health);

/* The largest file among the members that answer; NULL if none does. */
const fx_store_member *fx_store_largest(const fx_store_health *health);

typedef enum fx_upkeep_act {
    FX_UPKEEP_NOTHING,
    FX_UPKEEP_COMPACT, /* old revisions up to the present one go */
    FX_UPKEEP_DEFRAGMENT,
    FX_UPKEEP_DISARM,
} fx_upkeep_act;

typedef struct fx_upkeep {
    fx_upkeep_act act;
    size_t member; /* DEFRAGMENT: which */
} fx_upkeep;

/* What this leader did before. */
typedef struct fx_upkeep_past {
    fx_mono compacted_at;                         /* 0: never */
    fx_mono defragmented_at[FX_STORE_MEMBER_MAX]; /* by member; 0: never */
} fx_upkeep_past;

/*
 * Decides the next thing to do. A member stands still while it is defragmented: never when another
 * one does not answer, and the one that leads last of all.
 */
fx_upkeep fx_upkeep_decide(const fx_store_health *health, const fx_upkeep_past *past, fx_mono now);
