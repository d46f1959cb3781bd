/* Remembers the files that have several names, so that each is read once and its names stay one
 * file. */
#pragma once

#include "common/repository/tree.h"

#include <sys/stat.h>

typedef struct fx_links fx_links;
fx_links *fx_links_new(void);
void fx_links_free(fx_links *links);
FX_DEFINE_AUTO(fx_links);

/* Gives a file's link group and, if it was saved under another name, its content. */
bool fx_links_find(const fx_links *links, const struct stat *info, fx_node *node);

/* Remembers the content of a file that has further names. */
void fx_links_add(fx_links *links, const struct stat *info, fx_node *node);
