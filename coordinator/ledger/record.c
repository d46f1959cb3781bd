#include "coordinator/ledger/record.h"

#include <string.h>

#include "proto/ledger.pb-c.h"
#include "proto/link.pb-c.h"

/* ---- helpers
 * ------------------------------------------------------------------------------------- */

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

static ProtobufCBinaryData
data_of(const unsigned char *bytes, size_t size_bytes)
{
    union {
        const unsigned char *in;
        unsigned char *out;
    } cast = {.in = bytes};
    return (ProtobufCBinaryData){.len = size_bytes, .data = cast.out};
}

static fx_code
pack(const ProtobufCMessage *message, fx_buf *out, fx_err *err)
{
    size_t size_bytes = protobuf_c_message_get_packed_size(message);
    unsigned char *room = NULL;
    if (fx_buf_extend(out, size_bytes, &room, err) != FX_OK) {
        return fx_err_wrap(err, "writing a ledger record");
    }
    (void)protobuf_c_message_pack(message, room);
    return FX_OK;
}

/* Why a record cannot be used; checks go on with the first failure kept. */
typedef struct reader {
    const char *what;
    fx_code code;
    fx_err *err;
} reader;

static void
spoil(reader *in, fx_code code, const char *why)
{
    if (in->code == FX_OK) {
        in->code = fx_fail(in->err, code, "could not read the ledger's %s: %s", in->what, why);
    }
}

static void
read_name(reader *in, const char *text, fx_name *out_name)
{
    fx_err why = {0};
    if (text[0] != '\0' && fx_name_parse(text, in->what, out_name, &why) != FX_OK) {
        spoil(in, FX_ERR_DAMAGED, why.message);
    }
}

static void
read_text(reader *in, const char *text, char *out_text, size_t room)
{
    size_t size_bytes = strlen(text) + 1;
    if (size_bytes > room) {
        spoil(in, FX_ERR_LIMIT, "a text is too long");
        return;
    }
    memcpy(out_text, text, size_bytes);
}

static bool
has_room(reader *in, size_t count, size_t max)
{
    if (count > max) {
        spoil(in, FX_ERR_LIMIT, "a list is too long");
        return false;
    }
    return true;
}

static fx_code
not_a_message(const char *what, fx_err *err)
{
    return fx_fail(err, FX_ERR_DAMAGED, "could not read the ledger's %s: not such a message", what);
}

/* ---- signed orders
 * ------------------------------------------------------------------------------- */

typedef struct promotion_room {
    Fortress__Ledger__SignedPromotion message;
    Fortress__Ledger__Signature signatures[FX_ENDORSEMENT_MAX];
    Fortress__Ledger__Signature *pointers[FX_ENDORSEMENT_MAX];
} promotion_room;

/* NULL when there is no order. `room` must not move. */
static Fortress__Ledger__SignedPromotion *
fill_promotion(const fx_signed_order *order, promotion_room *room)
{
    if (order->size_bytes == 0) {
        return NULL;
    }
    fortress__ledger__signed_promotion__init(&room->message);
    room->message.order = data_of(order->bytes, order->size_bytes);
    for (size_t i = 0; i < order->endorsement_count; i++) {
        const fx_endorsement *from = &order->endorsements[i];
        Fortress__Ledger__Signature *to = &room->signatures[i];
        fortress__ledger__signature__init(to);
        to->coordinator = text_of(from->coordinator.text);
        to->region = text_of(from->region.text);
        to->signature = data_of(from->signature, FX_SIGNATURE_BYTES);
        room->pointers[i] = to;
    }
    room->message.n_endorsements = order->endorsement_count;
    room->message.endorsements = room->pointers;
    return &room->message;
}

static void
read_order_bytes(reader *in, ProtobufCBinaryData bytes, fx_signed_order *out_order)
{
    if (bytes.len == 0) {
        return;
    }
    fx_order_spec spec = {0};
    fx_name cluster = {0};
    fx_err why = {0};
    if (!has_room(in, bytes.len, FX_ORDER_MAX_BYTES)) {
        return;
    }
    fx_bytes view = {.data = bytes.data, .size_bytes = bytes.len};
    if (fx_record_decode_order(view, &spec, &cluster, &why) != FX_OK) {
        spoil(in, FX_ERR_DAMAGED, why.message);
        return;
    }
    memcpy(out_order->bytes, bytes.data, bytes.len);
    out_order->size_bytes = bytes.len;
    out_order->id = spec.id;
}

