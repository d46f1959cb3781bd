#include "common/repository/scopes.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/keyring/manage.h"
#include "common/repository/internal.h"

fx_code
fx_repository_publish(const char *url, const fx_repository_key *key, fx_err *err)
{
    FX_AUTO(fx_repository) repository = NULL;
    if (fx_repository_open(url, NULL, &repository, err) != FX_OK) {
        return err->code;
    }
    FX_ASSERT(repository != NULL);
    return fx_publish_keys(repository->store, key, err);
}

/* ---- list ---------------------------------------------------------------------------------------
 */

/* Names of one scope stand together, by version and serial number. */
static fx_code
visit_scope(
    fx_store *store,
    const fx_key_name *names,
    size_t count,
    fx_scope_visit visit,
    void *ctx,
    fx_err *err)
{
    const fx_key_name *last = &names[count - 1];
    FX_AUTO(fx_key_object) object = NULL;
    fx_err one = {0};
    fx_code code = fx_key_object_load(store, last, &object, &one);
    if (code != FX_OK && code != FX_ERR_DAMAGED && code != FX_ERR_UNSUPPORTED) {
        *err = one;
        return code;
    }
    fx_scope_summary summary = {
        .id = last->scope, .version_count = last->version, .newest = object};
    if (fx_erasure_count_done(store, &last->scope, &summary.erasure_count, err) != FX_OK) {
        return err->code;
    }
    visit(ctx, &summary);
    return FX_OK;
}

fx_code
fx_repository_list_scopes(const char *url, fx_scope_visit visit, void *ctx, fx_err *err)
{
    FX_AUTO(fx_repository) repository = NULL;
    fx_key_names names = {0};
    if (fx_repository_open(url, NULL, &repository, err) != FX_OK) {
        return err->code;
    }
    FX_ASSERT(repository != NULL);
    fx_code code = fx_key_names_list(repository->store, "keys/", &names, err);
    size_t first = 0;
    for (size_t i = 0; code == FX_OK && i < names.count; i++) {
        bool is_last =
            i + 1 == names.count ||
            memcmp(&names.items[i].scope, &names.items[i + 1].scope, sizeof names.items[i].scope) !=
                0;
        if (is_last) {
            code =
                visit_scope(repository->store, &names.items[first], i + 1 - first, visit, ctx, err);
            first = i + 1;
        }
    }
    fx_key_names_free(&names);
    return code;
}

/* ---- erasing ------------------------------------------------------------------------------------
 */

static fx_code
need_published(fx_store *store, const fx_keyring_scope *scope, fx_err *err)
{
    fx_key_name first = {scope->id, 1, 1};
    FX_AUTO(fx_key_object) object = NULL;
    fx_err one = {0};
    fx_code code = fx_key_object_load(store, &first, &object, &one);
    if (code == FX_ERR_NOT_FOUND) {
        return fx_fail(
            err,
            FX_ERR_WRONG_KEY,
            "could not erase scope \"%s\": the repository does not have it",
            scope->label.text);
    }
    if (code == FX_ERR_DAMAGED || code == FX_ERR_UNSUPPORTED) {
        return FX_OK;
    }
    if (code != FX_OK) {
        *err = one;
    }
    return code;
}

static fx_code
describe(
    fx_repository *repository,
    const fx_keyring *keyring,
    const fx_keyring_scope *scope,
    fx_erasure **out_erasure,
    fx_err *err)
{
    return need_published(repository->store, scope, err) == FX_OK
               ? fx_erasure_describe(repository->store, keyring, scope, out_erasure, err)
               : err->code;
}

fx_code
fx_repository_describe_scope(
    const char *url,
    const fx_keyring *keyring,
    const fx_keyring_scope *scope,
    fx_erasure **out_erasure,
    fx_err *err)
{
    FX_AUTO(fx_repository) repository = NULL;
    return fx_repository_open(url, NULL, &repository, err) == FX_OK
               ? describe(repository, keyring, scope, out_erasure, err)
               : err->code;
}

static void
note_place(fx_erasure *erasure, const fx_keyring_edit *edit)
{
    char host[sizeof erasure->host] = "";
    if (gethostname(host, sizeof host - 1) != 0) {
        host[0] = '\0';
    }
    (void)snprintf(erasure->host, sizeof erasure->host, "%s", host);
    (void)snprintf(erasure->key_file, sizeof erasure->key_file, "%s", edit->path);
    erasure->at = fx_clock_wall();
}

/* First the record that it will be done, signed while that can be; then the keys. */
static fx_code
destroy(
    fx_store *store,
    const fx_erase_request *request,
    fx_keyring_scope *scope,
    fx_erasure *erasure,
    fx_err *err)
{
    if (fx_keyring_erase(request->keyring, request->opener, scope, err) != FX_OK ||
        fx_erasure_put(store, erasure, scope->sign, err) != FX_OK ||
        fx_keyring_edit_save(request->edit, request->keyring, err) != FX_OK) {
        return fx_err_wrap(err, "erasing scope \"%s\"", scope->label.text);
    }
    return FX_OK;
}

fx_code
fx_repository_erase_scope(const fx_erase_request *request, fx_erasure **out_erasure, fx_err *err)
{
    FX_AUTO(fx_repository) repository = NULL;
    FX_AUTO(fx_erasure) erasure = NULL;
    fx_keyring_scope *scope = fx_keyring_find_scope(request->keyring, request->scope);
    if (scope == NULL) {
        return fx_fail(
            err,
            FX_ERR_NOT_FOUND,
            "could not erase scope \"%.80s\": the key file has none of that name",
            request->scope);
    }
    if (fx_repository_open(request->url, NULL, &repository, err) != FX_OK ||
        describe(repository, request->keyring, scope, &erasure, err) != FX_OK) {
        return err->code;
    }
    FX_ASSERT(erasure != NULL);
    note_place(erasure, request->edit);
    if (scope->state != FX_SCOPE_ERASING &&
        destroy(repository->store, request, scope, erasure, err) != FX_OK) {
        return err->code;
    }
    erasure->is_done = true;
    note_place(erasure, request->edit);
    if (fx_erasure_put(repository->store, erasure, scope->sign, err) != FX_OK) {
        return fx_err_wrap(
            err, "the keys of \"%s\" are destroyed; erase again to record it", scope->label.text);
    }
    fx_keyring_finish_erasing(scope);
    if (fx_keyring_edit_save(request->edit, request->keyring, err) != FX_OK) {
        return fx_err_wrap(err, "erasing scope \"%s\"", scope->label.text);
    }
    *out_erasure = FX_TAKE(erasure);
    return FX_OK;
}
