#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "common/repository/chunker.h"
#include "common/repository/repository.h"

enum { DATA_BYTES = 48 * 1024 * 1024, CUTS_MAX = 1024 };

static unsigned char *data;

static int
make_data(void **state)
{
    (void)state;
    data = malloc(DATA_BYTES + 1);
    fx_rng rng;
    fx_rng_init(&rng, 7);
    for (size_t index = 0; data != NULL && index < DATA_BYTES; index += sizeof(uint64_t)) {
        uint64_t number = fx_rng_next(&rng);
        memcpy(data + index, &number, sizeof number);
    }
    return data == NULL ? -1 : 0;
}

static int
free_data(void **state)
{
    (void)state;
    free(data);
    return 0;
}

/* The places where chunks end, fed in steps of `step_bytes`. */
static size_t
cut_all(const unsigned char *bytes, size_t size_bytes, size_t step_bytes, size_t cuts[CUTS_MAX])
{
    fx_chunker chunker;
    fx_chunker_init(&chunker);
    size_t count = 0;
    for (size_t at = 0; at < size_bytes;) {
        size_t left_bytes = size_bytes - at;
        bool is_end = false;
        at += fx_chunker_take(
            &chunker,
            (fx_bytes){bytes + at, left_bytes < step_bytes ? left_bytes : step_bytes},
            &is_end);
        if (is_end) {
            assert_in_range(count, 0, CUTS_MAX - 1);
            cuts[count++] = at;
        }
    }
    return count;
}

static void
lengths_are_within_the_limits_and_near_the_usual_one(void **state)
{
    (void)state;
    static size_t cuts[CUTS_MAX];
    size_t count = cut_all(data, DATA_BYTES, DATA_BYTES, cuts);
    for (size_t index = 0; index < count; index++) {
        size_t length = cuts[index] - (index == 0 ? 0 : cuts[index - 1]);
        assert_in_range(length, FX_CHUNK_MIN_BYTES, FX_CHUNK_MAX_BYTES);
    }
    assert_in_range(count, 1, CUTS_MAX);
    assert_in_range(DATA_BYTES / (count + 1), 1024 * 1024, 2 * 1024 * 1024);
}

static void
cuts_do_not_depend_on_how_the_bytes_arrive(void **state)
{
    (void)state;
    static size_t whole[CUTS_MAX];
    static size_t pieces[CUTS_MAX];
    size_t count = cut_all(data, DATA_BYTES, DATA_BYTES, whole);
    assert_int_equal(cut_all(data, DATA_BYTES, 4099, pieces), count);
    assert_memory_equal(whole, pieces, count * sizeof *whole);
}

static void
an_inserted_byte_moves_only_the_cuts_around_it(void **state)
{
    (void)state;
    static size_t before[CUTS_MAX];
    static size_t after[CUTS_MAX];
    size_t count = cut_all(data, DATA_BYTES, DATA_BYTES, before);
    unsigned char *longer = malloc(DATA_BYTES + 1);
    assert_non_null(longer);
    memcpy(longer, data, 1000000);
    longer[1000000] = 42;
    memcpy(longer + 1000001, data + 1000000, DATA_BYTES - 1000000);
    size_t after_count = cut_all(longer, DATA_BYTES + 1, DATA_BYTES, after);
    free(longer);
    size_t same = 0;
    for (size_t left = 0, right = 0; left < count && right < after_count;) {
        size_t moved = before[left] + (before[left] > 1000000 ? 1 : 0);
        same += moved == after[right] ? 1 : 0;
        left += moved <= after[right] ? 1 : 0;
        right += after[right] <= moved ? 1 : 0;
    }
    assert_in_range(same, count - 8, count);
}

static void
equal_bytes_are_cut_at_the_longest_length(void **state)
{
    (void)state;
    static size_t cuts[CUTS_MAX];
    unsigned char *same = malloc((size_t)FX_CHUNK_MAX_BYTES * 2);
    assert_non_null(same);
    memset(same, 'x', (size_t)FX_CHUNK_MAX_BYTES * 2);
    size_t count = cut_all(same, (size_t)FX_CHUNK_MAX_BYTES * 2, 65536, cuts);
    free(same);
    assert_int_equal(count, 2);
    assert_int_equal(cuts[0], FX_CHUNK_MAX_BYTES);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_are_within_the_limits_and_near_the_usual_one),
        cmocka_unit_test(cuts_do_not_depend_on_how_the_bytes_arrive),
        cmocka_unit_test(an_inserted_byte_moves_only_the_cuts_around_it),
        cmocka_unit_test(equal_bytes_are_cut_at_the_longest_length),
    };
    return cmocka_run_group_tests_name("chunker", tests, make_data, free_data);
}
