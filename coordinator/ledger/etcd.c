#include "coordinator/ledger/etcd.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/monitor.h"
#include "common/crypto/digest.h"
#include "common/json/json.h"
#include "coordinator/ledger/etcd_ask.h"

enum {
    ETCD_MAGIC = 0x37cd37cd,
    ENDPOINT_BYTES = 256,
    REQUEST_MAX_BYTES = 8 * 1024 * 1024,
    KEY_MAX_BYTES = 1024,
    TRY_LEAST_MS = 300, /* for one endpoint, where others are left to ask */
};

static const fx_dur back_to_first = {.ns = 10000 * FX_NS_PER_MS};

struct fx_etcd {
    uint32_t magic;
    char endpoints[FX_ETCD_ENDPOINT_MAX][ENDPOINT_BYTES];
    size_t endpoint_count;
    fx_monitor monitor; /* guards what follows */
    fx_http_client *idle[FX_ETCD_CALL_MAX];
    size_t idle_count;
    size_t current;   /* endpoint that answered last */
    fx_mono moved_at; /* when `current` became another than the first */
};

fx_code
fx_etcd_open(
    const char *const *endpoints,
    size_t endpoint_count,
    const fx_http_tls *tls,
    fx_etcd **out_etcd,
    fx_err *err)
{
    if (endpoint_count == 0 || endpoint_count > FX_ETCD_ENDPOINT_MAX) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use %zu etcd endpoints: 1 to %d",
            endpoint_count,
            FX_ETCD_ENDPOINT_MAX);
    }
    fx_etcd *etcd = calloc(1, sizeof *etcd);
    FX_ASSERT(etcd != NULL);
    etcd->magic = ETCD_MAGIC;
    fx_monitor_init(&etcd->monitor);
    for (size_t i = 0; i < endpoint_count; i++) {
        int length = snprintf(etcd->endpoints[i], ENDPOINT_BYTES, "%s", endpoints[i]);
        if (length < 0 || length >= ENDPOINT_BYTES) {
            fx_etcd_free(etcd);
            return fx_fail(err, FX_ERR_INVALID, "could not use etcd endpoint %zu: too long", i + 1);
        }
        if (length > 0 && etcd->endpoints[i][length - 1] == '/') {
            etcd->endpoints[i][length - 1] = '\0';
        }
    }
    etcd->endpoint_count = endpoint_count;
    for (size_t i = 0; i < FX_ETCD_CALL_MAX; i++) {
        etcd->idle[etcd->idle_count++] = fx_http_client_new(tls);
    }
    *out_etcd = etcd;
    return FX_OK;
}

void
fx_etcd_free(fx_etcd *etcd)
{
    if (etcd == NULL) {
        return;
    }
    FX_ASSERT(etcd->magic == ETCD_MAGIC);
    for (size_t i = 0; i < etcd->idle_count; i++) {
        fx_http_client_free(etcd->idle[i]);
    }
    fx_monitor_deinit(&etcd->monitor);
    etcd->magic = 0;
    free(etcd);
}

/* ---- one call
 * ------------------------------------------------------------------------------------ */

/*
 * Gives a client for this call alone, and the endpoint to begin with; NULL: none by the deadline.
 * `probe`: the call may find out whether the first endpoint is well again. A read may, a commit
 * may not: on a member that hangs its outcome would be unknown.
 */
static fx_http_client *
borrow_client(fx_etcd *etcd, bool probe, fx_mono deadline, size_t *out_first)
{
    fx_http_client *client = NULL;
    fx_monitor_lock(&etcd->monitor);
    while (etcd->idle_count == 0 && fx_monitor_wait_until(&etcd->monitor, deadline)) {
    }
    if (etcd->idle_count > 0) {
        client = etcd->idle[--etcd->idle_count];
    }
    *out_first = etcd->current;
    if (probe && etcd->current != 0 &&
        fx_dur_over(fx_mono_since(fx_clock_mono(), etcd->moved_at), back_to_first)) {
        etcd->moved_at = fx_clock_mono(); /* one read at a time tries */
        *out_first = 0;
    }
    fx_monitor_unlock(&etcd->monitor);
    return client;
}

