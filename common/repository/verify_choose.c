/* What of the data is read: all, a part by name, or the share that was not read for longest. */
#include <string.h>

#include "common/base/clock.h"
#include "common/repository/verification.h"

static int
by_age(const void *left, const void *right)
{
    const fx_candidate *one = left;
    const fx_candidate *two = right;
    if (one->read_at.ns != two->read_at.ns) {
        return one->read_at.ns < two->read_at.ns ? -1 : 1;
    }
    return memcmp(one->name.bytes, two->name.bytes, FX_ID_BYTES);
}

static int
by_number(const void *left, const void *right)
{
    const fx_candidate *one = left;
    const fx_candidate *two = right;
    return one->number < two->number ? -1 : one->number > two->number;
}

static bool
is_of_part(const fx_candidate *item, const fx_verify_options *options)
{
    uint64_t value = 0;
    for (size_t i = 0; i < 8; i++) {
        value = value << 8 | item->name.bytes[i];
    }
    return value % options->part_count == options->part - 1;
}

/* At least the share of all bytes. */
static void
choose_share(fx_candidate *items, size_t count, uint32_t share_ppm)
{
    uint64_t total_bytes = 0;
    uint64_t chosen_bytes = 0;
    qsort(items, count, sizeof *items, by_age);
    for (size_t i = 0; i < count; i++) {
        total_bytes += items[i].size_bytes;
    }
    uint64_t wanted_bytes =
        total_bytes / 1000000 * share_ppm + (total_bytes % 1000000 * share_ppm + 999999) / 1000000;
    for (size_t i = 0; i < count && chosen_bytes < wanted_bytes; i++) {
        items[i].is_chosen = true;
        chosen_bytes += items[i].size_bytes;
    }
    qsort(items, count, sizeof *items, by_number);
}

void
fx_verification_choose(fx_verification *v, fx_candidate *items, size_t count)
{
    const fx_verify_options *options = v->options;
    for (size_t i = 0; i < count; i++) {
        items[i].number = i;
        items[i].read_at = fx_verified_at(v->verified, &items[i].name);
        items[i].is_chosen = options->read_data && options->share_ppm == 0 &&
                             (options->part == 0 || is_of_part(&items[i], options));
        fx_verified_see(v->verified, &items[i].name);
    }
    if (options->read_data && options->share_ppm > 0 && count > 0) {
        choose_share(items, count, options->share_ppm);
    }
    for (size_t i = 0; i < count; i++) {
        v->total_bytes += items[i].is_chosen ? items[i].size_bytes : 0;
    }
}

/* What is damaged is read again the next time. */
void
fx_verification_note_read(fx_verification *v, const fx_chunk_id *name, bool is_good)
{
    fx_verified_note(v->verified, name, is_good ? fx_clock_wall() : (fx_wall){0});
}
