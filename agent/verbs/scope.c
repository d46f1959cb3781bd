/* fortress-agent scope …: what a repository keeps apart, so that each can be given away or erased
 */
#include "agent/verbs/exit_code.h"
#include "agent/verbs/keyring.h"
#include "agent/verbs/report.h"
#include "agent/verbs/verb.h"
#include "common/keyring/manage.h"

#include <string.h>

#define COMMON_OPTIONS                                                                             \
    "  --repo URL        a path or posix:PATH; or FORTRESS_REPO\n"                                 \
    "  --key-file FILE   the key file; or FORTRESS_KEY_FILE\n"                                     \
    "  --json            events as JSON, one a line\n"

static const fx_usage create_usage = {
    .text = "Usage: fortress-agent scope create NAME [OPTION…]\n"
            "Adds a scope with keys of its own to the key file and the repository, for the\n"
            "recipients of the key file's first scope. Back up into it with --scope NAME.\n"
            "\n" COMMON_OPTIONS,
    .accepts = "",
    .rest_min = 1,
    .rest_max = 1,
};

static const fx_usage list_usage = {
    .text =
        "Usage: fortress-agent scope list [OPTION…]\n"
        "Lists the scopes that a repository tells of. Needs no key; with a key file, says which\n"
        "of them it has.\n"
        "\n" COMMON_OPTIONS,
    .accepts = "",
};

static const fx_usage erase_usage = {
    .text =
        "Usage: fortress-agent scope erase NAME --yes [OPTION…]\n"
        "Destroys the private keys of a scope in the key file, for ever: nothing of the scope can\n"
        "be restored then, from any copy of the repository. Records that in the repository, with\n"
        "all who had keys and what is out of reach. Without --yes it only shows that. Repeat it "
        "on\n"
        "every copy of the key file: each is a confirmation more.\n"
        "\n"
        "  --yes             do it\n" COMMON_OPTIONS,
    .accepts = "yes ",
    .rest_min = 1,
    .rest_max = 1,
};

/* ---- create -------------------------------------------------------------------------------------
 */

static fx_code
create(const fx_options *options, fx_keyring_change *change, fx_err *err)
{
    fx_name label;
    return fx_name_parse(options->rest[0], "scope", &label, err) == FX_OK
               ? fx_keyring_create_scope(change->keyring, &label, err)
               : err->code;
}

int
fx_verb_scope_create(int argc, char **argv)
{
    return fx_keyring_change_verb(
        argc, argv, &create_usage, create, "The scope is ready. Keep copies of the key file.");
}

/* ---- list ---------------------------------------------------------------------------------------
 */

typedef struct listing {
    fx_report *report;
    const fx_keyring *keyring; /* NULL: none given */
    int64_t count;
} listing;

static void
list_recipients(const fx_key_object *object, char *out_text, size_t room_bytes)
{
    size_t used = 0;
    out_text[0] = '\0';
    for (size_t i = 0; object != NULL && i < object->recipient_count && used < room_bytes; i++) {
        int put = snprintf(
            out_text + used,
            room_bytes - used,
            "%s%s (%s)",
            i == 0 ? "" : ", ",
            object->recipients[i].label.text,
            object->recipients[i].kind);
        used += put < 0 ? 0 : (size_t)put;
    }
}

static void
on_scope(void *ctx, const fx_scope_summary *summary)
{
    listing *list = ctx;
    char hex[FX_SCOPE_ID_TEXT_BYTES];
    char recipients[1024];
    fx_scope_id_format(&summary->id, hex);
    list_recipients(summary->newest, recipients, sizeof recipients);
    const fx_keyring_scope *own =
        list->keyring == NULL ? NULL : fx_keyring_find_scope(list->keyring, hex);
    const char *label = summary->newest == NULL ? "?" : summary->newest->label.text;
    list->count++;
    if (list->report->is_json) {
        fx_json *event = fx_json_object();
        fx_json_set_text(event, "id", hex);
        fx_json_set_text(event, "label", label);
        fx_json_set_int(event, "version", summary->version_count);
        fx_json_set_text(event, "recipients", recipients);
        fx_json_set_int(event, "erasure_count", (int64_t)summary->erasure_count);
        fx_json_set_bool(event, "is_in_key_file", own != NULL);
        fx_json_set_bool(event, "is_damaged", summary->newest == NULL);
        fx_report_event(list->report, "scope", event);
        return;
    }
    (void)printf("%s  %-16s  version %u  ", hex, label, summary->version_count);
    if (summary->erasure_count > 0) {
        (void)printf("erased in %zu key files", summary->erasure_count);
    } else {
        fx_print_safe(stdout, summary->newest == NULL ? "its key object is damaged" : recipients);
    }
    (void)printf("%s\n", own == NULL ? "" : "  in this key file");
}

int
fx_verb_scope_list(int argc, char **argv)
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
    fx_json *summary = fx_json_object();
    if (options.key_file == NULL || fx_keyring_load(options.key_file, &keyring, &err) == FX_OK) {
        listing list = {.report = &report, .keyring = keyring};
        fx_ignore(
            fx_repository_list_scopes(options.repo, on_scope, &list, &err), "told at the end");
        fx_json_set_int(summary, "scope_count", list.count);
    }
    return fx_report_end(&report, &err, summary);
}