static void
return_client(fx_etcd *etcd, fx_http_client *client)
{
    fx_monitor_lock(&etcd->monitor);
    etcd->idle[etcd->idle_count++] = client;
    fx_monitor_wake(&etcd->monitor);
    fx_monitor_unlock(&etcd->monitor);
}

/* An endpoint failed: whoever begins next begins with the one after it. */
static void
move_on(fx_etcd *etcd, size_t failed)
{
    fx_monitor_lock(&etcd->monitor);
    if (etcd->current == failed) {
        etcd->current = (failed + 1) % etcd->endpoint_count;
        etcd->moved_at = fx_clock_mono();
    }
    fx_monitor_unlock(&etcd->monitor);
}

/* The first endpoint answered: all calls go there again. */
static void
move_back(fx_etcd *etcd)
{
    fx_monitor_lock(&etcd->monitor);
    etcd->current = 0;
    fx_monitor_unlock(&etcd->monitor);
}

/* Leaves time for the other endpoints, but not so little that a slow answer never arrives. */
static fx_mono
try_until(fx_mono deadline, size_t tries_left)
{
    fx_mono now = fx_clock_mono();
    int64_t left_ns = fx_mono_since(deadline, now).ns;
    int64_t share_ns = left_ns / (int64_t)tries_left;
    int64_t least_ns = TRY_LEAST_MS * FX_NS_PER_MS;
    if (share_ns < least_ns) {
        share_ns = least_ns < left_ns ? least_ns : left_ns;
    }
    return fx_mono_after(now, (fx_dur){.ns = share_ns});
}

/*
 * Did etcd refuse before it proposed? Anything else may come after: "transport is closing" is said
 * of transactions that were applied.
 */
static bool
was_not_proposed(int status, const char *text)
{
    static const char *const said[] = {
        "etcdserver: no leader",
        "etcdserver: too many requests",
        "etcdserver: not capable",
        "etcdserver: mvcc: database space exceeded",
    };
    if (status == 400 || status == 401 || status == 403 || status == 404) {
        return true;
    }
    for (size_t i = 0; i < sizeof said / sizeof said[0]; i++) {
        if (strstr(text, said[i]) != NULL) {
            return true;
        }
    }
    return false;
}

/* What etcd says of a failure, and what it means for the request. */
static fx_code
refused(int status, const fx_buf *answer, fx_err *err)
{
    fx_err ignored = {0};
    FX_AUTO(fx_json) json = NULL;
    const char *text = fx_buf_text(answer);
    if (fx_json_parse(fx_buf_bytes(answer), &json, &ignored) == FX_OK) {
        text = fx_json_as_text(fx_json_get(json, "error"), text);
    }
    if (status == 401 || status == 403) {
        return fx_fail(err, FX_ERR_DENIED, "could not use etcd: %.150s", text);
    }
    return fx_fail_as(
        err,
        was_not_proposed(status, text) ? FX_CLASS_TRANSIENT : FX_CLASS_UNKNOWN,
        FX_ERR_UNREACHABLE,
        "could not use etcd: it answers %d: %.150s",
        status,
        text);
}

/* `repeatable`: may be asked of another endpoint even if the last one may have acted. */
typedef struct endpoint_path {
    const char *text;
    bool repeatable;
} endpoint_path;

static const endpoint_path read_path = {"/v3/kv/range", true};
static const endpoint_path change_path = {"/v3/kv/txn", false};

typedef struct question {
    const endpoint_path *to;
    fx_buf body;
} question;

static fx_code
ask_one(
    fx_http_client *client,
    const char *endpoint,
    const question *what,
    fx_mono deadline,
    fx_buf *answer,
    fx_err *err)
{
    char url[ENDPOINT_BYTES + 64];
    (void)snprintf(url, sizeof url, "%s%s", endpoint, what->to->text);
    fx_http_request request = {
        .method = "POST",
        .url = url,
        .headers = {"Content-Type: application/json"},
        .body = fx_buf_bytes(&what->body),
    };
    fx_http_response response = {0};
    fx_buf_clear(answer);
    if (fx_http_call(client, &request, deadline, &response, answer, err) != FX_OK) {
        return err->code;
    }
    return response.status == 200 ? FX_OK : refused(response.status, answer, err);
}

