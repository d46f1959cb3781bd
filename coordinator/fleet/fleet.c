#include "coordinator/fleet/fleet.h"

#include <stdlib.h>
#include <string.h>

#include "coordinator/core/observe.h"

struct fx_fleet {
    fx_view view;
    /* As heard here, by index in view.hosts; NULL: never. */
    Fortress__Link__Report *reports[FX_HOST_MAX];
    struct {
        fx_wall started;
        uint64_t sequence;
    } heard[FX_HOST_MAX];
};

fx_fleet *
fx_fleet_new(const fx_fleet_options *options)
{
    FX_ASSERT(options->peer_count < FX_COORDINATOR_MAX);
    fx_fleet *fleet = calloc(1, sizeof *fleet);
    FX_ASSERT(fleet != NULL);
    fx_view *view = &fleet->view;
    view->self = options->self;
    view->self_region = options->self_region;
    view->began_at = options->now;
    view->coordinator_count = options->peer_count + 1;
    view->coordinators[0] = (fx_coordinator_view){
        .coordinator = options->self,
        .region = options->self_region,
        .heard = true,
        .heard_at = options->now,
        .listening_since = options->now,
    };
    for (size_t i = 0; i < options->peer_count; i++) {
        view->coordinators[i + 1].coordinator = options->peers[i];
        view->coordinators[i + 1].region = options->peer_regions[i];
    }
    return fleet;
}

void
fx_fleet_free(fx_fleet *fleet)
{
    if (fleet == NULL) {
        return;
    }
    for (size_t i = 0; i < FX_HOST_MAX; i++) {
        if (fleet->reports[i] != NULL) {
            fortress__link__report__free_unpacked(fleet->reports[i], NULL);
        }
    }
    free(fleet);
}

/* ---- reading messages
 * ---------------------------------------------------------------------------- */

/* Texts of people are cut where they do not fit; names and ids that do not fit are no names. */
static void
copy_text(char *out_text, size_t room, const char *text)
{
    size_t size_bytes = strnlen(text, room - 1);
    memcpy(out_text, text, size_bytes);
    out_text[size_bytes] = '\0';
}

static fx_code
read_name(const char *text, const char *what, fx_name *out_name, fx_err *err)
{
    if (text[0] == '\0') {
        *out_name = (fx_name){0};
        return FX_OK;
    }
    return fx_name_parse(text, what, out_name, err);
}

static fx_role
role_of(Fortress__Link__Role role)
{
    switch (role) {
    case FORTRESS__LINK__ROLE__ROLE_PRIMARY:
        return FX_ROLE_PRIMARY;
    case FORTRESS__LINK__ROLE__ROLE_STANDBY:
        return FX_ROLE_STANDBY;
    case FORTRESS__LINK__ROLE__ROLE_HELD:
        return FX_ROLE_HELD;
    default: /* also what a newer version may add */
        return FX_ROLE_NONE;
    }
}

static fx_code
read_state(const Fortress__Link__ServiceState *from, fx_service_state *out_state, fx_err *err)
{
    fx_service_state state = {
        .role = role_of(from->role),
        .epoch_seen = {from->epoch_seen},
        .fenced_epoch = {from->fenced_epoch},
        .write_lsn = {from->write_lsn},
        .replay_lsn = {from->replay_lsn},
        .stopped_lsn = {from->stopped_lsn},
        .wal_stored_lsn = {from->wal_stored_lsn},
        .timeline = from->timeline,
        .replay_lag = {from->replay_lag_ns},
        .healthy = from->healthy,
        .streaming = from->streaming,
    };
    if (fx_name_parse(from->service, "service in a report", &state.service, err) != FX_OK ||
        read_name(from->upstream, "upstream in a report", &state.upstream, err) != FX_OK) {
        return err->code;
    }
    copy_text(state.detail, sizeof state.detail, from->detail);
    *out_state = state;
    return FX_OK;
}

