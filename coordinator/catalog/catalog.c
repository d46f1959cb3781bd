#include "coordinator/catalog/catalog.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/sql/sql.h"

enum { PATH_MAX_BYTES = 4096, URL_MAX_BYTES = 1024, BUSY_MAX_MS = 5000 };

typedef struct place {
    fx_name name;
    char url[URL_MAX_BYTES];
} place;

struct fx_catalog {
    char path[PATH_MAX_BYTES];
    const fx_log *log;
    place places[FX_CATALOG_REPOSITORY_MAX];
    size_t place_count;
    pthread_mutex_t refreshing; /* taken before `lock`, never after */
    pthread_mutex_t lock;       /* guards the two below */
    fx_sql *sql;                /* NULL: could not be made anew; tried again at the next refresh */
    fx_catalog_source sources[FX_CATALOG_REPOSITORY_MAX];
    /* of the loop's thread only */
    fx_loop *loop;
    fx_loop_timer *timer;
    bool working;
};

static const char *const migrations[] = {
    "CREATE TABLE snapshot ("
    " repository TEXT NOT NULL," /* '' while only a report tells of it */
    " id TEXT NOT NULL,"
    " host TEXT NOT NULL,"
    " source TEXT NOT NULL,"
    " kind TEXT NOT NULL,"
    " began_ns INTEGER NOT NULL,"
    " ended_ns INTEGER NOT NULL,"
    " file_count INTEGER NOT NULL,"
    " size_bytes INTEGER NOT NULL,"
    " added_bytes INTEGER NOT NULL,"
    " warning_count INTEGER NOT NULL,"
    " note TEXT NOT NULL,"
    " noted_ns INTEGER NOT NULL," /* when a report told of it, else 0 */
    " PRIMARY KEY (id, repository)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX snapshot_by_source ON snapshot (host, source, began_ns);"
    "CREATE INDEX snapshot_by_time ON snapshot (began_ns);"
    "CREATE INDEX snapshot_by_repository ON snapshot (repository);",
};

/* ---- the file
 * ------------------------------------------------------------------------------------ */

static fx_code
open_file(const fx_catalog *catalog, fx_sql **out_sql, fx_err *err)
{
    FX_AUTO(fx_sql) sql = NULL;
    fx_code code = fx_sql_open(catalog->path, FX_DUR_MS(BUSY_MAX_MS), &sql, err);
    if (code == FX_OK) {
        code = fx_sql_check(sql, err);
    }
    if (code == FX_OK) {
        code = fx_sql_migrate(sql, migrations, sizeof migrations / sizeof migrations[0], err);
    }
    if (code == FX_OK) {
        *out_sql = FX_TAKE(sql);
    }
    return code;
}

static void
remove_files(const fx_catalog *catalog)
{
    static const char *const endings[] = {"", "-wal", "-shm"};
    char path[PATH_MAX_BYTES + 8];
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        (void)snprintf(path, sizeof path, "%s%s", catalog->path, endings[i]);
        (void)unlink(path); /* what cannot be removed fails the opening that follows */
    }
}

/* Nothing is lost: all of it is read again from the repositories. */
static fx_code
make_anew(fx_catalog *catalog, const fx_err *why, fx_err *err)
{
    FX_LOG(
        catalog->log,
        WARN,
        "catalog.rebuilt",
        FX_STR("path", catalog->path),
        FX_STR("reason", why->message));
    fx_sql_free(FX_TAKE(catalog->sql));
    remove_files(catalog);
    for (size_t i = 0; i < catalog->place_count; i++) { /* empty is not the same as no snapshots */
        catalog->sources[i] = (fx_catalog_source){.name = catalog->sources[i].name};
        (void)snprintf(
            catalog->sources[i].error,
            sizeof catalog->sources[i].error,
            "the catalog was made anew and the repository not read since");
    }
    fx_code code = open_file(catalog, &catalog->sql, err);
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "making the catalog anew");
}

static bool
is_beyond_use(const fx_err *err)
{
    return err->code == FX_ERR_DAMAGED || err->code == FX_ERR_UNSUPPORTED;
}

