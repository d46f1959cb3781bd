/*
 * The readable objects and the names that tell of them: a store that the input fills with leases,
 * marks, holds and so on, each with a true digest around its message or as it stands; then all that
 * reads them. Also the headers of snapshots, and the repository's own "config".
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/repository/forgotten.h"
#include "common/repository/gap.h"
#include "common/repository/hold.h"
#include "common/repository/internal.h"
#include "common/repository/lease.h"
#include "common/repository/plain.h"
#include "common/repository/stored.h"
#include "common/repository/tags.h"
#include "tests/fuzz/support/recipe.h"

#include "common/base/hex.h"
#include "common/crypto/digest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

enum { OBJECTS_MAX = 16, ROOM_BYTES = 64 * 1024 };

#define SNAPSHOT "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define LEASE    "0000000000000001-00112233445566778899aabbccddeeff"

typedef struct kind {
    const char *folder;
    const char *magic;
    const char *name; /* a good one */
} kind;

static const kind kinds[] = {
    {"leases/", "FXLEASE1", LEASE},
    {"leases-over/", "FXLEASE1", LEASE},
    {"marks/", "FXMARK01", LEASE ".1"},
    {"revocations/", "FXREVOKE", LEASE},
    {"settled/", "FXSETTLE", LEASE},
    {"forgotten/", "FXFORGOT", SNAPSHOT},
    {"arriving/", "FXFORGOT", SNAPSHOT},
    {"holds/", "FXHOLD01", SNAPSHOT "-00000001"},
    {"", "FXCONFIG", "config"},
    {"keys/", "FXKEYOBJ", "0102030405060708/00000001-00000001"},
    {"erasures/", "FXERASED", "0102030405060708/00000001"},
    {"verified/", "FXVOUCH1", "0102030405060708/" SNAPSHOT},
    {"snapshots/", "FORTRESS", SNAPSHOT},
    {"others/", "FXOTHERS", "a"},
    {"gaps/", "FXGAP001", NULL}, /* named by its bytes */
};
enum { KINDS = sizeof kinds / sizeof *kinds, MAGIC_BYTES = 8 };

/* Magic, version and digest around the message. */
static void
wrap(const char *magic, fx_bytes message, fx_buf *out)
{
    unsigned char head[FX_PLAIN_HEAD_BYTES] = {0};
    unsigned char digest[FX_SHA256_BYTES];
    fx_err err = {0};
    FX_ASSERT(strlen(magic) == MAGIC_BYTES);
    memcpy(head, magic, MAGIC_BYTES);
    head[MAGIC_BYTES] = 1;
    fx_code code = fx_buf_append(out, head, sizeof head, &err);
    FX_ASSERT(code == FX_OK);
    code = fx_buf_append(out, message.data, message.size_bytes, &err);
    FX_ASSERT(code == FX_OK);
    fx_sha256(fx_buf_bytes(out), digest);
    code = fx_buf_append(out, digest, sizeof digest, &err);
    FX_ASSERT(code == FX_OK);
}

static void
decode_alone(const fx_buf *object, fx_bytes message)
{
    fx_err err = {0};
    unsigned char id[FX_REPOSITORY_ID_BYTES];
    fx_snapshot snapshot = {0};
    fx_code code = fx_config_decode(object, id, &err);
    FX_ASSERT(code == FX_OK || code == FX_ERR_DAMAGED || code == FX_ERR_UNSUPPORTED);
    unsigned char *plain = malloc(message.size_bytes + 1);
    FX_ASSERT(plain != NULL);
    if (message.size_bytes > 0) {
        memcpy(plain, message.data, message.size_bytes);
    }
    const fx_object header = {.plain = plain, .plain_bytes = message.size_bytes};
    code = fx_snapshot_decode(&header, "snapshots/" SNAPSHOT, &snapshot, &err);
    free(plain);
    FX_ASSERT(code == FX_OK || code == FX_ERR_DAMAGED);
    if (code == FX_OK) {
        fx_name tag;
        char last[sizeof tag.text] = "";
        const char *at = snapshot.tags;
        while (fx_tags_next(&at, &tag)) {
            FX_ASSERT(strcmp(last, tag.text) < 0);
            memcpy(last, tag.text, sizeof last);
        }
    }
}

static void
name_by_digest(const char *prefix, const fx_buf *object, char out_key[FX_KEY_TEXT_BYTES])
{
    unsigned char digest[FX_SHA256_BYTES];
    char hex[2 * FX_SHA256_BYTES + 1];
    fx_sha256(fx_buf_bytes(object), digest);
    fx_hex_encode((fx_bytes){digest, sizeof digest}, hex);
    (void)snprintf(out_key, FX_KEY_TEXT_BYTES, "%s%s", prefix, hex);
}

