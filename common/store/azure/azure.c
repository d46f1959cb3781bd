/*
 * Containers of Azure Blob Storage: "azure:https://ACCOUNT.blob.core.windows.net/CONTAINER/PREFIX".
 * A blob is created by one conditional request, of it all or of the list of its blocks.
 */
#include "common/store/azure/azure.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/crypto/digest.h"
#include "common/xml/xml.h"

enum { PAGE_MAX_BYTES = 16 * 1024 * 1024, MARKER_MAX_BYTES = 2048, KEY_MAX_BYTES = 256 };

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
        azure->remote = fx_remote_new(ca_file != NULL && ca_file[0] != '\0' ? ca_file : NULL);
    }
    return code;
}

static void
azure_close(void *state)
{
    fx_azure *azure = state;
    fx_remote_free(azure->remote);
    fx_secret_free(azure->key);
    fx_secret_free(azure->sas_token);
}

static fx_code
ask_container(fx_azure *azure, fx_mono deadline, fx_remote_answer *out_answer, fx_err *err)
{
    fx_azure_ask ask = {.method = "GET", .what = "open the container"};
    FX_BUF_AUTO body;
    fx_buf_init(&body, PAGE_MAX_BYTES);
    fx_azure_add_query(&ask, "restype", "container");
    fx_azure_add_query(&ask, "comp", "list");
    fx_azure_add_query(&ask, "maxresults", "1");
    fx_azure_add_query(&ask, "prefix", azure->address.prefix);
    if (fx_azure_send(azure, &ask, deadline, &body, out_answer, err) != FX_OK) {
        return err->code;
    }
    return fx_azure_judge(azure, &ask, out_answer, err);
}

/* A token that may not list may still put: only what says that nothing can work is an error. */
static fx_code
azure_prepare(void *state, fx_err *err)
{
    fx_azure *azure = state;
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(60000));
    fx_remote_answer answer;
    fx_code code = ask_container(azure, deadline, &answer, err);
    bool may_not_list = code == FX_ERR_DENIED && strncmp(answer.code, "Authorization", 13) == 0;
    if (may_not_list) {
        return FX_OK;
    }
    if (code != FX_ERR_NOT_FOUND) {
        return code;
    }
    fx_azure_ask ask = {.method = "PUT", .is_change = true, .what = "create the container"};
    fx_azure_add_query(&ask, "restype", "container");
    if (fx_azure_send(azure, &ask, deadline, NULL, &answer, err) != FX_OK) {
        return err->code;
    }
    code = fx_azure_judge(azure, &ask, &answer, err);
    return code == FX_ERR_EXISTS ? FX_OK : code;
}

static fx_code
head(
    fx_azure *azure,
    const char *key,
    const char *what,
    fx_mono deadline,
    fx_remote_answer *out_answer,
    fx_err *err)
{
    fx_azure_ask ask = {.method = "HEAD", .key = key, .what = what};
    if (fx_azure_send(azure, &ask, deadline, NULL, out_answer, err) != FX_OK) {
        return err->code;
    }
    return fx_azure_judge(azure, &ask, out_answer, err);
}

fx_code
fx_azure_settle(fx_azure *azure, const fx_azure_put *put, fx_mono deadline, fx_err *err)
{
    fx_remote_answer answer;
    if (head(azure, put->key, "look whether it is stored:", deadline, &answer, err) != FX_OK) {
        return err->code;
    }
    if (strcmp(answer.nonce, put->nonce) != 0) {
        return fx_fail(err, FX_ERR_EXISTS, "could not store \"%s\": it exists already", put->key);
    }
    if (answer.has_content_bytes && answer.content_bytes != put->body.size_bytes) {
        return fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not store \"%s\": the service has %" PRIu64 " bytes of %zu",
            put->key,
            answer.content_bytes,
            put->body.size_bytes);
    }
    return FX_OK;
}

fx_code
fx_azure_create(
    fx_azure *azure, const fx_azure_put *put, fx_azure_ask *ask, fx_mono deadline, fx_err *err)
{
    fx_remote_answer answer;
    fx_azure_add_header(ask, "if-none-match", "*");
    fx_azure_add_header(ask, "x-ms-meta-fortressput", put->nonce);
    fx_code code = fx_azure_send(azure, ask, deadline, NULL, &answer, err);
    if (code != FX_OK && err->outcome != FX_CLASS_UNKNOWN) {
        return code;
    }
    fx_err refusal = *err;
    if (code == FX_OK) {
        code = fx_azure_judge(azure, ask, &answer, &refusal);
        /* Another's blocks end ours; whose it is then, the blob itself tells. */
        bool is_doubtful = code == FX_ERR_CONFLICT || (code == FX_ERR_EXISTS && answer.maybe_done);
        if (!is_doubtful) {
            *err = code == FX_OK ? *err : refusal;
            return code;
        }
    }
    fx_code settled = fx_azure_settle(azure, put, deadline, err);
    if (settled == FX_OK || settled == FX_ERR_EXISTS || settled == FX_ERR_DAMAGED) {
        return settled;
    }
    *err = refusal;
    err->outcome = FX_CLASS_UNKNOWN; /* not there yet: it may still come */
    return err->code;
}

