#include "agent/verbs/options.h"

#include "agent/verbs/exit_code.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

enum option_id {
    OPTION_HELP = 1000,
    OPTION_REPO,
    OPTION_KEY_FILE,
    OPTION_JSON,
    OPTION_NAME,
    OPTION_HOST,
    OPTION_FORCE,
    OPTION_TARGET,
    OPTION_PATH,
    OPTION_SOURCE,
    OPTION_TIME,
    OPTION_NUMERIC_OWNER,
    OPTION_IN_PLACE,
    OPTION_IGNORE_GAPS,
    OPTION_READ_DATA,
    OPTION_SCOPE,
    OPTION_OUT,
    OPTION_WRITE_ONLY,
    OPTION_YES,
    OPTION_PLAIN,
    OPTION_PASSPHRASE,
    OPTION_X25519,
    OPTION_GPG,
    OPTION_VAULT,
    OPTION_DRY_RUN,
    OPTION_KEEP_LAST,
    OPTION_KEEP_HOURLY,
    OPTION_KEEP_DAILY,
    OPTION_KEEP_WEEKLY,
    OPTION_KEEP_MONTHLY,
    OPTION_KEEP_YEARLY,
    OPTION_KEEP_WITHIN,
    OPTION_LIVE_PERCENT,
    OPTION_WAIT,
    OPTION_REVOKE,
    OPTION_TAKE_OVER,
    OPTION_TIER,
    OPTION_JOBS,
    OPTION_BANDWIDTH,
    OPTION_TAG,
    OPTION_KIND,
    OPTION_REASON,
    OPTION_CLAIM_WINDOW,
    OPTION_ERASED,
    OPTION_NO_PROGRESS,
    OPTION_COMPRESSION,
};

static const struct option known[] = {
    {"help", no_argument, NULL, OPTION_HELP},
    {"repo", required_argument, NULL, OPTION_REPO},
    {"key-file", required_argument, NULL, OPTION_KEY_FILE},
    {"json", no_argument, NULL, OPTION_JSON},
    {"name", required_argument, NULL, OPTION_NAME},
    {"host", required_argument, NULL, OPTION_HOST},
    {"force", no_argument, NULL, OPTION_FORCE},
    {"target", required_argument, NULL, OPTION_TARGET},
    {"path", required_argument, NULL, OPTION_PATH},
    {"source", required_argument, NULL, OPTION_SOURCE},
    {"time", required_argument, NULL, OPTION_TIME},
    {"numeric-owner", no_argument, NULL, OPTION_NUMERIC_OWNER},
    {"in-place", no_argument, NULL, OPTION_IN_PLACE},
    {"ignore-gaps", no_argument, NULL, OPTION_IGNORE_GAPS},
    {"read-data", optional_argument, NULL, OPTION_READ_DATA},
    {"scope", required_argument, NULL, OPTION_SCOPE},
    {"out", required_argument, NULL, OPTION_OUT},
    {"write-only", no_argument, NULL, OPTION_WRITE_ONLY},
    {"yes", no_argument, NULL, OPTION_YES},
    {"plain", no_argument, NULL, OPTION_PLAIN},
    {"passphrase", no_argument, NULL, OPTION_PASSPHRASE},
    {"x25519", required_argument, NULL, OPTION_X25519},
    {"gpg", required_argument, NULL, OPTION_GPG},
    {"vault", required_argument, NULL, OPTION_VAULT},
    {"dry-run", no_argument, NULL, OPTION_DRY_RUN},
    {"keep-last", required_argument, NULL, OPTION_KEEP_LAST},
    {"keep-hourly", required_argument, NULL, OPTION_KEEP_HOURLY},
    {"keep-daily", required_argument, NULL, OPTION_KEEP_DAILY},
    {"keep-weekly", required_argument, NULL, OPTION_KEEP_WEEKLY},
    {"keep-monthly", required_argument, NULL, OPTION_KEEP_MONTHLY},
    {"keep-yearly", required_argument, NULL, OPTION_KEEP_YEARLY},
    {"keep-within", required_argument, NULL, OPTION_KEEP_WITHIN},
    {"live-percent", required_argument, NULL, OPTION_LIVE_PERCENT},
    {"wait", required_argument, NULL, OPTION_WAIT},
    {"revoke", no_argument, NULL, OPTION_REVOKE},
    {"take-over", no_argument, NULL, OPTION_TAKE_OVER},
    {"to", required_argument, NULL, OPTION_TIER},
    {"from", required_argument, NULL, OPTION_TIER},
    {"jobs", required_argument, NULL, OPTION_JOBS},
    {"bandwidth", required_argument, NULL, OPTION_BANDWIDTH},
    {"tag", required_argument, NULL, OPTION_TAG},
    {"kind", required_argument, NULL, OPTION_KIND},
    {"reason", required_argument, NULL, OPTION_REASON},
    {"claim-window", required_argument, NULL, OPTION_CLAIM_WINDOW},
    {"erased", no_argument, NULL, OPTION_ERASED},
    {"no-progress", no_argument, NULL, OPTION_NO_PROGRESS},
    {"compression", required_argument, NULL, OPTION_COMPRESSION},
    {NULL, 0, NULL, 0},
};

