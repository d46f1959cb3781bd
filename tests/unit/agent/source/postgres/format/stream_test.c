#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/source/postgres/format/stream.h"

typedef struct seen {
    char tablespace[FX_BACKUP_TABLESPACE_BYTES];
    unsigned entries;
    size_t manifest_bytes;
} seen;

static fx_code
on_begin(void *ctx, const char *tablespace, const fx_tar_entry *entry, fx_err *err)
{
    (void)entry;
    (void)err;
    seen *at = ctx;
    (void)snprintf(at->tablespace, sizeof at->tablespace, "%s", tablespace);
    at->entries++;
    return FX_OK;
}

static fx_code
on_data(void *ctx, fx_bytes bytes, fx_err *err)
{
    (void)ctx;
    (void)bytes;
    (void)err;
    return FX_OK;
}

static fx_code
on_end(void *ctx, fx_err *err)
{
    (void)ctx;
    (void)err;
    return FX_OK;
}

static fx_code
on_manifest(void *ctx, fx_bytes bytes, fx_err *err)
{
    (void)err;
    ((seen *)ctx)->manifest_bytes += bytes.size_bytes;
    return FX_OK;
}

static fx_err last;

static void
begin(fx_backup_stream *stream, seen *at)
{
    const fx_backup_sink sink = {
        .ctx = at, .begin = on_begin, .data = on_data, .end = on_end, .manifest = on_manifest};
    fx_backup_stream_init(stream, &sink);
}

static fx_code
feed(fx_backup_stream *stream, const char *text, size_t size_bytes)
{
    return fx_backup_stream_feed(stream, (fx_bytes){.data = text, .size_bytes = size_bytes}, &last);
}

/* With the NUL at its end, which a literal brings along. */
#define FEED(stream, literal) feed((stream), (literal), sizeof(literal))

static void
archives_and_manifest_follow_each_other(void **state)
{
    (void)state;
    fx_backup_stream stream;
    seen got = {0};
    begin(&stream, &got);
    assert_int_equal(FEED(&stream, "n16384.tar\0/srv/fast"), FX_OK);
    assert_string_equal(stream.tablespace, "16384");
    assert_int_equal(FEED(&stream, "nbase.tar\0"), FX_OK);
    assert_string_equal(stream.tablespace, "");
    assert_int_equal(FEED(&stream, "p1234567"), FX_OK);
    assert_int_equal(fx_backup_stream_finish(&stream, &last), FX_ERR_DAMAGED);
    assert_int_equal(feed(&stream, "m", 1), FX_OK);
    assert_int_equal(feed(&stream, "d{}", 3), FX_OK);
    assert_int_equal(got.manifest_bytes, 2);
    assert_int_equal(fx_backup_stream_finish(&stream, &last), FX_OK);
    assert_int_equal(feed(&stream, "m", 1), FX_ERR_DAMAGED);
}

static void
wrong_messages_are_refused(void **state)
{
    (void)state;
    fx_backup_stream stream;
    seen got = {0};
    begin(&stream, &got);
    assert_int_equal(feed(&stream, "", 0), FX_ERR_DAMAGED);
    assert_int_equal(feed(&stream, "dx", 2), FX_ERR_DAMAGED);
    assert_int_equal(feed(&stream, "z", 1), FX_ERR_UNSUPPORTED);
    assert_int_equal(feed(&stream, "nbase.tar", 9), FX_ERR_DAMAGED);
    assert_int_equal(FEED(&stream, "nbase.tar"), FX_ERR_DAMAGED);
    assert_int_equal(FEED(&stream, "n../x.tar\0"), FX_ERR_DAMAGED);
    assert_int_equal(FEED(&stream, "n12345678901.tar\0"), FX_ERR_DAMAGED);
    assert_int_equal(FEED(&stream, "nbase.tar\0\0more"), FX_ERR_DAMAGED);
    assert_int_equal(got.entries, 0);
}

static void
an_archive_that_is_cut_short_is_found_at_the_next(void **state)
{
    (void)state;
    fx_backup_stream stream;
    seen got = {0};
    begin(&stream, &got);
    assert_int_equal(FEED(&stream, "n16384.tar\0/srv"), FX_OK);
    assert_int_equal(feed(&stream, "dabc", 4), FX_OK);
    assert_int_equal(FEED(&stream, "nbase.tar\0"), FX_ERR_DAMAGED);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(archives_and_manifest_follow_each_other),
        cmocka_unit_test(wrong_messages_are_refused),
        cmocka_unit_test(an_archive_that_is_cut_short_is_found_at_the_next),
    };
    return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
