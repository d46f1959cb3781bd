/* `fortress-agent guard`: reads its options. */
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

#include "agent/guard/guard.h"
#include "agent/verbs/exit_code.h"
#include "agent/verbs/verb.h"
#include "common/base/name.h"

static void
print_help(FILE *out)
{
    (void)fputs(
        "Usage: fortress-agent guard --service NAME --state-dir DIR --data-dir DIR --bin-dir DIR\n"
        "                            [--run-as USER] [--options WORDS] [--no-cgroup]\n"
        "                            [--log-level LEVEL]\n"
        "Runs one PostgreSQL as its child and fences it when the lease ends. The agent starts it;\n"
        "nobody else needs to. SIGTERM stops PostgreSQL in order, then the guard.\n"
        "\n"
        "  --service NAME     of the configuration\n"
        "  --state-dir DIR    the guard's own folder: socket, lock, epochs, postgres.log\n"
        "  --data-dir DIR     PostgreSQL's data directory\n"
        "  --bin-dir DIR      the folder with the program postgres\n"
        "  --run-as USER      who PostgreSQL runs as, when started by root\n"
        "  --options WORDS    further words for its command line\n"
        "  --no-cgroup        do not use a cgroup\n"
        "  --log-level LEVEL  debug, info (default), warn, error\n",
        out);
}

static int
wrong_usage(void)
{
    print_help(stderr);
    return FX_EXIT_USAGE;
}

enum option_letter {
    OPTION_SERVICE = 1000,
    OPTION_STATE,
    OPTION_DATA,
    OPTION_BIN,
    OPTION_RUN_AS,
    OPTION_OPTIONS,
    OPTION_NO_CGROUP,
    OPTION_LOG,
};

static const struct option option_list[] = {
    {"service", required_argument, NULL, OPTION_SERVICE},
    {"state-dir", required_argument, NULL, OPTION_STATE},
    {"data-dir", required_argument, NULL, OPTION_DATA},
    {"bin-dir", required_argument, NULL, OPTION_BIN},
    {"run-as", required_argument, NULL, OPTION_RUN_AS},
    {"options", required_argument, NULL, OPTION_OPTIONS},
    {"no-cgroup", no_argument, NULL, OPTION_NO_CGROUP},
    {"log-level", required_argument, NULL, OPTION_LOG},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static bool
take_option(int letter, fx_guard_options *options, fx_log *log, fx_err *err)
{
    switch (letter) {
    case OPTION_SERVICE:
        options->service = optarg;
        return true;
    case OPTION_STATE:
        options->state_dir = optarg;
        return true;
    case OPTION_DATA:
        options->data_dir = optarg;
        return true;
    case OPTION_BIN:
        options->bin_dir = optarg;
        return true;
    case OPTION_RUN_AS:
        options->run_as = optarg;
        return true;
    case OPTION_OPTIONS:
        options->options = optarg;
        return true;
    case OPTION_NO_CGROUP:
        options->no_cgroup = true;
        return true;
    case OPTION_LOG:
        return fx_log_level_parse(optarg, &log->min_level, err) == FX_OK;
    default:
        return false;
    }
}

int
fx_guard_verb(int argc, char **argv)
{
    fx_err err;
    fx_log log = {.fd = STDERR_FILENO, .min_level = FX_INFO, .program = "guard"};
    fx_guard_options options = {.log = &log};
    int letter = 0;
    optind = 1;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): the guard has one thread */
    while ((letter = getopt_long(argc, argv, "h", option_list, NULL)) != -1) {
        if (letter == 'h') {
            print_help(stdout);
            return FX_EXIT_OK;
        }
        if (!take_option(letter, &options, &log, &err)) {
            return wrong_usage();
        }
    }
    if (optind != argc || options.service == NULL || options.state_dir == NULL ||
        options.data_dir == NULL || options.bin_dir == NULL) {
        return wrong_usage();
    }
    fx_name name;
    if (fx_name_parse(options.service, "service", &name, &err) != FX_OK ||
        fx_guard_run(&options, &err) != FX_OK) {
        FX_LOG(&log, ERROR, "guard.failed", FX_ERR_FIELD(&err));
        return (int)fx_exit_of(err.code);
    }
    return FX_EXIT_OK;
}
