/* The API's answers as pages for people. Pure: it reads no clock. */
#pragma once

#include "common/base/time.h"
#include "common/json/json.h"

/* Each appends a page. `now` is what relative times count from. errors: LIMIT */
FX_MUST_USE fx_code fx_show_status(const fx_json *answer, fx_wall now, fx_buf *out, fx_err *err);
FX_MUST_USE fx_code fx_show_services(const fx_json *answer, fx_wall now, fx_buf *out, fx_err *err);
FX_MUST_USE fx_code fx_show_hosts(const fx_json *answer, fx_wall now, fx_buf *out, fx_err *err);
FX_MUST_USE fx_code fx_show_snapshots(const fx_json *answer, fx_wall now, fx_buf *out, fx_err *err);
FX_MUST_USE fx_code fx_show_plans(const fx_json *answer, fx_wall now, fx_buf *out, fx_err *err);
FX_MUST_USE fx_code fx_show_decisions(const fx_json *answer, fx_wall now, fx_buf *out, fx_err *err);

/* One line of a step that is not waiting any more: "  promote    done     1.2 s  …". */
FX_MUST_USE fx_code fx_show_step(const fx_json *step, fx_wall now, fx_buf *out, fx_err *err);
