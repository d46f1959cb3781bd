#include "agent/source/files/links.h"

#include <string.h>

typedef struct linked {
    dev_t device;
    ino_t inode;
    fx_extent *extents;
    size_t extent_count;
    uint64_t size_bytes;
    bool is_used;
} linked;

/* Open addressing; at most half full. */
struct fx_links {
    linked *slots;
    size_t slot_count;
    size_t used_count;
};

fx_links *
fx_links_new(void)
{
    fx_links *links = calloc(1, sizeof *links);
    FX_ASSERT(links != NULL);
    links->slot_count = 64;
    links->slots = calloc(links->slot_count, sizeof *links->slots);
    FX_ASSERT(links->slots != NULL);
    return links;
}

void
fx_links_free(fx_links *links)
{
    if (links == NULL) {
        return;
    }
    for (size_t index = 0; index < links->slot_count; index++) {
        free(links->slots[index].extents);
    }
    free(links->slots);
    free(links);
}

/*
 * The group's number: the same in every snapshot, so that unchanged folders are stored once. Two
 * files that happen to get the same one stay two files: restore also compares the content.
 */
static uint64_t
group_of(dev_t device, ino_t inode)
{
    uint64_t mixed = (uint64_t)inode + (uint64_t)device * UINT64_C(0x9e3779b97f4a7c15);
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (mixed ^ (mixed >> 31)) | 1;
}

static linked *
slot_of(const fx_links *links, dev_t device, ino_t inode)
{
    size_t index = (size_t)group_of(device, inode) / 2 % links->slot_count;
    while (links->slots[index].is_used &&
           (links->slots[index].device != device || links->slots[index].inode != inode)) {
        index = (index + 1) % links->slot_count;
    }
    return &links->slots[index];
}

static fx_extent *
copy_extents(const fx_extent *extents, size_t count)
{
    fx_extent *copy = calloc(count + 1, sizeof *copy);
    FX_ASSERT(copy != NULL);
    if (count > 0) {
        memcpy(copy, extents, count * sizeof *copy);
    }
    return copy;
}

bool
fx_links_find(const fx_links *links, const struct stat *info, fx_node *node)
{
    node->link_group = group_of(info->st_dev, info->st_ino);
    const linked *slot = slot_of(links, info->st_dev, info->st_ino);
    if (!slot->is_used) {
        return false;
    }
    node->extents = copy_extents(slot->extents, slot->extent_count);
    node->extent_count = slot->extent_count;
    node->size_bytes = slot->size_bytes;
    return true;
}

static void
grow(fx_links *links)
{
    fx_links larger = {.slot_count = links->slot_count * 2, .used_count = links->used_count};
    larger.slots = calloc(larger.slot_count, sizeof *larger.slots);
    FX_ASSERT(larger.slots != NULL);
    for (size_t index = 0; index < links->slot_count; index++) {
        const linked *old = &links->slots[index];
        if (old->is_used) {
            *slot_of(&larger, old->device, old->inode) = *old;
        }
    }
    free(links->slots);
    *links = larger;
}

void
fx_links_add(fx_links *links, const struct stat *info, fx_node *node)
{
    if (links->used_count * 2 >= links->slot_count) {
        grow(links);
    }
    linked *slot = slot_of(links, info->st_dev, info->st_ino);
    FX_ASSERT(!slot->is_used);
    *slot = (linked){
        .device = info->st_dev,
        .inode = info->st_ino,
        .extents = copy_extents(node->extents, node->extent_count),
        .extent_count = node->extent_count,
        .size_bytes = node->size_bytes,
        .is_used = true,
    };
    links->used_count++;
}