static bool
accepts(const fx_usage *usage, const char *name)
{
    const char *const always[] = {"help", "repo", "key-file", "json"};
    for (size_t index = 0; index < sizeof always / sizeof *always; index++) {
        if (strcmp(name, always[index]) == 0) {
            return true;
        }
    }
    size_t length = strlen(name);
    for (const char *at = usage->accepts; *at != '\0'; at += strcspn(at, " ") + 1) {
        if (strcspn(at, " ") == length && memcmp(at, name, length) == 0) {
            return true;
        }
    }
    return false;
}

static int
wrong_usage(const char *verb, const char *what, const char *word)
{
    (void)fprintf(
        stderr,
        "fortress-agent: %s%s%s; see fortress-agent %s --help\n",
        what,
        word == NULL ? "" : " ",
        word == NULL ? "" : word,
        verb);
    return FX_EXIT_USAGE;
}

/* Where the word after an option goes; NULL: it takes none, or is read in its own way. */
static const char **
place_of(enum option_id id, fx_options *options)
{
    const struct {
        enum option_id id;
        const char **place;
    } places[] = {
        {OPTION_REPO, &options->repo},
        {OPTION_KEY_FILE, &options->key_file},
        {OPTION_NAME, &options->name},
        {OPTION_HOST, &options->host},
        {OPTION_TARGET, &options->target},
        {OPTION_PATH, &options->path},
        {OPTION_SOURCE, &options->source},
        {OPTION_SCOPE, &options->scope},
        {OPTION_OUT, &options->out},
        {OPTION_KIND, &options->kind},
        {OPTION_REASON, &options->reason},
    };
    for (size_t index = 0; index < sizeof places / sizeof *places; index++) {
        if (places[index].id == id) {
            return places[index].place;
        }
    }
    return NULL;
}

static bool *
flag_of(enum option_id id, fx_options *options)
{
    const struct {
        enum option_id id;
        bool *place;
    } places[] = {
        {OPTION_JSON, &options->is_json},
        {OPTION_FORCE, &options->is_forced},
        {OPTION_NUMERIC_OWNER, &options->numeric_owner},
        {OPTION_IN_PLACE, &options->in_place},
        {OPTION_IGNORE_GAPS, &options->ignore_gaps},
        {OPTION_READ_DATA, &options->read_data},
        {OPTION_WRITE_ONLY, &options->write_only},
        {OPTION_YES, &options->is_confirmed},
        {OPTION_DRY_RUN, &options->dry_run},
        {OPTION_REVOKE, &options->revoke},
        {OPTION_TAKE_OVER, &options->take_over},
        {OPTION_ERASED, &options->erased},
        {OPTION_NO_PROGRESS, &options->no_progress},
    };
    for (size_t index = 0; index < sizeof places / sizeof *places; index++) {
        if (places[index].id == id) {
            return places[index].place;
        }
    }
    return NULL;
}

static unsigned *
count_of(enum option_id id, fx_options *options)
{
    const struct {
        enum option_id id;
        unsigned *place;
    } places[] = {
        {OPTION_KEEP_LAST, &options->retention.last},
        {OPTION_KEEP_HOURLY, &options->retention.hourly},
        {OPTION_KEEP_DAILY, &options->retention.daily},
        {OPTION_KEEP_WEEKLY, &options->retention.weekly},
        {OPTION_KEEP_MONTHLY, &options->retention.monthly},
        {OPTION_KEEP_YEARLY, &options->retention.yearly},
        {OPTION_LIVE_PERCENT, &options->live_percent},
        {OPTION_JOBS, &options->jobs},
    };
    for (size_t index = 0; index < sizeof places / sizeof *places; index++) {
        if (places[index].id == id) {
            return places[index].place;
        }
    }
    return NULL;
}