static void
read_promotion(
    reader *in, const Fortress__Ledger__SignedPromotion *message, fx_signed_order *out_order)
{
    if (message == NULL || !has_room(in, message->n_endorsements, FX_ENDORSEMENT_MAX)) {
        return;
    }
    read_order_bytes(in, message->order, out_order);
    if (out_order->size_bytes == 0) { /* nothing that anybody could endorse */
        return;
    }
    for (size_t i = 0; i < message->n_endorsements; i++) {
        const Fortress__Ledger__Signature *from = message->endorsements[i];
        fx_endorsement *to = &out_order->endorsements[i];
        read_name(in, from->coordinator, &to->coordinator);
        read_name(in, from->region, &to->region);
        if (from->signature.len != FX_SIGNATURE_BYTES) {
            spoil(in, FX_ERR_DAMAGED, "a signature has the wrong length");
            return;
        }
        memcpy(to->signature, from->signature.data, FX_SIGNATURE_BYTES);
    }
    out_order->endorsement_count = message->n_endorsements;
}

fx_code
fx_record_encode_order(
    const fx_order_spec *order, const char *cluster, fx_wall issued, fx_buf *out, fx_err *err)
{
    Fortress__Link__Order message;
    fortress__link__order__init(&message);
    message.id = text_of(order->id.text);
    message.kind = (Fortress__Link__OrderKind)order->kind;
    message.cluster = text_of(cluster);
    message.host = text_of(order->host.text);
    message.service = text_of(order->service.text);
    message.epoch = order->epoch.value;
    message.ledger_revision = order->ledger_revision.value;
    message.plan = text_of(order->plan.text);
    message.reason = text_of(order->reason);
    message.issued_wall_ns = issued.ns;
    message.orderly = order->orderly;
    return pack(&message.base, out, err);
}

fx_code
fx_record_decode_order(fx_bytes bytes, fx_order_spec *out_order, fx_name *out_cluster, fx_err *err)
{
    Fortress__Link__Order *message =
        fortress__link__order__unpack(NULL, bytes.size_bytes, bytes.data);
    if (message == NULL) {
        return not_a_message("order", err);
    }
    reader in = {.what = "order", .err = err};
    fx_order_spec order = {
        .kind = (fx_order_kind)message->kind,
        .epoch = {message->epoch},
        .ledger_revision = {message->ledger_revision},
        .orderly = message->orderly,
    };
    fx_name cluster = {0};
    read_text(&in, message->id, order.id.text, sizeof order.id.text);
    read_name(&in, message->cluster, &cluster);
    read_name(&in, message->host, &order.host);
    read_name(&in, message->service, &order.service);
    read_text(&in, message->plan, order.plan.text, sizeof order.plan.text);
    read_text(&in, message->reason, order.reason, sizeof order.reason);
    fortress__link__order__free_unpacked(message, NULL);
    if (in.code == FX_OK) {
        *out_order = order;
        *out_cluster = cluster;
    }
    return in.code;
}

/* ---- leader and beat
 * ------------------------------------------------------------------------------- */

fx_code
fx_record_encode_leader(const fx_leader *leader, fx_buf *out, fx_err *err)
{
    Fortress__Ledger__Leader message;
    fortress__ledger__leader__init(&message);
    message.coordinator = text_of(leader->coordinator.text);
    message.region = text_of(leader->region.text);
    message.term = leader->term;
    message.incarnation = data_of(leader->incarnation, FX_INCARNATION_BYTES);
    return pack(&message.base, out, err);
}

