/* The numbers of docs/format.md, "Test vectors": what this program computes is what the page says.
 */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/file.h"
#include "common/base/hex.h"
#include "common/crypto/scrypt.h"
#include "common/repository/chunker.h"
#include "common/repository/index.h"
#include "common/repository/key_object.h"
#include "common/repository/object.h"
#include "common/repository/signed.h"
#include "common/repository/voucher.h"
#include "tests/support/folder.h"

enum {
    VECTORS_MAX = 64,
    FILE_MAX_BYTES = 64 * 1024,
    CUT_BYTES = 16 * 1024 * 1024,
    EVEN_BYTES = 5 * 1024 * 1024,
    GEAR_SHOWN = 16,
    TEXT_BYTES = 1024,
};

typedef struct vector {
    const char *name;
    char *text;
    unsigned char *bytes;
    size_t size_bytes; /* 0: it is no hex */
} vector;

static vector vectors[VECTORS_MAX];
static size_t vector_count;
static fx_buf file;
static unsigned char *cut_data;
static char folder[] = "/tmp/fx_vectors_test_XXXXXX";
static int serial;

/* Also where the text was changed: what is not hex any more is empty. */
static void
decode(vector *one)
{
    fx_err ignored = {0};
    size_t size_bytes = strlen(one->text) / 2;
    bool is_hex = fx_hex_decode(one->text, one->bytes, size_bytes, &ignored) == FX_OK;
    one->size_bytes = is_hex ? size_bytes : 0;
}

static int
load_vectors(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_buf_init(&file, FILE_MAX_BYTES);
    if (mkdtemp(folder) == NULL || fx_file_read(FX_VECTORS_PATH, &file, &err) != FX_OK) {
        return -1;
    }
    char *rest = (char *)file.data;
    for (char *line = strtok_r(rest, "\n", &rest); line != NULL && vector_count < VECTORS_MAX;
         line = strtok_r(NULL, "\n", &rest)) {
        char *blank = strchr(line, ' ');
        if (blank == NULL) {
            return -1;
        }
        *blank = '\0';
        vector *one = &vectors[vector_count++];
        *one = (vector){.name = line, .text = blank + 1};
        one->bytes = calloc(1, strlen(one->text) / 2 + 1);
        if (one->bytes == NULL) {
            return -1;
        }
        decode(one);
    }
    /* As the page says: SHA-256 of a name and a counter. */
    static const char name[] = "fortress test cuts";
    unsigned char seed[sizeof name - 1 + 8] = {0};
    memcpy(seed, name, sizeof name - 1);
    cut_data = malloc(CUT_BYTES);
    for (size_t i = 0; cut_data != NULL && i < CUT_BYTES / 32; i++) {
        for (size_t at = 0; at < 8; at++) {
            seed[sizeof name - 1 + at] = (unsigned char)(i >> (8 * at));
        }
        fx_sha256((fx_bytes){seed, sizeof seed}, cut_data + 32 * i);
    }
    return cut_data == NULL ? -1 : 0;
}

static int
free_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < vector_count; i++) {
        free(vectors[i].bytes);
    }
    free(cut_data);
    fx_buf_free(&file);
    return test_folder_remove(folder);
}

static const vector *
find(const char *name)
{
    for (size_t i = 0; i < vector_count; i++) {
        if (strcmp(vectors[i].name, name) == 0) {
            return &vectors[i];
        }
    }
    fail_msg("there is no vector %s", name);
    abort(); /* not reached */
}

static fx_bytes
get(const char *name)
{
    const vector *one = find(name);
    return (fx_bytes){one->bytes, one->size_bytes};
}

/* The bytes of a vector that has that many; all zero for one that has not. */
static const unsigned char *
fixed(const char *name, size_t size_bytes)
{
    static const unsigned char none[64];
    fx_bytes bytes = get(name);
    FX_ASSERT(size_bytes <= sizeof none);
    return bytes.size_bytes == size_bytes ? bytes.data : none;
}

static bool
is(const char *name, const void *data, size_t size_bytes)
{
    fx_bytes bytes = get(name);
    return bytes.size_bytes == size_bytes && memcmp(bytes.data, data, size_bytes) == 0;
}

static bool
is_buf(const char *name, const fx_buf *buf)
{
    return is(name, buf->data, buf->size_bytes);
}

