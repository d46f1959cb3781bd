#include "proto/link_check.h"

#include <string.h>

#include "common/base/name.h"
#include "proto/message.h"

typedef ProtobufCBinaryData bytes_field;

/* ---- single fields
 * --------------------------------------------------------------------------------- */

static fx_code
check_optional_name(const char *text, const char *what, fx_err *err)
{
    return text[0] == '\0' ? FX_OK : fx_message_check_name(text, what, err);
}

/* protobuf-c checks neither UTF-8 nor control characters; both would reach logs and terminals. */
static size_t
utf8_sequence_bytes(const unsigned char *text)
{
    unsigned char lead = text[0];
    if (lead < 0x80) {
        return lead >= 0x20 && lead != 0x7f ? 1 : 0;
    }
    size_t size_bytes = lead >= 0xf0 ? 4 : (lead >= 0xe0 ? 3 : 2);
    if (lead < 0xc2 || lead > 0xf4) {
        return 0;
    }
    for (size_t i = 1; i < size_bytes; i++) {
        if ((text[i] & 0xc0U) != 0x80U) { /* the NUL at the end stops here too */
            return 0;
        }
    }
    unsigned char second = text[1];
    bool overlong = (lead == 0xe0 && second < 0xa0) || (lead == 0xf0 && second < 0x90);
    bool surrogate = lead == 0xed && second > 0x9f;
    bool beyond = lead == 0xf4 && second > 0x8f;
    bool control = lead == 0xc2 && second < 0xa0;
    return overlong || surrogate || beyond || control ? 0 : size_bytes;
}

static fx_code
check_text(const char *text, size_t max_bytes, const char *what, fx_err *err)
{
    size_t length = strnlen(text, max_bytes + 1);
    if (length > max_bytes) {
        return fx_message_bad_field(what, "is too long", err);
    }
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0';) {
        size_t step = utf8_sequence_bytes(at);
        if (step == 0 && *at != '\n' && *at != '\t') {
            return fx_message_bad_field(what, "is not clean UTF-8 text", err);
        }
        at += step == 0 ? 1 : step;
    }
    return FX_OK;
}

/*
 * Text for people is cut and cleaned instead of refused: a report is a lease's renewal, and must
 * not fail because an error message was cut in the middle of a character.
 */
static void
clean_text(char *text, size_t max_bytes)
{
    size_t at = 0;
    while (text[at] != '\0') {
        size_t step = utf8_sequence_bytes((const unsigned char *)text + at);
        if (step == 0) {
            text[at] = text[at] == '\n' || text[at] == '\t' ? ' ' : '?';
            step = 1;
        }
        if (at + step > max_bytes) {
            text[at] = '\0';
            return;
        }
        at += step;
    }
}

static void
clean_detail(char *text)
{
    clean_text(text, FX_LINK_TEXT_MAX_BYTES);
}

/* Ids become keys and parts of paths. */
static fx_code
check_id(const char *text, size_t max_bytes, const char *what, fx_err *err)
{
    size_t length = strnlen(text, max_bytes + 1);
    if (length == 0 || length > max_bytes || text[0] == '.' || text[0] == '-') {
        return fx_message_bad_field(what, "is not an id", err);
    }
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "._-:";
    return strspn(text, allowed) == length ? FX_OK
                                           : fx_message_bad_field(what, "is not an id", err);
}

static fx_code
check_count(size_t count, size_t max, const char *what, fx_err *err)
{
    return count <= max ? FX_OK : fx_message_bad_field(what, "are too many", err);
}

static fx_code
check_not_negative(int64_t value, const char *what, fx_err *err)
{
    return value >= 0 ? FX_OK : fx_message_bad_field(what, "is negative", err);
}

static fx_code
check_enum(const ProtobufCEnumDescriptor *descriptor, int value, const char *what, fx_err *err)
{
    return protobuf_c_enum_descriptor_get_value(descriptor, value) != NULL
               ? FX_OK
               : fx_message_bad_field(what, "has an unknown value", err);
}

/* ---- agent to coordinator
 * -------------------------------------------------------------------------- */

static fx_code
check_service_state(const Fortress__Link__ServiceState *state, fx_err *err)
{
    clean_detail(state->detail);
    if (fx_message_check_name(state->service, "service", err) != FX_OK ||
        check_enum(&fortress__link__role__descriptor, (int)state->role, "role", err) != FX_OK ||
        check_not_negative(state->replay_lag_ns, "replay_lag_ns", err) != FX_OK ||
        check_optional_name(state->upstream, "upstream", err) != FX_OK) {
        return err->code;
    }
    return FX_OK;
}

