#include "common/store/depot/line.h"

#include <string.h>
#include <sys/random.h>

#include "common/base/clock.h"
#include "common/base/monitor.h"
#include "common/base/rng.h"
#include "common/wire/wire.h"

enum { REDIAL_MIN_MS = 100, REDIAL_MAX_MS = 2000, PAUSE_MIN_MS = 20, PAUSE_MAX_MS = 2000 };

struct fx_depot_lines {
    char *url;
    char *ca_file;
    char *certificate_file;
    char *key_file;
    fx_name peer;
    fx_monitor monitor; /* of what follows */
    fx_rng rng;
    fx_wire_client *clients[FX_DEPOT_LINE_MAX]; /* NULL: not needed so far */
    bool is_busy[FX_DEPOT_LINE_MAX];
};

static char *
copy(const char *text)
{
    char *own = strdup(text);
    FX_ASSERT(own != NULL);
    return own;
}

/* With the monitor held, or nobody else. */
static fx_code
open_client(fx_depot_lines *lines, size_t at, fx_err *err)
{
    fx_wire_client_options options = {
        .url = lines->url,
        .tls =
            {.ca_file = lines->ca_file,
             .certificate_file = lines->certificate_file,
             .key_file = lines->key_file},
        .peer_name = lines->peer,
        .peer_role = fx_name_of("agent"),
        .message_max_bytes = FX_DEPOT_MESSAGE_MAX_BYTES,
        .redial_min = FX_DUR_MS(REDIAL_MIN_MS),
        .redial_max = FX_DUR_MS(REDIAL_MAX_MS),
        .connect_max = FX_DUR_MS(FX_DEPOT_CONNECT_MS),
    };
    return fx_wire_client_open(&options, &lines->clients[at], err);
}

fx_code
fx_depot_lines_open(const fx_depot_lines_options *options, fx_depot_lines **out_lines, fx_err *err)
{
    fx_name peer;
    uint64_t seed = 0;
    if (fx_name_parse(options->peer, "name of the depot's host", &peer, err) != FX_OK) {
        return err->code;
    }
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed) {
        seed = (uint64_t)fx_clock_mono().ns; /* for jitter alone */
    }
    fx_depot_lines *made = calloc(1, sizeof *made);
    FX_ASSERT(made != NULL);
    made->url = copy(options->url);
    made->ca_file = copy(options->ca_file);
    made->certificate_file = copy(options->certificate_file);
    made->key_file = copy(options->key_file);
    made->peer = peer;
    fx_rng_init(&made->rng, seed);
    fx_monitor_init(&made->monitor);
    FX_AUTO(fx_depot_lines) lines = made;
    if (open_client(lines, 0, err) != FX_OK) { /* the files and the address are looked at now */
        return err->code;
    }
    *out_lines = FX_TAKE(lines);
    return FX_OK;
}

void
fx_depot_lines_free(fx_depot_lines *lines)
{
    if (lines == NULL) {
        return;
    }
    for (size_t i = 0; i < FX_DEPOT_LINE_MAX; i++) {
        FX_ASSERT(!lines->is_busy[i]);
        fx_wire_client_free(lines->clients[i]);
    }
    fx_monitor_deinit(&lines->monitor);
    free(lines->url);
    free(lines->ca_file);
    free(lines->certificate_file);
    free(lines->key_file);
    free(lines);
}

/* ---- one try
 * --------------------------------------------------------------------------------------- */

/* With the monitor held: a free line, one that has its client if there is any; or none. */
static size_t
find_free(const fx_depot_lines *lines)
{
    size_t found = FX_DEPOT_LINE_MAX;
    for (size_t i = 0; i < FX_DEPOT_LINE_MAX; i++) {
        if (!lines->is_busy[i] && (found == FX_DEPOT_LINE_MAX || lines->clients[i] != NULL)) {
            found = i;
            if (lines->clients[i] != NULL) {
                break;
            }
        }
    }
    return found;
}

static fx_code
take_line(fx_depot_lines *lines, fx_mono limit, size_t *out_line, fx_err *err)
{
    fx_code code = FX_OK;
    fx_monitor_lock(&lines->monitor);
    size_t at = find_free(lines);
    while (at == FX_DEPOT_LINE_MAX && fx_monitor_wait_until(&lines->monitor, limit)) {
        at = find_free(lines);
    }
    if (at == FX_DEPOT_LINE_MAX) {
        code = fx_fail_as(
            err,
            FX_CLASS_TRANSIENT,
            FX_ERR_TIMEOUT,
            "could not ask the depot %s: all connections were busy until the deadline",
            lines->peer.text);
    } else if (lines->clients[at] == NULL) {
        code = open_client(lines, at, err);
    }
    if (code == FX_OK) {
        lines->is_busy[at] = true;
        *out_line = at;
    }
    fx_monitor_unlock(&lines->monitor);
    return code;
}

