#include "common/store/remote/remote.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "common/base/clock.h"
#include "common/base/rng.h"
#include "common/base/secret.h"
#include "common/xml/xml.h"

enum {
    REMOTE_MAGIC = 0x4e307e11,
    IDLE_MAX = 32,
    ATTEMPT_MAX = 10,
    PAUSE_MIN_MS = 100,
    PAUSE_MAX_MS = 20000,
    CONNECT_MAX_MS = 10000,
    STALL_MAX_MS = 30000,
    RETRY_AFTER_MAX_S = 300,
};

struct fx_remote {
    uint32_t magic;
    char *ca_file;
    pthread_mutex_t lock; /* of what follows */
    fx_http_client *idle[IDLE_MAX];
    size_t idle_count;
    fx_rng rng;
};

static atomic_int_least64_t clock_shift_ns;

void
fx_remote_shift_clock(fx_dur by)
{
    atomic_store(&clock_shift_ns, by.ns);
}

static fx_wall
now_shifted(void)
{
    return (fx_wall){.ns = fx_clock_wall().ns + atomic_load(&clock_shift_ns)};
}

static uint64_t
draw(void)
{
    uint64_t drawn = 0;
    ssize_t drawn_bytes = getrandom(&drawn, sizeof drawn, 0);
    FX_ASSERT(drawn_bytes == (ssize_t)sizeof drawn);
    return drawn;
}

fx_remote *
fx_remote_new(const char *ca_file)
{
    fx_remote *remote = calloc(1, sizeof *remote);
    FX_ASSERT(remote != NULL);
    remote->magic = REMOTE_MAGIC;
    if (ca_file != NULL) {
        remote->ca_file = strdup(ca_file);
        FX_ASSERT(remote->ca_file != NULL);
    }
    int result = pthread_mutex_init(&remote->lock, NULL);
    FX_ASSERT(result == 0);
    fx_rng_init(&remote->rng, draw());
    return remote;
}

void
fx_remote_free(fx_remote *remote)
{
    if (remote == NULL) {
        return;
    }
    FX_ASSERT(remote->magic == REMOTE_MAGIC);
    for (size_t i = 0; i < remote->idle_count; i++) {
        fx_http_client_free(remote->idle[i]);
    }
    (void)pthread_mutex_destroy(&remote->lock);
    free(remote->ca_file);
    remote->magic = 0;
    free(remote);
}

/* The one that was used last: its connection is the likeliest to be open still. */
static fx_http_client *
borrow_client(fx_remote *remote)
{
    (void)pthread_mutex_lock(&remote->lock);
    fx_http_client *client = remote->idle_count > 0 ? remote->idle[--remote->idle_count] : NULL;
    (void)pthread_mutex_unlock(&remote->lock);
    const fx_http_tls tls = {.ca_file = remote->ca_file};
    return client != NULL ? client : fx_http_client_new(&tls);
}

static void
return_client(fx_remote *remote, fx_http_client *client)
{
    (void)pthread_mutex_lock(&remote->lock);
    if (remote->idle_count < IDLE_MAX) {
        remote->idle[remote->idle_count++] = client;
        client = NULL;
    }
    (void)pthread_mutex_unlock(&remote->lock);
    fx_http_client_free(client);
}

static uint64_t
draw_below(fx_remote *remote, uint64_t bound)
{
    (void)pthread_mutex_lock(&remote->lock);
    uint64_t drawn = fx_rng_below(&remote->rng, bound);
    (void)pthread_mutex_unlock(&remote->lock);
    return drawn;
}

void
fx_remote_add_header(fx_remote_request *request, const char *fmt, ...)
{
    FX_ASSERT(request->header_count < FX_REMOTE_HEADER_MAX);
    char *line = NULL;
    va_list args;
    va_start(args, fmt);
    int length = vasprintf(&line, fmt, args);
    va_end(args);
    FX_ASSERT(length > 0);
    request->headers[request->header_count++] = line;
}

static void
forget_headers(fx_remote_request *request)
{
    for (size_t i = 0; i < request->header_count; i++) {
        fx_wipe(request->headers[i], strlen(request->headers[i]));
        free(request->headers[i]);
    }
    request->header_count = 0;
}

static void
set_text(char *to, size_t room_bytes, const char *value)
{
    (void)snprintf(to, room_bytes, "%s", value);
}

typedef struct listener {
    fx_remote_answer *answer;
    fx_wall asked_at;
} listener;

