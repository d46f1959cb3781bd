#include "common/repository/lease.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "proto/repository.pb-c.h"

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/hex.h"
#include "common/crypto/digest.h"
#include "common/repository/internal.h"
#include "common/repository/plain.h"

enum {
    OBJECT_MAX_BYTES = 64 * 1024 * 1024,
    LEASE_MAX = 64 * 1024,
    LEASE_OBJECT_MAX_BYTES = 4096,
    BOOT_ID_BYTES = 36,    /* as text */
    MACHINE_ID_BYTES = 16, /* as bytes */
};

static const char lease_magic[] = "FXLEASE1";
static const char mark_magic[] = "FXMARK01";
static const char revocation_magic[] = "FXREVOKE";
static const char settlement_magic[] = "FXSETTLE";

static void
new_id(char out_id[FX_LEASE_ID_BYTES])
{
    unsigned char drawn[16];
    char hex[2 * sizeof drawn + 1];
    fx_crypto_random(drawn, sizeof drawn);
    fx_hex_encode((fx_bytes){drawn, sizeof drawn}, hex);
    (void)snprintf(
        out_id, FX_LEASE_ID_BYTES, "%016" PRIx64 "-%s", (uint64_t)fx_clock_wall().ns, hex);
}

static void
key_of(const char *folder, const char *id, char out_key[FX_KEY_TEXT_BYTES])
{
    (void)snprintf(out_key, FX_KEY_TEXT_BYTES, "%s/%s", folder, id);
}

static fx_code
put_plain(
    fx_store *store,
    const char *store_key,
    const char *magic,
    const ProtobufCMessage *message,
    fx_err *err)
{
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, OBJECT_MAX_BYTES);
    if (fx_plain_encode(magic, message, &bytes, err) != FX_OK) {
        return err->code;
    }
    fx_mono deadline = fx_repository_deadline();
    fx_err failure = {0};
    fx_code code = fx_store_put(store, store_key, fx_buf_bytes(&bytes), deadline, &failure);
    if (code != FX_OK && code != FX_ERR_EXISTS) {
        *err = failure;
        return code;
    }
    return FX_OK;
}

static fx_code
remove_key(fx_store *store, const char *store_key, fx_err *err)
{
    fx_err failure = {0};
    fx_code code = fx_store_remove(store, store_key, fx_repository_deadline(), &failure);
    if (code != FX_OK && code != FX_ERR_NOT_FOUND) {
        *err = failure;
        return code;
    }
    return FX_OK;
}

/* ---- whose process
 * --------------------------------------------------------------------------------- */

/* The number in field 22 of /proc/PID/stat: two processes of one boot with the same id differ in
 * it. 0: there is no such process. source: proc(5) */
static uint64_t
start_ticks(int64_t pid)
{
    char path[64];
    FX_BUF_AUTO text;
    fx_err ignored = {0};
    fx_buf_init(&text, 4096);
    (void)snprintf(path, sizeof path, "/proc/%" PRId64 "/stat", pid);
    if (fx_file_read(path, &text, &ignored) != FX_OK) {
        return 0;
    }
    const char *at = strrchr(fx_buf_text(&text), ')'); /* the name may hold anything */
    for (int field = 2; at != NULL && field < 22; field++) {
        at = strchr(at + 1, ' ');
    }
    return at == NULL ? 0 : strtoull(at + 1, NULL, 10);
}

/* Boot and pid namespace: process ids mean nothing outside of them. */
static void
describe_place(char *out_text, size_t room_bytes)
{
    FX_BUF_AUTO boot;
    fx_err ignored = {0};
    struct stat space = {0};
    fx_buf_init(&boot, 64);
    fx_ignore(fx_file_read("/proc/sys/kernel/random/boot_id", &boot, &ignored), "then it is empty");
    (void)stat("/proc/self/ns/pid", &space);
    (void)snprintf(
        out_text,
        room_bytes,
        "%.36s/%ju/%ju",
        fx_buf_text(&boot),
        (uintmax_t)space.st_dev,
        (uintmax_t)space.st_ino);
}

/*
 * Which machine this is, for who compares: never the id itself, which is confidential; "": it has
 * none. source: machine-id(5)
 */
