/*
 * Containers of Azure Blob Storage: "azure:https://ACCOUNT.blob.core.windows.net/CONTAINER/PREFIX".
 * A blob is created by one conditional request, of it all or of the list of its blocks.
 */
#include "common/store/azure/azure.h"

#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/crypto/digest.h"

enum { KEY_MAX_BYTES = 256 };

static const fx_credential_name credential_names[] = {
    {"AZURE_STORAGE_KEY", "azure_storage_key", false},
    {"AZURE_STORAGE_SAS_TOKEN", "azure_storage_sas_token", false},
};

static fx_code
take_key(fx_azure *azure, const fx_credentials *from, fx_err *err)
{
    FX_BUF_AUTO key;
    fx_err ignored;
    fx_buf_init(&key, KEY_MAX_BYTES);
    const char *text = (const char *)from->values[0]->data;
    fx_code code = fx_base64_decode(text, &key, &ignored);
    if (code == FX_OK && key.size_bytes > 0) {
        azure->key = fx_secret_new(fx_buf_bytes(&key));
        fx_wipe(key.data, key.size_bytes);
        return FX_OK;
    }
    return fx_fail(
        err, FX_ERR_INVALID, "could not use the storage key of %.100s: no base64", from->origin);
}

static fx_code
take_credentials(fx_azure *azure, const fx_credentials *from, fx_err *err)
{
    if (from->values[0] != NULL) {
        return take_key(azure, from, err);
    }
    if (from->values[1] == NULL) {
        return fx_fail(
            err,
            FX_ERR_NOT_FOUND,
            "could not find credentials: %.100s has neither azure_storage_key nor "
            "azure_storage_sas_token",
            from->origin);
    }
    const char *token = (const char *)from->values[1]->data;
    token += *token == '?' ? 1 : 0;
    if (strpbrk(token, " \t\r\n#") != NULL || strstr(token, "sig=") == NULL) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use the token of %.100s: it is no shared access signature",
            from->origin);
    }
    azure->sas_token = fx_secret_new((fx_bytes){token, strlen(token)});
    return FX_OK;
}

static fx_code
azure_open(void *state, const char *rest, fx_err *err)
{
    fx_azure *azure = state;
    fx_credentials credentials = {0};
    if (fx_azure_address_parse(rest, &azure->address, err) != FX_OK ||
        fx_credentials_load(credential_names, 2, &credentials, err) != FX_OK) {
        return err->code;
    }
    fx_code code = take_credentials(azure, &credentials, err);
    fx_credentials_clear(&credentials);
    if (code == FX_OK) {
        /* NOLINTNEXTLINE(concurrency-mt-unsafe): the environment does not change after the start */
        const char *ca_file = getenv("FORTRESS_CA_FILE");
        azure->objects = (fx_objects){
            .service = &fx_azure_service,
            .container = azure->address.container,
            .base_path = azure->address.base_path,
            .prefix = azure->address.prefix,
            .remote = fx_remote_new(ca_file != NULL && ca_file[0] != '\0' ? ca_file : NULL)};
    }
    return code;
}

static void
azure_close(void *state)
{
    fx_azure *azure = state;
    fx_remote_free(azure->objects.remote);
    fx_secret_free(azure->key);
    fx_secret_free(azure->sas_token);
}

/* A token that may not list may still put: only what says that nothing can work is an error. */
static fx_code
azure_prepare(void *state, fx_err *err)
{
    fx_objects *objects = state;
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(60000));
    fx_remote_answer answer;
    fx_code code = fx_objects_try_list(objects, "open the container", deadline, &answer, err);
    bool may_not_list = code == FX_ERR_DENIED && strncmp(answer.code, "Authorization", 13) == 0;
    if (may_not_list) {
        return FX_OK;
    }
    if (code != FX_ERR_NOT_FOUND) {
        return code;
    }
    fx_objects_ask ask = {.method = "PUT", .is_change = true, .what = "create the container"};
    fx_objects_add_query(&ask, "restype", "container");
    code = fx_objects_request(objects, &ask, deadline, NULL, &answer, err);
    return code == FX_ERR_EXISTS ? FX_OK : code;
}

fx_code
fx_azure_create(
    fx_azure *azure, const fx_objects_put *put, fx_objects_ask *ask, fx_mono deadline, fx_err *err)
{
    fx_remote_answer answer;
    fx_objects_add_header(ask, "if-none-match", "*");
    fx_objects_add_header(ask, "x-ms-meta-fortressput", put->nonce);
    return fx_objects_create(&azure->objects, put, ask, deadline, &answer, err);
}

static fx_code
azure_put(void *state, const char *key, fx_bytes body, fx_mono deadline, fx_err *err)
{
    fx_azure *azure = state;
    fx_objects_put put = {.key = key, .body = body};
    if (fx_store_check_deadline(deadline, key, err) != FX_OK) {
        return err->code;
    }
    fx_remote_draw_nonce(put.nonce);
    if (body.size_bytes > azure->address.block_bytes * 2) {
        return fx_azure_upload(azure, &put, deadline, err);
    }
    fx_objects_ask ask = {
        .method = "PUT", .key = key, .body = body, .is_change = true, .what = "store"};
    fx_objects_add_header(&ask, "x-ms-blob-type", "BlockBlob");
    return fx_azure_create(azure, &put, &ask, deadline, err);
}

static fx_code
azure_examine(void *state, fx_mono deadline, fx_store_examination *to, fx_err *err)
{
    fx_objects *objects = state;
    fx_remote_answer answer;
    fx_objects_ask ask = {.method = "HEAD", .what = "ask about the container"};
    fx_objects_add_query(&ask, "restype", "container");
    if (fx_objects_send(objects, &ask, deadline, NULL, &answer, err) != FX_OK) {
        return err->code;
    }
    to->knows_clock_skew = answer.knows_skew;
    to->clock_skew = answer.skew;
    (void)snprintf(to->server, sizeof to->server, "%s", answer.server);
    if (fx_objects_judge(objects, &ask, &answer, err) != FX_OK) {
        fx_store_note(to, "the container's properties: %.150s", err->message);
        return FX_OK;
    }
    if (answer.immutable_versions[0] != '\0') {
        bool has_versions = strcmp(answer.immutable_versions, "true") == 0;
        to->versioning = has_versions ? FX_STORE_YES : FX_STORE_NOT_KNOWN;
    }
    if (answer.immutability[0] != '\0') {
        bool is_immutable = strcmp(answer.immutability, "true") == 0;
        to->object_lock = is_immutable ? FX_STORE_YES : FX_STORE_NO;
    }
    fx_store_note(to, "blocks of uploads that never ended are removed by the service after a week");
    return FX_OK;
}

static unsigned
azure_abilities(const void *state)
{
    (void)state;
    return FX_STORE_TELLS_TIMES;
}

const fx_store_driver fx_store_driver_azure = {
    .name = "azure",
    .state_bytes = sizeof(fx_azure),
    .open = azure_open,
    .close = azure_close,
    .prepare = azure_prepare,
    .put = azure_put,
    .get = fx_objects_get,
    .stat = fx_objects_stat,
    .list = fx_objects_list,
    .remove = fx_objects_remove,
    .examine = azure_examine,
    .abilities = azure_abilities,
    .list_times = fx_objects_list_times,
};
