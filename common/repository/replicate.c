#include "common/repository/replicate.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/hex.h"
#include "common/repository/forgotten.h"
#include "common/repository/internal.h"
#include "common/repository/lease.h"

enum { CONFIG_MAX_BYTES = 4096, LOOK_TRIES = 8 };

/* A snapshot that the tier is to get. */
typedef struct candidate {
    fx_snapshot header;
    fx_buf bytes;
    bool is_ready; /* all that it needs is there */
} candidate;

typedef struct replication {
    const fx_replicate_options *options;
    fx_replicate_report *report;
    fx_store *from;
    fx_store *to;
    fx_copier *copier;
    fx_copy_result copied;
    char lease[FX_LEASE_ID_BYTES]; /* "": none */
    candidate *candidates;         /* oldest first */
    size_t candidate_count;
    fx_stored_list packs;   /* of the source, listed between two equal lists of indexes */
    fx_stored_list indexes; /* likewise */
    bool is_held;           /* something is missing that snapshots may need */
    bool is_blocked;        /* because a collector there is about to remove it */
} replication;

static void
find(const replication *work, const char *text)
{
    fx_copier_find(work->copier, text);
}

/* ---- the repository itself
 * --------------------------------------------------------------------------- */

/* Copies what the source has below a prefix and the tier lacks; `wanted` NULL: all of it. */
static fx_code
copy_missing(
    replication *work,
    const fx_stored_list *there,
    const fx_stored_list *list,
    fx_copy_result *result,
    fx_err *err)
{
    const fx_stored **items = calloc(list->count + 1, sizeof(const fx_stored *));
    FX_ASSERT(items != NULL);
    size_t count = 0;
    uint64_t all_bytes = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (fx_stored_find(there, list->items[i].store_key) == NULL) {
            items[count++] = &list->items[i];
            all_bytes += list->items[i].size_bytes;
        }
    }
    fx_code code = FX_OK;
    if (work->options->dry_run) {
        result->copied_count += count;
        result->copied_bytes += all_bytes;
    } else {
        fx_copier_expect(work->copier, all_bytes);
        code = fx_copier_run(work->copier, items, count, result, err);
    }
    free(items);
    return code;
}

static fx_code
copy_prefix(replication *work, const char *prefix, fx_err *err)
{
    fx_stored_list list = {0};
    fx_stored_list there = {0};
    if (fx_stored_list_read(work->from, prefix, &list, err) != FX_OK) {
        return fx_err_wrap(err, "at the source");
    }
    fx_code code = fx_stored_list_read(work->to, prefix, &there, err);
    if (code == FX_OK) {
        code = copy_missing(work, &there, &list, &work->copied, err);
    }
    fx_stored_list_free(&list);
    fx_stored_list_free(&there);
    return code;
}

/* Whether the tier is there; it must be a copy of the same repository. */
static fx_code
compare_config(fx_store *from, fx_store *to, fx_buf *config, bool *out_is_there, fx_err *err)
{
    FX_BUF_AUTO there;
    fx_buf_init(&there, CONFIG_MAX_BYTES);
    fx_code code = fx_stored_get(from, "config", NULL, config, err);
    if (code == FX_ERR_NOT_FOUND) {
        return fx_fail(err, FX_ERR_NOT_FOUND, "could not copy: there is no repository to copy");
    }
    if (code != FX_OK) {
        return fx_err_wrap(err, "at the source");
    }
    fx_err failure = {0};
    code = fx_stored_get(to, "config", NULL, &there, &failure);
    *out_is_there = code == FX_OK;
    if (code != FX_OK && code != FX_ERR_NOT_FOUND) {
        *err = failure;
        return fx_err_wrap(err, "at the target");
    }
    if (*out_is_there && (there.size_bytes != config->size_bytes ||
                          memcmp(there.data, config->data, there.size_bytes) != 0)) {
        return fx_fail(
            err,
            FX_ERR_CONFLICT,
            "could not copy: the target is another repository; a tier is made by copying alone");
    }
    return FX_OK;
}

