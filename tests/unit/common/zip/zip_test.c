#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "common/zip/zip.h"

enum { SIZE = 200 * 1024 };

static unsigned char data[SIZE];

static void
expands_to_what_was_compressed(void **state)
{
    (void)state;
    fx_err err = {0};
    FX_AUTO(fx_zip) zip = fx_zip_new();
    FX_BUF_AUTO small;
    FX_BUF_AUTO back;
    fx_buf_init(&small, (size_t)2 * SIZE);
    fx_buf_init(&back, SIZE);
    bool shrunk = false;
    for (size_t i = 0; i < SIZE; i++) {
        data[i] = (unsigned char)(i / 100);
    }
    assert_int_equal(fx_zip_compress(zip, (fx_bytes){data, SIZE}, &small, &shrunk, &err), FX_OK);
    assert_true(shrunk);
    assert_true(small.size_bytes < SIZE / 4);
    assert_int_equal(fx_zip_expand(zip, fx_buf_bytes(&small), SIZE, &back, &err), FX_OK);
    assert_memory_equal(back.data, data, SIZE);
}

static void
random_data_is_left_alone(void **state)
{
    (void)state;
    fx_err err = {0};
    FX_AUTO(fx_zip) zip = fx_zip_new();
    FX_BUF_AUTO out;
    fx_buf_init(&out, (size_t)2 * SIZE);
    fx_rng rng;
    fx_rng_init(&rng, 1);
    for (size_t i = 0; i < SIZE; i++) {
        data[i] = (unsigned char)fx_rng_next(&rng);
    }
    static const size_t sizes[] = {0, 1, 1000, SIZE};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        bool shrunk = true;
        fx_bytes plain = {data, sizes[i]};
        assert_int_equal(fx_zip_compress(zip, plain, &out, &shrunk, &err), FX_OK);
        assert_false(shrunk);
        assert_int_equal(out.size_bytes, 0);
    }
}

/* As in files that hold both: wherever the pieces lie that are looked at. */
static void
data_that_shrinks_in_half_of_its_places_is_compressed(void **state)
{
    (void)state;
    enum { LARGE = 1024 * 1024, BLOCK = 64 * 1024 };
    fx_err err = {0};
    FX_AUTO(fx_zip) zip = fx_zip_new();
    FX_BUF_AUTO large;
    FX_BUF_AUTO out;
    fx_buf_init(&large, LARGE);
    fx_buf_init(&out, (size_t)2 * LARGE);
    unsigned char *room = NULL;
    assert_int_equal(fx_buf_extend(&large, LARGE, &room, &err), FX_OK);
    fx_rng rng;
    fx_rng_init(&rng, 1);
    for (int round = 0; round < 40; round++) {
        size_t shift = fx_rng_next(&rng) % ((size_t)2 * BLOCK);
        size_t size_bytes = LARGE / 2 + fx_rng_next(&rng) % (LARGE / 2);
        for (size_t i = 0; i < size_bytes; i++) {
            bool is_text = (i + shift) / BLOCK % 2 == 0;
            room[i] = (unsigned char)(is_text ? i / 100 : fx_rng_next(&rng));
        }
        bool shrunk = false;
        fx_buf_clear(&out);
        assert_int_equal(
            fx_zip_compress(zip, (fx_bytes){room, size_bytes}, &out, &shrunk, &err), FX_OK);
        assert_true(shrunk);
    }
}

static void
levels_are_read_and_used(void **state)
{
    (void)state;
    fx_err err = {0};
    int level = -1;
    assert_int_equal(fx_zip_level_parse("none", &level, &err), FX_OK);
    assert_int_equal(level, FX_ZIP_NONE);
    assert_int_equal(fx_zip_level_parse("19", &level, &err), FX_OK);
    assert_int_equal(level, 19);
    static const char *const wrong[] = {"", "0", "20", "-1", "1x", "x", "111", " 1", "None"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(fx_zip_level_parse(wrong[i], &level, &err), FX_ERR_INVALID);
    }
    assert_int_equal(level, 19);

    FX_AUTO(fx_zip) zip = fx_zip_new();
    fx_rng rng;
    fx_rng_init(&rng, 1);
    for (size_t i = 0; i < SIZE; i++) {
        data[i] = (unsigned char)("abcdefgh"[fx_rng_next(&rng) % 8]);
    }
    static const int levels[] = {1, 9, FX_ZIP_NONE, 1};
    size_t sizes[4] = {0};
    for (size_t i = 0; i < 4; i++) {
        FX_BUF_AUTO out;
        fx_buf_init(&out, (size_t)2 * SIZE);
        bool shrunk = false;
        fx_zip_set_level(zip, levels[i]);
        assert_int_equal(fx_zip_compress(zip, (fx_bytes){data, SIZE}, &out, &shrunk, &err), FX_OK);
        assert_int_equal(shrunk, levels[i] != FX_ZIP_NONE);
        sizes[i] = out.size_bytes;
    }
    assert_int_equal(sizes[0], sizes[3]);
    assert_true(sizes[1] < sizes[0]);
    assert_int_equal(sizes[2], 0);
}

static void
another_size_or_content_is_damage(void **state)
{
    (void)state;
    fx_err err = {0};
    FX_AUTO(fx_zip) zip = fx_zip_new();
    FX_BUF_AUTO small;
    FX_BUF_AUTO back;
    fx_buf_init(&small, (size_t)2 * SIZE);
    fx_buf_init(&back, SIZE);
    bool shrunk = false;
    memset(data, 'x', 1000);
    assert_int_equal(fx_zip_compress(zip, (fx_bytes){data, 1000}, &small, &shrunk, &err), FX_OK);
    assert_int_equal(fx_zip_expand(zip, fx_buf_bytes(&small), 999, &back, &err), FX_ERR_DAMAGED);
    assert_int_equal(fx_zip_expand(zip, fx_buf_bytes(&small), 1001, &back, &err), FX_ERR_DAMAGED);
    assert_int_equal(fx_zip_expand(zip, (fx_bytes){"junk", 4}, 1, &back, &err), FX_ERR_DAMAGED);
    assert_int_equal(back.size_bytes, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expands_to_what_was_compressed),
        cmocka_unit_test(random_data_is_left_alone),
        cmocka_unit_test(data_that_shrinks_in_half_of_its_places_is_compressed),
        cmocka_unit_test(levels_are_read_and_used),
        cmocka_unit_test(another_size_or_content_is_damage),
    };
    return cmocka_run_group_tests_name("zip", tests, NULL, NULL);
}
