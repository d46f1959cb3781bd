#include "tests/support/poison.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/hex.h"
#include "common/keyring/manage.h"
#include "common/repository/index_writer.h"
#include "common/repository/internal.h"

fx_repository_key *
fx_write_only_key(const char *key_path)
{
    fx_err err = {0};
    fx_keyring *exported = NULL;
    fx_repository_key *key = NULL;
    FX_AUTO(fx_keyring) keyring = NULL;
    FX_AUTO(fx_opener) opener = fx_opener_new();
    fx_name label = fx_name_of("web-1");
    if (fx_keyring_load(key_path, &keyring, &err) != FX_OK ||
        fx_keyring_export(keyring, opener, &keyring->scopes[0], &label, &exported, &err) != FX_OK) {
        return NULL;
    }
    if (fx_repository_key_of(exported, opener, &key, &err) != FX_OK) {
        fx_keyring_free(exported);
        return NULL;
    }
    key->own = exported;
    return key;
}

static void
id_of(const fx_repository_key *key, fx_bytes content, fx_chunk_id *out_id)
{
    FX_AUTO(fx_hmac) hmac = fx_hmac_new(fx_repository_key_id_key(key));
    fx_hmac_sha256(hmac, content, out_id->bytes);
}

static fx_code
put_index(
    fx_store *store,
    const fx_session *session,
    const fx_index_pack *pack,
    const fx_chunk_id *id,
    fx_err *err)
{
    fx_index_writer writer;
    fx_index_writer_init(&writer, store, session);
    fx_code code = fx_index_writer_add(&writer, pack, id->bytes, sizeof *id, err);
    if (code == FX_OK) {
        code = fx_index_writer_finish(&writer, err);
    }
    fx_index_writer_free(&writer);
    return code;
}

static fx_code
put_pack(
    fx_store *store,
    const fx_session *session,
    const fx_chunk_id *id,
    fx_index_pack *out_pack,
    fx_err *err)
{
    static const char lie[] = "not what the directory says";
    char store_key[FX_KEY_TEXT_BYTES];
    FX_AUTO(fx_zip) zip = fx_zip_new();
    fx_object_writer object;
    fx_object_writer_init(&object);
    fx_code code = fx_object_begin(&object, session, FX_OBJECT_PACK, (fx_bytes){NULL, 0}, err);
    if (code == FX_OK) {
        fx_bytes content = {lie, sizeof lie};
        code = fx_object_add(&object, zip, id, FX_CHUNK_DATA + 1, content, err);
    }
    if (code == FX_OK) {
        code = fx_object_finish(&object, out_pack->name, err);
    }
    if (code == FX_OK) {
        out_pack->size_bytes = (uint32_t)object.bytes.size_bytes;
        out_pack->blob_count = 1;
        fx_pack_key(out_pack->name, store_key);
        fx_mono deadline = fx_repository_deadline();
        code = fx_store_put(store, store_key, fx_buf_bytes(&object.bytes), deadline, err);
    }
    fx_object_writer_free(&object);
    return code;
}

fx_code
fx_poison_pack(const char *url, const fx_repository_key *key, fx_bytes content, fx_err *err)
{
    FX_AUTO(fx_store) store = NULL;
    fx_session session;
    fx_chunk_id id;
    fx_index_pack pack = {0};
    id_of(key, content, &id);
    if (fx_store_open(url, &store, err) != FX_OK || fx_session_begin(key, &session, err) != FX_OK ||
        put_pack(store, &session, &id, &pack, err) != FX_OK) {
        return err->code;
    }
    return put_index(store, &session, &pack, &id, err);
}

fx_code
fx_poison_index(
    const char *url,
    const fx_repository_key *key,
    const char *pack_path,
    fx_bytes content,
    fx_err *err)
{
    FX_AUTO(fx_store) store = NULL;
    fx_session session;
    struct stat info;
    fx_chunk_id id;
    fx_index_pack pack = {.blob_count = 1};
    id_of(key, content, &id);
    if (stat(pack_path, &info) != 0) {
        return fx_fail_errno(err, errno, "could not look at \"%.200s\"", pack_path);
    }
    pack.size_bytes = (uint32_t)info.st_size;
    const char *slash = strrchr(pack_path, '/');
    if (fx_hex_decode(slash + 1, pack.name, sizeof pack.name, err) != FX_OK ||
        fx_store_open(url, &store, err) != FX_OK || fx_session_begin(key, &session, err) != FX_OK) {
        return err->code;
    }
    return put_index(store, &session, &pack, &id, err);
}
