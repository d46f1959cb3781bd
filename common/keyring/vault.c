#include "common/keyring/vault.h"

#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/secret.h"
#include "common/crypto/digest.h"
#include "common/http/http.h"
#include "common/json/json.h"
#include "common/keyring/keyring.h"

enum {
    TOKEN_MAX_BYTES = 4096,
    URL_BYTES = 1024,
    NAMESPACE_BYTES = 256,
    BODY_MAX_BYTES = 64 * 1024,
    DEADLINE_MS = 30 * 1000,
};

static const char *
environment(const char *name)
{
    const char *value = getenv(name); /* NOLINT(concurrency-mt-unsafe): read at start */
    return value == NULL || value[0] == '\0' ? NULL : value;
}

bool
fx_vault_is_given(void)
{
    return environment("VAULT_ADDR") != NULL &&
           (environment("VAULT_TOKEN") != NULL || environment("VAULT_TOKEN_FILE") != NULL);
}

bool
fx_vault_is_key_name(const char *name)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    return name[0] != '\0' && name[0] != '.' && strspn(name, allowed) == strlen(name);
}

/* Secrets go over TLS, or do not leave the host. */
static bool
is_safe(const char *address)
{
    static const char *const safe[] = {
        "https://", "http://127.0.0.1:", "http://localhost:", "http://[::1]:"};
    for (size_t i = 0; i < sizeof safe / sizeof *safe; i++) {
        if (strncmp(address, safe[i], strlen(safe[i])) == 0) {
            return true;
        }
    }
    return false;
}

/* "X-Vault-Token: …" */
static fx_code
make_token_header(fx_buf *out, fx_err *err)
{
    const char *token = environment("VAULT_TOKEN");
    const char *path = environment("VAULT_TOKEN_FILE");
    fx_buf_reserve(out, out->max_bytes);
    if (fx_buf_append_text(out, "X-Vault-Token: ", err) != FX_OK) {
        return err->code;
    }
    size_t token_at = out->size_bytes;
    if (token != NULL) {
        if (fx_buf_append_text(out, token, err) != FX_OK) {
            return fx_err_wrap(err, "reading VAULT_TOKEN");
        }
    } else if (path != NULL) {
        FX_BUF_AUTO text;
        fx_buf_init(&text, TOKEN_MAX_BYTES);
        fx_code code = fx_secret_file_read(path, &text, err);
        if (code == FX_OK) {
            code = fx_buf_append(out, text.data, strcspn(fx_buf_text(&text), "\r\n"), err);
        }
        if (text.data != NULL) {
            fx_wipe(text.data, text.capacity_bytes);
        }
        if (code != FX_OK) {
            return fx_err_wrap(err, "reading Vault's token");
        }
    }
    const char *value = fx_buf_text(out) + token_at;
    if (value[0] == '\0' || strpbrk(value, "\r\n") != NULL) {
        return fx_fail(
            err,
            FX_ERR_NOT_FOUND,
            "could not ask Vault: neither VAULT_TOKEN nor VAULT_TOKEN_FILE gives a token");
    }
    return FX_OK;
}

/* What Vault says about a request that it refused. */
static fx_code
refused(int status, const fx_buf *body, const char *what, const char *key_name, fx_err *err)
{
    FX_AUTO(fx_json) answer = NULL;
    fx_err ignored = {0};
    const char *why = "no reason given";
    if (fx_json_parse(fx_buf_bytes(body), &answer, &ignored) == FX_OK) {
        why = fx_json_as_text(fx_json_at(fx_json_get(answer, "errors"), 0), why);
    }
    fx_code code = FX_ERR_FAILED;
    if (status == 403 || status == 401) {
        code = FX_ERR_DENIED;
    } else if (status == 404) {
        code = FX_ERR_NOT_FOUND;
    } else if (status == 429 || status >= 500) {
        code = FX_ERR_UNREACHABLE; /* sealed, standby without a leader, overloaded */
    } else if (strcmp(what, "decrypt") == 0 && status == 400) {
        code = FX_ERR_DAMAGED;
    }
    return fx_fail(
        err,
        code,
        "could not have Vault %s with transit key \"%.60s\": status %d, %.100s",
        what,
        key_name,
        status,
        why);
}

static fx_code
make_url(const char *what, const char *key_name, char out_url[URL_BYTES], fx_err *err)
{
    const char *address = environment("VAULT_ADDR");
    if (address == NULL) {
        return fx_fail(err, FX_ERR_NOT_FOUND, "could not ask Vault: VAULT_ADDR is not set");
    }
    if (!is_safe(address) || !fx_vault_is_key_name(key_name)) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not ask Vault at \"%.80s\" for \"%.60s\": https and a plain name are needed",
            address,
            key_name);
    }
    size_t length = strlen(address);
    while (length > 0 && address[length - 1] == '/') {
        length--;
    }
    int url_bytes =
        snprintf(out_url, URL_BYTES, "%.*s/v1/transit/%s/%s", (int)length, address, what, key_name);
    return url_bytes >= 0 && url_bytes < URL_BYTES
               ? FX_OK
               : fx_fail(err, FX_ERR_INVALID, "could not ask Vault: VAULT_ADDR is too long");
}

