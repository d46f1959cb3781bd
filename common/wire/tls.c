#include "common/wire/tls.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <nng/nng.h>
#include <nng/supplemental/tls/engine.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

enum { FAILURE_BYTES = 256, CHAIN_MAX = 3 };

struct fx_tls {
    atomic_int references;
    SSL_CTX *context;
    fx_tls_options options;
    pthread_mutex_t lock; /* of what follows */
    char failure[FAILURE_BYTES];
};

struct nng_tls_engine_config {
    fx_tls *tls; /* NULL in the configuration that nng makes for itself and we replace */
};

struct nng_tls_engine_conn {
    fx_tls *tls;
    SSL *ssl;
    bool closed;
    bool handshake_done;
    fx_wire_peer peer;
};

static _Thread_local fx_tls *pending_tls;     /* for the configuration made on this thread */
static _Thread_local fx_wire_peer noted_peer; /* by verified(), on this thread */
static _Thread_local bool noted;

static BIO_METHOD *stream_method;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_result;

/* ---- certificates
 * -------------------------------------------------------------------------------- */

static void
openssl_reason(char *out_text, size_t size_bytes)
{
    unsigned long last = ERR_peek_last_error();
    const char *reason = last == 0 ? NULL : ERR_reason_error_string(last);
    (void)snprintf(out_text, size_bytes, "%s", reason == NULL ? "unknown reason" : reason);
}

static bool
read_name(X509_NAME *subject, int field, fx_name *out_name)
{
    char text[FX_NAME_MAX_BYTES + 2] = "";
    int only = X509_NAME_get_index_by_NID(subject, field, -1);
    if (only < 0 || X509_NAME_get_index_by_NID(subject, field, only) >= 0) {
        return false; /* none, or two: which one would be meant? */
    }
    int length = X509_NAME_get_text_by_NID(subject, field, text, (int)sizeof(text));
    if (length <= 0 || (size_t)length != strlen(text)) {
        return false; /* a NUL inside hides the rest */
    }
    fx_err err;
    return fx_name_parse(text, "name in a certificate", out_name, &err) == FX_OK;
}

static bool
read_peer(const SSL *ssl, fx_wire_peer *out_peer)
{
    X509 *certificate = SSL_get0_peer_certificate(ssl);
    if (certificate == NULL) {
        return false;
    }
    X509_NAME *subject = X509_get_subject_name(certificate);
    unsigned size_bytes = sizeof(out_peer->fingerprint);
    return read_name(subject, NID_commonName, &out_peer->name) &&
           read_name(subject, NID_organizationalUnitName, &out_peer->role) &&
           X509_digest(certificate, EVP_sha256(), out_peer->fingerprint, &size_bytes) == 1;
}

/* ---- bytes between OpenSSL and nng
 * ----------------------------------------------------------------- */

static int
stream_write(BIO *bio, const char *data, int length)
{
    size_t size_bytes = (size_t)length;
    BIO_clear_retry_flags(bio);
    int result =
        nng_tls_engine_send(BIO_get_data(bio), (const uint8_t *)(const void *)data, &size_bytes);
    if (result == 0) {
        return (int)size_bytes;
    }
    if (result == NNG_EAGAIN) {
        BIO_set_retry_write(bio);
    }
    return -1;
}

static int
stream_read(BIO *bio, char *room, int length)
{
    size_t size_bytes = (size_t)length;
    BIO_clear_retry_flags(bio);
    int result = nng_tls_engine_recv(BIO_get_data(bio), (uint8_t *)(void *)room, &size_bytes);
    if (result == 0) {
        return (int)size_bytes;
    }
    if (result == NNG_EAGAIN) {
        BIO_set_retry_read(bio);
    }
    return -1;
}

static long
stream_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static int
stream_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

/* ---- one connection
 * -------------------------------------------------------------------------------- */

/* Whoever owns the stream reports it: the framework hands on a number only. */
static void
note_failure(nng_tls_engine_conn *conn, const char *reason)
{
    fx_tls *tls = conn->tls;
    (void)pthread_mutex_lock(&tls->lock);
    (void)snprintf(
        tls->failure, sizeof(tls->failure), "%.*s", (int)sizeof(tls->failure) - 1, reason);
    (void)pthread_mutex_unlock(&tls->lock);
}

