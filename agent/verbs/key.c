/* fortress-agent key …: the key file's recipients and key versions */
#include "agent/verbs/keyring.h"
#include "agent/verbs/report.h"
#include "agent/verbs/verb.h"
#include "common/base/hex.h"
#include "common/gpg/gpg.h"
#include "common/keyring/manage.h"
#include "common/keyring/vault.h"

#include <string.h>
#include <unistd.h>

#define REPO_OPTIONS                                                                               \
    "  --repo URL        the repository, which is told; or FORTRESS_REPO\n"                        \
    "  --key-file FILE   the key file; or FORTRESS_KEY_FILE\n"                                     \
    "  --json            events as JSON, one a line\n"                                             \
    "\n"                                                                                           \
    "What opens the key file comes from FORTRESS_PASSPHRASE_FILE (or _FD, or the terminal),\n"     \
    "FORTRESS_IDENTITY_FILE, GPG, or VAULT_ADDR with VAULT_TOKEN or VAULT_TOKEN_FILE.\n"

static const fx_usage list_usage = {
    .text = "Usage: fortress-agent key list --key-file FILE [--json]\n"
            "Lists the scopes of a key file, their key versions, and who can open them.\n"
            "\n"
            "  --key-file FILE   the key file; or FORTRESS_KEY_FILE\n"
            "  --json            events as JSON, one a line\n",
    .accepts = "",
    .without_repo = true,
};

static const fx_usage add_usage = {
    .text = "Usage: fortress-agent key add LABEL KIND [--scope NAME] [OPTION…]\n"
            "Wraps the private keys of all scopes (or one) for one more recipient.\n"
            "\n"
            "  --passphrase      from FORTRESS_NEW_PASSPHRASE_FILE (or _FD), else\n"
            "                    FORTRESS_PASSPHRASE_FILE (or _FD), else asked at the terminal\n"
            "  --x25519 PUBLIC   a public key of 64 digits, as \"key identity\" prints it\n"
            "  --gpg KEY         a fingerprint, key id or address in the GPG of this user\n"
            "  --vault NAME      a key of Vault's transit engine\n"
            "  --plain           whoever may read the key file\n"
            "  --scope NAME      only this scope\n" REPO_OPTIONS,
    .accepts = "passphrase x25519 gpg vault plain scope ",
    .rest_min = 1,
    .rest_max = 1,
};

static const fx_usage remove_usage = {
    .text = "Usage: fortress-agent key remove LABEL [--scope NAME] [OPTION…]\n"
            "Takes a recipient's wrapped keys out of the key file and overwrites the old file.\n"
            "Whoever has a copy from before still opens what was written so far: \"key rotate\"\n"
            "then shuts it out of what follows.\n"
            "\n"
            "  --scope NAME      only of this scope\n" REPO_OPTIONS,
    .accepts = "scope ",
    .rest_min = 1,
    .rest_max = 1,
};

static const fx_usage rotate_usage = {
    .text = "Usage: fortress-agent key rotate [--scope NAME] [OPTION…]\n"
            "Makes a new key version, for the same recipients, for what is written from now on.\n"
            "Older versions stay; nothing is uploaded again. Give the new key file to all who\n"
            "read, and export again for hosts that can only write.\n"
            "\n"
            "  --scope NAME      needed where the key file has several\n" REPO_OPTIONS,
    .accepts = "scope ",
};

static const fx_usage publish_usage = {
    .text = "Usage: fortress-agent key publish [OPTION…]\n"
            "Tells a repository what it does not know of the key file's scopes yet: their names,\n"
            "public keys and recipients.\n"
            "\n" REPO_OPTIONS,
    .accepts = "",
};

static const fx_usage export_usage = {
    .text =
        "Usage: fortress-agent key export --write-only --out FILE [OPTION…]\n"
        "Makes a key file that can write to a scope and read nothing, for a host that must not\n"
        "give its past away.\n"
        "\n"
        "  --out FILE        the key file to make (mode 0600)\n"
        "  --name LABEL      what to note it as, else this host's name\n"
        "  --scope NAME      needed where the key file has several\n" REPO_OPTIONS,
    .accepts = "write-only out name scope ",
};

