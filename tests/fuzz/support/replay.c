/* Instead of libFuzzer: each file of a folder, and the empty input, once. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

enum { INPUT_MAX_BYTES = 1024 * 1024 };

static bool
replay(const char *path)
{
    fx_err err = {0};
    FX_BUF_AUTO input;
    fx_buf_init(&input, INPUT_MAX_BYTES);
    if (fx_file_read(path, &input, &err) != FX_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        return false;
    }
    /* A copy of exactly that size: reading past it is found. */
    uint8_t *copy = malloc(input.size_bytes + (input.size_bytes == 0 ? 1 : 0));
    FX_ASSERT(copy != NULL);
    if (input.size_bytes > 0) {
        memcpy(copy, input.data, input.size_bytes);
    }
    (void)LLVMFuzzerTestOneInput(copy, input.size_bytes);
    free(copy);
    return true;
}

int
main(int argc, char **argv)
{
    static const uint8_t nothing;
    struct dirent **names = NULL;
    int count = argc == 2 ? scandir(argv[1], &names, NULL, alphasort) : -1;
    if (count < 0) {
        (void)fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return EXIT_FAILURE;
    }
    (void)LLVMFuzzerTestOneInput(&nothing, 0);
    bool all_read = true;
    for (int i = 0; i < count; i++) {
        char path[4096];
        if (names[i]->d_name[0] != '.') {
            int length = snprintf(path, sizeof path, "%s/%s", argv[1], names[i]->d_name);
            FX_ASSERT(length > 0 && (size_t)length < sizeof path);
            (void)printf("%s\n", path);
            all_read = replay(path) && all_read;
        }
        free(names[i]);
    }
    free(names);
    return all_read ? EXIT_SUCCESS : EXIT_FAILURE;
}
