#include "common/store/store.h"

#include <stdatomic.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/store/examine.h"

static const fx_store_driver *const drivers[] = {
#define FX_STORE_DRIVER(name) &fx_store_driver_##name,
#include "common/store/drivers.def"
#undef FX_STORE_DRIVER
};

static atomic_bool test_drivers_allowed;

void
fx_store_allow_test_drivers(void)
{
    atomic_store(&test_drivers_allowed, true);
}

enum { STORE_MAGIC = 0x51e7a0b3 };

struct fx_store {
    uint32_t magic;
    const fx_store_driver *driver;
    _Alignas(max_align_t) unsigned char state[];
};

/* Gives what follows the driver's name; a plain path is posix's. */
static const fx_store_driver *
find_driver(const char *url, const char **out_rest)
{
    for (size_t i = 0; i < sizeof drivers / sizeof drivers[0]; i++) {
        size_t name_bytes = strlen(drivers[i]->name);
        bool usable = !drivers[i]->for_tests || atomic_load(&test_drivers_allowed);
        if (usable && strncmp(url, drivers[i]->name, name_bytes) == 0 && url[name_bytes] == ':') {
            *out_rest = url + name_bytes + 1;
            return drivers[i];
        }
    }
    *out_rest = url;
    return strchr(url, ':') == NULL || url[0] == '/' || url[0] == '.' ? &fx_store_driver_posix
                                                                      : NULL;
}

static void
check_driver(const fx_store_driver *driver)
{
    FX_ASSERT(driver->open != NULL && driver->close != NULL && driver->prepare != NULL);
    FX_ASSERT(driver->put != NULL && driver->get != NULL && driver->stat != NULL);
    FX_ASSERT(driver->list != NULL && driver->remove != NULL);
    FX_ASSERT(driver->examine != NULL && driver->abilities != NULL);
}

fx_code
fx_store_open(const char *url, fx_store **out_store, fx_err *err)
{
    FX_ASSERT(url != NULL);
    FX_ASSERT(out_store != NULL);

    const char *rest = NULL;
    size_t url_bytes = strlen(url);
    const fx_store_driver *driver = find_driver(url, &rest);
    if (driver == NULL || url_bytes == 0 || url_bytes > FX_STORE_URL_MAX_BYTES) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use \"%.100s\" as a repository: expected a path, posix:PATH, s3:…, "
            "azure:… or depot:…",
            url);
    }
    FX_AUTO(fx_store) store = calloc(1, sizeof *store + driver->state_bytes);
    FX_ASSERT(store != NULL);
    store->magic = STORE_MAGIC;
    store->driver = driver;
    check_driver(driver);
    if (driver->open(store->state, rest, err) != FX_OK) {
        /* A password in an address is refused, and not repeated. */
        const char *shown = strchr(url, '@') == NULL ? url : "…";
        return fx_err_wrap(err, "opening the store \"%.200s\"", shown);
    }
    unsigned abilities = driver->abilities(store->state);
    FX_ASSERT((abilities & FX_STORE_CAN_APPEND) == 0 || driver->append != NULL);
    FX_ASSERT((abilities & FX_STORE_CAN_RETAIN) == 0 || driver->retain != NULL);
    FX_ASSERT((abilities & FX_STORE_NEEDS_TICKETS) == 0 || driver->check_ticket != NULL);
    FX_ASSERT((abilities & FX_STORE_CAN_DIGEST) == 0 || driver->digest != NULL);
    FX_ASSERT((abilities & FX_STORE_TELLS_TIMES) == 0 || driver->list_times != NULL);
    FX_ASSERT((abilities & FX_STORE_CAN_RETAIN) == 0 || driver->put_retained != NULL);
    *out_store = FX_TAKE(store);
    return FX_OK;
}

void
fx_store_free(fx_store *store)
{
    if (store == NULL) {
        return;
    }
    FX_ASSERT(store->magic == STORE_MAGIC);
    store->driver->close(store->state);
    store->magic = 0;
    free(store);
}

static bool
is_key_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-' || c == '/';
}

/* A driver may meet refusals on its way to success: those are none of the caller's. */
static fx_code
told(fx_code code, const fx_err *why, fx_err *err)
{
    if (code != FX_OK) {
        *err = *why;
    }
    return code;
}

