/* Trees from entries in any order: sorted by path, then written from the leaves up. */
#include "common/repository/tree.h"

#include <string.h>

enum { ENTRIES_MAX = 1 << 24, PATH_MAX_BYTES = 65536, DEPTH_MAX = 512, MISSING_FOLDER_MODE = 0700 };

typedef struct entry {
    char *path;
    fx_node node;
} entry;

struct fx_tree_builder {
    entry *entries;
    size_t entry_count;
    size_t entry_room;
};

fx_tree_builder *
fx_tree_builder_new(void)
{
    fx_tree_builder *builder = calloc(1, sizeof *builder);
    FX_ASSERT(builder != NULL);
    return builder;
}

void
fx_tree_builder_free(fx_tree_builder *builder)
{
    if (builder == NULL) {
        return;
    }
    for (size_t index = 0; index < builder->entry_count; index++) {
        free(builder->entries[index].path);
        fx_node_deinit(&builder->entries[index].node);
    }
    free(builder->entries);
    free(builder);
}

/* Relative, of names other than "." and "..", each followed by one slash but for the last. */
static bool
is_good_path(const char *path)
{
    size_t depth = 0;
    if (strlen(path) > PATH_MAX_BYTES) {
        return false;
    }
    for (const char *name = path;; depth++) {
        size_t length = strcspn(name, "/");
        if (length == 0 || depth == DEPTH_MAX || (length == 1 && name[0] == '.') ||
            (length == 2 && memcmp(name, "..", 2) == 0)) {
            return false;
        }
        if (name[length] == '\0') {
            return true;
        }
        name += length + 1;
    }
}

fx_code
fx_tree_builder_add(fx_tree_builder *builder, const char *path, fx_node *node, fx_err *err)
{
    if (!is_good_path(path)) {
        return fx_fail(err, FX_ERR_INVALID, "could not save \"%.200s\": not a usable path", path);
    }
    if (builder->entry_count == ENTRIES_MAX) {
        return fx_fail(err, FX_ERR_LIMIT, "could not save a tree: more than %d files", ENTRIES_MAX);
    }
    if (builder->entry_count == builder->entry_room) {
        size_t room = builder->entry_room == 0 ? 64 : builder->entry_room * 2;
        entry *grown = realloc(builder->entries, room * sizeof *grown);
        if (grown == NULL) {
            return fx_fail(
                err, FX_ERR_LIMIT, "could not save a tree: no memory for %zu files", room);
        }
        builder->entries = grown;
        builder->entry_room = room;
    }
    entry *added = &builder->entries[builder->entry_count++];
    *added = (entry){.path = strdup(path), .node = *node};
    FX_ASSERT(added->path != NULL);
    *node = (fx_node){0};
    return FX_OK;
}

/* Bytewise, but '/' before all else: a folder comes first, and all that is in it follows. */
static int
compare_entries(const void *left, const void *right)
{
    const char *left_path = ((const entry *)left)->path;
    const char *right_path = ((const entry *)right)->path;
    size_t at = 0;
    while (left_path[at] != '\0' && left_path[at] == right_path[at]) {
        at++;
    }
    int left_rank = left_path[at] == '/' ? 0 : (unsigned char)left_path[at] + 1;
    int right_rank = right_path[at] == '/' ? 0 : (unsigned char)right_path[at] + 1;
    if (left_path[at] == '\0' || right_path[at] == '\0') {
        return (left_path[at] != '\0') - (right_path[at] != '\0');
    }
    return left_rank - right_rank;
}

/* A folder whose content is being collected. */
typedef struct open_folder {
    fx_tree *tree;
    fx_node node;
    size_t path_bytes; /* of the folder's own path, at the start of its content's paths */
} open_folder;

typedef struct finishing {
    fx_writer *writer;
    open_folder stack[DEPTH_MAX + 1]; /* [0] is the root */
    size_t depth;
    const char *path; /* of the entry last added */
} finishing;

static char *
copy_name(const char *start, size_t size_bytes)
{
    char *name = strndup(start, size_bytes);
    FX_ASSERT(name != NULL);
    return name;
}

