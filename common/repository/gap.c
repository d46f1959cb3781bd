#include "common/repository/gap.h"

#include <stdio.h>
#include <string.h>

#include "proto/repository.pb-c.h"

#include "common/base/hex.h"
#include "common/crypto/digest.h"
#include "common/repository/internal.h"
#include "common/repository/plain.h"
#include "common/repository/stored.h"

enum { OBJECT_MAX_BYTES = 4096 };

static const char magic[] = "FXGAP001";
static const char folder[] = "gaps/";

void
fx_gap_object_list_free(fx_gap_object_list *list)
{
    free(list->items);
    *list = (fx_gap_object_list){0};
}

/* ---- bytes --------------------------------------------------------------------------------------
 */

/* "wal/7301/": a beginning of names that streams have. */
static bool
is_stream(const char *text)
{
    static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-/";
    size_t length = strlen(text);
    return length > 1 && length < FX_GAP_STREAM_BYTES && strspn(text, good) == length &&
           text[0] != '/' && text[length - 1] == '/';
}

static fx_code
take_name(const char *from, fx_name *out, fx_err *err)
{
    *out = (fx_name){{0}};
    return from[0] == '\0' ? FX_OK : fx_name_parse(from, "name in a gap", out, err);
}

static fx_code
take_message(const Fortress__Repository__Gap *message, fx_gap_object *out_gap, fx_err *err)
{
    fx_gap_object gap = {
        .timeline = message->timeline,
        .segment_bytes = message->segment_bytes,
        .from = {message->from_position},
        .to = {message->to_position},
        .found = {.ns = message->found_wall_ns},
    };
    if (!is_stream(message->stream) || strlen(message->reason) >= sizeof gap.reason ||
        gap.from.value > gap.to.value || take_name(message->service, &gap.service, err) != FX_OK ||
        take_name(message->host, &gap.host, err) != FX_OK) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not read the gap: it says what no gap does");
    }
    (void)snprintf(gap.stream, sizeof gap.stream, "%s", message->stream);
    (void)snprintf(gap.reason, sizeof gap.reason, "%s", message->reason);
    *out_gap = gap;
    return FX_OK;
}

fx_code
fx_gap_object_decode(const char *store_key, fx_bytes object, fx_gap_object *out_gap, fx_err *err)
{
    fx_bytes body;
    fx_gap_object gap;
    if (strncmp(store_key, folder, strlen(folder)) != 0 ||
        strlen(store_key) != strlen(folder) + sizeof gap.id - 1 ||
        !fx_is_named_by_digest(store_key, object)) {
        return fx_fail(
            err, FX_ERR_DAMAGED, "could not read the gap: its bytes are not what was written");
    }
    if (object.size_bytes > OBJECT_MAX_BYTES) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not read the gap: it is too long");
    }
    if (fx_plain_decode(magic, object, &body, err) != FX_OK) {
        return err->code;
    }
    Fortress__Repository__Gap *message =
        fortress__repository__gap__unpack(NULL, body.size_bytes, body.data);
    if (message == NULL) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not read the gap: it is malformed");
    }
    fx_code code = take_message(message, &gap, err);
    fortress__repository__gap__free_unpacked(message, NULL);
    if (code == FX_OK) {
        (void)snprintf(gap.id, sizeof gap.id, "%s", store_key + strlen(folder));
        *out_gap = gap;
    }
    return code;
}

