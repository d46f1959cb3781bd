/* fortress-agent hold …: what nobody forgets until it is released */
#include "common/repository/hold.h"
#include "agent/verbs/options.h"
#include "agent/verbs/report.h"
#include "agent/verbs/session.h"
#include "agent/verbs/verb.h"

#include <pwd.h>
#include <string.h>
#include <unistd.h>

enum { SNAPSHOTS_MAX = 1024, PASSWD_BYTES = 16384 };

#define COMMON_OPTIONS                                                                             \
    "  --repo URL       a path or posix:PATH; or FORTRESS_REPO\n"                                  \
    "  --json           events as JSON, one a line\n"

static const fx_usage add_usage = {
    .text =
        "Usage: fortress-agent hold add SNAPSHOT… --kind legal|anomaly --reason TEXT [OPTION…]\n"
        "Lets nobody forget the snapshots, by policy or by name, until the hold is released.\n"
        "Needs no key. What it says is readable in the repository.\n"
        "\n"
        "  --kind KIND      legal, or anomaly: it may be needed to find out what happened\n"
        "  --reason TEXT    why\n" COMMON_OPTIONS,
    .accepts = "kind reason ",
    .rest_min = 1,
    .rest_max = SNAPSHOTS_MAX,
};

static const fx_usage list_usage = {
    .text = "Usage: fortress-agent hold list [SNAPSHOT…] [OPTION…]\n"
            "Lists all holds and releases that were ever put, of these snapshots or of all. Needs\n"
            "no key.\n"
            "\n" COMMON_OPTIONS,
    .accepts = "",
    .rest_max = SNAPSHOTS_MAX,
};

static const fx_usage release_usage = {
    .text = "Usage: fortress-agent hold release SNAPSHOT… --reason TEXT [OPTION…]\n"
            "Ends the holds of the snapshots: all, also one that cannot be read, or those of a "
            "kind.\n"
            "Holds and releases stay listed.\n"
            "\n"
            "  --kind KIND      legal or anomaly; else all\n"
            "  --reason TEXT    why\n" COMMON_OPTIONS,
    .accepts = "kind reason ",
    .rest_min = 1,
    .rest_max = SNAPSHOTS_MAX,
};

static void
show(fx_report *report, const fx_hold *hold)
{
    const char *state = hold->is_in_force ? "held" : "released";
    if (hold->is_release) {
        state = "release";
    } else if (hold->is_forgetting) {
        state = "forgetting";
    }
    char when[FX_WALL_TEXT_BYTES];
    fx_wall_format(hold->at, when);
    if (report->is_json) {
        fx_json *event = fx_json_object();
        fx_json_set_text(event, "snapshot", hold->snapshot);
        fx_json_set_int(event, "serial", hold->serial);
        fx_json_set_text(event, "state", state);
        fx_json_set_text(event, "kind", hold->kind);
        fx_json_set_text(event, "reason", hold->reason);
        fx_json_set_text(event, "who", hold->who.text);
        fx_json_set_text(event, "host", hold->host.text);
        fx_json_set_text(event, "at", when);
        fx_report_event(report, "hold", event);
        return;
    }
    (void)printf("%.12s  %4u  %-10s  ", hold->snapshot, hold->serial, state);
    fx_print_safe(stdout, hold->kind[0] == '\0' ? "all" : hold->kind);
    (void)printf("  %.19sZ  %s@%s  ", when, hold->who.text, hold->host.text);
    fx_print_safe(stdout, hold->reason);
    (void)putchar('\n');
}

/* For people: who was it? A name that would not be one in the repository is left out. */
static void
describe_self(fx_hold *hold)
{
    char room[PASSWD_BYTES];
    char host[256] = "";
    struct passwd entry;
    struct passwd *found = NULL;
    fx_err ignored = {0};
    if (getpwuid_r(getuid(), &entry, room, sizeof room, &found) != 0 || found == NULL ||
        fx_name_parse(found->pw_name, "user", &hold->who, &ignored) != FX_OK) {
        (void)snprintf(hold->who.text, sizeof hold->who.text, "uid-%lu", (unsigned long)getuid());
    }
    if (gethostname(host, sizeof host - 1) != 0 ||
        fx_name_parse(host, "host", &hold->host, &ignored) != FX_OK) {
        hold->host = (fx_name){{0}};
    }
}

