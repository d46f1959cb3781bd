#include "agent/run/changes.h"

enum { LOOK_MS = 250 };

typedef struct seen {
    fx_service_role role;
    uint64_t epoch_seen;
    uint64_t fenced_epoch;
    bool healthy;
    bool streaming;
} seen;

struct fx_changes {
    fx_service *const *services;
    size_t service_count;
    fx_reporter *reporter;
    fx_loop_timer *timer;
    seen last[FX_CONFIG_SERVICE_MAX];
};

static bool
is_same(const seen *left, const seen *right)
{
    return left->role == right->role && left->epoch_seen == right->epoch_seen &&
           left->fenced_epoch == right->fenced_epoch && left->healthy == right->healthy &&
           left->streaming == right->streaming;
}

static void
look(void *ctx)
{
    fx_changes *changes = ctx;
    bool changed = false;
    for (size_t i = 0; i < changes->service_count; i++) {
        fx_service_report report;
        fx_service_get_report(changes->services[i], &report);
        seen now = {
            .role = report.role,
            .epoch_seen = report.epoch_seen,
            .fenced_epoch = report.fenced_epoch,
            .healthy = report.healthy,
            .streaming = report.streaming,
        };
        changed = changed || !is_same(&now, &changes->last[i]);
        changes->last[i] = now;
    }
    if (changed) {
        fx_reporter_wake(changes->reporter);
    }
}

fx_changes *
fx_changes_start(
    fx_loop *loop, fx_service *const *services, size_t service_count, fx_reporter *reporter)
{
    FX_ASSERT(service_count <= FX_CONFIG_SERVICE_MAX);
    fx_changes *changes = calloc(1, sizeof *changes);
    FX_ASSERT(changes != NULL);
    changes->services = services;
    changes->service_count = service_count;
    changes->reporter = reporter;
    changes->timer =
        fx_loop_timer_start(loop, FX_DUR_MS(LOOK_MS), FX_DUR_MS(LOOK_MS), look, changes);
    return changes;
}

void
fx_changes_free(fx_changes *changes)
{
    if (changes != NULL) {
        fx_loop_timer_stop(changes->timer);
        free(changes);
    }
}
