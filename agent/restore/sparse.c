#include "agent/restore/sparse.h"

#include <string.h>

enum { BLOCK_BYTES = 4096 };

static size_t
block_at(uint64_t at, size_t left_bytes)
{
    size_t room_bytes = (size_t)(BLOCK_BYTES - at % BLOCK_BYTES);
    return left_bytes < room_bytes ? left_bytes : room_bytes;
}

static bool
is_zero_block(const unsigned char *data, size_t size_bytes)
{
    static const unsigned char zeros[BLOCK_BYTES];
    return size_bytes == BLOCK_BYTES && data[0] == 0 && memcmp(data, zeros, size_bytes) == 0;
}

int
fx_write_sparse(const fx_outlet *outlet, fx_bytes bytes, uint64_t at, uint64_t *out_end)
{
    const unsigned char *data = bytes.data;
    size_t done_bytes = 0;
    *out_end = at;
    while (done_bytes < bytes.size_bytes) {
        size_t run_bytes = 0;
        size_t left_bytes = bytes.size_bytes - done_bytes;
        size_t step_bytes = block_at(at + done_bytes, left_bytes);
        while (step_bytes > 0 && !is_zero_block(data + done_bytes + run_bytes, step_bytes)) {
            run_bytes += step_bytes;
            step_bytes = block_at(at + done_bytes + run_bytes, left_bytes - run_bytes);
        }
        fx_bytes run = {data + done_bytes, run_bytes};
        int failed = fx_outlet_write(outlet, run, at + done_bytes);
        if (failed != 0) {
            return failed;
        }
        if (run_bytes > 0) {
            *out_end = at + done_bytes + run_bytes;
        }
        done_bytes += run_bytes + step_bytes;
    }
    return 0;
}