static void
describe_machine(char out_text[2 * FX_SHA256_BYTES + 1])
{
    static const char prefix[] = "fortress machine 1"; /* with its end */
    FX_BUF_AUTO text;
    fx_err ignored = {0};
    unsigned char id[MACHINE_ID_BYTES];
    unsigned char digest[FX_SHA256_BYTES];
    char hex[2 * MACHINE_ID_BYTES + 1];
    out_text[0] = '\0';
    fx_buf_init(&text, 256);
    if (fx_file_read("/etc/machine-id", &text, &ignored) != FX_OK) {
        return;
    }
    (void)snprintf(hex, sizeof hex, "%s", fx_buf_text(&text));
    if (fx_hex_decode(hex, id, sizeof id, &ignored) != FX_OK) { /* "uninitialized" */
        return;
    }
    fx_buf_clear(&text);
    if (fx_buf_append(&text, prefix, sizeof prefix, &ignored) == FX_OK &&
        fx_buf_append(&text, id, sizeof id, &ignored) == FX_OK) {
        fx_sha256(fx_buf_bytes(&text), digest);
        fx_hex_encode((fx_bytes){digest, sizeof digest}, out_text);
    }
}

/* true only where it is certain. */
static bool
is_process_gone(const Fortress__Repository__Lease *lease)
{
    char here[128];
    describe_place(here, sizeof here);
    if (strlen(here) < 40 || strcmp(lease->place, here) != 0 || start_ticks(getpid()) == 0) {
        return false;
    }
    return start_ticks(lease->pid) != lease->start_ticks;
}

/*
 * Is it of this machine, before it was last started? Not certain: a machine may have been cloned
 * with its id and its name.
 */
static bool
is_process_outlived(const Fortress__Repository__Lease *lease)
{
    char here[128];
    char machine[2 * FX_SHA256_BYTES + 1];
    struct utsname name;
    describe_place(here, sizeof here);
    describe_machine(machine);
    return machine[0] != '\0' && strcmp(lease->machine, machine) == 0 && uname(&name) == 0 &&
           strcmp(lease->node, name.nodename) == 0 && strcspn(here, "/") == BOOT_ID_BYTES &&
           strcspn(lease->place, "/") == BOOT_ID_BYTES &&
           strncmp(lease->place, here, BOOT_ID_BYTES) != 0;
}

/* ---- leases
 * ---------------------------------------------------------------------------------------- */

fx_code
fx_lease_begin(fx_store *store, char out_id[FX_LEASE_ID_BYTES], fx_err *err)
{
    struct utsname name;
    char place[128];
    char machine[2 * FX_SHA256_BYTES + 1];
    char store_key[FX_KEY_TEXT_BYTES];
    Fortress__Repository__Lease lease;
    fortress__repository__lease__init(&lease);
    describe_place(place, sizeof place);
    describe_machine(machine);
    lease.place = place;
    lease.machine = machine;
    lease.pid = getpid();
    lease.start_ticks = start_ticks(getpid());
    lease.began_wall_ns = fx_clock_wall().ns;
    if (uname(&name) == 0) {
        lease.node = name.nodename;
    }
    new_id(out_id);
    key_of("leases", out_id, store_key);
    if (put_plain(store, store_key, lease_magic, &lease.base, err) != FX_OK) {
        return fx_err_wrap(err, "putting a lease");
    }
    return FX_OK;
}

/* Where the store lets a writer remove nothing, a second object says it. */
fx_code
fx_lease_end(fx_store *store, const char *id, fx_err *err)
{
    char store_key[FX_KEY_TEXT_BYTES];
    key_of("leases", id, store_key);
    fx_err denied = {0};
    if (remove_key(store, store_key, &denied) == FX_OK) {
        return FX_OK;
    }
    Fortress__Repository__Lease over;
    fortress__repository__lease__init(&over);
    key_of("leases-over", id, store_key);
    return put_plain(store, store_key, lease_magic, &over.base, err);
}

void
fx_lease_list_free(fx_lease_list *list)
{
    free(list->items);
    *list = (fx_lease_list){0};
}

static fx_code
read_lease(fx_store *store, const char *store_key, fx_lease *lease, fx_err *err)
{
    FX_BUF_AUTO bytes;
    fx_bytes body;
    fx_buf_init(&bytes, LEASE_OBJECT_MAX_BYTES);
    fx_mono deadline = fx_repository_deadline();
    if (fx_store_get(store, store_key, 0, bytes.max_bytes, deadline, &bytes, err) != FX_OK ||
        fx_plain_decode(lease_magic, fx_buf_bytes(&bytes), &body, err) != FX_OK) {
        return fx_err_wrap(err, "reading \"%s\"", store_key);
    }
    Fortress__Repository__Lease *message =
        fortress__repository__lease__unpack(NULL, body.size_bytes, body.data);
    if (message == NULL) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not read \"%s\"", store_key);
    }
    (void)snprintf(lease->node, sizeof lease->node, "%s", message->node);
    lease->began = (fx_wall){.ns = message->began_wall_ns};
    lease->pid = message->pid;
    lease->is_gone = is_process_gone(message);
    lease->is_outlived = !lease->is_gone && is_process_outlived(message);
    fortress__repository__lease__free_unpacked(message, NULL);
    return FX_OK;
}

