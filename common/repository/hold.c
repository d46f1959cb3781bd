#include "common/repository/hold.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "proto/repository.pb-c.h"

#include "common/base/clock.h"
#include "common/base/hex.h"
#include "common/repository/internal.h"
#include "common/repository/plain.h"

enum { OBJECT_MAX_BYTES = 4096, SERIAL_MAX = 99999999, ATTEMPTS = 100 };

static const char magic[] = "FXHOLD01";
static const char folder[] = "holds/";
static const char forget_kind[] = "forget";
static const char unreadable_kind[] = "unreadable";

void
fx_hold_list_free(fx_hold_list *list)
{
    free(list->items);
    *list = (fx_hold_list){0};
}

/* ---- bytes --------------------------------------------------------------------------------------
 */

static void
make_key(const char *snapshot_id, uint32_t serial, char out_key[FX_KEY_TEXT_BYTES])
{
    (void)snprintf(out_key, FX_KEY_TEXT_BYTES, "%s%.64s-%08" PRIu32, folder, snapshot_id, serial);
}

/* "holds/SNAPSHOT-SERIAL" */
static bool
parse_key(const char *store_key, fx_hold *out_hold)
{
    const char *id = store_key + strlen(folder);
    size_t id_bytes = sizeof out_hold->snapshot - 1;
    if (strncmp(store_key, folder, strlen(folder)) != 0 ||
        strspn(id, "0123456789abcdef") != id_bytes || id[id_bytes] != '-') {
        return false;
    }
    const char *digits = id + id_bytes + 1;
    if (strspn(digits, "0123456789") != 8 || digits[8] != '\0') {
        return false;
    }
    memcpy(out_hold->snapshot, id, id_bytes);
    out_hold->serial = (uint32_t)strtoul(digits, NULL, 10);
    return true;
}

static bool
take_text(const char *from, char *out, size_t room_bytes)
{
    return (size_t)snprintf(out, room_bytes, "%s", from) < room_bytes;
}

static void
take_name(const char *from, fx_name *out)
{
    fx_err ignored = {0};
    if (fx_name_parse(from, "name", out, &ignored) != FX_OK) {
        *out = (fx_name){{0}}; /* for people only */
    }
}

static fx_code
encode(const fx_hold *hold, fx_buf *out, fx_err *err)
{
    unsigned char id[FX_ID_BYTES];
    fx_hold copy = *hold; /* the message's pointers are not const */
    Fortress__Repository__Hold message;
    fortress__repository__hold__init(&message);
    if (fx_hex_decode(copy.snapshot, id, sizeof id, err) != FX_OK) {
        return err->code;
    }
    message.snapshot_id = (ProtobufCBinaryData){sizeof id, id};
    message.serial = copy.serial;
    message.kind = copy.kind;
    message.is_release = copy.is_release;
    message.reason = copy.reason;
    message.who = copy.who.text;
    message.host = copy.host.text;
    message.at_wall_ns = copy.at.ns;
    return fx_plain_encode(magic, &message.base, out, err);
}

/* `hold` has what its name says. */
static fx_code
decode(fx_bytes object, fx_hold *hold, fx_err *err)
{
    fx_bytes body;
    unsigned char id[FX_ID_BYTES];
    fx_hold read = *hold;
    if (fx_plain_decode(magic, object, &body, err) != FX_OK ||
        fx_hex_decode(hold->snapshot, id, sizeof id, err) != FX_OK) {
        return err->code;
    }
    Fortress__Repository__Hold *message =
        fortress__repository__hold__unpack(NULL, body.size_bytes, body.data);
    if (message == NULL) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not read the hold: it is malformed");
    }
    bool is_valid = message->snapshot_id.len == sizeof id &&
                    memcmp(message->snapshot_id.data, id, sizeof id) == 0 &&
                    message->serial == hold->serial &&
                    take_text(message->kind, read.kind, sizeof read.kind) &&
                    take_text(message->reason, read.reason, sizeof read.reason) &&
                    (message->is_release || read.kind[0] != '\0');
    read.is_release = message->is_release;
    read.is_forgetting = strcmp(read.kind, forget_kind) == 0 && !read.is_release;
    read.at.ns = message->at_wall_ns;
    take_name(message->who, &read.who);
    take_name(message->host, &read.host);
    fortress__repository__hold__free_unpacked(message, NULL);
    if (!is_valid) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not read the hold: it was written as another");
    }
    *hold = read;
    return FX_OK;
}