static fx_code
read_result(const Fortress__Link__OrderResult *from, fx_order_result *out_result, fx_err *err)
{
    fx_order_result result = {
        .state = from->state <= FORTRESS__LINK__ORDER_STATE__ORDER_STATE_REFUSED
                     ? (fx_order_state)from->state
                     : FX_ORDER_UNKNOWN,
        .code = from->code,
        .started = {from->started_wall_ns},
        .finished = {from->finished_wall_ns},
    };
    if (strlen(from->order) >= sizeof result.order.text) {
        return fx_fail(
            err, FX_ERR_INVALID, "could not use a report: the id of an order is too long");
    }
    copy_text(result.order.text, sizeof result.order.text, from->order);
    copy_text(result.detail, sizeof result.detail, from->detail);
    copy_text(result.output, sizeof result.output, from->output);
    *out_result = result;
    return FX_OK;
}

/* Since when it neither serves nor follows in health; carried over from the report before. */
static fx_mono
bad_since(const fx_host_view *before, const fx_service_state *state, fx_mono now)
{
    bool good =
        state->healthy && (state->role == FX_ROLE_PRIMARY || state->role == FX_ROLE_STANDBY);
    if (good) {
        return (fx_mono){0};
    }
    const fx_service_state *old = fx_host_service(before, &state->service);
    return old != NULL && old->bad_since.ns != 0 ? old->bad_since : now;
}

/* What the report before spoke of and this one does not: still there, and not well. */
static void
keep_missing(fx_host_view *host, const fx_host_view *before, fx_mono now)
{
    for (size_t i = 0; i < before->service_count; i++) {
        const fx_service_state *old = &before->services[i];
        if (fx_host_service(host, &old->service) != NULL || host->service_count == FX_MEMBER_MAX) {
            continue;
        }
        fx_service_state *kept = &host->services[host->service_count++];
        *kept = *old;
        kept->role = FX_ROLE_NONE;
        kept->healthy = false;
        kept->bad_since = bad_since(before, kept, now);
    }
}

static fx_code
read_holes(const Fortress__Link__Report *from, fx_host_view *host, fx_err *err)
{
    size_t first = from->n_gaps > FX_GAP_SHOWN_MAX ? from->n_gaps - FX_GAP_SHOWN_MAX : 0;
    for (size_t i = 0; i < from->n_gaps; i++) {
        const Fortress__Link__Gap *gap = from->gaps[i];
        host->hole_bytes += gap->to_lsn > gap->from_lsn ? gap->to_lsn - gap->from_lsn : 0;
        if (i < first) {
            continue;
        }
        fx_wal_hole *hole = &host->holes[host->hole_count++];
        hole->from.value = gap->from_lsn;
        hole->to.value = gap->to_lsn;
        hole->since.ns = gap->since_wall_ns;
        copy_text(hole->reason, sizeof hole->reason, gap->reason);
        if (fx_name_parse(gap->service, "service of a gap", &hole->service, err) != FX_OK) {
            return err->code;
        }
    }
    host->hole_total = from->n_gaps;
    return FX_OK;
}

static fx_code
read_report(
    const Fortress__Link__Report *from, const fx_host_view *before, fx_host_view *host, fx_err *err)
{
    if (from->n_services > FX_MEMBER_MAX || from->n_results > FX_RESULT_MAX) {
        return fx_fail(
            err,
            FX_ERR_LIMIT,
            "could not use the report of %s: at most %d services and %d results",
            host->host.text,
            FX_MEMBER_MAX,
            FX_RESULT_MAX);
    }
    if (read_name(from->region, "region", &host->region, err) != FX_OK) {
        return err->code;
    }
    host->wants_lease = from->wants_lease;
    for (size_t i = 0; i < from->n_services; i++) {
        fx_service_state *state = &host->services[i];
        if (read_state(from->services[i], state, err) != FX_OK) {
            return err->code;
        }
        state->bad_since = bad_since(before, state, host->reported_at);
    }
    host->service_count = from->n_services;
    for (size_t i = 0; i < from->n_results; i++) {
        if (read_result(from->results[i], &host->results[i], err) != FX_OK) {
            return err->code;
        }
    }
    host->result_count = from->n_results;
    keep_missing(host, before, host->reported_at);
    return read_holes(from, host, err);
}

/* ---- folding
 * ---------------------------------------------------------------------------------------- */

static bool
is_older(const fx_host_view *known, fx_wall started, uint64_t sequence)
{
    if (known->agent_started.ns != started.ns) {
        return started.ns < known->agent_started.ns;
    }
    return sequence <= known->sequence;
}

