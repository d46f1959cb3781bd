/* In-memory store for tests and simulation: "fake:". */
#include <pthread.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/store/store.h"

enum { OBJECTS_MAX = 65536 };

typedef struct object {
    char *key;
    unsigned char *data;
    size_t size_bytes;
    bool is_open;     /* made by an append */
    fx_wall retained; /* until */
    fx_wall stored;
} object;

typedef struct fake_store {
    pthread_mutex_t lock;
    object *objects; /* sorted by key */
    size_t count;
    size_t capacity;
} fake_store;

static fx_code
fake_open(void *state, const char *rest, fx_err *err)
{
    fake_store *fake = state;
    int result = pthread_mutex_init(&fake->lock, NULL);
    FX_ASSERT(result == 0);
    if (rest[0] != '\0') {
        return fx_fail(err, FX_ERR_INVALID, "could not use \"fake:%.60s\": nothing follows", rest);
    }
    return FX_OK;
}

static void
fake_close(void *state)
{
    fake_store *fake = state;
    for (size_t i = 0; i < fake->count; i++) {
        free(fake->objects[i].key);
        free(fake->objects[i].data);
    }
    free(fake->objects);
    (void)pthread_mutex_destroy(&fake->lock);
}

static fx_code
fake_prepare(void *state, fx_err *err)
{
    (void)state;
    (void)err;
    return FX_OK;
}

