#include "coordinator/ledger/ledger.h"

#include <stdio.h>
#include <string.h>

#include "coordinator/ledger/record.h"

static fx_code
make_key(
    const fx_ledger_door *door, const char *folder, const char *name, char *out_key, fx_err *err)
{
    int size_bytes = snprintf(
        out_key, FX_LEDGER_KEY_BYTES, "/fortress/%s/%s%s", door->cluster.text, folder, name);
    if (size_bytes < 0 || size_bytes >= FX_LEDGER_KEY_BYTES) {
        return fx_fail(
            err, FX_ERR_LIMIT, "could not name a ledger record: \"%.80s\" is too long", name);
    }
    return FX_OK;
}

/* ---- reading
 * ------------------------------------------------------------------------------------- */

typedef struct reading {
    fx_ledger *ledger;
    size_t prefix_bytes;
    fx_code code;
    fx_err *err;
} reading;

static bool
has_room(reading *of, size_t count, size_t max, const char *what)
{
    if (count < max) {
        return true;
    }
    of->code = fx_fail(of->err, FX_ERR_LIMIT, "could not read the ledger: over %zu %s", max, what);
    return false;
}

/* Rest of the key after `folder`, or NULL. */
static const char *
name_below(const char *key, const char *folder)
{
    size_t size_bytes = strlen(folder);
    return strncmp(key, folder, size_bytes) == 0 ? key + size_bytes : NULL;
}

static void
check_name(reading *of, const char *key, const char *name, const char *record_name)
{
    if (of->code == FX_OK && strcmp(name, record_name) != 0) {
        of->code = fx_fail(
            of->err,
            FX_ERR_DAMAGED,
            "could not read the ledger: the record at %.150s is of \"%.70s\"",
            key,
            record_name);
    }
}

static void
read_service(reading *of, const char *name, fx_bytes value, int64_t revision)
{
    fx_ledger *ledger = of->ledger;
    if (has_room(of, ledger->service_count, FX_SERVICE_MAX, "services")) {
        fx_service *service = &ledger->services[ledger->service_count];
        of->code = fx_record_decode_service(value, service, of->err);
        check_name(of, name, name, of->code == FX_OK ? service->name.text : "");
        service->revision.value = revision;
        ledger->service_count++;
    }
}

static void
read_lease(reading *of, const char *name, fx_bytes value, int64_t revision)
{
    fx_ledger *ledger = of->ledger;
    if (has_room(of, ledger->lease_count, FX_HOST_MAX, "leases")) {
        fx_lease *lease = &ledger->leases[ledger->lease_count];
        of->code = fx_record_decode_lease(value, lease, of->err);
        check_name(of, name, name, of->code == FX_OK ? lease->host.text : "");
        lease->revision.value = revision;
        ledger->lease_count++;
    }
}

static void
read_plan(reading *of, const char *name, fx_bytes value, int64_t revision)
{
    fx_ledger *ledger = of->ledger;
    if (has_room(of, ledger->plan_count, FX_SERVICE_MAX, "plans")) {
        fx_plan *plan = &ledger->plans[ledger->plan_count];
        of->code = fx_record_decode_plan(value, plan, of->err);
        check_name(of, name, name, of->code == FX_OK ? plan->service.text : "");
        plan->revision.value = revision;
        ledger->plan_count++;
    }
}

static void
read_request(reading *of, const char *name, fx_bytes value, int64_t revision)
{
    fx_ledger *ledger = of->ledger;
    if (has_room(of, ledger->request_count, FX_SERVICE_MAX, "requests")) {
        fx_request *request = &ledger->requests[ledger->request_count];
        of->code = fx_record_decode_request(value, request, of->err);
        check_name(of, name, name, of->code == FX_OK ? request->id.text : "");
        request->revision.value = revision;
        ledger->request_count++;
    }
}

static void
visit_live(void *ctx, const char *key, fx_bytes value, int64_t revision)
{
    reading *of = ctx;
    if (of->code != FX_OK || strlen(key) < of->prefix_bytes) {
        return;
    }
    const char *below = key + of->prefix_bytes;
    const char *name = NULL;
    if (strcmp(below, "leader") == 0) {
        of->code = fx_record_decode_leader(value, &of->ledger->leader, of->err);
        of->ledger->leader.revision.value = revision;
    } else if (strcmp(below, "beat") == 0) {
        of->code = fx_record_decode_beat(value, &of->ledger->beat, of->err);
        of->ledger->beat.revision.value = revision;
    } else if ((name = name_below(below, "service/")) != NULL) {
        read_service(of, name, value, revision);
    } else if ((name = name_below(below, "lease/")) != NULL) {
        read_lease(of, name, value, revision);
    } else if ((name = name_below(below, "plan/")) != NULL) {
        read_plan(of, name, value, revision);
    } else if ((name = name_below(below, "request/")) != NULL) {
        read_request(of, name, value, revision);
    }
    /* Others are of a newer version, which keeps what this one needs as it is. */
}

