/* fortress-agent repo init */
#include "agent/verbs/options.h"
#include "agent/verbs/report.h"
#include "agent/verbs/verb.h"
#include "common/repository/repository.h"

#include <unistd.h>

static const fx_usage usage = {
    .text = "Usage: fortress-agent repo init --repo URL --key-file FILE [--json]\n"
            "Makes a new repository, and its key file (mode 0600) if it is not there.\n"
            "\n"
            "  --repo URL       a path or posix:PATH; or FORTRESS_REPO\n"
            "  --key-file FILE  the repository's key; or FORTRESS_KEY_FILE\n"
            "  --json           events as JSON, one a line\n"
            "\n"
            "Keep copies of the key file elsewhere: without it nothing can be restored.\n",
    .accepts = "",
};

static fx_code
init(const fx_options *options, bool *out_is_new_key, fx_err *err)
{
    FX_AUTO(fx_repository_key) key = NULL;
    *out_is_new_key = false;
    if (options->key_file == NULL) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not make a repository: name its key with --key-file or FORTRESS_KEY_FILE");
    }
    if (access(options->key_file, F_OK) != 0) {
        if (fx_repository_key_create(options->key_file, err) != FX_OK) {
            return err->code;
        }
        *out_is_new_key = true;
    }
    if (fx_repository_key_load(options->key_file, &key, err) != FX_OK) {
        return err->code;
    }
    return fx_repository_create(options->repo, key, err);
}

int
fx_verb_repo_init(int argc, char **argv)
{
    fx_options options;
    fx_report report;
    fx_err err = {0};
    int status = 0;
    bool is_new_key = false;
    if (!fx_options_read(argc, argv, &usage, &options, &status)) {
        return status;
    }
    fx_report_init(&report, options.is_json);
    fx_json *summary = fx_json_object();
    if (init(&options, &is_new_key, &err) == FX_OK) {
        fx_json_set_text(summary, "repository", options.repo);
        fx_json_set_bool(summary, "new_key", is_new_key);
        if (!options.is_json) {
            (void)printf(
                "Repository %s is ready; its key is %s%s.\n"
                "Keep copies of the key elsewhere: without it nothing can be restored.\n",
                options.repo,
                options.key_file,
                is_new_key ? " (new)" : "");
        }
    }
    return fx_report_end(&report, &err, summary);
}
