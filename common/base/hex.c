#include "common/base/hex.h"

#include <string.h>

void
fx_hex_encode(fx_bytes bytes, char *out_text)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *data = bytes.data;
    for (size_t i = 0; i < bytes.size_bytes; i++) {
        *out_text++ = digits[data[i] >> 4];
        *out_text++ = digits[data[i] & 15];
    }
    *out_text = '\0';
}

static int
digit_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

fx_code
fx_hex_decode(const char *text, unsigned char *out_bytes, size_t size_bytes, fx_err *err)
{
    if (strlen(text) != size_bytes * 2) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not read \"%.80s\": expected %zu hexadecimal digits",
            text,
            size_bytes * 2);
    }
    for (size_t i = 0; i < size_bytes; i++) {
        int high = digit_value(text[2 * i]);
        int low = digit_value(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return fx_fail(err, FX_ERR_INVALID, "could not read \"%.80s\": not hexadecimal", text);
        }
        out_bytes[i] = (unsigned char)(high * 16 + low);
    }
    return FX_OK;
}