fx_code
fx_ledger_read(const fx_ledger_door *door, fx_mono deadline, fx_ledger *out_ledger, fx_err *err)
{
    char prefix[FX_LEDGER_KEY_BYTES];
    if (make_key(door, "live/", "", prefix, err) != FX_OK) {
        return err->code;
    }
    out_ledger->leader = (fx_leader){0};
    out_ledger->beat = (fx_beat){0};
    out_ledger->service_count = 0;
    out_ledger->lease_count = 0;
    out_ledger->plan_count = 0;
    out_ledger->request_count = 0;
    reading of = {.ledger = out_ledger, .prefix_bytes = strlen(prefix), .err = err};
    if (door->store.read(
            door->store.ctx,
            prefix,
            0,
            deadline,
            visit_live,
            &of,
            &out_ledger->revision.value,
            err) != FX_OK) {
        return fx_err_wrap(err, "reading the ledger");
    }
    return of.code;
}

/* ---- transactions
 * ---------------------------------------------------------------------------------- */

/* Collects touches; values lie one after the other in `bytes`, which may move until the commit. */
typedef struct writing {
    const fx_ledger_door *door;
    fx_ledger_touch touches[FX_LEDGER_TOUCH_MAX];
    size_t value_at[FX_LEDGER_TOUCH_MAX];
    size_t count;
    fx_buf bytes;
} writing;

enum { WRITE_MAX_BYTES = 1024 * 1024 };

static void
writing_init(writing *of, const fx_ledger_door *door)
{
    of->door = door;
    of->count = 0;
    fx_buf_init(&of->bytes, WRITE_MAX_BYTES);
}

static fx_code
add_touch(
    writing *of,
    const char *folder,
    const char *name,
    fx_touch what,
    fx_revision revision,
    fx_err *err)
{
    if (of->count == FX_LEDGER_TOUCH_MAX) {
        return fx_fail(
            err, FX_ERR_LIMIT, "could not write to the ledger: over %d keys", FX_LEDGER_TOUCH_MAX);
    }
    fx_ledger_touch *touch = &of->touches[of->count];
    *touch = (fx_ledger_touch){
        .compare = true,
        .revision = revision.value,
        .put = what == FX_TOUCH_PUT,
        .remove = what == FX_TOUCH_DELETE,
    };
    of->value_at[of->count] = of->bytes.size_bytes;
    if (make_key(of->door, folder, name, touch->key, err) != FX_OK) {
        return err->code;
    }
    of->count++;
    return FX_OK;
}

/* A record of the history is put once and never changed: nothing to compare. */
static fx_code
add_history(writing *of, const char *folder, const char *name, fx_err *err)
{
    fx_code code = add_touch(of, folder, name, FX_TOUCH_PUT, (fx_revision){0}, err);
    if (code == FX_OK) {
        of->touches[of->count - 1].compare = false;
    }
    return code;
}

static fx_code
finish(writing *of, fx_mono deadline, fx_revision *out_revision, fx_err *err)
{
    for (size_t i = 0; i < of->count; i++) {
        size_t end = i + 1 < of->count ? of->value_at[i + 1] : of->bytes.size_bytes;
        of->touches[i].value = (fx_bytes){
            .data = of->bytes.data == NULL ? NULL : of->bytes.data + of->value_at[i],
            .size_bytes = end - of->value_at[i],
        };
    }
    const fx_ledger_store *store = &of->door->store;
    return store->commit(store->ctx, of->touches, of->count, deadline, &out_revision->value, err);
}