static fx_code
azure_put(void *state, const char *key, fx_bytes body, fx_mono deadline, fx_err *err)
{
    fx_azure *azure = state;
    fx_azure_put put = {.key = key, .body = body};
    if (fx_store_check_deadline(deadline, key, err) != FX_OK) {
        return err->code;
    }
    fx_remote_draw_nonce(put.nonce);
    if (body.size_bytes > azure->address.block_bytes * 2) {
        return fx_azure_upload(azure, &put, deadline, err);
    }
    fx_azure_ask ask = {
        .method = "PUT", .key = key, .body = body, .is_change = true, .what = "store"};
    fx_azure_add_header(&ask, "x-ms-blob-type", "BlockBlob");
    return fx_azure_create(azure, &put, &ask, deadline, err);
}

/* NOLINTBEGIN(readability-function-size): a range and a deadline are what a get is */
static fx_code
azure_get(
    void *state,
    const char *key,
    uint64_t offset,
    uint64_t size_bytes,
    fx_mono deadline,
    fx_buf *out,
    fx_err *err)
{
    fx_azure *azure = state;
    char range[64];
    fx_remote_answer answer;
    size_t begin_bytes = out->size_bytes;
    fx_azure_ask ask = {.method = "GET", .key = key, .what = "read"};
    if (size_bytes == 0) {
        return head(azure, key, "read", deadline, &answer, err);
    }
    const uint64_t furthest = (UINT64_C(1) << 62) - 1; /* the service reads signed numbers */
    uint64_t first = offset > furthest ? furthest : offset;
    uint64_t last = size_bytes - 1 > furthest - first ? furthest : first + (size_bytes - 1);
    (void)snprintf(range, sizeof range, "bytes=%" PRIu64 "-%" PRIu64, first, last);
    fx_azure_add_header(&ask, "x-ms-range", range);
    if (fx_azure_send(azure, &ask, deadline, out, &answer, err) != FX_OK) {
        return err->code;
    }
    if (answer.status == 416) {
        return FX_OK; /* it ends before */
    }
    if (answer.status == 200 && (offset > 0 || out->size_bytes - begin_bytes > size_bytes)) {
        out->size_bytes = begin_bytes;
        return fx_fail(
            err, FX_ERR_UNSUPPORTED, "could not read a part of \"%s\": ranges are ignored", key);
    }
    return fx_azure_judge(azure, &ask, &answer, err);
}
/* NOLINTEND(readability-function-size) */

static fx_code
azure_stat(void *state, const char *key, fx_mono deadline, uint64_t *out_size_bytes, fx_err *err)
{
    fx_remote_answer answer;
    if (head(state, key, "look at", deadline, &answer, err) != FX_OK) {
        return err->code;
    }
    if (!answer.has_content_bytes) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not look at \"%s\": its size is not told", key);
    }
    *out_size_bytes = answer.content_bytes;
    return FX_OK;
}

typedef struct page {
    const fx_azure *azure;
    fx_store_visit visit; /* or visit_time */
    fx_store_visit_time visit_time;
    void *ctx;
    char key[1100];
    uint64_t size_bytes;
    bool has_size;
    fx_wall stored; /* 0: not told */
    char marker[MARKER_MAX_BYTES];
    char last[FX_STORE_KEY_MAX_BYTES + 1]; /* over all pages */
} page;

static fx_code
visit_one(page *p, fx_err *err)
{
    size_t prefix_bytes = strlen(p->azure->address.prefix);
    const char *key = p->key + prefix_bytes;
    if (strncmp(p->key, p->azure->address.prefix, prefix_bytes) != 0 || !fx_store_is_key(key)) {
        return FX_OK; /* none of ours */
    }
    if (!p->has_size || strcmp(p->last, key) >= 0) {
        return fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not list: the service tells \"%.80s\" %s",
            key,
            p->has_size ? "out of order" : "without a size");
    }
    (void)snprintf(p->last, sizeof p->last, "%s", key);
    if (p->visit_time == NULL) {
        p->visit(p->ctx, key, p->size_bytes);
    } else if (p->stored.ns != 0) {
        p->visit_time(p->ctx, key, p->stored);
    }
    return FX_OK;
}

/* "Mon, 23 Nov 2026 10:11:12 GMT"; 0: it is no date. source: RFC 9110 section 5.6.7 */
static fx_wall
read_date(const char *text)
{
    struct tm parts = {0};
    const char *rest = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    return rest == NULL || *rest != '\0' ? (fx_wall){0}
                                         : (fx_wall){.ns = (int64_t)timegm(&parts) * 1000000000};
}