fx_code
fx_record_decode_leader(fx_bytes bytes, fx_leader *out_leader, fx_err *err)
{
    Fortress__Ledger__Leader *message =
        fortress__ledger__leader__unpack(NULL, bytes.size_bytes, bytes.data);
    if (message == NULL) {
        return not_a_message("leader", err);
    }
    reader in = {.what = "leader", .err = err};
    fx_leader leader = {.term = message->term};
    read_name(&in, message->coordinator, &leader.coordinator);
    read_name(&in, message->region, &leader.region);
    if (message->incarnation.len == FX_INCARNATION_BYTES) {
        memcpy(leader.incarnation, message->incarnation.data, FX_INCARNATION_BYTES);
    } else {
        spoil(&in, FX_ERR_DAMAGED, "the incarnation has the wrong length");
    }
    fortress__ledger__leader__free_unpacked(message, NULL);
    if (in.code == FX_OK) {
        *out_leader = leader;
    }
    return in.code;
}

fx_code
fx_record_encode_beat(const fx_beat *beat, fx_buf *out, fx_err *err)
{
    Fortress__Ledger__Beat message;
    fortress__ledger__beat__init(&message);
    message.term = beat->term;
    message.count = beat->count;
    return pack(&message.base, out, err);
}

fx_code
fx_record_decode_beat(fx_bytes bytes, fx_beat *out_beat, fx_err *err)
{
    Fortress__Ledger__Beat *message =
        fortress__ledger__beat__unpack(NULL, bytes.size_bytes, bytes.data);
    if (message == NULL) {
        return not_a_message("beat", err);
    }
    *out_beat = (fx_beat){.term = message->term, .count = message->count};
    fortress__ledger__beat__free_unpacked(message, NULL);
    return FX_OK;
}

/* ---- services
 * -------------------------------------------------------------------------------------- */

fx_code
fx_record_encode_service(const fx_service *service, fx_buf *out, fx_err *err)
{
    Fortress__Ledger__Service message;
    fortress__ledger__service__init(&message);
    Fortress__Ledger__Member members[FX_MEMBER_MAX];
    Fortress__Ledger__Member *pointers[FX_MEMBER_MAX];
    promotion_room room;
    for (size_t i = 0; i < service->member_count; i++) {
        const fx_member *from = &service->members[i];
        fortress__ledger__member__init(&members[i]);
        members[i].host = text_of(from->host.text);
        members[i].region = text_of(from->region.text);
        members[i].address = text_of(from->address);
        members[i].port = from->port;
        pointers[i] = &members[i];
    }
    message.n_members = service->member_count;
    message.members = pointers;
    message.name = text_of(service->name.text);
    message.epoch = service->epoch.value;
    message.primary_host = text_of(service->primary.text);
    message.changed_wall_ns = service->changed_at.ns;
    message.last_plan = text_of(service->last_plan.text);
    message.dns_epoch = service->dns_epoch.value;
    message.promotion = fill_promotion(&service->promotion, &room);
    return pack(&message.base, out, err);
}

static void
read_members(reader *in, const Fortress__Ledger__Service *message, fx_service *service)
{
    if (!has_room(in, message->n_members, FX_MEMBER_MAX)) {
        return;
    }
    for (size_t i = 0; i < message->n_members; i++) {
        const Fortress__Ledger__Member *from = message->members[i];
        fx_member *to = &service->members[i];
        read_name(in, from->host, &to->host);
        read_name(in, from->region, &to->region);
        read_text(in, from->address, to->address, sizeof to->address);
        if (from->port > UINT16_MAX) {
            spoil(in, FX_ERR_DAMAGED, "a port is out of range");
        }
        to->port = (uint16_t)from->port;
    }
    service->member_count = message->n_members;
}

fx_code
fx_record_decode_service(fx_bytes bytes, fx_service *out_service, fx_err *err)
{
    Fortress__Ledger__Service *message =
        fortress__ledger__service__unpack(NULL, bytes.size_bytes, bytes.data);
    if (message == NULL) {
        return not_a_message("service", err);
    }
    reader in = {.what = "service", .err = err};
    fx_service service = {
        .epoch = {message->epoch},
        .changed_at = {message->changed_wall_ns},
        .dns_epoch = {message->dns_epoch},
    };
    read_name(&in, message->name, &service.name);
    read_name(&in, message->primary_host, &service.primary);
    read_text(&in, message->last_plan, service.last_plan.text, sizeof service.last_plan.text);
    read_members(&in, message, &service);
    read_promotion(&in, message->promotion, &service.promotion);
    fortress__ledger__service__free_unpacked(message, NULL);
    if (in.code == FX_OK) {
        *out_service = service;
    }
    return in.code;
}