typedef struct id_list {
    fx_lease *items;
    size_t count;
    bool overflow;
} id_list;

static void
collect_id(void *ctx, const char *key, uint64_t size_bytes)
{
    (void)size_bytes;
    id_list *list = ctx;
    const char *id = strchr(key, '/') + 1;
    if (list->count == LEASE_MAX || strlen(id) >= FX_LEASE_ID_BYTES) {
        list->overflow = true;
        return;
    }
    if ((list->count & (list->count - 1)) == 0) {
        list->items = realloc(list->items, (list->count * 2 + 1) * sizeof *list->items);
        FX_ASSERT(list->items != NULL);
    }
    list->items[list->count] = (fx_lease){0};
    memcpy(list->items[list->count++].id, id, strlen(id) + 1);
}

static fx_code
list_ids(fx_store *store, const char *prefix, id_list *list, fx_err *err)
{
    if (fx_store_list(store, prefix, fx_repository_deadline(), collect_id, list, err) != FX_OK) {
        return fx_err_wrap(err, "listing %s", prefix);
    }
    if (list->overflow) {
        return fx_fail(
            err,
            FX_ERR_LIMIT,
            "could not list %s: more than %d, or names that are none of this program's",
            prefix,
            LEASE_MAX);
    }
    return FX_OK;
}

static int
by_id(const void *left, const void *right)
{
    const fx_lease *one = left;
    const fx_lease *two = right;
    return strcmp(one->id, two->id);
}

/* A store lists in order. */
static bool
holds(const id_list *list, const char *id)
{
    fx_lease wanted = {0};
    (void)snprintf(wanted.id, sizeof wanted.id, "%s", id);
    return list->count > 0 &&
           bsearch(&wanted, list->items, list->count, sizeof wanted, by_id) != NULL;
}

fx_code
fx_lease_list_all(fx_store *store, fx_lease_list *out_list, fx_err *err)
{
    id_list leases = {0};
    id_list over = {0};
    id_list revoked = {0};
    size_t kept = 0;
    fx_code code = list_ids(store, "leases/", &leases, err);
    if (code == FX_OK) {
        code = list_ids(store, "leases-over/", &over, err);
    }
    if (code == FX_OK) {
        code = list_ids(store, "revocations/", &revoked, err);
    }
    for (size_t i = 0; code == FX_OK && i < leases.count; i++) {
        char store_key[FX_KEY_TEXT_BYTES];
        fx_lease lease = leases.items[i];
        key_of("leases", lease.id, store_key);
        fx_err failure = {0};
        code = read_lease(store, store_key, &lease, &failure);
        if (code == FX_ERR_NOT_FOUND) { /* it ended meanwhile */
            code = FX_OK;
            continue;
        }
        if (code != FX_OK) {
            *err = failure;
        }
        lease.is_over = lease.is_gone || holds(&over, lease.id);
        lease.is_revoked = holds(&revoked, lease.id);
        leases.items[kept++] = lease;
    }
    free(over.items);
    free(revoked.items);
    if (code != FX_OK) {
        free(leases.items);
        return code;
    }
    *out_list = (fx_lease_list){.items = leases.items, .count = kept};
    return FX_OK;
}

fx_code
fx_lease_list_unsettled(fx_store *store, fx_lease_list *out_list, fx_err *err)
{
    id_list revoked = {0};
    id_list settled = {0};
    size_t kept = 0;
    fx_code code = list_ids(store, "revocations/", &revoked, err);
    if (code == FX_OK) {
        code = list_ids(store, "settled/", &settled, err);
    }
    for (size_t i = 0; code == FX_OK && i < revoked.count; i++) {
        if (!holds(&settled, revoked.items[i].id)) {
            revoked.items[kept] = revoked.items[i];
            revoked.items[kept++].is_revoked = true;
        }
    }
    free(settled.items);
    if (code != FX_OK) {
        free(revoked.items);
        return code;
    }
    *out_list = (fx_lease_list){.items = revoked.items, .count = kept};
    return FX_OK;
}