static const fx_usage identity_usage = {
    .text = "Usage: fortress-agent key identity --out FILE [--json]\n"
            "Makes an X25519 identity (mode 0600) and prints its public key, for \"key add "
            "--x25519\".\n"
            "\n"
            "  --out FILE        the identity file to make\n",
    .accepts = "out ",
    .without_repo = true,
};

/* ---- list ---------------------------------------------------------------------------------------
 */

static const char *
state_name(fx_scope_state state)
{
    static const char *const names[] = {"live", "write-only", "erasing", "erased"};
    return names[state];
}

static fx_json *
version_json(const fx_key_version *version)
{
    char when[FX_WALL_TEXT_BYTES];
    fx_json *json = fx_json_object();
    fx_json *recipients = fx_json_array();
    fx_wall_format(version->created, when);
    fx_json_set_int(json, "version", version->number);
    fx_json_set_text(json, "created", when);
    for (size_t i = 0; i < version->wrap_count; i++) {
        fx_json_append(recipients, fx_json_text_new(version->wraps[i].recipient.text));
    }
    fx_json_set(json, "recipients", recipients);
    return json;
}

static void
show_scope(fx_report *report, const fx_keyring *keyring, const fx_keyring_scope *scope)
{
    char hex[FX_SCOPE_ID_TEXT_BYTES];
    fx_scope_id_format(&scope->id, hex);
    if (report->is_json) {
        fx_json *event = fx_json_object();
        fx_json *versions = fx_json_array();
        fx_json_set_text(event, "id", hex);
        fx_json_set_text(event, "label", scope->label.text);
        fx_json_set_text(event, "state", state_name(scope->state));
        for (size_t i = 0; i < scope->version_count; i++) {
            fx_json_append(versions, version_json(&scope->versions[i]));
        }
        fx_json_set(event, "versions", versions);
        fx_report_event(report, "scope", event);
        return;
    }
    (void)printf("scope %s  %s  %s\n", hex, scope->label.text, state_name(scope->state));
    for (size_t i = 0; i < scope->version_count; i++) {
        char when[FX_WALL_TEXT_BYTES];
        char recipients[FX_RECIPIENTS_TEXT_BYTES];
        fx_wall_format(scope->versions[i].created, when);
        fx_keyring_list_recipients(keyring, &scope->versions[i], recipients);
        (void)printf("  version %u  %.19sZ  %s\n", scope->versions[i].number, when, recipients);
    }
    for (size_t i = 0; i < scope->export_count; i++) {
        char when[FX_WALL_TEXT_BYTES];
        fx_wall_format(scope->exports[i].created, when);
        (void)printf("  write-only  %.19sZ  %s\n", when, scope->exports[i].label.text);
    }
}

static void
show_recipient(fx_report *report, const fx_recipient *recipient)
{
    char key[FX_RECIPIENT_NAME_BYTES];
    bool is_here = fx_wrap_is_available(recipient);
    (void)snprintf(key, sizeof key, "%s", recipient->name);
    if (recipient->kind == FX_RECIPIENT_X25519) {
        fx_hex_encode((fx_bytes){recipient->public_key, sizeof recipient->public_key}, key);
    }
    if (report->is_json) {
        fx_json *event = fx_json_object();
        fx_json_set_text(event, "label", recipient->label.text);
        fx_json_set_text(event, "kind", fx_recipient_kind_name(recipient->kind));
        fx_json_set_text(event, "key", key);
        fx_json_set_bool(event, "is_here", is_here);
        fx_report_event(report, "recipient", event);
        return;
    }
    (void)printf(
        "recipient %s  %s  %s%s%s\n",
        recipient->label.text,
        fx_recipient_kind_name(recipient->kind),
        key,
        key[0] == '\0' ? "" : "  ",
        is_here ? "can be tried here" : "not here");
}

