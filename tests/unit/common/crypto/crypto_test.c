#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/file.h"
#include "common/base/hex.h"
#include "common/crypto/box.h"
#include "common/crypto/scrypt.h"
#include "common/crypto/sign.h"

static fx_bytes
text(const char *value)
{
    return (fx_bytes){value, strlen(value)};
}

static void
assert_hex(const unsigned char *bytes, size_t size_bytes, const char *expected)
{
    char shown[2 * 64 + 1];
    assert_true(size_bytes <= 64);
    fx_hex_encode((fx_bytes){bytes, size_bytes}, shown);
    assert_string_equal(shown, expected);
}

/* source: FIPS 180-2, appendix B.1 */
static void
sha256_gives_the_known_digest(void **state)
{
    (void)state;
    const char *expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    unsigned char digest[FX_SHA256_BYTES];
    fx_sha256(text("abc"), digest);
    assert_hex(digest, sizeof digest, expected);
    FX_AUTO(fx_sha256_stream) stream = fx_sha256_stream_new();
    for (int round = 0; round < 2; round++) {
        fx_sha256_stream_add(stream, text("a"));
        fx_sha256_stream_add(stream, text("bc"));
        fx_sha256_stream_finish(stream, digest);
        assert_hex(digest, sizeof digest, expected);
    }
}