/* ---- leases
 * ---------------------------------------------------------------------------------------- */

fx_code
fx_record_encode_lease(const fx_lease *lease, fx_buf *out, fx_err *err)
{
    Fortress__Ledger__Lease message;
    fortress__ledger__lease__init(&message);
    Fortress__Ledger__Held held[FX_MEMBER_MAX];
    Fortress__Ledger__Held *pointers[FX_MEMBER_MAX];
    for (size_t i = 0; i < lease->held_count; i++) {
        fortress__ledger__held__init(&held[i]);
        held[i].service = text_of(lease->held[i].service.text);
        held[i].epoch = lease->held[i].epoch.value;
        pointers[i] = &held[i];
    }
    message.n_held = lease->held_count;
    message.held = pointers;
    message.host = text_of(lease->host.text);
    message.renewal = lease->renewal;
    message.open = lease->open;
    message.renewed_by = text_of(lease->renewed_by.text);
    return pack(&message.base, out, err);
}

fx_code
fx_record_decode_lease(fx_bytes bytes, fx_lease *out_lease, fx_err *err)
{
    Fortress__Ledger__Lease *message =
        fortress__ledger__lease__unpack(NULL, bytes.size_bytes, bytes.data);
    if (message == NULL) {
        return not_a_message("lease", err);
    }
    reader in = {.what = "lease", .err = err};
    fx_lease lease = {.renewal = message->renewal, .open = message->open};
    read_name(&in, message->host, &lease.host);
    read_name(&in, message->renewed_by, &lease.renewed_by);
    if (has_room(&in, message->n_held, FX_MEMBER_MAX)) {
        for (size_t i = 0; i < message->n_held; i++) {
            read_name(&in, message->held[i]->service, &lease.held[i].service);
            lease.held[i].epoch.value = message->held[i]->epoch;
        }
        lease.held_count = message->n_held;
    }
    fortress__ledger__lease__free_unpacked(message, NULL);
    if (in.code == FX_OK) {
        *out_lease = lease;
    }
    return in.code;
}

/* ---- plans
 * ----------------------------------------------------------------------------------------- */

fx_code
fx_record_encode_plan(const fx_plan *plan, fx_buf *out, fx_err *err)
{
    Fortress__Ledger__Plan message;
    fortress__ledger__plan__init(&message);
    Fortress__Ledger__Step steps[FX_STEP_MAX];
    Fortress__Ledger__Step *pointers[FX_STEP_MAX];
    promotion_room rooms[FX_STEP_MAX];
    for (size_t i = 0; i < plan->step_count; i++) {
        const fx_step *from = &plan->steps[i];
        fortress__ledger__step__init(&steps[i]);
        steps[i].kind = (Fortress__Ledger__StepKind)from->kind;
        steps[i].state = (Fortress__Ledger__StepState)from->state;
        steps[i].started_wall_ns = from->started.ns;
        steps[i].finished_wall_ns = from->finished.ns;
        steps[i].deadline_ns = from->deadline.ns;
        steps[i].attempts = from->attempts;
        steps[i].term = from->term;
        steps[i].detail = text_of(from->detail);
        steps[i].by = text_of(from->by.text);
        steps[i].order = fill_promotion(&from->order, &rooms[i]);
        pointers[i] = &steps[i];
    }
    message.n_steps = plan->step_count;
    message.steps = pointers;
    message.id = text_of(plan->id.text);
    message.kind = (Fortress__Ledger__PlanKind)plan->kind;
    message.state = (Fortress__Ledger__PlanState)plan->state;
    message.service = text_of(plan->service.text);
    message.from_host = text_of(plan->from_host.text);
    message.to_host = text_of(plan->to_host.text);
    message.from_epoch = plan->from_epoch.value;
    message.to_epoch = plan->to_epoch.value;
    message.decision = text_of(plan->decision.text);
    message.requested_by = text_of(plan->requested_by.text);
    message.started_wall_ns = plan->started.ns;
    message.finished_wall_ns = plan->finished.ns;
    message.lost_since_wall_ns = plan->lost_since.ns;
    message.outcome = text_of(plan->outcome);
    return pack(&message.base, out, err);
}