/* A damaged file is replaced at once, so that the next refresh can fill it. */
static fx_code
handle_failure(fx_catalog *catalog, fx_err *err)
{
    if (is_beyond_use(err)) {
        fx_err second;
        if (make_anew(catalog, err, &second) != FX_OK) {
            FX_LOG(catalog->log, ERROR, "catalog.failed", FX_ERR_FIELD(&second));
        }
    }
    return fx_err_wrap(err, "using the catalog \"%.160s\"", catalog->path);
}

/* Under the lock: a file that somebody removed would go on unseen until the process ends. */
static fx_code
ensure_file(fx_catalog *catalog, fx_err *err)
{
    if (catalog->sql != NULL && access(catalog->path, F_OK) == 0) {
        return FX_OK;
    }
    fx_err why;
    fx_ignore(
        fx_fail(&why, FX_ERR_NOT_FOUND, "the file is missing"), "only the reason that is logged");
    return make_anew(catalog, &why, err);
}

static fx_code
copy_places(const fx_catalog_options *options, fx_catalog *catalog, fx_err *err)
{
    if (options->repository_count > FX_CATALOG_REPOSITORY_MAX) {
        return fx_fail(
            err,
            FX_ERR_LIMIT,
            "could not use %zu repositories: at most %d",
            options->repository_count,
            (int)FX_CATALOG_REPOSITORY_MAX);
    }
    for (size_t i = 0; i < options->repository_count; i++) {
        place *to = &catalog->places[i];
        fx_code code =
            fx_name_parse(options->repositories[i].name, "a repository's name", &to->name, err);
        if (code != FX_OK) {
            return code;
        }
        int size_bytes = snprintf(to->url, sizeof to->url, "%s", options->repositories[i].url);
        if (size_bytes < 0 || (size_t)size_bytes >= sizeof to->url) {
            return fx_fail(
                err,
                FX_ERR_LIMIT,
                "could not use repository %s: its URL is too long",
                to->name.text);
        }
        catalog->sources[i].name = to->name;
    }
    catalog->place_count = options->repository_count;
    return FX_OK;
}

fx_code
fx_catalog_open(const fx_catalog_options *options, fx_catalog **out_catalog, fx_err *err)
{
    FX_AUTO(fx_catalog) catalog = calloc(1, sizeof *catalog);
    FX_ASSERT(catalog != NULL);
    FX_ASSERT(pthread_mutex_init(&catalog->lock, NULL) == 0);
    FX_ASSERT(pthread_mutex_init(&catalog->refreshing, NULL) == 0);
    catalog->log = options->log;
    int size_bytes = snprintf(catalog->path, sizeof catalog->path, "%s", options->path);
    if (size_bytes < 0 || (size_t)size_bytes >= sizeof catalog->path) {
        return fx_fail(err, FX_ERR_LIMIT, "could not use the catalog's path: it is too long");
    }
    fx_code code = copy_places(options, catalog, err);
    if (code != FX_OK) {
        return code;
    }
    if (access(catalog->path, F_OK) != 0) {
        FX_LOG(catalog->log, INFO, "catalog.created", FX_STR("path", catalog->path));
    }
    code = open_file(catalog, &catalog->sql, err);
    if (code != FX_OK && is_beyond_use(err)) {
        fx_err why = *err;
        code = make_anew(catalog, &why, err);
    }
    if (code != FX_OK) {
        return fx_err_wrap(err, "opening the catalog \"%.160s\"", catalog->path);
    }
    *out_catalog = FX_TAKE(catalog);
    return FX_OK;
}

void
fx_catalog_free(fx_catalog *catalog)
{
    if (catalog == NULL) {
        return;
    }
    FX_ASSERT(!catalog->working);
    fx_sql_free(catalog->sql);
    (void)pthread_mutex_destroy(&catalog->lock);
    (void)pthread_mutex_destroy(&catalog->refreshing);
    free(catalog);
}

/* ---- writing
 * ------------------------------------------------------------------------------------- */