static int
failed(nng_tls_engine_conn *conn, int result, const char *what)
{
    char reason[FAILURE_BYTES / 2];
    char text[FAILURE_BYTES];
    long verified = SSL_get_verify_result(conn->ssl);
    unsigned long last = ERR_peek_last_error();
    int library_reason = ERR_GET_REASON(last);
    bool refused_by_peer = ERR_GET_LIB(last) == ERR_LIB_SSL &&
                           library_reason > SSL_AD_REASON_OFFSET; /* an alert came */
    openssl_reason(reason, sizeof(reason));
    if (verified != X509_V_OK) {
        (void)snprintf(reason, sizeof(reason), "%s", X509_verify_cert_error_string(verified));
    }
    (void)snprintf(
        text,
        sizeof(text),
        "%s: %s%s",
        what,
        refused_by_peer && verified == X509_V_OK ? "the peer refuses us: " : "",
        reason);
    ERR_clear_error();
    note_failure(conn, text);
    return verified != X509_V_OK || refused_by_peer ? NNG_EPEERAUTH : result;
}

static int
check_peer(nng_tls_engine_conn *conn)
{
    const fx_tls_options *options = &conn->tls->options;
    char text[4 * FX_NAME_MAX_BYTES + 64];
    if (SSL_get_verify_result(conn->ssl) != X509_V_OK || !read_peer(conn->ssl, &conn->peer)) {
        note_failure(conn, "the certificate has no usable common name and organizational unit");
        return NNG_EPEERAUTH;
    }
    if (!options->server && (!fx_name_is(&conn->peer.name, &options->peer_name) ||
                             !fx_name_is(&conn->peer.role, &options->peer_role))) {
        (void)snprintf(
            text,
            sizeof(text),
            "expected %s \"%s\", the certificate says %s \"%s\"",
            options->peer_role.text,
            options->peer_name.text,
            conn->peer.role.text,
            conn->peer.name.text);
        note_failure(conn, text);
        return NNG_EPEERAUTH;
    }
    return 0;
}

static int
conn_handshake(nng_tls_engine_conn *conn)
{
    if (conn->closed) {
        return NNG_ECLOSED;
    }
    if (conn->handshake_done) {
        return 0;
    }
    ERR_clear_error();
    int result = SSL_do_handshake(conn->ssl);
    if (result != 1) {
        int error = SSL_get_error(conn->ssl, result);
        if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
            return NNG_EAGAIN;
        }
        return failed(conn, NNG_ECRYPTO, "TLS handshake");
    }
    int checked = check_peer(conn);
    conn->handshake_done = checked == 0;
    return checked;
}

/* The framework calls send and recv before the handshake too. */
static int
conn_recv(nng_tls_engine_conn *conn, uint8_t *room, size_t *size_bytes)
{
    int ready = conn_handshake(conn);
    if (ready != 0) {
        return ready;
    }
    ERR_clear_error();
    size_t got = 0;
    int result = SSL_read_ex(conn->ssl, room, *size_bytes, &got);
    if (result == 1) {
        *size_bytes = got;
        return 0;
    }
    int error = SSL_get_error(conn->ssl, result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        return NNG_EAGAIN;
    }
    if (error == SSL_ERROR_ZERO_RETURN) {
        return NNG_ECONNSHUT;
    }
    return failed(conn, NNG_ECONNSHUT, "TLS receive");
}

static int
conn_send(nng_tls_engine_conn *conn, const uint8_t *data, size_t *size_bytes)
{
    int ready = conn_handshake(conn);
    if (ready != 0) {
        return ready;
    }
    ERR_clear_error();
    size_t sent = 0;
    int result = SSL_write_ex(conn->ssl, data, *size_bytes, &sent);
    if (result == 1) {
        *size_bytes = sent;
        return 0;
    }
    int error = SSL_get_error(conn->ssl, result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        return NNG_EAGAIN;
    }
    return failed(conn, NNG_ECONNSHUT, "TLS send");
}

static bool
conn_verified(nng_tls_engine_conn *conn)
{
    noted = conn->handshake_done;
    if (noted) {
        noted_peer = conn->peer;
    }
    return noted;
}

/*
 * The framework itself would go on to queue operations that never end. No close_notify: the TCP
 * connection is closed next, so that it would not leave any more.
 */
static void
conn_close(nng_tls_engine_conn *conn)
{
    conn->closed = true;
}

