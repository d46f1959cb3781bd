#include "common/store/fault/fault.h"

#include <stdatomic.h>
#include <string.h>

#include "common/base/rng.h"

typedef enum fault_kind { FAULT_LOSE, FAULT_DOUBT, FAULT_RATE } fault_kind;

typedef struct fault_store {
    fx_store *inner;
    fault_kind kind;
    uint64_t number;
    atomic_uint_least64_t changes;
    atomic_uint_least64_t calls;
    atomic_uint_least64_t got_bytes;
} fault_store;

/* Of the store that was closed last: a test opens one at a time. */
static atomic_uint_least64_t last_changes;
static atomic_uint_least64_t last_got_bytes;

uint64_t
fx_store_fault_changes(void)
{
    return atomic_load(&last_changes);
}

uint64_t
fx_store_fault_got_bytes(void)
{
    return atomic_load(&last_got_bytes);
}

static fx_code
fault_open(void *state, const char *rest, fx_err *err)
{
    static const char *const kinds[] = {"lose:", "doubt:", "rate:"};
    fault_store *fault = state;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t name_bytes = strlen(kinds[i]);
        if (strncmp(rest, kinds[i], name_bytes) == 0) {
            char *end = NULL;
            fault->kind = (fault_kind)i;
            fault->number = strtoull(rest + name_bytes, &end, 10);
            if (*end == ':') {
                return fx_store_open(end + 1, &fault->inner, err);
            }
        }
    }
    return fx_fail(
        err,
        FX_ERR_INVALID,
        "could not use \"fault:%.60s\": expected lose:N:URL, doubt:N:URL or rate:N:URL",
        rest);
}

static void
fault_close(void *state)
{
    fault_store *fault = state;
    atomic_store(&last_changes, atomic_load(&fault->changes));
    atomic_store(&last_got_bytes, atomic_load(&fault->got_bytes));
    fx_store_free(fault->inner);
}

static fx_code
lost(fx_err *err)
{
    return fx_fail(err, FX_ERR_UNREACHABLE, "could not reach the store: the power is off");
}

/* Is the power off for a call that changes nothing? */
static fx_code
look(fault_store *fault, fx_err *err)
{
    uint64_t call = atomic_fetch_add(&fault->calls, 1);
    if (fault->kind == FAULT_RATE) {
        fx_rng rng;
        fx_rng_init(&rng, fault->number * 1000003 + call);
        bool fails = fx_rng_below(&rng, 1000) < fault->number;
        return fails ? fx_fail(err, FX_ERR_UNREACHABLE, "could not reach the store: a seeded fault")
                     : FX_OK;
    }
    return atomic_load(&fault->changes) >= fault->number ? lost(err) : FX_OK;
}

/* Counts a change; *out_doubt: carry it out and lose the answer. */
static fx_code
change(fault_store *fault, bool *out_doubt, fx_err *err)
{
    *out_doubt = false;
    if (fault->kind == FAULT_RATE) {
        atomic_fetch_add(&fault->changes, 1);
        return look(fault, err);
    }
    uint64_t index = atomic_fetch_add(&fault->changes, 1);
    if (index + 1 > fault->number) {
        return lost(err);
    }
    bool is_last = index + 1 == fault->number;
    *out_doubt = is_last && fault->kind == FAULT_DOUBT;
    return is_last && fault->kind == FAULT_LOSE ? lost(err) : FX_OK;
}

static fx_code
doubted(fx_code code, bool doubt, fx_err *err)
{
    if (code != FX_OK || !doubt) {
        return code;
    }
    return fx_fail(err, FX_ERR_TIMEOUT, "could not get the store's answer: the power is off");
}

static fx_code
fault_prepare(void *state, fx_err *err)
{
    fault_store *fault = state;
    return fx_store_prepare(fault->inner, err);
}

static fx_code
fault_put(void *state, const char *key, fx_bytes body, fx_mono deadline, fx_err *err)
{
    fault_store *fault = state;
    bool doubt = false;
    if (change(fault, &doubt, err) != FX_OK) {
        return err->code;
    }
    return doubted(fx_store_put(fault->inner, key, body, deadline, err), doubt, err);
}

/* NOLINTBEGIN(readability-function-size): a range and a deadline are what a get is */
static fx_code
fault_get(
    void *state,
    const char *key,
    uint64_t offset,
    uint64_t size_bytes,
    fx_mono deadline,
    fx_buf *out,
    fx_err *err)
{
    fault_store *fault = state;
    if (look(fault, err) != FX_OK) {
        return err->code;
    }
    size_t before_bytes = out->size_bytes;
    fx_code code = fx_store_get(fault->inner, key, offset, size_bytes, deadline, out, err);
    (void)atomic_fetch_add(&fault->got_bytes, out->size_bytes - before_bytes);
    return code;
}
/* NOLINTEND(readability-function-size) */

