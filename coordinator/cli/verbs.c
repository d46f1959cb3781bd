#include "coordinator/cli/verbs.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/name.h"
#include "coordinator/cli/show.h"

enum {
    PAGE_MAX_BYTES = 32 * 1024 * 1024,
    POLL_MS = 500,
    VISIBLE_MAX_MS = 15000, /* until every coordinator has read a new request from the ledger */
    STEP_MAX = 32,
};

static const char *
text_of(const fx_json *json, const char *key)
{
    return fx_json_as_text(fx_json_get(json, key), "");
}

/* ---- saying
 * -------------------------------------------------------------------------------------- */

int
fx_cli_fail(const fx_err *err)
{
    (void)fprintf(stderr, "fortress: %s", err->message);
    if (err->context[0] != '\0') {
        (void)fprintf(stderr, " (%s)", err->context);
    }
    (void)fputc('\n', stderr);
    if (err->outcome == FX_CLASS_UNKNOWN && err->code != FX_OK) {
        (void)fputs(
            "fortress: it may have been taken all the same: look (fortress plans, fortress hosts) "
            "before asking again\n",
            stderr);
    }
    switch (err->code) {
    case FX_ERR_NOT_FOUND:
        return FX_CLI_NOT_FOUND;
    case FX_ERR_DENIED:
        return FX_CLI_DENIED;
    case FX_ERR_CONFLICT:
    case FX_ERR_BUSY:
    case FX_ERR_EXISTS:
        return FX_CLI_CONFLICT;
    case FX_ERR_UNREACHABLE:
    case FX_ERR_TIMEOUT:
        return err->outcome == FX_CLASS_UNKNOWN ? FX_CLI_UNKNOWN : FX_CLI_UNREACHABLE;
    case FX_OK:
    case FX_ERR_LIMIT:
    case FX_ERR_INVALID:
    case FX_ERR_DAMAGED:
    case FX_ERR_WRONG_KEY:
    case FX_ERR_NO_SPACE:
    case FX_ERR_IO:
    case FX_ERR_STALE:
    case FX_ERR_UNSUPPORTED:
    case FX_ERR_FAILED:
    case FX_ERR_CANCELLED:
    case FX_ERR_HELD:
        break;
    }
    return FX_CLI_FAILED;
}

static int
put_out(const fx_buf *text)
{
    if (fwrite(text->data, 1, text->size_bytes, stdout) != text->size_bytes ||
        fflush(stdout) != 0) {
        (void)fputs("fortress: could not write to standard output\n", stderr);
        return FX_CLI_FAILED;
    }
    return FX_CLI_OK;
}

typedef fx_code (*show_function)(const fx_json *answer, fx_wall now, fx_buf *out, fx_err *err);

static int
print_answer(const fx_json *answer, bool as_json, show_function show)
{
    fx_err err;
    FX_BUF_AUTO text;
    fx_buf_init(&text, PAGE_MAX_BYTES);
    fx_code code = FX_OK;
    if (as_json) {
        code = fx_json_print(answer, 2, &text, &err);
        code = code == FX_OK ? fx_buf_append_text(&text, "\n", &err) : code;
    } else {
        code = show(answer, fx_clock_wall(), &text, &err);
    }
    return code == FX_OK ? put_out(&text) : fx_cli_fail(&err);
}

/* ---- reading
 * ------------------------------------------------------------------------------------- */

/* Adds "?key=value" or "&key=value", with what is not plain percent-encoded. */
static fx_code
add_query(fx_buf *path, const char *key, const char *value, fx_err *err)
{
    if (value == NULL) {
        return FX_OK;
    }
    bool is_first = strchr(fx_buf_text(path), '?') == NULL;
    fx_code code = fx_buf_append_format(path, err, "%s%s=", is_first ? "?" : "&", key);
    for (const char *at = value; code == FX_OK && *at != '\0'; at++) {
        static const char plain[] =
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
        code = strchr(plain, *at) != NULL
                   ? fx_buf_append(path, at, 1, err)
                   : fx_buf_append_format(path, err, "%%%02X", (unsigned)(unsigned char)*at);
    }
    return code;
}

static int
show(fx_client *client, const fx_cli_options *options, const char *base, show_function show_answer)
{
    fx_err err;
    FX_BUF_AUTO path;
    fx_buf_init(&path, 480);
    FX_AUTO(fx_json) answer = NULL;
    fx_code code = fx_buf_append_text(&path, base, &err);
    if (code == FX_OK) {
        code = add_query(&path, "limit", options->limit, &err);
    }
    if (code == FX_OK) {
        code = add_query(&path, "host", options->host, &err);
    }
    if (code == FX_OK) {
        code = add_query(&path, "source", options->source, &err);
    }
    if (code == FX_OK) {
        code = fx_client_get(client, fx_buf_text(&path), &answer, &err);
    }
    return code == FX_OK ? print_answer(answer, options->json, show_answer) : fx_cli_fail(&err);
}