static fx_code
run_with_text(fx_sql *sql, const char *text, const char *value, fx_err *err)
{
    FX_AUTO(fx_sql_statement) statement = NULL;
    fx_code code = fx_sql_prepare(sql, text, &statement, err);
    if (code != FX_OK) {
        return code;
    }
    bool row = false;
    fx_sql_bind_text(statement, 1, value);
    return fx_sql_step(statement, &row, err);
}

static void
bind_snapshot(
    fx_sql_statement *insert, const char *repository, const fx_snapshot *one, fx_wall noted)
{
    fx_sql_bind_text(insert, 1, repository);
    fx_sql_bind_text(insert, 2, one->id);
    fx_sql_bind_text(insert, 3, one->host.text);
    fx_sql_bind_text(insert, 4, one->source);
    fx_sql_bind_text(insert, 5, one->kind);
    fx_sql_bind_int(insert, 6, one->began.ns);
    fx_sql_bind_int(insert, 7, one->ended.ns);
    fx_sql_bind_int(insert, 8, (int64_t)one->file_count);
    fx_sql_bind_int(insert, 9, (int64_t)one->size_bytes);
    fx_sql_bind_int(insert, 10, (int64_t)one->added_bytes);
    fx_sql_bind_int(insert, 11, one->warning_count);
    fx_sql_bind_text(insert, 12, one->note);
    fx_sql_bind_int(insert, 13, noted.ns);
}

static const char insert_text[] =
    "INSERT OR REPLACE INTO snapshot (repository, id, host, source, kind, began_ns, ended_ns,"
    " file_count, size_bytes, added_bytes, warning_count, note, noted_ns)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

static fx_code
insert_all(fx_sql *sql, const char *repository, const fx_snapshot_list *list, fx_err *err)
{
    FX_AUTO(fx_sql_statement) insert = NULL;
    fx_code code = fx_sql_prepare(sql, insert_text, &insert, err);
    for (size_t i = 0; code == FX_OK && i < list->count; i++) {
        bool row = false;
        bind_snapshot(insert, repository, &list->items[i], (fx_wall){0});
        code = fx_sql_step(insert, &row, err);
        fx_sql_reset(insert);
    }
    return code;
}

static fx_code
replace_rows(fx_sql *sql, const char *repository, const fx_snapshot_list *list, fx_err *err)
{
    fx_code code = fx_sql_run(sql, "BEGIN IMMEDIATE", err);
    if (code != FX_OK) {
        return code;
    }
    code = run_with_text(sql, "DELETE FROM snapshot WHERE repository = ?", repository, err);
    if (code == FX_OK) {
        code = insert_all(sql, repository, list, err);
    }
    if (code == FX_OK) { /* what a report told of early is known in full now */
        code = run_with_text(
            sql,
            "DELETE FROM snapshot WHERE repository = ''"
            " AND id IN (SELECT id FROM snapshot WHERE repository = ?)",
            repository,
            err);
    }
    if (code == FX_OK) {
        code = fx_sql_run(sql, "COMMIT", err);
    }
    if (code != FX_OK) {
        fx_err second;
        fx_ignore(fx_sql_run(sql, "ROLLBACK", &second), "the first failure is the one to report");
    }
    return code;
}

static void
note_success(fx_catalog_source *source, const fx_snapshot_list *list, size_t unreadable_count)
{
    fx_catalog_source now = {
        .name = source->name,
        .reachable = true,
        .read_at = fx_clock_wall(),
        .snapshot_count = list->count,
        .unreadable_count = unreadable_count,
    };
    for (size_t i = 0; i < list->count; i++) {
        now.added_bytes += list->items[i].added_bytes;
    }
    *source = now;
}

/* Logs once when a repository is lost, not at each attempt. */
static void
note_failure(fx_catalog *catalog, fx_catalog_source *source, const fx_err *err)
{
    if (source->reachable || source->error[0] == '\0') {
        FX_LOG(
            catalog->log,
            WARN,
            "catalog.repository_unreadable",
            FX_STR("repository", source->name.text),
            FX_ERR_FIELD(err));
    }
    source->reachable = false;
    (void)snprintf(source->error, sizeof source->error, "%s", err->message);
}

