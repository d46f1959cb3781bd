/* Bytes of a store are what others wrote: any of them give an object, an index, a key, or an error.
 */
#include <stdlib.h>
#include <string.h>

#include "common/repository/index.h"
#include "common/repository/key_object.h"
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

/* What is read is written the same again. */
static void
parse_keyring(fx_bytes bytes)
{
    fx_err err = {0};
    FX_AUTO(fx_keyring) keyring = NULL;
    fx_code code = fx_keyring_parse(bytes, &keyring, &err);
    FX_ASSERT(
        code == FX_OK || code == FX_ERR_INVALID || code == FX_ERR_DAMAGED ||
        code == FX_ERR_UNSUPPORTED);
    FX_ASSERT((code == FX_OK) == (keyring != NULL));
    if (keyring != NULL) {
        FX_BUF_AUTO again;
        fx_buf_init(&again, FX_KEYRING_MAX_BYTES);
        FX_ASSERT(fx_keyring_print(keyring, &again, &err) == FX_OK);
        FX_ASSERT(again.size_bytes <= bytes.size_bytes);
    }
}

static void
parse_identity(fx_bytes bytes)
{
    fx_err err = {0};
    unsigned char private_key[FX_BOX_KEY_BYTES];
    fx_code code = fx_identity_parse(bytes, private_key, &err);
    FX_ASSERT(code != FX_ERR_LIMIT);
}

static void
decode_key_object(fx_bytes bytes)
{
    fx_err err = {0};
    FX_AUTO(fx_key_object) object = NULL;
    fx_code code = fx_key_object_decode(bytes, &object, &err);
    FX_ASSERT(code == FX_OK || code == FX_ERR_DAMAGED || code == FX_ERR_UNSUPPORTED);
    FX_ASSERT((code == FX_OK) == (object != NULL));
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
    switch (data[0] % 6) {
    case 0:
        parse_object(bytes);
        break;
    case 1:
        decode_index(bytes);
        break;
    case 2:
        parse_keyring(bytes);
        break;
    case 3:
        parse_identity(bytes);
        break;
    case 4:
        decode_key_object(bytes);
        break;
    default:
        expand(bytes);
        break;
    }
    return 0;
}