bool
fx_store_is_key(const char *key)
{
    size_t length = strlen(key);
    if (length == 0 || length > FX_STORE_KEY_MAX_BYTES || key[length - 1] == '/') {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        bool at_start = i == 0 || key[i - 1] == '/';
        if (!is_key_char(key[i]) || (at_start && (key[i] == '/' || key[i] == '.'))) {
            return false;
        }
    }
    return true;
}

static fx_code
check(const fx_store *store, const char *key, fx_err *err)
{
    FX_ASSERT(store->magic == STORE_MAGIC);
    if (!fx_store_is_key(key)) {
        return fx_fail(err, FX_ERR_INVALID, "could not use \"%.100s\" as an object's key", key);
    }
    return FX_OK;
}

fx_code
fx_store_prepare(fx_store *store, fx_err *err)
{
    FX_ASSERT(store->magic == STORE_MAGIC);
    fx_err why = {0};
    return told(store->driver->prepare(store->state, &why), &why, err);
}

static fx_code
check_size(const char *key, fx_bytes body, fx_err *err)
{
    if (body.size_bytes > FX_STORE_OBJECT_MAX_BYTES) {
        return fx_fail(
            err,
            FX_ERR_LIMIT,
            "could not store \"%s\": %zu bytes are too many",
            key,
            body.size_bytes);
    }
    return FX_OK;
}

fx_code
fx_store_put(fx_store *store, const char *key, fx_bytes body, fx_mono deadline, fx_err *err)
{
    if (check(store, key, err) != FX_OK) {
        return err->code;
    }
    if (check_size(key, body, err) != FX_OK) {
        return err->code;
    }
    fx_err why = {0};
    return told(store->driver->put(store->state, key, body, deadline, &why), &why, err);
}

/* NOLINTBEGIN(readability-function-size): a range and a deadline are what a get is */
fx_code
fx_store_get(
    fx_store *store,
    const char *key,
    uint64_t offset,
    uint64_t size_bytes,
    fx_mono deadline,
    fx_buf *out,
    fx_err *err)
{
    if (check(store, key, err) != FX_OK) {
        return err->code;
    }
    fx_err why = {0};
    return told(
        store->driver->get(store->state, key, offset, size_bytes, deadline, out, &why), &why, err);
}
/* NOLINTEND(readability-function-size) */

fx_code
fx_store_stat(
    fx_store *store, const char *key, fx_mono deadline, uint64_t *out_size_bytes, fx_err *err)
{
    if (check(store, key, err) != FX_OK) {
        return err->code;
    }
    fx_err why = {0};
    return told(store->driver->stat(store->state, key, deadline, out_size_bytes, &why), &why, err);
}

fx_code
fx_store_list(
    fx_store *store,
    const char *prefix,
    fx_mono deadline,
    fx_store_visit visit,
    void *ctx,
    fx_err *err)
{
    FX_ASSERT(store->magic == STORE_MAGIC);
    FX_ASSERT(strlen(prefix) <= FX_STORE_KEY_MAX_BYTES);
    fx_err why = {0};
    return told(store->driver->list(store->state, prefix, deadline, visit, ctx, &why), &why, err);
}

fx_code
fx_store_list_times(
    fx_store *store,
    const char *prefix,
    fx_mono deadline,
    fx_store_visit_time visit,
    void *ctx,
    fx_err *err)
{
    FX_ASSERT(strlen(prefix) <= FX_STORE_KEY_MAX_BYTES);
    if (!fx_store_can(store, FX_STORE_TELLS_TIMES)) {
        return FX_OK;
    }
    fx_err why = {0};
    return told(
        store->driver->list_times(store->state, prefix, deadline, visit, ctx, &why), &why, err);
}

fx_code
fx_store_remove(fx_store *store, const char *key, fx_mono deadline, fx_err *err)
{
    if (check(store, key, err) != FX_OK) {
        return err->code;
    }
    fx_err why = {0};
    return told(store->driver->remove(store->state, key, deadline, &why), &why, err);
}

