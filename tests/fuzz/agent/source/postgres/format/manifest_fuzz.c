/*
 * A backup manifest as a server sends it, beside a few files that arrived; and the same bytes as a
 * postgresql.auto.conf that a restored folder has in it.
 */
#include <string.h>

#include "agent/source/postgres/format/manifest.h"
#include "agent/source/postgres/format/settings.h"

enum { SETTINGS_MAX_BYTES = 64 * 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

static void
check_manifest(fx_bytes manifest)
{
    fx_err err = {0};
    FX_AUTO(fx_file_sums) sums = fx_file_sums_new();
    FX_ASSERT(
        fx_file_sums_add(
            sums, "global/pg_control", 9, fx_crc32c(0, (fx_bytes){"123456789", 9}), &err) == FX_OK);
    FX_ASSERT(fx_file_sums_add(sums, "base/5/1259", 0, 0, &err) == FX_OK);
    FX_ASSERT(fx_file_sums_add(sums, "base/\xff", 0, 0, &err) == FX_OK);
    fx_code code = fx_manifest_check(manifest, sums, &err);
    FX_ASSERT(code == FX_OK || err.message[0] != '\0');
}

/* With all that must be quoted. */
static const fx_recovery usual = {
    .agent = "/usr/bin/fortress-agent",
    .url = "/srv/it's 100% \\here",
    .key_file = "/etc/fortress/key",
    .system = "7711702144657021613",
    .target_time = {.ns = INT64_C(1700000000123456000)},
};

/* What led the old server does not lead the new one: every such name stands once. */
static void
check_settings(fx_bytes settings)
{
    static const char target[] = "\nrecovery_target_action";
    fx_err err = {0};
    FX_BUF_AUTO out;
    fx_buf_init(&out, SETTINGS_MAX_BYTES);
    fx_code code = fx_recovery_settings(settings, &usual, &out, &err);
    FX_ASSERT(code == FX_OK);
    unsigned count = 0;
    const char *at = (const char *)out.data;
    const char *end = at + out.size_bytes;
    while ((at = memmem(at, (size_t)(end - at), target, strlen(target))) != NULL) {
        at += strlen(target);
        count += *at == ' ' || *at == '=';
    }
    FX_ASSERT(count == 1);
}

/* Any path stands in the command, but for one with a line break. */
static void
check_path(fx_bytes bytes)
{
    fx_err err = {0};
    FX_BUF_AUTO out;
    char path[1024] = {0};
    fx_recovery recovery = usual;
    recovery.url = path;
    recovery.target_time.ns = 0;
    fx_buf_init(&out, SETTINGS_MAX_BYTES);
    if (bytes.size_bytes > 0) {
        memcpy(
            path, bytes.data, bytes.size_bytes < sizeof path ? bytes.size_bytes : sizeof path - 1);
    }
    fx_code code = fx_recovery_settings((fx_bytes){NULL, 0}, &recovery, &out, &err);
    FX_ASSERT((code == FX_OK) == (strpbrk(path, "\r\n") == NULL));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    check_manifest((fx_bytes){data, size_bytes});
    check_settings((fx_bytes){data, size_bytes});
    check_path((fx_bytes){data, size_bytes});
    return 0;
}
