#include "agent/verbs/keyring.h"

#include <stdio.h>
#include <string.h>

#include "agent/verbs/report.h"

fx_code
fx_keyring_named(const fx_options *options, fx_err *err)
{
    return options->key_file != NULL ? FX_OK
                                     : fx_fail(
                                           err,
                                           FX_ERR_INVALID,
                                           "could not open the key file: name it with --key-file "
                                           "or FORTRESS_KEY_FILE");
}

fx_code
fx_keyring_scope_of(
    const fx_keyring *keyring, const fx_options *options, fx_keyring_scope **out_scope, fx_err *err)
{
    if (options->scope != NULL) {
        fx_keyring_scope *named = fx_keyring_find_scope(keyring, options->scope);
        if (named == NULL) {
            return fx_fail(
                err,
                FX_ERR_NOT_FOUND,
                "could not find scope \"%.80s\": the key file has none of that name",
                options->scope);
        }
        *out_scope = named;
        return FX_OK;
    }
    fx_keyring_scope *only = NULL;
    for (size_t i = 0; i < keyring->scope_count; i++) {
        fx_keyring_scope *scope = &keyring->scopes[i];
        if (scope->state != FX_SCOPE_LIVE) {
            continue;
        }
        if (only != NULL) {
            return fx_fail(
                err,
                FX_ERR_INVALID,
                "could not choose a scope: the key file has several; name one with --scope");
        }
        only = scope;
    }
    if (only == NULL) {
        return fx_fail(
            err, FX_ERR_NOT_FOUND, "could not find a scope: the key file has no private keys");
    }
    *out_scope = only;
    return FX_OK;
}

fx_code
fx_keyring_change_begin(const fx_options *options, fx_keyring_change *out_change, fx_err *err)
{
    fx_keyring_change change = {.keyring = NULL};
    if (fx_keyring_named(options, err) != FX_OK ||
        fx_keyring_edit_begin(options->key_file, &change.edit, &change.keyring, err) != FX_OK) {
        return err->code;
    }
    change.opener = fx_opener_new();
    *out_change = change;
    return FX_OK;
}

void
fx_keyring_change_end(fx_keyring_change *change)
{
    fx_opener_free(change->opener);
    fx_keyring_free(change->keyring);
    fx_keyring_edit_end(&change->edit);
}

/* Before anything is changed: can it be opened, and is it this repository's? */
static fx_code
open_key(
    const fx_options *options,
    const fx_keyring_change *change,
    fx_repository_key **out_key,
    fx_err *err)
{
    FX_AUTO(fx_repository_key) key = NULL;
    FX_AUTO(fx_repository) repository = NULL;
    if (fx_repository_key_of(change->keyring, change->opener, &key, err) != FX_OK) {
        return fx_err_wrap(err, "opening key file \"%.150s\"", options->key_file);
    }
    if (fx_repository_open(options->repo, key, &repository, err) != FX_OK) {
        return err->code;
    }
    *out_key = FX_TAKE(key);
    return FX_OK;
}

/*
 * `key` is the one of before. Where the step took away what opens the keyring here, it still signs:
 * then there are no new versions either.
 */
static fx_code
save(
    const fx_options *options, fx_keyring_change *change, const fx_repository_key *key, fx_err *err)
{
    FX_AUTO(fx_repository_key) fresh = NULL;
    fx_err ignored = {0};
    bool is_open = fx_repository_key_of(change->keyring, change->opener, &fresh, &ignored) == FX_OK;
    if (fx_keyring_edit_save(&change->edit, change->keyring, err) != FX_OK) {
        return err->code;
    }
    return fx_repository_publish(options->repo, is_open ? fresh : key, err) == FX_OK
               ? FX_OK
               : fx_err_wrap(
                     err,
                     "the key file is changed; tell the repository with \"fortress-agent key "
                     "publish\"");
}

static fx_code
run_change(const fx_options *options, fx_keyring_step step, fx_err *err)
{
    FX_AUTO(fx_repository_key) key = NULL;
    fx_keyring_change change = {.keyring = NULL};
    if (fx_keyring_change_begin(options, &change, err) != FX_OK) {
        return err->code;
    }
    fx_code code = open_key(options, &change, &key, err);
    if (code == FX_OK) {
        code = step(options, &change, err);
    }
    if (code == FX_OK) {
        code = save(options, &change, key, err);
    }
    fx_keyring_change_end(&change);
    return code;
}

int
fx_keyring_change_verb(
    int argc, char **argv, const fx_usage *usage, fx_keyring_step step, const char *done)
{
    fx_options options;
    fx_report report;
    fx_err err = {0};
    int status = 0;
    if (!fx_options_read(argc, argv, usage, &options, &status)) {
        return status;
    }
    fx_report_init(&report, options.is_json);
    if (run_change(&options, step, &err) == FX_OK && !options.is_json) {
        (void)printf("%s\n", done);
    }
    return fx_report_end(&report, &err, NULL);
}