static int
conn_init(nng_tls_engine_conn *conn, void *stream, nng_tls_engine_config *config)
{
    fx_tls *tls = config->tls;
    if (tls == NULL) {
        return NNG_EINVAL;
    }
    SSL *ssl = SSL_new(tls->context);
    BIO *bio = BIO_new(stream_method);
    if (ssl == NULL || bio == NULL) {
        SSL_free(ssl);
        BIO_free(bio);
        return NNG_ENOMEM;
    }
    BIO_set_data(bio, stream);
    SSL_set_bio(ssl, bio, bio);
    if (tls->options.server) {
        SSL_set_accept_state(ssl);
    } else {
        SSL_set_connect_state(ssl);
    }
    (void)atomic_fetch_add(&tls->references, 1);
    conn->tls = tls;
    conn->ssl = ssl;
    return 0;
}

/* nng calls it also where init failed or never ran; the memory is zeroed then. */
static void
conn_fini(nng_tls_engine_conn *conn)
{
    if (conn->ssl != NULL) {
        SSL_free(conn->ssl);
        conn->ssl = NULL;
        fx_tls_free(conn->tls);
    }
}

/* ---- configuration and registration
 * ---------------------------------------------------------------- */

static int
config_init(nng_tls_engine_config *config, nng_tls_mode mode)
{
    (void)mode;
    config->tls = pending_tls;
    if (config->tls != NULL) {
        (void)atomic_fetch_add(&config->tls->references, 1);
    }
    return 0;
}

static void
config_fini(nng_tls_engine_config *config)
{
    fx_tls_free(config->tls);
}

/* fx_tls holds all settings; what nng sets by itself (host name, mode) has no meaning here. */
static int
config_server(nng_tls_engine_config *config, const char *name)
{
    (void)config;
    (void)name;
    return 0;
}

static int
config_auth(nng_tls_engine_config *config, nng_tls_auth_mode mode)
{
    (void)config;
    (void)mode;
    return 0;
}

static int
config_ca_chain(nng_tls_engine_config *config, const char *certificates, const char *revoked)
{
    (void)config;
    (void)certificates;
    (void)revoked;
    return NNG_ENOTSUP;
}

static int
config_own_cert(
    nng_tls_engine_config *config, const char *certificate, const char *key, const char *password)
{
    (void)config;
    (void)certificate;
    (void)key;
    (void)password;
    return NNG_ENOTSUP;
}

static int
config_version(nng_tls_engine_config *config, nng_tls_version lowest, nng_tls_version highest)
{
    (void)config;
    return lowest <= NNG_TLS_1_3 && highest >= NNG_TLS_1_3 ? 0 : NNG_ENOTSUP;
}

static nng_tls_engine_config_ops config_operations = {
    .size = sizeof(nng_tls_engine_config),
    .init = config_init,
    .fini = config_fini,
    .server = config_server,
    .auth = config_auth,
    .ca_chain = config_ca_chain,
    .own_cert = config_own_cert,
    .version = config_version,
};

static nng_tls_engine_conn_ops conn_operations = {
    .size = sizeof(nng_tls_engine_conn),
    .init = conn_init,
    .fini = conn_fini,
    .close = conn_close,
    .handshake = conn_handshake,
    .recv = conn_recv,
    .send = conn_send,
    .verified = conn_verified,
};

static const nng_tls_engine engine = {
    .version = NNG_TLS_ENGINE_VERSION,
    .config_ops = &config_operations,
    .conn_ops = &conn_operations,
    .name = "fortress",
    .description = "OpenSSL, TLS 1.3 only, mutual",
    .fips_mode = false,
};

static void
register_engine(void)
{
    /* nng registers its stock engine when it is initialised, which the first configuration does. */
    nng_tls_config *first = NULL;
    once_result = nng_tls_config_alloc(&first, NNG_TLS_MODE_CLIENT);
    if (once_result != 0) {
        return;
    }
    nng_tls_config_free(first);
    stream_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "nng stream");
    if (stream_method == NULL || BIO_meth_set_write(stream_method, stream_write) != 1 ||
        BIO_meth_set_read(stream_method, stream_read) != 1 ||
        BIO_meth_set_ctrl(stream_method, stream_control) != 1 ||
        BIO_meth_set_create(stream_method, stream_create) != 1) {
        once_result = NNG_ENOMEM;
        return;
    }
    once_result = nng_tls_engine_register(&engine);
}

/* ---- fx_tls
 * ---------------------------------------------------------------------------------------- */

void
fx_tls_free(fx_tls *tls)
{
    if (tls == NULL || atomic_fetch_sub(&tls->references, 1) != 1) {
        return;
    }
    SSL_CTX_free(tls->context);
    (void)pthread_mutex_destroy(&tls->lock);
    free(tls);
}