int
fx_cli_status(fx_client *client, const fx_cli_options *options)
{
    return show(client, options, "/v1/status", fx_show_status);
}

int
fx_cli_services(fx_client *client, const fx_cli_options *options)
{
    return show(client, options, "/v1/services", fx_show_services);
}

int
fx_cli_hosts(fx_client *client, const fx_cli_options *options)
{
    return show(client, options, "/v1/hosts", fx_show_hosts);
}

int
fx_cli_snapshots(fx_client *client, const fx_cli_options *options)
{
    return show(client, options, "/v1/snapshots", fx_show_snapshots);
}

int
fx_cli_plans(fx_client *client, const fx_cli_options *options)
{
    return show(client, options, "/v1/plans", fx_show_plans);
}

int
fx_cli_decisions(fx_client *client, const fx_cli_options *options)
{
    return show(client, options, "/v1/decisions", fx_show_decisions);
}

/* ---- following a request
 * ------------------------------------------------------------------------- */

typedef struct progress {
    FILE *out; /* standard error when standard output carries JSON */
    char states[STEP_MAX][16];
    char last[512];
} progress;

static void
say_steps(progress *seen, const fx_json *plan)
{
    const fx_json *steps = fx_json_get(plan, "steps");
    for (size_t i = 0; i < fx_json_count(steps) && i < STEP_MAX; i++) {
        const fx_json *step = fx_json_at(steps, i);
        const char *state = text_of(step, "state");
        if (strcmp(state, "waiting") == 0 || strcmp(state, seen->states[i]) == 0) {
            continue;
        }
        (void)snprintf(seen->states[i], sizeof seen->states[i], "%s", state);
        fx_err err;
        FX_BUF_AUTO line;
        fx_buf_init(&line, 4096);
        if (fx_show_step(step, fx_clock_wall(), &line, &err) == FX_OK) {
            (void)fputs(fx_buf_text(&line), seen->out);
        }
    }
}

/* Says what changed since the last look. */
static void
say_progress(progress *seen, const fx_json *request)
{
    char now[sizeof seen->last];
    if (request == NULL) { /* nobody answered this time */
        return;
    }
    say_steps(seen, fx_json_get(request, "plan"));
    (void)snprintf(
        now,
        sizeof now,
        "%s%s%s",
        text_of(request, "state"),
        text_of(request, "detail")[0] == '\0' ? "" : ": ",
        text_of(request, "detail"));
    for (char *at = now; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f) {
            *at = '?';
        }
    }
    if (strcmp(now, seen->last) != 0) {
        (void)fprintf(seen->out, "%s\n", now);
        memcpy(seen->last, now, sizeof now);
    }
    (void)fflush(seen->out);
}

static bool
is_over(const char *state)
{
    return strcmp(state, "done") == 0 || strcmp(state, "failed") == 0 ||
           strcmp(state, "abandoned") == 0 || strcmp(state, "refused") == 0 ||
           strcmp(state, "unknown") == 0;
}

/* Coordinators may come and go while a plan runs: only the deadline ends the looking. */
static bool
may_look_again(const fx_err *err, fx_dur waited)
{
    if (err->code == FX_ERR_NOT_FOUND) {
        return !fx_dur_over(waited, FX_DUR_MS(VISIBLE_MAX_MS));
    }
    return err->code != FX_ERR_DENIED && err->code != FX_ERR_INVALID;
}

static fx_code
follow(
    fx_client *client,
    const fx_cli_options *options,
    const char *id,
    fx_json **out_request,
    fx_err *err)
{
    char path[96];
    progress seen = {.out = options->json ? stderr : stdout};
    fx_mono began = fx_clock_mono();
    (void)snprintf(path, sizeof path, "/v1/requests/%s", id);
    for (;;) {
        FX_AUTO(fx_json) request = NULL;
        fx_dur waited = fx_mono_since(fx_clock_mono(), began);
        fx_code code = fx_client_get(client, path, &request, err);
        if (code != FX_OK && !may_look_again(err, waited)) {
            return code;
        }
        say_progress(&seen, request);
        if (is_over(text_of(request, "state"))) {
            *out_request = FX_TAKE(request);
            return FX_OK;
        }
        if (fx_dur_over(waited, FX_DUR_MS(options->timeout_s * 1000))) {
            return fx_fail_as(
                err,
                FX_CLASS_UNKNOWN,
                FX_ERR_TIMEOUT,
                "could not see the end of request %s within %lld s",
                id,
                (long long)options->timeout_s);
        }
        fx_clock_sleep(FX_DUR_MS(POLL_MS));
    }
}

