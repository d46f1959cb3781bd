/*
 * The keyring, a file of text: for each scope its key versions, whose private halves are wrapped
 * for any number of recipients. Here is what stands in it; wrap.h opens it. Bytes: docs/format.md,
 * "The keyring".
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/name.h"
#include "common/base/time.h"
#include "common/crypto/box.h"

enum {
    FX_SCOPE_ID_BYTES = 8,
    FX_SCOPE_ID_TEXT_BYTES = 2 * FX_SCOPE_ID_BYTES + 1,
    FX_ID_CHECK_BYTES = 16,
    FX_SCRYPT_SALT_BYTES = 16,
    FX_SCRYPT_LOG2_N_MIN = 17, /* 128 MiB with r = 8 */
    FX_SCRYPT_LOG2_N_MAX = 22,
    FX_SCRYPT_R_MAX = 32,
    FX_SCRYPT_P_MAX = 16,
    FX_RECIPIENT_NAME_BYTES = 128,
    FX_RECIPIENT_MAX = 32,
    FX_KEY_VERSION_MAX = 256,
    FX_SCOPE_MAX = 256,
    FX_EXPORT_MAX = 256,
    FX_WRAP_MAX_BYTES = 6 * 1024,
    FX_KEYRING_MAX_BYTES = 4 * 1024 * 1024,
};

typedef struct fx_scope_id {
    unsigned char bytes[FX_SCOPE_ID_BYTES];
} fx_scope_id;

/* What the private half of one key version is: this much is wrapped. */
typedef struct fx_scope_secret {
    unsigned char box[FX_BOX_KEY_BYTES]; /* X25519: opens session keys */
    unsigned char sign[FX_KEY_BYTES];    /* Ed25519: vouches for what was verified */
    unsigned char id_key[FX_KEY_BYTES];  /* of the chunk ids: the same in all versions */
} fx_scope_secret;

typedef enum fx_recipient_kind {
    FX_RECIPIENT_PLAIN, /* whoever may read the file */
    FX_RECIPIENT_PASSPHRASE,
    FX_RECIPIENT_X25519,
    FX_RECIPIENT_GPG,
    FX_RECIPIENT_VAULT,
} fx_recipient_kind;
enum { FX_RECIPIENT_KINDS = FX_RECIPIENT_VAULT + 1 };

typedef struct fx_recipient {
    fx_name label;
    fx_recipient_kind kind;
    /* X25519: its own; passphrase: of the pair that scrypt makes of it, so that wrapping needs no
     * passphrase */
    unsigned char public_key[FX_BOX_KEY_BYTES];
    unsigned scrypt_log2_n;
    unsigned scrypt_r;
    unsigned scrypt_p;
    unsigned char salt[FX_SCRYPT_SALT_BYTES];
    char name[FX_RECIPIENT_NAME_BYTES]; /* GPG: fingerprint; Vault: the transit key's name */
} fx_recipient;

typedef struct fx_wrap {
    fx_name recipient;
    unsigned char *sealed;
    size_t sealed_bytes;
} fx_wrap;

typedef struct fx_key_version {
    uint32_t number; /* from 1 */
    fx_wall created;
    unsigned char public_key[FX_BOX_KEY_BYTES];
    unsigned char verify_key[FX_KEY_BYTES];
    fx_wrap *wraps;
    size_t wrap_count;
} fx_key_version;

typedef enum fx_scope_state {
    FX_SCOPE_LIVE,
    FX_SCOPE_WRITE_ONLY, /* public halves and the id key; nothing can be opened */
    FX_SCOPE_ERASING,    /* private keys are destroyed; the proof is not stored yet */
    FX_SCOPE_ERASED,
} fx_scope_state;

/* A write-only keyring that was made of this one. */
typedef struct fx_export {
    fx_name label;
    fx_wall created;
} fx_export;

typedef struct fx_keyring_scope {
    fx_scope_id id;
    fx_name label;
    fx_scope_state state;
    unsigned char id_check[FX_ID_CHECK_BYTES];
    unsigned char id_key[FX_KEY_BYTES]; /* write-only */
    unsigned char sign[FX_KEY_BYTES];   /* erasing: signs the proof */
    fx_key_version *versions;           /* ascending, without holes */
    size_t version_count;
    fx_export *exports;
    size_t export_count;
} fx_keyring_scope;

typedef struct fx_keyring {
    fx_recipient *recipients;
    size_t recipient_count;
    fx_keyring_scope *scopes; /* the first that is not erased is written to by default */
    size_t scope_count;
} fx_keyring;