/* Where the key is or would be. */
static size_t
place_of(const fake_store *fake, const char *key, bool *out_found)
{
    size_t low = 0;
    size_t high = fake->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(fake->objects[middle].key, key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *out_found = low < fake->count && strcmp(fake->objects[low].key, key) == 0;
    return low;
}

static void
insert(fake_store *fake, size_t place, const char *key, fx_bytes body)
{
    if (fake->count == fake->capacity) {
        fake->capacity = fake->capacity == 0 ? 64 : fake->capacity * 2;
        fake->objects = realloc(fake->objects, fake->capacity * sizeof *fake->objects);
        FX_ASSERT(fake->objects != NULL);
    }
    object *to = &fake->objects[place];
    memmove(to + 1, to, (fake->count - place) * sizeof *to);
    *to = (object){
        .key = strdup(key),
        .data = malloc(body.size_bytes + 1),
        .size_bytes = body.size_bytes,
        .stored = fx_clock_wall()};
    FX_ASSERT(to->key != NULL && to->data != NULL);
    if (body.size_bytes > 0) {
        memcpy(to->data, body.data, body.size_bytes);
    }
    fake->count++;
}

static fx_code
fake_put(void *state, const char *key, fx_bytes body, fx_mono deadline, fx_err *err)
{
    fake_store *fake = state;
    if (fx_store_check_deadline(deadline, key, err) != FX_OK) {
        return err->code;
    }
    bool found = false;
    fx_code code = FX_OK;
    (void)pthread_mutex_lock(&fake->lock);
    size_t place = place_of(fake, key, &found);
    if (found) {
        code = fx_fail(err, FX_ERR_EXISTS, "could not store \"%s\": it exists already", key);
    } else if (fake->count == OBJECTS_MAX) {
        code = fx_fail(err, FX_ERR_NO_SPACE, "could not store \"%s\": the store is full", key);
    } else {
        insert(fake, place, key, body);
    }
    (void)pthread_mutex_unlock(&fake->lock);
    return code;
}

static fx_code
not_found(const char *key, fx_err *err)
{
    return fx_fail(err, FX_ERR_NOT_FOUND, "could not find \"%s\"", key);
}

/* NOLINTBEGIN(readability-function-size): a range and a deadline are what a get is */
static fx_code
fake_get(
    void *state,
    const char *key,
    uint64_t offset,
    uint64_t size_bytes,
    fx_mono deadline,
    fx_buf *out,
    fx_err *err)
{
    fake_store *fake = state;
    if (fx_store_check_deadline(deadline, key, err) != FX_OK) {
        return err->code;
    }
    bool found = false;
    fx_code code = FX_OK;
    (void)pthread_mutex_lock(&fake->lock);
    const object *from = &fake->objects[place_of(fake, key, &found)];
    if (!found) {
        code = not_found(key, err);
    } else if (offset < from->size_bytes) {
        uint64_t left_bytes = from->size_bytes - offset;
        size_t take_bytes = (size_t)(left_bytes < size_bytes ? left_bytes : size_bytes);
        code = fx_buf_append(out, from->data + offset, take_bytes, err);
    }
    (void)pthread_mutex_unlock(&fake->lock);
    return code;
}
/* NOLINTEND(readability-function-size) */

static fx_code
fake_stat(void *state, const char *key, fx_mono deadline, uint64_t *out_size_bytes, fx_err *err)
{
    fake_store *fake = state;
    if (fx_store_check_deadline(deadline, key, err) != FX_OK) {
        return err->code;
    }
    bool found = false;
    (void)pthread_mutex_lock(&fake->lock);
    size_t place = place_of(fake, key, &found);
    fx_code code = found ? FX_OK : not_found(key, err);
    if (found) {
        *out_size_bytes = fake->objects[place].size_bytes;
    }
    (void)pthread_mutex_unlock(&fake->lock);
    return code;
}

static fx_code
fake_list(
    void *state, const char *prefix, fx_mono deadline, fx_store_visit visit, void *ctx, fx_err *err)
{
    fake_store *fake = state;
    bool found = false;
    if (fx_store_check_deadline(deadline, prefix, err) != FX_OK) {
        return err->code;
    }
    (void)pthread_mutex_lock(&fake->lock);
    for (size_t i = place_of(fake, prefix, &found);
         i < fake->count && strncmp(fake->objects[i].key, prefix, strlen(prefix)) == 0;
         i++) {
        visit(ctx, fake->objects[i].key, fake->objects[i].size_bytes);
    }
    (void)pthread_mutex_unlock(&fake->lock);
    return FX_OK;
}

static fx_code
add_bytes(object *to, uint64_t offset, fx_bytes bytes, fx_err *err)
{
    if (!to->is_open) {
        return fx_fail(err, FX_ERR_EXISTS, "could not add to \"%s\": it was stored whole", to->key);
    }
    if (to->size_bytes != offset) {
        return fx_fail(
            err,
            FX_ERR_CONFLICT,
            "could not add to \"%s\": it has %zu bytes",
            to->key,
            to->size_bytes);
    }
    to->data = realloc(to->data, to->size_bytes + bytes.size_bytes + 1);
    FX_ASSERT(to->data != NULL);
    if (bytes.size_bytes > 0) {
        memcpy(to->data + to->size_bytes, bytes.data, bytes.size_bytes);
    }
    to->size_bytes += bytes.size_bytes;
    return FX_OK;
}

static fx_code
fake_append(
    void *state, const char *key, uint64_t offset, fx_bytes bytes, fx_mono deadline, fx_err *err)
{
    fake_store *fake = state;
    bool found = false;
    fx_code code = fx_store_check_deadline(deadline, key, err);
    (void)pthread_mutex_lock(&fake->lock);
    size_t place = place_of(fake, key, &found);
    if (code == FX_OK && found) {
        code = add_bytes(&fake->objects[place], offset, bytes, err);
    } else if (code == FX_OK && offset > 0) {
        code = not_found(key, err);
    } else if (code == FX_OK && fake->count == OBJECTS_MAX) {
        code = fx_fail(err, FX_ERR_NO_SPACE, "could not store \"%s\": the store is full", key);
    } else if (code == FX_OK) {
        insert(fake, place, key, bytes);
        fake->objects[place].is_open = true;
    }
    (void)pthread_mutex_unlock(&fake->lock);
    return code;
}

static fx_code
fake_retain(
    void *state,
    const char *key,
    const fx_store_retention *retention,
    fx_mono deadline,
    fx_err *err)
{
    fake_store *fake = state;
    bool found = false;
    fx_code code = fx_store_check_deadline(deadline, key, err);
    (void)pthread_mutex_lock(&fake->lock);
    object *of = &fake->objects[place_of(fake, key, &found)];
    if (code == FX_OK && !found) {
        code = not_found(key, err);
    } else if (code == FX_OK && retention->until.ns < of->retained.ns) {
        code = fx_fail(err, FX_ERR_DENIED, "could not retain \"%s\" for less long", key);
    } else if (code == FX_OK) {
        of->retained = retention->until;
    }
    (void)pthread_mutex_unlock(&fake->lock);
    return code;
}

static fx_code
fake_put_retained(
    void *state,
    const char *key,
    fx_bytes body,
    const fx_store_retention *retention,
    fx_mono deadline,
    fx_err *err)
{
    fx_code code = fake_put(state, key, body, deadline, err);
    return code == FX_OK ? fake_retain(state, key, retention, deadline, err) : code;
}

static unsigned
fake_abilities(const void *state)
{
    (void)state;
    return FX_STORE_CAN_APPEND | FX_STORE_CAN_RETAIN | FX_STORE_TELLS_TIMES;
}

static fx_code
fake_examine(void *state, fx_mono deadline, fx_store_examination *to, fx_err *err)
{
    (void)state;
    (void)deadline;
    (void)err;
    to->versioning = FX_STORE_NO;
    to->object_lock = FX_STORE_NO;
    fx_store_note(to, "this store is in memory and ends with the program");
    return FX_OK;
}

static fx_code
fake_list_times(
    void *state,
    const char *prefix,
    fx_mono deadline,
    fx_store_visit_time visit,
    void *ctx,
    fx_err *err)
{
    fake_store *fake = state;
    bool found = false;
    if (fx_store_check_deadline(deadline, prefix, err) != FX_OK) {
        return err->code;
    }
    (void)pthread_mutex_lock(&fake->lock);
    for (size_t i = place_of(fake, prefix, &found);
         i < fake->count && strncmp(fake->objects[i].key, prefix, strlen(prefix)) == 0;
         i++) {
        visit(ctx, fake->objects[i].key, fake->objects[i].stored);
    }
    (void)pthread_mutex_unlock(&fake->lock);
    return FX_OK;
}

static fx_code
fake_remove(void *state, const char *key, fx_mono deadline, fx_err *err)
{
    fake_store *fake = state;
    if (fx_store_check_deadline(deadline, key, err) != FX_OK) {
        return err->code;
    }
    bool found = false;
    (void)pthread_mutex_lock(&fake->lock);
    size_t place = place_of(fake, key, &found);
    fx_code code = found ? FX_OK : not_found(key, err);
    if (found && fake->objects[place].retained.ns > fx_clock_wall().ns) {
        code = fx_fail(err, FX_ERR_DENIED, "could not remove \"%s\": it is retained", key);
    } else if (found) {
        object *gone = &fake->objects[place];
        free(gone->key);
        free(gone->data);
        fake->count--;
        memmove(gone, gone + 1, (fake->count - place) * sizeof *gone);
    }
    (void)pthread_mutex_unlock(&fake->lock);
    return code;
}

const fx_store_driver fx_store_driver_fake = {
    .name = "fake",
    .for_tests = true,
    .state_bytes = sizeof(fake_store),
    .open = fake_open,
    .close = fake_close,
    .prepare = fake_prepare,
    .put = fake_put,
    .get = fake_get,
    .stat = fake_stat,
    .list = fake_list,
    .remove = fake_remove,
    .examine = fake_examine,
    .abilities = fake_abilities,
    .append = fake_append,
    .put_retained = fake_put_retained,
    .retain = fake_retain,
    .list_times = fake_list_times,
};
