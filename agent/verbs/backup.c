/* fortress-agent backup files, fortress-agent backup postgres */
#include "agent/source/source.h"
#include "agent/verbs/options.h"
#include "agent/verbs/report.h"
#include "agent/verbs/session.h"
#include "agent/verbs/verb.h"

#include <string.h>
#include <unistd.h>

enum { HOST_NAME_BYTES = 256, PATHS_MAX = 4096 };

#define COMMON_OPTIONS                                                                             \
    "  --name NAME      what the data set is called; snapshots of one name follow each other\n"    \
    "  --host NAME      of the snapshot, instead of this host's\n"                                 \
    "  --tag NAME       of the snapshot; may be given several times\n"                             \
    "  --compression N  a level of zstd from 1 (usual) to 19, or none: see the threat model\n"     \
    "  --repo URL       a path or posix:PATH; or FORTRESS_REPO\n"                                  \
    "  --key-file FILE  the repository's key; or FORTRESS_KEY_FILE\n"                              \
    "  --scope NAME     whose keys to write with, else the key file's first; or FORTRESS_SCOPE\n"  \
    "  --json           events as JSON, one a line\n"                                              \
    "  --no-progress    do not show how far it has come\n"

static const fx_usage files_usage = {
    .text =
        "Usage: fortress-agent backup files PATH… [OPTION…]\n"
        "Saves files and folders with all that belongs to them as one snapshot. What cannot be\n"
        "read or changes while it is read is a warning (exit status 3); the rest is saved.\n"
        "\n" COMMON_OPTIONS
        "  --force          read all files, also those that have not changed since the last time\n",
    .accepts = "name host force scope tag compression no-progress ",
    .rest_min = 1,
    .rest_max = PATHS_MAX,
};

static const fx_usage postgres_usage = {
    .text =
        "Usage: fortress-agent backup postgres CONNINFO [OPTION…]\n"
        "Saves a base backup of a PostgreSQL server over the replication protocol.\n"
        "CONNINFO is libpq's: \"host=… port=… user=… passfile=…\", of a role with REPLICATION.\n"
        "\n" COMMON_OPTIONS,
    .accepts = "name host scope tag compression no-progress ",
    .rest_min = 1,
    .rest_max = 1,
};

static fx_code
take_backup(
    const char *kind,
    const fx_options *options,
    const fx_report *report,
    fx_snapshot *out_snapshot,
    fx_err *err)
{
    const fx_source_driver *driver = NULL;
    char own_name[HOST_NAME_BYTES] = "";
    if (gethostname(own_name, sizeof own_name - 1) != 0) {
        own_name[0] = '\0';
    }
    /* A repository on this host must not be saved into itself. */
    const char *store =
        strncmp(options->repo, "posix:", 6) == 0 ? options->repo + 6 : options->repo;
    const fx_backup_options backup = {
        .host = options->host == NULL ? own_name : options->host,
        .name = options->name,
        .what = (const char *const *)options->rest,
        .what_count = (size_t)options->rest_count,
        .read_all = options->is_forced,
        .skip = &store,
        .skip_count = 1,
        .tags = options->tags,
    };
    fx_session session;
    if (fx_source_find(kind, &driver, err) != FX_OK ||
        fx_session_open(options, &session, err) != FX_OK) {
        return err->code;
    }
    fx_session_use_cache(&session);
    fx_code code = driver->backup(session.repository, &backup, &report->events, out_snapshot, err);
    fx_session_close(&session);
    return code;
}

static void
print_snapshot(const fx_snapshot *snapshot)
{
    char size[FX_SIZE_TEXT_BYTES];
    char added[FX_SIZE_TEXT_BYTES];
    fx_size_format(snapshot->size_bytes, size);
    fx_size_format(snapshot->added_bytes, added);
    (void)printf(
        "Snapshot %.12s of %s: %llu files, %s (%s new)",
        snapshot->id,
        snapshot->source,
        (unsigned long long)snapshot->file_count,
        size,
        added);
    if (snapshot->warning_count > 0) {
        (void)printf(", %u warnings", snapshot->warning_count);
    }
    (void)putchar('\n');
}

static int
run_backup(const char *kind, const fx_usage *usage, int argc, char **argv)
{
    fx_options options;
    fx_report report;
    fx_snapshot snapshot = {0};
    fx_err err = {0};
    int status = 0;
    if (!fx_options_read(argc, argv, usage, &options, &status)) {
        return status;
    }
    fx_report_init(&report, options.is_json);
    fx_report_show_progress(&report, &options);
    fx_json *summary = NULL;
    if (take_backup(kind, &options, &report, &snapshot, &err) == FX_OK) {
        summary = fx_json_object();
        fx_json_set(summary, "snapshot", fx_snapshot_json(&snapshot));
        if (report.warning_count < snapshot.warning_count) {
            report.warning_count = snapshot.warning_count;
        }
        status = fx_report_end(&report, NULL, summary);
        if (!options.is_json) {
            print_snapshot(&snapshot);
        }
        return status;
    }
    return fx_report_end(&report, &err, summary);
}

int
fx_verb_backup_files(int argc, char **argv)
{
    return run_backup("files", &files_usage, argc, argv);
}

int
fx_verb_backup_postgres(int argc, char **argv)
{
    return run_backup("postgres", &postgres_usage, argc, argv);
}