/* RFC 5869, test case 3; HMAC with a zero-padded key as RFC 4231, test case 2 ("Jefe"). */
static void
keyed_functions_give_the_known_values(void **state)
{
    (void)state;
    unsigned char key[FX_KEY_BYTES] = "Jefe";
    unsigned char code[FX_SHA256_BYTES];
    FX_AUTO(fx_hmac) hmac = fx_hmac_new(key);
    for (int round = 0; round < 2; round++) {
        fx_hmac_sha256(hmac, text("what do ya want for nothing?"), code);
        assert_hex(
            code, sizeof code, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
    unsigned char ikm[22];
    memset(ikm, 0x0b, sizeof ikm);
    unsigned char out[42];
    fx_hkdf_sha256((fx_bytes){ikm, sizeof ikm}, (fx_bytes){"", 0}, "", out, sizeof out);
    assert_hex(
        out,
        sizeof out,
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
        "9d201395faa4b61a96c8");
}

static void
any_changed_bit_of_a_sealed_text_is_noticed(void **state)
{
    (void)state;
    fx_err err = {0};
    unsigned char key[FX_KEY_BYTES];
    fx_crypto_random(key, sizeof key);
    FX_AUTO(fx_aead) aead = fx_aead_new(key);
    FX_BUF_AUTO sealed;
    FX_BUF_AUTO opened;
    fx_buf_init(&sealed, 1000);
    fx_buf_init(&opened, 1000);
    assert_int_equal(fx_aead_seal(aead, 7, text("header"), text("secret"), &sealed, &err), FX_OK);
    assert_int_equal(sealed.size_bytes, 6 + FX_AEAD_TAG_BYTES);
    fx_bytes all = fx_buf_bytes(&sealed);
    assert_int_equal(fx_aead_open(aead, 7, text("header"), all, &opened, &err), FX_OK);
    assert_string_equal(fx_buf_text(&opened), "secret");
    assert_int_equal(fx_aead_open(aead, 8, text("header"), all, &opened, &err), FX_ERR_DAMAGED);
    assert_int_equal(fx_aead_open(aead, 7, text("Header"), all, &opened, &err), FX_ERR_DAMAGED);
    for (size_t bit = 0; bit < sealed.size_bytes * 8; bit++) {
        sealed.data[bit / 8] ^= (unsigned char)(1U << bit % 8);
        fx_code code = fx_aead_open(aead, 7, text("header"), all, &opened, &err);
        assert_int_equal(code, FX_ERR_DAMAGED);
        sealed.data[bit / 8] ^= (unsigned char)(1U << bit % 8);
    }
    assert_string_equal(fx_buf_text(&opened), "secret"); /* and nothing was added */
}

static void
only_the_private_key_opens_a_box(void **state)
{
    (void)state;
    fx_err err = {0};
    unsigned char private_key[FX_BOX_KEY_BYTES];
    unsigned char public_key[FX_BOX_KEY_BYTES];
    unsigned char other[FX_BOX_KEY_BYTES];
    unsigned char other_public[FX_BOX_KEY_BYTES];
    fx_box_key_pair(private_key, public_key);
    fx_box_key_pair(other, other_public);
    FX_BUF_AUTO sealed;
    FX_BUF_AUTO opened;
    fx_buf_init(&sealed, 1000);
    fx_buf_init(&opened, 1000);
    assert_int_equal(fx_box_seal(public_key, "test", text("key"), &sealed, &err), FX_OK);
    fx_bytes all = fx_buf_bytes(&sealed);
    assert_int_equal(fx_box_open(private_key, "test", all, &opened, &err), FX_OK);
    assert_string_equal(fx_buf_text(&opened), "key");
    assert_int_equal(fx_box_open(other, "test", all, &opened, &err), FX_ERR_WRONG_KEY);
    assert_int_equal(fx_box_open(private_key, "else", all, &opened, &err), FX_ERR_WRONG_KEY);
    all.size_bytes = 10;
    assert_int_equal(fx_box_open(private_key, "test", all, &opened, &err), FX_ERR_WRONG_KEY);
    unsigned char zero[FX_BOX_KEY_BYTES] = {0};
    assert_int_equal(fx_box_seal(zero, "test", text("key"), &sealed, &err), FX_ERR_INVALID);
}

static void
base64_is_read_and_written(void **state)
{
    (void)state;
    fx_err err = {0};
    static const char *const pairs[][2] = {
        {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}};
    FX_BUF_AUTO out;
    fx_buf_init(&out, 100);
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        fx_buf_clear(&out);
        assert_int_equal(fx_base64_encode(text(pairs[i][0]), &out, &err), FX_OK);
        assert_string_equal(fx_buf_text(&out), pairs[i][1]);
        fx_buf_clear(&out);
        assert_int_equal(fx_base64_decode(pairs[i][1], &out, &err), FX_OK);
        assert_string_equal(fx_buf_text(&out), pairs[i][0]);
    }
    static const char *const bad[] = {"Zg=", "Z===", "Zm9v!aaa", "Zg==Zg==", " Zg==   "};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        fx_buf_clear(&out);
        assert_int_equal(fx_base64_decode(bad[i], &out, &err), FX_ERR_INVALID);
        assert_int_equal(out.size_bytes, 0);
    }
}

