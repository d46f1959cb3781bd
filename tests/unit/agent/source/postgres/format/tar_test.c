#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/source/postgres/format/tar.h"

typedef struct seen {
    fx_tar_entry last;
    unsigned begun;
    unsigned ended;
    uint64_t data_bytes;
    unsigned char sum;
} seen;

static fx_code
on_begin(void *ctx, const fx_tar_entry *entry, fx_err *err)
{
    (void)err;
    seen *at = ctx;
    at->last = *entry;
    at->begun++;
    return FX_OK;
}

static fx_code
on_data(void *ctx, fx_bytes bytes, fx_err *err)
{
    (void)err;
    seen *at = ctx;
    at->data_bytes += bytes.size_bytes;
    for (size_t index = 0; index < bytes.size_bytes; index++) {
        at->sum = (unsigned char)(at->sum + ((const unsigned char *)bytes.data)[index]);
    }
    return FX_OK;
}

static fx_code
on_end(void *ctx, fx_err *err)
{
    (void)err;
    seen *at = ctx;
    at->ended++;
    return FX_OK;
}

static void
set_checksum(unsigned char *block)
{
    memset(block + 148, ' ', 8);
    unsigned sum = 0;
    for (size_t at = 0; at < FX_TAR_BLOCK_BYTES; at++) {
        sum += block[at];
    }
    (void)snprintf((char *)block + 148, 8, "%06o", sum);
}

static void
make_header(unsigned char *block, const char *path, char kind, unsigned long size_bytes)
{
    memset(block, 0, FX_TAR_BLOCK_BYTES);
    (void)snprintf((char *)block, 100, "%s", path);
    (void)snprintf((char *)block + 100, 8, "0100600");
    (void)snprintf((char *)block + 108, 8, "0000146");
    (void)snprintf((char *)block + 116, 8, "0000146");
    (void)snprintf((char *)block + 124, 12, "%011lo", size_bytes);
    (void)snprintf((char *)block + 136, 12, "14524501234");
    block[156] = (unsigned char)kind;
    memcpy(block + 257, "ustar", 6);
    set_checksum(block);
}

static fx_code
feed_in_pieces(const unsigned char *bytes, size_t size_bytes, size_t piece, seen *out, fx_err *err)
{
    fx_tar_reader reader;
    const fx_tar_sink sink = {.ctx = out, .begin = on_begin, .data = on_data, .end = on_end};
    fx_tar_reader_init(&reader, &sink);
    for (size_t at = 0; at < size_bytes; at += piece) {
        const size_t part = size_bytes - at < piece ? size_bytes - at : piece;
        if (fx_tar_feed(&reader, (fx_bytes){.data = bytes + at, .size_bytes = part}, err) !=
            FX_OK) {
            return err->code;
        }
    }
    return fx_tar_finish(&reader, err);
}

static fx_code
feed_one(const char *path, char kind, unsigned long size_bytes, seen *out, fx_err *err)
{
    unsigned char block[FX_TAR_BLOCK_BYTES];
    make_header(block, path, kind, size_bytes);
    return feed_in_pieces(block, sizeof block, sizeof block, out, err);
}

static void
entries_are_read_in_pieces_of_any_size(void **state)
{
    (void)state;
    unsigned char tar[FX_TAR_BLOCK_BYTES * 5] = {0};
    make_header(tar, "base/1/2619", '0', 600);
    memset(tar + FX_TAR_BLOCK_BYTES, 1, 600);
    make_header(tar + (size_t)FX_TAR_BLOCK_BYTES * 3, "pg_wal/", '5', 0);
    make_header(tar + (size_t)FX_TAR_BLOCK_BYTES * 4, "empty", '0', 0);
    static const size_t pieces[] = {1, 7, 511, 512, 513, sizeof tar};
    for (size_t at = 0; at < sizeof pieces / sizeof pieces[0]; at++) {
        fx_err err = {0};
        seen got = {0};
        assert_int_equal(feed_in_pieces(tar, sizeof tar, pieces[at], &got, &err), FX_OK);
        assert_int_equal(got.begun, 3);
        assert_int_equal(got.ended, 3);
        assert_true(got.data_bytes == 600);
        assert_int_equal(got.sum, 600 % 256);
    }
}

