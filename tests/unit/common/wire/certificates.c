#include "tests/unit/common/wire/certificates.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

/*
 * nng counts the users of its dialers by atomics that ThreadSanitizer cannot see, as the library is
 * not built for it, and destroys their lock on another thread when the last has gone.
 */
/* NOLINTBEGIN(readability-identifier-naming): the sanitizer looks for this name */
const char *__tsan_default_suppressions(void);
const char *
__tsan_default_suppressions(void)
{
    return "race:pthread_mutex_destroy\n";
}
/* NOLINTEND(readability-identifier-naming) */

enum { VERSION_3 = 2, DAY_S = 86400 };

struct test_authority {
    EVP_PKEY *key;
    X509 *certificate;
};

static FILE *
open_file(const char *folder, const char *name, const char *ending)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof(path), "%s/%s.%s", folder, name, ending);
    FX_ASSERT(length > 0 && (size_t)length < sizeof(path));
    FILE *file = fopen(path, "we");
    FX_ASSERT(file != NULL);
    return file;
}

static void
add_entry(X509_NAME *subject, const char *field, const char *text)
{
    int result = X509_NAME_add_entry_by_txt(
        subject, field, MBSTRING_UTF8, (const unsigned char *)text, -1, -1, 0);
    FX_ASSERT(result == 1);
}

static X509 *
make(EVP_PKEY *key, const char *role, const char *name)
{
    X509 *certificate = X509_new();
    FX_ASSERT(certificate != NULL);
    long serial = 0;
    int result = RAND_bytes((unsigned char *)&serial, (int)sizeof(serial) - 1);
    FX_ASSERT(result == 1);
    (void)X509_set_version(certificate, VERSION_3);
    (void)ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial);
    (void)X509_gmtime_adj(X509_getm_notBefore(certificate), -DAY_S);
    (void)X509_gmtime_adj(X509_getm_notAfter(certificate), DAY_S);
    (void)X509_set_pubkey(certificate, key);
    X509_NAME *subject = X509_get_subject_name(certificate);
    add_entry(subject, "O", "fortress");
    add_entry(subject, "OU", role);
    add_entry(subject, "CN", name);
    return certificate;
}

static void
sign(X509 *certificate, X509 *issuer, EVP_PKEY *key, bool is_authority)
{
    (void)X509_set_issuer_name(certificate, X509_get_subject_name(issuer));
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(
        NULL, &context, NID_basic_constraints, is_authority ? "critical,CA:TRUE" : "CA:FALSE");
    FX_ASSERT(extension != NULL);
    (void)X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
    int result = X509_sign(certificate, key, EVP_sha256());
    FX_ASSERT(result > 0);
}

static void
write_certificate(const char *folder, const char *file, X509 *certificate)
{
    FILE *out = open_file(folder, file, "pem");
    int result = PEM_write_X509(out, certificate);
    FX_ASSERT(result == 1);
    (void)fclose(out);
}

test_authority *
test_authority_new(const char *folder, const char *name)
{
    test_authority *authority = calloc(1, sizeof(*authority));
    FX_ASSERT(authority != NULL);
    authority->key = EVP_EC_gen("P-256");
    FX_ASSERT(authority->key != NULL);
    authority->certificate = make(authority->key, "ca", name);
    sign(authority->certificate, authority->certificate, authority->key, true);
    write_certificate(folder, name, authority->certificate);
    return authority;
}

void
test_authority_free(test_authority *authority)
{
    if (authority != NULL) {
        EVP_PKEY_free(authority->key);
        X509_free(authority->certificate);
        free(authority);
    }
}

void
test_certificate_make(
    const test_authority *authority,
    const char *folder,
    const char *file,
    const char *role,
    const char *name)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    FX_ASSERT(key != NULL);
    X509 *certificate = make(key, role, name);
    sign(certificate, authority->certificate, authority->key, false);
    write_certificate(folder, file, certificate);
    FILE *out = open_file(folder, file, "key");
    int result = PEM_write_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL);
    FX_ASSERT(result == 1);
    (void)fclose(out);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

fx_wire_tls
test_tls_of(test_tls_paths *paths, const char *folder, const char *ca, const char *file)
{
    (void)snprintf(paths->ca, sizeof(paths->ca), "%s/%s.pem", folder, ca);
    (void)snprintf(paths->certificate, sizeof(paths->certificate), "%s/%s.pem", folder, file);
    (void)snprintf(paths->key, sizeof(paths->key), "%s/%s.key", folder, file);
    return (fx_wire_tls){
        .ca_file = paths->ca, .certificate_file = paths->certificate, .key_file = paths->key};
}

void
test_signing_key_make(const char *folder, const char *file)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    FX_ASSERT(key != NULL);
    mode_t before = umask(077); /* a private key that others may read is refused */
    FILE *out = open_file(folder, file, "key");
    (void)umask(before);
    int result = PEM_write_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL);
    FX_ASSERT(result == 1);
    (void)fclose(out);
    out = open_file(folder, file, "pub");
    result = PEM_write_PUBKEY(out, key);
    FX_ASSERT(result == 1);
    (void)fclose(out);
    EVP_PKEY_free(key);
}

void
test_folder_remove(const char *folder)
{
    DIR *open = opendir(folder);
    FX_ASSERT(open != NULL);
    const struct dirent *at = NULL;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): of a stream that no other thread has */
    while ((at = readdir(open)) != NULL) {
        (void)unlinkat(dirfd(open), at->d_name, 0); /* "." and ".." stay */
    }
    (void)closedir(open);
    int result = rmdir(folder);
    FX_ASSERT(result == 0);
}
