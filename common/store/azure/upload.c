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
make_id(const fx_objects_put *put, size_t index, char out_id[ID_BYTES], fx_err *err)
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

typedef struct upload {
    fx_azure *azure;
    const fx_objects_put *put;
} upload;

static fx_code
send_block(void *ctx, size_t index, fx_bytes block, fx_mono deadline, fx_err *err)
{
    const upload *u = ctx;
    char id[ID_BYTES];
    fx_remote_answer answer;
    if (make_id(u->put, index, id, err) != FX_OK) {
        return err->code;
    }
    fx_objects_ask ask = {
        .method = "PUT",
        .key = u->put->key,
        .body = block,
        .is_change = true,
        .what = "store a block of"};
    fx_objects_add_query(&ask, "comp", "block");
    fx_objects_add_query(&ask, "blockid", id);
    return fx_objects_request(&u->azure->objects, &ask, deadline, NULL, &answer, err);
}

static fx_code
append_list(const fx_objects_put *put, size_t count, fx_buf *out, fx_err *err)
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
fx_azure_upload(fx_azure *azure, const fx_objects_put *put, fx_mono deadline, fx_err *err)
{
    size_t block_bytes = azure->address.block_bytes;
    size_t count = (put->body.size_bytes + block_bytes - 1) / block_bytes;
    upload u = {.azure = azure, .put = put};
    FX_ASSERT(count > 0 && count <= BLOCK_COUNT_MAX);
    if (fx_objects_send_parts(put->body, block_bytes, send_block, &u, deadline, err) != FX_OK) {
        return err->code;
    }
    FX_BUF_AUTO list;
    fx_buf_init(&list, LIST_MAX_BYTES);
    if (append_list(put, count, &list, err) != FX_OK) {
        return err->code;
    }
    fx_objects_ask ask = {
        .method = "PUT",
        .key = put->key,
        .body = fx_buf_bytes(&list),
        .is_change = true,
        .what = "store"};
    fx_objects_add_query(&ask, "comp", "blocklist");
    return fx_azure_create(azure, put, &ask, deadline, err);
}
