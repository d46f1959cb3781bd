#include "common/store/examine.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "common/base/clock.h"

static const char first_text[] = "An examination of this store; may be removed.\n";
static const char second_text[] = "This must never be here: the object was replaced.\n";

enum { KEY_BYTES = 64 };

typedef struct sight {
    const char *key;
    bool is_seen;
} sight;

void
fx_store_note(fx_store_examination *to, const char *fmt, ...)
{
    if (to->note_count >= FX_STORE_NOTES_MAX) {
        return;
    }
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(to->notes[to->note_count], FX_STORE_NOTE_MAX_BYTES, fmt, args);
    va_end(args);
    to->note_count++;
}

/* Where it is a refusal and no breakdown: a note, and NO. */
static fx_store_finding
finding_of(fx_store_examination *to, fx_code code, const char *what, const fx_err *err)
{
    if (code == FX_OK) {
        return FX_STORE_YES;
    }
    fx_store_note(to, "%s: %.150s", what, err->message);
    return err->outcome == FX_CLASS_PERMANENT ? FX_STORE_NO : FX_STORE_NOT_KNOWN;
}

static void
look_for(void *ctx, const char *key, uint64_t size_bytes)
{
    (void)size_bytes;
    sight *s = ctx;
    s->is_seen = s->is_seen || strcmp(key, s->key) == 0;
}

/* A list of the object alone; NOT_KNOWN where listing fails. */
static fx_store_finding
is_listed(fx_store *store, const char *key, fx_mono deadline, fx_err *err)
{
    sight s = {.key = key};
    if (fx_store_list(store, key, deadline, look_for, &s, err) != FX_OK) {
        return FX_STORE_NOT_KNOWN;
    }
    return s.is_seen ? FX_STORE_YES : FX_STORE_NO;
}

static fx_bytes
text(const char *value)
{
    return (fx_bytes){value, strlen(value)};
}

/* Puts other bytes over the object, and looks at what is there then. */
static void
try_replacement(
    fx_store *store, const char *key, fx_mono deadline, fx_store_examination *to, fx_err *err)
{
    FX_BUF_AUTO got;
    fx_buf_init(&got, 1024);
    fx_code code = fx_store_put(store, key, text(second_text), deadline, err);
    if (code != FX_ERR_EXISTS && code != FX_OK) {
        fx_store_note(to, "replacing an object: %.150s", err->message);
    }
    to->refuses_replacement = code == FX_ERR_EXISTS ? FX_STORE_YES
                              : code == FX_OK       ? FX_STORE_NO
                                                    : FX_STORE_NOT_KNOWN;
    fx_mono began = fx_clock_mono();
    code = fx_store_get(store, key, 0, got.max_bytes, deadline, &got, err);
    to->get_took = fx_mono_since(fx_clock_mono(), began);
    to->can_get = finding_of(to, code, "reading", err);
    if (code == FX_OK && strcmp(fx_buf_text(&got), first_text) != 0) {
        to->refuses_replacement = FX_STORE_NO;
        fx_store_note(to, "an object that was read back is not what was stored");
    }
}

static void
try_append(
    fx_store *store, const char *key, fx_mono deadline, fx_store_examination *to, fx_err *err)
{
    char tail_key[KEY_BYTES + 8];
    (void)snprintf(tail_key, sizeof tail_key, "%s-tail", key);
    to->can_append = FX_STORE_NO;
    if (!fx_store_can(store, FX_STORE_CAN_APPEND)) {
        return;
    }
    fx_code code = fx_store_append(store, tail_key, 0, text("one"), deadline, err);
    if (code == FX_OK) {
        code = fx_store_append(store, tail_key, 3, text("two"), deadline, err);
    }
    to->can_append = finding_of(to, code, "adding to an object", err);
    fx_ignore(fx_store_remove(store, tail_key, deadline, err), "whether it can is tried apart");
}

fx_code
fx_store_try(fx_store *store, fx_mono deadline, fx_store_examination *to, fx_err *err)
{
    char key[KEY_BYTES];
    uint64_t drawn[2];
    ssize_t drawn_bytes = getrandom(drawn, sizeof drawn, 0);
    FX_ASSERT(drawn_bytes == (ssize_t)sizeof drawn);
    (void)snprintf(key, sizeof key, "examination/%016" PRIx64 "%016" PRIx64, drawn[0], drawn[1]);

    fx_mono began = fx_clock_mono();
    fx_code code = fx_store_put(store, key, text(first_text), deadline, err);
    to->put_took = fx_mono_since(fx_clock_mono(), began);
    to->can_put = finding_of(to, code, "storing", err);
    fx_err list_err = {0};
    fx_store_finding before = is_listed(store, key, deadline, &list_err);
    to->can_list = finding_of(to, list_err.code, "listing", &list_err);
    if (to->can_put != FX_STORE_YES) {
        return to->can_list == FX_STORE_YES ? FX_OK : code; /* the first failure tells most */
    }
    try_replacement(store, key, deadline, to, err);
    try_append(store, key, deadline, to, err);
    code = fx_store_remove(store, key, deadline, err);
    to->can_remove = finding_of(to, code, "removing", err);
    to->lists_consistently = before;
    if (before == FX_STORE_YES && to->can_remove == FX_STORE_YES) {
        fx_store_finding after = is_listed(store, key, deadline, err);
        to->lists_consistently = after == FX_STORE_NO    ? FX_STORE_YES
                                 : after == FX_STORE_YES ? FX_STORE_NO
                                                         : FX_STORE_NOT_KNOWN;
    }
    return FX_OK;
}
