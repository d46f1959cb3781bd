#include "common/wire/tls.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <nng/nng.h>
#include <nng/supplemental/tls/engine.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "common/base/clock.h"
#include "common/base/rate.h"

enum { FAILURE_BYTES = 256, ADDRESS_BYTES = 64, CHAIN_MAX = 3 };

/* nng's framing begins with this many bytes in each direction. source: SP TCP mapping, RFC draft */
enum { SP_HEADER_BYTES = 8 };

struct fx_tls {
    atomic_int references;
    SSL_CTX *context;
    fx_tls_options options;
    pthread_mutex_t lock; /* of what follows */
    char failure[FAILURE_BYTES];
    fx_rate log_rate;
};

struct nng_tls_engine_config {
    fx_tls *tls; /* NULL in the configuration that nng makes for itself and we replace */
};

/* `closing` is the only field that a thread touches which nng did not call for this connection. */
struct nng_tls_engine_conn {
    struct nng_tls_engine_conn *previous;
    struct nng_tls_engine_conn *next;
    fx_tls *tls;
    SSL *ssl;
    void *stream; /* nng's connection; its first member is the nng_stream */
    fx_mono started;
    atomic_bool closing;
    atomic_bool handshake_done;
    atomic_bool adopted;
    atomic_llong ready_ns; /* when the peer's SP header had arrived; 0 not yet */
    size_t received_bytes;
    fx_wire_peer peer;
    char address[ADDRESS_BYTES];
};

/* Every connection from init to fini. Never taken while nng holds a connection's lock. */
static pthread_mutex_t connections_lock = PTHREAD_MUTEX_INITIALIZER;
static struct nng_tls_engine_conn *connections_first; /* newest first */

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

static void
describe_address(void *stream, char *out_text)
{
    nng_sockaddr address;
    char host[INET6_ADDRSTRLEN] = "";
    (void)snprintf(out_text, ADDRESS_BYTES, "unknown");
    if (nng_stream_get_addr(stream, NNG_OPT_REMADDR, &address) != 0) {
        return;
    }
    if (address.s_family == NNG_AF_INET &&
        inet_ntop(AF_INET, &address.s_in.sa_addr, host, sizeof(host)) != NULL) {
        (void)snprintf(out_text, ADDRESS_BYTES, "%s:%d", host, ntohs(address.s_in.sa_port));
    } else if (
        address.s_family == NNG_AF_INET6 &&
        inet_ntop(AF_INET6, address.s_in6.sa_addr, host, sizeof(host)) != NULL) {
        (void)snprintf(out_text, ADDRESS_BYTES, "[%s]:%d", host, ntohs(address.s_in6.sa_port));
    }
}

/* A client's caller gets the text with its error; a server logs it. */
static void
note_failure(nng_tls_engine_conn *conn, const char *reason)
{
    fx_tls *tls = conn->tls;
    uint64_t suppressed = 0;
    (void)pthread_mutex_lock(&tls->lock);
    (void)snprintf(tls->failure, sizeof(tls->failure), "%s", reason);
    bool log = tls->options.server && fx_rate_take(&tls->log_rate, fx_clock_mono(), &suppressed);
    (void)pthread_mutex_unlock(&tls->lock);
    if (log) {
        FX_LOG(
            tls->options.log,
            WARN,
            "connection.refused",
            FX_STR("address", conn->address),
            FX_STR("reason", reason),
            FX_INT("suppressed", suppressed));
    }
}

/*
 * Never NNG_ECLOSED: a listener of nng 1.5 that gets it from a connection under negotiation stops
 * to accept for good. A server has no cool-down after ECONNABORTED, so that garbage slows nobody.
 */
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
    if (conn->tls->options.server) {
        return NNG_ECONNABORTED;
    }
    return verified != X509_V_OK || refused_by_peer ? NNG_EPEERAUTH : result;
}