/* As in a new repository, the config last. */
static fx_code
copy_identity(replication *work, fx_err *err)
{
    FX_BUF_AUTO config;
    bool is_there = false;
    fx_buf_init(&config, CONFIG_MAX_BYTES);
    if (compare_config(work->from, work->to, &config, &is_there, err) != FX_OK ||
        copy_prefix(work, "keys/", err) != FX_OK || copy_prefix(work, "erasures/", err) != FX_OK) {
        return err->code;
    }
    const fx_stored item = {.store_key = (char[]){"config"}, .size_bytes = config.size_bytes};
    const fx_stored_list list = {.items = (fx_stored[]){item}, .count = is_there ? 0 : 1};
    const fx_stored_list none = {0};
    return copy_missing(work, &none, &list, &work->copied, err);
}

/* ---- which snapshots
 * --------------------------------------------------------------------------------- */

static bool
id_of(const char *store_key, fx_chunk_id *out_id)
{
    fx_err ignored = {0};
    return fx_hex_decode(
               strrchr(store_key, '/') + 1, out_id->bytes, sizeof out_id->bytes, &ignored) == FX_OK;
}

static int
by_age(const void *left, const void *right)
{
    const candidate *one = left;
    const candidate *two = right;
    return (one->header.began.ns > two->header.began.ns) -
           (one->header.began.ns < two->header.began.ns);
}

static bool
is_damage(fx_code code)
{
    return code == FX_ERR_DAMAGED || code == FX_ERR_UNSUPPORTED || code == FX_ERR_LIMIT ||
           code == FX_ERR_IO;
}

/* Reads one; damage is a finding. */
static fx_code
take_candidate(replication *work, const fx_stored *item, fx_err *err)
{
    candidate fresh = {0};
    FX_AUTO(fx_object) object = NULL;
    fx_err failure = {0};
    fx_buf_init(&fresh.bytes, FX_SNAPSHOT_OBJECT_MAX_BYTES);
    fx_code code = fx_stored_get(work->from, item->store_key, NULL, &fresh.bytes, &failure);
    fx_bytes all = fx_buf_bytes(&fresh.bytes);
    if (code == FX_OK) {
        code = fx_object_parse(all, all, all.size_bytes, &object, &failure);
    }
    if (code == FX_OK) {
        code = fx_snapshot_decode(object, item->store_key, &fresh.header, &failure);
    }
    if (code == FX_OK) {
        work->candidates[work->candidate_count++] = fresh;
        return FX_OK;
    }
    fx_buf_free(&fresh.bytes);
    if (is_damage(code)) {
        char text[FX_KEY_TEXT_BYTES + FX_ERR_MESSAGE_MAX_BYTES];
        (void)snprintf(text, sizeof text, "%s: not copied: %s", item->store_key, failure.message);
        find(work, text);
        work->copied.damaged_count++;
        return FX_OK;
    }
    *err = failure;
    return code == FX_ERR_NOT_FOUND ? FX_OK : fx_err_wrap(err, "reading \"%s\"", item->store_key);
}

/* Those that the tier neither has nor has forgotten. */
static fx_code
find_candidates(replication *work, fx_err *err)
{
    fx_stored_list list = {0};
    fx_stored_list there = {0};
    fx_id_set forgotten = {0};
    fx_code code = fx_stored_list_read(work->from, "snapshots/", &list, err);
    if (code == FX_OK) {
        code = fx_stored_list_read(work->to, "snapshots/", &there, err);
    }
    if (code == FX_OK) {
        code = fx_forgotten_read(work->to, &forgotten, err);
    }
    work->candidates = calloc(list.count + 1, sizeof *work->candidates);
    FX_ASSERT(work->candidates != NULL);
    for (size_t i = 0; code == FX_OK && i < list.count; i++) {
        fx_chunk_id id;
        const char *store_key = list.items[i].store_key;
        if (id_of(store_key, &id) && !fx_id_set_has(&forgotten, &id) &&
            fx_stored_find(&there, store_key) == NULL) {
            code = take_candidate(work, &list.items[i], err);
        }
    }
    qsort(work->candidates, work->candidate_count, sizeof *work->candidates, by_age);
    fx_stored_list_free(&list);
    fx_stored_list_free(&there);
    fx_id_set_free(&forgotten);
    return code;
}

