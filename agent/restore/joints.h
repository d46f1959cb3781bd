/* Remembers restored files that have further names, so that those become hard links. */
#pragma once

#include "common/repository/tree.h"

typedef struct fx_joints fx_joints;
fx_joints *fx_joints_new(void);
void fx_joints_free(fx_joints *joints);
FX_DEFINE_AUTO(fx_joints);

/*
 * Where the file with the same link group and the same content was restored, relative to the root;
 * NULL when it was not. Equal groups alone are not enough: no file may get another's content.
 */
const char *fx_joints_find(const fx_joints *joints, const fx_node *node);

void fx_joints_add(fx_joints *joints, const fx_node *node, const char *path);