static fx_code
show_nothing(const fx_json *answer, fx_wall now, fx_buf *out, fx_err *err)
{
    (void)answer;
    (void)now;
    return fx_buf_append_text(out, "", err);
}

static fx_code
show_filed(const fx_json *answer, fx_wall now, fx_buf *out, fx_err *err)
{
    (void)now;
    return fx_buf_append_format(out, err, "request %.60s is filed\n", text_of(answer, "id"));
}

static int
ask(fx_client *client, const fx_cli_options *options, const char *path, const fx_json *body)
{
    fx_err err;
    FX_AUTO(fx_json) filed = NULL;
    if (fx_client_post(client, path, body, &filed, &err) != FX_OK) {
        return fx_cli_fail(&err);
    }
    if (!options->wait) {
        return print_answer(filed, options->json, show_filed);
    }
    fx_name id; /* ids look like names; nothing else goes into a path */
    FX_AUTO(fx_json) request = NULL;
    if (fx_name_parse(text_of(filed, "id"), "the request's id", &id, &err) != FX_OK ||
        follow(client, options, id.text, &request, &err) != FX_OK) {
        return fx_cli_fail(&err);
    }
    int status = print_answer(request, options->json, show_nothing);
    if (strcmp(text_of(request, "state"), "unknown") == 0) {
        (void)fprintf(
            stderr,
            "fortress: nobody knows how request %s ended: look at the host before asking again\n",
            id.text);
        return FX_CLI_UNKNOWN;
    }
    if (strcmp(text_of(request, "state"), "done") != 0) {
        (void)fprintf(stderr, "fortress: request %s did not succeed\n", id.text);
        return FX_CLI_FAILED;
    }
    return status;
}

/* ---- changing
 * ------------------------------------------------------------------------------------ */

static bool
confirm(const fx_cli_options *options)
{
    char answer[16];
    (void)fprintf(
        stderr,
        "Move %s to %s? Clients lose their connections for some seconds. [y/N] ",
        options->arguments[0],
        options->to == NULL ? "the best standby" : options->to);
    if (fgets(answer, sizeof answer, stdin) == NULL) {
        return false;
    }
    return answer[0] == 'y' || answer[0] == 'Y';
}

static int
check_name(const char *text, const char *what)
{
    fx_err err;
    fx_name name;
    if (fx_name_parse(text, what, &name, &err) != FX_OK) {
        (void)fx_cli_fail(&err);
        return FX_CLI_USAGE;
    }
    return FX_CLI_OK;
}

int
fx_cli_switchover(fx_client *client, const fx_cli_options *options)
{
    int status = check_name(options->arguments[0], "the service");
    if (status != FX_CLI_OK) {
        return status;
    }
    if (!options->yes && isatty(STDIN_FILENO) == 0) {
        (void)fputs("fortress: a switchover without a terminal needs --yes\n", stderr);
        return FX_CLI_USAGE;
    }
    if (!options->yes && !confirm(options)) {
        (void)fputs("fortress: nothing was done\n", stderr);
        return FX_CLI_FAILED;
    }
    char path[160];
    (void)snprintf(path, sizeof path, "/v1/services/%s/failover", options->arguments[0]);
    FX_AUTO(fx_json) body = fx_json_object();
    if (options->to != NULL) {
        fx_json_set_text(body, "to", options->to);
    }
    if (options->reason != NULL) {
        fx_json_set_text(body, "reason", options->reason);
    }
    return ask(client, options, path, body);
}

static int
order(fx_client *client, const fx_cli_options *options, fx_json *body)
{
    char path[160];
    int status = check_name(options->arguments[0], "the host");
    if (status != FX_CLI_OK) {
        return status;
    }
    (void)snprintf(path, sizeof path, "/v1/hosts/%s/orders", options->arguments[0]);
    if (options->reason != NULL) {
        fx_json_set_text(body, "reason", options->reason);
    }
    return ask(client, options, path, body);
}

int
fx_cli_backup(fx_client *client, const fx_cli_options *options)
{
    FX_AUTO(fx_json) body = fx_json_object();
    fx_json_set_text(body, "kind", "backup");
    fx_json_set_text(body, "job", options->arguments[1]);
    return order(client, options, body);
}

int
fx_cli_restore(fx_client *client, const fx_cli_options *options)
{
    if (options->target == NULL) {
        (void)fputs("fortress: restore needs --target DIR\n", stderr);
        return FX_CLI_USAGE;
    }
    FX_AUTO(fx_json) body = fx_json_object();
    fx_json_set_text(body, "kind", "restore");
    fx_json_set_text(body, "snapshot", options->arguments[1]);
    fx_json_set_text(body, "target", options->target);
    if (options->path != NULL) {
        fx_json_set_text(body, "path", options->path);
    }
    return order(client, options, body);
}