static void
drop_candidate(replication *work, size_t number)
{
    fx_buf_free(&work->candidates[number].bytes);
    work->candidate_count--;
    memmove(
        &work->candidates[number],
        &work->candidates[number + 1],
        (work->candidate_count - number) * sizeof *work->candidates);
}

/*
 * Those that are still there, not void and not forgotten at the source, now that packs and indexes
 * were listed: no collector has removed what they need before that.
 */
static fx_code
confirm_candidates(replication *work, fx_err *err)
{
    fx_stored_list list = {0};
    fx_settlements settled = {0};
    fx_id_set forgotten = {0};
    fx_code code = fx_stored_list_read(work->from, "snapshots/", &list, err);
    if (code == FX_OK) {
        code = fx_settlements_read(work->from, &settled, err);
    }
    if (code == FX_OK) {
        code = fx_forgotten_read(work->from, &forgotten, err);
    }
    for (size_t i = work->candidate_count; code == FX_OK && i > 0; i--) {
        char store_key[FX_KEY_TEXT_BYTES];
        fx_chunk_id id;
        const fx_snapshot *header = &work->candidates[i - 1].header;
        (void)snprintf(store_key, sizeof store_key, "snapshots/%s", header->id);
        if (fx_stored_find(&list, store_key) == NULL || !id_of(store_key, &id) ||
            fx_settlements_void(&settled, header->lease, &id) || fx_id_set_has(&forgotten, &id)) {
            drop_candidate(work, i - 1);
        }
    }
    fx_stored_list_free(&list);
    fx_settlements_free(&settled);
    fx_id_set_free(&forgotten);
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "looking which snapshots still count");
}

/* ---- announcing
 * -------------------------------------------------------------------------------------- */

static fx_code
put_snapshot(replication *work, const char *folder, const candidate *one, fx_err *err)
{
    char store_key[FX_KEY_TEXT_BYTES];
    fx_err failure = {0};
    (void)snprintf(store_key, sizeof store_key, "%s/%s", folder, one->header.id);
    fx_code code = fx_store_put(
        work->to, store_key, fx_buf_bytes(&one->bytes), fx_repository_deadline(), &failure);
    if (code != FX_OK && code != FX_ERR_EXISTS) {
        *err = failure;
        return fx_err_wrap(err, "putting \"%s\"", store_key);
    }
    return FX_OK;
}

/* From here on a collector that takes this one's right keeps what an announced snapshot needs, if
 * all of that is there. */
static fx_code
announce(replication *work, fx_err *err)
{
    for (size_t i = 0; i < work->candidate_count; i++) {
        if (put_snapshot(work, "arriving", &work->candidates[i], err) != FX_OK) {
            return err->code;
        }
    }
    return fx_lease_begin(work->to, work->lease, err);
}

static fx_code
check_lease(const replication *work, fx_err *err)
{
    bool is_revoked = true;
    if (fx_lease_is_revoked(work->to, work->lease, &is_revoked, err) != FX_OK) {
        return err->code;
    }
    return !is_revoked
               ? FX_OK
               : fx_fail(
                     err,
                     FX_ERR_STALE,
                     "could not copy the snapshots: a collector at the target did not wait; what "
                     "was copied stays, run it again");
}

/*
 * The last put may come late. An index object that does so could name packs that are gone by then:
 * whoever reads it must see that something was revoked.
 */
static void
end_lease(replication *work, const fx_err *err)
{
    fx_err ignored = {0};
    if (work->lease[0] == '\0') {
        return;
    }
    bool is_certain = err->code == FX_OK || err->outcome == FX_CLASS_PERMANENT;
    if (is_certain || fx_lease_revoke(work->to, work->lease, &ignored) == FX_OK) {
        fx_ignore(fx_lease_end(work->to, work->lease, &ignored), "a collector removes it");
    }
    work->lease[0] = '\0';
}

/* ---- packs
 * ------------------------------------------------------------------------------------------- */

/*
 * Lists packs between two equal lists of indexes: a collector that moved chunks between packs
 * meanwhile has changed the indexes in between.
 */
