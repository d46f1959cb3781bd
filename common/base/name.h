/* Short names of hosts, regions and services, held by value: usable in decisions, on the wire, in
 * keys. */
#pragma once

#include "common/base/err.h"

enum { FX_NAME_MAX_BYTES = 63 };

/* Letters, digits, '.', '_' and '-'; does not start with '.' or '-'; "" means none. */
typedef struct fx_name {
    char text[FX_NAME_MAX_BYTES + 1];
} fx_name;

/* errors: INVALID (empty, too long, or another character), naming `what` */
FX_MUST_USE fx_code
fx_name_parse(const char *text, const char *what, fx_name *out_name, fx_err *err);

/* For names known to be valid: constants and tests. */
fx_name fx_name_of(const char *text);

bool fx_name_is(const fx_name *left, const fx_name *right);

static inline bool
fx_name_is_none(const fx_name *name)
{
    return name->text[0] == '\0';
}
