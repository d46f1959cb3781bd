/*
 * How objects lie in a folder: what the posix driver and a depot, which serves such a folder, do
 * alike. Everything stays below the root and passes no symbolic link.
 */
#pragma once

#include <limits.h>

#include "common/store/store.h"

typedef struct fx_place {
    char root[PATH_MAX];
    int root_fd;                      /* -1 until there is a folder */
    struct fx_place_durable *durable; /* folders whose names are known to survive a power loss */
} fx_place;

/* Of zeros. `root` and `root_fd` are the caller's to set; deinit closes the latter. */
void fx_place_init(fx_place *place);
void fx_place_deinit(fx_place *place);

enum { FX_PLACE_TEMPORARY_BYTES = 64 };

/* A descriptor of what lies at `path`; -1 with errno. source: openat2(2) */
int fx_place_open(const fx_place *place, const char *path, uint64_t flags);

/*
 * The folder that holds `key`, with `make` made if need be, durable with all folders around it,
 * also where a process made it that was killed before it could sync that; -1 with errno. thread:
 * any
 */
int fx_place_open_folder(const fx_place *place, const char *key, bool make);

/* Fails as errno says: could not WHAT "ROOT/KEY". */
FX_MUST_USE fx_code
fx_place_failed(const fx_place *place, const char *what, const char *key, fx_err *err);

/*
 * A new file "tmp/PREFIX…" to write an object to, which nobody may write once it is closed. Its
 * name is drawn, not counted: a crash can leave a temporary that is a committed object under a
 * second name, so that one is never opened again.
 */
FX_MUST_USE fx_code fx_place_make_temporary(
    const fx_place *place,
    const char *prefix,
    const char *key,
    char out_name[FX_PLACE_TEMPORARY_BYTES],
    int *out_fd,
    fx_err *err);

/*
 * Gives a synced temporary the key's name, durably, and takes its own away, whatever comes of it.
 * errors: EXISTS, DENIED, NO_SPACE, IO (UNKNOWN if only the folder could not be synced)
 */
FX_MUST_USE fx_code
fx_place_link(const fx_place *place, const char *temporary, const char *key, fx_err *err);

/* A list, or a part of one. */
typedef struct fx_place_walk {
    const fx_place *place;
    const char *prefix; /* of the keys */
    const char *after;  /* only keys above it; "": all */
    fx_mono deadline;
    /* `stored`: when the file was last written, which is when its object was made. false: enough */
    bool (*visit)(void *ctx, const char *key, uint64_t size_bytes, fx_wall stored);
    void *ctx;
} fx_place_walk;

/* Visits objects in the order of their keys. */
FX_MUST_USE fx_code fx_place_list(const fx_place_walk *walk, fx_err *err);