static void
open_one(finishing *work, fx_node *node, size_t path_bytes)
{
    FX_ASSERT(work->depth <= DEPTH_MAX);
    fx_tree *tree = calloc(1, sizeof *tree);
    FX_ASSERT(tree != NULL);
    work->stack[work->depth++] =
        (open_folder){.tree = tree, .node = *node, .path_bytes = path_bytes};
    *node = (fx_node){0};
}

static fx_code
append_node(fx_tree *tree, fx_node *node, fx_err *err)
{
    size_t count = tree->node_count;
    if (count == 0 || (count >= 16 && (count & (count - 1)) == 0)) {
        fx_node *grown = realloc(tree->nodes, (count == 0 ? 16 : count * 2) * sizeof *grown);
        if (grown == NULL) {
            return fx_fail(err, FX_ERR_LIMIT, "could not save a folder: no memory");
        }
        tree->nodes = grown;
    }
    tree->nodes[tree->node_count++] = *node;
    *node = (fx_node){0};
    return FX_OK;
}

/* Stores the innermost open folder and enters it in the one around it. */
static fx_code
close_one(finishing *work, fx_err *err)
{
    FX_ASSERT(work->depth > 1);
    open_folder *folder = &work->stack[work->depth - 1];
    if (fx_tree_write(work->writer, folder->tree, &folder->node.subtree, err) != FX_OK) {
        return err->code;
    }
    if (append_node(work->stack[work->depth - 2].tree, &folder->node, err) != FX_OK) {
        return err->code;
    }
    fx_tree_free(FX_TAKE(folder->tree));
    work->depth--;
    return FX_OK;
}

/* Whether `path` lies in the innermost open folder. */
static bool
is_inside(const finishing *work, const char *path)
{
    size_t length = work->stack[work->depth - 1].path_bytes;
    return length == 0 || (strncmp(path, work->path, length) == 0 && path[length] == '/');
}

static fx_code
place_entry(finishing *work, entry *placed, fx_err *err)
{
    while (!is_inside(work, placed->path)) {
        if (close_one(work, err) != FX_OK) {
            return err->code;
        }
    }
    work->path = placed->path;
    for (;;) {
        size_t around_bytes = work->stack[work->depth - 1].path_bytes;
        const char *name = placed->path + around_bytes + (around_bytes > 0 ? 1 : 0);
        size_t name_bytes = strcspn(name, "/");
        if (name[name_bytes] == '\0') {
            free(placed->node.name);
            placed->node.name = copy_name(name, name_bytes);
            break;
        }
        fx_node missing = {
            .kind = FX_NODE_FOLDER,
            .mode = MISSING_FOLDER_MODE,
            .name = copy_name(name, name_bytes),
        };
        open_one(work, &missing, (size_t)(name - placed->path) + name_bytes);
    }
    if (placed->node.kind == FX_NODE_FOLDER) {
        open_one(work, &placed->node, strlen(placed->path));
        return FX_OK;
    }
    return append_node(work->stack[work->depth - 1].tree, &placed->node, err);
}

static fx_code
place_all(finishing *work, fx_tree_builder *builder, fx_chunk_id *out_root, fx_err *err)
{
    fx_node root = {.kind = FX_NODE_FOLDER};
    open_one(work, &root, 0);
    for (size_t index = 0; index < builder->entry_count; index++) {
        if (place_entry(work, &builder->entries[index], err) != FX_OK) {
            return err->code;
        }
    }
    while (work->depth > 1) {
        if (close_one(work, err) != FX_OK) {
            return err->code;
        }
    }
    return fx_tree_write(work->writer, work->stack[0].tree, out_root, err);
}

fx_code
fx_tree_builder_finish(
    fx_tree_builder *builder, fx_writer *writer, fx_chunk_id *out_root, fx_err *err)
{
    if (builder->entry_count > 1) {
        qsort(builder->entries, builder->entry_count, sizeof(entry), compare_entries);
    }
    finishing *work = calloc(1, sizeof *work);
    FX_ASSERT(work != NULL);
    work->writer = writer;
    fx_code code = place_all(work, builder, out_root, err);
    while (work->depth > 0) {
        open_folder *folder = &work->stack[--work->depth];
        fx_tree_free(folder->tree);
        fx_node_deinit(&folder->node);
    }
    free(work);
    return code;
}
