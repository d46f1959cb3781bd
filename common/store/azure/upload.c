/* A blob in blocks: sent one after the other, and made by the list of them. */
#include <stdio.h>
#include <string.h>

#include "common/crypto/digest.h"
#include "common/store/azure/azure.h"

enum { BLOCK_COUNT_MAX = 160, ID_BYTES = 64, LIST_MAX_BYTES = BLOCK_COUNT_MAX * 128 };

/*
 * Blocks of all uploads of one blob share their names: with the nonce in them, two uploads at once
 * do not mix. All ids of a blob must be of one length.
 */
static fx_code
make_id(const fx_azure_put *put, size_t index, char out_id[ID_BYTES], fx_err *err)
{
    char text[FX_REMOTE_NONCE_BYTES + 8];
    FX_BUF_AUTO id;
    fx_buf_init(&id, ID_BYTES - 1);
    int length = snprintf(text, sizeof text, "%s-%05zu", put->nonce, index % 100000);
    if (fx_base64_encode((fx_bytes){text, (size_t)length}, &id, err) != FX_OK) {
        return err->code;
    }
    (void)snprintf(out_id, ID_BYTES, "%s", fx_buf_text(&id));
    return FX_OK;
}

static fx_code
send_block(
    fx_azure *azure,
    const fx_azure_put *put,
    size_t index,
    fx_bytes block,
    fx_mono deadline,
    fx_err *err)
{
    char id[ID_BYTES];
    fx_remote_answer answer;
    if (make_id(put, index, id, err) != FX_OK) {
        return err->code;
    }
    fx_azure_ask ask = {
        .method = "PUT",
        .key = put->key,
        .body = block,
        .is_change = true,
        .what = "store a block of"};
    fx_azure_add_query(&ask, "comp", "block");
    fx_azure_add_query(&ask, "blockid", id);
    if (fx_azure_send(azure, &ask, deadline, NULL, &answer, err) != FX_OK) {
        return err->code;
    }
    return fx_azure_judge(azure, &ask, &answer, err);
}

static fx_code
append_list(const fx_azure_put *put, size_t count, fx_buf *out, fx_err *err)
{
    fx_code code = fx_buf_append_text(out, "<BlockList>", err);
    for (size_t i = 0; code == FX_OK && i < count; i++) {
        char id[ID_BYTES];
        code = make_id(put, i, id, err);
        if (code == FX_OK) {
            code = fx_buf_append_format(out, err, "<Latest>%s</Latest>", id);
        }
    }
    return code == FX_OK ? fx_buf_append_text(out, "</BlockList>", err) : code;
}

fx_code
fx_azure_upload(fx_azure *azure, const fx_azure_put *put, fx_mono deadline, fx_err *err)
{
    size_t block_bytes = azure->address.block_bytes;
    size_t count = (put->body.size_bytes + block_bytes - 1) / block_bytes;
    const unsigned char *data = put->body.data;
    FX_ASSERT(count > 0 && count <= BLOCK_COUNT_MAX);
    for (size_t i = 0; i < count; i++) {
        size_t left_bytes = put->body.size_bytes - i * block_bytes;
        fx_bytes block = {
            data + i * block_bytes, left_bytes < block_bytes ? left_bytes : block_bytes};
        if (send_block(azure, put, i, block, deadline, err) != FX_OK) {
            /* Blocks alone are no blob: whatever happened to them, nothing is there. */
            err->outcome = err->outcome == FX_CLASS_UNKNOWN ? FX_CLASS_TRANSIENT : err->outcome;
            return err->code;
        }
    }
    FX_BUF_AUTO list;
    fx_buf_init(&list, LIST_MAX_BYTES);
    if (append_list(put, count, &list, err) != FX_OK) {
        return err->code;
    }
    fx_azure_ask ask = {
        .method = "PUT",
        .key = put->key,
        .body = fx_buf_bytes(&list),
        .is_change = true,
        .what = "store"};
    fx_azure_add_query(&ask, "comp", "blocklist");
    return fx_azure_create(azure, put, &ask, deadline, err);
}