static void
take_date(const listener *l, const char *value)
{
    fx_err err;
    fx_wall server;
    if (fx_http_date_parse(value, &server, &err) == FX_OK) {
        int64_t middle_ns = l->asked_at.ns + (now_shifted().ns - l->asked_at.ns) / 2;
        int64_t skew_ns = server.ns + 500000000 - middle_ns; /* its seconds are cut off */
        l->answer->knows_skew = true;
        l->answer->skew.ns = skew_ns / 1000000000 * 1000000000;
    }
}

static void
on_header(void *ctx, const char *name, const char *value)
{
    const listener *l = ctx;
    fx_remote_answer *answer = l->answer;
    const struct {
        const char *name;
        char *to;
        size_t room_bytes;
    } wanted[] = {
        {"ETag", answer->etag, sizeof answer->etag},
        {"x-amz-bucket-region", answer->region, sizeof answer->region},
        {"x-amz-meta-fortress-put", answer->nonce, sizeof answer->nonce},
        {"x-goog-meta-fortress-put", answer->nonce, sizeof answer->nonce},
        {"x-ms-meta-fortressput", answer->nonce, sizeof answer->nonce},
        {"x-ms-error-code", answer->code, sizeof answer->code},
        {"Server", answer->server, sizeof answer->server},
        {"x-ms-has-immutability-policy", answer->immutability, sizeof answer->immutability},
        {"x-ms-immutable-storage-with-versioning-enabled",
         answer->immutable_versions,
         sizeof answer->immutable_versions},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        if (strcasecmp(name, wanted[i].name) == 0) {
            set_text(wanted[i].to, wanted[i].room_bytes, value);
        }
    }
    if (strcasecmp(name, "Content-Length") == 0) {
        char *end = NULL;
        answer->content_bytes = strtoull(value, &end, 10);
        answer->has_content_bytes = end != value && *end == '\0';
    } else if (strcasecmp(name, "Date") == 0) {
        take_date(l, value);
    }
}

static fx_code
take_refusal(void *ctx, const char *path, const char *text, fx_err *err)
{
    (void)err;
    fx_remote_answer *answer = ctx;
    if (strcmp(path, "Error/Code") == 0) {
        set_text(answer->code, sizeof answer->code, text);
    } else if (strcmp(path, "Error/Message") == 0) {
        char first[sizeof answer->message];
        set_text(first, sizeof first, text);
        first[strcspn(first, "\r\n")] = '\0';
        set_text(answer->message, sizeof answer->message, first);
    } else if (strcmp(path, "Error/Region") == 0) {
        set_text(answer->region, sizeof answer->region, text);
    }
    return FX_OK;
}

/* One request. FX_OK: there is an answer, of whatever status. */
static fx_code
attempt(
    fx_remote *remote,
    const fx_remote_call *call,
    fx_mono deadline,
    fx_remote_answer *answer,
    int64_t *out_retry_after_s,
    fx_err *err)
{
    FX_BUF_AUTO refusal;
    FX_BUF_AUTO unwanted;
    fx_buf_init(&refusal, FX_REMOTE_REFUSAL_MAX_BYTES);
    fx_buf_init(&unwanted, FX_REMOTE_REFUSAL_MAX_BYTES);
    listener l = {.answer = answer, .asked_at = now_shifted()};
    fx_remote_request request = {0};
    fx_code code = call->build(call->ctx, l.asked_at, &request, err);
    if (code != FX_OK) {
        forget_headers(&request);
        err->outcome = FX_CLASS_PERMANENT;
        return code;
    }
    fx_http_request http = {
        .method = request.method,
        .url = request.url,
        .body = request.body,
        .connect_max = FX_DUR_MS(CONNECT_MAX_MS),
        .stall_max = FX_DUR_MS(STALL_MAX_MS),
        .is_repeatable = true, /* a PUT has a body, which is never sent twice */
        .use_proxy = true,
        .refusal_body = &refusal,
        .on_header = on_header,
        .header_ctx = &l,
    };
    for (size_t i = 0; i < request.header_count; i++) {
        http.headers[i] = request.headers[i];
    }
    fx_http_response response = {0};
    fx_http_client *client = borrow_client(remote);
    code = fx_http_call(
        client, &http, deadline, &response, call->body != NULL ? call->body : &unwanted, err);
    return_client(remote, client);
    forget_headers(&request);
    fx_wipe(request.url, sizeof request.url); /* a token can be in it */
    if (code == FX_OK) {
        fx_err ignored;
        answer->status = response.status;
        *out_retry_after_s = response.retry_after_s;
        /* A proxy in between may refuse in HTML: then the status is all there is. */
        fx_ignore(
            fx_xml_read(fx_buf_bytes(&refusal), take_refusal, answer, &ignored),
            "the status tells enough");
    }
    return code;
}