static fx_code
load(fx_store *store, const char *store_key, fx_hold *hold, fx_err *err)
{
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, OBJECT_MAX_BYTES);
    fx_mono deadline = fx_repository_deadline();
    if (fx_store_get(store, store_key, 0, OBJECT_MAX_BYTES, deadline, &bytes, err) != FX_OK ||
        decode(fx_buf_bytes(&bytes), hold, err) != FX_OK) {
        return fx_err_wrap(err, "reading \"%s\"", store_key);
    }
    return FX_OK;
}

fx_code
fx_hold_verify(fx_repository *repository, const char *store_key, fx_err *err)
{
    fx_hold hold = {0};
    if (!parse_key(store_key, &hold)) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not use it: no hold has that name");
    }
    return load(repository->store, store_key, &hold, err);
}

/* ---- what is in force ---------------------------------------------------------------------------
 */

static void
judge(fx_hold_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        fx_hold *hold = &list->items[i];
        bool is_released = false;
        /* The store lists in order: what follows of the snapshot has a higher serial number. */
        for (size_t j = i + 1;
             j < list->count && strcmp(list->items[j].snapshot, hold->snapshot) == 0;
             j++) {
            const fx_hold *later = &list->items[j];
            is_released =
                is_released || (later->is_release &&
                                (later->kind[0] == '\0' || strcmp(later->kind, hold->kind) == 0));
        }
        hold->is_in_force = !hold->is_release && !hold->is_forgetting && !is_released;
        hold->is_forgetting = hold->is_forgetting && !is_released;
    }
}

/* One that is there and cannot be read, for whatever reason, is a hold. false: it is not there. */
static fx_code
read_one(fx_store *store, const char *store_key, fx_hold *hold, bool *out_is_there, fx_err *err)
{
    fx_err one = {0};
    fx_code code = load(store, store_key, hold, &one);
    *out_is_there = code != FX_ERR_NOT_FOUND;
    if (code == FX_ERR_UNREACHABLE || code == FX_ERR_TIMEOUT || code == FX_ERR_CANCELLED) {
        *err = one;
        return code;
    }
    if (code != FX_OK && code != FX_ERR_NOT_FOUND) {
        (void)snprintf(hold->kind, sizeof hold->kind, "%s", unreadable_kind);
        (void)snprintf(hold->reason, sizeof hold->reason, "%s", one.message);
    }
    return FX_OK;
}

fx_code
fx_hold_list_all(
    fx_repository *repository, const char *snapshot_id, fx_hold_list *out_list, fx_err *err)
{
    char prefix[FX_KEY_TEXT_BYTES];
    fx_key_list keys = {0};
    fx_hold_list list = {0};
    (void)snprintf(
        prefix,
        sizeof prefix,
        "%s%.64s%s",
        folder,
        snapshot_id == NULL ? "" : snapshot_id,
        snapshot_id == NULL ? "" : "-");
    fx_code code = fx_repository_list_keys(repository, prefix, &keys, err);
    if (code == FX_OK) {
        list.items = calloc(keys.count + 1, sizeof *list.items);
        FX_ASSERT(list.items != NULL);
    }
    for (size_t i = 0; code == FX_OK && i < keys.count; i++) {
        bool is_there = false;
        fx_hold hold = {0};
        if (parse_key(keys.items[i], &hold)) { /* else nobody can say of which snapshot: verify */
            code = read_one(repository->store, keys.items[i], &hold, &is_there, err);
        }
        if (code == FX_OK && is_there) {
            list.items[list.count++] = hold;
        }
    }
    fx_key_list_free(&keys);
    if (code != FX_OK) {
        fx_hold_list_free(&list);
        return fx_err_wrap(err, "reading the holds");
    }
    judge(&list);
    *out_list = list;
    return FX_OK;
}

const fx_hold *
fx_hold_find(const fx_hold_list *list, const char *snapshot_id)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i].is_in_force && strcmp(list->items[i].snapshot, snapshot_id) == 0) {
            return &list->items[i];
        }
    }
    return NULL;
}