int
fx_verb_key_list(int argc, char **argv)
{
    fx_options options;
    fx_report report;
    fx_err err = {0};
    int status = 0;
    FX_AUTO(fx_keyring) keyring = NULL;
    if (!fx_options_read(argc, argv, &list_usage, &options, &status)) {
        return status;
    }
    fx_report_init(&report, options.is_json);
    if (fx_keyring_named(&options, &err) == FX_OK &&
        fx_keyring_load(options.key_file, &keyring, &err) == FX_OK) {
        FX_ASSERT(keyring != NULL);
        for (size_t i = 0; i < keyring->scope_count; i++) {
            show_scope(&report, keyring, &keyring->scopes[i]);
        }
        for (size_t i = 0; i < keyring->recipient_count; i++) {
            show_recipient(&report, &keyring->recipients[i]);
        }
    }
    return fx_report_end(&report, &err, NULL);
}

/* ---- recipients ---------------------------------------------------------------------------------
 */

/* What --passphrase, --x25519 … say. */
static fx_code
make_recipient(const fx_options *options, fx_recipient *out_recipient, fx_err *err)
{
    fx_recipient one = {0};
    const char *kind = options->recipient_kind;
    if (fx_name_parse(options->rest[0], "recipient", &one.label, err) != FX_OK) {
        return err->code;
    }
    fx_code code = FX_OK;
    if (kind == NULL) {
        code = fx_fail(
            err,
            FX_ERR_INVALID,
            "could not add a recipient: say of which kind, with --passphrase, --x25519, --gpg, "
            "--vault or --plain");
    } else if (strcmp(kind, "passphrase") == 0) {
        code = fx_recipient_of_passphrase(&one.label, &one, err);
    } else if (strcmp(kind, "x25519") == 0) {
        one.kind = FX_RECIPIENT_X25519;
        code = fx_hex_decode(options->recipient, one.public_key, sizeof one.public_key, err);
        code = code == FX_OK ? FX_OK : fx_err_wrap(err, "reading the X25519 public key");
    } else if (strcmp(kind, "gpg") == 0) {
        char fingerprint[FX_GPG_FINGERPRINT_BYTES];
        one.kind = FX_RECIPIENT_GPG;
        code = fx_gpg_find(options->recipient, fingerprint, err);
        (void)snprintf(one.name, sizeof one.name, "%s", code == FX_OK ? fingerprint : "");
    } else if (strcmp(kind, "vault") == 0) {
        one.kind = FX_RECIPIENT_VAULT;
        if (!fx_vault_is_key_name(options->recipient) ||
            strlen(options->recipient) >= sizeof one.name) {
            code = fx_fail(
                err,
                FX_ERR_INVALID,
                "could not use \"%.80s\" as a transit key's name",
                options->recipient);
        }
        (void)snprintf(one.name, sizeof one.name, "%s", options->recipient);
    }
    if (code == FX_OK) {
        *out_recipient = one;
    }
    return code;
}

static fx_code
add(const fx_options *options, fx_keyring_change *change, fx_err *err)
{
    fx_recipient recipient;
    fx_keyring_scope *scope = NULL;
    if (make_recipient(options, &recipient, err) != FX_OK ||
        (options->scope != NULL &&
         fx_keyring_scope_of(change->keyring, options, &scope, err) != FX_OK)) {
        return err->code;
    }
    return fx_keyring_grant(change->keyring, change->opener, &recipient, scope, err);
}

static fx_code
take_away(const fx_options *options, fx_keyring_change *change, fx_err *err)
{
    fx_name label;
    fx_keyring_scope *scope = NULL;
    if (fx_name_parse(options->rest[0], "recipient", &label, err) != FX_OK ||
        (options->scope != NULL &&
         fx_keyring_scope_of(change->keyring, options, &scope, err) != FX_OK)) {
        return err->code;
    }
    return fx_keyring_revoke(change->keyring, &label, scope, err);
}

static fx_code
rotate(const fx_options *options, fx_keyring_change *change, fx_err *err)
{
    fx_keyring_scope *scope = NULL;
    return fx_keyring_scope_of(change->keyring, options, &scope, err) == FX_OK
               ? fx_keyring_rotate(change->keyring, change->opener, scope, err)
               : err->code;
}

