/* Steps of a running plan; used by fx_decide alone. */
#pragma once

#include "coordinator/core/decide.h"

/* A new command in the list, with reason and leader's revision set. Borrowed from `commands`. */
fx_command *fx_command_add(
    const fx_situation *situation,
    fx_commands *commands,
    fx_command_kind kind,
    const fx_name *subject,
    const char *reason);

/* Fills what every decision says; evidence is added by the caller. */
fx_decision *fx_command_decision(
    const fx_situation *situation, fx_command *command, const char *verdict, const fx_id *plan);

/* NULL: never tried for this epoch under the present leadership. */
const fx_attempt *fx_attempt_find(
    const fx_situation *situation, const fx_name *subject, fx_command_kind kind, fx_epoch epoch);

/* May it be tried now: never tried, or failed long enough ago, or done and wanted again? */
bool fx_attempt_due(const fx_situation *situation, const fx_attempt *attempt);

/* "PREFIX-e2-r123-45" */
fx_id fx_id_compose(const char *prefix, fx_epoch epoch, fx_revision record, fx_revision ledger);

/* Decides the next step of the plan of `service`. */
void fx_plan_advance(
    const fx_situation *situation,
    const fx_service *service,
    const fx_plan *plan,
    fx_commands *commands);

/* Acts on DNS or observes it, once that is due. */
void fx_dns_decide(
    const fx_situation *situation,
    const fx_service *service,
    fx_command_kind kind,
    fx_commands *commands);

/*
 * The promotion of `service` is missing, its host reports that it failed, or the host does not know
 * and was observed not to act on it.
 */
void fx_promotion_decide(
    const fx_situation *situation, const fx_service *service, fx_commands *commands);

/* Is the primary up in the epoch that the ledger says? */
bool fx_primary_is_up(const fx_situation *situation, const fx_service *service);

/* The record of `host`, or a new one. */
fx_lease fx_lease_of(const fx_ledger *ledger, const fx_name *host);
void fx_lease_hold(fx_lease *lease, const fx_name *service, fx_epoch epoch);
