/* What the operator's command does, one function a verb. */
#pragma once

#include "coordinator/cli/client.h"

/* docs/reference/exit-codes.md */
enum {
    FX_CLI_OK = 0,
    FX_CLI_FAILED = 1,
    FX_CLI_USAGE = 2,
    FX_CLI_NOT_FOUND = 6,
    FX_CLI_DENIED = 7,
    FX_CLI_CONFLICT = 9,
    FX_CLI_UNREACHABLE = 10,
    FX_CLI_UNKNOWN = 12, /* it may have happened */
};

typedef struct fx_cli_options {
    fx_client_options client;
    const char *arguments[2];
    const char *to;
    const char *reason;
    const char *target;
    const char *path;
    const char *limit;
    const char *host;
    const char *source;
    bool json;
    bool wait;
    bool yes;
    int64_t timeout_s;
} fx_cli_options;

/* Gives the exit status; has said on standard error what failed. */
typedef int (*fx_cli_verb)(fx_client *client, const fx_cli_options *options);

int fx_cli_status(fx_client *client, const fx_cli_options *options);
int fx_cli_services(fx_client *client, const fx_cli_options *options);
int fx_cli_hosts(fx_client *client, const fx_cli_options *options);
int fx_cli_snapshots(fx_client *client, const fx_cli_options *options);
int fx_cli_plans(fx_client *client, const fx_cli_options *options);
int fx_cli_decisions(fx_client *client, const fx_cli_options *options);
int fx_cli_switchover(fx_client *client, const fx_cli_options *options);
int fx_cli_backup(fx_client *client, const fx_cli_options *options);
int fx_cli_restore(fx_client *client, const fx_cli_options *options);

/* Says what failed; gives the exit status for it. */
int fx_cli_fail(const fx_err *err);