static fx_code
bad_file(fx_err *err, const char *what, const char *path)
{
    char reason[FAILURE_BYTES / 2];
    openssl_reason(reason, sizeof(reason));
    ERR_clear_error();
    if (access(path, R_OK) != 0) {
        return fx_fail_errno(err, errno, "could not read the %s \"%s\"", what, path);
    }
    return fx_fail(err, FX_ERR_INVALID, "could not use the %s \"%s\": %s", what, path, reason);
}

static fx_code
load_files(SSL_CTX *context, const fx_wire_tls *files, fx_err *err)
{
    ERR_clear_error();
    if (SSL_CTX_load_verify_locations(context, files->ca_file, NULL) != 1) {
        return bad_file(err, "CA certificates", files->ca_file);
    }
    if (SSL_CTX_use_certificate_chain_file(context, files->certificate_file) != 1) {
        return bad_file(err, "certificate", files->certificate_file);
    }
    if (SSL_CTX_use_PrivateKey_file(context, files->key_file, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(context) != 1) {
        return bad_file(err, "key", files->key_file);
    }
    return FX_OK;
}

static bool
restrict_context(SSL_CTX *context)
{
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_verify_depth(context, CHAIN_MAX);
    /* A resumed session would skip the certificates. */
    (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
    (void)SSL_CTX_set_mode(
        context,
        SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
            SSL_MODE_RELEASE_BUFFERS);
    return SSL_CTX_set_num_tickets(context, 0) == 1 &&
           SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1;
}

fx_code
fx_tls_new(const fx_tls_options *options, fx_tls **out_tls, fx_err *err)
{
    FX_ASSERT(options->files.ca_file != NULL);
    FX_ASSERT(options->files.certificate_file != NULL && options->files.key_file != NULL);
    (void)pthread_once(&once, register_engine);
    if (once_result != 0) {
        return fx_fail(err, FX_ERR_FAILED, "could not prepare nng: %s", nng_strerror(once_result));
    }
    SSL_CTX *context = SSL_CTX_new(options->server ? TLS_server_method() : TLS_client_method());
    if (context == NULL || !restrict_context(context)) {
        SSL_CTX_free(context);
        return fx_fail(err, FX_ERR_FAILED, "could not prepare OpenSSL for TLS 1.3");
    }
    if (load_files(context, &options->files, err) != FX_OK) {
        SSL_CTX_free(context);
        return err->code;
    }
    fx_tls *tls = calloc(1, sizeof(*tls));
    FX_ASSERT(tls != NULL);
    atomic_init(&tls->references, 1);
    tls->context = context;
    tls->options = *options;
    tls->options.files = (fx_wire_tls){0}; /* borrowed until here */
    int result = pthread_mutex_init(&tls->lock, NULL);
    FX_ASSERT(result == 0);
    *out_tls = tls;
    return FX_OK;
}

fx_code
fx_tls_config(fx_tls *tls, void **out_config, fx_err *err)
{
    nng_tls_config *config = NULL;
    pending_tls = tls;
    int result = nng_tls_config_alloc(
        &config, tls->options.server ? NNG_TLS_MODE_SERVER : NNG_TLS_MODE_CLIENT);
    pending_tls = NULL;
    if (result != 0) {
        return fx_fail(
            err, FX_ERR_LIMIT, "could not make a TLS configuration: %s", nng_strerror(result));
    }
    *out_config = config;
    return FX_OK;
}

bool
fx_tls_noted_peer(fx_wire_peer *out_peer)
{
    if (noted) {
        *out_peer = noted_peer;
    }
    bool result = noted;
    noted = false;
    return result;
}

/*
 * nng closes its TCP connection when a send in the background fails, and fails what is queued, but
 * remembers nothing: what is queued next waits for a receive that it never starts. A send fails
 * only once the kernel has ended the connection, and then there is no peer's address any more.
 */
bool
fx_tls_stream_is_lost(void *stream)
{
    nng_sockaddr address;
    return nng_stream_get_addr(stream, NNG_OPT_REMADDR, &address) != 0;
}

void
fx_tls_take_failure(fx_tls *tls, char *out_text, size_t size_bytes)
{
    (void)pthread_mutex_lock(&tls->lock);
    (void)snprintf(out_text, size_bytes, "%s", tls->failure);
    tls->failure[0] = '\0';
    (void)pthread_mutex_unlock(&tls->lock);
}
