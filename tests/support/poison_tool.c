/*
 * Does what a stolen host could do, for tests:
 *   poison_tool URL KEY_FILE FILE         a pack that says it holds the file's content, and lies
 *   poison_tool URL KEY_FILE FILE PACK    an index object that says so of a pack that is there
 */
#include <stdio.h>

#include "common/base/file.h"
#include "tests/support/poison.h"

int
main(int argc, char **argv)
{
    fx_err err = {0};
    FX_AUTO(fx_repository_key) key = NULL;
    FX_BUF_AUTO content;
    fx_buf_init(&content, FX_CHUNK_MIN_BYTES);
    if (argc != 4 && argc != 5) {
        (void)fputs("Usage: poison_tool URL KEY_FILE FILE [PACK]\n", stderr);
        return 2;
    }
    fx_code code = fx_repository_key_load(argv[2], &key, &err);
    if (code == FX_OK) {
        code = fx_file_read(argv[3], &content, &err);
    }
    if (code == FX_OK) {
        fx_bytes bytes = fx_buf_bytes(&content);
        code = argc == 4 ? fx_poison_pack(argv[1], key, bytes, &err)
                         : fx_poison_index(argv[1], key, argv[4], bytes, &err);
    }
    if (code != FX_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    return 0;
}
