/* Lists of objects, page by page. */
#include <stdio.h>
#include <string.h>

#include "common/store/remote/objects.h"
#include "common/xml/xml.h"

enum {
    PAGE_MAX_BYTES = 16 * 1024 * 1024,
    TOKEN_MAX_BYTES = 2048,
    LISTED_KEY_MAX_BYTES = 1100,
    PREFIX_MAX_BYTES = FX_OBJECTS_PATH_BYTES,
};

typedef struct page {
    const fx_objects *objects;
    fx_store_visit visit; /* or visit_time */
    fx_store_visit_time visit_time;
    void *ctx;
    char key[LISTED_KEY_MAX_BYTES];
    uint64_t size_bytes;
    bool has_size;
    fx_wall stored; /* 0: not told */
    bool goes_on;
    char token[TOKEN_MAX_BYTES];
    char last[FX_STORE_KEY_MAX_BYTES + 1]; /* over all pages */
} page;

/* Every list of a server that we can use is in the order of bytes: who reads it relies on that. */
static fx_code
visit_one(page *p, fx_err *err)
{
    const char *prefix = p->objects->prefix;
    size_t prefix_bytes = strlen(prefix);
    const char *key = p->key + prefix_bytes;
    if (strncmp(p->key, prefix, prefix_bytes) != 0 || !fx_store_is_key(key)) {
        return FX_OK; /* none of ours */
    }
    if (!p->has_size || strcmp(p->last, key) >= 0) {
        return fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not list: the server tells \"%.80s\" %s",
            key,
            p->has_size ? "out of order" : "without a size");
    }
    (void)snprintf(p->last, sizeof p->last, "%s", key);
    if (p->visit_time == NULL) {
        p->visit(p->ctx, key, p->size_bytes);
    } else if (p->stored.ns != 0) {
        p->visit_time(p->ctx, key, p->stored);
    }
    return FX_OK;
}

static fx_code
read_page(void *ctx, const char *path, const char *text, fx_err *err)
{
    page *p = ctx;
    const fx_objects_service *service = p->objects->service;
    const fx_objects_list_names *names = &service->list;
    if (strcmp(path, names->key) == 0) {
        (void)snprintf(p->key, sizeof p->key, "%s", text);
    } else if (strcmp(path, names->size) == 0) {
        char *end = NULL;
        p->size_bytes = strtoull(text, &end, 10);
        p->has_size = end != text && *end == '\0';
    } else if (strcmp(path, names->time) == 0) {
        p->stored = service->read_time(text);
    } else if (strcmp(path, names->item) == 0) {
        fx_code code = visit_one(p, err);
        p->stored = (fx_wall){0};
        p->has_size = false;
        return code;
    } else if (strcmp(path, names->token) == 0) {
        (void)snprintf(p->token, sizeof p->token, "%s", text);
    } else if (names->more != NULL && strcmp(path, names->more) == 0) {
        p->goes_on = strcmp(text, "true") == 0;
    }
    return FX_OK;
}

static void
add_list_query(
    const fx_objects *objects, const char *prefix, const char *count, fx_objects_ask *ask)
{
    const fx_objects_list_names *names = &objects->service->list;
    for (size_t i = 0; i < names->fixed_count; i++) {
        fx_objects_add_query(ask, names->fixed[i].name, names->fixed[i].value);
    }
    fx_objects_add_query(ask, names->count_parameter, count);
    fx_objects_add_query(ask, "prefix", prefix);
}

fx_code
fx_objects_try_list(
    fx_objects *objects,
    const char *what,
    fx_mono deadline,
    fx_remote_answer *out_answer,
    fx_err *err)
{
    fx_objects_ask ask = {.method = "GET", .what = what};
    add_list_query(objects, objects->prefix, "1", &ask);
    return fx_objects_request(objects, &ask, deadline, NULL, out_answer, err);
}

static fx_code
list_page(page *p, fx_objects *objects, const char *prefix, fx_mono deadline, fx_err *err)
{
    char token[TOKEN_MAX_BYTES];
    fx_remote_answer answer;
    FX_BUF_AUTO body;
    fx_buf_init(&body, PAGE_MAX_BYTES);
    fx_objects_ask ask = {.method = "GET", .what = "list"};
    memcpy(token, p->token, sizeof token);
    add_list_query(objects, prefix, "1000", &ask);
    if (token[0] != '\0') {
        fx_objects_add_query(&ask, objects->service->list.token_parameter, token);
    }
    if (fx_objects_request(objects, &ask, deadline, &body, &answer, err) != FX_OK) {
        return err->code;
    }
    p->goes_on = false;
    p->token[0] = '\0';
    if (fx_xml_read(fx_buf_bytes(&body), read_page, p, err) != FX_OK) {
        return fx_err_wrap(err, "listing \"%.100s\"", prefix);
    }
    if (objects->service->list.more == NULL) {
        p->goes_on = p->token[0] != '\0';
    }
    if (p->goes_on && (p->token[0] == '\0' || strcmp(p->token, token) == 0)) {
        return fx_fail(
            err, FX_ERR_DAMAGED, "could not list: the server says there is more, but not where");
    }
    return FX_OK;
}

/* `how` has what visits. */
static fx_code
list_pages(fx_objects *objects, const char *prefix, fx_mono deadline, const page *how, fx_err *err)
{
    char whole[PREFIX_MAX_BYTES];
    page *p = malloc(sizeof *p);
    FX_ASSERT(p != NULL);
    *p = *how;
    p->objects = objects;
    (void)snprintf(whole, sizeof whole, "%s%s", objects->prefix, prefix);
    fx_code code = FX_OK;
    do {
        code = list_page(p, objects, whole, deadline, err);
    } while (code == FX_OK && p->goes_on);
    free(p);
    return code;
}

fx_code
fx_objects_list(
    void *state, const char *prefix, fx_mono deadline, fx_store_visit visit, void *ctx, fx_err *err)
{
    const page how = {.visit = visit, .ctx = ctx};
    return list_pages(state, prefix, deadline, &how, err);
}

fx_code
fx_objects_list_times(
    void *state,
    const char *prefix,
    fx_mono deadline,
    fx_store_visit_time visit,
    void *ctx,
    fx_err *err)
{
    const page how = {.visit_time = visit, .ctx = ctx};
    return list_pages(state, prefix, deadline, &how, err);
}