static fx_code
check_probe(const Fortress__Link__ProbeResult *probe, fx_err *err)
{
    clean_detail(probe->target);
    clean_detail(probe->detail);
    if (fx_message_check_name(probe->name, "probe", err) != FX_OK ||
        fx_message_check_name(probe->kind, "kind of a probe", err) != FX_OK ||
        check_optional_name(probe->service, "service of a probe", err) != FX_OK ||
        check_optional_name(probe->subject, "subject of a probe", err) != FX_OK ||
        check_not_negative(probe->took_ns, "took_ns", err) != FX_OK ||
        check_not_negative(probe->age_ns, "age_ns of a probe", err) != FX_OK) {
        return err->code;
    }
    return FX_OK;
}

static fx_code
check_result(const Fortress__Link__OrderResult *result, fx_err *err)
{
    clean_detail(result->detail);
    clean_text(result->output, FX_LINK_ID_MAX_BYTES);
    if (check_id(result->order, FX_LINK_ORDER_ID_MAX_BYTES, "id of an order", err) != FX_OK ||
        check_enum(
            &fortress__link__order_state__descriptor,
            (int)result->state,
            "state of an order",
            err) != FX_OK) {
        return err->code;
    }
    return FX_OK;
}

static fx_code
check_snapshot(const Fortress__Link__SnapshotNote *note, fx_err *err)
{
    clean_detail(note->source);
    if (check_id(note->id, FX_LINK_ID_MAX_BYTES, "id of a snapshot", err) != FX_OK ||
        fx_message_check_name(note->kind, "kind of a snapshot", err) != FX_OK) {
        return err->code;
    }
    return FX_OK;
}

static fx_code
check_gap(const Fortress__Link__Gap *gap, fx_err *err)
{
    clean_detail(gap->reason);
    if (fx_message_check_name(gap->service, "service of a gap", err) != FX_OK) {
        return err->code;
    }
    return gap->from_lsn <= gap->to_lsn ? FX_OK
                                        : fx_message_bad_field("gap", "ends before it begins", err);
}

static fx_code
check_report_counts(const Fortress__Link__Report *report, fx_err *err)
{
    if (check_count(report->n_services, FX_LINK_SERVICE_MAX, "services", err) != FX_OK ||
        check_count(report->n_probes, FX_LINK_PROBE_MAX, "probes", err) != FX_OK ||
        check_count(report->n_results, FX_LINK_RESULT_MAX, "results", err) != FX_OK ||
        check_count(report->n_snapshots, FX_LINK_SNAPSHOT_MAX, "snapshots", err) != FX_OK ||
        check_count(report->n_gaps, FX_LINK_GAP_MAX, "gaps", err) != FX_OK ||
        check_count(report->n_jobs, FX_LINK_JOB_MAX, "jobs", err) != FX_OK) {
        return err->code;
    }
    return FX_OK;
}

static fx_code
check_report(const Fortress__Link__Report *report, fx_err *err)
{
    if (fx_message_check_name(report->host, "host", err) != FX_OK ||
        fx_message_check_name(report->region, "region", err) != FX_OK ||
        check_report_counts(report, err) != FX_OK) {
        return err->code;
    }
    fx_code code = FX_OK;
    for (size_t i = 0; i < report->n_services && code == FX_OK; i++) {
        code = check_service_state(report->services[i], err);
    }
    for (size_t i = 0; i < report->n_probes && code == FX_OK; i++) {
        code = check_probe(report->probes[i], err);
    }
    for (size_t i = 0; i < report->n_results && code == FX_OK; i++) {
        code = check_result(report->results[i], err);
    }
    for (size_t i = 0; i < report->n_snapshots && code == FX_OK; i++) {
        code = check_snapshot(report->snapshots[i], err);
    }
    for (size_t i = 0; i < report->n_gaps && code == FX_OK; i++) {
        code = check_gap(report->gaps[i], err);
    }
    for (size_t i = 0; i < report->n_jobs && code == FX_OK; i++) {
        code = fx_message_check_name(report->jobs[i], "job", err);
    }
    return code;
}

