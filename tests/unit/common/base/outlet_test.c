#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/outlet.h"
#include "common/base/rng.h"

enum { SIZE = 3 * 1024 * 1024 };

static unsigned char wanted[SIZE];
static unsigned char found[SIZE];
static unsigned char piece[SIZE];

/* A file without a name, on a disk where there is one below. */
static int
new_file(const char *below)
{
    int fd = open(below, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, SIZE), 0);
    memset(wanted, 0, sizeof wanted);
    return fd;
}

static void
write_pieces(const fx_outlet *outlet, uint64_t seed, int count)
{
    fx_rng rng;
    fx_rng_init(&rng, seed);
    for (int i = 0; i < count; i++) {
        size_t at = fx_rng_next(&rng) % SIZE;
        size_t size_bytes = fx_rng_next(&rng) % (SIZE - at + 1);
        if (i % 3 == 0) { /* whole blocks, too */
            at -= at % 4096;
            size_bytes -= size_bytes % 4096;
        }
        unsigned char fill = (unsigned char)(i + 1);
        memset(piece, fill, size_bytes);
        memset(wanted + at, fill, size_bytes);
        assert_int_equal(fx_outlet_write(outlet, (fx_bytes){piece, size_bytes}, at), 0);
    }
    assert_int_equal(pread(outlet->fd, found, SIZE, 0), SIZE);
    assert_memory_equal(found, wanted, SIZE);
}

static void
check_below(const char *below)
{
    int fd = new_file(below);
    fx_outlet outlet = {.fd = fd, .direct_fd = fx_direct_open(fd), .room = fx_direct_room_new()};
    if (outlet.direct_fd < 0) {
        print_message("%s: nothing goes past the cache there\n", below);
    }
    write_pieces(&outlet, 1, 60);
    if (outlet.direct_fd >= 0) {
        (void)close(outlet.direct_fd);
    }
    free(outlet.room);
    (void)close(fd);
}

static void
pieces_at_any_place_lie_where_they_should(void **state)
{
    (void)state;
    check_below("/var/tmp");
    check_below("/dev/shm");
}

static void
without_a_way_past_the_cache_all_goes_through_it(void **state)
{
    (void)state;
    int fd = new_file("/var/tmp");
    fx_outlet outlet = {.fd = fd, .direct_fd = -1};
    write_pieces(&outlet, 2, 10);
    (void)close(fd);
}

static void
a_failure_is_told(void **state)
{
    (void)state;
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    fx_outlet outlet = {.fd = fd, .direct_fd = -1};
    assert_int_equal(fx_outlet_write(&outlet, (fx_bytes){piece, 10}, 0), ENOSPC);
    assert_int_equal(fx_write_at(-1, (fx_bytes){piece, 10}, 0), EBADF);
    outlet = (fx_outlet){.fd = fd, .direct_fd = fd, .room = fx_direct_room_new()};
    assert_int_equal(fx_outlet_write(&outlet, (fx_bytes){piece, SIZE}, 0), ENOSPC);
    free(outlet.room);
    (void)close(fd);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_at_any_place_lie_where_they_should),
        cmocka_unit_test(without_a_way_past_the_cache_all_goes_through_it),
        cmocka_unit_test(a_failure_is_told),
    };
    return cmocka_run_group_tests_name("outlet", tests, NULL, NULL);
}
