#include "common/gpg/gpg.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <gpgme.h>

#include "common/base/secret.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
initialize(void)
{
    (void)gpgme_check_version(NULL);
}

static fx_code
code_of(gpgme_error_t error)
{
    switch (gpgme_err_code(error)) {
    case GPG_ERR_NO_SECKEY:
    case GPG_ERR_NO_PUBKEY:
    case GPG_ERR_EOF:
        return FX_ERR_NOT_FOUND;
    case GPG_ERR_BAD_PASSPHRASE:
    case GPG_ERR_CANCELED:
    case GPG_ERR_FULLY_CANCELED:
    case GPG_ERR_NO_PIN_ENTRY:
    case GPG_ERR_NO_PASSPHRASE:
        return FX_ERR_DENIED;
    case GPG_ERR_NO_DATA:
    case GPG_ERR_BAD_DATA:
    case GPG_ERR_DECRYPT_FAILED:
    case GPG_ERR_CHECKSUM:
    case GPG_ERR_INV_PACKET:
        return FX_ERR_DAMAGED;
    case GPG_ERR_AMBIGUOUS_NAME:
    case GPG_ERR_UNUSABLE_PUBKEY:
    case GPG_ERR_INV_VALUE:
    case GPG_ERR_INV_NAME:
        return FX_ERR_INVALID;
    case GPG_ERR_INV_ENGINE:
    case GPG_ERR_UNSUPPORTED_PROTOCOL:
        return FX_ERR_UNSUPPORTED;
    default:
        return FX_ERR_FAILED;
    }
}

static fx_code
failed(gpgme_error_t error, const char *what, const char *whose, fx_err *err)
{
    char why[128];
    (void)gpgme_strerror_r(error, why, sizeof why);
    fx_code code = code_of(error);
    return fx_fail(err, code, "could not %s%.80s with GPG: %.100s", what, whose, why);
}

static fx_code
open_context(gpgme_ctx_t *out_context, fx_err *err)
{
    gpgme_ctx_t context = NULL;
    (void)pthread_once(&once, initialize);
    gpgme_error_t error = gpgme_engine_check_version(GPGME_PROTOCOL_OpenPGP);
    if (error == 0) {
        error = gpgme_new(&context);
    }
    if (error == 0) {
        error = gpgme_set_protocol(context, GPGME_PROTOCOL_OpenPGP);
    }
    if (error != 0) {
        if (context != NULL) {
            gpgme_release(context);
        }
        return failed(error, "start", "", err);
    }
    *out_context = context;
    return FX_OK;
}

static fx_code
get_key(gpgme_ctx_t context, const char *which, bool is_private, gpgme_key_t *out_key, fx_err *err)
{
    gpgme_error_t error = gpgme_get_key(context, which, out_key, is_private ? 1 : 0);
    return error == 0 ? FX_OK : failed(error, "find key ", which, err);
}

fx_code
fx_gpg_find(const char *which, char out_fingerprint[FX_GPG_FINGERPRINT_BYTES], fx_err *err)
{
    gpgme_ctx_t context = NULL;
    gpgme_key_t key = NULL;
    if (open_context(&context, err) != FX_OK) {
        return err->code;
    }
    fx_code code = get_key(context, which, false, &key, err);
    if (code == FX_OK) {
        const char *fingerprint = key->fpr;
        if (!key->can_encrypt || key->revoked || key->expired || key->disabled ||
            fingerprint == NULL || strlen(fingerprint) >= FX_GPG_FINGERPRINT_BYTES) {
            code = fx_fail(
                err,
                FX_ERR_INVALID,
                "could not use GPG key \"%.80s\": it is expired, revoked or not for encryption",
                which);
        } else {
            (void)snprintf(out_fingerprint, FX_GPG_FINGERPRINT_BYTES, "%s", fingerprint);
        }
        gpgme_key_unref(key);
    }
    gpgme_release(context);
    return code;
}

bool
fx_gpg_has_private(const char *fingerprint)
{
    gpgme_ctx_t context = NULL;
    gpgme_key_t key = NULL;
    fx_err ignored = {0};
    if (open_context(&context, &ignored) != FX_OK) {
        return false;
    }
    bool has_private = get_key(context, fingerprint, true, &key, &ignored) == FX_OK;
    if (has_private) {
        gpgme_key_unref(key);
    }
    gpgme_release(context);
    return has_private;
}

/* Appends what GPG wrote and wipes its copy; takes the data. */
static fx_code
take_output(gpgme_data_t data, fx_buf *out, fx_err *err)
{
    size_t size_bytes = 0;
    char *bytes = gpgme_data_release_and_get_mem(data, &size_bytes);
    if (bytes == NULL) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not use what GPG wrote: it is empty");
    }
    fx_code code = fx_buf_append(out, bytes, size_bytes, err);
    fx_wipe(bytes, size_bytes);
    gpgme_free(bytes);
    return code;
}

/* Both ends of an operation: borrowed input, output in memory. */
static fx_code
open_data(fx_bytes input, gpgme_data_t *out_from, gpgme_data_t *out_to, fx_err *err)
{
    gpgme_error_t error = gpgme_data_new_from_mem(out_from, input.data, input.size_bytes, 0);
    if (error != 0) {
        return failed(error, "start", "", err);
    }
    error = gpgme_data_new(out_to);
    if (error != 0) {
        gpgme_data_release(*out_from);
        return failed(error, "start", "", err);
    }
    return FX_OK;
}

static fx_code
encrypt_to(gpgme_ctx_t context, const char *fingerprint, fx_bytes plain, fx_buf *out, fx_err *err)
{
    gpgme_key_t keys[2] = {NULL, NULL};
    gpgme_data_t from = NULL;
    gpgme_data_t to = NULL;
    if (get_key(context, fingerprint, false, &keys[0], err) != FX_OK) {
        return err->code;
    }
    if (open_data(plain, &from, &to, err) != FX_OK) {
        gpgme_key_unref(keys[0]);
        return err->code;
    }
    gpgme_encrypt_flags_t flags = GPGME_ENCRYPT_ALWAYS_TRUST | GPGME_ENCRYPT_NO_COMPRESS;
    gpgme_error_t error = gpgme_op_encrypt(context, keys, flags, from, to);
    gpgme_data_release(from);
    gpgme_key_unref(keys[0]);
    if (error != 0) {
        gpgme_data_release(to);
        return failed(error, "encrypt to ", fingerprint, err);
    }
    return take_output(to, out, err);
}

fx_code
fx_gpg_encrypt(const char *fingerprint, fx_bytes plain, fx_buf *out, fx_err *err)
{
    gpgme_ctx_t context = NULL;
    if (open_context(&context, err) != FX_OK) {
        return err->code;
    }
    fx_code code = encrypt_to(context, fingerprint, plain, out, err);
    gpgme_release(context);
    return code;
}

fx_code
fx_gpg_decrypt(fx_bytes sealed, fx_buf *out, fx_err *err)
{
    gpgme_ctx_t context = NULL;
    gpgme_data_t from = NULL;
    gpgme_data_t to = NULL;
    if (open_context(&context, err) != FX_OK) {
        return err->code;
    }
    if (open_data(sealed, &from, &to, err) != FX_OK) {
        gpgme_release(context);
        return err->code;
    }
    gpgme_error_t error = gpgme_op_decrypt(context, from, to);
    gpgme_data_release(from);
    gpgme_release(context);
    if (error != 0) {
        gpgme_data_release(to);
        return failed(error, "decrypt", "", err);
    }
    return take_output(to, out, err);
}
