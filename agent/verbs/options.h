/* The options of the verbs that work on a repository, read with getopt_long. */
#pragma once

#include "common/base/clock.h"
#include "common/repository/retention.h"
#include "common/repository/tags.h"
#include "common/zip/zip.h"

enum { FX_OPTIONS_TIERS_MAX = 8 };

typedef struct fx_options {
    const char *repo;
    const char *key_file; /* NULL: none given; likewise the next ones */
    const char *name;
    const char *host;
    const char *target;
    const char *path;
    const char *source;
    const char *scope;
    const char *out;
    const char *kind;
    const char *reason;
    char tags[FX_TAGS_BYTES];                /* all that were given; "": none */
    const char *recipient_kind;              /* "passphrase", "x25519", ...; NULL: none given */
    const char *recipient;                   /* its key, where the kind has one to be named */
    const char *tiers[FX_OPTIONS_TIERS_MAX]; /* of --to or --from */
    unsigned tier_count;
    unsigned jobs;              /* 0: none given */
    uint64_t bandwidth_bytes_s; /* likewise */
    fx_wall time;               /* 0: none given */
    fx_dur wait;
    fx_retention retention;
    char **rest; /* the words that are no options */
    int rest_count;
    unsigned live_percent;
    int compression; /* level, or FX_ZIP_NONE */
    bool is_json;
    bool is_forced;
    bool numeric_owner;
    bool in_place;
    bool ignore_gaps;
    bool read_data;
    unsigned read_part; /* of read_part_count; 0: all */
    unsigned read_part_count;
    unsigned read_share_ppm; /* 0: all */
    bool write_only;
    bool is_confirmed;
    bool dry_run;
    bool revoke;
    bool take_over;
    bool erased;
    bool no_progress;
} fx_options;

typedef struct fx_usage {
    const char *text; /* of --help; the first line is the synopsis */
    const char
        *accepts; /* names of the options that the verb takes besides --repo, --key-file, --json,
                     --help; separated and ended by blanks: "name force " */
    int rest_min;
    int rest_max;
    bool without_repo; /* --repo may be absent */
} fx_usage;

/*
 * Fills `out_options`; --repo, --key-file and --scope default to FORTRESS_REPO, FORTRESS_KEY_FILE
 * and FORTRESS_SCOPE. false:
 * the verb ends with `*out_status`, after --help or a message about what is wrong.
 */
FX_MUST_USE bool fx_options_read(
    int argc, char **argv, const fx_usage *usage, fx_options *out_options, int *out_status);
