#include "agent/service/store.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "common/base/file.h"

static const char *const number_names[] = {
    [FX_SERVICE_EPOCH] = "epoch", [FX_SERVICE_PRIMARY_EPOCH] = "primary_epoch"};

static void
path_of(const char *folder, const char *name, char out_path[PATH_MAX])
{
    (void)snprintf(out_path, PATH_MAX, "%s/%s", folder, name);
}

fx_code
fx_service_store_read(const char *folder, fx_service_number which, uint64_t *out_value, fx_err *err)
{
    char path[PATH_MAX];
    path_of(folder, number_names[which], path);
    FX_BUF_AUTO text;
    fx_buf_init(&text, 64);
    if (fx_file_read(path, &text, err) != FX_OK) {
        if (err->code != FX_ERR_NOT_FOUND) {
            return err->code;
        }
        *out_value = 0;
        return FX_OK;
    }
    char *end = NULL;
    unsigned long long value = strtoull(fx_buf_text(&text), &end, 10);
    if (end == fx_buf_text(&text) || strcmp(end, "\n") != 0) {
        return fx_fail(
            err,
            FX_ERR_DAMAGED,
            "\"%s\" is damaged: write the service's epoch from `fortress services` into it",
            path);
    }
    *out_value = value;
    return FX_OK;
}

fx_code
fx_service_store_write(const char *folder, fx_service_number which, uint64_t value, fx_err *err)
{
    char path[PATH_MAX];
    char text[32];
    path_of(folder, number_names[which], path);
    int length = snprintf(text, sizeof text, "%" PRIu64 "\n", value);
    return fx_file_replace(path, (fx_bytes){.data = text, .size_bytes = (size_t)length}, 0600, err);
}

fx_code
fx_service_store_read_promotion(const char *folder, fx_buf *out_order, fx_err *err)
{
    char path[PATH_MAX];
    path_of(folder, "promotion", path);
    return fx_file_read(path, out_order, err);
}

fx_code
fx_service_store_write_promotion(const char *folder, fx_bytes order, fx_err *err)
{
    char path[PATH_MAX];
    path_of(folder, "promotion", path);
    if (order.size_bytes > FX_SERVICE_ORDER_MAX_BYTES) {
        return fx_fail(err, FX_ERR_LIMIT, "the order is too long: %zu bytes", order.size_bytes);
    }
    return fx_file_replace(path, order, 0600, err);
}
