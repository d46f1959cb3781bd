#include "agent/core/depot_rules.h"

#include <string.h>

typedef struct rule {
    const char *prefix;
    fx_depot_put put;
} rule;

/*
 * A settlement hides snapshots, a forgotten/ object too, and the next collection removes what they
 * need; a release lets a policy forget what was held, and a hold keeps others from forgetting; a
 * mark forbids packs; a repairs/ object has a repair bring an object from another tier, where
 * perhaps a snapshot is forgotten that is not here; a revocation ends a backup, and the end of a
 * lease lets a collector go on; what arrives takes room for ever, and an erasure says that keys are
 * no more. A host needs none of them for backups of its own. Names that mean nothing to a reader do
 * no harm.
 */
static const rule rules[] = {
    {"leases-over/", FX_DEPOT_PUT_OWN_LEASE},
    {"revocations/", FX_DEPOT_PUT_OWN_LEASE},
    {"settled/", FX_DEPOT_PUT_SETTLEMENT},
    {"arriving/", FX_DEPOT_PUT_REPLICATOR},
    {"erasures/", FX_DEPOT_PUT_REPLICATOR},
    {"marks/", FX_DEPOT_PUT_COLLECTOR},
    {"holds/", FX_DEPOT_PUT_COLLECTOR},
    {"forgotten/", FX_DEPOT_PUT_COLLECTOR},
    {"repairs/", FX_DEPOT_PUT_COLLECTOR},
    {"tmp/", FX_DEPOT_PUT_NEVER},
};

static size_t
count_slashes(const char *key)
{
    size_t count = 0;
    for (const char *at = strchr(key, '/'); at != NULL; at = strchr(at + 1, '/')) {
        count++;
    }
    return count;
}

fx_depot_put
fx_depot_put_rule(const char *key, const char **out_lease)
{
    if (count_slashes(key) > FX_DEPOT_KEY_DEPTH_MAX) {
        return FX_DEPOT_PUT_NEVER;
    }
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        size_t prefix_bytes = strlen(rules[i].prefix);
        if (strncmp(key, rules[i].prefix, prefix_bytes) == 0) {
            *out_lease = key + prefix_bytes;
            return rules[i].put;
        }
    }
    return FX_DEPOT_PUT_FREELY;
}

bool
fx_depot_is_passing(const char *key)
{
    static const char *const prefixes[] = {"leases/", "marks/", "arriving/"};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        if (strncmp(key, prefixes[i], strlen(prefixes[i])) == 0) {
            return true;
        }
    }
    return false;
}
