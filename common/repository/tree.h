/*
 * Trees: folders of nodes, each tree a chunk (proto/tree.proto). The source writes
 * them from the leaves up; restore walks them from the root.
 */
#pragma once

#include "common/base/pool.h"
#include "common/repository/repository.h"

typedef enum fx_node_kind {
    FX_NODE_FILE = 1,
    FX_NODE_FOLDER,
    FX_NODE_SYMLINK,
    FX_NODE_FIFO,
    FX_NODE_SOCKET,
    FX_NODE_CHARACTER_DEVICE,
    FX_NODE_BLOCK_DEVICE,
} fx_node_kind;

typedef struct fx_xattr {
    char *name;
    fx_bytes value;
} fx_xattr;

/* A run of a file's content. A hole has no chunk. */
typedef struct fx_extent {
    uint64_t size_bytes;
    bool is_hole;
    fx_chunk_id chunk;
} fx_extent;

/* All pointers belong to the tree (or the caller while building). Names are bytes without '/' and
 * NUL. */
typedef struct fx_node {
    fx_node_kind kind;
    char *name;
    uint32_t mode; /* permission bits, set-id and sticky bits */
    uint32_t uid;
    uint32_t gid;
    char *user; /* name of uid on the source, may be NULL */
    char *group;
    int64_t mtime_ns;
    int64_t ctime_ns; /* with inode and size: to recognise an unchanged file; not restored */
    uint64_t inode;
    uint64_t device; /* of devices: the number */
    uint64_t size_bytes;
    uint64_t link_group; /* files with the same value other than 0 are one file: hard links */
    char *link_target;   /* symlinks */
    fx_xattr *xattrs;    /* POSIX ACLs are the xattrs system.posix_acl_* */
    size_t xattr_count;
    fx_extent *extents; /* files */
    size_t extent_count;
    fx_chunk_id subtree; /* folders */
} fx_node;

typedef struct fx_tree {
    fx_node *nodes; /* sorted by name, bytewise */
    size_t node_count;
} fx_tree;

/* errors: DAMAGED, LIMIT. A tree larger than a chunk continues in further chunks. */
FX_MUST_USE fx_code
fx_tree_read(const fx_chunks *chunks, const fx_chunk_id *id, fx_tree **out_tree, fx_err *err);
/* The same; tells each chunk that the list itself takes: its own, its parts', its files' lists'. */
typedef void (*fx_tree_seen)(void *ctx, const fx_chunk_id *id);
FX_MUST_USE fx_code fx_tree_read_seen(
    const fx_chunks *chunks,
    const fx_chunk_id *id,
    fx_tree_seen seen,
    void *ctx,
    fx_tree **out_tree,
    fx_err *err);
void fx_tree_free(fx_tree *tree);
FX_DEFINE_AUTO(fx_tree);

/* Sorts `tree` and stores it. */
FX_MUST_USE fx_code
fx_tree_write(fx_writer *writer, fx_tree *tree, fx_chunk_id *out_id, fx_err *err);

/* ---- file content
 * -------------------------------------------------------------------------------- */

/* How a file's bytes are cut into chunks. */
typedef enum fx_cut { FX_CUT_CONTENT, FX_CUT_PAGES } fx_cut; /* PAGES: fixed 128 KiB blocks */

/* Takes the bytes of one file after another; runs of zeros, 64 KiB and longer, become holes. */
typedef struct fx_content fx_content;
fx_content *fx_content_new(fx_writer *writer);
/* Chunks are then stored on the pool's threads, a few at a time; the pool must outlive it. For one
 * stream of files: whoever reads several files at once has a content for each instead. */
void fx_content_use_pool(fx_content *content, fx_pool *pool);
void fx_content_free(fx_content *content);
FX_DEFINE_AUTO(fx_content);
void fx_content_begin(fx_content *content, fx_cut cut);
FX_MUST_USE fx_code fx_content_add(fx_content *content, fx_bytes bytes, fx_err *err);
FX_MUST_USE fx_code fx_content_add_hole(fx_content *content, uint64_t size_bytes, fx_err *err);
/* Hands over the extents (free()) and their sum into `node`. */
FX_MUST_USE fx_code fx_content_end(fx_content *content, fx_node *node, fx_err *err);

/* ---- trees from entries in any order
 * ---------------------------------------------------------------- */

/* Collects nodes by path ("base/1/2619") and writes all trees at the end. For archives (tar). */
typedef struct fx_tree_builder fx_tree_builder;
fx_tree_builder *fx_tree_builder_new(void);
void fx_tree_builder_free(fx_tree_builder *builder);
FX_DEFINE_AUTO(fx_tree_builder);
/* Moves `node`'s pointers; `node->name` is ignored. Missing parents become folders 0700. errors:
 * INVALID (path), LIMIT */
FX_MUST_USE fx_code
fx_tree_builder_add(fx_tree_builder *builder, const char *path, fx_node *node, fx_err *err);
FX_MUST_USE fx_code fx_tree_builder_finish(
    fx_tree_builder *builder, fx_writer *writer, fx_chunk_id *out_root, fx_err *err);

/* Frees what a node points to. */
void fx_node_deinit(fx_node *node);
