/* fortress: the operator's command. Finds the verb, checks its options, calls the API. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/cli/verbs.h"

enum option_flag {
    TAKES_TO = 1,
    TAKES_WAIT = 2,
    TAKES_YES = 4,
    TAKES_TARGET = 8,
    TAKES_LIMIT = 16,
    TAKES_FILTER = 32,
    TAKES_REASON = 64,
    WAIT_DEFAULT_S = 900,
    WAIT_MAX_S = 7 * 86400,
};

typedef struct verb {
    const char *name;
    const char *arguments;
    int argument_count;
    unsigned takes;
    fx_cli_verb run;
    const char *summary;
} verb;

static const verb verbs[] = {
    {"status", "", 0, 0, fx_cli_status, "everything that matters on one page, problems first"},
    {"services", "", 0, 0, fx_cli_services, "services with epoch, primary, lease and standbys"},
    {"hosts", "", 0, 0, fx_cli_hosts, "hosts, when they were heard, their leases"},
    {"snapshots",
     "",
     0,
     TAKES_LIMIT | TAKES_FILTER,
     fx_cli_snapshots,
     "backups that the catalog knows, newest first"},
    {"plans", "", 0, TAKES_LIMIT, fx_cli_plans, "plans in flight and finished, newest first"},
    {"decisions", "", 0, TAKES_LIMIT, fx_cli_decisions, "decisions and their evidence"},
    {"switchover",
     "SERVICE",
     1,
     TAKES_TO | TAKES_REASON | TAKES_WAIT | TAKES_YES,
     fx_cli_switchover,
     "moves a service's primary to another host, orderly"},
    {"backup", "HOST JOB", 2, TAKES_REASON | TAKES_WAIT, fx_cli_backup, "runs a job of a host now"},
    {"restore",
     "HOST SNAPSHOT",
     2,
     TAKES_TARGET | TAKES_REASON | TAKES_WAIT,
     fx_cli_restore,
     "restores a snapshot (or \"latest\") to a new folder of a host"},
};

typedef struct option_help {
    unsigned takes; /* 0: every verb */
    const char *text;
} option_help;

static const option_help option_helps[] = {
    {TAKES_TO, "  --to HOST           the new primary; without it the best standby is chosen\n"},
    {TAKES_TARGET, "  --target DIR        the new folder on the host: an absolute path\n"},
    {TAKES_TARGET, "  --path PATH         only what is below this path of the snapshot\n"},
    {TAKES_REASON, "  --reason TEXT       kept in the ledger with the request\n"},
    {TAKES_WAIT, "  --wait              follow it to its end\n"},
    {TAKES_WAIT, "  --timeout SECONDS   stop following after so long (900); it goes on without\n"},
    {TAKES_YES, "  --yes               do not ask for confirmation\n"},
    {TAKES_LIMIT, "  --limit N           at most so many\n"},
    {TAKES_FILTER, "  --host HOST         only of this host\n"},
    {TAKES_FILTER, "  --source SOURCE     only of this data set, for example files:app-data\n"},
    {0, "  -o, --output FORMAT text (default) or json\n"},
    {0, "  --api URL[,URL…]    coordinators, tried in this order (FORTRESS_API)\n"},
    {0, "  --token-file FILE   file with the token (FORTRESS_TOKEN_FILE)\n"},
    {0, "  --ca FILE           certificate authority of the API, PEM (FORTRESS_CA)\n"},
};

static void
print_options(FILE *out, unsigned takes)
{
    (void)fputs("\nOptions:\n", out);
    for (size_t i = 0; i < sizeof option_helps / sizeof option_helps[0]; i++) {
        if (option_helps[i].takes == 0 || (takes & option_helps[i].takes) != 0) {
            (void)fputs(option_helps[i].text, out);
        }
    }
    (void)fputs(
        "\nExit status: 0 done; 1 failed; 2 wrong usage, nothing was tried; 6 not found; 7 "
        "denied;\n"
        "9 something is in the way; 10 no coordinator answers; 12 unknown: it may have happened\n"
        "(docs/reference/exit-codes.md).\n",
        out);
}

