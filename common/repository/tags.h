/* A snapshot's tags: names as of hosts, in bytewise order, none twice, with commas between them. */
#pragma once

#include "common/repository/repository.h"

enum { FX_TAGS_MAX = 16 };

/* Adds one unless it is there. errors: INVALID (no name), LIMIT (too many, too long) */
FX_MUST_USE fx_code fx_tags_add(char tags[FX_TAGS_BYTES], const char *name, fx_err *err);
bool fx_tags_has(const char *tags, const char *name);
/* `tags` NULL: none. */
void fx_tags_copy(const char *tags, char out_tags[FX_TAGS_BYTES]);

/* The tags one by one: fills `out_name` and moves `at`, which begins as the tags; false: no more.
 */
FX_MUST_USE bool fx_tags_next(const char **at, fx_name *out_name);
