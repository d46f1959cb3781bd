#include "common/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void
fx_assert_fail(const char *cond, const char *file, int line)
{
    (void)fprintf(
        stderr, "level=fatal event=assert.failed cond=\"%s\" at=%s:%d\n", cond, file, line);
    abort();
}

static fx_err_class
usual_class(fx_code code)
{
    switch (code) {
    case FX_OK:
        break;
#define FX_ERR(name, number, class, text)                                                          \
    case FX_ERR_##name:                                                                            \
        return FX_CLASS_##class;
#include "common/base/err_codes.def"
#undef FX_ERR
    }
    fx_assert_fail("valid error code", __FILE__, __LINE__);
}

/* Formats into a fresh error first: `args` may point into the one that is replaced. */
FX_PRINTF(4, 0)
static void
replace(fx_err *err, fx_code code, fx_err_origin origin, const char *fmt, va_list args)
{
    FX_ASSERT(err != NULL);

    fx_err fresh = {.code = code, .outcome = usual_class(code), .origin = origin};
    (void)vsnprintf(fresh.message, sizeof fresh.message, fmt, args);
    *err = fresh;
}

fx_code
fx_err_set(fx_err *err, fx_code code, fx_err_origin origin, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    replace(err, code, origin, fmt, args);
    va_end(args);
    return code;
}

fx_code
fx_err_set_as(
    fx_err *err, fx_err_class outcome, fx_code code, fx_err_origin origin, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    replace(err, code, origin, fmt, args);
    va_end(args);
    err->outcome = outcome;
    return code;
}

fx_code
fx_err_add_context(fx_err *err, const char *fmt, ...)
{
    FX_ASSERT(err != NULL);
    FX_ASSERT(err->code != FX_OK);

    char added[FX_ERR_CONTEXT_MAX_BYTES]; /* formatted apart: the text may quote err->context */
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(added, sizeof added, fmt, args);
    va_end(args);

    size_t used_bytes = strlen(err->context);
    (void)snprintf(
        err->context + used_bytes,
        sizeof err->context - used_bytes,
        "%s%s",
        used_bytes > 0 ? "; " : "",
        added);
    return err->code;
}

fx_code
fx_errno_code(int sys_errno)
{
    switch (sys_errno) {
    case ENOENT:
    case ENOTDIR:
        return FX_ERR_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS:
        return FX_ERR_DENIED;
    case EEXIST:
    case ENOTEMPTY:
        return FX_ERR_EXISTS;
    case ENOSPC:
    case EDQUOT:
        return FX_ERR_NO_SPACE;
    case ETIMEDOUT:
        return FX_ERR_TIMEOUT;
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ECONNRESET:
        return FX_ERR_UNREACHABLE;
    case ENAMETOOLONG:
    case E2BIG:
    case EMFILE:
    case ENFILE:
        return FX_ERR_LIMIT;
    default:
        return FX_ERR_IO;
    }
}

fx_code
fx_err_set_errno(fx_err *err, int sys_errno, fx_err_origin origin, const char *fmt, ...)
{
    char text[FX_ERR_MESSAGE_MAX_BYTES];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);

    char reason[128];
    fx_code code = fx_err_set(
        err,
        fx_errno_code(sys_errno),
        origin,
        "%s: %s",
        text,
        strerror_r(sys_errno, reason, sizeof reason));
    err->sys_errno = sys_errno;
    return code;
}

const char *
fx_code_name(fx_code code)
{
    switch (code) {
    case FX_OK:
        return "OK";
#define FX_ERR(name, number, class, text)                                                          \
    case FX_ERR_##name:                                                                            \
        return #name;
#include "common/base/err_codes.def"
#undef FX_ERR
    }
    return "UNKNOWN";
}
