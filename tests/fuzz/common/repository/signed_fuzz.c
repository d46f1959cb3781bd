/*
 * Key objects, erasures and vouchers: the bytes as they are, and as a message with head, signature
 * and digest around it. The message's own verify key becomes the one that it is signed with.
 */
#include <stdio.h>

#include "proto/repository.pb-c.h"

#include "common/base/hex.h"
#include "common/repository/erasure.h"
#include "common/repository/internal.h"
#include "common/repository/signed.h"
#include "common/repository/stored.h"
#include "common/repository/voucher.h"
#include "tests/fuzz/support/keys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

enum { ROOM_BYTES = 64 * 1024, SCOPE_HEX_BYTES = 16 };

/* ---- the message, with our key in it
 * ---------------------------------------------------------------- */

static void
put_key(ProtobufCBinaryData *field)
{
    if (field->len == FX_SIGN_KEY_BYTES) {
        memcpy(field->data, fuzz_keys_get()->version.verify_key, FX_SIGN_KEY_BYTES);
    }
}

static void
append_packed(const ProtobufCMessage *message, fx_buf *out)
{
    fx_err err = {0};
    unsigned char *room = NULL;
    size_t size_bytes = protobuf_c_message_get_packed_size(message);
    fx_code code = fx_buf_extend(out, size_bytes, &room, &err);
    FX_ASSERT(code == FX_OK);
    (void)protobuf_c_message_pack(message, room);
}

static void
append_key_object(fx_bytes bytes, fx_buf *out)
{
    Fortress__Repository__KeyObject *message =
        fortress__repository__key_object__unpack(NULL, bytes.size_bytes, bytes.data);
    if (message != NULL) {
        put_key(&message->verify_key);
        append_packed(&message->base, out);
        fortress__repository__key_object__free_unpacked(message, NULL);
    }
}

static void
append_erasure(fx_bytes bytes, fx_buf *out)
{
    Fortress__Repository__Erasure *message =
        fortress__repository__erasure__unpack(NULL, bytes.size_bytes, bytes.data);
    if (message != NULL) {
        put_key(&message->verify_key);
        append_packed(&message->base, out);
        fortress__repository__erasure__free_unpacked(message, NULL);
    }
}

static void
append_as_is(fx_bytes bytes, fx_buf *out)
{
    fx_err err = {0};
    fx_code code = fx_buf_append(out, bytes.data, bytes.size_bytes, &err);
    FX_ASSERT(code == FX_OK);
}

/* ---- reading
 * ---------------------------------------------------------------------------------------- */

static fx_store *
store_with(const char *key, fx_bytes bytes)
{
    fx_err err = {0};
    fx_store *store = NULL;
    fx_store_allow_test_drivers();
    fx_code code = fx_store_open("fake:", &store, &err);
    FX_ASSERT(code == FX_OK);
    code = fx_store_put(store, key, bytes, fx_repository_deadline(), &err);
    FX_ASSERT(code == FX_OK);
    return store;
}

static void
check_code(fx_code code)
{
    FX_ASSERT(
        code == FX_OK || code == FX_ERR_DAMAGED || code == FX_ERR_UNSUPPORTED ||
        code == FX_ERR_CONFLICT || code == FX_ERR_WRONG_KEY);
}

static void
decode_key_object(fx_bytes bytes)
{
    const fx_repository_key *key = &fuzz_keys_get()->key;
    char name[FX_KEY_OBJECT_NAME_BYTES] = "keys/0102030405060708/00000001-00000001";
    fx_err err = {0};
    FX_AUTO(fx_key_object) object = NULL;
    fx_code code = fx_key_object_decode(bytes, &object, &err);
    check_code(code);
    FX_ASSERT((code == FX_OK) == (object != NULL));
    if (object != NULL) {
        fx_key_object_name(&object->scope, object->version, object->serial, name);
    }
    FX_AUTO(fx_store) store = store_with(name, bytes);
    check_code(fx_key_object_verify(store, name, key, &err));
    code = fx_stored_check(name, bytes, key, &err);
    check_code(code);
    if (object != NULL && object->serial < 99999999 && object->version < 99999999) {
        FX_BUF_AUTO again;
        FX_AUTO(fx_key_object) same = NULL;
        fx_buf_init(&again, FX_KEY_OBJECT_MAX_BYTES);
        FX_ASSERT(code == FX_OK);
        code = fx_key_object_encode(object, fuzz_keys_get()->version.sign, &again, &err);
        FX_ASSERT(code == FX_OK);
        code = fx_key_object_decode(fx_buf_bytes(&again), &same, &err);
        FX_ASSERT(code == FX_OK && same->recipient_count == object->recipient_count);
    }
}

