#include <stdio.h>

#include "agent/probe/kinds.h"
#include "common/http/http.h"

enum { BODY_MAX_BYTES = 1024 * 1024 };

fx_code
fx_probe_http_run(
    const fx_probe_config *config, fx_mono deadline, fx_probe_result *result, fx_err *err)
{
    const fx_http_tls tls = {.ca_file = config->ca_file};
    FX_AUTO(fx_http_client) client = fx_http_client_new(&tls);
    const fx_http_request request = {.method = "GET", .url = config->target};
    fx_http_response response = {0};
    FX_BUF_AUTO body = {0};
    fx_buf_init(&body, BODY_MAX_BYTES);
    if (fx_http_call(client, &request, deadline, &response, &body, err) != FX_OK) {
        return err->code;
    }
    const bool good = config->http_status != 0 ? response.status == config->http_status
                                               : response.status >= 200 && response.status < 400;
    if (!good) {
        return fx_fail(
            err, FX_ERR_FAILED, "%.150s answers with status %d", config->target, response.status);
    }
    (void)snprintf(result->detail, sizeof result->detail, "status %d", response.status);
    return FX_OK;
}