static void
print_help(FILE *out)
{
    (void)fputs(
        "Usage: fortress VERB [ARGUMENT…] [OPTION…]\n"
        "Shows and moves what Fortress protects.\n\n",
        out);
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        (void)fprintf(
            out, "  %-11s %-14s %s\n", verbs[i].name, verbs[i].arguments, verbs[i].summary);
    }
    (void)fputs(
        "\n  fortress VERB --help     what a verb takes\n"
        "  fortress --version       the version of this program\n",
        out);
    print_options(out, 0);
}

static void
print_verb_help(const verb *chosen)
{
    (void)printf(
        "Usage: fortress %s%s%s [OPTION…]\nfortress %s: %s.\n",
        chosen->name,
        chosen->arguments[0] == '\0' ? "" : " ",
        chosen->arguments,
        chosen->name,
        chosen->summary);
    print_options(stdout, chosen->takes);
}

static const verb *
find_verb(const char *name)
{
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(verbs[i].name, name) == 0) {
            return &verbs[i];
        }
    }
    return NULL;
}

enum long_option {
    OPTION_API = 256,
    OPTION_TOKEN_FILE,
    OPTION_CA,
    OPTION_TO,
    OPTION_REASON,
    OPTION_TARGET,
    OPTION_PATH,
    OPTION_LIMIT,
    OPTION_HOST,
    OPTION_SOURCE,
    OPTION_WAIT,
    OPTION_TIMEOUT,
    OPTION_YES,
    OPTION_VERSION,
};

static const struct option long_options[] = {
    {"api", required_argument, NULL, OPTION_API},
    {"token-file", required_argument, NULL, OPTION_TOKEN_FILE},
    {"ca", required_argument, NULL, OPTION_CA},
    {"output", required_argument, NULL, 'o'},
    {"to", required_argument, NULL, OPTION_TO},
    {"reason", required_argument, NULL, OPTION_REASON},
    {"target", required_argument, NULL, OPTION_TARGET},
    {"path", required_argument, NULL, OPTION_PATH},
    {"limit", required_argument, NULL, OPTION_LIMIT},
    {"host", required_argument, NULL, OPTION_HOST},
    {"source", required_argument, NULL, OPTION_SOURCE},
    {"wait", no_argument, NULL, OPTION_WAIT},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"yes", no_argument, NULL, OPTION_YES},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

typedef struct command_line {
    fx_cli_options options;
    unsigned used; /* option flags that were given */
    bool help;
    bool version;
} command_line;

static bool
take_output(command_line *line, const char *value)
{
    line->options.json = strcmp(value, "json") == 0;
    if (!line->options.json && strcmp(value, "text") != 0) {
        (void)fprintf(stderr, "fortress: there is no output format \"%s\": text or json\n", value);
        return false;
    }
    return true;
}

static bool
take_timeout(command_line *line, const char *value)
{
    char *end = NULL;
    long seconds = strtol(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end != '\0' || seconds < 1 || seconds > WAIT_MAX_S) {
        (void)fprintf(stderr, "fortress: --timeout \"%s\" is no number of seconds\n", value);
        return false;
    }
    line->options.timeout_s = seconds;
    line->used |= TAKES_WAIT;
    return true;
}

/* Options whose value is only kept. */
static const char **
slot_of(command_line *line, int option, unsigned *out_flag)
{
    fx_cli_options *to = &line->options;
    const struct {
        const char **slot;
        int option;
        unsigned flag;
    } slots[] = {
        {&to->client.urls, OPTION_API, 0},
        {&to->client.token_file, OPTION_TOKEN_FILE, 0},
        {&to->client.ca_file, OPTION_CA, 0},
        {&to->to, OPTION_TO, TAKES_TO},
        {&to->reason, OPTION_REASON, TAKES_REASON},
        {&to->target, OPTION_TARGET, TAKES_TARGET},
        {&to->path, OPTION_PATH, TAKES_TARGET},
        {&to->limit, OPTION_LIMIT, TAKES_LIMIT},
        {&to->host, OPTION_HOST, TAKES_FILTER},
        {&to->source, OPTION_SOURCE, TAKES_FILTER},
    };
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++) {
        if (slots[i].option == option) {
            *out_flag = slots[i].flag;
            return slots[i].slot;
        }
    }
    return NULL;
}