static void
fields_are_read(void **state)
{
    (void)state;
    fx_err err = {0};
    seen got = {0};
    assert_int_equal(feed_one("pg_wal/", '5', 0, &got, &err), FX_OK);
    assert_string_equal(got.last.path, "pg_wal");
    assert_int_equal(got.last.kind, FX_TAR_FOLDER);
    assert_int_equal(got.last.mode, 0600);
    assert_int_equal(got.last.uid, 0146);
    assert_int_equal(feed_one("./pg_wal/archive_status/", '5', 0, &got, &err), FX_OK);
    assert_string_equal(got.last.path, "pg_wal/archive_status");
    assert_true(got.last.mtime_s == 014524501234);
}

static void
sizes_of_eight_gigabytes_are_binary(void **state)
{
    (void)state;
    fx_err err = {0};
    seen got = {0};
    unsigned char block[FX_TAR_BLOCK_BYTES];
    make_header(block, "big", '0', 0);
    static const unsigned char size[12] = {0x80, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1};
    memcpy(block + 124, size, sizeof size);
    set_checksum(block);
    /* the stream stops inside it */
    assert_int_equal(feed_in_pieces(block, sizeof block, sizeof block, &got, &err), FX_ERR_DAMAGED);
    assert_true(got.last.size_bytes == ((UINT64_C(3) << 32) | 1));
    static const unsigned char too_big[12] = {0x80, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
    memcpy(block + 124, too_big, sizeof too_big);
    set_checksum(block);
    assert_int_equal(feed_in_pieces(block, sizeof block, sizeof block, &got, &err), FX_ERR_DAMAGED);
    assert_non_null(strstr(err.message, "bad number"));
}

static void
paths_that_lead_elsewhere_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "/etc/passwd",
        "../up",
        "a/../b",
        "a/./b",
        ".",
        "..",
        "a//b",
        "",
        "a/..",
        "/",
        "././a",
        "./",
        "./../a",
        ".//a"};
    for (size_t at = 0; at < sizeof bad / sizeof bad[0]; at++) {
        fx_err err = {0};
        seen got = {0};
        assert_int_equal(feed_one(bad[at], '0', 0, &got, &err), FX_ERR_DAMAGED);
        assert_int_equal(got.begun, 0);
    }
}

static void
other_kinds_and_noise_are_refused(void **state)
{
    (void)state;
    fx_err err = {0};
    seen got = {0};
    assert_int_equal(feed_one("hard", '1', 0, &got, &err), FX_ERR_UNSUPPORTED);
    assert_int_equal(feed_one("device", '3', 0, &got, &err), FX_ERR_UNSUPPORTED);
    unsigned char noise[FX_TAR_BLOCK_BYTES];
    memset(noise, 'x', sizeof noise);
    assert_int_equal(feed_in_pieces(noise, sizeof noise, 512, &got, &err), FX_ERR_DAMAGED);
    assert_int_equal(got.begun, 0);
}

static void
a_stream_that_stops_early_is_damaged(void **state)
{
    (void)state;
    unsigned char tar[FX_TAR_BLOCK_BYTES * 2] = {0};
    make_header(tar, "file", '0', 10);
    static const size_t ends[] = {1, 511, 512, 521, 522, 1023};
    for (size_t at = 0; at < sizeof ends / sizeof ends[0]; at++) {
        fx_err err = {0};
        seen got = {0};
        assert_int_equal(feed_in_pieces(tar, ends[at], 100, &got, &err), FX_ERR_DAMAGED);
    }
    fx_err err = {0};
    seen got = {0};
    assert_int_equal(feed_in_pieces(tar, 1024, 100, &got, &err), FX_OK);
    assert_int_equal(feed_in_pieces(tar, 0, 100, &got, &err), FX_OK);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_are_read_in_pieces_of_any_size),
        cmocka_unit_test(fields_are_read),
        cmocka_unit_test(sizes_of_eight_gigabytes_are_binary),
        cmocka_unit_test(paths_that_lead_elsewhere_are_refused),
        cmocka_unit_test(other_kinds_and_noise_are_refused),
        cmocka_unit_test(a_stream_that_stops_early_is_damaged),
    };
    return cmocka_run_group_tests_name("tar", tests, NULL, NULL);
}
