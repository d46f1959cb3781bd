#include "common/json/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

/* An fx_json is jansson's value under another name: nothing is wrapped, nothing copied. */
static json_t *
unwrap(fx_json *json)
{
    return (json_t *)json;
}

static const json_t *
view(const fx_json *json)
{
    return (const json_t *)json;
}

static fx_json *
wrap(json_t *json)
{
    FX_ASSERT(json != NULL); /* jansson gives NULL only for a lack of memory here */
    return (fx_json *)json;
}

fx_json *
fx_json_object(void)
{
    return wrap(json_object());
}

fx_json *
fx_json_array(void)
{
    return wrap(json_array());
}

/* How many bytes at `text` are one valid UTF-8 sequence; 0 if they are none (RFC 3629). */
static size_t
sequence_bytes(const unsigned char *text)
{
    static const struct {
        unsigned char mask;
        unsigned char lead;
        uint32_t least;
    } forms[] = {{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
    for (size_t more = 0; more < sizeof forms / sizeof forms[0]; more++) {
        if ((text[0] & forms[more].mask) != forms[more].lead) {
            continue;
        }
        uint32_t point = text[0] & (unsigned char)~forms[more].mask;
        for (size_t i = 1; i <= more; i++) {
            if ((text[i] & 0xc0) != 0x80) { /* also stops at the NUL */
                return 0;
            }
            point = point << 6 | (text[i] & 0x3f);
        }
        bool valid =
            point >= forms[more].least && point <= 0x10ffff && (point < 0xd800 || point > 0xdfff);
        return valid ? more + 1 : 0;
    }
    return 0;
}

/* Replaces what is not UTF-8 by U+FFFD, three bytes for each byte at worst. */
static fx_json *
repaired_text(const char *text)
{
    size_t length = strlen(text);
    char *repaired = malloc(length * 3 + 1);
    FX_ASSERT(repaired != NULL);
    size_t used = 0;
    for (size_t i = 0; i < length;) {
        size_t bytes = sequence_bytes((const unsigned char *)text + i);
        if (bytes > 0) {
            memcpy(repaired + used, text + i, bytes);
            used += bytes;
            i += bytes;
        } else {
            memcpy(repaired + used, "\xef\xbf\xbd", 3);
            used += 3;
            i++;
        }
    }
    repaired[used] = '\0';
    fx_json *json = wrap(json_string(repaired));
    free(repaired);
    return json;
}

fx_json *
fx_json_text_new(const char *text)
{
    FX_ASSERT(text != NULL);
    json_t *json = json_string(text);
    return json != NULL ? wrap(json) : repaired_text(text);
}

fx_json *
fx_json_int_new(int64_t number)
{
    return wrap(json_integer(number));
}

fx_json *
fx_json_real_new(double number)
{
    json_t *json = json_real(number);
    return json != NULL ? wrap(json) : fx_json_null_new(); /* infinities have no JSON */
}

fx_json *
fx_json_bool_new(bool value)
{
    return wrap(json_boolean(value));
}

fx_json *
fx_json_null_new(void)
{
    return wrap(json_null());
}

void
fx_json_free(fx_json *json)
{
    json_decref(unwrap(json));
}

void
fx_json_set(fx_json *object, const char *key, fx_json *value)
{
    int result = json_object_set_new(unwrap(object), key, unwrap(value));
    FX_ASSERT(result == 0); /* not an object, or a key that is not UTF-8: our mistake */
}

void
fx_json_append(fx_json *array, fx_json *value)
{
    int result = json_array_append_new(unwrap(array), unwrap(value));
    FX_ASSERT(result == 0);
}

void
fx_json_set_text(fx_json *object, const char *key, const char *text)
{
    fx_json_set(object, key, fx_json_text_new(text));
}

void
fx_json_set_int(fx_json *object, const char *key, int64_t number)
{
    fx_json_set(object, key, fx_json_int_new(number));
}

void
fx_json_set_bool(fx_json *object, const char *key, bool value)
{
    fx_json_set(object, key, fx_json_bool_new(value));
}

fx_code
fx_json_parse(fx_bytes text, fx_json **out_json, fx_err *err)
{
    json_error_t failure;
    json_t *json = json_loadb(
        text.size_bytes > 0 ? text.data : "",
        text.size_bytes,
        JSON_REJECT_DUPLICATES | JSON_DECODE_ANY,
        &failure);
    if (json == NULL) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not read JSON: line %d, column %d: %s",
            failure.line,
            failure.column,
            failure.text);
    }
    *out_json = wrap(json);
    return FX_OK;
}

typedef struct sink {
    fx_buf *out;
    fx_err *err;
    bool failed;
} sink;

static int
add_to_sink(const char *bytes, size_t size_bytes, void *ctx)
{
    sink *to = ctx;
    to->failed = fx_buf_append(to->out, bytes, size_bytes, to->err) != FX_OK;
    return to->failed ? -1 : 0;
}

fx_code
fx_json_print(const fx_json *json, int indent, fx_buf *out, fx_err *err)
{
    FX_ASSERT(indent >= 0 && indent < 32);
    sink to = {.out = out, .err = err};
    size_t flags = JSON_ENCODE_ANY | (indent > 0 ? JSON_INDENT((size_t)indent) : JSON_COMPACT);
    int result = json_dump_callback(view(json), add_to_sink, &to, flags);
    if (to.failed) {
        return fx_err_wrap(err, "writing JSON");
    }
    FX_ASSERT(result == 0);
    return FX_OK;
}

const fx_json *
fx_json_get(const fx_json *json, const char *key)
{
    return (const fx_json *)json_object_get(view(json), key);
}

const fx_json *
fx_json_at(const fx_json *json, size_t index)
{
    return (const fx_json *)json_array_get(view(json), index);
}

size_t
fx_json_count(const fx_json *json)
{
    return json_array_size(view(json));
}

bool
fx_json_is_object(const fx_json *json)
{
    return json_is_object(view(json));
}

const char *
fx_json_key_at(const fx_json *json, size_t index)
{
    union { /* the library's iterator takes what it does not change */
        const fx_json *from;
        json_t *to;
    } object = {json};
    void *at = json_object_iter(object.to); /* NULL for what is no object */
    for (size_t i = 0; i < index && at != NULL; i++) {
        at = json_object_iter_next(object.to, at);
    }
    return at == NULL ? NULL : json_object_iter_key(at);
}

const char *
fx_json_as_text(const fx_json *json, const char *fallback)
{
    const char *text = json_string_value(view(json));
    return text != NULL ? text : fallback;
}

int64_t
fx_json_as_int(const fx_json *json, int64_t fallback)
{
    if (json_is_integer(view(json))) {
        return json_integer_value(view(json));
    }
    const char *text = json_string_value(view(json));
    int64_t number = 0;
    int used = 0;
    /* NOLINTNEXTLINE(cert-err34-c): at most 19 digits are read, and the end is checked */
    if (text != NULL && sscanf(text, "%19" SCNd64 "%n", &number, &used) == 1 &&
        text[used] == '\0') {
        return number;
    }
    return fallback;
}

bool
fx_json_as_bool(const fx_json *json, bool fallback)
{
    return json_is_boolean(view(json)) ? json_is_true(view(json)) : fallback;
}
