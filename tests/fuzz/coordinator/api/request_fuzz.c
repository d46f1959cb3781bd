/*
 * Paths, limits and bodies as any client may send them. The first byte chooses.
 */
#include <string.h>

#include "coordinator/api/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
try_texts(const char *text)
{
    fx_err err;
    size_t limit = 1;
    fx_routed routed = fx_route_find(text);
    FX_ASSERT(strlen(routed.argument.text) < sizeof routed.argument.text);
    if (fx_parse_limit(text[0] == '\0' ? NULL : text, 20, 100, &limit, &err) == FX_OK) {
        FX_ASSERT(limit >= 1 && limit <= 100);
    }
}

static void
try_bodies(fx_bytes body)
{
    static const fx_asker asker = {.name = {"fuzz"}, .id = {"r-1"}, .cluster = "fuzz"};
    const fx_name name = fx_name_of("a");
    fx_err err;
    fx_request request;
    if (fx_parse_failover(body, &name, &asker, &request, &err) == FX_OK) {
        FX_ASSERT(request.order.size_bytes == 0);
    }
    if (fx_parse_order(body, &name, &asker, &request, &err) == FX_OK) {
        FX_ASSERT(strcmp(fx_request_kind(&request), "order") != 0);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    if (data[0] % 2 == 0) {
        char *text = calloc(1, size);
        FX_ASSERT(text != NULL);
        memcpy(text, data + 1, size - 1);
        try_texts(text);
        free(text);
    } else {
        try_bodies((fx_bytes){data + 1, size - 1});
    }
    return 0;
}
