/* What a file is apart from its content: owner, mode, times, extended attributes, links. */
#pragma once

#include "common/repository/tree.h"

#include <sys/stat.h>

/* Remembers the names of users and groups: looking one up can be slow. */
typedef struct fx_owner_names fx_owner_names;
fx_owner_names *fx_owner_names_new(void);
void fx_owner_names_free(fx_owner_names *names);
FX_DEFINE_AUTO(fx_owner_names);

/*
 * Fills `node` but for content and subtree. `folder_fd` and `name` say where the file is. A name of
 * a user that is not known stays NULL. errors: of reading a symbolic link or attributes; `node`
 * then holds what was read
 */
FX_MUST_USE fx_code fx_meta_read(
    int folder_fd,
    const char *name,
    const struct stat *info,
    fx_owner_names *names,
    fx_node *node,
    fx_err *err);

/* The owner alone: names can change while all else is as it was. */
void fx_meta_read_owner(const struct stat *info, fx_owner_names *names, fx_node *node);

fx_node_kind fx_meta_kind(mode_t mode);
int64_t fx_meta_mtime_ns(const struct stat *info);
int64_t fx_meta_ctime_ns(const struct stat *info);