static void
decode_erasure(fx_bytes bytes)
{
    const fx_repository_key *key = &fuzz_keys_get()->key;
    char name[FX_KEY_TEXT_BYTES] = "erasures/0102030405060708/00000001";
    fx_err err = {0};
    FX_AUTO(fx_erasure) erasure = NULL;
    fx_code code = fx_erasure_decode(bytes, &erasure, &err);
    check_code(code);
    FX_ASSERT((code == FX_OK) == (erasure != NULL));
    if (erasure != NULL) {
        char scope[FX_SCOPE_ID_TEXT_BYTES];
        fx_scope_id_format(&erasure->scope, scope);
        (void)snprintf(name, sizeof name, "erasures/%s/%08u", scope, erasure->serial);
    }
    FX_AUTO(fx_store) store = store_with(name, bytes);
    check_code(fx_erasure_verify(store, name, key, &err));
    check_code(fx_stored_check(name, bytes, key, &err));
}

static void
use_voucher(const fx_voucher *voucher, const fx_scope_id *scope)
{
    fx_err err = {0};
    fx_id_set digests = {0};
    const fx_index_origin origin = {.scope = scope, .is_trusted = true};
    FX_AUTO(fx_index) index = fx_index_new(NULL);
    fx_code code = fx_voucher_digests(voucher->records, scope, &digests, &err);
    fx_code same = fx_index_decode(index, voucher->records, &origin, &err);
    FX_ASSERT(code == same);
    fx_index_seal(index);
    FX_ASSERT(fx_index_pack_count(index) >= digests.count);
    FX_ASSERT(fx_index_entry_count(index) <= voucher->records.size_bytes / FX_ID_BYTES);
    fx_id_set_free(&digests);
}

static void
decode_voucher(fx_bytes bytes)
{
    const fx_scope_keys *scope = &fuzz_keys_get()->scope;
    unsigned char digest[FX_SHA256_BYTES];
    char hex[2 * FX_SHA256_BYTES + 1];
    char name[FX_KEY_TEXT_BYTES];
    fx_err err = {0};
    FX_AUTO(fx_voucher) voucher = NULL;
    FX_AUTO(fx_voucher) stored = NULL;
    fx_code code = fx_voucher_decode(bytes, scope, &voucher, &err);
    check_code(code);
    FX_ASSERT((code == FX_OK) == (voucher != NULL));
    if (voucher != NULL) {
        use_voucher(voucher, &scope->id);
    }
    fx_sha256(bytes, digest);
    fx_hex_encode((fx_bytes){digest, sizeof digest}, hex);
    (void)snprintf(name, sizeof name, "verified/0102030405060708/%s", hex);
    FX_AUTO(fx_store) store = store_with(name, bytes);
    fx_code got = fx_voucher_get(store, name, scope, &stored, &err);
    FX_ASSERT(got == code);
    check_code(fx_stored_check(name, bytes, NULL, &err));
}

/* ---- one input
 * -------------------------------------------------------------------------------------- */

typedef struct kind {
    const char *magic;
    const char *use;
    void (*append)(fx_bytes message, fx_buf *out);
    void (*decode)(fx_bytes object);
} kind;

static const kind kinds[] = {
    {"FXKEYOBJ", "fortress key object 1", append_key_object, decode_key_object},
    {"FXERASED", "fortress erasure 1", append_erasure, decode_erasure},
    {"FXVOUCH1", "fortress voucher 1", append_as_is, decode_voucher},
};

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    fx_err err = {0};
    if (size_bytes == 0) {
        return 0;
    }
    /* Highest bit: the bytes as they are. The next two: which. The rest damages the object. */
    const kind *one = &kinds[(data[0] >> 5U & 3U) % 3];
    fx_bytes message = {data + 1, size_bytes - 1};
    if (data[0] >> 7U != 0) {
        one->decode(message);
        return 0;
    }
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, ROOM_BYTES);
    fx_code code = fx_signed_begin(&bytes, one->magic, &err);
    FX_ASSERT(code == FX_OK);
    one->append(message, &bytes);
    code = fx_signed_finish(&bytes, one->use, fuzz_keys_get()->version.sign, &err);
    FX_ASSERT(code == FX_OK);
    unsigned damage = data[0] & 31U;
    if (damage != 0) {
        bytes.data[bytes.size_bytes * damage / 32] ^= 1;
    }
    one->decode(fx_buf_bytes(&bytes));
    return 0;
}