/* Asks one endpoint after another. */
static fx_code
ask(fx_etcd *etcd, const question *what, fx_mono deadline, fx_buf *answer, fx_err *err)
{
    size_t first = 0;
    fx_http_client *client = borrow_client(etcd, what->to->repeatable, deadline, &first);
    if (client == NULL) {
        return fx_fail(err, FX_ERR_BUSY, "could not ask etcd: too many calls at once");
    }
    fx_code code = FX_OK;
    for (size_t tried = 0; tried < etcd->endpoint_count; tried++) {
        size_t index = (first + tried) % etcd->endpoint_count;
        fx_mono until = try_until(deadline, etcd->endpoint_count - tried);
        code = ask_one(client, etcd->endpoints[index], what, until, answer, err);
        if (code == FX_OK && what->to->repeatable && index == 0) {
            move_back(etcd);
        }
        if (code == FX_OK || code == FX_ERR_LIMIT) {
            break;
        }
        move_on(etcd, index);
        bool may_repeat = what->to->repeatable || err->outcome == FX_CLASS_TRANSIENT;
        if (!may_repeat || fx_mono_since(deadline, fx_clock_mono()).ns == 0) {
            break;
        }
    }
    return_client(etcd, client);
    return code;
}

static fx_code
parse_answer(const fx_buf *answer, fx_json **out_json, int64_t *out_revision, fx_err *err)
{
    if (fx_json_parse(fx_buf_bytes(answer), out_json, err) != FX_OK) {
        return fx_fail_as(
            err, FX_CLASS_UNKNOWN, FX_ERR_DAMAGED, "could not read etcd's answer: not JSON");
    }
    const fx_json *header = fx_json_get(*out_json, "header");
    *out_revision = fx_json_as_int(fx_json_get(header, "revision"), -1);
    if (*out_revision < 0) {
        return fx_fail_as(
            err, FX_CLASS_UNKNOWN, FX_ERR_DAMAGED, "could not read etcd's answer: no revision");
    }
    return FX_OK;
}

fx_code
fx_etcd_ask(
    fx_etcd *etcd, const fx_etcd_question *what, fx_mono deadline, fx_json **out_json, fx_err *err)
{
    FX_ASSERT(etcd->magic == ETCD_MAGIC);
    FX_ASSERT(what->endpoint < etcd->endpoint_count);
    const endpoint_path path = {what->path, false};
    question asked = {.to = &path};
    size_t unused = 0;
    FX_BUF_AUTO answer;
    fx_buf_init(&answer, FX_ETCD_ANSWER_MAX_BYTES);
    fx_buf_init(&asked.body, REQUEST_MAX_BYTES);
    fx_code code = fx_json_print(what->body, 0, &asked.body, err);
    fx_http_client *client = code == FX_OK ? borrow_client(etcd, false, deadline, &unused) : NULL;
    if (client != NULL) {
        code = ask_one(client, etcd->endpoints[what->endpoint], &asked, deadline, &answer, err);
        return_client(etcd, client);
    } else if (code == FX_OK) {
        code = fx_fail(err, FX_ERR_BUSY, "could not ask etcd: too many calls at once");
    }
    fx_buf_free(&asked.body);
    return code == FX_OK ? fx_json_parse(fx_buf_bytes(&answer), out_json, err) : code;
}

size_t
fx_etcd_endpoint_count(const fx_etcd *etcd)
{
    return etcd->endpoint_count;
}

const char *
fx_etcd_endpoint(const fx_etcd *etcd, size_t index)
{
    FX_ASSERT(index < etcd->endpoint_count);
    return etcd->endpoints[index];
}

/* ---- building requests
 * --------------------------------------------------------------------------- */

/* Keys and values travel as base64. */
static fx_code
set_bytes(fx_json *object, const char *key, fx_bytes bytes, fx_err *err)
{
    FX_BUF_AUTO text;
    fx_buf_init(&text, REQUEST_MAX_BYTES);
    if (fx_base64_encode(bytes, &text, err) != FX_OK) {
        return err->code;
    }
    fx_json_set_text(object, key, fx_buf_text(&text));
    return FX_OK;
}

static fx_bytes
text_bytes(const char *text)
{
    return (fx_bytes){text, strlen(text)};
}

