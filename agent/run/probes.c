#include "agent/run/probes.h"

#include "common/base/clock.h"

typedef struct entry {
    const fx_config_probe *config;
    fx_probes *owner;
    fx_probe_config probe;
    fx_loop_timer *timer;
    bool running;
    bool seen;
    fx_probe_result result; /* the loop's */
    fx_mono ended;
    fx_probe_result working; /* the worker's while `running` */
} entry;

struct fx_probes {
    fx_loop *loop;
    entry *entries;
    size_t count;
};

static void
look(void *ctx)
{
    entry *one = ctx;
    fx_probe_run(&one->probe, &one->working);
}

static void
take(void *ctx)
{
    entry *one = ctx;
    one->result = one->working;
    one->ended = fx_clock_mono();
    one->seen = true;
    one->running = false;
}

static void
on_time(void *ctx)
{
    entry *one = ctx;
    if (!one->running) { /* a slow one is not started twice */
        one->running = true;
        fx_loop_work(one->owner->loop, look, take, one);
    }
}

fx_code
fx_probes_open(fx_loop *loop, const fx_agent_config *config, fx_probes **out_probes, fx_err *err)
{
    FX_AUTO(fx_probes) probes = calloc(1, sizeof *probes);
    FX_ASSERT(probes != NULL);
    probes->loop = loop;
    probes->entries = calloc(config->probes_count + 1, sizeof *probes->entries);
    FX_ASSERT(probes->entries != NULL);
    for (unsigned i = 0; i < config->probes_count; i++) {
        const fx_config_probe *wanted = &config->probes[i];
        entry *one = &probes->entries[i];
        *one = (entry){.config = wanted, .owner = probes};
        one->probe.target = wanted->target;
        one->probe.timeout = FX_DUR_MS((int64_t)wanted->timeout_ms);
        if (fx_probe_kind_parse(wanted->kind, &one->probe.kind, err) != FX_OK) {
            return fx_err_wrap(err, "reading probe \"%s\"", wanted->name);
        }
    }
    probes->count = config->probes_count;
    for (size_t i = 0; i < probes->count; i++) {
        entry *one = &probes->entries[i];
        fx_dur interval = FX_DUR_MS((int64_t)one->config->interval_ms);
        one->timer = fx_loop_timer_start(loop, FX_DUR_MS(0), interval, on_time, one);
    }
    *out_probes = FX_TAKE(probes);
    return FX_OK;
}

void
fx_probes_stop(fx_probes *probes)
{
    for (size_t i = 0; probes != NULL && i < probes->count; i++) {
        fx_loop_timer_stop(FX_TAKE(probes->entries[i].timer));
    }
}

void
fx_probes_free(fx_probes *probes)
{
    if (probes != NULL) {
        free(probes->entries);
        free(probes);
    }
}

size_t
fx_probes_count(const fx_probes *probes)
{
    return probes->count;
}

void
fx_probes_get(const fx_probes *probes, size_t index, fx_probe_view *out_view)
{
    FX_ASSERT(index < probes->count);
    const entry *one = &probes->entries[index];
    *out_view = (fx_probe_view){
        .config = one->config,
        .seen = one->seen,
        .result = one->result,
        .age = fx_mono_since(fx_clock_mono(), one->ended),
    };
}