/* Refusals that the same request may not meet again. */
static bool
is_passing(const fx_remote_answer *answer)
{
    static const char *const codes[] = {
        "RequestTimeout",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "RequestLimitExceeded",
        "TooManyRequests",
        "InternalError",
        "ServiceUnavailable",
        "ServerBusy",
        "OperationTimedOut",
        "OperationAborted",
        "ConditionalRequestConflict",
        "BadDigest",
        "Md5Mismatch",
        "XAmzContentSHA256Mismatch",
        "XAmzContentChecksumMismatch",
    };
    static const int statuses[] = {408, 429, 500, 502, 503, 504};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        if (strcmp(answer->code, codes[i]) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        if (answer->status == statuses[i]) {
            return true;
        }
    }
    return false;
}

static bool
is_throttling(const fx_remote_answer *answer)
{
    return answer->status == 503 || answer->status == 429 || strcmp(answer->code, "SlowDown") == 0;
}

/* What to say if it is the last attempt. */
static fx_code
give_up(const fx_remote_call *call, const fx_remote_answer *answer, fx_err *err)
{
    return fx_fail_as(
        err,
        FX_CLASS_TRANSIENT,
        is_throttling(answer) ? FX_ERR_BUSY : FX_ERR_UNREACHABLE,
        "could not %s \"%.80s\": the server %s (status %d%s%s)",
        call->what,
        call->key,
        is_throttling(answer) ? "asks to slow down, or is overloaded" : "failed",
        answer->status,
        answer->code[0] == '\0' ? "" : " ",
        answer->code);
}

/*
 * Waits before the next attempt: anywhere between nothing and a limit that doubles, so that many
 * clients do not come back at once, but not before the server wants it. false: the deadline is
 * nearer than that.
 * source: Brooker, "Exponential backoff and jitter", 2015
 */
static bool
pause_before_next(fx_remote *remote, int done, int64_t retry_after_s, fx_mono deadline)
{
    int64_t limit_ms = (int64_t)PAUSE_MIN_MS << done;
    limit_ms = limit_ms > PAUSE_MAX_MS ? PAUSE_MAX_MS : limit_ms;
    int64_t pause_ms = (int64_t)draw_below(remote, (uint64_t)limit_ms);
    if (retry_after_s > 0) {
        int64_t told_s = retry_after_s > RETRY_AFTER_MAX_S ? RETRY_AFTER_MAX_S : retry_after_s;
        pause_ms += told_s * 1000;
    }
    if (fx_mono_since(deadline, fx_clock_mono()).ns <= FX_DUR_MS(pause_ms).ns) {
        return false;
    }
    fx_clock_sleep(FX_DUR_MS(pause_ms));
    return true;
}

/* Forgets what a failed attempt left. */
static void
take_back(const fx_remote_call *call, size_t begin_bytes)
{
    if (call->body != NULL && call->body->size_bytes > begin_bytes) {
        call->body->size_bytes = begin_bytes;
        call->body->data[begin_bytes] = '\0';
    }
}

/* Is another attempt of no use? */
static bool
is_final(const fx_remote_call *call, fx_code code, fx_err *err)
{
    if (code == FX_ERR_LIMIT && !call->is_change) {
        err->outcome = FX_CLASS_PERMANENT;
    }
    return code == FX_ERR_LIMIT || (code != FX_OK && err->outcome == FX_CLASS_PERMANENT);
}

/* Can the attempt have had its effect although it failed? */
static bool
may_have_happened(fx_code code, const fx_remote_answer *answer, const fx_err *err)
{
    return code == FX_OK ? answer->status >= 500 : err->outcome == FX_CLASS_UNKNOWN;
}

fx_code
fx_remote_ask(
    fx_remote *remote,
    const fx_remote_call *call,
    fx_mono deadline,
    fx_remote_answer *out_answer,
    fx_err *err)
{
    FX_ASSERT(remote->magic == REMOTE_MAGIC);
    bool maybe_done = false;
    size_t begin_bytes = call->body == NULL ? 0 : call->body->size_bytes;
    for (int done = 0;; done++) {
        fx_remote_answer answer = {.maybe_done = maybe_done};
        int64_t retry_after_s = -1;
        fx_code code = attempt(remote, call, deadline, &answer, &retry_after_s, err);
        if (code == FX_OK && !is_passing(&answer)) {
            *out_answer = answer;
            return FX_OK;
        }
        take_back(call, begin_bytes);
        if (is_final(call, code, err)) {
            return fx_err_wrap(err, "asking to %s \"%.80s\"", call->what, call->key);
        }
        maybe_done = maybe_done || may_have_happened(code, &answer, err);
        if (code == FX_OK) {
            fx_ignore(give_up(call, &answer, err), "said unless a later attempt succeeds");
        }
        if (done + 1 == ATTEMPT_MAX || !pause_before_next(remote, done, retry_after_s, deadline)) {
            err->outcome = maybe_done && call->is_change ? FX_CLASS_UNKNOWN : FX_CLASS_TRANSIENT;
            return fx_err_wrap(
                err, "asking to %s \"%.80s\", %d times", call->what, call->key, done + 1);
        }
    }
}