typedef struct arrival {
    fx_mono at;
    fx_name heard_by;
    fx_wall started;
    uint64_t sequence;
} arrival;

/* Gives the slot's index, or FX_HOST_MAX with STALE, LIMIT or INVALID. */
static size_t
fold(fx_fleet *fleet, const Fortress__Link__Report *report, const arrival *how, fx_err *err)
{
    fx_view *view = &fleet->view;
    fx_name name;
    if (fx_name_parse(report->host, "host", &name, err) != FX_OK) {
        return FX_HOST_MAX;
    }
    const fx_host_view *known = fx_view_host(view, &name);
    size_t index = known == NULL ? view->host_count : (size_t)(known - view->hosts);
    if (index == FX_HOST_MAX) {
        fx_ignore(
            fx_fail(
                err,
                FX_ERR_LIMIT,
                "could not take host %s in: there are %d",
                name.text,
                FX_HOST_MAX),
            "the index says it");
        return FX_HOST_MAX;
    }
    if (known != NULL && is_older(known, how->started, how->sequence)) {
        fx_ignore(
            fx_fail(err, FX_ERR_STALE, "the report of %s is older than what is known", name.text),
            "the index says it");
        return FX_HOST_MAX;
    }
    fx_host_view fresh = {
        .host = name,
        .reported_at = how->at,
        .heard_by = how->heard_by,
        .first_heard_at = known == NULL ? how->at : known->first_heard_at,
        .agent_started = how->started,
        .sequence = how->sequence,
    };
    static const fx_host_view nobody;
    if (read_report(report, known == NULL ? &nobody : known, &fresh, err) != FX_OK) {
        return FX_HOST_MAX;
    }
    view->hosts[index] = fresh;
    if (known == NULL) {
        view->host_count++;
    }
    return index;
}

static void
note_heard(fx_coordinator_view *by, const fx_name *host, fx_mono at)
{
    for (size_t i = 0; i < by->host_count; i++) {
        if (fx_same(&by->hosts[i].host, host)) {
            if (at.ns > by->hosts[i].reported_at.ns) {
                by->hosts[i].reported_at = at;
            }
            return;
        }
    }
    if (by->host_count < FX_HOST_MAX) {
        by->hosts[by->host_count].host = *host;
        by->hosts[by->host_count].reported_at = at;
        by->host_count++;
    }
}

/* protobuf-c copies by packing. */
static Fortress__Link__Report *
copy_report(const Fortress__Link__Report *report)
{
    size_t size_bytes = fortress__link__report__get_packed_size(report);
    unsigned char *bytes = malloc(size_bytes + 1);
    FX_ASSERT(bytes != NULL);
    (void)fortress__link__report__pack(report, bytes);
    Fortress__Link__Report *copy = fortress__link__report__unpack(NULL, size_bytes, bytes);
    free(bytes);
    FX_ASSERT(copy != NULL);
    return copy;
}

fx_code
fx_fleet_hear_report(
    fx_fleet *fleet,
    const Fortress__Link__Envelope *envelope,
    fx_mono now,
    const fx_host_view **out_host,
    fx_err *err)
{
    if (envelope->body_case != FORTRESS__LINK__ENVELOPE__BODY_REPORT) {
        return fx_fail(err, FX_ERR_INVALID, "could not use a message as a report: it is none");
    }
    const arrival how = {
        .at = now,
        .heard_by = fleet->view.self,
        .started = {envelope->started_wall_ns},
        .sequence = envelope->sequence,
    };
    size_t index = fold(fleet, envelope->report, &how, err);
    if (index == FX_HOST_MAX) {
        return fx_err_not_ok(err->code);
    }
    if (fleet->reports[index] != NULL) {
        fortress__link__report__free_unpacked(fleet->reports[index], NULL);
    }
    fleet->reports[index] = copy_report(envelope->report);
    fleet->heard[index].started = how.started;
    fleet->heard[index].sequence = how.sequence;
    note_heard(&fleet->view.coordinators[0], &fleet->view.hosts[index].host, now);
    *out_host = &fleet->view.hosts[index];
    return FX_OK;
}