/* ---- erase --------------------------------------------------------------------------------------
 */

static fx_json *
holder_json(const fx_holder *holder)
{
    fx_json *json = fx_json_object();
    fx_json_set_text(json, "label", holder->label.text);
    fx_json_set_text(json, "kind", holder->kind);
    fx_json_set_text(json, "name", holder->name);
    fx_json_set_text(json, "state", holder->is_destroyed ? "destroyed" : "unconfirmed");
    fx_json_set_text(json, "note", holder->note);
    return json;
}

static void
show_erasure(fx_report *report, const fx_erasure *erasure, fx_json *summary)
{
    if (report->is_json) {
        char hex[FX_SCOPE_ID_TEXT_BYTES];
        fx_json *holders = fx_json_array();
        fx_json *beyond = fx_json_array();
        fx_scope_id_format(&erasure->scope, hex);
        for (size_t i = 0; i < erasure->holder_count; i++) {
            fx_json_append(holders, holder_json(&erasure->holders[i]));
        }
        for (size_t i = 0; fx_erasure_out_of_reach[i] != NULL; i++) {
            fx_json_append(beyond, fx_json_text_new(fx_erasure_out_of_reach[i]));
        }
        fx_json_set_text(summary, "scope", hex);
        fx_json_set_text(summary, "label", erasure->label.text);
        fx_json_set_bool(summary, "is_done", erasure->is_done);
        fx_json_set_int(summary, "record", erasure->serial);
        fx_json_set(summary, "holders", holders);
        fx_json_set(summary, "out_of_reach", beyond);
        return;
    }
    (void)printf("Who has or had keys of scope %s:\n", erasure->label.text);
    for (size_t i = 0; i < erasure->holder_count; i++) {
        const fx_holder *one = &erasure->holders[i];
        const char *state = one->is_destroyed ? "in this key file" : "unconfirmed";
        if (erasure->is_done && one->is_destroyed) {
            state = "destroyed in this key file";
        }
        (void)printf("  %s (%s): %s; it %s\n", one->label.text, one->kind, state, one->note);
    }
    (void)printf("Out of reach:\n");
    for (size_t i = 0; fx_erasure_out_of_reach[i] != NULL; i++) {
        (void)printf("  %s\n", fx_erasure_out_of_reach[i]);
    }
}

static fx_code
preview(const fx_options *options, fx_erasure **out_erasure, fx_err *err)
{
    FX_AUTO(fx_keyring) keyring = NULL;
    if (fx_keyring_named(options, err) != FX_OK ||
        fx_keyring_load(options->key_file, &keyring, err) != FX_OK) {
        return err->code;
    }
    FX_ASSERT(keyring != NULL);
    const fx_keyring_scope *scope = fx_keyring_find_scope(keyring, options->rest[0]);
    if (scope == NULL) {
        return fx_fail(
            err,
            FX_ERR_NOT_FOUND,
            "could not erase scope \"%.80s\": the key file has none of that name",
            options->rest[0]);
    }
    return fx_repository_describe_scope(options->repo, keyring, scope, out_erasure, err);
}

static fx_code
erase(const fx_options *options, fx_erasure **out_erasure, fx_err *err)
{
    fx_keyring_change change = {.keyring = NULL};
    if (fx_keyring_change_begin(options, &change, err) != FX_OK) {
        return err->code;
    }
    const fx_erase_request request = {
        .url = options->repo,
        .edit = &change.edit,
        .keyring = change.keyring,
        .opener = change.opener,
        .scope = options->rest[0],
    };
    fx_code code = fx_repository_erase_scope(&request, out_erasure, err);
    fx_keyring_change_end(&change);
    return code;
}

int
fx_verb_scope_erase(int argc, char **argv)
{
    fx_options options;
    fx_report report;
    fx_err err = {0};
    int status = 0;
    FX_AUTO(fx_erasure) erasure = NULL;
    if (!fx_options_read(argc, argv, &erase_usage, &options, &status)) {
        return status;
    }
    fx_report_init(&report, options.is_json);
    fx_json *summary = fx_json_object();
    fx_code code =
        options.is_confirmed ? erase(&options, &erasure, &err) : preview(&options, &erasure, &err);
    if (code == FX_OK) {
        FX_ASSERT(erasure != NULL);
        show_erasure(&report, erasure, summary);
        if (!options.is_confirmed) {
            fx_ignore(
                fx_fail(
                    &err,
                    FX_ERR_INVALID,
                    "scope \"%s\" was not erased: it cannot be undone; say --yes to do it",
                    erasure->label.text),
                "printed at the end");
        } else if (!options.is_json) {
            (void)printf(
                "The keys of scope %s are destroyed; record %u of it is in the repository.\n",
                erasure->label.text,
                erasure->serial);
        }
    }
    return fx_report_end(&report, &err, summary);
}
