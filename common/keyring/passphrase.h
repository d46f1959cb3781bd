/* A passphrase from where the environment says, or from the terminal; never from the command line.
 */
#pragma once

#include "common/base/secret.h"

enum { FX_PASSPHRASE_MIN_BYTES = 8, FX_PASSPHRASE_MAX_BYTES = 1024 };

/* Is there a file, a descriptor or a terminal to have it from? */
bool fx_passphrase_is_given(void);

/*
 * From FORTRESS_PASSPHRASE_FILE, else the descriptor FORTRESS_PASSPHRASE_FD, else the terminal,
 * where `label` words the question. A new one comes from FORTRESS_NEW_PASSPHRASE_FILE or _FD if
 * they are set, is asked for twice, and must be of at least FX_PASSPHRASE_MIN_BYTES. errors:
 * NOT_FOUND (nothing gives one), INVALID (empty, too short, too long, not twice the same), and
 * those of reading the file
 */
FX_MUST_USE fx_code
fx_passphrase_read(const char *label, bool is_new, fx_secret **out_passphrase, fx_err *err);