fx_code
fx_lease_clear(fx_store *store, const char *id, fx_err *err)
{
    char store_key[FX_KEY_TEXT_BYTES];
    key_of("leases", id, store_key);
    if (remove_key(store, store_key, err) != FX_OK) {
        return err->code;
    }
    key_of("leases-over", id, store_key);
    return remove_key(store, store_key, err);
}

/* ---- revocations
 * ----------------------------------------------------------------------------------- */

fx_code
fx_lease_revoke(fx_store *store, const char *id, fx_err *err)
{
    char store_key[FX_KEY_TEXT_BYTES];
    Fortress__Repository__IdList none;
    fortress__repository__id_list__init(&none);
    key_of("revocations", id, store_key);
    return put_plain(store, store_key, revocation_magic, &none.base, err);
}

fx_code
fx_lease_is_revoked(fx_store *store, const char *id, bool *out_revoked, fx_err *err)
{
    id_list list = {0};
    char prefix[FX_KEY_TEXT_BYTES];
    key_of("revocations", id, prefix);
    fx_code code = list_ids(store, prefix, &list, err);
    if (code == FX_OK && id[0] != '\0' && list.count == 0) {
        key_of("leases-over", id, prefix);
        code = list_ids(store, prefix, &list, err);
    }
    if (code == FX_OK) {
        *out_revoked = list.count > 0;
    }
    free(list.items);
    return code;
}

fx_code
fx_lease_check(fx_store *store, const char *id, fx_err *err)
{
    bool is_revoked = true;
    if (fx_lease_is_revoked(store, id, &is_revoked, err) != FX_OK) {
        return err->code;
    }
    return !is_revoked ? FX_OK
                       : fx_fail(
                             err,
                             FX_ERR_STALE,
                             "could not go on: a collection did not wait for this, and took its "
                             "right to commit; run it again");
}

/* A message's bytes as packed ids. */
static ProtobufCBinaryData
pack_ids(const fx_id_set *set, fx_chunk_id **out_ids)
{
    fx_chunk_id *ids = calloc(set->count + 1, sizeof *ids);
    FX_ASSERT(ids != NULL);
    size_t count = 0;
    for (size_t i = 0; i < set->capacity; i++) {
        if (set->used[i]) {
            ids[count++] = set->slots[i];
        }
    }
    *out_ids = ids;
    return (ProtobufCBinaryData){.data = ids->bytes, .len = count * sizeof *ids};
}

static void
unpack_ids(ProtobufCBinaryData packed, fx_id_set *set)
{
    for (size_t at = 0; at + FX_ID_BYTES <= packed.len; at += FX_ID_BYTES) {
        fx_chunk_id id;
        memcpy(id.bytes, packed.data + at, FX_ID_BYTES);
        (void)fx_id_set_add(set, &id);
    }
}

fx_code
fx_lease_settle(fx_store *store, const char *id, const fx_id_set *snapshots, fx_err *err)
{
    char store_key[FX_KEY_TEXT_BYTES];
    fx_chunk_id *ids = NULL;
    Fortress__Repository__IdList settlement;
    fortress__repository__id_list__init(&settlement);
    settlement.ids = pack_ids(snapshots, &ids);
    key_of("settled", id, store_key);
    fx_code code = put_plain(store, store_key, settlement_magic, &settlement.base, err);
    free(ids);
    return code;
}

static fx_code
read_ids(fx_store *store, const char *store_key, const char *magic, fx_id_set *into, fx_err *err)
{
    FX_BUF_AUTO bytes;
    fx_bytes body;
    fx_buf_init(&bytes, OBJECT_MAX_BYTES);
    fx_mono deadline = fx_repository_deadline();
    if (fx_store_get(store, store_key, 0, bytes.max_bytes, deadline, &bytes, err) != FX_OK ||
        fx_plain_decode(magic, fx_buf_bytes(&bytes), &body, err) != FX_OK) {
        return fx_err_wrap(err, "reading \"%s\"", store_key);
    }
    /* A mark and a settlement are alike: one list of ids. */
    Fortress__Repository__IdList *message =
        fortress__repository__id_list__unpack(NULL, body.size_bytes, body.data);
    if (message == NULL || message->ids.len % FX_ID_BYTES != 0) {
        if (message != NULL) {
            fortress__repository__id_list__free_unpacked(message, NULL);
        }
        return fx_fail(err, FX_ERR_DAMAGED, "could not read \"%s\": it is malformed", store_key);
    }
    unpack_ids(message->ids, into);
    fortress__repository__id_list__free_unpacked(message, NULL);
    return FX_OK;
}

