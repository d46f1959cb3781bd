#include "tests/support/scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

char test_scratch_path[64];

int
test_scratch_begin(void **state)
{
    (void)state;
    (void)snprintf(test_scratch_path, sizeof(test_scratch_path), "/tmp/fx_test_XXXXXX");
    int fd = mkstemp(test_scratch_path);
    if (fd < 0) {
        return -1;
    }
    (void)close(fd);
    return unlink(test_scratch_path);
}

int
test_scratch_end(void **state)
{
    (void)state;
    (void)unlink(test_scratch_path);
    return 0;
}
