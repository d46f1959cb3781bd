#include "common/repository/voucher.h"

#include <stdio.h>
#include <string.h>

#include "proto/repository.pb-c.h"

#include "common/base/hex.h"
#include "common/repository/internal.h"
#include "common/repository/lease.h"
#include "common/repository/signed.h"

enum {
    OBJECT_MAX_BYTES = 64 * 1024 * 1024,
    RECORDS_MAX_BYTES = 16 * 1024 * 1024, /* of each kind in one object that is put */
};

static const char magic[FX_SIGNED_MAGIC_BYTES] = "FXVOUCH1";
static const char voucher_use[] = "fortress voucher 1";

/* ---- reading
 * ---------------------------------------------------------------------------------------- */

void
fx_voucher_free(fx_voucher *voucher)
{
    if (voucher == NULL) {
        return;
    }
    if (voucher->message != NULL) {
        fortress__repository__voucher__free_unpacked(voucher->message, NULL);
    }
    free(voucher);
}

static fx_code
check_signature(const fx_scope_keys *scope, uint32_t version, const fx_signed *parts, fx_err *err)
{
    if (version > scope->version_count) {
        return fx_fail(
            err,
            FX_ERR_WRONG_KEY,
            "could not check the voucher: key version %u of scope \"%s\" is not in the key file",
            version,
            scope->label.text);
    }
    return fx_scope_check(scope, version, voucher_use, parts->statement, parts->signature)
               ? FX_OK
               : fx_fail(
                     err,
                     FX_ERR_DAMAGED,
                     "could not read the voucher: no key of its scope has signed it");
}

fx_code
fx_voucher_decode(fx_bytes bytes, const fx_scope_keys *scope, fx_voucher **out_voucher, fx_err *err)
{
    fx_signed parts;
    if (bytes.size_bytes > OBJECT_MAX_BYTES) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not read the voucher: it is too long");
    }
    if (fx_signed_open(bytes, magic, &parts, err) != FX_OK) {
        return fx_err_wrap(err, "reading a voucher");
    }
    FX_AUTO(fx_voucher) voucher = calloc(1, sizeof *voucher);
    FX_ASSERT(voucher != NULL);
    Fortress__Repository__Voucher *message =
        fortress__repository__voucher__unpack(NULL, parts.message.size_bytes, parts.message.data);
    voucher->message = message;
    if (message == NULL || message->scope_id.len != sizeof scope->id.bytes ||
        memcmp(message->scope_id.data, scope->id.bytes, sizeof scope->id.bytes) != 0) {
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): FX_AUTO frees it */
        return fx_fail(err, FX_ERR_DAMAGED, "could not read the voucher: it is malformed");
    }
    if (check_signature(scope, message->key_version, &parts, err) != FX_OK) {
        return err->code;
    }
    voucher->records = (fx_bytes){message->records.data, message->records.len};
    voucher->kept = (fx_bytes){message->kept.data, message->kept.len};
    *out_voucher = FX_TAKE(voucher);
    return FX_OK;
}

fx_code
fx_voucher_check(fx_bytes bytes, fx_err *err)
{
    fx_signed parts;
    return fx_signed_open(bytes, magic, &parts, err);
}

fx_code
fx_voucher_digests(fx_bytes records, const fx_scope_id *scope, fx_id_set *digests, fx_err *err)
{
    fx_bytes record;
    fx_chunk_id digest;
    while (records.size_bytes > 0) {
        if (fx_index_take_record(&records, &record, err) != FX_OK) {
            return err->code;
        }
        fx_index_record_of(scope, record, digest.bytes);
        (void)fx_id_set_add(digests, &digest);
    }
    return FX_OK;
}

void
fx_voucher_prefix(const fx_scope_id *scope, char out_prefix[FX_VOUCHER_PREFIX_BYTES])
{
    char hex[FX_SCOPE_ID_TEXT_BYTES];
    fx_scope_id_format(scope, hex);
    (void)snprintf(out_prefix, FX_VOUCHER_PREFIX_BYTES, "verified/%s/", hex);
}

fx_code
fx_voucher_get(
    fx_store *store,
    const char *store_key,
    const fx_scope_keys *scope,
    fx_voucher **out_voucher,
    fx_err *err)
{
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, OBJECT_MAX_BYTES);
    fx_mono deadline = fx_repository_deadline();
    fx_code code = fx_store_get(store, store_key, 0, bytes.max_bytes, deadline, &bytes, err);
    if (code == FX_OK && !fx_is_named_by_digest(store_key, fx_buf_bytes(&bytes))) {
        code = fx_fail(
            err, FX_ERR_DAMAGED, "could not read the voucher: its bytes are not what was written");
    }
    if (code == FX_OK) {
        code = fx_voucher_decode(fx_buf_bytes(&bytes), scope, out_voucher, err);
    }
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "reading \"%s\"", store_key);
}

