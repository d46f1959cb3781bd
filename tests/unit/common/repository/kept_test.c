#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/repository/kept.h"
#include "tests/support/folder.h"

enum { PATH_BYTES = 128 };

static char folder[] = "/tmp/fx_kept_test_XXXXXX";

static int
make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int
remove_folder(void **state)
{
    (void)state;
    return test_folder_remove(folder);
}

static fx_chunk_id
id_of(int number)
{
    fx_chunk_id id = {{(unsigned char)(number * 37), (unsigned char)number}};
    return id;
}

static void
keep(const char *path, int count)
{
    fx_err err = {0};
    fx_chunk_id root = id_of(count - 1);
    FX_AUTO(fx_kept_writer) writer = fx_kept_writer_new(folder);
    assert_non_null(writer);
    for (int i = 0; i < count; i++) {
        char text[32];
        fx_chunk_id id = id_of(i);
        int length = snprintf(text, sizeof text, "list %d", i);
        fx_kept_writer_add(writer, &id, (fx_bytes){text, (size_t)length});
        fx_kept_writer_add(writer, &id, (fx_bytes){text, (size_t)length}); /* once is enough */
    }
    assert_int_equal(fx_kept_writer_finish(writer, path, &root, (fx_wall){42}, &err), FX_OK);
}

static void
lists_come_back_as_they_were(void **state)
{
    (void)state;
    enum { COUNT = 200 };
    fx_err err = {0};
    char path[PATH_BYTES];
    struct stat info;
    FX_AUTO(fx_kept) kept = NULL;
    (void)snprintf(path, sizeof path, "%s/kept", folder);
    assert_int_equal(fx_kept_load(path, &kept, &err), FX_ERR_NOT_FOUND);
    keep(path, 3);
    keep(path, COUNT);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(fx_kept_load(path, &kept, &err), FX_OK);
    fx_chunk_id root = fx_kept_root(kept);
    fx_chunk_id last = id_of(COUNT - 1);
    assert_memory_equal(&root, &last, sizeof last);
    assert_int_equal(fx_kept_began(kept).ns, 42);
    for (int i = 0; i < COUNT; i++) {
        char text[32];
        fx_bytes content;
        fx_chunk_id id = id_of(i);
        int length = snprintf(text, sizeof text, "list %d", i);
        assert_true(fx_kept_find(kept, &id, &content));
        assert_int_equal(content.size_bytes, length);
        assert_memory_equal(content.data, text, content.size_bytes);
    }
    fx_bytes content;
    fx_chunk_id other = id_of(COUNT);
    assert_false(fx_kept_find(kept, &other, &content));
}

static void
what_is_cut_short_or_open_to_others_is_refused(void **state)
{
    (void)state;
    fx_err err = {0};
    char path[PATH_BYTES];
    struct stat info;
    fx_kept *kept = NULL;
    (void)snprintf(path, sizeof path, "%s/cut", folder);
    keep(path, 5);
    assert_int_equal(chmod(path, 0620), 0);
    assert_int_equal(fx_kept_load(path, &kept, &err), FX_ERR_DENIED);
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(stat(path, &info), 0);
    for (off_t size = info.st_size - 1; size >= 0; size--) {
        assert_int_equal(truncate(path, size), 0);
        assert_int_equal(fx_kept_load(path, &kept, &err), FX_ERR_DAMAGED);
    }
    assert_null(kept);
}

/* Several data sets of a host are saved at once; what one left that was killed is used again. */
static void
writers_do_not_meet(void **state)
{
    (void)state;
    enum { SLOTS = 16 };
    fx_kept_writer *writers[SLOTS];
    for (int i = 0; i < SLOTS; i++) {
        writers[i] = fx_kept_writer_new(folder);
        assert_non_null(writers[i]);
    }
    assert_null(fx_kept_writer_new(folder));
    fx_kept_writer_free(writers[3]);
    writers[3] = fx_kept_writer_new(folder);
    assert_non_null(writers[3]);
    for (int i = 0; i < SLOTS; i++) {
        fx_kept_writer_free(writers[i]);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_come_back_as_they_were),
        cmocka_unit_test(what_is_cut_short_or_open_to_others_is_refused),
        cmocka_unit_test(writers_do_not_meet),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
