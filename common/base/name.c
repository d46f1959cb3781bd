#include "common/base/name.h"

#include <string.h>

/* By hand and not with isalnum(): names must not depend on the locale, and cores use them. */
static bool
is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

static bool
is_valid(const char *text, size_t length)
{
    if (length == 0 || length > FX_NAME_MAX_BYTES || text[0] == '.' || text[0] == '-') {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (!is_name_char(text[i])) {
            return false;
        }
    }
    return true;
}

fx_code
fx_name_parse(const char *text, const char *what, fx_name *out_name, fx_err *err)
{
    if (text == NULL) {
        text = "";
    }
    size_t length = strlen(text);
    if (!is_valid(text, length)) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use \"%.70s\" as the name of a %s: 1 to %d letters, digits, '.', '_' or "
            "'-', not beginning with '.' or '-'",
            text,
            what,
            FX_NAME_MAX_BYTES);
    }
    *out_name = (fx_name){0};
    memcpy(out_name->text, text, length);
    return FX_OK;
}

fx_name
fx_name_of(const char *text)
{
    size_t length = strlen(text);
    FX_ASSERT(is_valid(text, length));
    fx_name name = {0};
    memcpy(name.text, text, length);
    return name;
}

bool
fx_name_is(const fx_name *left, const fx_name *right)
{
    return strcmp(left->text, right->text) == 0;
}