static fx_code
look_at_source(replication *work, fx_err *err)
{
    for (int i = 0; i < LOOK_TRIES; i++) {
        fx_stored_list again = {0};
        fx_stored_list_free(&work->packs);
        fx_stored_list_free(&work->indexes);
        if (fx_stored_list_read(work->from, "indexes/", &work->indexes, err) != FX_OK ||
            fx_stored_list_read(work->from, "packs/", &work->packs, err) != FX_OK ||
            fx_stored_list_read(work->from, "indexes/", &again, err) != FX_OK) {
            return fx_err_wrap(err, "at the source");
        }
        bool is_same = fx_stored_list_is_same(&work->indexes, &again);
        fx_stored_list_free(&again);
        if (is_same) {
            return FX_OK;
        }
    }
    return fx_fail(
        err,
        FX_ERR_BUSY,
        "could not copy: the source's indexes changed each time they were looked at; run it again");
}

/* Packs that a collector at the target is about to remove are not counted on, there or not. */
static void
leave_marked(replication *work, const fx_id_set *marked)
{
    size_t kept = 0;
    for (size_t i = 0; i < work->packs.count; i++) {
        fx_chunk_id name;
        fx_stored item = work->packs.items[i];
        if (id_of(item.store_key, &name) && fx_id_set_has(marked, &name)) {
            free(item.store_key);
            work->is_blocked = true;
        } else {
            work->packs.items[kept++] = item;
        }
    }
    work->packs.count = kept;
}

/* A pack of another size than the source's is damaged here or there. */
static void
compare_sizes(replication *work, const fx_stored_list *there)
{
    for (size_t i = 0; i < work->packs.count; i++) {
        const fx_stored *item = &work->packs.items[i];
        const fx_stored *other = fx_stored_find(there, item->store_key);
        if (other != NULL && other->size_bytes != item->size_bytes) {
            char text[FX_KEY_TEXT_BYTES + 160];
            (void)snprintf(
                text,
                sizeof text,
                "%s: has %" PRIu64 " bytes at the source and %" PRIu64
                " at the target: repair the one that is damaged",
                item->store_key,
                item->size_bytes,
                other->size_bytes);
            find(work, text);
            work->copied.damaged_count++;
            work->is_held = true;
        }
    }
}

/* After the lease, marks first. *out_gone: packs vanished that were listed. */
static fx_code
copy_packs(replication *work, const fx_id_set *marked, bool *out_gone, fx_err *err)
{
    fx_stored_list there = {0};
    fx_copy_result result = {0};
    if (look_at_source(work, err) != FX_OK ||
        fx_stored_list_read(work->to, "packs/", &there, err) != FX_OK) {
        return err->code;
    }
    leave_marked(work, marked);
    compare_sizes(work, &there);
    fx_code code = copy_missing(work, &there, &work->packs, &result, err);
    fx_stored_list_free(&there);
    work->copied.copied_count += result.copied_count;
    work->copied.copied_bytes += result.copied_bytes;
    work->copied.damaged_count += result.damaged_count;
    work->is_held = work->is_held || result.damaged_count > 0 || work->is_blocked;
    *out_gone = result.gone_count > 0;
    return code;
}

static fx_code
copy_all_packs(replication *work, fx_err *err)
{
    fx_id_set marked = {0};
    bool is_gone = true;
    fx_code code = work->options->dry_run ? FX_OK : fx_marks_read(work->to, &marked, err);
    for (int i = 0; code == FX_OK && is_gone && i < LOOK_TRIES; i++) {
        code = copy_packs(work, &marked, &is_gone, err);
    }
    fx_id_set_free(&marked);
    if (code == FX_OK && is_gone) {
        code = fx_fail(
            err,
            FX_ERR_BUSY,
            "could not copy: packs of the source vanished each time while they were copied; run it "
            "again when nothing is collected there");
    }
    return code;
}

/* ---- what else comes before snapshots
 * ---------------------------------------------------------------- */

/*
 * What the source said of its revoked writers: their snapshots that count must not become void, and
 * who reads a late index object must see that something was revoked. What was not said yet is not
 * copied: a collector at the target would say it anew, of the snapshots there.
 */
