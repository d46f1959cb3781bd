#include "agent/restore/joints.h"

#include <string.h>

typedef struct joint {
    uint64_t group; /* 0: free */
    char *path;
    fx_extent *extents;
    size_t extent_count;
} joint;

/* Open addressing; at most half full. */
struct fx_joints {
    joint *slots;
    size_t slot_count;
    size_t used_count;
};

fx_joints *
fx_joints_new(void)
{
    fx_joints *joints = calloc(1, sizeof *joints);
    FX_ASSERT(joints != NULL);
    joints->slot_count = 64;
    joints->slots = calloc(joints->slot_count, sizeof *joints->slots);
    FX_ASSERT(joints->slots != NULL);
    return joints;
}

void
fx_joints_free(fx_joints *joints)
{
    if (joints == NULL) {
        return;
    }
    for (size_t index = 0; index < joints->slot_count; index++) {
        free(joints->slots[index].path);
        free(joints->slots[index].extents);
    }
    free(joints->slots);
    free(joints);
}

static joint *
slot_of(const fx_joints *joints, uint64_t group)
{
    size_t index = (size_t)(group / 2 % joints->slot_count);
    while (joints->slots[index].group != 0 && joints->slots[index].group != group) {
        index = (index + 1) % joints->slot_count;
    }
    return &joints->slots[index];
}

static bool
is_same_content(const joint *slot, const fx_node *node)
{
    if (slot->extent_count != node->extent_count) {
        return false;
    }
    for (size_t index = 0; index < node->extent_count; index++) {
        const fx_extent *left = &slot->extents[index];
        const fx_extent *right = &node->extents[index];
        if (left->size_bytes != right->size_bytes || left->is_hole != right->is_hole ||
            memcmp(left->chunk.bytes, right->chunk.bytes, FX_ID_BYTES) != 0) {
            return false;
        }
    }
    return true;
}

const char *
fx_joints_find(const fx_joints *joints, const fx_node *node)
{
    const joint *slot = slot_of(joints, node->link_group);
    return slot->group != 0 && is_same_content(slot, node) ? slot->path : NULL;
}

static void
grow(fx_joints *joints)
{
    fx_joints larger = {.slot_count = joints->slot_count * 2, .used_count = joints->used_count};
    larger.slots = calloc(larger.slot_count, sizeof *larger.slots);
    FX_ASSERT(larger.slots != NULL);
    for (size_t index = 0; index < joints->slot_count; index++) {
        if (joints->slots[index].group != 0) {
            *slot_of(&larger, joints->slots[index].group) = joints->slots[index];
        }
    }
    free(joints->slots);
    *joints = larger;
}

void
fx_joints_add(fx_joints *joints, const fx_node *node, const char *path)
{
    FX_ASSERT(node->link_group != 0);
    if (joints->used_count * 2 >= joints->slot_count) {
        grow(joints);
    }
    joint *slot = slot_of(joints, node->link_group);
    if (slot->group != 0) {
        return; /* another file with the same number: it stays unjoined */
    }
    slot->group = node->link_group;
    slot->path = strdup(path);
    slot->extents = calloc(node->extent_count + 1, sizeof *slot->extents);
    FX_ASSERT(slot->path != NULL && slot->extents != NULL);
    if (node->extent_count > 0) {
        memcpy(slot->extents, node->extents, node->extent_count * sizeof *slot->extents);
    }
    slot->extent_count = node->extent_count;
    joints->used_count++;
}