static void
read_steps(reader *in, const Fortress__Ledger__Plan *message, fx_plan *plan)
{
    if (!has_room(in, message->n_steps, FX_STEP_MAX)) {
        return;
    }
    for (size_t i = 0; i < message->n_steps; i++) {
        const Fortress__Ledger__Step *from = message->steps[i];
        fx_step *to = &plan->steps[i];
        if (from->kind > FORTRESS__LEDGER__STEP_KIND__STEP_RECORD ||
            from->state > FORTRESS__LEDGER__STEP_STATE__STEP_STATE_UNKNOWN) {
            spoil(
                in, FX_ERR_DAMAGED, "a step is of a kind or state that this version does not know");
            return;
        }
        to->kind = (fx_step_kind)from->kind;
        to->state = (fx_step_state)from->state;
        to->started.ns = from->started_wall_ns;
        to->finished.ns = from->finished_wall_ns;
        to->deadline.ns = from->deadline_ns;
        to->attempts = from->attempts;
        to->term = from->term;
        read_text(in, from->detail, to->detail, sizeof to->detail);
        read_name(in, from->by, &to->by);
        read_promotion(in, from->order, &to->order);
    }
    plan->step_count = message->n_steps;
}

fx_code
fx_record_decode_plan(fx_bytes bytes, fx_plan *out_plan, fx_err *err)
{
    Fortress__Ledger__Plan *message =
        fortress__ledger__plan__unpack(NULL, bytes.size_bytes, bytes.data);
    if (message == NULL) {
        return not_a_message("plan", err);
    }
    reader in = {.what = "plan", .err = err};
    fx_plan plan = {
        .kind = (fx_plan_kind)message->kind,
        .state = (fx_plan_state)message->state,
        .from_epoch = {message->from_epoch},
        .to_epoch = {message->to_epoch},
        .started = {message->started_wall_ns},
        .finished = {message->finished_wall_ns},
        .lost_since = {message->lost_since_wall_ns},
    };
    read_text(&in, message->id, plan.id.text, sizeof plan.id.text);
    read_text(&in, message->decision, plan.decision.text, sizeof plan.decision.text);
    read_text(&in, message->outcome, plan.outcome, sizeof plan.outcome);
    read_name(&in, message->service, &plan.service);
    read_name(&in, message->from_host, &plan.from_host);
    read_name(&in, message->to_host, &plan.to_host);
    read_name(&in, message->requested_by, &plan.requested_by);
    read_steps(&in, message, &plan);
    fortress__ledger__plan__free_unpacked(message, NULL);
    if (in.code == FX_OK) {
        *out_plan = plan;
    }
    return in.code;
}

/* ---- requests
 * -------------------------------------------------------------------------------------- */

fx_code
fx_record_encode_request(const fx_request *request, fx_buf *out, fx_err *err)
{
    Fortress__Ledger__Request message;
    fortress__ledger__request__init(&message);
    message.id = text_of(request->id.text);
    message.service = text_of(request->service.text);
    message.to_host = text_of(request->to_host.text);
    message.requested_by = text_of(request->requested_by.text);
    message.asked_wall_ns = request->asked.ns;
    message.reason = text_of(request->reason);
    message.host = text_of(request->host.text);
    message.order = data_of(request->order.bytes, request->order.size_bytes);
    message.result_state = text_of(request->result_state);
    message.result_detail = text_of(request->result_detail);
    return pack(&message.base, out, err);
}

