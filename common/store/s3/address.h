/* Where a bucket is and which dialect its server speaks: read from a store's URL. Pure. */
#pragma once

#include "common/store/s3/sign.h"

/* What servers do differently, as data. */
typedef struct fx_s3_dialect {
    const char *name;
    fx_s3_signing signing;
    const char *header_prefix;  /* "x-amz-"; of the time, the digest, the token, metadata */
    fx_remote_pair create_only; /* the header that refuses to replace */
    const char *digest_header;  /* of a body's SHA-256 in base64; NULL: Content-MD5 */
    const char *default_region;
    bool puts_conditionally;      /* known to; else it is tried */
    bool completes_conditionally; /* multipart uploads; likewise */
    bool has_multipart;
    bool has_object_lock;
    bool names_location; /* of a new bucket, in the request that makes it */
} fx_s3_dialect;

typedef enum fx_s3_multipart {
    FX_S3_MULTIPART_SAFE, /* where its end refuses to replace as well */
    FX_S3_MULTIPART_NEVER,
    FX_S3_MULTIPART_UNCONDITIONAL, /* where it does not, after asking whether the object is there */
} fx_s3_multipart;

enum { FX_S3_BUCKET_MAX_BYTES = 63, FX_S3_PREFIX_MAX_BYTES = 400 };

typedef struct fx_s3_address {
    const fx_s3_dialect *dialect;
    char scheme[8];
    char host[352];     /* as in the Host header; with the bucket's name if it is virtual */
    char base_path[96]; /* "" or "/BUCKET" */
    char bucket[FX_S3_BUCKET_MAX_BYTES + 1];
    char prefix[FX_S3_PREFIX_MAX_BYTES + 2]; /* "" or ends with a slash */
    char region[64];                         /* "": the environment's, or the dialect's */
    fx_s3_multipart multipart;
    size_t part_bytes;
} fx_s3_address;

/*
 * Reads what follows "s3:": "https://HOST[:PORT]/BUCKET[/PREFIX]" or "//BUCKET[/PREFIX]"
 * (Amazon's), with ?region=R, ?style=path|virtual, ?dialect=aws|gcs|other,
 * ?multipart=safe|never|unconditional, ?part-mib=N, joined by '&'. `region` of the environment may
 * be NULL. errors: INVALID
 */
FX_MUST_USE fx_code
fx_s3_address_parse(const char *rest, const char *region, fx_s3_address *out_address, fx_err *err);