static fx_code
write_plan(writing *of, const fx_command *command, fx_err *err)
{
    const fx_plan *plan = &command->plan;
    if (command->plan_touch == FX_TOUCH_NONE) {
        return FX_OK;
    }
    if (add_touch(of, "live/plan/", plan->service.text, command->plan_touch, plan->revision, err) !=
        FX_OK) {
        return err->code;
    }
    if (command->plan_touch == FX_TOUCH_PUT) {
        return fx_record_encode_plan(plan, &of->bytes, err);
    }
    if (command->plan_touch == FX_TOUCH_DELETE) {
        if (add_history(of, "history/plan/", plan->id.text, err) != FX_OK) {
            return err->code;
        }
        return fx_record_encode_plan(plan, &of->bytes, err);
    }
    return FX_OK;
}

static fx_code
write_service(writing *of, const fx_command *command, fx_err *err)
{
    const fx_service *service = &command->service;
    if (command->service_touch == FX_TOUCH_NONE) {
        return FX_OK;
    }
    if (add_touch(
            of,
            "live/service/",
            service->name.text,
            command->service_touch,
            service->revision,
            err) != FX_OK) {
        return err->code;
    }
    return command->service_touch == FX_TOUCH_PUT
               ? fx_record_encode_service(service, &of->bytes, err)
               : FX_OK;
}

static fx_code
write_leases(writing *of, const fx_command *command, fx_err *err)
{
    for (size_t i = 0; i < FX_COMMAND_LEASE_MAX; i++) {
        const fx_lease *lease = &command->leases[i];
        fx_touch touch = command->lease_touch[i];
        if (touch == FX_TOUCH_NONE) {
            continue;
        }
        if (add_touch(of, "live/lease/", lease->host.text, touch, lease->revision, err) != FX_OK) {
            return err->code;
        }
        if (touch == FX_TOUCH_PUT && fx_record_encode_lease(lease, &of->bytes, err) != FX_OK) {
            return err->code;
        }
    }
    return FX_OK;
}

static fx_code
write_request(writing *of, const fx_command *command, fx_err *err)
{
    const fx_request *request = &command->request;
    if (command->request_touch == FX_TOUCH_NONE) {
        return FX_OK;
    }
    if (add_touch(
            of,
            "live/request/",
            request->id.text,
            command->request_touch,
            request->revision,
            err) != FX_OK) {
        return err->code;
    }
    return command->request_touch == FX_TOUCH_PUT
               ? fx_record_encode_request(request, &of->bytes, err)
               : FX_OK;
}

static fx_code
write_decision(writing *of, const fx_command *command, fx_err *err)
{
    if (!command->has_decision) {
        return FX_OK;
    }
    if (add_history(of, "history/decision/", command->decision.id.text, err) != FX_OK) {
        return err->code;
    }
    return fx_record_encode_decision(&command->decision, &of->bytes, err);
}

static fx_code
write_command(writing *of, const fx_command *command, fx_err *err)
{
    if (add_touch(of, "live/leader", "", FX_TOUCH_COMPARE, command->leader_revision, err) !=
            FX_OK ||
        write_service(of, command, err) != FX_OK || write_plan(of, command, err) != FX_OK ||
        write_leases(of, command, err) != FX_OK || write_request(of, command, err) != FX_OK ||
        write_decision(of, command, err) != FX_OK) {
        return err->code;
    }
    return FX_OK;
}

fx_code
fx_ledger_commit(
    const fx_ledger_door *door,
    const fx_command *command,
    fx_mono deadline,
    fx_revision *out_revision,
    fx_err *err)
{
    FX_ASSERT(command->leader_revision.value != 0);
    writing of;
    writing_init(&of, door);
    fx_code code = write_command(&of, command, err);
    if (code == FX_OK) {
        code = finish(&of, deadline, out_revision, err);
    }
    fx_buf_free(&of.bytes);
    return code;
}

static fx_code
write_leadership(writing *of, const fx_leadership *decision, fx_err *err)
{
    bool take = decision->act == FX_LEADERSHIP_TAKE;
    if (add_touch(
            of,
            "live/leader",
            "",
            take ? FX_TOUCH_PUT : FX_TOUCH_COMPARE,
            decision->leader.revision,
            err) != FX_OK) {
        return err->code;
    }
    if (take && fx_record_encode_leader(&decision->leader, &of->bytes, err) != FX_OK) {
        return err->code;
    }
    if (add_touch(of, "live/beat", "", FX_TOUCH_PUT, decision->beat.revision, err) != FX_OK) {
        return err->code;
    }
    /* Only its leader beats, and the leader's key is compared: an unseen own beat is no conflict.
     */
    of->touches[of->count - 1].compare = take;
    return fx_record_encode_beat(&decision->beat, &of->bytes, err);
}

