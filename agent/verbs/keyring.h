/* What the verbs that change a key file have in common. */
#pragma once

#include "agent/verbs/options.h"
#include "common/repository/scopes.h"

typedef struct fx_keyring_change {
    fx_keyring_edit edit;
    fx_keyring *keyring;
    fx_opener *opener;
} fx_keyring_change;

/* Changes the keyring in memory. */
typedef fx_code (*fx_keyring_step)(
    const fx_options *options, fx_keyring_change *change, fx_err *err);

/* errors: INVALID (no key file named) */
FX_MUST_USE fx_code fx_keyring_named(const fx_options *options, fx_err *err);

/* The scope of --scope, else the only live one. errors: NOT_FOUND, INVALID (there are several) */
FX_MUST_USE fx_code fx_keyring_scope_of(
    const fx_keyring *keyring,
    const fx_options *options,
    fx_keyring_scope **out_scope,
    fx_err *err);

/* Opens the key file for changing it. errors: fx_keyring_edit_begin()'s, INVALID */
FX_MUST_USE fx_code
fx_keyring_change_begin(const fx_options *options, fx_keyring_change *out_change, fx_err *err);
void fx_keyring_change_end(fx_keyring_change *change);

/*
 * A whole verb: checks that the key file is the repository's, has `step` change the keyring, saves
 * it, tells the repository, and says `done`. Nothing is changed when the step fails. Gives the exit
 * code.
 */
int fx_keyring_change_verb(
    int argc, char **argv, const fx_usage *usage, fx_keyring_step step, const char *done);
