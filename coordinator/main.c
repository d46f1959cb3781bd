/* fortress-coordinator: takes agents' reports, agrees with the other regions, and decides. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/run/run.h"
#include "coordinator/ticket/ticket.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static void
print_help(FILE *out)
{
    (void)fputs(
        "Usage: fortress-coordinator run --config FILE\n"
        "Takes the reports of a region's agents, agrees with the coordinators of the other\n"
        "regions, and moves services when their region is lost.\n"
        "\n"
        "  run --config FILE   run until SIGTERM or SIGINT; logs to standard error\n"
        "  ticket make|sign    permit a depot to remove objects (docs/reference/depot.md)\n"
        "  --help              this text\n"
        "  --version           the version of this program\n"
        "\n"
        "Exit status: 0 ended when told to, 2 wrong usage, another: failed.\n",
        out);
}

static int
run(const char *path)
{
    fx_err err = {0};
    FX_AUTO(fx_coordinator_config) config = NULL;
    if (fx_coordinator_config_load(path, &config, &err) != FX_OK ||
        fx_run_coordinator(config, &err) != FX_OK) {
        (void)fprintf(
            stderr,
            "fortress-coordinator: %s%s%s\n",
            err.message,
            err.context[0] == '\0' ? "" : " — while ",
            err.context);
        return EXIT_FAILED;
    }
    return EXIT_OK;
}

int
main(int argc, char **argv)
{
    /* A reader of our output or a peer that goes away is an error of that write, not our end. */
    (void)signal(SIGPIPE, SIG_IGN); // NOLINT(cert-err33-c): SIGPIPE can be ignored everywhere
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        print_help(stdout);
        return EXIT_OK;
    }
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        (void)puts("fortress-coordinator " FX_VERSION);
        return EXIT_OK;
    }
    if (argc == 4 && strcmp(argv[1], "run") == 0 && strcmp(argv[2], "--config") == 0) {
        return run(argv[3]);
    }
    if (argc >= 2 && strcmp(argv[1], "ticket") == 0) {
        return fx_ticket_verb(argc - 1, argv + 1);
    }
    print_help(stderr);
    return EXIT_USAGE;
}
