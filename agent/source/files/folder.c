#include "agent/source/files/state.h"

#include <string.h>
#include <unistd.h>

fx_folder *
fx_folder_new(fx_walk_state *work, fx_folder *around, size_t place, int fd)
{
    fx_folder *folder = calloc(1, sizeof *folder);
    FX_ASSERT(folder != NULL);
    folder->work = work;
    folder->around = around;
    folder->place = place;
    folder->fd = fd;
    atomic_init(&folder->users, 1);
    atomic_init(&folder->pending, 1);
    if (around != NULL) {
        (void)atomic_fetch_add(&around->pending, 1);
    }
    return folder;
}

static void
free_folder(fx_folder *folder)
{
    for (size_t index = 0; index < folder->name_count; index++) {
        fx_node_deinit(&folder->nodes[index]);
    }
    free(folder->nodes);
    free(folder->path);
    fx_node_deinit(&folder->node);
    free(folder);
}

/* Nobody looks at its files any more. */
static void
close_folder(fx_folder *folder)
{
    (void)close(folder->fd);
    for (size_t index = 0; index < folder->name_count; index++) {
        free(folder->names[index]);
    }
    free(folder->names);
    fx_tree_free(folder->old);
}

/* Stores the list of what was saved, and enters it in the folder around. */
static void
save_list(fx_folder *folder)
{
    fx_walk_state *work = folder->work;
    fx_err err = {0};
    size_t kept = 0;
    for (size_t index = 0; index < folder->name_count; index++) {
        if (folder->nodes[index].name != NULL) {
            fx_node node = folder->nodes[index];
            folder->nodes[index] = (fx_node){0};
            folder->nodes[kept++] = node;
        }
    }
    fx_tree tree = {.nodes = folder->nodes, .node_count = kept};
    fx_chunk_id id;
    if (fx_tree_write(work->request->writer, &tree, &id, &err) != FX_OK) {
        fx_walk_fail(work, &err);
        return;
    }
    if (folder->around == NULL) {
        work->result.root = id;
        return;
    }
    folder->node.subtree = id;
    folder->around->nodes[folder->place] = folder->node;
    folder->node = (fx_node){0};
}

void
fx_folder_leave(fx_folder *folder, bool is_user)
{
    while (folder != NULL) {
        if (is_user && atomic_fetch_sub(&folder->users, 1) == 1) {
            close_folder(folder);
        }
        if (atomic_fetch_sub(&folder->pending, 1) != 1) {
            return;
        }
        if (!atomic_load(&folder->work->is_failing)) {
            save_list(folder);
        }
        fx_folder *around = folder->around;
        free_folder(folder);
        folder = around;
        is_user = false;
    }
}
