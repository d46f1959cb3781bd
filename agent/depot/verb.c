/* fortress-agent depot: keeps what hosts of other regions store. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "agent/depot/serve.h"
#include "agent/verbs/exit_code.h"
#include "agent/verbs/verb.h"
#include "common/loop/loop.h"

enum { SWEEP_MS = 10000 };

static const char help[] =
    "Usage: fortress-agent depot --config FILE\n"
    "Keeps repositories for hosts of other regions, which reach them as depot:HOST:PORT/NAME.\n"
    "Who asks is the host in the certificate; it can add, and neither replace nor remove.\n"
    "\n"
    "  --config FILE   docs/reference/depot.md; logs to standard error, until SIGTERM or SIGINT\n"
    "  --help          this text\n";

typedef struct service {
    fx_loop *loop;
    fx_depot *depot;
    const fx_log *log;
} service;

static void
on_signal(void *ctx)
{
    service *self = ctx;
    FX_LOG(self->log, INFO, "depot.stopping");
    fx_loop_stop(self->loop);
}

static void
on_sweep(void *ctx)
{
    const service *self = ctx;
    fx_depot_sweep(self->depot);
}

static fx_code
serve(const fx_depot_config *config, const fx_log *log, fx_err *err)
{
    FX_AUTO(fx_depot) depot = NULL;
    if (fx_depot_open(config, log, &depot, err) != FX_OK) {
        return err->code;
    }
    service self = {.loop = fx_loop_new(), .depot = depot, .log = log};
    fx_loop_on_signal(self.loop, SIGTERM, on_signal, &self);
    fx_loop_on_signal(self.loop, SIGINT, on_signal, &self);
    fx_loop_timer *timer =
        fx_loop_timer_start(self.loop, FX_DUR_MS(SWEEP_MS), FX_DUR_MS(SWEEP_MS), on_sweep, &self);
    fx_loop_run(self.loop);
    fx_loop_timer_stop(timer);
    fx_loop_free(self.loop);
    return FX_OK;
}

int
fx_depot_verb(int argc, char **argv)
{
    static const struct option list[] = {
        {"config", required_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *path = NULL;
    optind = 1;
    int letter = 0;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread so far */
    while ((letter = getopt_long(argc, argv, "h", list, NULL)) != -1) {
        if (letter == 'c') {
            path = optarg;
        } else {
            (void)fputs(help, letter == 'h' ? stdout : stderr);
            return letter == 'h' ? FX_EXIT_OK : FX_EXIT_USAGE;
        }
    }
    if (path == NULL || optind != argc) {
        (void)fputs(help, stderr);
        return FX_EXIT_USAGE;
    }
    fx_err err;
    FX_AUTO(fx_depot_config) config = NULL;
    if (fx_depot_config_load(path, &config, &err) != FX_OK) {
        return fx_exit_print(&err);
    }
    fx_log log = {.fd = STDERR_FILENO, .min_level = config->log_level, .program = "depot"};
    if (serve(config, &log, &err) != FX_OK) {
        FX_LOG(&log, ERROR, "depot.failed", FX_ERR_FIELD(&err));
        return fx_exit_print(&err);
    }
    return FX_EXIT_OK;
}