static fx_code
fault_stat(void *state, const char *key, fx_mono deadline, uint64_t *out_size_bytes, fx_err *err)
{
    fault_store *fault = state;
    if (look(fault, err) != FX_OK) {
        return err->code;
    }
    return fx_store_stat(fault->inner, key, deadline, out_size_bytes, err);
}

static fx_code
fault_list(
    void *state, const char *prefix, fx_mono deadline, fx_store_visit visit, void *ctx, fx_err *err)
{
    fault_store *fault = state;
    if (look(fault, err) != FX_OK) {
        return err->code;
    }
    return fx_store_list(fault->inner, prefix, deadline, visit, ctx, err);
}

static fx_code
fault_list_times(
    void *state,
    const char *prefix,
    fx_mono deadline,
    fx_store_visit_time visit,
    void *ctx,
    fx_err *err)
{
    fault_store *fault = state;
    if (look(fault, err) != FX_OK) {
        return err->code;
    }
    return fx_store_list_times(fault->inner, prefix, deadline, visit, ctx, err);
}

static fx_code
fault_remove(void *state, const char *key, fx_mono deadline, fx_err *err)
{
    fault_store *fault = state;
    bool doubt = false;
    if (change(fault, &doubt, err) != FX_OK) {
        return err->code;
    }
    return doubted(fx_store_remove(fault->inner, key, deadline, err), doubt, err);
}

static fx_code
fault_append(
    void *state, const char *key, uint64_t offset, fx_bytes bytes, fx_mono deadline, fx_err *err)
{
    fault_store *fault = state;
    bool doubt = false;
    if (change(fault, &doubt, err) != FX_OK) {
        return err->code;
    }
    return doubted(fx_store_append(fault->inner, key, offset, bytes, deadline, err), doubt, err);
}

static fx_code
fault_put_retained(
    void *state,
    const char *key,
    fx_bytes body,
    const fx_store_retention *retention,
    fx_mono deadline,
    fx_err *err)
{
    fault_store *fault = state;
    bool doubt = false;
    if (change(fault, &doubt, err) != FX_OK) {
        return err->code;
    }
    return doubted(
        fx_store_put_retained(fault->inner, key, body, retention, deadline, err), doubt, err);
}

static fx_code
fault_retain(
    void *state,
    const char *key,
    const fx_store_retention *retention,
    fx_mono deadline,
    fx_err *err)
{
    fault_store *fault = state;
    bool doubt = false;
    if (change(fault, &doubt, err) != FX_OK) {
        return err->code;
    }
    return doubted(fx_store_retain(fault->inner, key, retention, deadline, err), doubt, err);
}

/* What the family tried went through the faults; the rest is the inner driver's. */
static fx_code
fault_examine(void *state, fx_mono deadline, fx_store_examination *to, fx_err *err)
{
    fault_store *fault = state;
    fx_store_examination inner = {0};
    if (look(fault, err) != FX_OK ||
        fx_store_examine(fault->inner, deadline, &inner, err) != FX_OK) {
        return err->code;
    }
    to->versioning = inner.versioning;
    to->object_lock = inner.object_lock;
    to->leftovers = inner.leftovers;
    to->leftover_count = inner.leftover_count;
    return FX_OK;
}

static fx_code
fault_check_ticket(const void *state, const char *key, fx_err *err)
{
    const fault_store *fault = state;
    return fx_store_check_ticket(fault->inner, key, err);
}

static unsigned
fault_abilities(const void *state)
{
    const fault_store *fault = state;
    const fx_store_ability all[] = {
        FX_STORE_CAN_APPEND, FX_STORE_CAN_RETAIN, FX_STORE_TELLS_TIMES, FX_STORE_NEEDS_TICKETS};
    unsigned abilities = 0;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        abilities |= fx_store_can(fault->inner, all[i]) ? (unsigned)all[i] : 0;
    }
    return abilities;
}

const fx_store_driver fx_store_driver_fault = {
    .name = "fault",
    .for_tests = true,
    .state_bytes = sizeof(fault_store),
    .open = fault_open,
    .close = fault_close,
    .prepare = fault_prepare,
    .put = fault_put,
    .get = fault_get,
    .stat = fault_stat,
    .list = fault_list,
    .remove = fault_remove,
    .examine = fault_examine,
    .abilities = fault_abilities,
    .append = fault_append,
    .check_ticket = fault_check_ticket,
    .put_retained = fault_put_retained,
    .retain = fault_retain,
    .list_times = fault_list_times,
};