/* ---- writing
 * ---------------------------------------------------------------------------------------- */

void
fx_voucher_writer_init(fx_voucher_writer *writer, fx_store *store, const fx_scope_keys *scope)
{
    *writer = (fx_voucher_writer){.store = store, .scope = scope};
    fx_buf_init(&writer->records, RECORDS_MAX_BYTES);
    fx_buf_init(&writer->kept, RECORDS_MAX_BYTES);
}

void
fx_voucher_writer_free(fx_voucher_writer *writer)
{
    fx_buf_free(&writer->records);
    fx_buf_free(&writer->kept);
    *writer = (fx_voucher_writer){0};
}

static fx_code
encode(const fx_voucher_writer *writer, fx_buf *out, fx_err *err)
{
    const fx_scope_keys *scope = writer->scope;
    if (!scope->can_read) {
        return fx_fail(
            err,
            FX_ERR_WRONG_KEY,
            "could not vouch in scope \"%s\": the key file holds no private key of it",
            scope->label.text);
    }
    const fx_scope_version *version = &scope->versions[scope->version_count - 1];
    fx_scope_id id = scope->id;
    Fortress__Repository__Voucher message;
    fortress__repository__voucher__init(&message);
    message.scope_id = (ProtobufCBinaryData){sizeof id.bytes, id.bytes};
    message.key_version = version->number;
    message.records = (ProtobufCBinaryData){writer->records.size_bytes, writer->records.data};
    message.kept = (ProtobufCBinaryData){writer->kept.size_bytes, writer->kept.data};
    unsigned char *room = NULL;
    size_t size_bytes = fortress__repository__voucher__get_packed_size(&message);
    if (fx_signed_begin(out, magic, err) != FX_OK ||
        fx_buf_extend(out, size_bytes, &room, err) != FX_OK) {
        return err->code;
    }
    (void)fortress__repository__voucher__pack(&message, room);
    return fx_signed_finish(out, voucher_use, version->sign, err);
}

fx_code
fx_voucher_writer_finish(fx_voucher_writer *writer, fx_err *err)
{
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, OBJECT_MAX_BYTES);
    if (writer->records.size_bytes + writer->kept.size_bytes == 0) {
        return FX_OK;
    }
    if (encode(writer, &bytes, err) != FX_OK) {
        return err->code;
    }
    /* After the index objects were put: what is vouched for was there when they were. */
    if (writer->lease != NULL && writer->lease[0] != '\0' &&
        fx_lease_check(writer->store, writer->lease, err) != FX_OK) {
        return err->code;
    }
    fx_chunk_id name;
    char hex[2 * FX_ID_BYTES + 1];
    char prefix[FX_VOUCHER_PREFIX_BYTES];
    char store_key[FX_KEY_TEXT_BYTES];
    fx_sha256(fx_buf_bytes(&bytes), name.bytes);
    fx_hex_encode((fx_bytes){name.bytes, sizeof name.bytes}, hex);
    fx_voucher_prefix(&writer->scope->id, prefix);
    (void)snprintf(store_key, sizeof store_key, "%s%s", prefix, hex);
    fx_err failure = {0};
    fx_mono deadline = fx_repository_deadline();
    fx_code code = fx_store_put(writer->store, store_key, fx_buf_bytes(&bytes), deadline, &failure);
    if (code != FX_OK && code != FX_ERR_EXISTS) { /* it is named by its bytes */
        *err = failure;
        return fx_err_wrap(err, "storing \"%s\"", store_key);
    }
    writer->added_bytes += bytes.size_bytes;
    if (writer->names != NULL) {
        (void)fx_id_set_add(writer->names, &name);
    }
    fx_buf_clear(&writer->records);
    fx_buf_clear(&writer->kept);
    return FX_OK;
}

fx_code
fx_voucher_writer_add(
    fx_voucher_writer *writer,
    const fx_index_pack *pack,
    const unsigned char *ids,
    size_t stride_bytes,
    bool is_vouched,
    fx_err *err)
{
    fx_buf *to = is_vouched ? &writer->records : &writer->kept;
    fx_err full = {0};
    if (fx_index_encode(pack, ids, stride_bytes, to, &full) == FX_OK) {
        return FX_OK;
    }
    return fx_voucher_writer_finish(writer, err) != FX_OK
               ? err->code
               : fx_index_encode(pack, ids, stride_bytes, to, err);
}