static fx_dur *
length_of(enum option_id id, fx_options *options)
{
    if (id == OPTION_KEEP_WITHIN) {
        return &options->retention.within;
    }
    if (id == OPTION_CLAIM_WINDOW) {
        return &options->retention.claim_window;
    }
    return id == OPTION_WAIT ? &options->wait : NULL;
}

/* A whole number up to a million; 0 with `*out_rest` at the text's start: there is none. */
static unsigned
read_count(const char *text, const char **out_rest)
{
    unsigned value = 0;
    while (*text >= '0' && *text <= '9' && value < 1000000) {
        value = value * 10 + (unsigned)(*text - '0');
        text++;
    }
    *out_rest = text;
    return value;
}

/* "90s", "10m", "36h", "30d". */
static bool
read_length(const char *text, fx_dur *out_length)
{
    const struct {
        char unit;
        int64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 24 * INT64_C(3600)}};
    const char *rest = text;
    unsigned value = read_count(text, &rest);
    for (size_t index = 0; index < sizeof units / sizeof *units && rest != text; index++) {
        if (rest[0] == units[index].unit && rest[1] == '\0') {
            *out_length = FX_DUR_MS((int64_t)value * units[index].seconds * 1000);
            return true;
        }
    }
    return false;
}

/* "2/7", "2.5%". */
static bool
read_portion(const char *text, fx_options *options)
{
    const char *rest = text;
    unsigned whole = read_count(text, &rest);
    if (rest == text) {
        return false;
    }
    if (*rest == '/') {
        const char *second = rest + 1;
        options->read_part = whole;
        options->read_part_count = read_count(second, &rest);
        return rest != second && *rest == '\0' && whole >= 1 && whole <= options->read_part_count;
    }
    unsigned ppm = 0;
    if (*rest == '.') {
        unsigned unit = 1000;
        for (rest++; *rest >= '0' && *rest <= '9'; rest++, unit /= 10) {
            ppm += (unsigned)(*rest - '0') * unit;
        }
    }
    if (whole > 100 || rest[0] != '%' || rest[1] != '\0') {
        return false;
    }
    options->read_share_ppm = whole * 10000 + ppm;
    return options->read_share_ppm >= 1 && options->read_share_ppm <= 1000000;
}

/* "500000", "64K", "8M", "1G": bytes a second; the units are powers of 1024. */
static bool
read_bandwidth(const char *text, uint64_t *out_bytes_s)
{
    static const char units[] = "KMG";
    const char *rest = text;
    unsigned value = read_count(text, &rest);
    const char *unit = *rest == '\0' ? NULL : strchr(units, *rest);
    if (rest == text || value == 0 || (*rest != '\0' && (unit == NULL || rest[1] != '\0'))) {
        return false;
    }
    *out_bytes_s = (uint64_t)value << (unit == NULL ? 0 : 10 * (unit - units + 1));
    return true;
}

static int
take_tier(const char *verb, fx_options *options)
{
    if (options->tier_count == FX_OPTIONS_TIERS_MAX) {
        return wrong_usage(verb, "one tier too many:", optarg);
    }
    options->tiers[options->tier_count++] = optarg;
    return 0;
}

/* Options with a number or a length of time. */
static int
take_number(const char *verb, const struct option *option, fx_options *options)
{
    enum option_id id = (enum option_id)option->val;
    unsigned *count = count_of(id, options);
    fx_dur *length = length_of(id, options);
    if (count != NULL) {
        const char *rest = optarg;
        *count = read_count(optarg, &rest);
        return rest == optarg || *rest != '\0'
                   ? wrong_usage(verb, "a whole number up to a million is needed, not", optarg)
                   : 0;
    }
    FX_ASSERT(length != NULL);
    return read_length(optarg, length)
               ? 0
               : wrong_usage(
                     verb, "a length of time like 90s, 10m, 36h or 30d is needed, not", optarg);
}

