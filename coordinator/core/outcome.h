/*
 * The third outcome beside done and failed: *unknown*. What may have happened, though no answer
 * said so, is observed before it is done again or declared done.
 *
 *   action             observation
 *   ledger transaction a linearizable read that was sent after the attempt ended (fx_decide waits
 * for it; its revisions make a transaction that comes late fail) fence, promote     what the host
 * itself reports: role, epoch, whether it asks for a lease; a report that shows the order's result
 * was made after it DNS                the authoritative server's own answer
 * (FX_COMMAND_OBSERVE_DNS) validate           is an observation itself
 */
#pragma once

#include "coordinator/core/decide.h"

typedef enum fx_outcome {
    FX_OUTCOME_OPEN,     /* not done: never tried, failed, or observed not to have happened */
    FX_OUTCOME_DONE,     /* an answer said so */
    FX_OUTCOME_UNKNOWN,  /* it may have happened: to be observed */
    FX_OUTCOME_OBSERVED, /* no answer said so, but an observation shows it done */
} fx_outcome;

/* Does this kind of command write to the ledger? */
bool fx_command_is_transaction(fx_command_kind kind);

/*
 * Of making DNS say the service's epoch. `of_others`: another leader may have tried, whose answer
 * this one never saw.
 */
fx_outcome
fx_outcome_of_dns(const fx_situation *situation, const fx_service *service, bool of_others);

/* What the observation of DNS found; "" before there is one. */
const char *fx_outcome_dns_fact(const fx_situation *situation, const fx_service *service);

/* Does `host` report that it does not know whether it carried out the order? */
bool fx_order_is_unknown(const fx_host_view *host, const fx_signed_order *order);

/*
 * Does the primary's host act on the right to write in the service's epoch: it is there already, or
 * has seen the epoch and asks for the lease, which it does only with the order on its disk?
 */
bool fx_promotion_is_taken_up(const fx_host_view *host, const fx_service *service);

/* What `host` reports of the service, for evidence: "reports standby, epoch seen 4, ...". */
void
fx_report_fact(const fx_host_view *host, const fx_name *service, char out_fact[FX_REASON_BYTES]);

/*
 * Adds to every transaction of a service whose last one had an unknown outcome what the read since
 * then shows, as evidence in a decision.
 */
void fx_outcome_explain(const fx_situation *situation, fx_commands *commands);