void
fx_hold_format(const fx_hold *hold, char out_text[FX_HOLD_TEXT_BYTES])
{
    char when[FX_WALL_TEXT_BYTES];
    fx_wall_format(hold->at, when);
    if (strcmp(hold->kind, unreadable_kind) == 0) {
        (void)snprintf(
            out_text,
            FX_HOLD_TEXT_BYTES,
            "hold %" PRIu32 ", which cannot be read: %s",
            hold->serial,
            hold->reason);
        return;
    }
    (void)snprintf(
        out_text,
        FX_HOLD_TEXT_BYTES,
        "%s hold %" PRIu32 " of %s on %s since %.19sZ: %s",
        hold->kind,
        hold->serial,
        hold->who.text,
        hold->host.text,
        when,
        hold->reason);
}

/* ---- putting ------------------------------------------------------------------------------------
 */

/* Under the next serial number; `list` shows which are taken. EXISTS: another was faster. */
static fx_code
put_next(fx_repository *repository, const fx_hold_list *list, fx_hold *hold, fx_err *err)
{
    char store_key[FX_KEY_TEXT_BYTES];
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, OBJECT_MAX_BYTES);
    hold->serial = list->count == 0 ? 1 : list->items[list->count - 1].serial + 1;
    if (hold->serial > SERIAL_MAX) {
        return fx_fail(err, FX_ERR_LIMIT, "could not put a hold: there are too many");
    }
    make_key(hold->snapshot, hold->serial, store_key);
    fx_mono deadline = fx_repository_deadline();
    if (encode(hold, &bytes, err) != FX_OK) {
        return err->code;
    }
    return fx_store_put(repository->store, store_key, fx_buf_bytes(&bytes), deadline, err);
}

static const fx_hold *
find_forgetting(const fx_hold_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i].is_forgetting) {
            return &list->items[i];
        }
    }
    return NULL;
}

static fx_code
refuse_forgetting(const fx_hold *forgetting, const char *what, fx_err *err)
{
    char when[FX_WALL_TEXT_BYTES];
    fx_wall_format(forgetting->at, when);
    return fx_fail(
        err,
        FX_ERR_BUSY,
        "%s: host \"%.63s\" is forgetting snapshot %.12s since %.19sZ; look again, or if "
        "that is known to have been broken off, release it and add the hold again",
        what,
        forgetting->host.text,
        forgetting->snapshot,
        when);
}

static fx_code
check_there(fx_repository *repository, const char *snapshot_id, fx_err *err)
{
    char store_key[FX_KEY_TEXT_BYTES];
    uint64_t size_bytes = 0;
    (void)snprintf(store_key, sizeof store_key, "snapshots/%.64s", snapshot_id);
    if (fx_store_stat(repository->store, store_key, fx_repository_deadline(), &size_bytes, err) !=
        FX_OK) {
        return fx_err_wrap(err, "looking for snapshot %.12s", snapshot_id);
    }
    fx_err one = {0};
    (void)snprintf(store_key, sizeof store_key, "forgotten/%.64s", snapshot_id);
    fx_code code =
        fx_store_stat(repository->store, store_key, fx_repository_deadline(), &size_bytes, &one);
    if (code == FX_OK) {
        return fx_fail(
            err, FX_ERR_NOT_FOUND, "could not hold snapshot %.12s: it is forgotten", snapshot_id);
    }
    if (code != FX_ERR_NOT_FOUND) {
        *err = one;
        return fx_err_wrap(err, "looking for snapshot %.12s", snapshot_id);
    }
    return FX_OK;
}

static fx_code
check_request(const fx_hold *what, fx_err *err)
{
    bool is_kind = strcmp(what->kind, "legal") == 0 || strcmp(what->kind, "anomaly") == 0;
    if (!is_kind && !(what->is_release && what->kind[0] == '\0')) {
        return fx_fail(
            err, FX_ERR_INVALID, "could not put a hold: its kind is \"legal\" or \"anomaly\"");
    }
    return what->reason[0] != '\0'
               ? FX_OK
               : fx_fail(err, FX_ERR_INVALID, "could not put a hold: say the reason");
}

