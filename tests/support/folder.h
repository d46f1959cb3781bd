/* The end of a test's scratch folder. */
#pragma once

#include <ftw.h>
#include <stdio.h>

static inline int
test_folder_remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

/* With all that is in it; follows no links. 0, or what could not be removed stopped it. */
static inline int
test_folder_remove(const char *path)
{
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread */
    return nftw(path, test_folder_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