fx_code
fx_ledger_lead(
    const fx_ledger_door *door,
    const fx_leadership *decision,
    fx_mono deadline,
    fx_revision *out_revision,
    fx_err *err)
{
    FX_ASSERT(decision->act != FX_LEADERSHIP_FOLLOW);
    writing of;
    writing_init(&of, door);
    fx_code code = write_leadership(&of, decision, err);
    if (code == FX_OK) {
        code = finish(&of, deadline, out_revision, err);
    }
    fx_buf_free(&of.bytes);
    return code;
}

fx_code
fx_ledger_renew(
    const fx_ledger_door *door,
    const fx_lease *leases,
    size_t count,
    fx_mono deadline,
    fx_revision *out_revision,
    fx_err *err)
{
    FX_ASSERT(count > 0);
    writing of;
    writing_init(&of, door);
    fx_code code = FX_OK;
    for (size_t i = 0; i < count && code == FX_OK; i++) {
        code = add_touch(
            &of, "live/lease/", leases[i].host.text, FX_TOUCH_PUT, leases[i].revision, err);
        if (code == FX_OK) {
            code = fx_record_encode_lease(&leases[i], &of.bytes, err);
        }
    }
    if (code == FX_OK) {
        code = finish(&of, deadline, out_revision, err);
    }
    fx_buf_free(&of.bytes);
    return code;
}

static void
count_key(void *ctx, const char *key, fx_bytes value, int64_t revision)
{
    (void)key;
    (void)value;
    (void)revision;
    size_t *count = ctx;
    (*count)++;
}

fx_code
fx_ledger_submit_request(
    const fx_ledger_door *door, const fx_request *request, fx_mono deadline, fx_err *err)
{
    char prefix[FX_LEDGER_KEY_BYTES];
    size_t waiting = 0;
    int64_t revision = 0;
    if (make_key(door, "live/request/", "", prefix, err) != FX_OK ||
        door->store.read(
            door->store.ctx, prefix, 0, deadline, count_key, &waiting, &revision, err) != FX_OK) {
        return fx_err_wrap(err, "counting requests");
    }
    /* A little room stays for two coordinators that count at the same time. */
    if (waiting + FX_COORDINATOR_MAX >= FX_SERVICE_MAX) {
        return fx_fail(
            err,
            FX_ERR_LIMIT,
            "could not take the request: %zu are in the ledger already; finished ones go after a "
            "while",
            waiting);
    }
    writing of;
    writing_init(&of, door);
    fx_revision done = {0};
    fx_code code =
        add_touch(&of, "live/request/", request->id.text, FX_TOUCH_PUT, (fx_revision){0}, err);
    if (code == FX_OK) {
        code = fx_record_encode_request(request, &of.bytes, err);
    }
    if (code == FX_OK) {
        code = finish(&of, deadline, &done, err);
    }
    fx_buf_free(&of.bytes);
    return code;
}

/* ---- history
 * ----------------------------------------------------------------------------------------- */

typedef struct history {
    fx_plan *plans;
    fx_decision *decisions;
    size_t max;
    size_t count;
} history;

/* One that cannot be read (of a newer version) hides only itself. */
static void
visit_plan(void *ctx, const char *key, fx_bytes value, int64_t revision)
{
    (void)key;
    history *of = ctx;
    fx_err ignored = {0};
    if (of->count < of->max &&
        fx_record_decode_plan(value, &of->plans[of->count], &ignored) == FX_OK) {
        of->plans[of->count++].revision.value = revision;
    }
}

static void
visit_decision(void *ctx, const char *key, fx_bytes value, int64_t revision)
{
    (void)key;
    (void)revision;
    history *of = ctx;
    fx_err ignored = {0};
    if (of->count < of->max &&
        fx_record_decode_decision(value, &of->decisions[of->count], &ignored) == FX_OK) {
        of->count++;
    }
}

static fx_code
read_history(
    const fx_ledger_door *door,
    const char *folder,
    fx_mono deadline,
    fx_ledger_visit visit,
    history *of,
    fx_err *err)
{
    char prefix[FX_LEDGER_KEY_BYTES];
    int64_t revision = 0;
    if (make_key(door, folder, "", prefix, err) != FX_OK ||
        door->store.read(door->store.ctx, prefix, of->max, deadline, visit, of, &revision, err) !=
            FX_OK) {
        return fx_err_wrap(err, "reading the ledger's history");
    }
    return FX_OK;
}

