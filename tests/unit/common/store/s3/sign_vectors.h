/* Made by sign_vectors.py with botocore; checked by tests/integration/test_store_s3.py. */
/* clang-format off */
static const char vector_key[] = "AKIAIOSFODNN7EXAMPLE";
static const char vector_secret[] = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
static const int64_t vector_time_s = 1795395723;
static const sign_vector vectors[] = {
    {.method = "GET", .region = "us-east-1", .path = "/bucket",
     .query = {{"list-type", "2"}, {"prefix", "a/b c"}, {"max-keys", "1000"}}, .query_count = 3,
     .headers = {{"host", "host.example:9000"}, {"x-amz-date", "20261123T010203Z"}, {"x-amz-content-sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}, .header_count = 3,
     .payload_digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
     .authorization = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261123/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=a1620a7e2b5b2c78bd505bd956b8ce8c3367dd5999c42a2f7a8426018f6d34f6"},
    {.method = "PUT", .region = "eu-central-1", .path = "/bucket/p/packs/0a/0a1b",
     .query = {{0}}, .query_count = 0,
     .headers = {{"host", "host.example:9000"}, {"if-none-match", "*"}, {"content-type", "application/octet-stream"}, {"x-amz-date", "20261123T010203Z"}, {"x-amz-content-sha256", "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5"}}, .header_count = 5,
     .payload_digest = "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5",
     .authorization = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261123/eu-central-1/s3/aws4_request, SignedHeaders=content-type;host;if-none-match;x-amz-content-sha256;x-amz-date, Signature=2c0efff327d11af43563174620c2a7cb7195625b6db1f589fd5d5960677abf26"},
    {.method = "POST", .region = "us-east-1", .path = "/bucket/key",
     .query = {{"uploads", ""}}, .query_count = 1,
     .headers = {{"host", "host.example:9000"}, {"x-amz-meta-fortress-put", "0123"}, {"x-amz-date", "20261123T010203Z"}, {"x-amz-security-token", "a/Token+With=Signs=="}, {"x-amz-content-sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}, .header_count = 5,
     .payload_digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
     .authorization = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261123/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-meta-fortress-put;x-amz-security-token, Signature=c83405b18544d67fae832771804c158367b4e2a94ae6c22af1abf5cb86557282"},
    {.method = "PUT", .region = "us-west-2", .path = "/bucket/key",
     .query = {{"uploadId", "2~x/y+z="}, {"partNumber", "12"}}, .query_count = 2,
     .headers = {{"host", "host.example:9000"}, {"x-amz-checksum-sha256", "AAAA="}, {"x-amz-date", "20261123T010203Z"}, {"x-amz-content-sha256", "541b3e9daa09b20bf85fa273e5cbd3e80185aa4ec298e765db87742b70138a53"}}, .header_count = 4,
     .payload_digest = "541b3e9daa09b20bf85fa273e5cbd3e80185aa4ec298e765db87742b70138a53",
     .authorization = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261123/us-west-2/s3/aws4_request, SignedHeaders=host;x-amz-checksum-sha256;x-amz-content-sha256;x-amz-date, Signature=82e3f1a342d6863c1290795e6f5cb1e521d5e98b8e72c7b5de26959b4b6e6deb"},
    {.method = "GET", .region = "auto", .path = "/key",
     .query = {{0}}, .query_count = 0,
     .headers = {{"host", "host.example:9000"}, {"range", "bytes=0-9"}, {"x-amz-date", "20261123T010203Z"}, {"x-amz-content-sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}, .header_count = 4,
     .payload_digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
     .authorization = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261123/auto/s3/aws4_request, SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, Signature=fdd36a8302a961bd32ecb9e8be6691d9ea13e70427e3195932b38dd29cc08abf"},
    {.method = "DELETE", .region = "us-east-1", .path = "/bucket/a-b_c.d~e",
     .query = {{"continuation-token", "\303\251%/\077&=+ ~"}}, .query_count = 1,
     .headers = {{"host", "host.example:9000"}, {"x-amz-date", "20261123T010203Z"}, {"x-amz-security-token", "T"}, {"x-amz-content-sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}, .header_count = 4,
     .payload_digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
     .authorization = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261123/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token, Signature=12015d944f28bbc83eb265cec75bfafdaa7ccc734490f4df72507d4116258364"},
};
/* clang-format on */
