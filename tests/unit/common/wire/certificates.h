/* Certificates for tests: authorities made on the fly, and what they sign. */
#pragma once

#include "common/base/base.h"

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

/* Writes an Ed25519 pair: FOLDER/FILE.key and FOLDER/FILE.pub. */
void test_signing_key_make(const char *folder, const char *file);

/* Removes a folder of mkdtemp() and the files in it. */
void test_folder_remove(const char *folder);