static fx_code
send(const char *what, const char *key_name, fx_bytes body, fx_buf *answer, fx_err *err)
{
    char url[URL_BYTES];
    char namespace[NAMESPACE_BYTES] = "";
    FX_BUF_AUTO token;
    fx_buf_init(&token, TOKEN_MAX_BYTES);
    if (make_url(what, key_name, url, err) != FX_OK) {
        return err->code;
    }
    if (environment("VAULT_NAMESPACE") != NULL) {
        (void)snprintf(
            namespace, sizeof namespace, "X-Vault-Namespace: %s", environment("VAULT_NAMESPACE"));
    }
    fx_http_tls tls = {.ca_file = environment("VAULT_CACERT")};
    FX_AUTO(fx_http_client) client = fx_http_client_new(&tls);
    fx_http_response response = {0};
    fx_code code = make_token_header(&token, err);
    if (code == FX_OK) {
        fx_http_request request = {
            .method = "POST",
            .url = url,
            .headers =
                {"Content-Type: application/json",
                 fx_buf_text(&token),
                 namespace[0] == '\0' ? NULL : namespace},
            .body = body,
        };
        fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(DEADLINE_MS));
        code = fx_http_call(client, &request, deadline, &response, answer, err);
    }
    fx_wipe(token.data, token.capacity_bytes);
    if (code != FX_OK) {
        return fx_err_wrap(err, "asking Vault");
    }
    return response.status == 200 ? FX_OK : refused(response.status, answer, what, key_name, err);
}

/* The text `member` of the answer's data. */
static fx_code
take_text(const fx_buf *answer, const char *member, fx_json **out_json, fx_err *err)
{
    if (fx_json_parse(fx_buf_bytes(answer), out_json, err) != FX_OK ||
        fx_json_as_text(fx_json_get(fx_json_get(*out_json, "data"), member), NULL) == NULL) {
        return fx_fail(
            err, FX_ERR_FAILED, "could not use Vault's answer: it has no data.%s", member);
    }
    return FX_OK;
}

fx_code
fx_vault_encrypt(const char *key_name, fx_bytes plain, fx_buf *out, fx_err *err)
{
    FX_BUF_AUTO body;
    FX_BUF_AUTO answer;
    FX_AUTO(fx_json) json = NULL;
    fx_buf_init(&body, BODY_MAX_BYTES);
    fx_buf_init(&answer, BODY_MAX_BYTES);
    fx_buf_reserve(&body, plain.size_bytes * 2 + 64);
    fx_code code = FX_OK;
    if (fx_buf_append_text(&body, "{\"plaintext\":\"", err) != FX_OK ||
        fx_base64_encode(plain, &body, err) != FX_OK ||
        fx_buf_append_text(&body, "\"}", err) != FX_OK ||
        send("encrypt", key_name, fx_buf_bytes(&body), &answer, err) != FX_OK ||
        take_text(&answer, "ciphertext", &json, err) != FX_OK) {
        code = err->code;
    }
    fx_wipe(body.data, body.capacity_bytes);
    if (code != FX_OK) {
        return code;
    }
    const char *text = fx_json_as_text(fx_json_get(fx_json_get(json, "data"), "ciphertext"), "");
    if (strncmp(text, "vault:", 6) != 0) {
        return fx_fail(err, FX_ERR_FAILED, "could not use Vault's answer: it is no ciphertext");
    }
    return fx_buf_append_text(out, text, err);
}

fx_code
fx_vault_decrypt(const char *key_name, fx_bytes ciphertext, fx_buf *out, fx_err *err)
{
    FX_BUF_AUTO body;
    FX_BUF_AUTO answer;
    FX_AUTO(fx_json) json = NULL;
    FX_AUTO(fx_json) request = fx_json_object();
    FX_BUF_AUTO text;
    fx_buf_init(&body, BODY_MAX_BYTES);
    fx_buf_init(&answer, BODY_MAX_BYTES);
    fx_buf_init(&text, BODY_MAX_BYTES);
    fx_buf_reserve(&answer, BODY_MAX_BYTES); /* so that what is secret does not move */
    if (fx_buf_append(&text, ciphertext.data, ciphertext.size_bytes, err) != FX_OK) {
        return err->code;
    }
    fx_json_set_text(request, "ciphertext", fx_buf_text(&text));
    fx_code code = FX_OK;
    if (fx_json_print(request, 0, &body, err) != FX_OK ||
        send("decrypt", key_name, fx_buf_bytes(&body), &answer, err) != FX_OK ||
        take_text(&answer, "plaintext", &json, err) != FX_OK) {
        code = err->code;
    } else {
        const char *plain =
            fx_json_as_text(fx_json_get(fx_json_get(json, "data"), "plaintext"), "");
        code = fx_base64_decode(plain, out, err);
    }
    fx_wipe(answer.data, answer.capacity_bytes);
    return code;
}