static fx_code
try_once(fx_depot_lines *lines, fx_bytes message, fx_mono deadline, fx_buf *reply, fx_err *err)
{
    fx_mono limit = fx_mono_after(fx_clock_mono(), FX_DUR_MS(FX_DEPOT_CALL_MS));
    limit = limit.ns < deadline.ns ? limit : deadline;
    size_t at = 0;
    if (take_line(lines, limit, &at, err) != FX_OK) {
        return err->code;
    }
    fx_code code = fx_wire_client_call(lines->clients[at], message, limit, reply, err);
    fx_monitor_lock(&lines->monitor);
    lines->is_busy[at] = false;
    fx_monitor_wake(&lines->monitor);
    fx_monitor_unlock(&lines->monitor);
    return code;
}

/* What the depot says has happened. */
static fx_code
take_verdict(const fx_depot_reply *reply, fx_err *err)
{
    if (reply->code == 0) {
        return FX_OK;
    }
    bool is_known = reply->code <= FX_ERR_CANCELLED;
    fx_err_class outcome = reply->outcome == FX_CLASS_PERMANENT   ? FX_CLASS_PERMANENT
                           : reply->outcome == FX_CLASS_TRANSIENT ? FX_CLASS_TRANSIENT
                                                                  : FX_CLASS_UNKNOWN;
    return fx_fail_as(
        err,
        outcome,
        is_known ? (fx_code)reply->code : FX_ERR_FAILED,
        "%.250s",
        reply->message[0] == '\0' ? "the depot gives no reason" : reply->message);
}

static fx_code
exchange(
    fx_depot_lines *lines,
    fx_bytes message,
    fx_mono deadline,
    fx_depot_reply **out_reply,
    fx_err *err)
{
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, FX_DEPOT_MESSAGE_MAX_BYTES);
    FX_AUTO(fx_depot_reply) reply = NULL;
    if (try_once(lines, message, deadline, &bytes, err) != FX_OK) {
        return err->code;
    }
    if (fx_depot_reply_unpack(fx_buf_bytes(&bytes), &reply, err) != FX_OK) {
        err->outcome = FX_CLASS_UNKNOWN; /* it was carried out, most likely */
        return err->code;
    }
    if (take_verdict(reply, err) != FX_OK) {
        return err->code;
    }
    *out_reply = FX_TAKE(reply);
    return FX_OK;
}

/* ---- and again
 * ------------------------------------------------------------------------------------- */

/* Waits a little longer each time, with full jitter; false when that would be too late. */
static bool
pause_before(fx_depot_lines *lines, unsigned try_count, fx_mono end)
{
    uint64_t limit_ms = PAUSE_MIN_MS;
    for (unsigned i = 0; i < try_count && limit_ms < PAUSE_MAX_MS; i++) {
        limit_ms *= 2;
    }
    fx_monitor_lock(&lines->monitor);
    uint64_t wait_ms = 1 + fx_rng_below(&lines->rng, limit_ms);
    fx_monitor_unlock(&lines->monitor);
    fx_dur wait = FX_DUR_MS((int64_t)wait_ms);
    if (fx_clock_mono().ns > end.ns - wait.ns) {
        return false;
    }
    fx_clock_sleep(wait);
    return true;
}

fx_code
fx_depot_ask(
    fx_depot_lines *lines,
    const fx_depot_call *call,
    bool *out_doubt,
    fx_depot_reply **out_reply,
    fx_err *err)
{
    FX_BUF_AUTO message;
    fx_buf_init(&message, FX_DEPOT_MESSAGE_MAX_BYTES);
    if (fx_depot_request_pack(call->request, &message, err) != FX_OK) {
        return err->code;
    }
    fx_mono end = fx_mono_after(fx_clock_mono(), FX_DUR_MS(FX_DEPOT_PATIENCE_MS));
    end = end.ns < call->deadline.ns ? end : call->deadline;
    *out_doubt = false;
    for (unsigned i = 0;; i++) {
        fx_code code = exchange(lines, fx_buf_bytes(&message), call->deadline, out_reply, err);
        bool in_doubt = code != FX_OK && err->outcome == FX_CLASS_UNKNOWN;
        bool may_repeat =
            code != FX_OK && (err->outcome == FX_CLASS_TRANSIENT || (in_doubt && call->may_repeat));
        if (!may_repeat || !pause_before(lines, i, end)) {
            if (code != FX_OK && *out_doubt && err->outcome == FX_CLASS_TRANSIENT) {
                err->outcome = FX_CLASS_UNKNOWN; /* of an earlier try */
            }
            return code;
        }
        *out_doubt = *out_doubt || in_doubt;
    }
}