fx_code
fx_record_decode_request(fx_bytes bytes, fx_request *out_request, fx_err *err)
{
    Fortress__Ledger__Request *message =
        fortress__ledger__request__unpack(NULL, bytes.size_bytes, bytes.data);
    if (message == NULL) {
        return not_a_message("request", err);
    }
    reader in = {.what = "request", .err = err};
    fx_request request = {.asked = {message->asked_wall_ns}};
    read_text(&in, message->id, request.id.text, sizeof request.id.text);
    read_name(&in, message->service, &request.service);
    read_name(&in, message->to_host, &request.to_host);
    read_name(&in, message->requested_by, &request.requested_by);
    read_text(&in, message->reason, request.reason, sizeof request.reason);
    read_name(&in, message->host, &request.host);
    read_order_bytes(&in, message->order, &request.order);
    read_text(&in, message->result_state, request.result_state, sizeof request.result_state);
    read_text(&in, message->result_detail, request.result_detail, sizeof request.result_detail);
    fortress__ledger__request__free_unpacked(message, NULL);
    if (in.code == FX_OK) {
        *out_request = request;
    }
    return in.code;
}

/* ---- decisions
 * ------------------------------------------------------------------------------------- */

fx_code
fx_record_encode_decision(const fx_decision *decision, fx_buf *out, fx_err *err)
{
    Fortress__Ledger__Decision message;
    fortress__ledger__decision__init(&message);
    Fortress__Ledger__Evidence evidence[FX_EVIDENCE_MAX];
    Fortress__Ledger__Evidence *pointers[FX_EVIDENCE_MAX];
    for (size_t i = 0; i < decision->evidence_count; i++) {
        const fx_evidence *from = &decision->evidence[i];
        fortress__ledger__evidence__init(&evidence[i]);
        evidence[i].observer_region = text_of(from->observer_region.text);
        evidence[i].observer = text_of(from->observer.text);
        evidence[i].subject = text_of(from->subject.text);
        evidence[i].fact = text_of(from->fact);
        pointers[i] = &evidence[i];
    }
    message.n_evidence = decision->evidence_count;
    message.evidence = pointers;
    message.id = text_of(decision->id.text);
    message.decided_wall_ns = decision->decided.ns;
    message.coordinator = text_of(decision->coordinator.text);
    message.term = decision->term;
    message.ledger_revision = decision->ledger_revision.value;
    message.service = text_of(decision->service.text);
    message.verdict = text_of(decision->verdict);
    message.reason = text_of(decision->reason);
    message.plan = text_of(decision->plan.text);
    return pack(&message.base, out, err);
}

static void
read_evidence(reader *in, const Fortress__Ledger__Decision *message, fx_decision *decision)
{
    if (!has_room(in, message->n_evidence, FX_EVIDENCE_MAX)) {
        return;
    }
    for (size_t i = 0; i < message->n_evidence; i++) {
        const Fortress__Ledger__Evidence *from = message->evidence[i];
        fx_evidence *to = &decision->evidence[i];
        read_name(in, from->observer_region, &to->observer_region);
        read_name(in, from->observer, &to->observer);
        read_name(in, from->subject, &to->subject);
        read_text(in, from->fact, to->fact, sizeof to->fact);
    }
    decision->evidence_count = message->n_evidence;
}

fx_code
fx_record_decode_decision(fx_bytes bytes, fx_decision *out_decision, fx_err *err)
{
    Fortress__Ledger__Decision *message =
        fortress__ledger__decision__unpack(NULL, bytes.size_bytes, bytes.data);
    if (message == NULL) {
        return not_a_message("decision", err);
    }
    reader in = {.what = "decision", .err = err};
    *out_decision = (fx_decision){
        .decided = {message->decided_wall_ns},
        .term = message->term,
        .ledger_revision = {message->ledger_revision},
    };
    read_text(&in, message->id, out_decision->id.text, sizeof out_decision->id.text);
    read_name(&in, message->coordinator, &out_decision->coordinator);
    read_name(&in, message->service, &out_decision->service);
    read_text(&in, message->verdict, out_decision->verdict, sizeof out_decision->verdict);
    read_text(&in, message->reason, out_decision->reason, sizeof out_decision->reason);
    read_text(&in, message->plan, out_decision->plan.text, sizeof out_decision->plan.text);
    read_evidence(&in, message, out_decision);
    fortress__ledger__decision__free_unpacked(message, NULL);
    return in.code;
}
