/*
 * Signature version 4, as Amazon made it and as Google speaks it under names of its own. Pure.
 * source: docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html,
 * cloud.google.com/storage/docs/authentication/signatures
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/secret.h"
#include "common/base/time.h"
#include "common/store/remote/pair.h"

/* What differs between the two. */
typedef struct fx_s3_signing {
    const char *algorithm;  /* "AWS4-HMAC-SHA256" */
    const char *key_prefix; /* "AWS4" */
    const char *service;    /* "s3" */
    const char *terminator; /* "aws4_request" */
} fx_s3_signing;

/* Who signs, for where; borrows all. */
typedef struct fx_s3_signer {
    const fx_s3_signing *signing;
    const char *access_key;
    const fx_secret *secret_key;
    const char *region;
} fx_s3_signer;

enum { FX_S3_SIGNED_HEADER_MAX = 20, FX_S3_TIME_BYTES = 17 };

typedef struct fx_s3_to_sign {
    const char *method;
    const char *path;  /* as sent: percent-encoded once */
    const char *query; /* as sent: encoded, in the order of fx_s3_build_query */
    fx_remote_pair headers[FX_S3_SIGNED_HEADER_MAX]; /* in any order; with host and the time */
    size_t header_count;
    const char *payload_digest; /* SHA-256 in hexadecimal, or a word that the service knows */
} fx_s3_to_sign;

/* "20261123T010203Z" */
void fx_s3_time_format(fx_wall when, char out_time[FX_S3_TIME_BYTES]);

/* Appends the value of the Authorization header. errors: LIMIT */
FX_MUST_USE fx_code fx_s3_sign(
    const fx_s3_signer *signer,
    const fx_s3_to_sign *what,
    const char time[FX_S3_TIME_BYTES],
    fx_buf *out,
    fx_err *err);

/* Appends "a=1&b=", sorted by name and encoded; sorts `pairs`. errors: LIMIT */
FX_MUST_USE fx_code
fx_s3_build_query(fx_remote_pair *pairs, size_t count, fx_buf *out, fx_err *err);
