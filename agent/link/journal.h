/*
 * The orders that this host knows, with their results: on disk before an order is acted upon, so
 * that none is ever carried out twice. Bounded to the newest FX_JOURNAL_MAX.
 *
 * thread: one at a time
 */
#pragma once

#include "common/base/buf.h"
#include "proto/link_check.h"

enum { FX_JOURNAL_MAX = 256 };

typedef struct fx_journal fx_journal;
typedef Fortress__Link__OrderResult fx_order_record;

/*
 * Reads the journal at `path`, or begins one. What was RUNNING when the agent ended is UNKNOWN now:
 * observe before acting again.
 *
 * errors: DENIED, IO, DAMAGED (move the file away only if no order is under way)
 */
FX_MUST_USE fx_code fx_journal_open(const char *path, fx_journal **out_journal, fx_err *err);
void fx_journal_free(fx_journal *journal);
FX_DEFINE_AUTO(fx_journal);

/* Borrowed until the next change; NULL: the order is not known. */
const fx_order_record *fx_journal_find(const fx_journal *journal, const char *order);

/*
 * Adds or replaces the record of an order, copied; it is on disk afterwards. It counts as not
 * acknowledged. Past FX_JOURNAL_MAX the oldest that is acknowledged gives way.
 *
 * errors: LIMIT (too many without acknowledgement), INVALID (id), NO_SPACE, IO; the journal is
 * unchanged then, so do not act
 */
FX_MUST_USE fx_code fx_journal_put(fx_journal *journal, const fx_order_record *record, fx_err *err);

/* The coordinators have the result: it need not be reported any more. Unknown ids are ignored. */
FX_MUST_USE fx_code fx_journal_acknowledge(fx_journal *journal, const char *order, fx_err *err);

/* The oldest records to be reported, at most `max`; borrowed until the next change. */
size_t
fx_journal_pending(const fx_journal *journal, const fx_order_record **out_records, size_t max);
