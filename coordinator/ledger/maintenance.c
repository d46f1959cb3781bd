#include "coordinator/ledger/maintenance.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "coordinator/ledger/etcd_ask.h"

/* "memberID:8211... alarm:NOSPACE " */
static void
take_alarms(const fx_json *errors, fx_store_health *health)
{
    for (size_t i = 0; i < fx_json_count(errors); i++) {
        const char *text = fx_json_as_text(fx_json_at(errors, i), "");
        health->no_space = health->no_space || strstr(text, "NOSPACE") != NULL;
        health->corrupt = health->corrupt || strstr(text, "CORRUPT") != NULL;
    }
}

static void
look_at(fx_etcd *etcd, size_t index, fx_store_health *health)
{
    fx_err ignored = {0};
    fx_store_member *member = &health->members[index];
    *member = (fx_store_member){.answers = false};
    (void)snprintf(member->endpoint, sizeof member->endpoint, "%s", fx_etcd_endpoint(etcd, index));
    FX_AUTO(fx_json) nothing = fx_json_object();
    FX_AUTO(fx_json) answer = NULL;
    fx_etcd_question what = {index, "/v3/maintenance/status", nothing};
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(FX_ETCD_LOOK_MS));
    if (fx_etcd_ask(etcd, &what, deadline, &answer, &ignored) != FX_OK) {
        return;
    }
    const fx_json *header = fx_json_get(answer, "header");
    const char *leader = fx_json_as_text(fx_json_get(answer, "leader"), "");
    int64_t revision = fx_json_as_int(fx_json_get(header, "revision"), 0);
    member->answers = true;
    member->leads = strcmp(fx_json_as_text(fx_json_get(header, "member_id"), "?"), leader) == 0;
    member->size_bytes = fx_json_as_int(fx_json_get(answer, "dbSize"), 0);
    member->in_use_bytes = fx_json_as_int(fx_json_get(answer, "dbSizeInUse"), 0);
    health->revision = revision > health->revision ? revision : health->revision;
    take_alarms(fx_json_get(answer, "errors"), health);
}

void
fx_etcd_look(fx_etcd *etcd, int64_t quota_bytes, fx_store_health *out_health)
{
    _Static_assert((int)FX_STORE_MEMBER_MAX >= (int)FX_ETCD_ENDPOINT_MAX, "all endpoints fit");
    *out_health = (fx_store_health){
        .quota_bytes = quota_bytes,
        .member_count = fx_etcd_endpoint_count(etcd),
    };
    for (size_t i = 0; i < out_health->member_count; i++) {
        look_at(etcd, i, out_health);
    }
    out_health->looked_at = fx_clock_mono();
}

/* Of the endpoints, one after another until one answers. */
static fx_code
ask_any(
    fx_etcd *etcd,
    const char *path,
    const fx_json *body,
    fx_mono deadline,
    fx_json **out_json,
    fx_err *err)
{
    fx_code code = FX_ERR_UNREACHABLE;
    for (size_t i = 0; i < fx_etcd_endpoint_count(etcd) && code != FX_OK; i++) {
        fx_etcd_question what = {i, path, body};
        code = fx_etcd_ask(etcd, &what, deadline, out_json, err);
    }
    return code;
}

fx_code
fx_etcd_compact(fx_etcd *etcd, int64_t revision, fx_mono deadline, fx_err *err)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRId64, revision);
    FX_AUTO(fx_json) body = fx_json_object();
    FX_AUTO(fx_json) answer = NULL;
    fx_json_set_text(body, "revision", text);
    fx_json_set_bool(body, "physical", true);
    if (ask_any(etcd, "/v3/kv/compaction", body, deadline, &answer, err) != FX_OK) {
        bool is_gone = strstr(err->message, "has been compacted") != NULL;
        return is_gone ? FX_OK : fx_err_wrap(err, "compacting etcd");
    }
    return FX_OK;
}

fx_code
fx_etcd_defragment(fx_etcd *etcd, size_t member, fx_mono deadline, fx_err *err)
{
    FX_AUTO(fx_json) nothing = fx_json_object();
    FX_AUTO(fx_json) answer = NULL;
    fx_etcd_question what = {member, "/v3/maintenance/defragment", nothing};
    if (fx_etcd_ask(etcd, &what, deadline, &answer, err) != FX_OK) {
        return fx_err_wrap(err, "defragmenting %s", fx_etcd_endpoint(etcd, member));
    }
    return FX_OK;
}

static fx_code
disarm_one(fx_etcd *etcd, const fx_json *alarm, fx_mono deadline, fx_err *err)
{
    if (strcmp(fx_json_as_text(fx_json_get(alarm, "alarm"), ""), "NOSPACE") != 0) {
        return FX_OK;
    }
    FX_AUTO(fx_json) body = fx_json_object();
    FX_AUTO(fx_json) answer = NULL;
    fx_json_set_text(body, "action", "DEACTIVATE");
    fx_json_set_text(body, "memberID", fx_json_as_text(fx_json_get(alarm, "memberID"), "0"));
    fx_json_set_text(body, "alarm", "NOSPACE");
    return ask_any(etcd, "/v3/maintenance/alarm", body, deadline, &answer, err);
}

fx_code
fx_etcd_disarm(fx_etcd *etcd, fx_mono deadline, fx_err *err)
{
    FX_AUTO(fx_json) body = fx_json_object();
    FX_AUTO(fx_json) answer = NULL;
    fx_json_set_text(body, "action", "GET");
    if (ask_any(etcd, "/v3/maintenance/alarm", body, deadline, &answer, err) != FX_OK) {
        return fx_err_wrap(err, "reading etcd's alarms");
    }
    const fx_json *alarms = fx_json_get(answer, "alarms");
    for (size_t i = 0; i < fx_json_count(alarms); i++) {
        if (disarm_one(etcd, fx_json_at(alarms, i), deadline, err) != FX_OK) {
            return fx_err_wrap(err, "ending etcd's alarm");
        }
    }
    return FX_OK;
}
