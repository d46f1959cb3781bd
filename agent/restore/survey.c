#include "agent/restore/survey.h"

enum { DEPTH_MAX = 600 };

typedef struct level {
    fx_tree *tree;
    size_t next;
} level;

static fx_code
walk(
    const fx_chunks *chunks,
    const fx_events *events,
    level *levels,
    size_t *depth,
    fx_restore_result *result,
    fx_err *err)
{
    level *top = &levels[*depth - 1];
    if (fx_events_cancelled(events)) {
        return fx_fail(err, FX_ERR_CANCELLED, "could not finish: it was cancelled");
    }
    if (top->next == top->tree->node_count) {
        fx_tree_free(top->tree);
        (*depth)--;
        return FX_OK;
    }
    const fx_node *node = &top->tree->nodes[top->next++];
    if (node->kind != FX_NODE_FOLDER) {
        result->file_count++;
        result->done_bytes += node->size_bytes;
        return FX_OK;
    }
    if (*depth == DEPTH_MAX) {
        return fx_fail(err, FX_ERR_LIMIT, "could not restore \"%.150s\": too deep", node->name);
    }
    result->folder_count++;
    level below = {0};
    if (fx_tree_read(chunks, &node->subtree, &below.tree, err) != FX_OK) {
        return fx_err_wrap(err, "reading the folder \"%.150s\"", node->name);
    }
    levels[(*depth)++] = below;
    return FX_OK;
}

fx_code
fx_survey_tree(const fx_root *root, const fx_events *events, fx_restore_result *result, fx_err *err)
{
    level *levels = calloc(DEPTH_MAX, sizeof *levels);
    FX_ASSERT(levels != NULL);
    size_t depth = 0;
    fx_code code = fx_tree_read(&root->chunks, &root->id, &levels[0].tree, err);
    depth = code == FX_OK ? 1 : 0;
    while (code == FX_OK && depth > 0) {
        code = walk(&root->chunks, events, levels, &depth, result, err);
    }
    while (depth > 0) {
        fx_tree_free(levels[--depth].tree);
    }
    free(levels);
    return code;
}