/* Keys made by "openssl genpkey -algorithm ED25519" for this test. */
static const char private_pem[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEIKVm9KjWYJjN9Q1Fy39+P6CCXL5a9ReDdD1x/DXhv+w6\n"
    "-----END PRIVATE KEY-----\n";
static const char public_pem[] = "-----BEGIN PUBLIC KEY-----\n"
                                 "MCowBQYDK2VwAyEAO0dK3a+qrpyMxHz4gqW4FGqCejKaz69gALEo3t2FZrU=\n"
                                 "-----END PUBLIC KEY-----\n";

static void
signatures_are_verified(void **state)
{
    (void)state;
    fx_err err = {0};
    char folder[] = "/tmp/fx_crypto_test_XXXXXX";
    assert_non_null(mkdtemp(folder));
    char private_path[64];
    char public_path[64];
    (void)snprintf(private_path, sizeof private_path, "%s/key", folder);
    (void)snprintf(public_path, sizeof public_path, "%s/pub", folder);
    assert_int_equal(fx_file_replace(public_path, text(public_pem), 0644, &err), FX_OK);
    FX_AUTO(fx_sign_key) key = NULL;
    FX_AUTO(fx_verify_key) public_key = NULL;
    assert_int_equal(fx_sign_key_load(private_path, &key, &err), FX_ERR_NOT_FOUND);
    assert_int_equal(fx_file_replace(private_path, text(private_pem), 0644, &err), FX_OK);
    assert_int_equal(fx_sign_key_load(private_path, &key, &err), FX_ERR_DENIED);
    assert_int_equal(fx_file_replace(private_path, text(private_pem), 0600, &err), FX_OK);
    assert_int_equal(fx_sign_key_load(private_path, &key, &err), FX_OK);
    assert_int_equal(fx_verify_key_load(private_path, &public_key, &err), FX_ERR_INVALID);
    assert_int_equal(fx_verify_key_load(public_path, &public_key, &err), FX_OK);
    unsigned char signature[FX_SIGN_BYTES];
    fx_sign(key, text("promote"), signature);
    assert_true(fx_verify(public_key, text("promote"), signature));
    assert_false(fx_verify(public_key, text("promoted"), signature));
    signature[0] ^= 1;
    assert_false(fx_verify(public_key, text("promote"), signature));
    assert_int_equal(unlink(private_path), 0);
    assert_int_equal(unlink(public_path), 0);
    assert_int_equal(rmdir(folder), 0);
}

/* The first test vector of RFC 8032, section 7.1. */
static void
raw_signing_keys_give_the_known_signature(void **state)
{
    (void)state;
    static const unsigned char seed[] = {0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60,
                                         0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
                                         0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19,
                                         0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60};
    unsigned char public_key[FX_SIGN_KEY_BYTES];
    unsigned char signature[FX_SIGN_BYTES];
    FX_AUTO(fx_sign_key) key = fx_sign_key_of(seed);
    fx_sign_key_public(key, public_key);
    assert_hex(
        public_key,
        sizeof public_key,
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    fx_sign(key, (fx_bytes){"", 0}, signature);
    assert_hex(
        signature,
        sizeof signature,
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701c"
        "f9b46"
        "bd25bf5f0595bbe24655141438e7a100b");
    FX_AUTO(fx_verify_key) half = fx_verify_key_of(public_key);
    assert_true(fx_verify(half, (fx_bytes){"", 0}, signature));
    assert_false(fx_verify(half, (fx_bytes){"x", 1}, signature));
    memset(public_key, 0xff, sizeof public_key); /* no point of the curve */
    FX_AUTO(fx_verify_key) none = fx_verify_key_of(public_key);
    assert_false(fx_verify(none, (fx_bytes){"", 0}, signature));
}

/* A test vector of RFC 7914, section 12. */
static void
scrypt_gives_the_known_key(void **state)
{
    (void)state;
    fx_err err = {0};
    unsigned char derived[FX_KEY_BYTES];
    fx_scrypt_cost cost = {.log2_n = 10, .r = 8, .p = 16};
    assert_int_equal(fx_scrypt(text("password"), text("NaCl"), cost, derived, &err), FX_OK);
    assert_hex(
        derived,
        sizeof derived,
        "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162");
    cost.log2_n = 21; /* 2 GiB */
    assert_int_equal(fx_scrypt(text("password"), text("NaCl"), cost, derived, &err), FX_ERR_LIMIT);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_gives_the_known_digest),
        cmocka_unit_test(keyed_functions_give_the_known_values),
        cmocka_unit_test(any_changed_bit_of_a_sealed_text_is_noticed),
        cmocka_unit_test(only_the_private_key_opens_a_box),
        cmocka_unit_test(base64_is_read_and_written),
        cmocka_unit_test(signatures_are_verified),
        cmocka_unit_test(raw_signing_keys_give_the_known_signature),
        cmocka_unit_test(scrypt_gives_the_known_key),
    };
    return cmocka_run_group_tests_name("crypto", tests, NULL, NULL);
}
