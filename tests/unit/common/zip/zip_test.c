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
    assert_int_equal(fx_zip_compress(zip, 1, (fx_bytes){data, SIZE}, &small, &shrunk, &err), FX_OK);
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
        assert_int_equal(fx_zip_compress(zip, 1, plain, &out, &shrunk, &err), FX_OK);
        assert_false(shrunk);
        assert_int_equal(out.size_bytes, 0);
    }
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
    assert_int_equal(fx_zip_compress(zip, 1, (fx_bytes){data, 1000}, &small, &shrunk, &err), FX_OK);
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
        cmocka_unit_test(another_size_or_content_is_damage),
    };
    return cmocka_run_group_tests_name("zip", tests, NULL, NULL);
}
