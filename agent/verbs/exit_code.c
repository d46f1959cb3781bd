#include "agent/verbs/exit_code.h"

#include <errno.h>
#include <stdio.h>

fx_exit
fx_exit_of(fx_code code)
{
    switch (code) {
    case FX_OK:
        return FX_EXIT_OK;
    case FX_ERR_DAMAGED:
        return FX_EXIT_DAMAGED;
    case FX_ERR_WRONG_KEY:
        return FX_EXIT_WRONG_KEY;
    case FX_ERR_NOT_FOUND:
        return FX_EXIT_NOT_FOUND;
    case FX_ERR_DENIED:
        return FX_EXIT_DENIED;
    case FX_ERR_NO_SPACE:
        return FX_EXIT_NO_SPACE;
    case FX_ERR_EXISTS:
        return FX_EXIT_EXISTS;
    case FX_ERR_UNREACHABLE:
    case FX_ERR_TIMEOUT:
        return FX_EXIT_UNREACHABLE;
    case FX_ERR_CANCELLED:
        return FX_EXIT_CANCELLED;
    case FX_ERR_HELD:
        return FX_EXIT_HELD;
    case FX_ERR_INVALID:
        return FX_EXIT_INVALID;
    case FX_ERR_LIMIT:
        return FX_EXIT_LIMIT;
    case FX_ERR_IO:
        return FX_EXIT_IO;
    case FX_ERR_CONFLICT:
        return FX_EXIT_CONFLICT;
    case FX_ERR_STALE:
        return FX_EXIT_STALE;
    case FX_ERR_UNSUPPORTED:
        return FX_EXIT_UNSUPPORTED;
    case FX_ERR_BUSY:
        return FX_EXIT_BUSY;
    case FX_ERR_FAILED:
        return FX_EXIT_REFUSED;
    }
    return FX_EXIT_FAILED;
}

const char *
fx_exit_advice(const fx_err *err)
{
    if (err->code == FX_ERR_NO_SPACE) {
        return "make room there and run it again; nothing that was stored is lost";
    }
    if (err->sys_errno == EROFS) {
        return "make it writable there, or choose another place, and run it again; nothing that "
               "was stored is lost";
    }
    return NULL;
}

int
fx_exit_print(const fx_err *err)
{
    FX_ASSERT(err->code != FX_OK);
    (void)fprintf(
        stderr,
        "fortress-agent: %s%s%s%s\n",
        err->message,
        err->context[0] == '\0' ? "" : " (",
        err->context,
        err->context[0] == '\0' ? "" : ")");
    const char *advice = fx_exit_advice(err);
    if (advice != NULL) {
        (void)fprintf(stderr, "fortress-agent: %s\n", advice);
    }
    return (int)fx_exit_of(err->code);
}