static fx_code
read_sights(const Fortress__Link__Digest *digest, fx_coordinator_view *row, fx_err *err)
{
    row->sight_count = 0;
    for (size_t i = 0; i < digest->n_sights && i < FX_HOST_MAX; i++) {
        const Fortress__Link__Sight *from = digest->sights[i];
        fx_sight *sight = &row->sights[row->sight_count];
        *sight = (fx_sight){.reachable = from->reachable, .bad_for = {from->bad_for_ns}};
        if (fx_name_parse(from->service, "service", &sight->service, err) != FX_OK ||
            fx_name_parse(from->host, "host", &sight->host, err) != FX_OK) {
            return err->code;
        }
        row->sight_count++;
    }
    return FX_OK;
}

/* Ages come from outside: not from the future, and not before this clock began. */
static fx_mono
ago(fx_mono now, int64_t age_ns)
{
    int64_t bounded = age_ns < 0 ? 0 : age_ns;
    return (fx_mono){bounded < now.ns ? now.ns - bounded : 1};
}

fx_code
fx_fleet_hear_digest(
    fx_fleet *fleet, const Fortress__Link__Envelope *envelope, fx_mono now, fx_err *err)
{
    if (envelope->body_case != FORTRESS__LINK__ENVELOPE__BODY_DIGEST) {
        return fx_fail(err, FX_ERR_INVALID, "could not use a message as a digest: it is none");
    }
    const Fortress__Link__Digest *digest = envelope->digest;
    fx_coordinator_view *row = NULL;
    for (size_t i = 1; i < fleet->view.coordinator_count; i++) {
        if (strcmp(fleet->view.coordinators[i].coordinator.text, envelope->sender) == 0) {
            row = &fleet->view.coordinators[i];
        }
    }
    if (row == NULL) {
        return fx_fail(
            err,
            FX_ERR_NOT_FOUND,
            "could not use the digest of %.63s: it is not among \"peers\" of the configuration",
            envelope->sender);
    }
    row->heard = true;
    row->heard_at = now;
    row->listening_since = ago(now, digest->listening_ns);
    for (size_t i = 0; i < digest->n_hosts; i++) {
        const Fortress__Link__HostDigest *from = digest->hosts[i];
        fx_name name;
        if (from->report == NULL || fx_name_parse(from->host, "host", &name, err) != FX_OK ||
            strcmp(from->host, from->report->host) != 0) {
            return fx_fail(
                err, FX_ERR_INVALID, "could not use a digest: a host in it has no report");
        }
        const arrival how = {
            .at = ago(now, from->age_ns),
            .heard_by = row->coordinator,
            .started = {from->started_wall_ns},
            .sequence = from->sequence,
        };
        note_heard(row, &name, how.at);
        fx_err ignored = {0};
        if (fold(fleet, from->report, &how, &ignored) == FX_HOST_MAX &&
            ignored.code != FX_ERR_STALE) {
            *err = ignored;
            return fx_err_not_ok(err->code);
        }
    }
    return read_sights(digest, row, err);
}

void
fx_fleet_see(
    fx_fleet *fleet, const fx_name *service, const fx_name *host, bool reachable, fx_mono now)
{
    fx_coordinator_view *own = &fleet->view.coordinators[0];
    fx_sight *sight = NULL;
    for (size_t i = 0; i < own->sight_count; i++) {
        if (fx_same(&own->sights[i].service, service) && fx_same(&own->sights[i].host, host)) {
            sight = &own->sights[i];
        }
    }
    if (sight == NULL) {
        if (own->sight_count == FX_HOST_MAX) {
            return; /* more members than the view holds: their hosts' own reports remain */
        }
        sight = &own->sights[own->sight_count++];
        *sight = (fx_sight){.service = *service, .host = *host, .reachable = true};
    }
    /* `bad_for` of the own row is counted in fx_fleet_view; here it keeps when it began. */
    if (reachable) {
        sight->bad_since = (fx_mono){0};
    } else if (sight->bad_since.ns == 0) {
        sight->bad_since = now;
    }
    sight->reachable = reachable;
}

const fx_view *
fx_fleet_view(fx_fleet *fleet, fx_mono now)
{
    fx_coordinator_view *own = &fleet->view.coordinators[0];
    own->heard_at = now;
    for (size_t i = 0; i < own->sight_count; i++) {
        fx_sight *sight = &own->sights[i];
        sight->bad_for =
            sight->bad_since.ns == 0 ? (fx_dur){0} : fx_mono_since(now, sight->bad_since);
    }
    return &fleet->view;
}

