/*
 * Key files and identity files: the text as it is, and its lines with the checks that no fuzzer
 * finds put behind them. What is read is written the same again.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/hex.h"
#include "common/crypto/digest.h"
#include "common/keyring/keyring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

enum { LINES_MAX_BYTES = FX_KEYRING_MAX_BYTES / 2 };

static void
parse_keyring(fx_bytes bytes)
{
    fx_err err = {0};
    FX_AUTO(fx_keyring) keyring = NULL;
    fx_code code = fx_keyring_parse(bytes, &keyring, &err);
    FX_ASSERT(
        code == FX_OK || code == FX_ERR_INVALID || code == FX_ERR_DAMAGED ||
        code == FX_ERR_UNSUPPORTED);
    FX_ASSERT((code == FX_OK) == (keyring != NULL));
    if (keyring != NULL) {
        FX_BUF_AUTO once;
        FX_BUF_AUTO twice;
        FX_AUTO(fx_keyring) same = NULL;
        fx_buf_init(&once, FX_KEYRING_MAX_BYTES);
        fx_buf_init(&twice, FX_KEYRING_MAX_BYTES);
        code = fx_keyring_print(keyring, &once, &err);
        FX_ASSERT(code == FX_OK && once.size_bytes <= bytes.size_bytes);
        code = fx_keyring_parse(fx_buf_bytes(&once), &same, &err);
        FX_ASSERT(code == FX_OK);
        code = fx_keyring_print(same, &twice, &err);
        FX_ASSERT(code == FX_OK && once.size_bytes == twice.size_bytes);
        FX_ASSERT(memcmp(once.data, twice.data, once.size_bytes) == 0);
    }
}

static void
parse_identity(fx_bytes bytes)
{
    fx_err err = {0};
    FX_BUF_AUTO text;
    unsigned char private_key[FX_BOX_KEY_BYTES];
    fx_buf_init(&text, FX_KEYRING_MAX_BYTES);
    fx_code code = fx_identity_parse(bytes, private_key, &err);
    FX_ASSERT(code != FX_ERR_LIMIT);
    if (code == FX_OK) {
        code = fx_identity_print(private_key, &text, &err);
        FX_ASSERT(code == FX_OK);
        unsigned char same[FX_BOX_KEY_BYTES];
        code = fx_identity_parse(fx_buf_bytes(&text), same, &err);
        FX_ASSERT(code == FX_OK && memcmp(same, private_key, sizeof same) == 0);
    }
}

static void
end_line(fx_buf *text, const unsigned char *chain, size_t check_bytes)
{
    char check[2 * FX_SHA256_BYTES + 1];
    fx_err err = {0};
    fx_hex_encode((fx_bytes){chain, check_bytes}, check);
    fx_code code = fx_buf_append_format(text, &err, " %s\n", check);
    FX_ASSERT(code == FX_OK);
}

static void
append(fx_buf *text, const char *bytes, size_t size_bytes)
{
    fx_err err = {0};
    fx_code code = fx_buf_append(text, bytes, size_bytes, &err);
    FX_ASSERT(code == FX_OK);
}

static void
add_checks(fx_bytes bytes, fx_buf *text)
{
    unsigned char chain[FX_SHA256_BYTES] = {0};
    const char *at = bytes.data;
    const char *end = at + bytes.size_bytes;
    FX_AUTO(fx_sha256_stream) stream = fx_sha256_stream_new();
    while (at < end && text->size_bytes < LINES_MAX_BYTES) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((stop == NULL ? end : stop) - at);
        fx_sha256_stream_add(stream, (fx_bytes){chain, sizeof chain});
        fx_sha256_stream_add(stream, (fx_bytes){at, length});
        fx_sha256_stream_finish(stream, chain);
        append(text, at, length);
        end_line(text, chain, 4);
        at += stop == NULL ? length : length + 1;
    }
    append(text, "end", strlen("end"));
    end_line(text, chain, sizeof chain);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    static const uint8_t nothing;
    fx_bytes bytes = {size_bytes == 0 ? &nothing : data, size_bytes};
    FX_BUF_AUTO text;
    fx_buf_init(&text, FX_KEYRING_MAX_BYTES);
    parse_keyring(bytes);
    parse_identity(bytes);
    add_checks(bytes, &text);
    parse_keyring(fx_buf_bytes(&text));
    parse_identity(fx_buf_bytes(&text));
    return 0;
}
