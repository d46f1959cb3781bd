#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/source/postgres/format/manifest.h"

static fx_bytes
text(const char *content)
{
    return (fx_bytes){.data = content, .size_bytes = strlen(content)};
}

static void
checksums_are_those_of_the_standard(void **state)
{
    (void)state;
    /* source: RFC 3720, appendix B.4: 32 bytes of zeros give aa 36 91 8a */
    static const unsigned char zeros[32] = {0};
    assert_int_equal(
        fx_crc32c(0, (fx_bytes){.data = zeros, .size_bytes = sizeof zeros}), 0x8A9136AA);
    assert_int_equal(fx_crc32c(0, text("123456789")), 0xE3069283);
    assert_int_equal(fx_crc32c(fx_crc32c(0, text("12345")), text("6789")), 0xE3069283);
    assert_int_equal(fx_crc32c(0, text("")), 0);
}

static const char manifest[] =
    "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n"
    "\"Files\": [\n"
    "{ \"Path\": \"backup_label\", \"Size\": 9, \"Last-Modified\": \"x\", "
    "\"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"839206e3\" },\n"
    "{ \"Encoded-Path\": \"ff\", \"Size\": 0, \"Last-Modified\": \"x\", "
    "\"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"00000000\" }\n"
    "],\n\"WAL-Ranges\": [\n{ \"Timeline\": 1, \"Start-LSN\": \"0/2\", \"End-LSN\": \"0/3\" "
    "}\n],\n";

static fx_code
check(uint64_t size_bytes, uint32_t crc, bool with_second, fx_err *err)
{
    FX_AUTO(fx_file_sums) sums = fx_file_sums_new();
    assert_int_equal(fx_file_sums_add(sums, "pg_wal/extra", 1, 1, err), FX_OK);
    assert_int_equal(fx_file_sums_add(sums, "backup_label", size_bytes, crc, err), FX_OK);
    if (with_second) {
        assert_int_equal(fx_file_sums_add(sums, "\xff", 0, 0, err), FX_OK);
    }
    return fx_manifest_check(text(manifest), sums, err);
}

static void
files_must_be_as_the_manifest_says(void **state)
{
    (void)state;
    fx_err err = {0};
    assert_int_equal(check(9, 0xE3069283, true, &err), FX_OK);
    assert_int_equal(check(8, 0xE3069283, true, &err), FX_ERR_DAMAGED);
    assert_int_equal(check(9, 0xE3069284, true, &err), FX_ERR_DAMAGED);
    assert_non_null(strstr(err.message, "backup_label"));
    assert_int_equal(check(9, 0xE3069283, false, &err), FX_ERR_DAMAGED);
}

static void
an_empty_manifest_proves_nothing(void **state)
{
    (void)state;
    fx_err err = {0};
    FX_AUTO(fx_file_sums) sums = fx_file_sums_new();
    assert_int_equal(fx_manifest_check(text(""), sums, &err), FX_ERR_DAMAGED);
    assert_int_equal(fx_manifest_check(text("{ \"Path\": \"x\"\n"), sums, &err), FX_ERR_INVALID);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checksums_are_those_of_the_standard),
        cmocka_unit_test(files_must_be_as_the_manifest_says),
        cmocka_unit_test(an_empty_manifest_proves_nothing),
    };
    return cmocka_run_group_tests_name("manifest", tests, NULL, NULL);
}