/* ---- coordinator to agent
 * -------------------------------------------------------------------------- */

static fx_code
check_goal(const Fortress__Link__Goal *goal, fx_err *err)
{
    if (fx_message_check_name(goal->service, "service of a goal", err) != FX_OK ||
        check_enum(&fortress__link__role__descriptor, (int)goal->role, "role of a goal", err) !=
            FX_OK ||
        check_optional_name(goal->primary_host, "primary_host", err) != FX_OK ||
        check_optional_name(goal->upstream_host, "upstream_host", err) != FX_OK ||
        check_text(goal->upstream_address, FX_NAME_MAX_BYTES, "upstream_address", err) != FX_OK) {
        return err->code;
    }
    return goal->upstream_port <= UINT16_MAX
               ? FX_OK
               : fx_message_bad_field("upstream_port", "is no port", err);
}

static fx_code
check_endorsement(const Fortress__Link__Endorsement *endorsement, fx_err *err)
{
    if (fx_message_check_name(endorsement->coordinator, "coordinator of an endorsement", err) !=
            FX_OK ||
        fx_message_check_name(endorsement->region, "region of an endorsement", err) != FX_OK) {
        return err->code;
    }
    return endorsement->signature.len == FX_LINK_SIGNATURE_BYTES
               ? FX_OK
               : fx_message_bad_field("signature", "does not have 64 bytes", err);
}

static fx_code
check_order_bytes(const bytes_field *order, fx_err *err)
{
    return order->len > 0 && order->len <= FX_LINK_ORDER_MAX_BYTES
               ? FX_OK
               : fx_message_bad_field("order", "is empty or too long", err);
}

static fx_code
check_signed_order(const Fortress__Link__SignedOrder *order, fx_err *err)
{
    fx_code code = check_order_bytes(&order->order, err);
    if (code == FX_OK) {
        code = check_count(order->n_endorsements, FX_LINK_ENDORSEMENT_MAX, "endorsements", err);
    }
    for (size_t i = 0; code == FX_OK && i < order->n_endorsements; i++) {
        code = check_endorsement(order->endorsements[i], err);
    }
    return code;
}

static fx_code
check_report_reply(const Fortress__Link__ReportReply *reply, fx_err *err)
{
    clean_detail(reply->lease_refused_reason);
    if (check_not_negative(reply->lease_ns, "lease_ns", err) != FX_OK ||
        check_not_negative(reply->margin_ns, "margin_ns", err) != FX_OK ||
        check_not_negative(reply->next_report_ns, "next_report_ns", err) != FX_OK ||
        check_optional_name(reply->leader, "leader", err) != FX_OK ||
        check_count(reply->n_goals, FX_LINK_SERVICE_MAX, "goals", err) != FX_OK ||
        check_count(reply->n_orders, FX_LINK_ORDER_MAX, "orders", err) != FX_OK ||
        check_count(reply->n_acknowledged_orders, FX_LINK_RESULT_MAX, "acknowledged_orders", err) !=
            FX_OK) {
        return err->code;
    }
    fx_code code = FX_OK;
    for (size_t i = 0; code == FX_OK && i < reply->n_goals; i++) {
        code = check_goal(reply->goals[i], err);
    }
    for (size_t i = 0; code == FX_OK && i < reply->n_orders; i++) {
        code = check_signed_order(reply->orders[i], err);
    }
    for (size_t i = 0; code == FX_OK && i < reply->n_acknowledged_orders; i++) {
        code = check_id(
            reply->acknowledged_orders[i],
            FX_LINK_ORDER_ID_MAX_BYTES,
            "id of an acknowledged order",
            err);
    }
    return code;
}

/* ---- coordinator to coordinator
 * -------------------------------------------------------------------- */

static fx_code
check_host_digest(const Fortress__Link__HostDigest *digest, fx_err *err)
{
    if (fx_message_check_name(digest->host, "host of a digest", err) != FX_OK ||
        check_not_negative(digest->age_ns, "age_ns of a host", err) != FX_OK) {
        return err->code;
    }
    if (digest->report == NULL) {
        return fx_message_bad_field("report of a host", "is absent", err);
    }
    if (check_report(digest->report, err) != FX_OK) {
        return err->code;
    }
    return strcmp(digest->host, digest->report->host) == 0
               ? FX_OK
               : fx_message_bad_field("report", "is of another host than its digest", err);
}

