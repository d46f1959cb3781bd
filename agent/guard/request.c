#include "agent/guard/request.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const state_names[] = {
    [FX_GUARD_DOWN] = "down",
    [FX_GUARD_STARTING] = "starting",
    [FX_GUARD_RUNS_STANDBY] = "standby",
    [FX_GUARD_RUNS_PRIMARY] = "primary",
    [FX_GUARD_FENCING] = "fencing",
    [FX_GUARD_HELD] = "held",
};

/* Digits only, up to INT64_MAX; moves past them and one blank. */
static bool
take_number(const char **at, int64_t *out_number)
{
    if (**at < '0' || **at > '9') {
        return false;
    }
    char *end = NULL;
    errno = 0;
    long long number = strtoll(*at, &end, 10);
    if (errno != 0 || (*end != ' ' && *end != '\0')) {
        return false;
    }
    *at = *end == ' ' ? end + 1 : end;
    *out_number = number;
    return true;
}

typedef struct verb {
    const char *words;
    fx_guard_request_kind kind;
} verb;

static const verb verbs[] = {
    {"lease ", FX_GUARD_LEASE},
    {"start primary ", FX_GUARD_START_PRIMARY},
    {"start standby ", FX_GUARD_START_STANDBY},
    {"promoted ", FX_GUARD_PROMOTED},
    {"fence ", FX_GUARD_FENCE},
};

static bool
parse_arguments(const char *at, fx_guard_request *request)
{
    int64_t epoch = 0;
    if (!take_number(&at, &epoch)) {
        return false;
    }
    request->epoch = (uint64_t)epoch;
    if (request->kind == FX_GUARD_LEASE && (!take_number(&at, &request->lease_end.ns) ||
                                            !take_number(&at, &request->lease_margin.ns))) {
        return false;
    }
    if (request->kind == FX_GUARD_FENCE && strcmp(at, "orderly") == 0) {
        request->orderly = true;
        return true;
    }
    return *at == '\0';
}

fx_code
fx_guard_request_parse(const char *line, fx_guard_request *out_request, fx_err *err)
{
    fx_guard_request request = {.kind = FX_GUARD_STATUS};
    if (strcmp(line, "status") == 0) {
        *out_request = request;
        return FX_OK;
    }
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        size_t length = strlen(verbs[i].words);
        if (strncmp(line, verbs[i].words, length) == 0) {
            request.kind = verbs[i].kind;
            if (parse_arguments(line + length, &request)) {
                *out_request = request;
                return FX_OK;
            }
        }
    }
    return fx_fail(err, FX_ERR_INVALID, "could not understand the request \"%.60s\"", line);
}

void
fx_guard_request_format(const fx_guard_request *request, char out_line[FX_GUARD_LINE_MAX_BYTES])
{
    const char *words = "status";
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (verbs[i].kind == request->kind) {
            words = verbs[i].words;
        }
    }
    int length = 0;
    switch (request->kind) {
    case FX_GUARD_STATUS:
        length = snprintf(out_line, FX_GUARD_LINE_MAX_BYTES, "status");
        break;
    case FX_GUARD_LEASE:
        length = snprintf(
            out_line,
            FX_GUARD_LINE_MAX_BYTES,
            "%s%" PRIu64 " %" PRId64 " %" PRId64,
            words,
            request->epoch,
            request->lease_end.ns,
            request->lease_margin.ns);
        break;
    case FX_GUARD_START_PRIMARY:
    case FX_GUARD_START_STANDBY:
    case FX_GUARD_PROMOTED:
    case FX_GUARD_FENCE:
        length = snprintf(
            out_line,
            FX_GUARD_LINE_MAX_BYTES,
            "%s%" PRIu64 "%s",
            words,
            request->epoch,
            request->orderly ? " orderly" : "");
        break;
    }
    FX_ASSERT(length > 0 && length < FX_GUARD_LINE_MAX_BYTES);
}

void
fx_guard_status_format(const fx_guard_status *status, char out_line[FX_GUARD_LINE_MAX_BYTES])
{
    char detail[sizeof status->detail];
    (void)snprintf(detail, sizeof detail, "%s", status->detail);
    for (char *at = detail; *at != '\0'; at++) {
        if (*at == '"' || *at == '\n' || *at == '\r') {
            *at = '\'';
        }
    }
    int length = snprintf(
        out_line,
        FX_GUARD_LINE_MAX_BYTES,
        "ok state=%s primary=%s pid=%" PRId64 " epoch=%" PRIu64 " fenced_epoch=%" PRIu64
        " lease_end_ns=%" PRId64 " cgroup=%s detail=\"%s\"",
        state_names[status->state],
        status->primary ? "yes" : "no",
        status->pid,
        status->epoch,
        status->fenced_epoch,
        status->lease_end.ns,
        status->has_cgroup ? "yes" : "no",
        detail);
    FX_ASSERT(length > 0 && length < FX_GUARD_LINE_MAX_BYTES);
}

fx_code
fx_guard_status_parse(const char *line, fx_guard_status *out_status, fx_err *err)
{
    char state[16] = "";
    char primary[4] = "";
    char cgroup[4] = "";
    fx_guard_status status = {.detail = ""};
    /* NOLINTNEXTLINE(cert-err34-c): written by our own guard; numbers fit by construction */
    int read_count = sscanf(
        line,
        "ok state=%15s primary=%3s pid=%" SCNd64 " epoch=%" SCNu64 " fenced_epoch=%" SCNu64
        " lease_end_ns=%" SCNd64 " cgroup=%3s detail=\"%159[^\"]",
        state,
        primary,
        &status.pid,
        &status.epoch,
        &status.fenced_epoch,
        &status.lease_end.ns,
        cgroup,
        status.detail);
    if (read_count >= 7) {
        for (size_t i = 0; i < sizeof state_names / sizeof state_names[0]; i++) {
            if (strcmp(state, state_names[i]) == 0) {
                status.state = (fx_guard_state)i;
                status.primary = strcmp(primary, "yes") == 0;
                status.has_cgroup = strcmp(cgroup, "yes") == 0;
                *out_status = status;
                return FX_OK;
            }
        }
    }
    return fx_fail(err, FX_ERR_INVALID, "could not understand the guard's answer \"%.100s\"", line);
}
