/*
 * Repositories as a test says they are, in place of the engine: what is opened and listed keyless,
 * and what fails. Link it instead of fx_repository.
 */
#pragma once

#include "common/repository/repository.h"

enum { FX_SHELF_MAX = 4, FX_SHELF_SNAPSHOT_MAX = 8 };

/* What a URL leads to from then on. */
void
fx_shelf_put(const char *url, const fx_snapshot *snapshots, size_t count, size_t unreadable_count);

/* The URL leads nowhere from then on. */
void fx_shelf_lose(const char *url);
