#include "agent/run/gaps.h"

#include <stdio.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/monitor.h"
#include "proto/link_check.h"

enum { PATH_BYTES = 512, FILE_MAX_BYTES = 65536 };

struct fx_gaps {
    char path[PATH_BYTES];
    fx_monitor monitor; /* guards what follows */
    fx_gap all[FX_GAP_MAX];
    size_t count;
    fx_gap closed[FX_GAP_CLOSED_MAX];
    size_t closed_count;
};

/* ---- the file: a link.Report that has nothing but gaps -------------------------------------- */

static fx_code
take(fx_gaps *gaps, const Fortress__Link__Gap *from, fx_err *err)
{
    fx_gap gap = {
        .from = {from->from_lsn}, .to = {from->to_lsn}, .since = {.ns = from->since_wall_ns}};
    bool is_closed = from->closed_by[0] != '\0';
    bool is_full = is_closed ? gaps->closed_count == FX_GAP_CLOSED_MAX : gaps->count == FX_GAP_MAX;
    if (is_full || strlen(from->closed_by) >= sizeof gap.closed_by ||
        strlen(from->system) >= sizeof gap.system ||
        fx_name_parse(from->service, "service of a gap", &gap.service, err) != FX_OK) {
        return fx_fail(err, FX_ERR_DAMAGED, "it holds what no agent writes");
    }
    (void)snprintf(gap.reason, sizeof gap.reason, "%s", from->reason);
    (void)snprintf(gap.closed_by, sizeof gap.closed_by, "%s", from->closed_by);
    gap.closed = (fx_wall){.ns = from->closed_wall_ns};
    (void)snprintf(gap.system, sizeof gap.system, "%s", from->system);
    gap.timeline = from->timeline;
    gap.segment_bytes = from->segment_bytes;
    gap.is_stored = from->is_stored;
    if (is_closed) {
        gaps->closed[gaps->closed_count++] = gap;
    } else {
        gaps->all[gaps->count++] = gap;
    }
    return FX_OK;
}

static fx_code
read_file(fx_gaps *gaps, fx_err *err)
{
    FX_BUF_AUTO text;
    fx_buf_init(&text, FILE_MAX_BYTES);
    if (fx_file_read(gaps->path, &text, err) != FX_OK) {
        return err->code == FX_ERR_NOT_FOUND ? FX_OK : err->code;
    }
    Fortress__Link__Report *message =
        fortress__link__report__unpack(NULL, text.size_bytes, text.data);
    fx_code code = FX_OK;
    if (message == NULL) {
        code = fx_fail(err, FX_ERR_DAMAGED, "it is damaged");
    }
    for (size_t i = 0; code == FX_OK && i < message->n_gaps; i++) {
        code = take(gaps, message->gaps[i], err);
    }
    if (message != NULL) {
        fortress__link__report__free_unpacked(message, NULL);
    }
    return code == FX_OK ? FX_OK
                         : fx_err_wrap(
                               err,
                               "reading the known gaps from \"%s\" (move it away to go on "
                               "without them)",
                               gaps->path);
}

static fx_code
write_file(const fx_gaps *gaps, fx_err *err)
{
    Fortress__Link__Gap all[FX_GAP_MAX + FX_GAP_CLOSED_MAX];
    Fortress__Link__Gap *list[FX_GAP_MAX + FX_GAP_CLOSED_MAX];
    Fortress__Link__Report message;
    fortress__link__report__init(&message);
    size_t count = gaps->count + gaps->closed_count;
    for (size_t i = 0; i < count; i++) {
        const fx_gap *gap = i < gaps->count ? &gaps->all[i] : &gaps->closed[i - gaps->count];
        fortress__link__gap__init(&all[i]);
        all[i].closed_by = fx_link_text(gap->closed_by);
        all[i].closed_wall_ns = gap->closed.ns;
        all[i].service = fx_link_text(gap->service.text);
        all[i].system = fx_link_text(gap->system);
        all[i].timeline = gap->timeline;
        all[i].segment_bytes = gap->segment_bytes;
        all[i].is_stored = gap->is_stored;
        all[i].from_lsn = gap->from.value;
        all[i].to_lsn = gap->to.value;
        all[i].since_wall_ns = gap->since.ns;
        all[i].reason = fx_link_text(gap->reason);
        list[i] = &all[i];
    }
    message.n_gaps = count;
    message.gaps = list;
    FX_BUF_AUTO text;
    fx_buf_init(&text, FILE_MAX_BYTES);
    unsigned char *bytes = NULL;
    size_t size_bytes = fortress__link__report__get_packed_size(&message);
    if (fx_buf_extend(&text, size_bytes, &bytes, err) != FX_OK) {
        return err->code;
    }
    (void)fortress__link__report__pack(&message, bytes);
    return fx_file_replace(gaps->path, fx_buf_bytes(&text), 0600, err);
}