/* 0, or the exit status of wrong usage. */
static int
take_option(const char *verb, const struct option *option, fx_options *options)
{
    fx_err err = {0};
    enum option_id id = (enum option_id)option->val;
    const char **place = place_of(id, options);
    if (id == OPTION_READ_DATA && optarg != NULL && !read_portion(optarg, options)) {
        return wrong_usage(verb, "--read-data takes N/M or a share like 2.5%, not", optarg);
    }
    if (id == OPTION_BANDWIDTH && !read_bandwidth(optarg, &options->bandwidth_bytes_s)) {
        return wrong_usage(verb, "--bandwidth takes bytes a second like 800K or 8M, not", optarg);
    }
    if (id == OPTION_TIER) {
        return take_tier(verb, options);
    }
    bool *flag = flag_of(id, options);
    if (id == OPTION_BANDWIDTH) {
        return 0;
    }
    if (place != NULL) {
        *place = optarg;
    } else if (flag != NULL) {
        *flag = true;
    } else if (id == OPTION_TIME) {
        if (fx_wall_parse(optarg, &options->time, &err) != FX_OK) {
            return wrong_usage(verb, "--time takes 2026-11-23T01:02:03Z, not", optarg);
        }
    } else if (id == OPTION_TAG) {
        if (fx_tags_add(options->tags, optarg, &err) != FX_OK) {
            return wrong_usage(
                verb, "--tag takes letters, digits, '.', '_' and '-', up to 16 times, not", optarg);
        }
    } else if (id == OPTION_COMPRESSION) {
        if (fx_zip_level_parse(optarg, &options->compression, &err) != FX_OK) {
            return wrong_usage(
                verb, "--compression takes none or a level from 1 to 19, not", optarg);
        }
    } else if (count_of(id, options) != NULL || length_of(id, options) != NULL) {
        return take_number(verb, option, options);
    } else if (options->recipient_kind != NULL) {
        return wrong_usage(verb, "one kind of recipient at a time, not also --", option->name);
    } else {
        options->recipient_kind = option->name;
        options->recipient = optarg;
    }
    return 0;
}

static int
check_rest(const char *verb, const fx_usage *usage, const fx_options *options)
{
    if (!usage->without_repo && (options->repo == NULL || options->repo[0] == '\0')) {
        return wrong_usage(verb, "name the repository with --repo or FORTRESS_REPO", NULL);
    }
    if (options->rest_count < usage->rest_min) {
        return wrong_usage(verb, "something is missing: say what to work on", NULL);
    }
    if (options->rest_count > usage->rest_max) {
        return wrong_usage(verb, "one word too many:", options->rest[usage->rest_max]);
    }
    return 0;
}

bool
fx_options_read(
    int argc, char **argv, const fx_usage *usage, fx_options *out_options, int *out_status)
{
    const char *verb = argv[0];
    *out_options = (fx_options){
        .compression = FX_ZIP_USUAL_LEVEL,
        .repo = getenv("FORTRESS_REPO"),         // NOLINT(concurrency-mt-unsafe): one thread so far
        .key_file = getenv("FORTRESS_KEY_FILE"), // NOLINT(concurrency-mt-unsafe): likewise
        .scope = getenv("FORTRESS_SCOPE"),       // NOLINT(concurrency-mt-unsafe): likewise
    };
    opterr = 0;
    optind = 1;
    int which = -1;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): one thread so far
    for (int id = 0; (id = getopt_long(argc, argv, ":h", known, &which)) != -1;) {
        const char *word = argv[optind - 1];
        if (id == 'h' || id == OPTION_HELP) {
            (void)fputs(usage->text, stdout);
            *out_status = FX_EXIT_OK;
            return false;
        }
        if (id == '?' || id == ':') {
            const char *what = id == '?' ? "there is no option" : "a value is missing after";
            *out_status = wrong_usage(verb, what, word);
            return false;
        }
        *out_status = accepts(usage, known[which].name)
                          ? take_option(verb, &known[which], out_options)
                          : wrong_usage(verb, "this verb does not take --", known[which].name);
        if (*out_status != 0) {
            return false;
        }
    }
    out_options->rest = argv + optind;
    out_options->rest_count = argc - optind;
    *out_status = check_rest(verb, usage, out_options);
    return *out_status == 0;
}
