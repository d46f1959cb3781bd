/* JSON values. Door to jansson. Reading never fails on a wrong type: it gives the fallback. */
#pragma once

#include "common/base/buf.h"

typedef struct fx_json fx_json;

fx_json *fx_json_object(void);
fx_json *fx_json_array(void);
fx_json *fx_json_text_new(const char *text); /* invalid UTF-8 becomes U+FFFD */
fx_json *fx_json_int_new(int64_t number);
fx_json *fx_json_real_new(double number);
fx_json *fx_json_bool_new(bool value);
fx_json *fx_json_null_new(void);
void fx_json_free(fx_json *json);
FX_DEFINE_AUTO(fx_json);

/* Both own `value` from then on. */
void fx_json_set(fx_json *object, const char *key, fx_json *value);
void fx_json_append(fx_json *array, fx_json *value);

/* Short forms of fx_json_set. */
void fx_json_set_text(fx_json *object, const char *key, const char *text);
void fx_json_set_int(fx_json *object, const char *key, int64_t number);
void fx_json_set_bool(fx_json *object, const char *key, bool value);

/* errors: INVALID with line and column; nesting is bounded by the library */
FX_MUST_USE fx_code fx_json_parse(fx_bytes text, fx_json **out_json, fx_err *err);

/* `indent` 0 for one line. errors: LIMIT */
FX_MUST_USE fx_code fx_json_print(const fx_json *json, int indent, fx_buf *out, fx_err *err);

/* Borrowed members; NULL where there is none. A NULL `json` has none. */
const fx_json *fx_json_get(const fx_json *json, const char *key);
const fx_json *fx_json_at(const fx_json *json, size_t index);
size_t fx_json_count(const fx_json *json); /* of an array, else 0 */

bool fx_json_is_object(const fx_json *json);
/* The keys of an object, each once in any order; NULL past the last, and where there is no object.
 */
const char *fx_json_key_at(const fx_json *json, size_t index);

/* Of the value itself. 64-bit numbers may also stand as text, as etcd writes them. */
const char *fx_json_as_text(const fx_json *json, const char *fallback);
int64_t fx_json_as_int(const fx_json *json, int64_t fallback);
bool fx_json_as_bool(const fx_json *json, bool fallback);
