#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/repository/index.h"

enum { PATH_BYTES = 256 };

static char folder[PATH_BYTES];

/* An id that says its number, spread like an HMAC. */
static fx_chunk_id
id_of(uint64_t number)
{
    fx_chunk_id id = {{0}};
    uint64_t mixed = number * UINT64_C(0x9e3779b97f4a7c15);
    memcpy(id.bytes, &mixed, sizeof mixed);
    memcpy(id.bytes + 8, &number, sizeof number);
    return id;
}

/* A pack of the chunks from `first` on. */
static uint32_t
add_pack(fx_index *index, uint64_t first, uint32_t count, uint16_t is_rescued)
{
    fx_index_pack pack = {
        .size_bytes = (uint32_t)first, .blob_count = count, .is_rescued = is_rescued};
    fx_index_entry entry = {.pack = fx_index_add_pack(index, &pack)};
    for (entry.blob = 0; entry.blob < count; entry.blob++) {
        entry.id = id_of(first + entry.blob);
        fx_index_add(index, &entry);
    }
    return entry.pack;
}

static void
expect_place(const fx_index *index, uint64_t number, uint64_t first)
{
    fx_index_cursor cursor = {0};
    fx_index_entry entry;
    fx_chunk_id id = id_of(number);
    assert_true(fx_index_next(index, &id, &cursor, &entry));
    assert_int_equal(entry.blob, number - first);
    assert_int_equal(fx_index_pack_at(index, entry.pack).size_bytes, first);
}

static void
finds_what_was_added_once_it_is_sealed(void **state)
{
    (void)state;
    FX_AUTO(fx_index) index = fx_index_new(NULL);
    fx_chunk_id id = id_of(0);
    assert_false(fx_index_has(index, &id));
    for (uint64_t first = 0; first < 5000; first += 50) {
        assert_int_equal(add_pack(index, first, 50, 0), first / 50);
        fx_index_seal(index);
    }
    assert_int_equal(fx_index_pack_count(index), 100);
    assert_int_equal(fx_index_entry_count(index), 5000);
    for (uint64_t number = 0; number < 5000; number++) {
        expect_place(index, number, number / 50 * 50);
    }
    id = id_of(5000);
    assert_false(fx_index_has(index, &id));
}

static void
gives_every_place_of_a_chunk(void **state)
{
    (void)state;
    FX_AUTO(fx_index) index = fx_index_new(NULL);
    for (int i = 0; i < 3; i++) {
        (void)add_pack(index, 10, 5, 0);
        (void)add_pack(index, 10, 5, 0);
        fx_index_seal(index);
    }
    fx_index_cursor cursor = {0};
    fx_index_entry entry;
    fx_chunk_id id = id_of(12);
    bool seen[6] = {false};
    size_t count = 0;
    while (fx_index_next(index, &id, &cursor, &entry)) {
        assert_int_equal(entry.blob, 2);
        assert_in_range(entry.pack, 0, 5);
        assert_false(seen[entry.pack]);
        seen[entry.pack] = true;
        count++;
    }
    assert_int_equal(count, 6);
}

static void
what_only_a_packs_directory_tells_is_not_recorded(void **state)
{
    (void)state;
    FX_AUTO(fx_index) index = fx_index_new(NULL);
    (void)add_pack(index, 0, 10, 1);
    fx_index_seal(index);
    fx_chunk_id id = id_of(3);
    assert_true(fx_index_has(index, &id));
    assert_false(fx_index_is_recorded(index, &id));
    (void)add_pack(index, 0, 10, 0);
    fx_index_seal(index);
    assert_true(fx_index_is_recorded(index, &id));
}

static void
rolling_back_forgets_what_was_added_since(void **state)
{
    (void)state;
    FX_AUTO(fx_index) index = fx_index_new(NULL);
    (void)add_pack(index, 0, 10, 0);
    fx_index_mark mark = fx_index_marked(index);
    (void)add_pack(index, 10, 10, 0);
    fx_index_roll_back(index, &mark);
    assert_int_equal(add_pack(index, 20, 10, 0), 1);
    fx_index_seal(index);
    fx_chunk_id gone = id_of(15);
    assert_false(fx_index_has(index, &gone));
    expect_place(index, 25, 20);
}