/* ---- the digest of this coordinator
 * ------------------------------------------------------------------- */

/* protobuf-c takes char * where it only reads. */
static char *
text_of(const char *text)
{
    union {
        const char *in;
        char *out;
    } cast = {.in = text};
    return cast.out;
}

typedef struct digest_room {
    Fortress__Link__Digest digest;
    Fortress__Link__HostDigest hosts[FX_HOST_MAX];
    Fortress__Link__HostDigest *host_pointers[FX_HOST_MAX];
    Fortress__Link__Sight sights[FX_HOST_MAX];
    Fortress__Link__Sight *sight_pointers[FX_HOST_MAX];
} digest_room;

static void
fill_hosts(fx_fleet *fleet, fx_mono now, digest_room *room)
{
    const fx_coordinator_view *own = &fleet->view.coordinators[0];
    size_t count = 0;
    for (size_t i = 0; i < own->host_count; i++) {
        const fx_host_view *host = fx_view_host(&fleet->view, &own->hosts[i].host);
        FX_ASSERT(host != NULL);
        size_t index = (size_t)(host - fleet->view.hosts);
        Fortress__Link__HostDigest *to = &room->hosts[count];
        fortress__link__host_digest__init(to);
        to->host = text_of(host->host.text);
        to->age_ns = fx_mono_since(now, own->hosts[i].reported_at).ns;
        to->report = fleet->reports[index];
        /* Another may have heard it later: then its report is the newer, whatever is said here. */
        to->started_wall_ns = fleet->heard[index].started.ns;
        to->sequence = fleet->heard[index].sequence;
        room->host_pointers[count++] = to;
    }
    room->digest.n_hosts = count;
    room->digest.hosts = room->host_pointers;
}

fx_code
fx_fleet_digest(fx_fleet *fleet, uint64_t term, fx_mono now, fx_buf *out, fx_err *err)
{
    digest_room *room = calloc(1, sizeof *room);
    FX_ASSERT(room != NULL);
    fortress__link__digest__init(&room->digest);
    const fx_view *view = fx_fleet_view(fleet, now);
    const fx_coordinator_view *own = &view->coordinators[0];
    room->digest.coordinator = text_of(view->self.text);
    room->digest.region = text_of(view->self_region.text);
    room->digest.term = term;
    room->digest.listening_ns = fx_mono_since(now, view->began_at).ns;
    fill_hosts(fleet, now, room);
    for (size_t i = 0; i < own->sight_count; i++) {
        Fortress__Link__Sight *to = &room->sights[i];
        fortress__link__sight__init(to);
        to->service = text_of(own->sights[i].service.text);
        to->host = text_of(own->sights[i].host.text);
        to->reachable = own->sights[i].reachable;
        to->bad_for_ns = own->sights[i].bad_for.ns;
        room->sight_pointers[i] = to;
    }
    room->digest.n_sights = own->sight_count;
    room->digest.sights = room->sight_pointers;
    unsigned char *bytes = NULL;
    fx_code code =
        fx_buf_extend(out, fortress__link__digest__get_packed_size(&room->digest), &bytes, err);
    if (code == FX_OK) {
        (void)fortress__link__digest__pack(&room->digest, bytes);
    }
    free(room);
    return code;
}

void
fx_view_copy(fx_view *to, const fx_view *from)
{
    to->self = from->self;
    to->self_region = from->self_region;
    to->began_at = from->began_at;
    to->coordinator_count = from->coordinator_count;
    for (size_t i = 0; i < from->coordinator_count; i++) {
        fx_coordinator_view *row = &to->coordinators[i];
        const fx_coordinator_view *source = &from->coordinators[i];
        row->coordinator = source->coordinator;
        row->region = source->region;
        row->heard_at = source->heard_at;
        row->heard = source->heard;
        row->listening_since = source->listening_since;
        row->host_count = source->host_count;
        row->sight_count = source->sight_count;
        memcpy(row->hosts, source->hosts, source->host_count * sizeof row->hosts[0]);
        memcpy(row->sights, source->sights, source->sight_count * sizeof row->sights[0]);
    }
    to->host_count = from->host_count;
    memcpy(to->hosts, from->hosts, from->host_count * sizeof to->hosts[0]);
}