static fx_code
copy_settlements(replication *work, fx_err *err)
{
    fx_stored_list settled = {0};
    fx_stored_list revoked = {0};
    fx_stored_list there = {0};
    fx_stored_list known = {0};
    fx_code code = fx_stored_list_read(work->from, "settled/", &settled, err);
    if (code == FX_OK) {
        code = fx_stored_list_read(work->to, "settled/", &there, err);
    }
    if (code == FX_OK) {
        code = copy_missing(work, &there, &settled, &work->copied, err);
    }
    if (code == FX_OK) {
        code = fx_stored_list_read(work->from, "revocations/", &revoked, err);
    }
    if (code == FX_OK) {
        code = fx_stored_list_read(work->to, "revocations/", &known, err);
    }
    size_t kept = 0;
    for (size_t i = 0; i < revoked.count; i++) {
        char store_key[FX_KEY_TEXT_BYTES];
        fx_stored item = revoked.items[i];
        const char *id = strchr(item.store_key, '/') + 1;
        (void)snprintf(store_key, sizeof store_key, "settled/%.400s", id);
        if (fx_stored_find(&settled, store_key) != NULL) {
            revoked.items[kept++] = item;
        } else {
            free(item.store_key);
        }
    }
    revoked.count = kept;
    if (code == FX_OK) {
        code = copy_missing(work, &known, &revoked, &work->copied, err);
    }
    fx_stored_list_free(&settled);
    fx_stored_list_free(&revoked);
    fx_stored_list_free(&there);
    fx_stored_list_free(&known);
    return code;
}

static fx_code
copy_indexes(replication *work, fx_err *err)
{
    fx_stored_list there = {0};
    fx_copy_result result = {0};
    if (fx_stored_list_read(work->to, "indexes/", &there, err) != FX_OK) {
        return err->code;
    }
    fx_code code = copy_missing(work, &there, &work->indexes, &result, err);
    fx_stored_list_free(&there);
    work->copied.copied_count += result.copied_count;
    work->copied.copied_bytes += result.copied_bytes;
    work->copied.damaged_count += result.damaged_count;
    if (code == FX_OK && result.gone_count > 0) {
        code = fx_fail(
            err,
            FX_ERR_BUSY,
            "could not copy: a collector at the source made its indexes anew; run it again");
    }
    return code;
}

static fx_code
check_streams(replication *work, fx_err *err)
{
    fx_stored_list list = {0};
    fx_stored_list there = {0};
    if (fx_stored_list_read(work->from, "streams/", &list, err) != FX_OK ||
        fx_stored_list_read(work->to, "streams/", &there, err) != FX_OK) {
        fx_stored_list_free(&list);
        return err->code;
    }
    for (size_t i = 0; i < list.count; i++) {
        const fx_stored *other = fx_stored_find(&there, list.items[i].store_key);
        if (other != NULL && other->size_bytes != list.items[i].size_bytes) {
            char text[FX_KEY_TEXT_BYTES + 80];
            (void)snprintf(
                text,
                sizeof text,
                "%s: not copied: another object of that name is there",
                list.items[i].store_key);
            find(work, text);
            work->copied.damaged_count++;
        }
    }
    fx_code code = copy_missing(work, &there, &list, &work->copied, err);
    fx_stored_list_free(&list);
    fx_stored_list_free(&there);
    return code;
}

/* ---- all
 * ------------------------------------------------------------------------------------------ */

/* It has arrived: the announcement is not needed any more. */
static void
remove_announcement(const replication *work, const candidate *one)
{
    fx_chunk_id id;
    fx_err ignored = {0};
    if (fx_hex_decode(one->header.id, id.bytes, sizeof id.bytes, &ignored) == FX_OK) {
        fx_ignore(fx_arriving_remove(work->to, &id, &ignored), "a collector removes it later");
    }
}

static fx_code
put_snapshots(replication *work, fx_err *err)
{
    for (size_t i = 0; i < work->candidate_count; i++) {
        const candidate *one = &work->candidates[i];
        if (!work->options->dry_run) {
            if (put_snapshot(work, "snapshots", one, err) != FX_OK) {
                return err->code;
            }
            remove_announcement(work, one);
        }
        work->report->snapshot_count++;
        work->copied.copied_count++;
        work->copied.copied_bytes += one->bytes.size_bytes;
    }
    return FX_OK;
}