static fx_code
encode(const fx_gap_object *gap, fx_buf *out, char out_key[FX_KEY_TEXT_BYTES], fx_err *err)
{
    fx_gap_object copy = *gap; /* the message's pointers are not const */
    Fortress__Repository__Gap message;
    fortress__repository__gap__init(&message);
    message.stream = copy.stream;
    message.timeline = copy.timeline;
    message.segment_bytes = copy.segment_bytes;
    message.from_position = copy.from.value;
    message.to_position = copy.to.value;
    message.found_wall_ns = copy.found.ns;
    message.service = copy.service.text;
    message.host = copy.host.text;
    message.reason = copy.reason;
    if (fx_plain_encode(magic, &message.base, out, err) != FX_OK) {
        return err->code;
    }
    unsigned char digest[FX_SHA256_BYTES];
    char hex[2 * FX_SHA256_BYTES + 1];
    fx_sha256(fx_buf_bytes(out), digest);
    fx_hex_encode((fx_bytes){digest, sizeof digest}, hex);
    (void)snprintf(out_key, FX_KEY_TEXT_BYTES, "%s%s", folder, hex);
    return FX_OK;
}

/* ---- the store ----------------------------------------------------------------------------------
 */

fx_code
fx_gap_object_put(fx_repository *repository, const fx_gap_object *gap, fx_err *err)
{
    char store_key[FX_KEY_TEXT_BYTES];
    FX_BUF_AUTO bytes;
    fx_gap_object checked;
    fx_buf_init(&bytes, OBJECT_MAX_BYTES);
    if (encode(gap, &bytes, store_key, err) != FX_OK) {
        return err->code;
    }
    if (fx_gap_object_decode(store_key, fx_buf_bytes(&bytes), &checked, err) != FX_OK) {
        return fx_fail(err, FX_ERR_INVALID, "could not record a gap of that name and bounds");
    }
    fx_err one = {0};
    fx_code code = fx_store_put(
        repository->store, store_key, fx_buf_bytes(&bytes), fx_repository_deadline(), &one);
    if (code == FX_ERR_EXISTS) { /* by its name, these bytes */
        code = fx_stored_get(repository->store, store_key, NULL, &bytes, &one);
    }
    if (code != FX_OK) {
        *err = one;
        return fx_err_wrap(err, "recording a gap");
    }
    return FX_OK;
}

static fx_code
load(fx_store *store, const char *store_key, fx_gap_object *out_gap, fx_err *err)
{
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, OBJECT_MAX_BYTES);
    fx_mono deadline = fx_repository_deadline();
    if (fx_store_get(store, store_key, 0, OBJECT_MAX_BYTES, deadline, &bytes, err) != FX_OK) {
        return err->code;
    }
    return fx_gap_object_decode(store_key, fx_buf_bytes(&bytes), out_gap, err);
}

static int
by_time(const void *left, const void *right)
{
    const fx_gap_object *one = left;
    const fx_gap_object *two = right;
    if (one->found.ns != two->found.ns) {
        return one->found.ns < two->found.ns ? -1 : 1;
    }
    return strcmp(one->id, two->id);
}

fx_code
fx_gap_object_list_all(fx_repository *repository, fx_gap_object_list *out_list, fx_err *err)
{
    fx_key_list keys = {0};
    fx_gap_object_list list = {0};
    fx_code code = fx_repository_list_keys(repository, folder, &keys, err);
    if (code == FX_OK) {
        list.items = calloc(keys.count + 1, sizeof *list.items);
        FX_ASSERT(list.items != NULL);
    }
    for (size_t i = 0; code == FX_OK && i < keys.count; i++) {
        fx_err one = {0};
        fx_code got = load(repository->store, keys.items[i], &list.items[list.count], &one);
        if (got == FX_ERR_UNREACHABLE || got == FX_ERR_TIMEOUT || got == FX_ERR_CANCELLED) {
            *err = one;
            code = got;
        }
        list.count += got == FX_OK;
        list.unreadable_count += got != FX_OK && got != FX_ERR_NOT_FOUND;
    }
    fx_key_list_free(&keys);
    if (code != FX_OK) {
        fx_gap_object_list_free(&list);
        return fx_err_wrap(err, "reading the gaps");
    }
    if (list.count > 1) {
        qsort(list.items, list.count, sizeof *list.items, by_time);
    }
    *out_list = list;
    return FX_OK;
}
