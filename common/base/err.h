/* Errors as values: a code and an outcome for machines, a message and context for people. */
#pragma once

#include "common/base/base.h"

typedef enum fx_code {
    FX_OK = 0,
#define FX_ERR(name, number, class, text) FX_ERR_##name = (number),
#include "common/base/err_codes.def"
#undef FX_ERR
} fx_code;

/* What the caller may conclude about the world after a failure. */
typedef enum fx_err_class {
    FX_CLASS_PERMANENT, /* nothing happened, and will not until someone changes something */
    FX_CLASS_TRANSIENT, /* nothing happened; the same call may succeed later */
    FX_CLASS_UNKNOWN,   /* it may have happened: observe again before acting again */
} fx_err_class;

enum { FX_ERR_MESSAGE_MAX_BYTES = 256, FX_ERR_CONTEXT_MAX_BYTES = 512 };

typedef struct fx_err_origin {
    const char *file;
    int line;
} fx_err_origin;

typedef struct fx_err {
    fx_code code;
    fx_err_class outcome; /* act on this, not on the code; meaningless while code is FX_OK */
    int sys_errno;        /* 0 if no system call was involved */
    fx_err_origin origin;
    char message[FX_ERR_MESSAGE_MAX_BYTES];
    char context[FX_ERR_CONTEXT_MAX_BYTES];
} fx_err;

/* Tells the compiler and the static analyser that a failure is never FX_OK. */
FX_MUST_USE static inline fx_code
fx_err_not_ok(fx_code code)
{
    if (code == FX_OK) {
        __builtin_unreachable(); /* fx_err_set and its kin assert it */
    }
    return code;
}

#define FX_HERE ((fx_err_origin){__FILE__, __LINE__})

/* Fails with the outcome that is usual for the code. The text may quote `err` itself. */
#define fx_fail(err, code, ...) fx_err_not_ok(fx_err_set((err), (code), FX_HERE, __VA_ARGS__))

/*
 * Fails with another outcome, where the failing place knows more than the code says: a TIMEOUT is
 * UNKNOWN once the request is sent and TRANSIENT before.
 */
#define fx_fail_as(err, outcome, code, ...)                                                        \
    fx_err_not_ok(fx_err_set_as((err), (outcome), (code), FX_HERE, __VA_ARGS__))

FX_MUST_USE fx_code
fx_err_set(fx_err *err, fx_code code, fx_err_origin origin, const char *fmt, ...) FX_PRINTF(4, 5);

FX_MUST_USE fx_code fx_err_set_as(
    fx_err *err, fx_err_class outcome, fx_code code, fx_err_origin origin, const char *fmt, ...)
    FX_PRINTF(5, 6);

/* Adds what the caller was doing; returns err->code so it can be the return value. */
#define fx_err_wrap(err, ...) fx_err_not_ok(fx_err_add_context((err), __VA_ARGS__))

FX_MUST_USE fx_code fx_err_add_context(fx_err *err, const char *fmt, ...) FX_PRINTF(2, 3);

/* Drops a failure on purpose; `why` must be a literal a reviewer can agree with. */
#define fx_ignore(expr, why)                                                                       \
    do {                                                                                           \
        fx_code fx_ignored_ = (expr);                                                              \
        (void)fx_ignored_;                                                                         \
        (void)("" why "");                                                                         \
    } while (0)

/* The usual code for an errno: ENOENT → NOT_FOUND, EACCES → DENIED, ENOSPC and EDQUOT → NO_SPACE…
 */
fx_code fx_errno_code(int sys_errno);

/* Fails as `sys_errno` says; ": " and its text are added to the message. */
#define fx_fail_errno(err, sys_errno, ...)                                                         \
    fx_err_not_ok(fx_err_set_errno((err), (sys_errno), FX_HERE, __VA_ARGS__))

FX_MUST_USE fx_code fx_err_set_errno(
    fx_err *err, int sys_errno, fx_err_origin origin, const char *fmt, ...) FX_PRINTF(4, 5);

/* The stable name of a code, "DENIED"; for logs and JSON. */
const char *fx_code_name(fx_code code);