/* The scope's keys as a process has them that may read it. */
static fx_repository_key
make_key(fx_scope_keys *scope, fx_scope_version *version)
{
    *scope = (fx_scope_keys){.can_read = true, .can_write = true};
    *version = (fx_scope_version){.number = 1};
    memcpy(scope->id.bytes, fixed("scope_id", 8), 8);
    memcpy(scope->id_key, fixed("id_key", 32), 32);
    memcpy(version->public_key, fixed("x25519_public", 32), 32);
    memcpy(version->verify_key, fixed("ed25519_public", 32), 32);
    memcpy(version->private_key, fixed("x25519_private", 32), 32);
    memcpy(version->sign, fixed("ed25519_private", 32), 32);
    scope->versions = version;
    scope->version_count = 1;
    return (fx_repository_key){.scopes = scope, .scope_count = 1};
}

/* ---- one step each ------------------------------------------------------------------------------
 */

static bool
keys_are_so(void)
{
    unsigned char box[FX_BOX_KEY_BYTES];
    unsigned char verify[FX_SIGN_KEY_BYTES];
    unsigned char check[FX_ID_CHECK_BYTES];
    fx_box_public(fixed("x25519_private", 32), box);
    FX_AUTO(fx_sign_key) sign = fx_sign_key_of(fixed("ed25519_private", 32));
    fx_sign_key_public(sign, verify);
    fx_id_check(fixed("id_key", 32), check);
    return is("x25519_public", box, sizeof box) && is("ed25519_public", verify, sizeof verify) &&
           is("id_check", check, sizeof check);
}

static bool
ids_are_so(void)
{
    unsigned char id[2][FX_SHA256_BYTES];
    FX_AUTO(fx_hmac) hmac = fx_hmac_new(fixed("id_key", 32));
    fx_hmac_sha256(hmac, get("content_0"), id[0]);
    fx_hmac_sha256(hmac, get("content_1"), id[1]);
    return is("chunk_id_0", id[0], 32) && is("chunk_id_1", id[1], 32);
}

/* A session key is sealed with a pair that is drawn: the opening has fixed bytes. */
static bool
session_key_is_so(void)
{
    fx_err ignored = {0};
    FX_BUF_AUTO opened;
    unsigned char ephemeral[FX_BOX_KEY_BYTES];
    fx_buf_init(&opened, 64);
    fx_bytes sealed = get("sealed");
    fx_box_public(fixed("ephemeral_private", 32), ephemeral);
    return sealed.size_bytes == FX_OBJECT_SEALED_KEY_BYTES &&
           memcmp(sealed.data, ephemeral, sizeof ephemeral) == 0 &&
           fx_box_open(
               fixed("x25519_private", 32), "fortress session key 1", sealed, &opened, &ignored) ==
               FX_OK &&
           is_buf("session_key", &opened);
}

static bool
object_key_is_so(void)
{
    unsigned char both[2 * FX_KEY_BYTES];
    unsigned char key[FX_KEY_BYTES];
    memcpy(both, fixed("session_key", 32), 32);
    memcpy(both + 32, fixed("id_key", 32), 32);
    fx_hkdf_sha256(
        (fx_bytes){both, sizeof both},
        (fx_bytes){fixed("salt", 32), 32},
        "fortress object key 1",
        key,
        sizeof key);
    return is("object_key", key, sizeof key);
}

static bool
seals_to(uint64_t number, const char *bound, fx_bytes text, const char *sealed)
{
    fx_err ignored = {0};
    FX_BUF_AUTO out;
    fx_buf_init(&out, TEXT_BYTES);
    FX_AUTO(fx_aead) aead = fx_aead_new(fixed("object_key", 32));
    return fx_aead_seal(aead, number, get(bound), text, &out, &ignored) == FX_OK &&
           is_buf(sealed, &out);
}

static bool
blobs_are_so(void)
{
    return seals_to(0, "bound_0", get("content_0"), "blob_0") &&
           seals_to(1, "bound_1", get("frame_1"), "blob_1") &&
           seals_to(UINT64_C(1) << 32, "directory_bound", (fx_bytes){"", 0}, "directory_tag");
}

static bool
blob_opens(fx_object *object, fx_bytes pack, uint32_t number, const char *content)
{
    fx_err ignored = {0};
    FX_BUF_AUTO out;
    FX_AUTO(fx_zip) zip = fx_zip_new();
    fx_buf_init(&out, TEXT_BYTES);
    const fx_blob *blob = &object->blobs[number];
    fx_bytes stored = {(const unsigned char *)pack.data + blob->offset, blob->stored_bytes};
    return fx_object_open_blob(object, zip, number, stored, &out, &ignored) == FX_OK &&
           is_buf(content, &out);
}