static void
put_one(fx_store *store, recipe *from)
{
    fx_err err = {0};
    FX_BUF_AUTO object;
    char key[FX_KEY_TEXT_BYTES];
    unsigned how = recipe_byte(from);
    const kind *one = &kinds[(how & 15U) % KINDS];
    const char *good = one->name == NULL ? SNAPSHOT : one->name;
    (void)snprintf(key, sizeof key, "%s%s", one->folder, good);
    if ((how & 16U) != 0) { /* another digit or two */
        size_t length = strlen(one->folder);
        key[length + recipe_byte(from) % strlen(good)] = (char)recipe_byte(from);
    }
    if ((how & 32U) != 0) { /* any name */
        fx_bytes name = recipe_take(from, recipe_byte(from));
        (void)snprintf(
            key, sizeof key, "%s%.*s", one->folder, (int)name.size_bytes, (const char *)name.data);
    }
    fx_bytes message = recipe_piece(from);
    fx_buf_init(&object, ROOM_BYTES);
    if ((how & 64U) != 0) {
        fx_code code = fx_buf_append(&object, message.data, message.size_bytes, &err);
        FX_ASSERT(code == FX_OK);
    } else {
        wrap(one->magic, message, &object);
    }
    if (one->name == NULL && (how & (16U | 32U)) == 0) {
        name_by_digest(one->folder, &object, key);
    }
    decode_alone(&object, message);
    fx_ignore(fx_stored_check(key, fx_buf_bytes(&object), NULL, &err), "any outcome but a crash");
    fx_ignore(
        fx_store_put(store, key, fx_buf_bytes(&object), fx_repository_deadline(), &err),
        "a name that no store has, or one that is taken");
}

static void
read_leases(fx_store *store)
{
    fx_err err = {0};
    fx_lease_list list = {0};
    fx_settlements settlements = {0};
    fx_id_set ids = {0};
    static const fx_chunk_id snapshot;
    bool is_revoked = false;
    fx_ignore(fx_lease_list_all(store, &list, &err), "any outcome but a crash");
    for (size_t i = 0; i < list.count; i++) {
        FX_ASSERT(strlen(list.items[i].node) < sizeof list.items[i].node);
        fx_ignore(fx_lease_is_revoked(store, list.items[i].id, &is_revoked, &err), "likewise");
    }
    fx_lease_list_free(&list);
    fx_ignore(fx_lease_list_unsettled(store, &list, &err), "likewise");
    fx_lease_list_free(&list);
    if (fx_settlements_read(store, &settlements, &err) == FX_OK) {
        bool is_void = false;
        fx_ignore(fx_settlements_need_all(&settlements, &err), "likewise");
        fx_ignore(fx_settlements_void(&settlements, LEASE, &snapshot, &is_void, &err), "likewise");
    }
    fx_settlements_free(&settlements);
    fx_ignore(fx_marks_read(store, &ids, &err), "likewise");
    fx_ignore(fx_forgotten_read(store, &ids, &err), "likewise");
    fx_ignore(fx_arriving_read(store, &ids, &err), "likewise");
    fx_id_set_free(&ids);
}

static void
note_key(void *ctx, const char *key, uint64_t size_bytes)
{
    (void)size_bytes;
    fx_key_list *keys = ctx;
    FX_ASSERT(keys->count < OBJECTS_MAX);
    keys->items[keys->count++] = strdup(key);
}

/* A hold that is there and cannot be read counts as one. */
static void
read_holds(fx_store *store)
{
    fx_err err = {0};
    fx_hold_list list = {0};
    char *names[OBJECTS_MAX];
    fx_key_list keys = {.items = names};
    fx_repository repository = {.magic = FX_REPOSITORY_MAGIC, .store = store};
    fx_code code = fx_hold_list_all(&repository, NULL, &list, &err);
    FX_ASSERT(code == FX_OK);
    for (size_t i = 0; i < list.count; i++) {
        char text[FX_HOLD_TEXT_BYTES];
        fx_hold_format(&list.items[i], text);
        FX_ASSERT(strlen(list.items[i].snapshot) == FX_SNAPSHOT_ID_TEXT_BYTES - 1);
        const fx_hold *held = fx_hold_find(&list, list.items[i].snapshot);
        FX_ASSERT(held != NULL || !list.items[i].is_in_force);
    }
    fx_hold_list_free(&list);
    code = fx_store_list(store, "holds/", fx_repository_deadline(), note_key, &keys, &err);
    FX_ASSERT(code == FX_OK);
    for (size_t i = 0; i < keys.count; i++) {
        code = fx_hold_verify(&repository, keys.items[i], &err);
        FX_ASSERT(code != FX_ERR_NOT_FOUND);
        free(keys.items[i]);
    }
}

/* What was read once can be put as it is, and is the same object. */
static void
read_gaps(fx_store *store)
{
    fx_err err = {0};
    fx_gap_object_list list = {0};
    fx_repository repository = {.magic = FX_REPOSITORY_MAGIC, .store = store};
    fx_code code = fx_gap_object_list_all(&repository, &list, &err);
    FX_ASSERT(code == FX_OK);
    for (size_t i = 0; i < list.count; i++) {
        const fx_gap_object *gap = &list.items[i];
        FX_ASSERT(strlen(gap->id) == sizeof gap->id - 1 && gap->from.value <= gap->to.value);
        FX_ASSERT(i == 0 || list.items[i - 1].found.ns <= gap->found.ns);
        code = fx_gap_object_put(&repository, gap, &err);
        FX_ASSERT(code == FX_OK || code == FX_ERR_DAMAGED);
    }
    fx_gap_object_list_free(&list);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    recipe from = {data, size_bytes};
    fx_err err = {0};
    FX_AUTO(fx_store) store = NULL;
    fx_store_allow_test_drivers();
    fx_code code = fx_store_open("fake:", &store, &err);
    FX_ASSERT(code == FX_OK);
    for (size_t i = 0; i < OBJECTS_MAX && from.left_bytes > 0; i++) {
        put_one(store, &from);
    }
    read_leases(store);
    read_holds(store);
    read_gaps(store);
    return 0;
}
