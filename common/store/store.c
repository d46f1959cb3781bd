#include "common/store/store.h"

#include <stdatomic.h>
#include <string.h>

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
            "could not use \"%.100s\" as a repository: expected a path or posix:PATH",
            url);
    }
    FX_AUTO(fx_store) store = calloc(1, sizeof *store + driver->state_bytes);
    FX_ASSERT(store != NULL);
    store->magic = STORE_MAGIC;
    store->driver = driver;
    if (driver->open(store->state, rest, err) != FX_OK) {
        return fx_err_wrap(err, "opening the store \"%.200s\"", url);
    }
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

/* Parts between slashes, none empty and none beginning with a dot. */
static bool
is_key(const char *key)
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
    if (!is_key(key)) {
        return fx_fail(err, FX_ERR_INVALID, "could not use \"%.100s\" as an object's key", key);
    }
    return FX_OK;
}

fx_code
fx_store_prepare(fx_store *store, fx_err *err)
{
    FX_ASSERT(store->magic == STORE_MAGIC);
    return store->driver->prepare(store->state, err);
}

fx_code
fx_store_put(fx_store *store, const char *key, fx_bytes body, fx_mono deadline, fx_err *err)
{
    if (check(store, key, err) != FX_OK) {
        return err->code;
    }
    if (body.size_bytes > FX_STORE_OBJECT_MAX_BYTES) {
        return fx_fail(
            err,
            FX_ERR_LIMIT,
            "could not store \"%s\": %zu bytes are too many",
            key,
            body.size_bytes);
    }
    return store->driver->put(store->state, key, body, deadline, err);
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
    return store->driver->get(store->state, key, offset, size_bytes, deadline, out, err);
}
/* NOLINTEND(readability-function-size) */

fx_code
fx_store_stat(
    fx_store *store, const char *key, fx_mono deadline, uint64_t *out_size_bytes, fx_err *err)
{
    if (check(store, key, err) != FX_OK) {
        return err->code;
    }
    return store->driver->stat(store->state, key, deadline, out_size_bytes, err);
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
    return store->driver->list(store->state, prefix, deadline, visit, ctx, err);
}

fx_code
fx_store_remove(fx_store *store, const char *key, fx_mono deadline, fx_err *err)
{
    if (check(store, key, err) != FX_OK) {
        return err->code;
    }
    return store->driver->remove(store->state, key, deadline, err);
}