/* ---- the list ------------------------------------------------------------------------------- */

fx_code
fx_gaps_open(const char *path, fx_gaps **out_gaps, fx_err *err)
{
    fx_gaps *self = calloc(1, sizeof *self);
    FX_ASSERT(self != NULL);
    fx_monitor_init(&self->monitor);
    FX_AUTO(fx_gaps) gaps = self;
    int length = snprintf(gaps->path, sizeof gaps->path, "%s", path);
    if (length < 0 || (size_t)length >= sizeof gaps->path) {
        return fx_fail(err, FX_ERR_LIMIT, "the path \"%s\" is too long", path);
    }
    if (read_file(gaps, err) != FX_OK) {
        return err->code;
    }
    *out_gaps = FX_TAKE(gaps);
    return FX_OK;
}

void
fx_gaps_free(fx_gaps *gaps)
{
    if (gaps != NULL) {
        fx_monitor_deinit(&gaps->monitor);
        free(gaps);
    }
}

static void
join(fx_gaps *gaps, size_t into, size_t from)
{
    fx_gap *older = &gaps->all[into];
    const fx_gap *newer = &gaps->all[from];
    if (newer->from.value < older->from.value) {
        older->from = newer->from;
    }
    if (newer->to.value > older->to.value) {
        older->to = newer->to;
    }
    if (newer->since.ns > older->since.ns) {
        older->since = newer->since; /* no backup begun before the later find closes it */
    }
    older->is_stored = older->is_stored && newer->is_stored; /* else as it is now */
    (void)snprintf(older->reason, sizeof older->reason, "several gaps between these");
    memmove(&gaps->all[from], &gaps->all[from + 1], (gaps->count - from - 1) * sizeof gaps->all[0]);
    gaps->count--;
}

/* Rather those that the repository has each for itself. */
static bool
join_two(fx_gaps *gaps, bool is_stored, bool is_one_system)
{
    for (size_t i = 0; i < gaps->count; i++) {
        for (size_t j = i + 1; j < gaps->count; j++) {
            fx_gap *older = &gaps->all[i];
            const fx_gap *newer = &gaps->all[j];
            bool is_same_system = strcmp(older->system, newer->system) == 0;
            if (!fx_name_is(&older->service, &newer->service) ||
                (is_stored && !(older->is_stored && newer->is_stored)) ||
                (is_one_system && !is_same_system)) {
                continue;
            }
            if (!is_same_system) {
                older->system[0] = '\0'; /* bounds on two scales are none for a repository */
            }
            join(gaps, i, j);
            return true;
        }
    }
    return false;
}

/* Many gaps, few services: among FX_GAP_MAX there are always two of one service. */
static void
join_oldest(fx_gaps *gaps)
{
    bool is_joined =
        join_two(gaps, true, true) || join_two(gaps, false, true) || join_two(gaps, false, false);
    FX_ASSERT(is_joined);
}

/* A process that ends before it has stored anything behind a gap leaves it to the next to be found
 * once more. */
static bool
is_known(const fx_gaps *gaps, const fx_gap *gap)
{
    for (size_t i = 0; i < gaps->count; i++) {
        const fx_gap *one = &gaps->all[i];
        if (one->system[0] != '\0' && strcmp(one->system, gap->system) == 0 &&
            fx_name_is(&one->service, &gap->service) && one->timeline == gap->timeline &&
            one->from.value == gap->from.value && one->to.value == gap->to.value) {
            return true;
        }
    }
    return false;
}

fx_code
fx_gaps_add(fx_gaps *gaps, const fx_gap *gap, fx_err *err)
{
    fx_monitor_lock(&gaps->monitor);
    if (is_known(gaps, gap)) {
        fx_monitor_unlock(&gaps->monitor);
        return FX_OK;
    }
    if (gaps->count == FX_GAP_MAX) {
        join_oldest(gaps);
    }
    FX_ASSERT(gaps->count < FX_GAP_MAX);
    gaps->all[gaps->count++] = *gap;
    fx_code code = write_file(gaps, err);
    fx_monitor_unlock(&gaps->monitor);
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "keeping a gap");
}

static bool
is_covered(const fx_gap *gap, const fx_gap_cover *cover)
{
    return fx_name_is(&gap->service, &cover->service) && gap->to.value <= cover->start.value &&
           gap->since.ns <= cover->began.ns;
}

