#include "agent/verbs/session.h"

#include "common/base/file.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool
fx_session_cache_folder(char *out_path, size_t room_bytes)
{
    const char *named =
        getenv("FORTRESS_CACHE_DIR");             /* NOLINT(concurrency-mt-unsafe): one thread */
    const char *cache = getenv("XDG_CACHE_HOME"); /* NOLINT(concurrency-mt-unsafe) */
    const char *home = getenv("HOME");            /* NOLINT(concurrency-mt-unsafe) */
    int length = -1;
    if (named != NULL) {
        length = snprintf(out_path, room_bytes, "%s", named);
    } else if (cache != NULL && cache[0] == '/') {
        length = snprintf(out_path, room_bytes, "%s/fortress", cache);
    } else if (home != NULL && home[0] == '/' && access(home, W_OK) == 0) {
        length = snprintf(out_path, room_bytes, "%s/.cache/fortress", home);
    }
    fx_err ignored = {0};
    return length > 0 && (size_t)length < room_bytes &&
           fx_file_make_folder(out_path, 0700, &ignored) == FX_OK;
}

void
fx_session_use_cache(fx_session *session)
{
    char path[PATH_MAX];
    fx_err ignored = {0};
    if (fx_session_cache_folder(path, sizeof path)) {
        fx_ignore(
            fx_repository_use_cache(session->repository, path, &ignored), "it saves time only");
    }
}

fx_code
fx_session_load_key(const fx_options *options, fx_repository_key **out_key, fx_err *err)
{
    FX_AUTO(fx_repository_key) key = NULL;
    if (options->key_file == NULL) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not open the repository: name its key with --key-file or FORTRESS_KEY_FILE");
    }
    if (fx_repository_key_load(options->key_file, &key, err) != FX_OK ||
        (options->scope != NULL && fx_repository_key_select(key, options->scope, err) != FX_OK)) {
        return err->code;
    }
    *out_key = FX_TAKE(key);
    return FX_OK;
}

fx_code
fx_session_open(const fx_options *options, fx_session *out_session, fx_err *err)
{
    fx_session session = {0};
    if (fx_session_load_key(options, &session.key, err) != FX_OK) {
        return err->code;
    }
    if (fx_repository_open(options->repo, session.key, &session.repository, err) != FX_OK) {
        fx_repository_key_free(session.key);
        return err->code;
    }
    fx_repository_set_compression(session.repository, options->compression);
    *out_session = session;
    return FX_OK;
}

void
fx_session_close(fx_session *session)
{
    fx_repository_free(FX_TAKE(session->repository));
    fx_repository_key_free(FX_TAKE(session->key));
}

bool
fx_session_wants(const fx_options *options, const fx_snapshot *snapshot)
{
    const char *colon = strchr(snapshot->source, ':');
    const char *at = options->tags;
    fx_name tag;
    while (fx_tags_next(&at, &tag)) {
        if (!fx_tags_has(snapshot->tags, tag.text)) {
            return false;
        }
    }
    return (options->host == NULL || strcmp(snapshot->host.text, options->host) == 0) &&
           (options->source == NULL || strcmp(snapshot->source, options->source) == 0 ||
            (colon != NULL && strcmp(colon + 1, options->source) == 0));
}

fx_json *
fx_snapshot_json(const fx_snapshot *snapshot)
{
    char when[FX_WALL_TEXT_BYTES];
    fx_err err = {0};
    fx_json *json = fx_json_object();
    fx_json_set_text(json, "id", snapshot->id);
    fx_json_set_text(json, "host", snapshot->host.text);
    fx_json_set_text(json, "source", snapshot->source);
    fx_json_set_text(json, "kind", snapshot->kind);
    fx_json *tags = fx_json_array();
    const char *at = snapshot->tags;
    fx_name tag;
    while (fx_tags_next(&at, &tag)) {
        fx_json_append(tags, fx_json_text_new(tag.text));
    }
    fx_json_set(json, "tags", tags);
    fx_wall_format(snapshot->began, when);
    fx_json_set_text(json, "began", when);
    fx_wall_format(snapshot->ended, when);
    fx_json_set_text(json, "ended", when);
    if (snapshot->stored.ns != 0) {
        fx_wall_format(snapshot->stored, when);
        fx_json_set_text(json, "stored", when);
    }
    fx_json_set_int(json, "file_count", (int64_t)snapshot->file_count);
    fx_json_set_int(json, "size_bytes", (int64_t)snapshot->size_bytes);
    fx_json_set_int(json, "added_bytes", (int64_t)snapshot->added_bytes);
    fx_json_set_int(json, "snapshot_warning_count", snapshot->warning_count);
    fx_json *note = NULL;
    if (snapshot->note[0] != '\0' &&
        fx_json_parse((fx_bytes){snapshot->note, strlen(snapshot->note)}, &note, &err) == FX_OK) {
        fx_json_set(json, "note", note);
    }
    return json;
}
