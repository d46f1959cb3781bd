/* Bytes of a store are what others wrote: any of them give an object, an index, a key, or an error.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/hex.h"
#include "common/repository/erasure.h"
#include "common/repository/index.h"
#include "common/repository/object.h"
#include "common/repository/signed.h"
#include "common/repository/voucher.h"

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
    fx_code code = fx_index_decode(index, bytes, &(fx_index_origin){0}, &err);
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
end_line(fx_buf *text, const unsigned char *chain, size_t check_bytes)
{
    char check[2 * FX_SHA256_BYTES + 1];
    fx_err err = {0};
    fx_hex_encode((fx_bytes){chain, check_bytes}, check);
    FX_ASSERT(fx_buf_append_format(text, &err, " %s\n", check) == FX_OK);
}

/* Lines without their checks, which no fuzzer finds: they are put there. */
static void
parse_chained(fx_bytes bytes)
{
    fx_err err = {0};
    FX_BUF_AUTO text;
    unsigned char chain[FX_SHA256_BYTES] = {0};
    const char *at = bytes.data;
    const char *end = at + bytes.size_bytes;
    FX_AUTO(fx_sha256_stream) stream = fx_sha256_stream_new();
    fx_buf_init(&text, FX_KEYRING_MAX_BYTES);
    while (at < end && text.size_bytes < FX_KEYRING_MAX_BYTES / 2) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((stop == NULL ? end : stop) - at);
        fx_sha256_stream_add(stream, (fx_bytes){chain, sizeof chain});
        fx_sha256_stream_add(stream, (fx_bytes){at, length});
        fx_sha256_stream_finish(stream, chain);
        FX_ASSERT(fx_buf_append(&text, at, length, &err) == FX_OK);
        end_line(&text, chain, 4);
        at += stop == NULL ? length : length + 1;
    }
    FX_ASSERT(fx_buf_append_text(&text, "end", &err) == FX_OK);
    end_line(&text, chain, sizeof chain);
    unsigned char private_key[FX_BOX_KEY_BYTES];
    parse_keyring(fx_buf_bytes(&text));
    fx_ignore(fx_identity_parse(fx_buf_bytes(&text), private_key, &err), "any outcome but a crash");
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

/* A message with the head, signature and digest around it, so that it is looked at. */
static void
decode_signed(fx_bytes message, const char magic[8], const char *use)
{
    static const unsigned char sign[FX_SIGN_KEY_BYTES] = {1};
    fx_err err = {0};
    FX_BUF_AUTO bytes;
    FX_AUTO(fx_key_object) object = NULL;
    FX_AUTO(fx_erasure) erasure = NULL;
    fx_buf_init(&bytes, message.size_bytes + 1024);
    FX_ASSERT(fx_signed_begin(&bytes, magic, &err) == FX_OK);
    FX_ASSERT(fx_buf_append(&bytes, message.data, message.size_bytes, &err) == FX_OK);
    FX_ASSERT(fx_signed_finish(&bytes, use, sign, &err) == FX_OK);
    fx_code code = fx_key_object_decode(fx_buf_bytes(&bytes), &object, &err);
    FX_ASSERT(code == FX_OK || code == FX_ERR_DAMAGED);
    code = fx_erasure_decode(fx_buf_bytes(&bytes), &erasure, &err);
    FX_ASSERT(code == FX_OK || code == FX_ERR_DAMAGED);
}

/* Signed as it must be: any scope id of 8 bytes can be the message's. */
static void
decode_voucher(fx_bytes message)
{
    static const unsigned char sign[FX_SIGN_KEY_BYTES] = {1};
    fx_err err = {0};
    FX_BUF_AUTO bytes;
    FX_AUTO(fx_voucher) voucher = NULL;
    FX_AUTO(fx_sign_key) signer = fx_sign_key_of(sign);
    fx_id_set digests = {0};
    fx_scope_version version = {.number = 1};
    const fx_scope_keys scope = {
        .id = {{1, 2, 3, 4, 5, 6, 7, 8}}, .versions = &version, .version_count = 1};
    fx_sign_key_public(signer, version.verify_key);
    fx_buf_init(&bytes, message.size_bytes + 1024);
    FX_ASSERT(fx_signed_begin(&bytes, "FXVOUCH1", &err) == FX_OK);
    FX_ASSERT(fx_buf_append(&bytes, message.data, message.size_bytes, &err) == FX_OK);
    FX_ASSERT(fx_signed_finish(&bytes, "fortress voucher 1", sign, &err) == FX_OK);
    fx_code code = fx_voucher_decode(fx_buf_bytes(&bytes), &scope, &voucher, &err);
    FX_ASSERT(code == FX_OK || code == FX_ERR_DAMAGED || code == FX_ERR_WRONG_KEY);
    FX_ASSERT((code == FX_OK) == (voucher != NULL));
    if (voucher != NULL) {
        const fx_index_origin origin = {.scope = &scope.id, .is_trusted = true};
        FX_AUTO(fx_index) index = fx_index_new(NULL);
        code = fx_voucher_digests(voucher->records, &scope.id, &digests, &err);
        FX_ASSERT(code == fx_index_decode(index, voucher->records, &origin, &err));
        fx_index_seal(index);
        FX_ASSERT(fx_index_pack_count(index) >= digests.count);
        fx_id_set_free(&digests);
    }
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
    switch (data[0] % 10) {
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
    case 5:
        parse_chained(bytes);
        break;
    case 6:
        decode_signed(bytes, "FXKEYOBJ", "fortress key object 1");
        break;
    case 7:
        decode_signed(bytes, "FXERASED", "fortress erasure 1");
        break;
    case 8:
        decode_voucher(bytes);
        break;
    default:
        expand(bytes);
        break;
    }
    return 0;
}
