#include "coordinator/cli/show.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "coordinator/cli/table.h"

enum { PUT_MAX_BYTES = 512 }; /* of one piece; texts of any length go another way */

typedef struct page {
    fx_buf *out;
    fx_err *err;
    fx_code code; /* the first failure ends all writing */
    fx_wall now;
} page;

FX_PRINTF(2, 3)
static void
put(page *to, const char *format, ...)
{
    char text[PUT_MAX_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (to->code == FX_OK) {
        to->code = fx_buf_append_text(to->out, text, to->err);
    }
}

static const char *
text_of(const fx_json *json, const char *key)
{
    return fx_json_as_text(fx_json_get(json, key), "");
}

static int64_t
number_of(const fx_json *json, const char *key)
{
    return fx_json_as_int(fx_json_get(json, key), 0);
}

static bool
flag_of(const fx_json *json, const char *key)
{
    return fx_json_as_bool(fx_json_get(json, key), false);
}

/* Answers are bytes from outside: what is no table cell is cleaned here. */
static void
put_clean(page *to, const char *text)
{
    for (const char *at = text; *at != '\0' && to->code == FX_OK; at++) {
        bool plain = (unsigned char)*at >= 0x20 && *at != 0x7f;
        to->code = fx_buf_append(to->out, plain ? at : "?", 1, to->err);
    }
}

static void
put_table(page *to, const fx_table *table)
{
    if (to->code == FX_OK) {
        to->code = fx_table_print(table, 2, to->out, to->err);
    }
}

static void
add_number(fx_table *table, const fx_json *json, const char *key)
{
    char text[FX_SHORT_TEXT_BYTES];
    (void)snprintf(text, sizeof text, "%" PRId64, number_of(json, key));
    fx_table_add(table, text);
}

/* A length in milliseconds; "-" where the answer has none. */
static void
add_ms(fx_table *table, const fx_json *json, const char *key)
{
    char text[FX_SHORT_TEXT_BYTES] = "";
    int64_t ms = fx_json_as_int(fx_json_get(json, key), INT64_MIN);
    if (ms > INT64_MIN / FX_NS_PER_MS && ms < INT64_MAX / FX_NS_PER_MS) {
        fx_short_duration(FX_DUR_MS(ms), text);
    }
    fx_table_add(table, text);
}

static bool
time_of(const fx_json *json, const char *key, fx_wall *out_when)
{
    fx_err err;
    const char *text = text_of(json, key);
    return text[0] != '\0' && fx_wall_parse(text, out_when, &err) == FX_OK;
}

/* "3 min ago"; "" where the answer has no such time. */
static void
ago(fx_wall now, const fx_json *json, const char *key, char *text, size_t size_bytes)
{
    fx_wall when;
    char length[FX_SHORT_TEXT_BYTES];
    text[0] = '\0';
    if (time_of(json, key, &when)) {
        fx_short_duration((fx_dur){.ns = now.ns > when.ns ? now.ns - when.ns : 0}, length);
        (void)snprintf(text, size_bytes, "%s ago", length);
    }
}

static void
add_ago(fx_table *table, fx_wall now, const fx_json *json, const char *key)
{
    char text[FX_SHORT_TEXT_BYTES + 8];
    ago(now, json, key, text, sizeof text);
    fx_table_add(table, text);
}

static void
add_size(fx_table *table, const fx_json *json, const char *key)
{
    char text[FX_SHORT_TEXT_BYTES];
    int64_t size_bytes = number_of(json, key);
    fx_short_size(size_bytes < 0 ? 0 : (uint64_t)size_bytes, text);
    fx_table_add(table, text);
}

/* Twelve digits of an id are enough to name a snapshot, and fit. */
static void
add_short_id(fx_table *table, const fx_json *json, const char *key)
{
    char text[16];
    (void)snprintf(text, sizeof text, "%.12s", text_of(json, key));
    fx_table_add(table, text);
}

/* ---- services
 * ------------------------------------------------------------------------------------ */

static void
add_lease(fx_table *table, const fx_json *service, bool is_primary)
{
    const fx_json *lease = fx_json_get(service, "lease");
    if (!is_primary || fx_json_get(lease, "left_ms") == NULL) {
        fx_table_add(table, "");
    } else if (number_of(lease, "left_ms") <= 0) {
        fx_table_add(table, "over");
    } else {
        add_ms(table, lease, "left_ms");
    }
}

static void
add_member(fx_table *table, const fx_json *service, const fx_json *member, bool is_first)
{
    const char *role = text_of(member, "role");
    bool is_primary = strcmp(text_of(member, "host"), text_of(service, "primary")) == 0;
    bool is_standby = strcmp(role, "standby") == 0;
    const char *state = "ok";
    if (flag_of(member, "silent")) {
        state = "SILENT";
    } else if (strcmp(role, "unknown") == 0) {
        state = "NOT REPORTED";
    } else if (is_primary && strcmp(role, "primary") != 0) {
        state = "SHOULD BE PRIMARY";
    } else if (!is_primary && strcmp(role, "primary") == 0) {
        state = "SHOULD NOT BE PRIMARY";
    } else if (!flag_of(member, "healthy")) {
        state = "NOT HEALTHY";
    } else if (is_standby && !flag_of(member, "streaming")) {
        state = "NOT STREAMING";
    }
    char epoch[FX_SHORT_TEXT_BYTES];
    (void)snprintf(epoch, sizeof epoch, "%" PRId64, number_of(service, "epoch"));
    fx_table_add(table, is_first ? text_of(service, "name") : " ");
    fx_table_add(table, is_first ? text_of(service, "health") : " ");
    fx_table_add(table, is_first ? epoch : " ");
    fx_table_add(table, text_of(member, "host"));
    fx_table_add(table, text_of(member, "region"));
    char shown_role[FX_SHORT_TEXT_BYTES];
    (void)snprintf(
        shown_role, sizeof shown_role, "%s%s", flag_of(member, "silent") ? "was " : "", role);
    fx_table_add(table, shown_role);
    fx_table_add(table, state);
    add_lease(table, service, is_primary);
    if (is_standby) {
        add_ms(table, member, "lag_ms");
        add_size(table, member, "lag_bytes");
    } else {
        fx_table_add(table, "");
        fx_table_add(table, "");
    }
    add_ms(table, member, "report_age_ms");
    fx_table_end_row(table);
}

static void
put_services(page *to, const fx_json *services)
{
    static const char *const headings[] = {
        "SERVICE",
        "HEALTH",
        ">EPOCH",
        "HOST",
        "REGION",
        "ROLE",
        "STATE",
        ">LEASE LEFT",
        ">LAG",
        ">BEHIND",
        ">HEARD",
        NULL};
    FX_AUTO(fx_table) table = fx_table_new(headings);
    for (size_t i = 0; i < fx_json_count(services); i++) {
        const fx_json *service = fx_json_at(services, i);
        const fx_json *members = fx_json_get(service, "members");
        for (size_t j = 0; j < fx_json_count(members); j++) {
            add_member(table, service, fx_json_at(members, j), j == 0);
        }
    }
    if (fx_json_count(services) == 0) {
        put(to, "  no services are known\n");
    } else {
        put_table(to, table);
    }
}

/* ---- plans
 * --------------------------------------------------------------------------------------- */

static void
put_step(page *to, const fx_json *step)
{
    fx_wall started;
    fx_wall finished = to->now;
    char took[FX_SHORT_TEXT_BYTES] = "-";
    bool has_ended = time_of(step, "finished_at", &finished);
    if (time_of(step, "started_at", &started)) {
        finished = has_ended ? finished : to->now;
        fx_short_duration((fx_dur){.ns = finished.ns - started.ns}, took);
    }
    const char *detail = text_of(step, "detail");
    put(to, "    %-10.20s %-8.20s %8s", text_of(step, "kind"), text_of(step, "state"), took);
    put(to, "%s", detail[0] == '\0' ? "" : "  ");
    put_clean(to, detail);
    put(to, "\n");
}

static void
put_plan(page *to, const fx_json *plan)
{
    char started[FX_SHORT_TEXT_BYTES + 8];
    ago(to->now, plan, "started_at", started, sizeof started);
    put(to, "  ");
    put_clean(to, text_of(plan, "id"));
    put(to, "  %.20s of ", text_of(plan, "kind"));
    put_clean(to, text_of(plan, "service"));
    put(to, ": %.20s; ", text_of(plan, "state"));
    put_clean(to, text_of(plan, "from_host"));
    put(to, " to ");
    put_clean(
        to, text_of(plan, "to_host")[0] == '\0' ? "the best standby" : text_of(plan, "to_host"));
    put(to, "; started %s", started);
    if (text_of(plan, "requested_by")[0] != '\0') {
        put(to, ", asked for by ");
        put_clean(to, text_of(plan, "requested_by"));
    }
    put(to, "\n");
    const fx_json *steps = fx_json_get(plan, "steps");
    for (size_t i = 0; i < fx_json_count(steps); i++) {
        put_step(to, fx_json_at(steps, i));
    }
    if (text_of(plan, "outcome")[0] != '\0') {
        put(to, "    outcome: ");
        put_clean(to, text_of(plan, "outcome"));
        put(to, "\n");
    }
}

fx_code
fx_show_step(const fx_json *step, fx_wall now, fx_buf *out, fx_err *err)
{
    page to = {.out = out, .err = err, .now = now};
    put_step(&to, step);
    return to.code;
}

/* ---- the page at three in the morning
 * ------------------------------------------------------------ */

static void
put_head(page *to, const fx_json *answer)
{
    const fx_json *quorum = fx_json_get(answer, "quorum");
    char age[FX_SHORT_TEXT_BYTES] = "never";
    int64_t age_ms = fx_json_as_int(fx_json_get(quorum, "read_age_ms"), -1);
    if (age_ms >= 0) {
        fx_short_duration(FX_DUR_MS(age_ms), age);
    }
    put_clean(to, text_of(answer, "cluster"));
    put(to, ", seen by ");
    put_clean(to, text_of(answer, "coordinator"));
    put(to, " (");
    put_clean(to, text_of(answer, "region"));
    put(to, ") at ");
    put_clean(to, text_of(answer, "now"));
    put(to, "\nleader:  ");
    if (text_of(answer, "leader")[0] == '\0') {
        put(to, "NONE");
    } else {
        put_clean(to, text_of(answer, "leader"));
        put(to, " (");
        put_clean(to, text_of(answer, "leader_region"));
        put(to, "), term %" PRId64, number_of(answer, "term"));
    }
    put(to,
        "\nquorum:  %s, ledger read %s%s\n",
        flag_of(quorum, "ok") ? "yes" : "NO",
        age,
        age_ms >= 0 ? " ago" : "");
}

/* "etcd:    3 of 3 answer, 1.2 MiB of 2.0 GiB" */
static void
put_store(page *to, const fx_json *store)
{
    const fx_json *members = fx_json_get(store, "members");
    char size[FX_SHORT_TEXT_BYTES];
    char quota[FX_SHORT_TEXT_BYTES];
    size_t answer = 0;
    int64_t largest = 0;
    if (members == NULL) {
        return; /* not looked at yet, or an older coordinator */
    }
    for (size_t i = 0; i < fx_json_count(members); i++) {
        const fx_json *one = fx_json_at(members, i);
        answer += flag_of(one, "answers");
        largest = number_of(one, "size_bytes") > largest ? number_of(one, "size_bytes") : largest;
    }
    fx_short_size((uint64_t)largest, size);
    fx_short_size((uint64_t)number_of(store, "quota_bytes"), quota);
    put(to,
        "etcd:    %zu of %zu answer, database %s of %s%s\n",
        answer,
        fx_json_count(members),
        size,
        quota,
        flag_of(store, "no_space") ? ", NO SPACE" : "");
}

static void
put_problems(page *to, const fx_json *problems)
{
    static const char *const headings[] = {"SEVERITY", "SUBJECT", "PROBLEM", NULL};
    if (fx_json_count(problems) == 0) {
        put(to, "\nNo problems are known.\n");
        return;
    }
    FX_AUTO(fx_table) table = fx_table_new(headings);
    for (size_t i = 0; i < fx_json_count(problems); i++) {
        const fx_json *one = fx_json_at(problems, i);
        bool critical = strcmp(text_of(one, "severity"), "critical") == 0;
        fx_table_add(table, critical ? "CRITICAL" : "warning");
        fx_table_add(table, text_of(one, "subject"));
        fx_table_add(table, text_of(one, "text"));
        fx_table_end_row(table);
    }
    put(to, "\nProblems\n");
    put_table(to, table);
}

static void
put_coordinators(page *to, const fx_json *answer)
{
    static const char *const headings[] = {"COORDINATOR", "REGION", "ROLE", ">HEARD", NULL};
    const fx_json *list = fx_json_get(answer, "coordinators");
    FX_AUTO(fx_table) table = fx_table_new(headings);
    for (size_t i = 0; i < fx_json_count(list); i++) {
        const fx_json *one = fx_json_at(list, i);
        bool leads = strcmp(text_of(one, "name"), text_of(answer, "leader")) == 0;
        fx_table_add(table, text_of(one, "name"));
        fx_table_add(table, text_of(one, "region"));
        fx_table_add(table, leads ? "leader" : "");
        add_ms(table, one, "heard_age_ms");
        fx_table_end_row(table);
    }
    put(to, "\nCoordinators\n");
    put_table(to, table);
}

static void
put_backups(page *to, const fx_json *answer)
{
    static const char *const headings[] = {
        "HOST", "SOURCE", ">NEWEST", ">SIZE", ">WARNINGS", "SNAPSHOT", NULL};
    const fx_json *list = fx_json_get(answer, "backups");
    FX_AUTO(fx_table) table = fx_table_new(headings);
    for (size_t i = 0; i < fx_json_count(list); i++) {
        const fx_json *one = fx_json_at(list, i);
        fx_table_add(table, text_of(one, "host"));
        fx_table_add(table, text_of(one, "source"));
        add_ago(table, to->now, one, "taken_at");
        add_size(table, one, "size_bytes");
        add_number(table, one, "warning_count");
        add_short_id(table, one, "id");
        fx_table_end_row(table);
    }
    put(to, "\nBackups (the newest of each source)\n");
    if (fx_table_row_count(table) > 0) {
        put_table(to, table);
    } else {
        put(to, "  %s\n", fx_json_get(answer, "backups") == NULL ? "NOT KNOWN" : "NONE");
    }
}

fx_code
fx_show_status(const fx_json *answer, fx_wall now, fx_buf *out, fx_err *err)
{
    page to = {.out = out, .err = err, .now = now};
    (void)time_of(answer, "now", &to.now); /* the coordinator's own clock, where it says it */
    put_head(&to, answer);
    put_store(&to, fx_json_get(answer, "etcd"));
    put_problems(&to, fx_json_get(answer, "problems"));
    put(&to, "\nServices\n");
    put_services(&to, fx_json_get(answer, "services"));
    const fx_json *plans = fx_json_get(answer, "plans");
    if (fx_json_count(plans) > 0) {
        put(&to, "\nPlans in flight\n");
    }
    for (size_t i = 0; i < fx_json_count(plans); i++) {
        put_plan(&to, fx_json_at(plans, i));
    }
    put_coordinators(&to, answer);
    put_backups(&to, answer);
    return to.code;
}

fx_code
fx_show_services(const fx_json *answer, fx_wall now, fx_buf *out, fx_err *err)
{
    page to = {.out = out, .err = err, .now = now};
    put_services(&to, fx_json_get(answer, "services"));
    return to.code;
}

fx_code
fx_show_plans(const fx_json *answer, fx_wall now, fx_buf *out, fx_err *err)
{
    page to = {.out = out, .err = err, .now = now};
    const fx_json *plans = fx_json_get(answer, "plans");
    for (size_t i = 0; i < fx_json_count(plans); i++) {
        put_plan(&to, fx_json_at(plans, i));
    }
    if (fx_json_count(plans) == 0) {
        put(&to, "  no plans are known\n");
    }
    if (!fx_json_as_bool(fx_json_get(answer, "complete"), true)) {
        put(&to, "  finished plans are missing here: the ledger did not answer\n");
    }
    return to.code;
}

/* ---- hosts, snapshots, decisions
 * ----------------------------------------------------------------- */

static void
add_host_services(fx_table *table, const fx_json *host)
{
    char text[512] = "";
    size_t used = 0;
    const fx_json *services = fx_json_get(host, "services");
    for (size_t i = 0; i < fx_json_count(services) && used < sizeof text; i++) {
        const fx_json *one = fx_json_at(services, i);
        int added = snprintf(
            text + used,
            sizeof text - used,
            "%s%s: %s",
            i == 0 ? "" : ", ",
            text_of(one, "name"),
            text_of(one, "role"));
        used += added > 0 ? (size_t)added : 0;
    }
    fx_table_add(table, text);
}

fx_code
fx_show_hosts(const fx_json *answer, fx_wall now, fx_buf *out, fx_err *err)
{
    static const char *const headings[] = {
        "HOST", "REGION", "STATE", ">HEARD", "BY", "LEASE", ">LEFT", "SERVICES", NULL};
    page to = {.out = out, .err = err, .now = now};
    const fx_json *hosts = fx_json_get(answer, "hosts");
    FX_AUTO(fx_table) table = fx_table_new(headings);
    for (size_t i = 0; i < fx_json_count(hosts); i++) {
        const fx_json *host = fx_json_at(hosts, i);
        const fx_json *lease = fx_json_get(host, "lease");
        const char *lease_text = flag_of(lease, "open") ? "open" : "closed";
        fx_table_add(table, text_of(host, "name"));
        fx_table_add(table, text_of(host, "region"));
        fx_table_add(table, flag_of(host, "silent") ? "SILENT" : "ok");
        add_ms(table, host, "report_age_ms");
        fx_table_add(table, text_of(host, "heard_by"));
        fx_table_add(table, fx_json_get(lease, "open") == NULL ? "" : lease_text);
        if (number_of(lease, "left_ms") > 0) {
            add_ms(table, lease, "left_ms");
        } else {
            fx_table_add(table, fx_json_get(lease, "open") == NULL ? "" : "over");
        }
        add_host_services(table, host);
        fx_table_end_row(table);
    }
    if (fx_table_row_count(table) == 0) {
        put(&to, "  no hosts are known\n");
    } else {
        put_table(&to, table);
    }
    return to.code;
}

static void
put_unread(page *to, const fx_json *repositories)
{
    for (size_t i = 0; i < fx_json_count(repositories); i++) {
        const fx_json *one = fx_json_at(repositories, i);
        if (!flag_of(one, "reachable")) {
            put(to, "  repository ");
            put_clean(to, text_of(one, "name"));
            put(to, " was not read: ");
            put_clean(to, text_of(one, "error"));
            put(to, "\n");
        }
    }
}

fx_code
fx_show_snapshots(const fx_json *answer, fx_wall now, fx_buf *out, fx_err *err)
{
    static const char *const headings[] = {
        "SNAPSHOT",
        "HOST",
        "SOURCE",
        ">TAKEN",
        ">SIZE",
        ">ADDED",
        ">FILES",
        ">WARNINGS",
        "REPOSITORY",
        NULL};
    page to = {.out = out, .err = err, .now = now};
    const fx_json *snapshots = fx_json_get(answer, "snapshots");
    FX_AUTO(fx_table) table = fx_table_new(headings);
    for (size_t i = 0; i < fx_json_count(snapshots); i++) {
        const fx_json *one = fx_json_at(snapshots, i);
        const char *repository = text_of(one, "repository");
        add_short_id(table, one, "id");
        fx_table_add(table, text_of(one, "host"));
        fx_table_add(table, text_of(one, "source"));
        add_ago(table, now, one, "taken_at");
        add_size(table, one, "size_bytes");
        add_size(table, one, "added_bytes");
        add_number(table, one, "file_count");
        add_number(table, one, "warning_count");
        fx_table_add(table, repository[0] == '\0' ? "(reported only)" : repository);
        fx_table_end_row(table);
    }
    if (fx_table_row_count(table) == 0) {
        put(&to, "  no snapshots are known\n");
    } else {
        put_table(&to, table);
    }
    put_unread(&to, fx_json_get(answer, "repositories"));
    return to.code;
}

static void
put_decision(page *to, const fx_json *decision)
{
    char decided[FX_SHORT_TEXT_BYTES + 8];
    ago(to->now, decision, "decided_at", decided, sizeof decided);
    put(to, "  %s  ", decided);
    put_clean(to, text_of(decision, "service"));
    put(to, ": ");
    put_clean(to, text_of(decision, "verdict"));
    put(to, ", by ");
    put_clean(to, text_of(decision, "coordinator"));
    put(to, " (term %" PRId64 ")\n    reason: ", number_of(decision, "term"));
    put_clean(to, text_of(decision, "reason"));
    put(to, "\n");
    const fx_json *evidence = fx_json_get(decision, "evidence");
    for (size_t i = 0; i < fx_json_count(evidence); i++) {
        const fx_json *one = fx_json_at(evidence, i);
        put(to, "    ");
        put_clean(to, text_of(one, "observer"));
        put(to, " (");
        put_clean(to, text_of(one, "observer_region"));
        put(to, ") on ");
        put_clean(to, text_of(one, "subject"));
        put(to, ": ");
        put_clean(to, text_of(one, "fact"));
        put(to, "\n");
    }
    if (text_of(decision, "plan")[0] != '\0') {
        put(to, "    plan ");
        put_clean(to, text_of(decision, "plan"));
        put(to, "\n");
    }
}

fx_code
fx_show_decisions(const fx_json *answer, fx_wall now, fx_buf *out, fx_err *err)
{
    page to = {.out = out, .err = err, .now = now};
    const fx_json *decisions = fx_json_get(answer, "decisions");
    for (size_t i = 0; i < fx_json_count(decisions); i++) {
        put_decision(&to, fx_json_at(decisions, i));
    }
    if (fx_json_count(decisions) == 0) {
        put(&to, "  no decisions are known\n");
    }
    return to.code;
}