static fx_code
explain_held(replication *work, fx_err *err)
{
    char text[320];
    work->report->held_snapshot_count = work->candidate_count;
    if (work->is_blocked) {
        return fx_fail(
            err,
            FX_ERR_BUSY,
            "could not copy %zu snapshots: packs that they may need are marked by a collector at "
            "the target; run it again when that is done (if none is at work, run collect there)",
            work->candidate_count);
    }
    (void)snprintf(
        text,
        sizeof text,
        "%zu snapshots are not copied: packs that they may need could not be; repair the source, "
        "then run it again",
        work->candidate_count);
    find(work, text);
    return FX_OK;
}

static fx_code
copy_snapshots(replication *work, fx_err *err)
{
    if (find_candidates(work, err) != FX_OK || work->candidate_count == 0) {
        return err->code;
    }
    if (!work->options->dry_run && announce(work, err) != FX_OK) {
        return err->code;
    }
    if (copy_all_packs(work, err) != FX_OK || confirm_candidates(work, err) != FX_OK ||
        copy_settlements(work, err) != FX_OK) {
        return err->code;
    }
    if (work->is_held && work->candidate_count > 0) {
        return explain_held(work, err);
    }
    bool is_dry = work->options->dry_run;
    if ((!is_dry && check_lease(work, err) != FX_OK) || copy_indexes(work, err) != FX_OK ||
        copy_prefix(work, "verified/", err) != FX_OK ||
        (!is_dry && check_lease(work, err) != FX_OK)) {
        return err->code;
    }
    return put_snapshots(work, err);
}

static fx_code
replicate(replication *work, fx_err *err)
{
    if (copy_identity(work, err) != FX_OK || check_streams(work, err) != FX_OK) {
        return err->code;
    }
    fx_code code = copy_snapshots(work, err);
    const fx_err none = {0};
    end_lease(work, code == FX_OK ? &none : err);
    if (code == FX_OK && work->copied.damaged_count > 0) {
        code = fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not copy %" PRIu64 " objects: they are damaged; all else was copied",
            work->copied.damaged_count);
    }
    return code;
}

static fx_code
open_both(
    const char *from_url,
    const char *to_url,
    bool makes_target,
    fx_store **out_from,
    fx_store **out_to,
    fx_err *err)
{
    if (fx_store_open(from_url, out_from, err) != FX_OK ||
        fx_store_open(to_url, out_to, err) != FX_OK) {
        return err->code;
    }
    return makes_target ? fx_store_prepare(*out_to, err) : FX_OK;
}

fx_code
fx_repository_replicate(
    const char *from_url,
    const char *to_url,
    const fx_replicate_options *options,
    fx_replicate_report *out_report,
    fx_err *err)
{
    FX_AUTO(fx_store) from = NULL;
    FX_AUTO(fx_store) to = NULL;
    FX_AUTO(fx_copier) copier = NULL;
    *out_report = (fx_replicate_report){0};
    if (open_both(from_url, to_url, !options->dry_run, &from, &to, err) != FX_OK) {
        return err->code;
    }
    const fx_copy_options copying = {
        .from = from,
        .to = to,
        .key = options->key,
        .job_count = options->job_count,
        .limit_bytes_s = options->limit_bytes_s,
        .finding = options->finding,
        .progress = options->progress,
        .ctx = options->ctx,
        .cancel = options->cancel,
    };
    copier = fx_copier_new(&copying);
    replication work = {
        .options = options, .report = out_report, .from = from, .to = to, .copier = copier};
    fx_code code = replicate(&work, err);
    out_report->copied_count = work.copied.copied_count;
    out_report->copied_bytes = work.copied.copied_bytes;
    out_report->damaged_count = work.copied.damaged_count;
    while (work.candidate_count > 0) {
        drop_candidate(&work, work.candidate_count - 1);
    }
    free(work.candidates);
    fx_stored_list_free(&work.packs);
    fx_stored_list_free(&work.indexes);
    return code;
}

/* ---- how far behind
 * --------------------------------------------------------------------------------- */