/* The first key after all that begin with `prefix`. */
static fx_code
set_prefix(fx_json *request, const char *prefix, fx_err *err)
{
    char end[KEY_MAX_BYTES];
    size_t length = strlen(prefix);
    FX_ASSERT(length > 0 && length < sizeof end && prefix[length - 1] != '\xff');
    memcpy(end, prefix, length + 1);
    end[length - 1]++;
    if (set_bytes(request, "key", text_bytes(prefix), err) != FX_OK) {
        return err->code;
    }
    return set_bytes(request, "range_end", text_bytes(end), err);
}

static void
set_revision(fx_json *object, const char *key, int64_t revision)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRId64, revision);
    fx_json_set_text(object, key, text);
}

static fx_code
ask_json(
    fx_etcd *etcd,
    const endpoint_path *to,
    const fx_json *request,
    fx_mono deadline,
    fx_buf *answer,
    fx_err *err)
{
    question what = {.to = to};
    fx_buf_init(&what.body, REQUEST_MAX_BYTES);
    fx_code code = fx_json_print(request, 0, &what.body, err);
    if (code == FX_OK) {
        code = ask(etcd, &what, deadline, answer, err);
    }
    fx_buf_free(&what.body);
    return code;
}

/* ---- the store
 * ------------------------------------------------------------------------------------- */

static fx_code
decode(const fx_json *item, const char *member, fx_buf *out, fx_err *err)
{
    fx_buf_clear(out);
    return fx_base64_decode(fx_json_as_text(fx_json_get(item, member), ""), out, err);
}

static fx_code
visit_items(const fx_json *items, fx_ledger_visit visit, void *visit_ctx, fx_err *err)
{
    FX_BUF_AUTO key;
    FX_BUF_AUTO value;
    fx_buf_init(&key, KEY_MAX_BYTES);
    fx_buf_init(&value, FX_ETCD_ANSWER_MAX_BYTES);
    for (size_t i = 0; i < fx_json_count(items); i++) {
        const fx_json *item = fx_json_at(items, i);
        int64_t revision = fx_json_as_int(fx_json_get(item, "mod_revision"), -1);
        if (decode(item, "key", &key, err) != FX_OK ||
            decode(item, "value", &value, err) != FX_OK || revision < 0) {
            return fx_fail(err, FX_ERR_DAMAGED, "could not read etcd's answer: item %zu", i);
        }
        visit(visit_ctx, fx_buf_text(&key), fx_buf_bytes(&value), revision);
    }
    return FX_OK;
}

/* NOLINTBEGIN(readability-function-size): fx_ledger_store asks for these parameters */
static fx_code
etcd_read(
    void *ctx,
    const char *prefix,
    size_t newest_max,
    fx_mono deadline,
    fx_ledger_visit visit,
    void *visit_ctx,
    int64_t *out_revision,
    fx_err *err)
{
    fx_etcd *etcd = ctx;
    FX_ASSERT(etcd->magic == ETCD_MAGIC);
    FX_AUTO(fx_json) request = fx_json_object();
    if (set_prefix(request, prefix, err) != FX_OK) {
        return err->code;
    }
    if (newest_max > 0) {
        fx_json_set_text(request, "sort_target", "MOD");
        fx_json_set_text(request, "sort_order", "DESCEND");
        fx_json_set_int(request, "limit", (int64_t)newest_max);
    }
    FX_BUF_AUTO answer;
    fx_buf_init(&answer, FX_ETCD_ANSWER_MAX_BYTES);
    if (ask_json(etcd, &read_path, request, deadline, &answer, err) != FX_OK) {
        return fx_err_wrap(err, "reading the ledger");
    }
    FX_AUTO(fx_json) json = NULL;
    int64_t revision = 0;
    if (parse_answer(&answer, &json, &revision, err) != FX_OK ||
        visit_items(fx_json_get(json, "kvs"), visit, visit_ctx, err) != FX_OK) {
        return fx_err_wrap(err, "reading the ledger");
    }
    *out_revision = revision;
    return FX_OK;
}
/* NOLINTEND(readability-function-size) */

