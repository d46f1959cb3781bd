#include "common/repository/tags.h"

#include <stdio.h>
#include <string.h>

bool
fx_tags_next(const char **at, fx_name *out_name)
{
    size_t length = strcspn(*at, ",");
    if (length == 0) {
        return false;
    }
    FX_ASSERT(length <= FX_NAME_MAX_BYTES);
    fx_name name = {{0}};
    memcpy(name.text, *at, length);
    *at += length + ((*at)[length] == ',');
    *out_name = name;
    return true;
}

bool
fx_tags_has(const char *tags, const char *name)
{
    fx_name one;
    while (fx_tags_next(&tags, &one)) {
        if (strcmp(one.text, name) == 0) {
            return true;
        }
    }
    return false;
}

void
fx_tags_copy(const char *tags, char out_tags[FX_TAGS_BYTES])
{
    int length = snprintf(out_tags, FX_TAGS_BYTES, "%s", tags == NULL ? "" : tags);
    FX_ASSERT(length >= 0 && length < FX_TAGS_BYTES);
}

fx_code
fx_tags_add(char tags[FX_TAGS_BYTES], const char *name, fx_err *err)
{
    fx_name added;
    fx_name one;
    char result[FX_TAGS_BYTES] = "";
    size_t used = 0;
    size_t count = 0;
    bool is_placed = false;
    if (fx_name_parse(name, "tag", &added, err) != FX_OK) {
        return err->code;
    }
    if (fx_tags_has(tags, added.text)) {
        return FX_OK;
    }
    if (strlen(tags) + strlen(added.text) + 2 > FX_TAGS_BYTES) {
        return fx_fail(err, FX_ERR_LIMIT, "could not add tag \"%s\": too many", added.text);
    }
    const char *at = tags;
    for (bool has_more = fx_tags_next(&at, &one); has_more || !is_placed; count++) {
        bool is_now = !is_placed && (!has_more || strcmp(added.text, one.text) < 0);
        const char *text = is_now ? added.text : one.text;
        used += (size_t)snprintf(
            result + used, sizeof result - used, "%s%s", used == 0 ? "" : ",", text);
        is_placed = is_placed || is_now;
        has_more = is_now ? has_more : fx_tags_next(&at, &one);
    }
    if (count > FX_TAGS_MAX) {
        return fx_fail(
            err, FX_ERR_LIMIT, "could not add tag \"%s\": %d are enough", added.text, FX_TAGS_MAX);
    }
    memcpy(tags, result, used + 1);
    return FX_OK;
}
