/* What the files of a walk share: the walk and the folders that are not saved yet. */
#pragma once

#include "agent/source/files/links.h"
#include "agent/source/files/meta.h"
#include "agent/source/files/read.h"
#include "agent/source/files/walk.h"
#include "common/base/pool.h"

#include <pthread.h>

typedef struct fx_walk_state {
    const fx_walk_request *request;
    fx_pool *pool;
    fx_owner_names *owners; /* the next two: of the walking thread */
    fx_links *links;
    pthread_mutex_t lock; /* guards the rest */
    fx_walk_result result;
    fx_progress progress;
    fx_reader *readers; /* free ones */
    fx_err failure;     /* the first: nothing follows it */
    atomic_bool is_failing;
} fx_walk_state;

/*
 * A folder that is being saved. The walking thread goes through its names; pool threads read its
 * files; whoever is last saves its list, and then perhaps the one around it.
 */
typedef struct fx_folder {
    fx_walk_state *work;
    struct fx_folder *around; /* NULL: this is "/" */
    size_t place;             /* among the nodes of the folder around it */
    char *path;               /* "" for "/" */
    int fd;
    dev_t device;
    fx_node node; /* the folder itself */
    fx_tree *old; /* the same folder in the parent snapshot, or NULL */
    char **names; /* sorted */
    size_t name_count;
    size_t next;
    fx_node *nodes;        /* one a name; those without a kind are left out */
    atomic_size_t users;   /* of `fd`: the walking thread, and files that are being read */
    atomic_size_t pending; /* users, and folders in it */
} fx_folder;

/* ---- walk.c */

void fx_walk_warn(fx_walk_state *work, const fx_folder *folder, const char *name, const char *why);
void
fx_walk_warn_err(fx_walk_state *work, const fx_folder *folder, const char *name, const fx_err *why);
/* It was in the list and is not there any more: it may have another name now, that was not listed.
 */
void fx_walk_warn_gone(fx_walk_state *work, const fx_folder *folder, const char *name);
void fx_walk_fail(fx_walk_state *work, const fx_err *err);
/* Counts what was read or, with `is_reused`, known from before. */
void fx_walk_count(fx_walk_state *work, uint64_t size_bytes, bool is_reused);
/* Counts a file that is saved. */
void fx_walk_count_file(fx_walk_state *work, uint64_t size_bytes);

/* ---- list.c */

/* Fills names and nodes: of a folder above the chosen ones, only what leads to them. */
void fx_folder_list(fx_folder *folder);

/* ---- file.c */

/* Reads the content of a file in the background, into its node. Its folder waits for it. */
void fx_file_save(fx_folder *folder, size_t place, const struct stat *info);
/* The same at once. */
void fx_file_save_now(fx_folder *folder, size_t place, const struct stat *info);
void fx_readers_free(fx_reader *readers);

/* ---- folder.c */

fx_folder *fx_folder_new(fx_walk_state *work, fx_folder *around, size_t place, int fd);
/* Somebody is done with it. `is_user`: also with its descriptor. The last one saves it. */
void fx_folder_leave(fx_folder *folder, bool is_user);