static fx_code
fill_request(const fx_options *options, bool is_release, fx_hold *out_what, fx_err *err)
{
    fx_hold what = {.is_release = is_release};
    const char *kind = options->kind == NULL ? "" : options->kind;
    if (strcmp(kind, "legal") != 0 && strcmp(kind, "anomaly") != 0 &&
        (!is_release || kind[0] != '\0')) {
        return fx_fail(err, FX_ERR_INVALID, "could not do it: --kind is legal or anomaly");
    }
    if (options->reason == NULL || options->reason[0] == '\0' ||
        strlen(options->reason) >= sizeof what.reason) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not do it: say why with --reason, in at most %zu bytes",
            sizeof what.reason - 1);
    }
    (void)snprintf(what.kind, sizeof what.kind, "%s", kind);
    (void)snprintf(what.reason, sizeof what.reason, "%s", options->reason);
    describe_self(&what);
    *out_what = what;
    return FX_OK;
}

/* A release may be of a snapshot that is not there any more. */
static fx_code
resolve(fx_repository *repository, const char *word, bool is_release, fx_hold *what, fx_err *err)
{
    fx_snapshot found;
    if (strcmp(word, "latest") == 0) {
        return fx_fail(
            err, FX_ERR_INVALID, "could not use \"latest\": name snapshots by their ids");
    }
    if (is_release && strlen(word) == FX_SNAPSHOT_ID_TEXT_BYTES - 1 &&
        strspn(word, "0123456789abcdef") == FX_SNAPSHOT_ID_TEXT_BYTES - 1) {
        (void)snprintf(what->snapshot, sizeof what->snapshot, "%s", word);
        return FX_OK;
    }
    if (fx_repository_find(repository, word, NULL, NULL, (fx_wall){0}, &found, err) != FX_OK) {
        return err->code;
    }
    (void)snprintf(what->snapshot, sizeof what->snapshot, "%s", found.id);
    return FX_OK;
}

static fx_code
put_all(const fx_options *options, bool is_release, uint64_t *out_count, fx_err *err)
{
    FX_AUTO(fx_repository) repository = NULL;
    fx_hold what;
    if (fill_request(options, is_release, &what, err) != FX_OK ||
        fx_repository_open(options->repo, NULL, &repository, err) != FX_OK) {
        return err->code;
    }
    for (int i = 0; i < options->rest_count; i++) {
        if (resolve(repository, options->rest[i], is_release, &what, err) != FX_OK ||
            fx_hold_put(repository, &what, err) != FX_OK) {
            return err->code;
        }
        (*out_count)++;
    }
    return FX_OK;
}

static int
run_put(const fx_usage *usage, bool is_release, int argc, char **argv)
{
    fx_options options;
    fx_report report;
    uint64_t count = 0;
    fx_err err = {0};
    int status = 0;
    if (!fx_options_read(argc, argv, usage, &options, &status)) {
        return status;
    }
    fx_report_init(&report, options.is_json);
    fx_json *summary = fx_json_object();
    fx_code code = put_all(&options, is_release, &count, &err);
    fx_json_set_int(summary, "snapshot_count", (int64_t)count);
    if (code == FX_OK && !options.is_json) {
        (void)printf(
            "%llu snapshots %s\n", (unsigned long long)count, is_release ? "released" : "held");
    }
    return fx_report_end(&report, &err, summary);
}

int
fx_verb_hold_add(int argc, char **argv)
{
    return run_put(&add_usage, false, argc, argv);
}

int
fx_verb_hold_release(int argc, char **argv)
{
    return run_put(&release_usage, true, argc, argv);
}

static bool
is_asked_for(const fx_options *options, const fx_hold *hold)
{
    bool is_named = options->rest_count == 0;
    for (int i = 0; i < options->rest_count; i++) {
        is_named =
            is_named || strncmp(hold->snapshot, options->rest[i], strlen(options->rest[i])) == 0;
    }
    return is_named;
}

int
fx_verb_hold_list(int argc, char **argv)
{
    fx_options options;
    fx_report report;
    fx_hold_list list = {0};
    fx_err err = {0};
    int status = 0;
    FX_AUTO(fx_repository) repository = NULL;
    if (!fx_options_read(argc, argv, &list_usage, &options, &status)) {
        return status;
    }
    fx_report_init(&report, options.is_json);
    fx_json *summary = fx_json_object();
    int64_t held_count = 0;
    if (fx_repository_open(options.repo, NULL, &repository, &err) == FX_OK &&
        fx_hold_list_all(repository, NULL, &list, &err) == FX_OK) {
        for (size_t i = 0; i < list.count; i++) {
            if (is_asked_for(&options, &list.items[i])) {
                show(&report, &list.items[i]);
                held_count += list.items[i].is_in_force;
            }
        }
        fx_hold_list_free(&list);
        fx_json_set_int(summary, "hold_count", held_count);
    }
    return fx_report_end(&report, &err, summary);
}
