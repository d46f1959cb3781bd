/* Certificates for tests: authorities made on the fly, and what they sign. */
#pragma once

#include "common/wire/wire.h"

typedef struct test_authority test_authority;

/* Writes FOLDER/NAME.pem. */
test_authority *test_authority_new(const char *folder, const char *name);
void test_authority_free(test_authority *authority);

/* Writes FOLDER/FILE.pem and FOLDER/FILE.key with subject O=fortress, OU=role, CN=name. */
void test_certificate_make(
    const test_authority *authority,
    const char *folder,
    const char *file,
    const char *role,
    const char *name);

/* Room for the paths of a fx_wire_tls. */
typedef struct test_tls_paths {
    char ca[256];
    char certificate[256];
    char key[256];
} test_tls_paths;

/* The files of authority `ca` and certificate `file`; the paths stay borrowed. */
fx_wire_tls
test_tls_of(test_tls_paths *paths, const char *folder, const char *ca, const char *file);

/* Writes an Ed25519 pair: FOLDER/FILE.key and FOLDER/FILE.pub. */
void test_signing_key_make(const char *folder, const char *file);

/* Removes a folder of mkdtemp() and the files in it. */
void test_folder_remove(const char *folder);