static fx_code
check_sight(const Fortress__Link__Sight *sight, fx_err *err)
{
    clean_detail(sight->detail);
    if (fx_message_check_name(sight->service, "service of a sight", err) != FX_OK ||
        fx_message_check_name(sight->host, "host of a sight", err) != FX_OK ||
        check_not_negative(sight->bad_for_ns, "bad_for_ns", err) != FX_OK) {
        return err->code;
    }
    return FX_OK;
}

static fx_code
check_digest(const Fortress__Link__Digest *digest, fx_err *err)
{
    if (fx_message_check_name(digest->coordinator, "coordinator", err) != FX_OK ||
        fx_message_check_name(digest->region, "region of a digest", err) != FX_OK ||
        check_count(digest->n_hosts, FX_LINK_HOST_MAX, "hosts", err) != FX_OK ||
        check_count(digest->n_sights, FX_LINK_SIGHT_MAX, "sights", err) != FX_OK) {
        return err->code;
    }
    fx_code code = FX_OK;
    for (size_t i = 0; code == FX_OK && i < digest->n_hosts; i++) {
        code = check_host_digest(digest->hosts[i], err);
    }
    for (size_t i = 0; code == FX_OK && i < digest->n_sights; i++) {
        code = check_sight(digest->sights[i], err);
    }
    return code;
}

static fx_code
check_endorse_reply(const Fortress__Link__EndorseReply *reply, fx_err *err)
{
    clean_detail(reply->refused_reason);
    return reply->endorsement == NULL ? FX_OK : check_endorsement(reply->endorsement, err);
}

/* ---- envelope
 * -------------------------------------------------------------------------------------- */

static fx_code
check_body(const fx_link_envelope *envelope, fx_err *err)
{
    switch (envelope->body_case) {
    case FORTRESS__LINK__ENVELOPE__BODY_REPORT:
        return check_report(envelope->report, err);
    case FORTRESS__LINK__ENVELOPE__BODY_REPORT_REPLY:
        return check_report_reply(envelope->report_reply, err);
    case FORTRESS__LINK__ENVELOPE__BODY_DIGEST:
        return check_digest(envelope->digest, err);
    case FORTRESS__LINK__ENVELOPE__BODY_DIGEST_REPLY:
        return FX_OK;
    case FORTRESS__LINK__ENVELOPE__BODY_ENDORSE_REQUEST:
        return check_order_bytes(&envelope->endorse_request->order, err);
    case FORTRESS__LINK__ENVELOPE__BODY_ENDORSE_REPLY:
        return check_endorse_reply(envelope->endorse_reply, err);
    case FORTRESS__LINK__ENVELOPE__BODY_REFUSAL:
        clean_detail(envelope->refusal->message);
        return FX_OK;
    case FORTRESS__LINK__ENVELOPE__BODY__NOT_SET:
    case _FORTRESS__LINK__ENVELOPE__BODY__CASE_IS_INT_SIZE:
        break;
    }
    return fx_message_bad_field("body", "is absent or unknown", err);
}

static const fx_message_kind envelope_kind = {
    &fortress__link__envelope__descriptor,
    "a message",
    FX_LINK_MESSAGE_MAX_BYTES,
    FX_LINK_MEMORY_MAX_BYTES};

static fx_code
check_envelope(const fx_link_envelope *envelope, fx_err *err)
{
    const uint32_t current = FORTRESS__LINK__VERSION__VERSION_CURRENT;
    if (envelope->version == 0 || envelope->version + 1 < current ||
        envelope->version > current + 1) {
        return fx_fail(
            err,
            FX_ERR_UNSUPPORTED,
            "could not accept the message: its version is %u, this program speaks %u",
            envelope->version,
            current);
    }
    if (fx_message_check_name(envelope->cluster, "cluster", err) != FX_OK ||
        fx_message_check_name(envelope->sender, "sender", err) != FX_OK) {
        return err->code;
    }
    if (envelope->incarnation.len != FX_LINK_INCARNATION_BYTES) {
        return fx_message_bad_field("incarnation", "does not have 16 bytes", err);
    }
    return check_body(envelope, err);
}

fx_code
fx_link_pack(const fx_link_envelope *envelope, fx_buf *out, fx_err *err)
{
    return fx_message_pack(&envelope_kind, &envelope->base, out, err);
}

