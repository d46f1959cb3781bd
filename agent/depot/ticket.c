/* Permission to remove: the signatures here, the decision in agent/core. */
#include "agent/core/depot_ticket.h"
#include "agent/depot/serve.h"
#include "common/base/clock.h"

static fx_code
refuse(const Fortress__Depot__Remove *remove, fx_depot_verdict verdict, fx_err *err)
{
    return fx_fail(
        err,
        FX_ERR_DENIED,
        "could not remove \"%.80s\"%s: %s",
        remove->keys[0],
        remove->n_keys > 1 ? " and others" : "",
        fx_depot_verdict_text(verdict));
}

fx_code
fx_depot_check_ticket(
    const fx_depot *depot,
    const fx_depot_room *room,
    const Fortress__Depot__Remove *remove,
    fx_err *err)
{
    FX_AUTO(fx_depot_ticket) ticket = NULL;
    fx_depot_claim claim = {.present = remove->ticket != NULL};
    fx_depot_scene scene = {
        .cluster = depot->cluster,
        .depot = depot->host,
        .repository = room->name,
        .now = fx_clock_wall(),
        .keys = (const char *const *)remove->keys,
        .key_count = remove->n_keys,
    };
    if (claim.present) {
        fx_bytes bytes = {remove->ticket->ticket.data, remove->ticket->ticket.len};
        if (fx_depot_ticket_unpack(bytes, &ticket, err) != FX_OK) {
            return err->code;
        }
        claim.cluster = fx_name_of(ticket->cluster); /* names, by the unpacking */
        claim.depot = fx_name_of(ticket->depot);
        claim.repository = fx_name_of(ticket->repository);
        claim.issued = (fx_wall){.ns = ticket->issued_wall_ns};
        claim.expires = (fx_wall){.ns = ticket->expires_wall_ns};
        claim.keys = (const char *const *)ticket->keys;
        claim.key_count = ticket->n_keys;
        scene.regions = fx_endorsers_count_ticket_regions(
            &depot->endorsers, bytes, remove->ticket->endorsements, remove->ticket->n_endorsements);
    }
    fx_depot_verdict verdict = fx_depot_ticket_check(&claim, &scene);
    if (verdict != FX_DEPOT_MAY_REMOVE) {
        return refuse(remove, verdict, err);
    }
    if (ticket != NULL) {
        FX_LOG(
            depot->log,
            INFO,
            "ticket.used",
            FX_STR("depot", room->name.text),
            FX_STR("ticket", ticket->id),
            FX_STR("reason", ticket->reason),
            FX_INT("keys", remove->n_keys));
    }
    return FX_OK;
}
