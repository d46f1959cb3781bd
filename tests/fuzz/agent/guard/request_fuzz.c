/* A line as anybody may send it to a guard, and as a guard's answer. */
#include <string.h>

#include "agent/guard/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

static void
check_request(const char *line)
{
    fx_err err = {0};
    fx_guard_request request = {0};
    fx_guard_request again = {0};
    char text[FX_GUARD_LINE_MAX_BYTES];
    if (fx_guard_request_parse(line, &request, &err) != FX_OK) {
        return;
    }
    fx_guard_request_format(&request, text);
    FX_ASSERT(fx_guard_request_parse(text, &again, &err) == FX_OK);
    FX_ASSERT(again.kind == request.kind && again.epoch == request.epoch);
    FX_ASSERT(again.lease_end.ns == request.lease_end.ns && again.orderly == request.orderly);
    FX_ASSERT(again.lease_margin.ns == request.lease_margin.ns);
}

static void
check_answer(const char *line)
{
    fx_err err = {0};
    fx_guard_status status = {0};
    fx_guard_status again = {0};
    char text[FX_GUARD_LINE_MAX_BYTES];
    if (fx_guard_status_parse(line, &status, &err) != FX_OK) {
        return;
    }
    fx_guard_status_format(&status, text);
    FX_ASSERT(fx_guard_status_parse(text, &again, &err) == FX_OK);
    FX_ASSERT(again.state == status.state && again.primary == status.primary);
    FX_ASSERT(again.pid == status.pid && again.epoch == status.epoch);
    FX_ASSERT(again.lease_end.ns == status.lease_end.ns && again.has_cgroup == status.has_cgroup);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    char *line = malloc(size_bytes + 1);
    FX_ASSERT(line != NULL);
    if (size_bytes > 0) {
        memcpy(line, data, size_bytes);
    }
    line[size_bytes] = '\0';
    check_request(line);
    check_answer(line);
    free(line);
    return 0;
}
