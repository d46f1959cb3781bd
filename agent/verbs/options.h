/* The options of the verbs that work on a repository, read with getopt_long. */
#pragma once

#include "common/base/clock.h"

typedef struct fx_options {
    const char *repo;
    const char *key_file; /* NULL: none given */
    bool is_json;
    const char *name;
    const char *host;
    bool is_forced;
    const char *target;
    const char *path;
    const char *source;
    fx_wall time; /* 0: none given */
    bool numeric_owner;
    bool read_data;
    char **rest; /* the words that are no options */
    int rest_count;
} fx_options;

typedef struct fx_usage {
    const char *text; /* of --help; the first line is the synopsis */
    const char
        *accepts; /* names of the options that the verb takes besides --repo, --key-file, --json,
                     --help; separated and ended by blanks: "name force " */
    int rest_min;
    int rest_max;
} fx_usage;

/*
 * Fills `out_options`; --repo and --key-file default to FORTRESS_REPO and FORTRESS_KEY_FILE. false:
 * the verb ends with `*out_status`, after --help or a message about what is wrong.
 */
FX_MUST_USE bool fx_options_read(
    int argc, char **argv, const fx_usage *usage, fx_options *out_options, int *out_status);
