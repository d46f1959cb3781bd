/* Bytes of a store are what others wrote: any of them give an object, an index, a key, or an error.
 */
#include <stdlib.h>
#include <string.h>

#include "common/repository/index.h"
#include "common/repository/object.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

static void
parse_object(fx_bytes bytes)
{
    fx_err err = {0};
    FX_AUTO(fx_object) object = NULL;
    fx_code code = fx_object_parse(bytes, bytes, bytes.size_bytes, &object, &err);
    FX_ASSERT((code == FX_OK) == (object != NULL));
    for (uint32_t i = 0; object != NULL && i < object->blob_count; i++) {
        const fx_blob *blob = &object->blobs[i];
        FX_ASSERT(blob->offset + blob->stored_bytes <= bytes.size_bytes);
    }
}

static void
decode_index(fx_bytes bytes)
{
    fx_err err = {0};
    FX_AUTO(fx_index) index = fx_index_new(NULL);
    fx_code code = fx_index_decode(index, bytes, &err);
    FX_ASSERT(code == FX_OK || code == FX_ERR_DAMAGED);
    fx_index_seal(index);
    FX_ASSERT(fx_index_entry_count(index) <= bytes.size_bytes / FX_ID_BYTES);
}

static void
parse_key(fx_bytes bytes)
{
    fx_err err = {0};
    fx_repository_key key;
    char *text = calloc(1, bytes.size_bytes + 1);
    FX_ASSERT(text != NULL);
    memcpy(text, bytes.data, bytes.size_bytes);
    fx_code code = fx_repository_key_parse(text, &key, &err);
    FX_ASSERT(code == FX_OK || code == FX_ERR_INVALID);
    free(text);
}

static void
expand(fx_bytes bytes)
{
    fx_err err = {0};
    FX_AUTO(fx_zip) zip = fx_zip_new();
    FX_BUF_AUTO out;
    fx_buf_init(&out, 4096);
    fx_code code = fx_zip_expand(zip, bytes, 4096, &out, &err);
    FX_ASSERT(code == FX_OK ? out.size_bytes == 4096 : out.size_bytes == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    if (size_bytes == 0) {
        return 0;
    }
    fx_bytes bytes = {data + 1, size_bytes - 1};
    switch (data[0] % 4) {
    case 0:
        parse_object(bytes);
        break;
    case 1:
        decode_index(bytes);
        break;
    case 2:
        parse_key(bytes);
        break;
    default:
        expand(bytes);
        break;
    }
    return 0;
}
