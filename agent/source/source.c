#include "agent/source/source.h"

#include <string.h>

static const fx_source_driver *const drivers[] = {
#define FX_SOURCE_DRIVER(name) &fx_source_driver_##name,
#include "agent/source/drivers.def"
#undef FX_SOURCE_DRIVER
    NULL,
};

fx_code
fx_source_find(const char *kind, const fx_source_driver **out_driver, fx_err *err)
{
    for (size_t index = 0; drivers[index] != NULL; index++) {
        const fx_source_driver *driver = drivers[index];
        FX_ASSERT(driver->backup != NULL);
        FX_ASSERT(((driver->abilities & FX_SOURCE_SETTLES) != 0) == (driver->settle != NULL));
        if (strcmp(driver->kind, kind) == 0) {
            *out_driver = driver;
            return FX_OK;
        }
    }
    return fx_fail(
        err, FX_ERR_UNSUPPORTED, "could not use a source of kind \"%.40s\": not known here", kind);
}