fx_code
fx_link_unpack(fx_bytes bytes, fx_link_envelope **out_envelope, fx_err *err)
{
    ProtobufCMessage *message = NULL;
    if (fx_message_unpack(&envelope_kind, bytes, &message, err) != FX_OK) {
        return err->code;
    }
    FX_AUTO(fx_link_envelope) envelope = (fx_link_envelope *)(void *)message;
    if (check_envelope(envelope, err) != FX_OK) {
        return err->code;
    }
    *out_envelope = FX_TAKE(envelope);
    return FX_OK;
}

void
fx_link_envelope_free(fx_link_envelope *envelope)
{
    if (envelope != NULL) {
        fortress__link__envelope__free_unpacked(envelope, NULL);
    }
}

/* ---- order
 * ----------------------------------------------------------------------------------------- */

static fx_code
check_order(const fx_link_order *order, fx_err *err)
{
    clean_detail(order->reason); /* the signed bytes stay as they are */
    if (check_id(order->id, FX_LINK_ORDER_ID_MAX_BYTES, "id of an order", err) != FX_OK ||
        check_enum(
            &fortress__link__order_kind__descriptor, (int)order->kind, "kind of an order", err) !=
            FX_OK ||
        fx_message_check_name(order->cluster, "cluster of an order", err) != FX_OK ||
        fx_message_check_name(order->host, "host of an order", err) != FX_OK ||
        check_optional_name(order->service, "service of an order", err) != FX_OK ||
        check_not_negative(order->ledger_revision, "ledger_revision", err) != FX_OK ||
        check_text(order->plan, FX_LINK_ORDER_ID_MAX_BYTES, "plan of an order", err) != FX_OK ||
        check_optional_name(order->job, "job of an order", err) != FX_OK ||
        check_text(order->snapshot, FX_LINK_ID_MAX_BYTES, "snapshot of an order", err) != FX_OK ||
        check_text(
            order->target_folder, FX_LINK_PATH_MAX_BYTES, "target_folder of an order", err) !=
            FX_OK ||
        check_text(order->path, FX_LINK_PATH_MAX_BYTES, "path of an order", err) != FX_OK) {
        return err->code;
    }
    return order->kind != FORTRESS__LINK__ORDER_KIND__ORDER_NONE
               ? FX_OK
               : fx_message_bad_field("kind of an order", "is absent", err);
}

static const fx_message_kind order_kind = {
    &fortress__link__order__descriptor,
    "an order",
    FX_LINK_ORDER_MAX_BYTES,
    FX_LINK_MEMORY_MAX_BYTES};

fx_code
fx_link_order_pack(const fx_link_order *order, fx_buf *out, fx_err *err)
{
    return fx_message_pack(&order_kind, &order->base, out, err);
}

fx_code
fx_link_order_unpack(fx_bytes bytes, fx_link_order **out_order, fx_err *err)
{
    ProtobufCMessage *message = NULL;
    if (fx_message_unpack(&order_kind, bytes, &message, err) != FX_OK) {
        return err->code;
    }
    FX_AUTO(fx_link_order) order = (fx_link_order *)(void *)message;
    if (check_order(order, err) != FX_OK) {
        return err->code;
    }
    *out_order = FX_TAKE(order);
    return FX_OK;
}

void
fx_link_order_free(fx_link_order *order)
{
    if (order != NULL) {
        fortress__link__order__free_unpacked(order, NULL);
    }
}

bool
fx_link_order_is_endorsed(Fortress__Link__OrderKind kind)
{
    switch (kind) {
    case FORTRESS__LINK__ORDER_KIND__ORDER_PROMOTE:
    case FORTRESS__LINK__ORDER_KIND__ORDER_FENCE:
    case FORTRESS__LINK__ORDER_KIND__ORDER_RESTORE_IN_PLACE:
    case FORTRESS__LINK__ORDER_KIND__ORDER_DELETE:
    case FORTRESS__LINK__ORDER_KIND__ORDER_RELEASE_KEY:
        return true;
    case FORTRESS__LINK__ORDER_KIND__ORDER_NONE:
    case FORTRESS__LINK__ORDER_KIND__ORDER_BACKUP:
    case FORTRESS__LINK__ORDER_KIND__ORDER_RESTORE:
    case _FORTRESS__LINK__ORDER_KIND_IS_INT_SIZE:
        break;
    }
    return false;
}