void
fx_settlements_free(fx_settlements *settlements)
{
    for (size_t i = 0; i < settlements->count; i++) {
        fx_id_set_free(&settlements->items[i].snapshots);
    }
    free(settlements->items);
    *settlements = (fx_settlements){0};
}

fx_code
fx_settlements_read(fx_store *store, fx_settlements *out_settlements, fx_err *err)
{
    id_list list = {0};
    fx_settlements settlements = {0};
    fx_code code = list_ids(store, "settled/", &list, err);
    settlements.items = calloc(list.count + 1, sizeof *settlements.items);
    FX_ASSERT(settlements.items != NULL);
    for (size_t i = 0; code == FX_OK && i < list.count; i++) {
        char store_key[FX_KEY_TEXT_BYTES];
        fx_settlement *one = &settlements.items[settlements.count++];
        memcpy(one->id, list.items[i].id, sizeof one->id);
        key_of("settled", one->id, store_key);
        fx_err failure = {0};
        code = read_ids(store, store_key, settlement_magic, &one->snapshots, &failure);
        /* It matters where there are snapshots of its lease, and nowhere else. */
        one->is_damaged = code == FX_ERR_DAMAGED || code == FX_ERR_UNSUPPORTED;
        if (one->is_damaged) {
            code = FX_OK;
        } else if (code != FX_OK) {
            *err = failure;
        }
    }
    free(list.items);
    if (code != FX_OK) {
        fx_settlements_free(&settlements);
        return fx_err_wrap(err, "reading what was settled of revoked writers");
    }
    *out_settlements = settlements;
    return FX_OK;
}

static fx_code
fail_damaged(const fx_settlement *one, fx_err *err)
{
    return fx_fail(
        err,
        FX_ERR_DAMAGED,
        "could not tell which snapshots count: \"settled/%s\" is damaged; repair takes it from "
        "another tier",
        one->id);
}

fx_code
fx_settlements_need_all(const fx_settlements *settlements, fx_err *err)
{
    for (size_t i = 0; i < settlements->count; i++) {
        if (settlements->items[i].is_damaged) {
            return fail_damaged(&settlements->items[i], err);
        }
    }
    return FX_OK;
}

fx_code
fx_settlements_void(
    const fx_settlements *settlements,
    const char *lease,
    const fx_chunk_id *snapshot,
    bool *out_void,
    fx_err *err)
{
    bool is_void = false;
    for (size_t i = 0; i < settlements->count; i++) {
        const fx_settlement *one = &settlements->items[i];
        if (strcmp(one->id, lease) != 0) {
            continue;
        }
        if (one->is_damaged) {
            return fail_damaged(one, err);
        }
        is_void = !fx_id_set_has(&one->snapshots, snapshot);
    }
    *out_void = is_void;
    return FX_OK;
}

/* ---- marks
 * ----------------------------------------------------------------------------------------- */

fx_code
fx_mark_put(fx_store *store, const char *id, const fx_id_set *packs, fx_err *err)
{
    FX_ASSERT(packs->count <= FX_MARK_PACK_MAX);
    char store_key[FX_KEY_TEXT_BYTES];
    fx_chunk_id *ids = NULL;
    Fortress__Repository__IdList mark;
    fortress__repository__id_list__init(&mark);
    mark.ids = pack_ids(packs, &ids);
    key_of("marks", id, store_key);
    fx_code code = put_plain(store, store_key, mark_magic, &mark.base, err);
    free(ids);
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "putting a mark");
}

fx_code
fx_mark_remove(fx_store *store, const char *id, fx_err *err)
{
    char store_key[FX_KEY_TEXT_BYTES];
    key_of("marks", id, store_key);
    return remove_key(store, store_key, err);
}

fx_code
fx_marks_read(fx_store *store, fx_id_set *packs, fx_err *err)
{
    id_list list = {0};
    fx_code code = list_ids(store, "marks/", &list, err);
    for (size_t i = 0; code == FX_OK && i < list.count; i++) {
        char store_key[FX_KEY_TEXT_BYTES];
        key_of("marks", list.items[i].id, store_key);
        fx_err failure = {0};
        code = read_ids(store, store_key, mark_magic, packs, &failure);
        if (code == FX_ERR_NOT_FOUND) {
            code = FX_OK; /* its packs are gone, and the indexes that named them were before */
        } else if (code != FX_OK) {
            *err = failure;
        }
    }
    free(list.items);
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "reading marks");
}
