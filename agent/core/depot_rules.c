#include "agent/core/depot_rules.h"

#include <string.h>

typedef struct rule {
    const char *prefix;
    fx_depot_put put;
} rule;

/*
 * A settlement hides snapshots, a mark forbids packs, a revocation ends a backup, and the end of a
 * lease lets a collector go on.
 */
static const rule rules[] = {
    {"leases-over/", FX_DEPOT_PUT_OWN_LEASE},
    {"revocations/", FX_DEPOT_PUT_OWN_LEASE},
    {"settled/", FX_DEPOT_PUT_COLLECTOR},
    {"marks/", FX_DEPOT_PUT_COLLECTOR},
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