static fx_code
etcd_list_oldest(
    void *ctx,
    const fx_ledger_listing *what,
    fx_mono deadline,
    fx_ledger_visit_key visit,
    void *visit_ctx,
    fx_err *err)
{
    fx_etcd *etcd = ctx;
    FX_ASSERT(etcd->magic == ETCD_MAGIC);
    FX_AUTO(fx_json) request = fx_json_object();
    if (set_prefix(request, what->prefix, err) != FX_OK) {
        return err->code;
    }
    fx_json_set_text(request, "sort_target", "MOD");
    fx_json_set_text(request, "sort_order", "ASCEND");
    fx_json_set_int(request, "limit", (int64_t)what->max);
    fx_json_set_bool(request, "keys_only", true);
    FX_BUF_AUTO answer;
    FX_BUF_AUTO key;
    fx_buf_init(&answer, FX_ETCD_ANSWER_MAX_BYTES);
    fx_buf_init(&key, KEY_MAX_BYTES);
    FX_AUTO(fx_json) json = NULL;
    int64_t revision = 0;
    if (ask_json(etcd, &read_path, request, deadline, &answer, err) != FX_OK ||
        parse_answer(&answer, &json, &revision, err) != FX_OK) {
        return fx_err_wrap(err, "listing the ledger's keys");
    }
    int64_t total = fx_json_as_int(fx_json_get(json, "count"), 0);
    const fx_json *items = fx_json_get(json, "kvs");
    for (size_t i = 0; i < fx_json_count(items); i++) {
        if (decode(fx_json_at(items, i), "key", &key, err) != FX_OK) {
            return fx_fail(err, FX_ERR_DAMAGED, "could not read etcd's answer: key %zu", i);
        }
        visit(visit_ctx, fx_buf_text(&key), (size_t)total);
    }
    return FX_OK;
}

static fx_code
add_touch(const fx_ledger_touch *touch, fx_json *compares, fx_json *changes, fx_err *err)
{
    FX_ASSERT(!(touch->put && touch->remove));
    if (touch->compare) {
        fx_json *compare = fx_json_object();
        fx_json_append(compares, compare);
        fx_json_set_text(compare, "target", "MOD");
        fx_json_set_text(compare, "result", "EQUAL");
        set_revision(compare, "mod_revision", touch->revision);
        if (set_bytes(compare, "key", text_bytes(touch->key), err) != FX_OK) {
            return err->code;
        }
    }
    if (!touch->put && !touch->remove) {
        return FX_OK;
    }
    fx_json *change = fx_json_object();
    fx_json *what = fx_json_object();
    fx_json_append(changes, change);
    fx_json_set(change, touch->put ? "request_put" : "request_delete_range", what);
    if (set_bytes(what, "key", text_bytes(touch->key), err) != FX_OK) {
        return err->code;
    }
    return touch->put ? set_bytes(what, "value", touch->value, err) : FX_OK;
}

static fx_code
etcd_commit(
    void *ctx,
    const fx_ledger_touch *touches,
    size_t count,
    fx_mono deadline,
    int64_t *out_revision,
    fx_err *err)
{
    fx_etcd *etcd = ctx;
    FX_ASSERT(etcd->magic == ETCD_MAGIC);
    FX_AUTO(fx_json) request = fx_json_object();
    fx_json *compares = fx_json_array();
    fx_json *changes = fx_json_array();
    fx_json_set(request, "compare", compares);
    fx_json_set(request, "success", changes);
    for (size_t i = 0; i < count; i++) {
        if (add_touch(&touches[i], compares, changes, err) != FX_OK) {
            return err->code;
        }
    }
    FX_BUF_AUTO answer;
    fx_buf_init(&answer, FX_ETCD_ANSWER_MAX_BYTES);
    if (ask_json(etcd, &change_path, request, deadline, &answer, err) != FX_OK) {
        return fx_err_wrap(err, "committing to the ledger");
    }
    FX_AUTO(fx_json) json = NULL;
    int64_t revision = 0;
    if (parse_answer(&answer, &json, &revision, err) != FX_OK) {
        return fx_err_wrap(err, "committing to the ledger");
    }
    if (!fx_json_as_bool(fx_json_get(json, "succeeded"), false)) {
        return fx_fail(
            err, FX_ERR_CONFLICT, "could not commit: a record was changed by another in between");
    }
    *out_revision = revision;
    return FX_OK;
}

fx_ledger_store
fx_etcd_store(fx_etcd *etcd)
{
    return (fx_ledger_store){
        .ctx = etcd,
        .read = etcd_read,
        .list_oldest = etcd_list_oldest,
        .commit = etcd_commit,
    };
}