/* Tries until the serial number is free. `list` is then of before the put. */
static fx_code
put_some(fx_repository *repository, fx_hold *hold, bool is_refused_by_hold, fx_err *err)
{
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        fx_hold_list list = {0};
        if (fx_hold_list_all(repository, hold->snapshot, &list, err) != FX_OK) {
            return err->code;
        }
        const fx_hold *forgetting = find_forgetting(&list);
        const fx_hold *held = fx_hold_find(&list, hold->snapshot);
        fx_err one = {0};
        fx_code code = FX_OK;
        if (is_refused_by_hold && held != NULL) {
            char text[FX_HOLD_TEXT_BYTES];
            fx_hold_format(held, text);
            code = fx_fail(
                &one, FX_ERR_HELD, "could not forget snapshot %.12s: %.180s", hold->snapshot, text);
        } else if (!is_refused_by_hold && !hold->is_release && forgetting != NULL) {
            code = refuse_forgetting(forgetting, "could not put the hold", &one);
        } else {
            code = put_next(repository, &list, hold, &one);
        }
        fx_hold_list_free(&list);
        if (code != FX_ERR_EXISTS) {
            *err = one;
            return code;
        }
    }
    return fx_fail(err, FX_ERR_BUSY, "could not put a hold: too many are put at once");
}

/* What came meanwhile: who forgets puts its word first, too, and looks for holds afterwards. */
static fx_code
check_overrun(fx_repository *repository, const char *snapshot_id, fx_err *err)
{
    fx_hold_list list = {0};
    if (fx_hold_list_all(repository, snapshot_id, &list, err) != FX_OK) {
        return err->code;
    }
    const fx_hold *forgetting = find_forgetting(&list);
    fx_code code =
        forgetting == NULL
            ? FX_OK
            : refuse_forgetting(forgetting, "the hold was put, but it may be too late", err);
    fx_hold_list_free(&list);
    return code == FX_OK ? check_there(repository, snapshot_id, err) : code;
}

fx_code
fx_hold_put(fx_repository *repository, const fx_hold *what, fx_err *err)
{
    fx_hold hold = *what;
    hold.at = fx_clock_wall();
    if (check_request(what, err) != FX_OK ||
        (!hold.is_release && check_there(repository, hold.snapshot, err) != FX_OK) ||
        put_some(repository, &hold, false, err) != FX_OK) {
        return err->code;
    }
    return hold.is_release ? FX_OK : check_overrun(repository, hold.snapshot, err);
}

/* ---- forgetting ---------------------------------------------------------------------------------
 */

fx_code
fx_hold_end_forget(fx_repository *repository, const char *snapshot_id, uint32_t serial, fx_err *err)
{
    char store_key[FX_KEY_TEXT_BYTES];
    fx_err one = {0};
    make_key(snapshot_id, serial, store_key);
    fx_code code = fx_store_remove(repository->store, store_key, fx_repository_deadline(), &one);
    if (code != FX_OK && code != FX_ERR_NOT_FOUND) {
        *err = one;
        return fx_err_wrap(err, "removing \"%s\"", store_key);
    }
    return FX_OK;
}

fx_code
fx_hold_begin_forget(
    fx_repository *repository, const char *snapshot_id, uint32_t *out_serial, fx_err *err)
{
    fx_hold word = {.at = fx_clock_wall()};
    fx_hold_list list = {0};
    fx_err ignored = {0};
    (void)snprintf(word.snapshot, sizeof word.snapshot, "%.64s", snapshot_id);
    (void)snprintf(word.kind, sizeof word.kind, "%s", forget_kind);
    (void)snprintf(word.reason, sizeof word.reason, "about to be forgotten");
    struct utsname name;
    if (uname(&name) == 0) {
        take_name(name.nodename, &word.host);
    }
    if (put_some(repository, &word, true, err) != FX_OK) {
        return err->code;
    }
    fx_code code = fx_hold_list_all(repository, snapshot_id, &list, err);
    const fx_hold *held = code == FX_OK ? fx_hold_find(&list, snapshot_id) : NULL;
    if (held != NULL) {
        char text[FX_HOLD_TEXT_BYTES];
        fx_hold_format(held, text);
        code =
            fx_fail(err, FX_ERR_HELD, "could not forget snapshot %.12s: %.180s", snapshot_id, text);
    }
    fx_hold_list_free(&list);
    if (code != FX_OK) {
        fx_ignore(
            fx_hold_end_forget(repository, snapshot_id, word.serial, &ignored),
            "then a later hold is told that it may be too late");
        return code;
    }
    *out_serial = word.serial;
    return FX_OK;
}