static fx_code
read_repository(const place *from, fx_snapshot_list *out_list, size_t *out_unreadable, fx_err *err)
{
    FX_AUTO(fx_repository) repository = NULL;
    fx_code code = fx_repository_open(from->url, NULL, &repository, err);
    if (code != FX_OK) {
        return code;
    }
    return fx_repository_list(repository, out_list, out_unreadable, err);
}

/* Fails only for the catalog's own sake; a repository that fails is noted. */
static fx_code
refresh_one(fx_catalog *catalog, size_t index, bool *out_read, fx_err *err)
{
    fx_snapshot_list list = {.items = NULL};
    size_t unreadable_count = 0;
    fx_err failure;
    bool read =
        read_repository(&catalog->places[index], &list, &unreadable_count, &failure) == FX_OK;
    fx_code code = FX_OK;
    (void)pthread_mutex_lock(&catalog->lock);
    if (!read) {
        note_failure(catalog, &catalog->sources[index], &failure);
    } else {
        code = ensure_file(catalog, err);
        if (code == FX_OK) {
            code = replace_rows(catalog->sql, catalog->places[index].name.text, &list, err);
            if (code != FX_OK) {
                code = handle_failure(catalog, err);
            }
        }
        if (code == FX_OK) {
            note_success(&catalog->sources[index], &list, unreadable_count);
        }
    }
    (void)pthread_mutex_unlock(&catalog->lock);
    fx_snapshot_list_free(&list);
    *out_read = read;
    return code;
}

/* A report's word that no repository confirms goes: agents repeat what is still true. */
static fx_code
forget_notes(fx_catalog *catalog, fx_wall before, fx_err *err)
{
    (void)pthread_mutex_lock(&catalog->lock);
    FX_AUTO(fx_sql_statement) statement = NULL;
    fx_code code = ensure_file(catalog, err);
    if (code == FX_OK) {
        code = fx_sql_prepare(
            catalog->sql,
            "DELETE FROM snapshot WHERE repository = '' AND noted_ns < ?",
            &statement,
            err);
    }
    if (code == FX_OK) {
        bool row = false;
        fx_sql_bind_int(statement, 1, before.ns);
        code = fx_sql_step(statement, &row, err);
        fx_sql_statement_free(FX_TAKE(statement));
        if (code != FX_OK) {
            code = handle_failure(catalog, err);
        }
    }
    (void)pthread_mutex_unlock(&catalog->lock);
    return code;
}

fx_code
fx_catalog_refresh(fx_catalog *catalog, fx_err *err)
{
    (void)pthread_mutex_lock(&catalog->refreshing);
    fx_wall began = fx_clock_wall();
    fx_code code = FX_OK;
    bool all_read = catalog->place_count > 0;
    for (size_t i = 0; i < catalog->place_count && code == FX_OK; i++) {
        bool read = false;
        code = refresh_one(catalog, i, &read, err);
        all_read = all_read && read;
    }
    if (code == FX_OK && all_read) {
        code = forget_notes(catalog, began, err);
    }
    (void)pthread_mutex_unlock(&catalog->refreshing);
    return code;
}

static fx_code
is_known(fx_sql *sql, const char *id, bool *out_known, fx_err *err)
{
    FX_AUTO(fx_sql_statement) query = NULL;
    fx_code code = fx_sql_prepare(
        sql, "SELECT 1 FROM snapshot WHERE id = ? AND repository <> ''", &query, err);
    if (code != FX_OK) {
        return code;
    }
    fx_sql_bind_text(query, 1, id);
    return fx_sql_step(query, out_known, err);
}

static fx_code
put_note(fx_sql *sql, const fx_snapshot *snapshot, fx_err *err)
{
    bool known = false;
    fx_code code = is_known(sql, snapshot->id, &known, err);
    if (code != FX_OK || known) {
        return code;
    }
    FX_AUTO(fx_sql_statement) insert = NULL;
    code = fx_sql_prepare(sql, insert_text, &insert, err);
    if (code != FX_OK) {
        return code;
    }
    bool row = false;
    bind_snapshot(insert, "", snapshot, fx_clock_wall());
    return fx_sql_step(insert, &row, err);
}