fx_code
fx_ledger_read_plans(
    const fx_ledger_door *door,
    fx_mono deadline,
    fx_plan *out_plans,
    size_t max,
    size_t *out_count,
    fx_err *err)
{
    history of = {.plans = out_plans, .max = max};
    if (read_history(door, "history/plan/", deadline, visit_plan, &of, err) != FX_OK) {
        return err->code;
    }
    *out_count = of.count;
    return FX_OK;
}

fx_code
fx_ledger_read_decisions(
    const fx_ledger_door *door,
    fx_mono deadline,
    fx_decision *out_decisions,
    size_t max,
    size_t *out_count,
    fx_err *err)
{
    history of = {.decisions = out_decisions, .max = max};
    if (read_history(door, "history/decision/", deadline, visit_decision, &of, err) != FX_OK) {
        return err->code;
    }
    *out_count = of.count;
    return FX_OK;
}

/* ---- pruning
 * ------------------------------------------------------------------------------------------ */

typedef struct pruning {
    writing write;
    const char *folder;
    size_t prefix_bytes;
    size_t keep;
    size_t removed;
    fx_code code;
    fx_err *err;
} pruning;

/* The oldest come first: as long as more than `keep` would be left, they go. */
static void
prune_key(void *ctx, const char *key, size_t total)
{
    pruning *of = ctx;
    if (of->code == FX_OK && strlen(key) > of->prefix_bytes && total > of->keep + of->removed) {
        const char *name = key + of->prefix_bytes;
        of->code =
            add_touch(&of->write, of->folder, name, FX_TOUCH_DELETE, (fx_revision){0}, of->err);
        of->write.touches[of->write.count - 1].compare = false;
        of->removed++;
    }
}

static fx_code
prune_folder(pruning *of, fx_revision leader_revision, fx_mono deadline, fx_err *err)
{
    const fx_ledger_store *store = &of->write.door->store;
    char prefix[FX_LEDGER_KEY_BYTES];
    if (make_key(of->write.door, of->folder, "", prefix, err) != FX_OK ||
        add_touch(&of->write, "live/leader", "", FX_TOUCH_COMPARE, leader_revision, err) != FX_OK) {
        return err->code;
    }
    of->prefix_bytes = strlen(prefix);
    fx_ledger_listing oldest = {prefix, FX_LEDGER_PRUNE_MAX};
    if (store->list_oldest(store->ctx, &oldest, deadline, prune_key, of, err) != FX_OK) {
        return err->code;
    }
    fx_revision done = {0};
    if (of->code != FX_OK || of->removed == 0) {
        return of->code;
    }
    return finish(&of->write, deadline, &done, err);
}

fx_code
fx_ledger_prune(
    const fx_ledger_door *door,
    const fx_history_keep *keep,
    fx_revision leader_revision,
    fx_mono deadline,
    size_t *out_removed,
    fx_err *err)
{
    FX_ASSERT(leader_revision.value != 0);
    const char *const folders[] = {"history/decision/", "history/plan/"};
    const size_t keeps[] = {keep->decisions, keep->plans};
    size_t removed = 0;
    for (size_t i = 0; i < 2; i++) {
        pruning of = {.folder = folders[i], .keep = keeps[i], .err = err};
        writing_init(&of.write, door);
        fx_code code = prune_folder(&of, leader_revision, deadline, err);
        fx_buf_free(&of.write.bytes);
        if (code != FX_OK) {
            return fx_err_wrap(err, "pruning %s", folders[i]);
        }
        removed += of.removed;
    }
    *out_removed = removed;
    return FX_OK;
}

void
fx_ledger_copy(fx_ledger *to, const fx_ledger *from)
{
    to->revision = from->revision;
    to->asked_at = from->asked_at;
    to->read_at = from->read_at;
    to->steady_since = from->steady_since;
    to->leader = from->leader;
    to->beat = from->beat;
    to->beat_seen_since = from->beat_seen_since;
    to->service_count = from->service_count;
    to->lease_count = from->lease_count;
    to->plan_count = from->plan_count;
    to->request_count = from->request_count;
    memcpy(to->services, from->services, from->service_count * sizeof from->services[0]);
    memcpy(to->leases, from->leases, from->lease_count * sizeof from->leases[0]);
    memcpy(to->plans, from->plans, from->plan_count * sizeof from->plans[0]);
    memcpy(to->requests, from->requests, from->request_count * sizeof from->requests[0]);
}