/* The page's parts one behind the other. */
static bool
pack_is_its_parts(fx_bytes pack)
{
    static const char *const names[] = {"head", "blob_0", "blob_1", "directory", "directory_tag"};
    size_t at = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        fx_bytes part = get(names[i]);
        if (part.size_bytes == 0 || at + part.size_bytes > pack.size_bytes ||
            memcmp((const unsigned char *)pack.data + at, part.data, part.size_bytes) != 0) {
            return false;
        }
        at += part.size_bytes;
    }
    return at + FX_OBJECT_FOOT_BYTES - FX_AEAD_TAG_BYTES == pack.size_bytes;
}

static bool
pack_opens(void)
{
    fx_err ignored = {0};
    fx_scope_keys scope;
    fx_scope_version version;
    FX_AUTO(fx_object) object = NULL;
    unsigned char name[FX_SHA256_BYTES];
    fx_bytes pack = get("pack");
    fx_repository_key key = make_key(&scope, &version);
    fx_sha256(pack, name);
    return is("pack_name", name, sizeof name) && pack_is_its_parts(pack) &&
           fx_object_parse(pack, pack, pack.size_bytes, &object, &ignored) == FX_OK &&
           is("salt", object->salt, sizeof object->salt) &&
           is("sealed", object->sealed, sizeof object->sealed) &&
           is("scope_id", object->scope.bytes, sizeof object->scope.bytes) &&
           is("head_digest", object->head_digest, sizeof object->head_digest) &&
           object->blob_count == 2 && is("chunk_id_0", object->blobs[0].id.bytes, 32) &&
           is("chunk_id_1", object->blobs[1].id.bytes, 32) &&
           fx_object_unlock(object, &key, &ignored) == FX_OK &&
           blob_opens(object, pack, 0, "content_0") && blob_opens(object, pack, 1, "content_1");
}

static bool
record_is_so(void)
{
    fx_err ignored = {0};
    fx_scope_keys scope;
    fx_scope_version version;
    unsigned char digest[FX_ID_BYTES];
    fx_bytes record;
    fx_bytes records = get("record");
    (void)make_key(&scope, &version);
    if (fx_index_take_record(&records, &record, &ignored) != FX_OK || records.size_bytes != 0) {
        return false;
    }
    fx_index_record_of(&scope.id, record, digest);
    const unsigned char *data = record.data;
    return is("record_digest", digest, sizeof digest) && is("pack_name", data, FX_ID_BYTES) &&
           is("chunk_id_0", data + 44, FX_ID_BYTES) && is("chunk_id_1", data + 76, FX_ID_BYTES);
}

/* Made anew of its message, it is the same: these signatures have nothing drawn in them. */
static bool
is_signed_so(const char *name, const char *magic, const char *use)
{
    fx_err ignored = {0};
    fx_signed parts;
    FX_BUF_AUTO again;
    fx_buf_init(&again, TEXT_BYTES);
    return fx_signed_open(get(name), magic, &parts, &ignored) == FX_OK &&
           fx_signed_begin(&again, magic, &ignored) == FX_OK &&
           fx_buf_append(&again, parts.message.data, parts.message.size_bytes, &ignored) == FX_OK &&
           fx_signed_finish(&again, use, fixed("ed25519_private", 32), &ignored) == FX_OK &&
           is_buf(name, &again);
}

static bool
voucher_is_so(void)
{
    fx_err ignored = {0};
    fx_scope_keys scope;
    fx_scope_version version;
    FX_AUTO(fx_voucher) voucher = NULL;
    (void)make_key(&scope, &version);
    return is_signed_so("voucher", "FXVOUCH1", "fortress voucher 1") &&
           fx_voucher_decode(get("voucher"), &scope, &voucher, &ignored) == FX_OK &&
           is("record", voucher->records.data, voucher->records.size_bytes) &&
           voucher->kept.size_bytes == 0;
}

static bool
key_object_is_so(void)
{
    fx_err ignored = {0};
    FX_BUF_AUTO again;
    FX_AUTO(fx_key_object) object = NULL;
    fx_buf_init(&again, TEXT_BYTES);
    return is_signed_so("key_object", "FXKEYOBJ", "fortress key object 1") &&
           fx_key_object_decode(get("key_object"), &object, &ignored) == FX_OK &&
           is("x25519_public", object->public_key, sizeof object->public_key) &&
           is("id_check", object->id_check, sizeof object->id_check) &&
           object->recipient_count == 1 && object->export_count == 1 &&
           fx_key_object_encode(object, fixed("ed25519_private", 32), &again, &ignored) == FX_OK &&
           is_buf("key_object", &again);
}