static void
move_to_closed(fx_gaps *gaps, size_t at, const fx_gap_cover *cover)
{
    if (gaps->closed_count == FX_GAP_CLOSED_MAX) {
        gaps->closed_count--;
        memmove(&gaps->closed[0], &gaps->closed[1], gaps->closed_count * sizeof gaps->closed[0]);
    }
    fx_gap *closed = &gaps->closed[gaps->closed_count++];
    *closed = gaps->all[at];
    (void)snprintf(closed->closed_by, sizeof closed->closed_by, "%s", cover->snapshot);
    closed->closed = cover->now;
    gaps->count--;
    memmove(&gaps->all[at], &gaps->all[at + 1], (gaps->count - at) * sizeof gaps->all[0]);
}

fx_code
fx_gaps_close(fx_gaps *gaps, const fx_gap_cover *cover, size_t *out_count, fx_err *err)
{
    FX_ASSERT(cover->snapshot[0] != '\0');
    fx_monitor_lock(&gaps->monitor);
    fx_gaps *before = calloc(1, sizeof *before);
    FX_ASSERT(before != NULL);
    memcpy(before->all, gaps->all, sizeof gaps->all);
    memcpy(before->closed, gaps->closed, sizeof gaps->closed);
    before->count = gaps->count;
    before->closed_count = gaps->closed_count;
    size_t at = 0;
    while (at < gaps->count) {
        if (is_covered(&gaps->all[at], cover)) {
            move_to_closed(gaps, at, cover);
        } else {
            at++;
        }
    }
    size_t count = before->count - gaps->count;
    fx_code code = count == 0 ? FX_OK : write_file(gaps, err);
    if (code == FX_OK) {
        *out_count = count;
    } else {
        memcpy(gaps->all, before->all, sizeof gaps->all);
        memcpy(gaps->closed, before->closed, sizeof gaps->closed);
        gaps->count = before->count;
        gaps->closed_count = before->closed_count;
    }
    free(before);
    fx_monitor_unlock(&gaps->monitor);
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "closing gaps");
}

size_t
fx_gaps_list_closed(fx_gaps *gaps, fx_gap out_list[FX_GAP_CLOSED_MAX])
{
    fx_monitor_lock(&gaps->monitor);
    size_t count = gaps->closed_count;
    memcpy(out_list, gaps->closed, count * sizeof gaps->closed[0]);
    fx_monitor_unlock(&gaps->monitor);
    return count;
}

size_t
fx_gaps_list(fx_gaps *gaps, fx_gap out_list[FX_GAP_MAX])
{
    fx_monitor_lock(&gaps->monitor);
    size_t count = gaps->count;
    memcpy(out_list, gaps->all, count * sizeof gaps->all[0]);
    fx_monitor_unlock(&gaps->monitor);
    return count;
}

/* Of a server that did not say which it is nothing can be told to others. */
static bool
is_unstored(const fx_gap *gap)
{
    return !gap->is_stored && gap->system[0] != '\0';
}

bool
fx_gaps_find_unstored(fx_gaps *gaps, fx_gap *out_gap)
{
    const fx_gap *found = NULL;
    fx_monitor_lock(&gaps->monitor);
    for (size_t i = 0; found == NULL && i < gaps->count; i++) {
        found = is_unstored(&gaps->all[i]) ? &gaps->all[i] : NULL;
    }
    for (size_t i = 0; found == NULL && i < gaps->closed_count; i++) {
        found = is_unstored(&gaps->closed[i]) ? &gaps->closed[i] : NULL;
    }
    if (found != NULL) {
        *out_gap = *found;
    }
    fx_monitor_unlock(&gaps->monitor);
    return found != NULL;
}

static bool
mark(fx_gap *items, size_t count, const fx_gap *gap)
{
    bool is_changed = false;
    for (size_t i = 0; i < count; i++) {
        fx_gap *one = &items[i];
        if (!one->is_stored && fx_name_is(&one->service, &gap->service) &&
            strcmp(one->system, gap->system) == 0 && one->from.value == gap->from.value &&
            one->to.value == gap->to.value && one->since.ns == gap->since.ns) {
            one->is_stored = true;
            is_changed = true;
        }
    }
    return is_changed;
}

fx_code
fx_gaps_mark_stored(fx_gaps *gaps, const fx_gap *gap, fx_err *err)
{
    fx_monitor_lock(&gaps->monitor);
    bool is_open = mark(gaps->all, gaps->count, gap);
    bool is_closed = mark(gaps->closed, gaps->closed_count, gap);
    fx_code code = is_open || is_closed ? write_file(gaps, err) : FX_OK;
    fx_monitor_unlock(&gaps->monitor);
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "noting that the repository has a gap");
}