static fx_code
read_page(void *ctx, const char *path, const char *text, fx_err *err)
{
    page *p = ctx;
    if (strcmp(path, "EnumerationResults/Blobs/Blob/Name") == 0) {
        (void)snprintf(p->key, sizeof p->key, "%s", text);
    } else if (strcmp(path, "EnumerationResults/Blobs/Blob/Properties/Content-Length") == 0) {
        char *end = NULL;
        p->size_bytes = strtoull(text, &end, 10);
        p->has_size = end != text && *end == '\0';
    } else if (strcmp(path, "EnumerationResults/Blobs/Blob/Properties/Last-Modified") == 0) {
        p->stored = read_date(text);
    } else if (strcmp(path, "EnumerationResults/Blobs/Blob") == 0) {
        fx_code code = visit_one(p, err);
        p->stored = (fx_wall){0};
        p->has_size = false;
        return code;
    } else if (strcmp(path, "EnumerationResults/NextMarker") == 0) {
        (void)snprintf(p->marker, sizeof p->marker, "%s", text);
    }
    return FX_OK;
}

static fx_code
list_page(page *p, fx_azure *azure, const char *prefix, fx_mono deadline, fx_err *err)
{
    char marker[MARKER_MAX_BYTES];
    fx_remote_answer answer;
    FX_BUF_AUTO body;
    fx_buf_init(&body, PAGE_MAX_BYTES);
    fx_azure_ask ask = {.method = "GET", .what = "list"};
    memcpy(marker, p->marker, sizeof marker);
    p->marker[0] = '\0';
    fx_azure_add_query(&ask, "restype", "container");
    fx_azure_add_query(&ask, "comp", "list");
    fx_azure_add_query(&ask, "maxresults", "1000");
    fx_azure_add_query(&ask, "prefix", prefix);
    if (marker[0] != '\0') {
        fx_azure_add_query(&ask, "marker", marker);
    }
    if (fx_azure_send(azure, &ask, deadline, &body, &answer, err) != FX_OK ||
        fx_azure_judge(azure, &ask, &answer, err) != FX_OK) {
        return err->code;
    }
    if (fx_xml_read(fx_buf_bytes(&body), read_page, p, err) != FX_OK) {
        return fx_err_wrap(err, "listing \"%.100s\"", prefix);
    }
    if (p->marker[0] != '\0' && strcmp(p->marker, marker) == 0) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not list: the service goes in a circle");
    }
    return FX_OK;
}

/* `p` has what visits. */
static fx_code
list_pages(fx_azure *azure, const char *prefix, fx_mono deadline, page *p, fx_err *err)
{
    char whole[FX_AZURE_PREFIX_MAX_BYTES + FX_STORE_KEY_MAX_BYTES + 2];
    p->azure = azure;
    (void)snprintf(whole, sizeof whole, "%s%s", azure->address.prefix, prefix);
    fx_code code = FX_OK;
    do {
        code = list_page(p, azure, whole, deadline, err);
    } while (code == FX_OK && p->marker[0] != '\0');
    return code;
}

static fx_code
azure_list(
    void *state, const char *prefix, fx_mono deadline, fx_store_visit visit, void *ctx, fx_err *err)
{
    page *p = calloc(1, sizeof *p);
    FX_ASSERT(p != NULL);
    p->visit = visit;
    p->ctx = ctx;
    fx_code code = list_pages(state, prefix, deadline, p, err);
    free(p);
    return code;
}

static fx_code
azure_list_times(
    void *state,
    const char *prefix,
    fx_mono deadline,
    fx_store_visit_time visit,
    void *ctx,
    fx_err *err)
{
    page *p = calloc(1, sizeof *p);
    FX_ASSERT(p != NULL);
    p->visit_time = visit;
    p->ctx = ctx;
    fx_code code = list_pages(state, prefix, deadline, p, err);
    free(p);
    return code;
}

static fx_code
azure_remove(void *state, const char *key, fx_mono deadline, fx_err *err)
{
    fx_azure *azure = state;
    fx_remote_answer answer;
    fx_azure_ask ask = {.method = "DELETE", .key = key, .is_change = true, .what = "remove"};
    if (fx_azure_send(azure, &ask, deadline, NULL, &answer, err) != FX_OK) {
        return err->code;
    }
    fx_code code = fx_azure_judge(azure, &ask, &answer, err);
    return code == FX_ERR_NOT_FOUND && answer.maybe_done ? FX_OK : code;
}

static fx_code
azure_examine(void *state, fx_mono deadline, fx_store_examination *to, fx_err *err)
{
    fx_azure *azure = state;
    fx_remote_answer answer;
    fx_azure_ask ask = {.method = "HEAD", .what = "ask about the container"};
    fx_azure_add_query(&ask, "restype", "container");
    if (fx_azure_send(azure, &ask, deadline, NULL, &answer, err) != FX_OK) {
        return err->code;
    }
    to->knows_clock_skew = answer.knows_skew;
    to->clock_skew = answer.skew;
    (void)snprintf(to->server, sizeof to->server, "%s", answer.server);
    if (fx_azure_judge(azure, &ask, &answer, err) != FX_OK) {
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
    .get = azure_get,
    .stat = azure_stat,
    .list = azure_list,
    .remove = azure_remove,
    .examine = azure_examine,
    .abilities = azure_abilities,
    .list_times = azure_list_times,
};