static bool
snapshot_is_signed_so(void)
{
    unsigned char statement[FX_SHA256_BYTES + FX_ID_BYTES];
    unsigned char signature[FX_SIGN_BYTES];
    memcpy(statement, fixed("head_digest", 32), 32);
    memcpy(statement + 32, fixed("snapshot_root", 32), 32);
    fx_bytes bytes = {statement, sizeof statement};
    fx_statement_sign(fixed("ed25519_private", 32), "fortress snapshot 1", bytes, signature);
    return is("snapshot_signature", signature, sizeof signature) &&
           fx_statement_check(fixed("ed25519_public", 32), "fortress snapshot 1", bytes, signature);
}

static bool
keyring_is_so(void)
{
    fx_err ignored = {0};
    FX_BUF_AUTO again;
    FX_AUTO(fx_keyring) keyring = NULL;
    fx_buf_init(&again, FILE_MAX_BYTES);
    if (fx_keyring_parse(get("keyring"), &keyring, &ignored) != FX_OK ||
        fx_keyring_print(keyring, &again, &ignored) != FX_OK || !is_buf("keyring", &again) ||
        keyring->recipient_count != 2 || keyring->scope_count != 1 ||
        keyring->scopes[0].version_count != 1) {
        return false;
    }
    const fx_recipient *words = &keyring->recipients[1];
    const fx_key_version *version = &keyring->scopes[0].versions[0];
    return version->wrap_count == 2 && is("scrypt_salt", words->salt, sizeof words->salt) &&
           is("passphrase_public", words->public_key, sizeof words->public_key) &&
           is("x25519_public", version->public_key, 32) &&
           is("ed25519_public", version->verify_key, 32) &&
           is("wrap", version->wraps[1].sealed, version->wraps[1].sealed_bytes);
}

static bool
gear_is_so(void)
{
    fx_chunker chunker;
    char shown[17 * GEAR_SHOWN + 1] = "";
    unsigned char bytes[8 * 256];
    unsigned char digest[FX_SHA256_BYTES];
    fx_chunker_init(&chunker);
    for (size_t i = 0; i < 256; i++) {
        for (size_t at = 0; at < 8; at++) {
            bytes[8 * i + at] = (unsigned char)(chunker.gear[i] >> (8 * at));
        }
    }
    for (size_t i = 0; i < GEAR_SHOWN; i++) {
        (void)snprintf(
            shown + 17 * i,
            sizeof shown - 17 * i,
            "%016llx%s",
            (unsigned long long)chunker.gear[i],
            i + 1 < GEAR_SHOWN ? " " : "");
    }
    fx_sha256((fx_bytes){bytes, sizeof bytes}, digest);
    return strcmp(find("gear")->text, shown) == 0 && is("gear_digest", digest, sizeof digest);
}

static bool
cuts_to(const char *name, const unsigned char *data, size_t size_bytes)
{
    fx_chunker chunker;
    char shown[TEXT_BYTES] = "";
    size_t used = 0;
    size_t at = 0;
    fx_chunker_init(&chunker);
    while (at < size_bytes && used < sizeof shown) {
        bool is_end = false;
        at += fx_chunker_take(&chunker, (fx_bytes){data + at, size_bytes - at}, &is_end);
        used +=
            (size_t)snprintf(shown + used, sizeof shown - used, "%s%zu", used == 0 ? "" : " ", at);
    }
    return strcmp(find(name)->text, shown) == 0;
}

static bool
cuts_are_so(void)
{
    unsigned char *even = malloc(EVEN_BYTES);
    FX_ASSERT(even != NULL);
    memset(even, 'x', EVEN_BYTES);
    bool is_so = cuts_to("cuts_even", even, EVEN_BYTES) && cuts_to("cuts", cut_data, CUT_BYTES);
    free(even);
    return is_so;
}

static bool
stored_stream_is_so(const char *path)
{
    fx_err ignored = {0};
    FX_BUF_AUTO bytes;
    FX_AUTO(fx_object) object = NULL;
    fx_buf_init(&bytes, FILE_MAX_BYTES);
    return fx_file_read(path, &bytes, &ignored) == FX_OK &&
           fx_object_parse(
               fx_buf_bytes(&bytes), fx_buf_bytes(&bytes), bytes.size_bytes, &object, &ignored) ==
               FX_OK &&
           object->blob_count == 1 && is("stream_piece_id", object->blobs[0].id.bytes, 32);
}

