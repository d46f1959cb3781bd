#include "agent/source/files/files.h"

#include "agent/source/files/walk.h"
#include "common/base/clock.h"
#include "common/json/json.h"
#include "common/repository/tags.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { PATHS_MAX = 4096, NOTED_WARNINGS_MAX = 3 };

/* The chosen paths, resolved. */
typedef struct choice {
    char **paths;
    size_t count;
} choice;

/* Passes events on and keeps the first warnings for the snapshot's note. */
typedef struct noting {
    const fx_events *events;
    uint32_t warning_count;
    char warnings[NOTED_WARNINGS_MAX][200];
} noting;

static void
choice_deinit(choice *chosen)
{
    for (size_t index = 0; index < chosen->count; index++) {
        free(chosen->paths[index]);
    }
    free(chosen->paths);
}

static void
note_warning(void *ctx, const char *path, const char *reason)
{
    noting *notes = ctx;
    if (notes->warning_count < NOTED_WARNINGS_MAX) {
        char *text = notes->warnings[notes->warning_count];
        (void)snprintf(text, sizeof notes->warnings[0], "%.120s: %s", path, reason);
    }
    notes->warning_count++;
    fx_events_warn(notes->events, path, reason);
}

static void
pass_progress(void *ctx, const fx_progress *progress)
{
    const noting *notes = ctx;
    fx_events_progress(notes->events, progress);
}

static int
compare_texts(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static bool
lies_in(const char *path, const char *folder)
{
    size_t length = strcmp(folder, "/") == 0 ? 0 : strlen(folder);
    return strncmp(path, folder, length) == 0 && (path[length] == '\0' || path[length] == '/');
}

/* Sorted, and without those that lie in others. */
static void
tidy_choice(choice *chosen)
{
    size_t kept = 0;
    qsort(chosen->paths, chosen->count, sizeof *chosen->paths, compare_texts);
    for (size_t index = 0; index < chosen->count; index++) {
        bool is_covered = false;
        for (size_t other = 0; other < kept && !is_covered; other++) {
            is_covered = lies_in(chosen->paths[index], chosen->paths[other]);
        }
        if (is_covered) {
            free(chosen->paths[index]);
        } else {
            chosen->paths[kept++] = chosen->paths[index];
        }
    }
    chosen->count = kept;
}

/* A path that is not there is a warning as long as another one is. */
static fx_code
choose(const fx_backup_options *options, noting *notes, choice *out_chosen, fx_err *err)
{
    if (options->what_count == 0 || options->what_count > PATHS_MAX) {
        return fx_fail(
            err, FX_ERR_INVALID, "could not back up: give between 1 and %d paths", PATHS_MAX);
    }
    out_chosen->paths = calloc(options->what_count, sizeof *out_chosen->paths);
    FX_ASSERT(out_chosen->paths != NULL);
    for (size_t index = 0; index < options->what_count; index++) {
        fx_err reason = {0};
        char *resolved = realpath(options->what[index], NULL);
        if (resolved != NULL) {
            out_chosen->paths[out_chosen->count++] = resolved;
            continue;
        }
        fx_ignore(
            fx_fail_errno(&reason, errno, "could not find \"%.180s\"", options->what[index]),
            "a warning while another path is there");
        note_warning(notes, options->what[index], reason.message);
        if (out_chosen->count == 0 && index + 1 == options->what_count) {
            *err = reason;
            return fx_err_wrap(err, "nothing was backed up");
        }
    }
    tidy_choice(out_chosen);
    return FX_OK;
}

/* "files:" and the name, or the paths where there is none. */
static fx_code
name_source(const char *name, const choice *chosen, fx_snapshot *snapshot, fx_err *err)
{
    size_t used = (size_t)snprintf(
        snapshot->source, sizeof snapshot->source, "files:%s", name == NULL ? "" : name);
    for (size_t index = 0; name == NULL && index < chosen->count; index++) {
        if (used < sizeof snapshot->source) {
            used += (size_t)snprintf(
                snapshot->source + used,
                sizeof snapshot->source - used,
                "%s%s",
                index == 0 ? "" : ",",
                chosen->paths[index]);
        }
    }
    if (used >= sizeof snapshot->source) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not back up: the data set's name is too long; give one of at "
            "most %zu bytes",
            sizeof snapshot->source - 7);
    }
    return FX_OK;
}

