/* Walks a stored tree without restoring it, to tell what it would take. */
#pragma once

#include "agent/restore/restore.h"
#include "common/repository/tree.h"

/* Counts files, folders and bytes. errors: DAMAGED, WRONG_KEY, CANCELLED, LIMIT, the store's */
FX_MUST_USE fx_code fx_survey_tree(
    const fx_root *root, const fx_events *events, fx_restore_result *result, fx_err *err);
