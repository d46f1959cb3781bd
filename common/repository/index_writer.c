#include "common/repository/index_writer.h"

#include <stdio.h>

#include "common/base/hex.h"
#include "common/repository/internal.h"
#include "common/repository/lease.h"

enum { BLOBS_MAX = 4 }; /* of an index object: half a million chunks, 16 MiB */

void
fx_index_writer_init(fx_index_writer *writer, fx_store *store, const fx_session *session)
{
    *writer = (fx_index_writer){.store = store, .session = session, .zip = fx_zip_new()};
    fx_object_writer_init(&writer->object);
    fx_buf_init(&writer->records, FX_OBJECT_BLOB_MAX_BYTES);
}

void
fx_index_writer_free(fx_index_writer *writer)
{
    fx_object_writer_free(&writer->object);
    fx_buf_free(&writer->records);
    fx_zip_free(writer->zip);
    *writer = (fx_index_writer){0};
}

/* Moves the gathered records into a blob of the object. */
static fx_code
seal_records(fx_index_writer *writer, fx_err *err)
{
    static const fx_chunk_id none;
    if (writer->records.size_bytes == 0) {
        return FX_OK;
    }
    fx_bytes plain = {NULL, 0};
    if (!writer->is_open &&
        fx_object_begin(&writer->object, writer->session, FX_OBJECT_INDEX, plain, err) != FX_OK) {
        return err->code;
    }
    writer->is_open = true;
    fx_bytes records = fx_buf_bytes(&writer->records);
    if (fx_object_add(&writer->object, writer->zip, &none, FX_CHUNK_TREE + 1, records, err) !=
        FX_OK) {
        return err->code;
    }
    fx_buf_clear(&writer->records);
    return FX_OK;
}

fx_code
fx_index_writer_finish(fx_index_writer *writer, fx_err *err)
{
    if (seal_records(writer, err) != FX_OK) {
        return err->code;
    }
    if (!writer->is_open) {
        return FX_OK;
    }
    fx_chunk_id name;
    char hex[2 * FX_SHA256_BYTES + 1];
    char store_key[FX_KEY_TEXT_BYTES];
    if (fx_object_finish(&writer->object, name.bytes, err) != FX_OK) {
        return err->code;
    }
    writer->is_open = false;
    if (writer->lease != NULL && writer->lease[0] != '\0' &&
        fx_lease_check(writer->store, writer->lease, err) != FX_OK) {
        return err->code;
    }
    fx_hex_encode((fx_bytes){name.bytes, sizeof name.bytes}, hex);
    (void)snprintf(store_key, sizeof store_key, "indexes/%s", hex);
    fx_bytes bytes = fx_buf_bytes(&writer->object.bytes);
    fx_err failure = {0};
    fx_mono deadline = fx_repository_deadline();
    fx_code code = fx_store_put(writer->store, store_key, bytes, deadline, &failure);
    if (code != FX_OK && code != FX_ERR_EXISTS) { /* it is named by its bytes */
        *err = failure;
        return fx_err_wrap(err, "storing \"%s\"", store_key);
    }
    writer->added_bytes += bytes.size_bytes;
    writer->last = name;
    if (writer->names != NULL) {
        (void)fx_id_set_add(writer->names, &name);
    }
    return FX_OK;
}

fx_code
fx_index_writer_add(
    fx_index_writer *writer,
    const fx_index_pack *pack,
    const unsigned char *ids,
    size_t stride_bytes,
    fx_err *err)
{
    fx_err full = {0};
    if (fx_index_encode(pack, ids, stride_bytes, &writer->records, &full) == FX_OK) {
        return FX_OK;
    }
    if (seal_records(writer, err) != FX_OK) {
        return err->code;
    }
    if (writer->object.count >= BLOBS_MAX && fx_index_writer_finish(writer, err) != FX_OK) {
        return err->code;
    }
    return fx_index_encode(pack, ids, stride_bytes, &writer->records, err);
}