static int
check_peer(nng_tls_engine_conn *conn)
{
    const fx_tls_options *options = &conn->tls->options;
    char text[FAILURE_BYTES];
    if (SSL_get_verify_result(conn->ssl) != X509_V_OK || !read_peer(conn->ssl, &conn->peer)) {
        note_failure(conn, "the certificate has no usable common name and organizational unit");
        return options->server ? NNG_ECONNABORTED : NNG_EPEERAUTH;
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
    if (atomic_load(&conn->closing)) {
        return NNG_ECONNABORTED;
    }
    if (atomic_load(&conn->handshake_done)) {
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
    if (checked == 0) {
        atomic_store(&conn->handshake_done, true);
    }
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
        if (conn->received_bytes < SP_HEADER_BYTES) {
            conn->received_bytes += got;
            if (conn->received_bytes >= SP_HEADER_BYTES) {
                atomic_store(&conn->ready_ns, (long long)fx_clock_mono().ns);
            }
        }
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
    noted = atomic_load(&conn->handshake_done);
    if (noted) {
        noted_peer = conn->peer;
        atomic_store(&conn->adopted, true);
    }
    return noted;
}

static void
conn_close(nng_tls_engine_conn *conn)
{
    (void)conn; /* the TCP connection is closed next, a close_notify would not leave any more */
}

/* ---- all connections
 * ------------------------------------------------------------------------------- */

static bool
is_half_open(const nng_tls_engine_conn *conn)
{
    return !atomic_load(&conn->handshake_done) && !atomic_load(&conn->closing);
}

/*
 * Makes nng ask the engine about a connection, which then answers that it has failed: the only way
 * to end one that nng does not offer as a pipe yet. Closing the stream instead would complete the
 * negotiation with NNG_ECLOSED, see failed(). With connections_lock held, which keeps it alive.
 */
static void
end_connection(nng_tls_engine_conn *conn)
{
    if (atomic_exchange(&conn->closing, true)) {
        return;
    }
    unsigned char byte = 0;
    nng_iov vector = {.iov_buf = &byte, .iov_len = 1};
    nng_aio *aio = NULL;
    if (nng_aio_alloc(&aio, NULL, NULL) != 0) {
        atomic_store(&conn->closing, false); /* the next sweep tries again */
        return;
    }
    int set = nng_aio_set_iov(aio, 1, &vector);
    FX_ASSERT(set == 0);
    nng_stream_send(conn->stream, aio);
    nng_aio_wait(aio);
    nng_stream_recv(conn->stream, aio);
    nng_aio_wait(aio);
    nng_aio_free(aio);
}

static void
list_add(nng_tls_engine_conn *conn)
{
    conn->previous = NULL;
    conn->next = connections_first;
    if (connections_first != NULL) {
        connections_first->previous = conn;
    }
    connections_first = conn;
}

static void
list_remove(nng_tls_engine_conn *conn)
{
    if (conn->next != NULL) {
        conn->next->previous = conn->previous;
    }
    if (conn->previous != NULL) {
        conn->previous->next = conn->next;
    } else {
        connections_first = conn->next;
    }
}

/*
 * Who opens connections and says nothing must not keep others out: the oldest of too many
 * unfinished handshakes gives way. With connections_lock held; false if `tls` is full.
 */
static bool
make_room(const fx_tls *tls)
{
    size_t open = 0;
    size_t half_open = 0;
    nng_tls_engine_conn *oldest = NULL;
    for (nng_tls_engine_conn *conn = connections_first; conn != NULL; conn = conn->next) {
        if (conn->tls != tls) {
            continue;
        }
        open++;
        if (is_half_open(conn)) {
            half_open++;
            oldest = conn;
        }
    }
    if (half_open >= FX_TLS_HALF_OPEN_MAX && oldest != NULL) {
        note_failure(oldest, "too many connections have not finished their handshake");
        end_connection(oldest);
    }
    return open < tls->options.connection_max + (2 * (size_t)FX_TLS_HALF_OPEN_MAX);
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
        return NNG_ECONNABORTED;
    }
    BIO_set_data(bio, stream);
    SSL_set_bio(ssl, bio, bio);
    if (tls->options.server) {
        SSL_set_accept_state(ssl);
    } else {
        SSL_set_connect_state(ssl);
    }
    describe_address(stream, conn->address);
    (void)pthread_mutex_lock(&connections_lock);
    bool room = !tls->options.server || make_room(tls);
    if (room) {
        (void)atomic_fetch_add(&tls->references, 1);
        conn->tls = tls;
        conn->ssl = ssl;
        conn->stream = stream;
        conn->started = fx_clock_mono();
        list_add(conn);
    }
    (void)pthread_mutex_unlock(&connections_lock);
    if (!room) {
        SSL_free(ssl);
    }
    return room ? 0 : NNG_ECONNABORTED;
}

/* nng calls it also where init failed or never ran; the memory is zeroed then. */
static void
conn_fini(nng_tls_engine_conn *conn)
{
    if (conn->ssl == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&connections_lock);
    list_remove(conn);
    (void)pthread_mutex_unlock(&connections_lock);
    SSL_free(conn->ssl);
    conn->ssl = NULL;
    fx_tls_free(conn->tls);
}

void
fx_tls_sweep(fx_mono now)
{
    (void)pthread_mutex_lock(&connections_lock);
    for (nng_tls_engine_conn *conn = connections_first; conn != NULL; conn = conn->next) {
        fx_dur age = fx_mono_since(now, conn->started);
        bool done = atomic_load(&conn->handshake_done);
        /* nng's own limit of 10 s begins with each step of its negotiation, so it ends later. */
        int64_t limit_ms = done ? 3 * FX_TLS_HANDSHAKE_MAX_MS : FX_TLS_HANDSHAKE_MAX_MS;
        if (fx_dur_over(age, FX_DUR_MS(limit_ms)) && !atomic_load(&conn->adopted) &&
            !atomic_load(&conn->closing)) {
            note_failure(conn, "the handshake took too long");
            end_connection(conn);
        }
    }
    (void)pthread_mutex_unlock(&connections_lock);
}

bool
fx_tls_is_stuck(const fx_tls *server, fx_mono now)
{
    bool stuck = false;
    (void)pthread_mutex_lock(&connections_lock);
    for (nng_tls_engine_conn *conn = connections_first; conn != NULL; conn = conn->next) {
        fx_mono ready = {.ns = atomic_load(&conn->ready_ns)};
        stuck = stuck || (conn->tls == server && ready.ns != 0 && !atomic_load(&conn->adopted) &&
                          !atomic_load(&conn->closing) &&
                          fx_dur_over(fx_mono_since(now, ready), FX_DUR_MS(FX_TLS_ADOPT_MAX_MS)));
    }
    (void)pthread_mutex_unlock(&connections_lock);
    return stuck;
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
    tls->log_rate = (fx_rate){.burst = 10, .refill = {.ns = 1000 * FX_NS_PER_MS}};
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

void
fx_tls_take_failure(fx_tls *tls, char *out_text, size_t size_bytes)
{
    (void)pthread_mutex_lock(&tls->lock);
    (void)snprintf(out_text, size_bytes, "%s", tls->failure);
    tls->failure[0] = '\0';
    (void)pthread_mutex_unlock(&tls->lock);
}