fx_code
fx_catalog_add_note(fx_catalog *catalog, const fx_catalog_note *note, fx_err *err)
{
    fx_snapshot snapshot = {
        .began = note->taken,
        .size_bytes = note->size_bytes,
        .warning_count = note->warning_count,
    };
    fx_code code = fx_name_parse(note->host, "a snapshot's host", &snapshot.host, err);
    if (code != FX_OK) {
        return code;
    }
    (void)snprintf(snapshot.id, sizeof snapshot.id, "%s", note->id);
    (void)snprintf(snapshot.source, sizeof snapshot.source, "%s", note->source);
    (void)snprintf(snapshot.kind, sizeof snapshot.kind, "%s", note->kind);
    (void)pthread_mutex_lock(&catalog->lock);
    code = ensure_file(catalog, err);
    if (code == FX_OK) {
        code = put_note(catalog->sql, &snapshot, err);
        if (code != FX_OK) {
            code = handle_failure(catalog, err);
        }
    }
    (void)pthread_mutex_unlock(&catalog->lock);
    return code;
}

/* ---- reading
 * ------------------------------------------------------------------------------------- */

#define COLUMNS                                                                                    \
    "id, repository, host, source, kind, began_ns, ended_ns, file_count, size_bytes, added_bytes," \
    " warning_count, note"

static void
copy_text(char *to, size_t size_bytes, const char *from)
{
    (void)snprintf(to, size_bytes, "%s", from);
}

static void
read_row(fx_sql_statement *query, fx_catalog_snapshot *out_entry)
{
    fx_snapshot *to = &out_entry->snapshot;
    *out_entry = (fx_catalog_snapshot){.snapshot = {.id = ""}};
    copy_text(to->id, sizeof to->id, fx_sql_text(query, 0));
    copy_text(out_entry->repository.text, sizeof out_entry->repository.text, fx_sql_text(query, 1));
    copy_text(to->host.text, sizeof to->host.text, fx_sql_text(query, 2));
    copy_text(to->source, sizeof to->source, fx_sql_text(query, 3));
    copy_text(to->kind, sizeof to->kind, fx_sql_text(query, 4));
    to->began.ns = fx_sql_int(query, 5);
    to->ended.ns = fx_sql_int(query, 6);
    to->file_count = (uint64_t)fx_sql_int(query, 7);
    to->size_bytes = (uint64_t)fx_sql_int(query, 8);
    to->added_bytes = (uint64_t)fx_sql_int(query, 9);
    to->warning_count = (uint32_t)fx_sql_int(query, 10);
    copy_text(to->note, sizeof to->note, fx_sql_text(query, 11));
}

/* The statement's rows, at most `limit` by its own text. */
static fx_code
read_rows(fx_sql_statement *query, fx_catalog_list *out_list, fx_err *err)
{
    fx_catalog_list list = {.items = NULL};
    size_t capacity = 0;
    bool row = false;
    fx_code code = fx_sql_step(query, &row, err);
    while (code == FX_OK && row) {
        if (list.count == capacity) {
            capacity = capacity == 0 ? 16 : capacity * 2;
            fx_catalog_snapshot *items = reallocarray(list.items, capacity, sizeof *items);
            FX_ASSERT(items != NULL);
            list.items = items;
        }
        read_row(query, &list.items[list.count++]);
        code = fx_sql_step(query, &row, err);
    }
    if (code != FX_OK) {
        fx_catalog_list_free(&list);
        return code;
    }
    *out_list = list;
    return FX_OK;
}

enum { NEWEST_MAX = 1000 };