/* More than stays in memory: parts are files then, and are merged as such. */
static void
large_parts_lie_in_files(void **state)
{
    (void)state;
    FX_AUTO(fx_index) index = fx_index_new(folder);
    for (uint64_t first = 0; first < 600000; first += 10000) {
        (void)add_pack(index, first, 10000, 0);
        fx_index_seal(index);
    }
    for (uint64_t number = 0; number < 600000; number += 997) {
        expect_place(index, number, number / 10000 * 10000);
    }
}

static void
a_saved_index_is_found_again_with_its_label(void **state)
{
    (void)state;
    char path[PATH_BYTES + 16];
    fx_err err = {0};
    (void)snprintf(path, sizeof path, "%s/saved", folder);
    FX_AUTO(fx_index) index = fx_index_new(NULL);
    for (uint64_t first = 0; first < 3000; first += 1000) {
        (void)add_pack(index, first, 1000, 0);
        fx_index_seal(index);
    }
    assert_int_equal(fx_index_save(index, path, (fx_bytes){"hello", 5}, &err), FX_OK);

    FX_AUTO(fx_index) again = fx_index_new(NULL);
    FX_BUF_AUTO label;
    fx_buf_init(&label, 100);
    assert_int_equal(fx_index_load(again, path, &label, &err), FX_OK);
    assert_string_equal(fx_buf_text(&label), "hello");
    assert_int_equal(fx_index_pack_count(again), 3);
    for (uint64_t number = 0; number < 3000; number++) {
        expect_place(again, number, number / 1000 * 1000);
    }
    assert_int_equal(add_pack(again, 5000, 10, 0), 3);
    fx_index_seal(again);
    expect_place(again, 5003, 5000);
    expect_place(again, 3, 0);
}

static void
refuses_a_file_that_is_cut_short_or_open_to_others(void **state)
{
    (void)state;
    char path[PATH_BYTES + 16];
    fx_err err = {0};
    FX_BUF_AUTO label;
    fx_buf_init(&label, 100);
    (void)snprintf(path, sizeof path, "%s/bad", folder);
    FX_AUTO(fx_index) index = fx_index_new(NULL);
    (void)add_pack(index, 0, 1000, 0);
    fx_index_seal(index);
    assert_int_equal(fx_index_save(index, path, (fx_bytes){NULL, 0}, &err), FX_OK);
    FX_AUTO(fx_index) again = fx_index_new(NULL);
    assert_int_equal(chmod(path, 0620), 0);
    assert_int_equal(fx_index_load(again, path, &label, &err), FX_ERR_DENIED);
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(truncate(path, 40000), 0);
    assert_int_equal(fx_index_load(again, path, &label, &err), FX_ERR_DAMAGED);
    assert_int_equal(truncate(path, 10), 0);
    assert_int_equal(fx_index_load(again, path, &label, &err), FX_ERR_DAMAGED);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(fx_index_load(again, path, &label, &err), FX_ERR_NOT_FOUND);
    assert_int_equal(fx_index_pack_count(again), 0);
}

static int
make_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/fortress-index-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int
remove_folder(void **state)
{
    (void)state;
    char path[PATH_BYTES + 16];
    (void)snprintf(path, sizeof path, "%s/saved", folder);
    (void)unlink(path);
    return rmdir(folder);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_was_added_once_it_is_sealed),
        cmocka_unit_test(gives_every_place_of_a_chunk),
        cmocka_unit_test(what_only_a_packs_directory_tells_is_not_recorded),
        cmocka_unit_test(rolling_back_forgets_what_was_added_since),
        cmocka_unit_test(large_parts_lie_in_files),
        cmocka_unit_test(a_saved_index_is_found_again_with_its_label),
        cmocka_unit_test(refuses_a_file_that_is_cut_short_or_open_to_others),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