fx_code
fx_store_check_ticket(const fx_store *store, const char *key, fx_err *err)
{
    FX_ASSERT(store->magic == STORE_MAGIC);
    return fx_store_can(store, FX_STORE_NEEDS_TICKETS)
               ? store->driver->check_ticket(store->state, key, err)
               : FX_OK;
}

bool
fx_store_can(const fx_store *store, fx_store_ability ability)
{
    FX_ASSERT(store->magic == STORE_MAGIC);
    return (store->driver->abilities(store->state) & (unsigned)ability) != 0;
}

static fx_code
check_ability(const fx_store *store, fx_store_ability ability, const char *what, fx_err *err)
{
    if (!fx_store_can(store, ability)) {
        return fx_fail(
            err,
            FX_ERR_UNSUPPORTED,
            "could not %s: a store of the kind \"%s\" cannot",
            what,
            store->driver->name);
    }
    return FX_OK;
}

fx_code
fx_store_digest(
    fx_store *store,
    const char *key,
    fx_mono deadline,
    unsigned char out_digest[FX_STORE_DIGEST_BYTES],
    fx_err *err)
{
    if (check(store, key, err) != FX_OK ||
        check_ability(store, FX_STORE_CAN_DIGEST, "read an object where it lies", err) != FX_OK) {
        return err->code;
    }
    fx_err why = {0};
    return told(store->driver->digest(store->state, key, deadline, out_digest, &why), &why, err);
}

fx_code
fx_store_append(
    fx_store *store,
    const char *key,
    uint64_t offset,
    fx_bytes bytes,
    fx_mono deadline,
    fx_err *err)
{
    if (check(store, key, err) != FX_OK ||
        check_ability(store, FX_STORE_CAN_APPEND, "add to an object", err) != FX_OK) {
        return err->code;
    }
    if (offset > FX_STORE_OBJECT_MAX_BYTES ||
        bytes.size_bytes > FX_STORE_OBJECT_MAX_BYTES - offset) {
        return fx_fail(
            err,
            FX_ERR_LIMIT,
            "could not add to \"%s\": more than %d bytes",
            key,
            FX_STORE_OBJECT_MAX_BYTES);
    }
    fx_err why = {0};
    return told(store->driver->append(store->state, key, offset, bytes, deadline, &why), &why, err);
}

fx_code
fx_store_put_retained(
    fx_store *store,
    const char *key,
    fx_bytes body,
    const fx_store_retention *retention,
    fx_mono deadline,
    fx_err *err)
{
    if (check(store, key, err) != FX_OK || check_size(key, body, err) != FX_OK ||
        check_ability(store, FX_STORE_CAN_RETAIN, "retain an object", err) != FX_OK) {
        return err->code;
    }
    fx_err why = {0};
    return told(
        store->driver->put_retained(store->state, key, body, retention, deadline, &why), &why, err);
}

fx_code
fx_store_retain(
    fx_store *store,
    const char *key,
    const fx_store_retention *retention,
    fx_mono deadline,
    fx_err *err)
{
    if (check(store, key, err) != FX_OK ||
        check_ability(store, FX_STORE_CAN_RETAIN, "retain an object", err) != FX_OK) {
        return err->code;
    }
    fx_err why = {0};
    return told(store->driver->retain(store->state, key, retention, deadline, &why), &why, err);
}

fx_code
fx_store_examine(
    fx_store *store, fx_mono deadline, fx_store_examination *out_examination, fx_err *err)
{
    FX_ASSERT(store->magic == STORE_MAGIC);
    fx_store_examination found = {0};
    fx_err why = {0}; /* of refusals too, which are no failures here */
    if (fx_store_try(store, deadline, &found, &why) != FX_OK ||
        store->driver->examine(store->state, deadline, &found, &why) != FX_OK) {
        *err = why;
        return err->code;
    }
    *out_examination = found;
    return FX_OK;
}

fx_code
fx_store_check_deadline(fx_mono deadline, const char *key, fx_err *err)
{
    if (fx_clock_mono().ns >= deadline.ns) {
        return fx_fail_as(
            err,
            FX_CLASS_TRANSIENT,
            FX_ERR_TIMEOUT,
            "could not finish with \"%s\": the deadline has passed",
            key);
    }
    return FX_OK;
}