static fx_code
query_snapshots(
    fx_sql *sql,
    const char *host,
    const char *source,
    size_t limit,
    fx_catalog_list *out_list,
    fx_err *err)
{
    FX_AUTO(fx_sql_statement) query = NULL;
    fx_code code = fx_sql_prepare(
        sql,
        "SELECT " COLUMNS " FROM snapshot WHERE (?1 IS NULL OR host = ?1)"
        " AND (?2 IS NULL OR source = ?2) ORDER BY began_ns DESC, id, repository LIMIT ?3",
        &query,
        err);
    if (code != FX_OK) {
        return code;
    }
    fx_sql_bind_text(query, 1, host);
    fx_sql_bind_text(query, 2, source);
    fx_sql_bind_int(query, 3, (int64_t)limit);
    return read_rows(query, out_list, err);
}

static fx_code
query_newest(fx_sql *sql, fx_catalog_list *out_list, fx_err *err)
{
    FX_AUTO(fx_sql_statement) query = NULL;
    fx_code code = fx_sql_prepare(
        sql,
        "SELECT " COLUMNS " FROM (SELECT *, row_number() OVER"
        " (PARTITION BY host, source ORDER BY began_ns DESC, id, repository DESC) AS place"
        " FROM snapshot) WHERE place = 1 ORDER BY host, source LIMIT ?1",
        &query,
        err);
    if (code != FX_OK) {
        return code;
    }
    fx_sql_bind_int(query, 1, NEWEST_MAX);
    return read_rows(query, out_list, err);
}

fx_code
fx_catalog_list_snapshots(
    fx_catalog *catalog,
    const char *host,
    const char *source,
    size_t limit,
    fx_catalog_list *out_list,
    fx_err *err)
{
    (void)pthread_mutex_lock(&catalog->lock);
    fx_code code = ensure_file(catalog, err);
    if (code == FX_OK) {
        code = query_snapshots(catalog->sql, host, source, limit, out_list, err);
        if (code != FX_OK) {
            code = handle_failure(catalog, err);
        }
    }
    (void)pthread_mutex_unlock(&catalog->lock);
    return code;
}

fx_code
fx_catalog_list_newest(fx_catalog *catalog, fx_catalog_list *out_list, fx_err *err)
{
    (void)pthread_mutex_lock(&catalog->lock);
    fx_code code = ensure_file(catalog, err);
    if (code == FX_OK) {
        code = query_newest(catalog->sql, out_list, err);
        if (code != FX_OK) {
            code = handle_failure(catalog, err);
        }
    }
    (void)pthread_mutex_unlock(&catalog->lock);
    return code;
}

void
fx_catalog_list_free(fx_catalog_list *list)
{
    free(list->items);
    *list = (fx_catalog_list){.items = NULL};
}

void
fx_catalog_sources(
    fx_catalog *catalog,
    fx_catalog_source out_sources[FX_CATALOG_REPOSITORY_MAX],
    size_t *out_count)
{
    (void)pthread_mutex_lock(&catalog->lock);
    memcpy(out_sources, catalog->sources, catalog->place_count * sizeof out_sources[0]);
    (void)pthread_mutex_unlock(&catalog->lock);
    *out_count = catalog->place_count;
}

/* ---- on a loop
 * ----------------------------------------------------------------------------------- */

static void
work(void *ctx)
{
    fx_catalog *catalog = ctx;
    fx_err err;
    if (fx_catalog_refresh(catalog, &err) != FX_OK) {
        FX_LOG(catalog->log, ERROR, "catalog.refresh_failed", FX_ERR_FIELD(&err));
    }
}

static void
on_worked(void *ctx)
{
    fx_catalog *catalog = ctx;
    catalog->working = false;
}

/* A repository that answers slowly must not gather refreshes behind it. */
static void
on_timer(void *ctx)
{
    fx_catalog *catalog = ctx;
    if (!catalog->working) {
        catalog->working = true;
        fx_loop_work(catalog->loop, work, on_worked, catalog);
    }
}

void
fx_catalog_start(fx_catalog *catalog, fx_loop *loop, fx_dur period)
{
    FX_ASSERT(catalog->timer == NULL);
    catalog->loop = loop;
    catalog->timer = fx_loop_timer_start(loop, FX_DUR_MS(0), period, on_timer, catalog);
}

void
fx_catalog_stop(fx_catalog *catalog)
{
    fx_loop_timer_stop(FX_TAKE(catalog->timer));
}
