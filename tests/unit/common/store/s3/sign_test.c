#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/store/s3/sign.h"

typedef struct sign_vector {
    const char *method;
    const char *region;
    const char *path;
    fx_remote_pair query[FX_REMOTE_PAIR_MAX];
    size_t query_count;
    fx_remote_pair headers[FX_S3_SIGNED_HEADER_MAX];
    size_t header_count;
    const char *payload_digest;
    const char *authorization;
} sign_vector;

#include "tests/unit/common/store/s3/sign_vectors.h"

static const fx_s3_signing amazon = {
    .algorithm = "AWS4-HMAC-SHA256",
    .key_prefix = "AWS4",
    .service = "s3",
    .terminator = "aws4_request"};

static void
times_are_written_without_marks(void **state)
{
    (void)state;
    char text[FX_S3_TIME_BYTES];
    fx_s3_time_format((fx_wall){.ns = vector_time_s * 1000000000 + 999999999}, text);
    assert_string_equal(text, "20261123T010203Z");
}

static void
signatures_are_those_of_botocore(void **state)
{
    (void)state;
    char time[FX_S3_TIME_BYTES];
    FX_AUTO(fx_secret) secret = fx_secret_new((fx_bytes){vector_secret, strlen(vector_secret)});
    fx_s3_time_format((fx_wall){.ns = vector_time_s * 1000000000}, time);
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        const sign_vector *v = &vectors[i];
        fx_err err = {0};
        fx_remote_pair pairs[FX_REMOTE_PAIR_MAX];
        FX_BUF_AUTO query;
        FX_BUF_AUTO authorization;
        fx_buf_init(&query, 4096);
        fx_buf_init(&authorization, 4096);
        memcpy(pairs, v->query, sizeof pairs);
        assert_int_equal(fx_s3_build_query(pairs, v->query_count, &query, &err), FX_OK);
        fx_s3_to_sign what = {
            .method = v->method,
            .path = v->path,
            .query = fx_buf_text(&query),
            .header_count = v->header_count,
            .payload_digest = v->payload_digest};
        memcpy(what.headers, v->headers, sizeof what.headers);
        const fx_s3_signer signer = {
            .signing = &amazon,
            .access_key = vector_key,
            .secret_key = secret,
            .region = v->region};
        assert_int_equal(fx_s3_sign(&signer, &what, time, &authorization, &err), FX_OK);
        assert_string_equal(fx_buf_text(&authorization), v->authorization);
    }
}

/* The parameter is encoded once, the names sorted as bytes, and an empty value keeps its sign. */
static void
queries_are_sorted_and_encoded(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_remote_pair pairs[] = {{"uploadId", "a+b/c="}, {"partNumber", "2"}, {"Z", ""}};
    FX_BUF_AUTO query;
    fx_buf_init(&query, 100);
    assert_int_equal(fx_s3_build_query(pairs, 3, &query, &err), FX_OK);
    assert_string_equal(fx_buf_text(&query), "Z=&partNumber=2&uploadId=a%2Bb%2Fc%3D");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_written_without_marks),
        cmocka_unit_test(signatures_are_those_of_botocore),
        cmocka_unit_test(queries_are_sorted_and_encoded),
    };
    return cmocka_run_group_tests_name("s3 signatures", tests, NULL, NULL);
}