static void
add_missing(const fx_stored_list *list, const fx_stored_list *there, fx_tier_status *status)
{
    for (size_t i = 0; i < list->count; i++) {
        if (fx_stored_find(there, list->items[i].store_key) == NULL) {
            status->missing_count++;
            status->missing_bytes += list->items[i].size_bytes;
        }
    }
}

static fx_code
count_missing(fx_store *from, fx_store *to, const char *prefix, fx_tier_status *status, fx_err *err)
{
    fx_stored_list list = {0};
    fx_stored_list there = {0};
    fx_code code = fx_stored_list_read(from, prefix, &list, err);
    if (code == FX_OK) {
        code = fx_stored_list_read(to, prefix, &there, err);
    }
    add_missing(&list, &there, status);
    fx_stored_list_free(&list);
    fx_stored_list_free(&there);
    return code;
}

static void
count_snapshot(
    const fx_snapshot *snapshot,
    const fx_stored *here,
    const fx_stored_list *there,
    const fx_id_set *forgotten,
    fx_tier_status *status)
{
    fx_chunk_id id;
    bool is_there = fx_stored_find(there, here->store_key) != NULL;
    if (!id_of(here->store_key, &id) || fx_id_set_has(forgotten, &id)) {
        return;
    }
    if (is_there) {
        status->newest = snapshot->ended.ns > status->newest.ns ? snapshot->ended : status->newest;
        return;
    }
    status->missing_snapshot_count++;
    status->missing_count++;
    status->missing_bytes += here->size_bytes;
    if (status->oldest_missing.ns == 0 || snapshot->ended.ns < status->oldest_missing.ns) {
        status->oldest_missing = snapshot->ended;
    }
}

static fx_code
compare_snapshots(fx_repository *source, fx_store *to, fx_tier_status *status, fx_err *err)
{
    fx_snapshot_list snapshots = {0};
    fx_stored_list list = {0};
    fx_stored_list there = {0};
    fx_id_set forgotten = {0};
    size_t unreadable_count = 0;
    if (fx_repository_list(source, &snapshots, &unreadable_count, err) != FX_OK) {
        return err->code;
    }
    fx_code code = fx_stored_list_read(source->store, "snapshots/", &list, err);
    if (code == FX_OK) {
        code = fx_stored_list_read(to, "snapshots/", &there, err);
    }
    if (code == FX_OK) {
        code = fx_forgotten_read(to, &forgotten, err);
    }
    status->snapshot_count = there.count;
    for (size_t i = 0; code == FX_OK && i < snapshots.count; i++) {
        char store_key[FX_KEY_TEXT_BYTES];
        (void)snprintf(store_key, sizeof store_key, "snapshots/%s", snapshots.items[i].id);
        const fx_stored *here = fx_stored_find(&list, store_key);
        if (here != NULL) {
            count_snapshot(&snapshots.items[i], here, &there, &forgotten, status);
        }
    }
    fx_snapshot_list_free(&snapshots);
    fx_stored_list_free(&list);
    fx_stored_list_free(&there);
    fx_id_set_free(&forgotten);
    return code;
}

fx_code
fx_repository_tier_status(
    const char *from_url, const char *to_url, fx_tier_status *out_status, fx_err *err)
{
    FX_AUTO(fx_repository) source = NULL;
    FX_AUTO(fx_store) to = NULL;
    FX_BUF_AUTO config;
    fx_tier_status status = {0};
    fx_buf_init(&config, CONFIG_MAX_BYTES);
    if (fx_repository_open(from_url, NULL, &source, err) != FX_OK ||
        fx_store_open(to_url, &to, err) != FX_OK ||
        compare_config(source->store, to, &config, &status.is_there, err) != FX_OK ||
        compare_snapshots(source, to, &status, err) != FX_OK ||
        count_missing(source->store, to, "streams/", &status, err) != FX_OK) {
        return err->code;
    }
    /* Packs and indexes go with snapshots that need them. */
    if (status.missing_snapshot_count > 0 &&
        (count_missing(source->store, to, "packs/", &status, err) != FX_OK ||
         count_missing(source->store, to, "indexes/", &status, err) != FX_OK ||
         count_missing(source->store, to, "verified/", &status, err) != FX_OK)) {
        return err->code;
    }
    *out_status = status;
    return FX_OK;
}
