/* A name and a value: a header of a request, or a parameter of its query. */
#pragma once

enum { FX_REMOTE_PAIR_MAX = 12 }; /* of a kind, in one request */

typedef struct fx_remote_pair {
    const char *name; /* lower case */
    const char *value;
} fx_remote_pair;
