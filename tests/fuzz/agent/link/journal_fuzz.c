/* A journal of orders: the bytes with a true beginning and checksum before them, and as they are.
 */
#include <string.h>

#include "agent/link/journal.h"
#include "common/crypto/digest.h"
#include "tests/fuzz/support/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

static void
open_it(fx_bytes content)
{
    fx_err err = {0};
    const fx_order_record *pending[FX_JOURNAL_MAX];
    FX_AUTO(fx_journal) journal = NULL;
    fx_code code = fx_journal_open(fuzz_file_write(content), &journal, &err);
    FX_ASSERT((code == FX_OK) == (journal != NULL));
    if (journal == NULL) {
        return;
    }
    size_t count = fx_journal_pending(journal, pending, FX_JOURNAL_MAX);
    for (size_t i = 0; i < count; i++) {
        FX_ASSERT(pending[i]->state != FORTRESS__LINK__ORDER_STATE__ORDER_STATE_RUNNING);
        FX_ASSERT(fx_journal_find(journal, pending[i]->order) != NULL);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    static const char magic[] = "fortress orders 1\n";
    FX_BUF_AUTO whole;
    fx_err err = {0};
    unsigned char sum[FX_SHA256_BYTES];
    const fx_bytes rest = {data, size_bytes};
    fx_buf_init(&whole, size_bytes + 64);
    fx_sha256(rest, sum);
    FX_ASSERT(fx_buf_append(&whole, magic, sizeof magic - 1, &err) == FX_OK);
    FX_ASSERT(fx_buf_append(&whole, sum, sizeof sum, &err) == FX_OK);
    FX_ASSERT(size_bytes == 0 || fx_buf_append(&whole, data, size_bytes, &err) == FX_OK);
    open_it(fx_buf_bytes(&whole));
    open_it(rest);
    return 0;
}
