/* The daemon's parts, as its files share them. Only agent/run includes it. */
#pragma once

#include "agent/link/journal.h"
#include "agent/link/reporter.h"
#include "agent/run/changes.h"
#include "agent/run/gap_upload.h"
#include "agent/run/gaps.h"
#include "agent/run/jobs.h"
#include "agent/run/probes.h"
#include "agent/run/receivers.h"
#include "agent/service/service.h"
#include "common/endorsement/endorsement.h"

typedef struct fx_agent {
    const fx_agent_config *config;
    const fx_log *log;
    bool no_cgroup;
    fx_name cluster;
    fx_name host;
    fx_name region;
    fx_loop *loop;
    fx_service_options service_options[FX_CONFIG_SERVICE_MAX];
    fx_service *services[FX_CONFIG_SERVICE_MAX];
    size_t service_count;
    fx_lease_end lease; /* of this host */
    fx_probes *probes;
    fx_jobs *jobs;
    fx_gaps *gaps;
    fx_gap_upload *gap_upload;
    fx_receivers *receivers;
    fx_endorsers endorsers;
    fx_journal *journal;
    fx_link_sender sender;
    fx_reporter *reporter;
    fx_changes *changes;
    unsigned running_order_count;
} fx_agent;

/* NULL: not managed here. */
fx_service *fx_agent_find_service(fx_agent *agent, const char *name);

/* Appends the host's state as a packed fortress.link.Report. */
FX_MUST_USE fx_code fx_agent_report(fx_agent *agent, fx_buf *out, fx_err *err);

/* Checks one order and, if it may, carries it out on a worker thread. */
void fx_agent_take_order(fx_agent *agent, const Fortress__Link__SignedOrder *order);

/* After a restart: the stored promotions whose endorsements are still valid count again. */
void fx_agent_trust_promotions(fx_agent *agent);