static void
write_note(const choice *chosen, const noting *notes, fx_snapshot *snapshot)
{
    FX_AUTO(fx_json) note = fx_json_object();
    fx_json *paths = fx_json_array();
    for (size_t index = 0; index < chosen->count && index < 16; index++) {
        fx_json_append(paths, fx_json_text_new(chosen->paths[index]));
    }
    fx_json_set(note, "paths", paths);
    if (notes->warning_count > 0) {
        fx_json *warnings = fx_json_array();
        for (size_t index = 0; index < notes->warning_count && index < NOTED_WARNINGS_MAX;
             index++) {
            fx_json_append(warnings, fx_json_text_new(notes->warnings[index]));
        }
        fx_json_set(note, "first_warnings", warnings);
    }
    fx_err err = {0};
    FX_BUF_AUTO text;
    fx_buf_init(&text, sizeof snapshot->note - 1);
    if (fx_json_print(note, 0, &text, &err) == FX_OK) {
        (void)snprintf(snapshot->note, sizeof snapshot->note, "%s", fx_buf_text(&text));
    }
}

/* false: there is none to use, which costs time only; with `notes` that is a warning. */
static bool
find_parent(
    fx_repository *repository,
    const fx_snapshot *snapshot,
    noting *notes,
    fx_snapshot *out_parent,
    fx_root *out_root)
{
    fx_err reason = {0};
    fx_code code = fx_repository_find_parent(
        repository, snapshot->source, snapshot->host.text, out_parent, out_root, &reason);
    if (code != FX_OK && code != FX_ERR_NOT_FOUND && notes != NULL) {
        note_warning(notes, "the last snapshot", reason.message);
    }
    return code == FX_OK;
}

static fx_code
save_chosen(
    fx_repository *repository,
    const fx_backup_options *options,
    const choice *chosen,
    noting *notes,
    fx_snapshot *snapshot,
    fx_err *err)
{
    const fx_events events = {
        .ctx = notes,
        .progress = pass_progress,
        .warning = note_warning,
        .cancel = notes->events == NULL ? NULL : notes->events->cancel,
    };
    FX_AUTO(fx_writer) writer = NULL;
    if (fx_writer_open(repository, &writer, err) != FX_OK) {
        return err->code;
    }
    fx_writer_keep_lists(writer);
    fx_snapshot parent;
    fx_root parent_root;
    /* Where all is read, the last one only tells how much that may be. */
    noting *told = options->read_all ? NULL : notes;
    bool has_last = find_parent(repository, snapshot, told, &parent, &parent_root);
    bool has_parent = has_last && !options->read_all;
    fx_walk_request request = {
        .writer = writer,
        .events = &events,
        .paths = chosen->paths,
        .path_count = chosen->count,
        .skip = options->skip,
        .skip_count = options->skip_count,
        .repository = repository,
        .parent_root = has_parent ? &parent_root : NULL,
        .parent_began = has_parent ? parent.began : (fx_wall){0},
        .expected_count = has_last ? parent.file_count : 0,
        .expected_bytes = has_last ? parent.size_bytes : 0,
    };
    fx_walk_result result;
    if (fx_walk(&request, &result, err) != FX_OK) {
        return err->code;
    }
    snapshot->ended = fx_clock_wall();
    snapshot->file_count = result.file_count;
    snapshot->size_bytes = result.size_bytes;
    snapshot->warning_count = notes->warning_count;
    write_note(chosen, notes, snapshot);
    return fx_writer_commit(writer, &result.root, snapshot, err);
}

fx_code
fx_backup_files(
    fx_repository *repository,
    const fx_backup_options *options,
    const fx_events *events,
    fx_snapshot *out_snapshot,
    fx_err *err)
{
    FX_ASSERT(options->host != NULL);
    fx_snapshot snapshot = {.began = fx_clock_wall(), .kind = "files"};
    noting notes = {.events = events};
    choice chosen = {0};
    fx_tags_copy(options->tags, snapshot.tags);
    fx_code code = fx_name_parse(options->host, "host", &snapshot.host, err);
    if (code == FX_OK) {
        code = choose(options, &notes, &chosen, err);
    }
    if (code == FX_OK) {
        code = name_source(options->name, &chosen, &snapshot, err);
    }
    if (code == FX_OK &&
        save_chosen(repository, options, &chosen, &notes, &snapshot, err) != FX_OK) {
        code = fx_err_wrap(err, "backing up %s", snapshot.source);
    }
    choice_deinit(&chosen);
    if (code == FX_OK) {
        *out_snapshot = snapshot;
    }
    return code;
}

const fx_source_driver fx_source_driver_files = {
    .kind = "files",
    .backup = fx_backup_files,
};
