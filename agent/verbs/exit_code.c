#include "agent/verbs/exit_code.h"

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
    case FX_ERR_BUSY:
        return FX_EXIT_UNREACHABLE;
    case FX_ERR_CANCELLED:
        return FX_EXIT_CANCELLED;
    case FX_ERR_HELD:
        return FX_EXIT_HELD;
    case FX_ERR_INVALID:
    case FX_ERR_LIMIT:
    case FX_ERR_IO:
    case FX_ERR_CONFLICT:
    case FX_ERR_STALE:
    case FX_ERR_UNSUPPORTED:
    case FX_ERR_FAILED:
        return FX_EXIT_FAILED;
    }
    return FX_EXIT_FAILED;
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
    return (int)fx_exit_of(err->code);
}
