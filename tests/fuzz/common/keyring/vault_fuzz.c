/*
 * What a Vault answers: status and body from the input, in the place of the HTTP door's one call
 * (the linker puts ours there).
 */
#include <stdlib.h>
#include <string.h>

#include "common/http/http.h"
#include "common/keyring/vault.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

enum { OUT_MAX_BYTES = 4096 };

static int status;
static fx_bytes answer;

/* NOLINTBEGIN(readability-identifier-naming): the linker's --wrap wants this name */
fx_code __wrap_fx_http_call(
    fx_http_client *client,
    const fx_http_request *request,
    fx_mono deadline,
    fx_http_response *out_response,
    fx_buf *body,
    fx_err *err);

fx_code
__wrap_fx_http_call(
    fx_http_client *client,
    const fx_http_request *request,
    fx_mono deadline,
    fx_http_response *out_response,
    fx_buf *body,
    fx_err *err)
{
    (void)client;
    (void)deadline;
    FX_ASSERT(strncmp(request->url, "https://vault.test/v1/transit/", 30) == 0);
    *out_response = (fx_http_response){.status = status, .retry_after_s = -1};
    return fx_buf_append(body, answer.data, answer.size_bytes, err);
}
/* NOLINTEND(readability-identifier-naming) */

/* For all runs. */
static void
set_environment(void)
{
    static bool is_set;
    if (!is_set) {
        /* NOLINTBEGIN(concurrency-mt-unsafe): one thread */
        (void)setenv("VAULT_ADDR", "https://vault.test/", 1);
        (void)setenv("VAULT_TOKEN", "token", 1);
        (void)unsetenv("VAULT_TOKEN_FILE");
        (void)setenv("VAULT_NAMESPACE", "team", 1);
        /* NOLINTEND(concurrency-mt-unsafe) */
        is_set = true;
    }
}

/* What fails leaves nothing behind, and says more than where. */
static void
check(fx_code code, const fx_buf *out, const fx_err *err)
{
    if (code == FX_OK) {
        FX_ASSERT(status == 200);
        return;
    }
    FX_ASSERT(code == err->code && err->message[0] != '\0' && out->size_bytes == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    static const int statuses[] = {200, 200, 200, 200, 400, 401, 403, 404, 429, 500, 503, 301};
    static const fx_bytes text = {"vault:v1:QUJD", 13};
    if (size_bytes == 0) {
        return 0;
    }
    set_environment();
    fx_err err = {0};
    FX_BUF_AUTO sealed;
    FX_BUF_AUTO plain;
    fx_buf_init(&sealed, OUT_MAX_BYTES);
    fx_buf_init(&plain, OUT_MAX_BYTES);
    status = statuses[data[0] % (sizeof statuses / sizeof *statuses)];
    answer = (fx_bytes){data + 1, size_bytes - 1};
    fx_code code = fx_vault_encrypt("disaster", (fx_bytes){"key", 3}, &sealed, &err);
    check(code, &sealed, &err);
    FX_ASSERT(code != FX_OK || strncmp(fx_buf_text(&sealed), "vault:", 6) == 0);
    code = fx_vault_decrypt("disaster", text, &plain, &err);
    check(code, &plain, &err);
    return 0;
}