/* The new file first: nothing is noted of an export that does not exist. */
static fx_code
export_write_only(const fx_options *options, fx_keyring_change *change, fx_err *err)
{
    fx_name label;
    fx_keyring_scope *scope = NULL;
    FX_AUTO(fx_keyring) exported = NULL;
    char host[FX_NAME_MAX_BYTES + 1] = "";
    if (gethostname(host, sizeof host - 1) != 0) {
        host[0] = '\0';
    }
    if (!options->write_only || options->out == NULL) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not export: say --write-only and --out FILE; whole key files are copied");
    }
    if (fx_name_parse(options->name == NULL ? host : options->name, "name", &label, err) != FX_OK ||
        fx_keyring_scope_of(change->keyring, options, &scope, err) != FX_OK ||
        fx_keyring_export(change->keyring, change->opener, scope, &label, &exported, err) !=
            FX_OK) {
        return err->code;
    }
    return fx_keyring_create(options->out, exported, err);
}

static fx_code
leave(const fx_options *options, fx_keyring_change *change, fx_err *err)
{
    (void)options;
    (void)change;
    (void)err;
    return FX_OK;
}

int
fx_verb_key_add(int argc, char **argv)
{
    return fx_keyring_change_verb(argc, argv, &add_usage, add, "The recipient was added.");
}

int
fx_verb_key_remove(int argc, char **argv)
{
    return fx_keyring_change_verb(
        argc,
        argv,
        &remove_usage,
        take_away,
        "The recipient was removed. Older copies of the key file are as before.");
}

int
fx_verb_key_rotate(int argc, char **argv)
{
    return fx_keyring_change_verb(
        argc,
        argv,
        &rotate_usage,
        rotate,
        "There is a new key version. Give the key file to all who read, and export it again for\n"
        "hosts that can only write.");
}

int
fx_verb_key_publish(int argc, char **argv)
{
    return fx_keyring_change_verb(
        argc, argv, &publish_usage, leave, "The repository knows the key file.");
}

int
fx_verb_key_export(int argc, char **argv)
{
    return fx_keyring_change_verb(
        argc,
        argv,
        &export_usage,
        export_write_only,
        "The exported key file can write and read nothing.");
}

/* ---- identity -----------------------------------------------------------------------------------
 */

static fx_code
make_identity(const fx_options *options, char out_public[2 * FX_BOX_KEY_BYTES + 1], fx_err *err)
{
    enum { IDENTITY_MAX_BYTES = 1024 };
    unsigned char private_key[FX_BOX_KEY_BYTES];
    unsigned char public_key[FX_BOX_KEY_BYTES];
    FX_BUF_AUTO text;
    fx_buf_init(&text, IDENTITY_MAX_BYTES);
    fx_buf_reserve(&text, IDENTITY_MAX_BYTES);
    if (options->out == NULL) {
        return fx_fail(err, FX_ERR_INVALID, "could not make an identity: say --out FILE");
    }
    fx_box_key_pair(private_key, public_key);
    fx_code code = fx_identity_print(private_key, &text, err);
    if (code == FX_OK) {
        code = fx_secret_file_create(options->out, fx_buf_bytes(&text), err);
    }
    fx_wipe(private_key, sizeof private_key);
    fx_wipe(text.data, text.capacity_bytes);
    fx_hex_encode((fx_bytes){public_key, sizeof public_key}, out_public);
    return code;
}

int
fx_verb_key_identity(int argc, char **argv)
{
    fx_options options;
    fx_report report;
    fx_err err = {0};
    int status = 0;
    char public_key[2 * FX_BOX_KEY_BYTES + 1];
    if (!fx_options_read(argc, argv, &identity_usage, &options, &status)) {
        return status;
    }
    fx_report_init(&report, options.is_json);
    fx_json *summary = fx_json_object();
    if (make_identity(&options, public_key, &err) == FX_OK) {
        fx_json_set_text(summary, "public_key", public_key);
        if (!options.is_json) {
            (void)printf("%s\n", public_key);
        }
    }
    return fx_report_end(&report, &err, summary);
}