/* What the engine itself stores with these keys. */
static bool
engine_does_so(void)
{
    fx_err ignored = {0};
    char url[128];
    char path[128];
    fx_chunk_id id;
    FX_AUTO(fx_opener) opener = fx_opener_new();
    FX_AUTO(fx_keyring) keyring = NULL;
    FX_AUTO(fx_repository_key) key = NULL;
    FX_AUTO(fx_repository) repository = NULL;
    FX_AUTO(fx_writer) writer = NULL;
    (void)snprintf(url, sizeof url, "posix:%s/%d", folder, serial);
    (void)snprintf(path, sizeof path, "%s/%d/streams/vector", folder, serial++);
    return fx_keyring_parse(get("keyring"), &keyring, &ignored) == FX_OK &&
           fx_repository_key_of(keyring, opener, &key, &ignored) == FX_OK &&
           fx_repository_create(url, key, &ignored) == FX_OK &&
           fx_repository_open(url, key, &repository, &ignored) == FX_OK &&
           fx_writer_open(repository, &writer, &ignored) == FX_OK &&
           fx_writer_add_chunk(writer, FX_CHUNK_DATA, get("content_0"), &id, &ignored) == FX_OK &&
           is("chunk_id_0", id.bytes, sizeof id.bytes) &&
           fx_repository_put_named(repository, "vector", get("content_0"), &ignored) == FX_OK &&
           stored_stream_is_so(path);
}

static bool
passphrase_opens(void)
{
    fx_err ignored = {0};
    unsigned char private[FX_KEY_BYTES];
    unsigned char public[FX_BOX_KEY_BYTES];
    fx_scrypt_cost cost = {.log2_n = 17, .r = 8, .p = 1};
    FX_BUF_AUTO secret;
    fx_buf_init(&secret, 96);
    if (fx_scrypt(get("passphrase"), get("scrypt_salt"), cost, private, &ignored) != FX_OK) {
        return false;
    }
    fx_box_public(private, public);
    return is("passphrase_private", private, sizeof private) &&
           is("passphrase_public", public, sizeof public) &&
           fx_box_open(private, "fortress wrapped key 1", get("wrap"), &secret, &ignored) ==
               FX_OK &&
           secret.size_bytes == 96 && is("x25519_private", secret.data, 32) &&
           is("ed25519_private", secret.data + 32, 32) && is("id_key", secret.data + 64, 32);
}

/* The dear ones last. */
static const struct {
    const char *name;
    bool (*is_so)(void);
} steps[] = {
    {"keys", keys_are_so},
    {"chunk ids", ids_are_so},
    {"session key", session_key_is_so},
    {"object key", object_key_is_so},
    {"blobs and directory", blobs_are_so},
    {"pack", pack_opens},
    {"record", record_is_so},
    {"voucher", voucher_is_so},
    {"key object", key_object_is_so},
    {"snapshot's signature", snapshot_is_signed_so},
    {"keyring", keyring_is_so},
    {"gear table", gear_is_so},
    {"engine", engine_does_so},
    {"cuts", cuts_are_so},
    {"passphrase", passphrase_opens},
};
enum { STEPS = sizeof steps / sizeof steps[0] };

/* ---- tests --------------------------------------------------------------------------------------
 */

static void
every_step_gives_the_numbers_of_the_page(void **state)
{
    (void)state;
    assert_in_range(vector_count, 35, VECTORS_MAX - 1);
    for (size_t i = 0; i < STEPS; i++) {
        if (!steps[i].is_so()) {
            fail_msg("the step \"%s\" gives something else than the page", steps[i].name);
        }
    }
}

/* Another digit in the middle of any of them, and a step notices. */
static void
every_vector_can_fail(void **state)
{
    (void)state;
    for (size_t i = 0; i < vector_count; i++) {
        vector *one = &vectors[i];
        char *digit = one->text + strlen(one->text) / 2;
        digit += isxdigit((unsigned char)*digit) ? 0 : 1;
        const char kept = *digit;
        *digit = kept == '4' ? '5' : '4';
        decode(one);
        size_t step = 0;
        while (step < STEPS && steps[step].is_so()) {
            step++;
        }
        if (step == STEPS) {
            fail_msg("another %s is not noticed", one->name);
        }
        *digit = kept;
        decode(one);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_step_gives_the_numbers_of_the_page),
        cmocka_unit_test(every_vector_can_fail),
    };
    return cmocka_run_group_tests(tests, load_vectors, free_vectors);
}