void
fx_remote_draw_nonce(char out_nonce[FX_REMOTE_NONCE_BYTES])
{
    (void)snprintf(out_nonce, FX_REMOTE_NONCE_BYTES, "%016" PRIx64 "%016" PRIx64, draw(), draw());
}

bool
fx_remote_is_loopback(const char *host)
{
    return strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
           (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == strlen(host));
}

bool
fx_remote_query_value(const char *query, const char *name, char *out_value, size_t room_bytes)
{
    size_t name_bytes = strlen(name);
    for (const char *at = query; *at != '\0';) {
        size_t length = strcspn(at, "&");
        if (length > name_bytes && strncmp(at, name, name_bytes) == 0 && at[name_bytes] == '=') {
            size_t value_bytes = length - name_bytes - 1;
            if (value_bytes >= room_bytes) {
                return false;
            }
            memcpy(out_value, at + name_bytes + 1, value_bytes);
            out_value[value_bytes] = '\0';
            return true;
        }
        at += length;
        at += *at == '&' ? 1 : 0;
    }
    return false;
}

static const fx_remote_meaning *
find_meaning(const fx_remote_judgement *judgement, const fx_remote_answer *answer)
{
    const fx_remote_meaning *by_status = NULL;
    for (size_t i = 0; i < judgement->count; i++) {
        const fx_remote_meaning *each = &judgement->meanings[i];
        if (each->name[0] != '\0' && strcmp(each->name, answer->code) == 0) {
            return each;
        }
        if (each->name[0] == '\0' && each->status == answer->status) {
            by_status = each;
        }
    }
    return by_status;
}

/* Beyond what any service lets pass, and so the likeliest reason for whatever it refused. */
enum { SKEW_SUSPICIOUS_S = 240 };

static void
write_skew(const fx_remote_answer *answer, char *out_text, size_t room_bytes)
{
    int64_t skew_s = answer->skew.ns / 1000000000;
    out_text[0] = '\0';
    if (answer->knows_skew && (skew_s > SKEW_SUSPICIOUS_S || skew_s < -SKEW_SUSPICIOUS_S)) {
        (void)snprintf(
            out_text,
            room_bytes,
            "; this host's clock is %" PRId64 " s %s the server's",
            skew_s < 0 ? -skew_s : skew_s,
            skew_s < 0 ? "ahead of" : "behind");
    }
}

fx_code
fx_remote_judge(const fx_remote_judgement *judgement, const fx_remote_answer *answer, fx_err *err)
{
    if (answer->status >= 200 && answer->status < 300) {
        return FX_OK;
    }
    char skew[80];
    write_skew(answer, skew, sizeof skew);
    const fx_remote_meaning *found = find_meaning(judgement, answer);
    const char *hint = judgement->hint == NULL ? "" : judgement->hint;
    if (found == NULL) {
        return fx_fail(
            err,
            FX_ERR_FAILED,
            "could not %s \"%.60s\": the server answers %d %s: %.80s%s%s",
            judgement->what,
            judgement->key,
            answer->status,
            answer->code,
            answer->message,
            hint,
            skew);
    }
    return fx_fail(
        err,
        found->code,
        "could not %s \"%.60s\": %s (%d%s%s)%s%s",
        judgement->what,
        judgement->key,
        found->text,
        answer->status,
        answer->code[0] == '\0' ? "" : " ",
        answer->code,
        hint,
        skew);
}

bool
fx_remote_take_prefix(const char *path, char *out_prefix, size_t room_bytes)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/";
    path += strspn(path, "/");
    size_t length = strlen(path);
    while (length > 0 && path[length - 1] == '/') {
        length--;
    }
    if (length + 2 > room_bytes || strspn(path, allowed) < length) {
        return false;
    }
    for (size_t i = 1; i < length; i++) { /* "a//b" and "a/../b" mean something else to others */
        if (path[i - 1] == '/' && (path[i] == '/' || path[i] == '.')) {
            return false;
        }
    }
    if (path[0] == '.') {
        return false;
    }
    memcpy(out_prefix, path, length);
    out_prefix[length] = '/';
    out_prefix[length > 0 ? length + 1 : 0] = '\0';
    return true;
}
