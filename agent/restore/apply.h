/*
 * Gives restored files their owners, modes, attributes and times.
 *
 * thread: any, several at once; warnings come one at a time
 */
#pragma once

#include "agent/source/source.h"
#include "common/repository/tree.h"

typedef struct fx_apply fx_apply;

/* `warning_count` is counted on; both borrowed. */
fx_apply *fx_apply_new(bool numeric_owner, const fx_events *events, uint32_t *warning_count);
void fx_apply_free(fx_apply *apply);
FX_DEFINE_AUTO(fx_apply);

/* Are some entries the user's who restores, because only root may give them to their owners? To an
 * ordinary user that is no warning: it could not be otherwise. thread: after all others ended */
bool fx_apply_left_owners(const fx_apply *apply);

/* What cannot be set is a warning under `path`. */
void fx_apply_opened(fx_apply *apply, int fd, const fx_node *node, const char *path);

/* Of what cannot be opened: symbolic links, devices, pipes and sockets. */
void fx_apply_named(fx_apply *apply, int folder_fd, const fx_node *node, const char *path);

void fx_apply_warn(fx_apply *apply, const char *path, const char *reason);
