#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/store/s3/address.h"

static fx_s3_address
parse(const char *rest, const char *region)
{
    fx_err err = {0};
    fx_s3_address address = {0};
    if (fx_s3_address_parse(rest, region, &address, &err) != FX_OK) {
        fail_msg("%s: %s", rest, err.message);
    }
    return address;
}

static void
a_bucket_of_amazon_is_a_host_of_its_region(void **state)
{
    (void)state;
    fx_s3_address a = parse("//my-bucket/hosts/one/", "eu-west-1");
    assert_string_equal(a.host, "my-bucket.s3.eu-west-1.amazonaws.com");
    assert_string_equal(a.base_path, "");
    assert_string_equal(a.prefix, "hosts/one/");
    assert_string_equal(a.scheme, "https");
    assert_string_equal(a.dialect->name, "aws");
    a = parse("//my-bucket?region=us-west-2", "eu-west-1");
    assert_string_equal(a.region, "us-west-2");
    assert_string_equal(a.prefix, "");
    a = parse("//my.bucket/p", NULL); /* no certificate is for it as a host */
    assert_string_equal(a.host, "s3.us-east-1.amazonaws.com");
    assert_string_equal(a.base_path, "/my.bucket");
}

static void
other_servers_have_buckets_in_the_path(void **state)
{
    (void)state;
    fx_s3_address a = parse("https://minio.example:9000/bucket/a/b", NULL);
    assert_string_equal(a.host, "minio.example:9000");
    assert_string_equal(a.base_path, "/bucket");
    assert_string_equal(a.prefix, "a/b/");
    assert_string_equal(a.dialect->name, "other");
    a = parse("https://minio.example:443/bucket?style=virtual&multipart=never&part-mib=5", NULL);
    assert_string_equal(a.host, "bucket.minio.example");
    assert_string_equal(a.base_path, "");
    assert_int_equal(a.multipart, FX_S3_MULTIPART_NEVER);
    assert_int_equal(a.part_bytes, 5 * 1024 * 1024);
    a = parse("http://127.0.0.1:8000/bucket", NULL);
    assert_string_equal(a.scheme, "http");
}

static void
google_has_words_of_its_own(void **state)
{
    (void)state;
    fx_s3_address a = parse("https://storage.googleapis.com/bucket/p", NULL);
    assert_string_equal(a.dialect->name, "gcs");
    assert_string_equal(a.dialect->create_only.name, "x-goog-if-generation-match");
    assert_string_equal(a.dialect->signing.algorithm, "GOOG4-HMAC-SHA256");
    assert_string_equal(a.region, "auto");
    assert_int_equal(a.multipart, FX_S3_MULTIPART_NEVER);
}

static void
what_cannot_be_meant_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "bucket/prefix",
        "//",
        "//ab/p",
        "https://host.example",
        "https://host.example/",
        "ftp://host.example/bucket",
        "http://host.example/bucket", /* without TLS, and not this machine */
        "https://key:secret@host.example/bucket",
        "https://key@host.example/bucket",
        "https://host.example/bucket#x",
        "https://host.example/buck%20et/p",
        "https://host.example/bucket/a//b",
        "https://host.example/bucket/a b",
        "https://host.example/bucket?style=odd",
        "https://host.example/bucket?dialect=odd",
        "https://host.example/bucket?part-mib=1",
        "https://host.example/bucket?region=a/b",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        fx_err err = {0};
        fx_s3_address address;
        if (fx_s3_address_parse(bad[i], NULL, &address, &err) != FX_ERR_INVALID) {
            fail_msg("%s was taken", bad[i]);
        }
        assert_null(strstr(err.message, "secret"));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bucket_of_amazon_is_a_host_of_its_region),
        cmocka_unit_test(other_servers_have_buckets_in_the_path),
        cmocka_unit_test(google_has_words_of_its_own),
        cmocka_unit_test(what_cannot_be_meant_is_refused),
    };
    return cmocka_run_group_tests_name("s3 addresses", tests, NULL, NULL);
}