static bool
take_option(command_line *line, int option, const char *value)
{
    unsigned flag = 0;
    const char **slot = slot_of(line, option, &flag);
    if (slot != NULL) {
        *slot = value;
        line->used |= flag;
        return true;
    }
    switch (option) {
    case 'o':
        return take_output(line, value);
    case OPTION_TIMEOUT:
        return take_timeout(line, value);
    case OPTION_WAIT:
        line->options.wait = true;
        line->used |= TAKES_WAIT;
        return true;
    case OPTION_YES:
        line->options.yes = true;
        line->used |= TAKES_YES;
        return true;
    case 'h':
        line->help = true;
        return true;
    case OPTION_VERSION:
        line->version = true;
        return true;
    default:
        (void)fputs("fortress: see fortress --help\n", stderr); /* getopt has said what is wrong */
        return false;
    }
}

static int
run(const verb *chosen, command_line *line, int count, char **arguments)
{
    if (count != chosen->argument_count) {
        (void)fprintf(
            stderr,
            "fortress: usage: fortress %s %s; see fortress %s --help\n",
            chosen->name,
            chosen->arguments,
            chosen->name);
        return FX_CLI_USAGE;
    }
    if ((line->used & ~chosen->takes) != 0) {
        (void)fprintf(
            stderr,
            "fortress: an option that %s does not take; see fortress %s --help\n",
            chosen->name,
            chosen->name);
        return FX_CLI_USAGE;
    }
    for (int i = 0; i < count; i++) {
        line->options.arguments[i] = arguments[i];
    }
    fx_err err;
    FX_AUTO(fx_client) client = NULL;
    fx_code code = fx_client_new(&line->options.client, &client, &err);
    if (code != FX_OK) {
        int status = fx_cli_fail(&err);
        return code == FX_ERR_INVALID ? FX_CLI_USAGE : status;
    }
    return chosen->run(client, &line->options);
}

int
main(int argc, char **argv)
{
    (void)signal(SIGPIPE, SIG_IGN); // NOLINT(cert-err33-c): SIGPIPE can be ignored everywhere
    /* NOLINTBEGIN(concurrency-mt-unsafe): one thread */
    command_line line = {
        .options = {
            .client =
                {
                    .urls = getenv("FORTRESS_API"),
                    .token_file = getenv("FORTRESS_TOKEN_FILE"),
                    .ca_file = getenv("FORTRESS_CA"),
                },
            .timeout_s = WAIT_DEFAULT_S,
        }};
    for (int option = 0; (option = getopt_long(argc, argv, "o:h", long_options, NULL)) != -1;) {
        if (!take_option(&line, option, optarg)) {
            return FX_CLI_USAGE;
        }
    }
    /* NOLINTEND(concurrency-mt-unsafe) */
    if (line.version) {
        (void)puts("fortress " FX_VERSION);
        return FX_CLI_OK;
    }
    if (optind == argc) {
        print_help(line.help ? stdout : stderr);
        return line.help ? FX_CLI_OK : FX_CLI_USAGE;
    }
    const verb *chosen = find_verb(argv[optind]);
    if (chosen == NULL) {
        (void)fprintf(
            stderr, "fortress: there is no verb \"%s\"; see fortress --help\n", argv[optind]);
        return FX_CLI_USAGE;
    }
    if (line.help) {
        print_verb_help(chosen);
        return FX_CLI_OK;
    }
    return run(chosen, &line, argc - optind - 1, argv + optind + 1);
}