fx_keyring *fx_keyring_new(void);
void fx_keyring_free(fx_keyring *keyring);
FX_DEFINE_AUTO(fx_keyring);

/* ---- building ----------------------------------------------------------------------------------
 * Each gives a place in the keyring, borrowed until the next of its kind is added. */

fx_recipient *fx_keyring_add_recipient(fx_keyring *keyring, const fx_recipient *recipient);
fx_keyring_scope *
fx_keyring_add_scope(fx_keyring *keyring, const fx_scope_id *id, const fx_name *label);
fx_key_version *fx_keyring_add_version(fx_keyring_scope *scope);
void fx_keyring_add_wrap(fx_key_version *version, const fx_name *recipient, fx_bytes sealed);
void fx_keyring_add_export(fx_keyring_scope *scope, const fx_export *export);

/* Wipes and forgets all wrapped keys of a version. */
void fx_keyring_drop_wraps(fx_key_version *version);
/* The wrapped key of one recipient; false: there is none. */
bool fx_keyring_drop_wrap(fx_key_version *version, const fx_name *recipient);
void fx_keyring_drop_recipient(fx_keyring *keyring, const fx_name *label);

/* NULL where there is none. */
const fx_recipient *fx_keyring_find_recipient(const fx_keyring *keyring, const fx_name *label);
/* By label, else by id in hex. */
fx_keyring_scope *fx_keyring_find_scope(const fx_keyring *keyring, const char *which);

const char *fx_recipient_kind_name(fx_recipient_kind kind);

/* SHA-256("fortress id key check 1" ‖ id key), cut: tells id keys apart without giving them away.
 */
void
fx_id_check(const unsigned char id_key[FX_KEY_BYTES], unsigned char out_check[FX_ID_CHECK_BYTES]);

void fx_scope_id_format(const fx_scope_id *id, char out_text[FX_SCOPE_ID_TEXT_BYTES]);

/* ---- text --------------------------------------------------------------------------------------
 */

/* errors: LIMIT */
FX_MUST_USE fx_code fx_keyring_print(const fx_keyring *keyring, fx_buf *out, fx_err *err);
/* errors: INVALID (no keyring at all), UNSUPPORTED (newer), DAMAGED (naming the line) */
FX_MUST_USE fx_code fx_keyring_parse(fx_bytes text, fx_keyring **out_keyring, fx_err *err);

/* A file of such lines that holds one X25519 private key: the identity of a recipient. */
FX_MUST_USE fx_code
fx_identity_print(const unsigned char private_key[FX_BOX_KEY_BYTES], fx_buf *out, fx_err *err);
FX_MUST_USE fx_code
fx_identity_parse(fx_bytes text, unsigned char out_private[FX_BOX_KEY_BYTES], fx_err *err);

/* ---- the file ----------------------------------------------------------------------------------
 */

/* errors: NOT_FOUND, DENIED (also when group or others may read it), and fx_keyring_parse's */
FX_MUST_USE fx_code fx_keyring_load(const char *path, fx_keyring **out_keyring, fx_err *err);
/* Appends the content of a file that only its owner may read. errors: likewise */
FX_MUST_USE fx_code fx_secret_file_read(const char *path, fx_buf *out, fx_err *err);

/* Mode 0600, durable. errors: EXISTS (never replaces one), DENIED, NO_SPACE */
FX_MUST_USE fx_code fx_keyring_create(const char *path, const fx_keyring *keyring, fx_err *err);
FX_MUST_USE fx_code fx_secret_file_create(const char *path, fx_bytes content, fx_err *err);

/* One change of the file at a time: the holder of the edit has it locked. */
typedef struct fx_keyring_edit {
    char *path; /* without symbolic links */
    int fd;     /* of the locked file */
} fx_keyring_edit;
/* errors: fx_keyring_load's, BUSY (another process changes it) */
FX_MUST_USE fx_code fx_keyring_edit_begin(
    const char *path, fx_keyring_edit *out_edit, fx_keyring **out_keyring, fx_err *err);
/*
 * Replaces the file durably, keeping owner and mode, overwrites what the old one held and reads
 * back what is there. errors: DENIED, NO_SPACE, IO, DAMAGED (another was read back)
 */
FX_MUST_USE fx_code
fx_keyring_edit_save(fx_keyring_edit *edit, const fx_keyring *keyring, fx_err *err);
void fx_keyring_edit_end(fx_keyring_edit *edit);
