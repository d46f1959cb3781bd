#include "common/repository/tree.h"

#include "proto/tree.pb-c.h"

#include <string.h>

/*
 * A stored tree ends after PART_MIN_BYTES at the first name whose hash says so, so that one more
 * file in a large folder changes one part and not all that follow; at PART_MAX_BYTES in any case.
 */
enum {
    TREE_VERSION = 1,
    PART_MIN_BYTES = 256 * 1024,
    PART_MAX_BYTES = 2 * 1024 * 1024,
    PART_HASH_MASK = 0x3ff,
    EXTENTS_PER_PART = 8192,
    PARTS_MAX = FX_CHUNK_MAX_BYTES / (FX_ID_BYTES + 2) - 1,
    NODES_MAX = 1 << 24,
    NAME_MAX_BYTES = 4096,
    LINK_MAX_BYTES = 4096,
    XATTRS_MAX = 1024,
    XATTR_VALUE_MAX_BYTES = 64 * 1024,
    NODE_MAX_BYTES = 1024 * 1024, /* stored, so that every node fits a part */
    MODE_BITS = 07777,
};

/* ---- memory
 * -------------------------------------------------------------------------------------- */

/* What one call needs while it packs; freed as a whole. */
typedef struct pool_block {
    struct pool_block *next;
    max_align_t start[];
} pool_block;

typedef struct pool {
    pool_block *blocks;
} pool;

static void
pool_free_all(pool *each)
{
    while (each->blocks != NULL) {
        pool_block *block = each->blocks;
        each->blocks = block->next;
        free(block);
    }
}

#define POOL_AUTO __attribute__((cleanup(pool_free_all))) pool

static void *
pool_take(pool *from, size_t count, size_t size_bytes)
{
    FX_ASSERT(count <= (SIZE_MAX / 2 - sizeof(pool_block)) / size_bytes);
    pool_block *block = calloc(1, sizeof *block + count * size_bytes);
    FX_ASSERT(block != NULL);
    block->next = from->blocks;
    from->blocks = block;
    return block->start;
}

/* The same address without const: for what we own, and for protobuf-c, which only reads it. */
static void *
without_const(const void *data)
{
    void *same = NULL;
    memcpy(&same, &data, sizeof(void *));
    return same;
}

void
fx_node_deinit(fx_node *node)
{
    free(node->name);
    free(node->user);
    free(node->group);
    free(node->link_target);
    for (size_t index = 0; index < node->xattr_count; index++) {
        free(node->xattrs[index].name);
        free(without_const(node->xattrs[index].value.data));
    }
    free(node->xattrs);
    free(node->extents);
    *node = (fx_node){0};
}

void
fx_tree_free(fx_tree *tree)
{
    if (tree == NULL) {
        return;
    }
    for (size_t index = 0; index < tree->node_count; index++) {
        fx_node_deinit(&tree->nodes[index]);
    }
    free(tree->nodes);
    free(tree);
}

/* ---- writing
 * --------------------------------------------------------------------------------------- */

static ProtobufCBinaryData
view(const void *data, size_t size_bytes)
{
    return (ProtobufCBinaryData){.data = without_const(data), .len = size_bytes};
}

static ProtobufCBinaryData
view_text(const char *text)
{
    return view(text, text == NULL ? 0 : strlen(text));
}

static Fortress__Tree__Extent **
pack_extents(pool *memory, const fx_extent *extents, size_t count)
{
    Fortress__Tree__Extent *items = pool_take(memory, count, sizeof *items);
    Fortress__Tree__Extent **list = pool_take(memory, count, sizeof(void *));
    for (size_t index = 0; index < count; index++) {
        fortress__tree__extent__init(&items[index]);
        items[index].size_bytes = extents[index].size_bytes;
        if (!extents[index].is_hole) {
            items[index].chunk = view(extents[index].chunk.bytes, FX_ID_BYTES);
        }
        list[index] = &items[index];
    }
    return list;
}

static fx_code
store(fx_writer *writer, const ProtobufCMessage *message, fx_chunk_id *out_id, fx_err *err)
{
    size_t size_bytes = protobuf_c_message_get_packed_size(message);
    if (size_bytes > FX_CHUNK_MAX_BYTES) {
        return fx_fail(
            err, FX_ERR_LIMIT, "could not save a folder: its list takes %zu bytes", size_bytes);
    }
    unsigned char *bytes = malloc(size_bytes + 1);
    FX_ASSERT(bytes != NULL);
    (void)protobuf_c_message_pack(message, bytes);
    fx_code code =
        fx_writer_add_chunk(writer, FX_CHUNK_TREE, (fx_bytes){bytes, size_bytes}, out_id, err);
    free(bytes);
    return code;
}

/* The extents of a long file go into chunks of their own. */
static fx_code
store_extent_parts(
    pool *memory, fx_writer *writer, const fx_node *node, Fortress__Tree__Node *packed, fx_err *err)
{
    size_t count = (node->extent_count + EXTENTS_PER_PART - 1) / EXTENTS_PER_PART;
    fx_chunk_id *ids = pool_take(memory, count, sizeof *ids);
    packed->extent_parts = pool_take(memory, count, sizeof *packed->extent_parts);
    packed->n_extent_parts = count;
    for (size_t index = 0; index < count; index++) {
        POOL_AUTO scratch = {0};
        size_t first = index * EXTENTS_PER_PART;
        size_t left = node->extent_count - first;
        Fortress__Tree__ExtentList list;
        fortress__tree__extent_list__init(&list);
        list.n_extents = left < EXTENTS_PER_PART ? left : EXTENTS_PER_PART;
        list.extents = pack_extents(&scratch, node->extents + first, list.n_extents);
        if (store(writer, &list.base, &ids[index], err) != FX_OK) {
            return err->code;
        }
        packed->extent_parts[index] = view(ids[index].bytes, FX_ID_BYTES);
    }
    return FX_OK;
}

static void
pack_xattrs(pool *memory, const fx_node *node, Fortress__Tree__Node *packed)
{
    Fortress__Tree__Xattr *items = pool_take(memory, node->xattr_count, sizeof *items);
    packed->xattrs = pool_take(memory, node->xattr_count, sizeof(void *));
    packed->n_xattrs = node->xattr_count;
    for (size_t index = 0; index < node->xattr_count; index++) {
        const fx_xattr *xattr = &node->xattrs[index];
        fortress__tree__xattr__init(&items[index]);
        items[index].name = view_text(xattr->name);
        items[index].value = view(xattr->value.data, xattr->value.size_bytes);
        packed->xattrs[index] = &items[index];
    }
}

static fx_code
pack_node(
    pool *memory, fx_writer *writer, const fx_node *node, Fortress__Tree__Node *packed, fx_err *err)
{
    FX_ASSERT((node->mode & ~(uint32_t)MODE_BITS) == 0);
    fortress__tree__node__init(packed);
    packed->kind = (Fortress__Tree__Kind)node->kind;
    packed->name = view_text(node->name);
    packed->mode = node->mode;
    packed->uid = node->uid;
    packed->gid = node->gid;
    packed->user = view_text(node->user);
    packed->group = view_text(node->group);
    packed->mtime_ns = node->mtime_ns;
    packed->ctime_ns = node->ctime_ns;
    packed->inode = node->inode;
    packed->device = node->device;
    packed->size_bytes = node->size_bytes;
    packed->link_group = node->link_group;
    packed->link_target = view_text(node->link_target);
    pack_xattrs(memory, node, packed);
    if (node->kind == FX_NODE_FOLDER) {
        packed->subtree = view(node->subtree.bytes, FX_ID_BYTES);
    }
    if (node->extent_count > EXTENTS_PER_PART) {
        return store_extent_parts(memory, writer, node, packed, err);
    }
    packed->n_extents = node->extent_count;
    packed->extents = pack_extents(memory, node->extents, node->extent_count);
    return FX_OK;
}

static int
compare_nodes(const void *left, const void *right)
{
    const fx_node *left_node = left;
    const fx_node *right_node = right;
    return strcmp(left_node->name, right_node->name); /* strcmp compares unsigned bytes */
}

static bool
is_good_name(const char *name, size_t size_bytes)
{
    return size_bytes > 0 && size_bytes <= NAME_MAX_BYTES && strlen(name) == size_bytes &&
           strchr(name, '/') == NULL && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static fx_code
sort_nodes(fx_tree *tree, fx_err *err)
{
    if (tree->node_count > NODES_MAX) {
        return fx_fail(
            err, FX_ERR_LIMIT, "could not save a folder: more than %d entries", NODES_MAX);
    }
    if (tree->node_count > 1) {
        qsort(tree->nodes, tree->node_count, sizeof *tree->nodes, compare_nodes);
    }
    for (size_t index = 0; index < tree->node_count; index++) {
        const char *name = tree->nodes[index].name;
        if (!is_good_name(name, strlen(name))) {
            return fx_fail(err, FX_ERR_INVALID, "could not save \"%.100s\": not a file name", name);
        }
        if (index > 0 && strcmp(tree->nodes[index - 1].name, name) == 0) {
            return fx_fail(err, FX_ERR_INVALID, "could not save \"%.100s\": there twice", name);
        }
    }
    return FX_OK;
}

/* source: Fowler, Noll and Vo, FNV-1a */
static uint32_t
hash_name(const char *name)
{
    uint32_t hash = UINT32_C(2166136261);
    for (const char *at = name; *at != '\0'; at++) {
        hash = (hash ^ (unsigned char)*at) * UINT32_C(16777619);
    }
    return hash ^ (hash >> 15);
}

/* A tree that is being stored, part by part. */
typedef struct tree_pack {
    pool memory;
    fx_writer *writer;
    Fortress__Tree__Node **list; /* of the part so far */
    size_t list_count;
    size_t list_bytes;
    fx_chunk_id *parts;
    size_t part_count;
    size_t part_room;
} tree_pack;

static void
tree_pack_deinit(tree_pack *pack)
{
    pool_free_all(&pack->memory);
    free(pack->list);
    free(pack->parts);
}

static fx_code
end_part(tree_pack *pack, fx_err *err)
{
    if (pack->part_count == PARTS_MAX) {
        return fx_fail(err, FX_ERR_LIMIT, "could not save a folder: more than %d parts", PARTS_MAX);
    }
    if (pack->part_count == pack->part_room) {
        pack->part_room = pack->part_room == 0 ? 8 : pack->part_room * 2;
        pack->parts = realloc(pack->parts, pack->part_room * sizeof *pack->parts);
        FX_ASSERT(pack->parts != NULL);
    }
    Fortress__Tree__Tree message;
    fortress__tree__tree__init(&message);
    message.version = TREE_VERSION;
    message.nodes = pack->list;
    message.n_nodes = pack->list_count;
    if (store(pack->writer, &message.base, &pack->parts[pack->part_count], err) != FX_OK) {
        return err->code;
    }
    pack->part_count++;
    pack->list_count = 0;
    pack->list_bytes = 0;
    pool_free_all(&pack->memory);
    return FX_OK;
}

static fx_code
add_packed(tree_pack *pack, const fx_node *node, fx_err *err)
{
    Fortress__Tree__Node *packed = pool_take(&pack->memory, 1, sizeof *packed);
    if (pack_node(&pack->memory, pack->writer, node, packed, err) != FX_OK) {
        return err->code;
    }
    size_t size_bytes = fortress__tree__node__get_packed_size(packed);
    if (size_bytes > NODE_MAX_BYTES) {
        return fx_fail(
            err,
            FX_ERR_LIMIT,
            "could not save \"%.100s\": its attributes are too large",
            node->name);
    }
    pack->list[pack->list_count++] = packed;
    pack->list_bytes += size_bytes;
    if (pack->list_bytes >= PART_MAX_BYTES ||
        (pack->list_bytes >= PART_MIN_BYTES && (hash_name(node->name) & PART_HASH_MASK) == 0)) {
        return end_part(pack, err);
    }
    return FX_OK;
}

static fx_code
store_part_list(tree_pack *pack, fx_chunk_id *out_id, fx_err *err)
{
    Fortress__Tree__Tree message;
    fortress__tree__tree__init(&message);
    message.version = TREE_VERSION;
    message.n_parts = pack->part_count;
    message.parts = pool_take(&pack->memory, pack->part_count, sizeof *message.parts);
    for (size_t index = 0; index < pack->part_count; index++) {
        message.parts[index] = view(pack->parts[index].bytes, FX_ID_BYTES);
    }
    return store(pack->writer, &message.base, out_id, err);
}

fx_code
fx_tree_write(fx_writer *writer, fx_tree *tree, fx_chunk_id *out_id, fx_err *err)
{
    if (sort_nodes(tree, err) != FX_OK) {
        return err->code;
    }
    tree_pack pack = {.writer = writer};
    pack.list = calloc(tree->node_count + 1, sizeof(Fortress__Tree__Node *));
    FX_ASSERT(pack.list != NULL);
    fx_code code = FX_OK;
    for (size_t index = 0; index < tree->node_count && code == FX_OK; index++) {
        code = add_packed(&pack, &tree->nodes[index], err);
    }
    if (code == FX_OK && (pack.list_count > 0 || pack.part_count == 0)) {
        code = end_part(&pack, err);
    }
    if (code == FX_OK && pack.part_count == 1) {
        *out_id = pack.parts[0];
    } else if (code == FX_OK) {
        code = store_part_list(&pack, out_id, err);
    }
    tree_pack_deinit(&pack);
    return code;
}

/* ---- reading
 * --------------------------------------------------------------------------------------- */

/* Where chunks come from, and who wants to know which. */
typedef struct chunk_source {
    const fx_chunks *chunks;
    fx_tree_seen seen;
    void *ctx;
} chunk_source;

static fx_code
bad_tree(fx_err *err, const char *what)
{
    return fx_fail(err, FX_ERR_DAMAGED, "could not read a folder: %s", what);
}

static fx_code
take_id(const ProtobufCBinaryData *bytes, fx_chunk_id *out_id, fx_err *err)
{
    if (bytes->len != FX_ID_BYTES) {
        return bad_tree(err, "a chunk's name has another length");
    }
    memcpy(out_id->bytes, bytes->data, FX_ID_BYTES);
    return FX_OK;
}

static void *
copy_bytes(const ProtobufCBinaryData *bytes)
{
    char *copy = malloc(bytes->len + 1);
    FX_ASSERT(copy != NULL);
    if (bytes->len > 0) {
        memcpy(copy, bytes->data, bytes->len);
    }
    copy[bytes->len] = '\0';
    return copy;
}

static char *
copy_text(const ProtobufCBinaryData *bytes)
{
    return bytes->len == 0 ? NULL : copy_bytes(bytes);
}

/* What becomes text must not end before its end: it would be read as another. */
static bool
is_text(const ProtobufCBinaryData *bytes)
{
    return bytes->len == 0 || memchr(bytes->data, '\0', bytes->len) == NULL;
}

static fx_code
take_xattrs(const Fortress__Tree__Node *packed, fx_node *node, fx_err *err)
{
    if (packed->n_xattrs > XATTRS_MAX) {
        return bad_tree(err, "too many attributes");
    }
    node->xattrs = calloc(packed->n_xattrs + 1, sizeof *node->xattrs);
    FX_ASSERT(node->xattrs != NULL);
    for (size_t index = 0; index < packed->n_xattrs; index++) {
        const Fortress__Tree__Xattr *xattr = packed->xattrs[index];
        if (xattr->name.len == 0 || !is_text(&xattr->name) ||
            xattr->value.len > XATTR_VALUE_MAX_BYTES) {
            return bad_tree(err, "a bad attribute");
        }
        node->xattrs[index] = (fx_xattr){
            .name = copy_bytes(&xattr->name),
            .value = {.data = copy_bytes(&xattr->value), .size_bytes = xattr->value.len},
        };
        node->xattr_count++;
    }
    return FX_OK;
}

static fx_code
take_extents(Fortress__Tree__Extent *const *list, size_t count, fx_node *node, fx_err *err)
{
    fx_extent *grown =
        realloc(node->extents, (node->extent_count + count + 1) * sizeof *node->extents);
    if (grown == NULL) {
        return fx_fail(err, FX_ERR_LIMIT, "could not read a folder: no memory for its files");
    }
    node->extents = grown;
    for (size_t index = 0; index < count; index++) {
        fx_extent extent = {
            .size_bytes = list[index]->size_bytes, .is_hole = list[index]->chunk.len == 0};
        if (!extent.is_hole && take_id(&list[index]->chunk, &extent.chunk, err) != FX_OK) {
            return err->code;
        }
        if (extent.size_bytes == 0 || extent.size_bytes > INT64_MAX ||
            (!extent.is_hole && extent.size_bytes > FX_CHUNK_MAX_BYTES)) {
            return bad_tree(err, "a part of a file has an impossible size");
        }
        node->extents[node->extent_count++] = extent;
    }
    return FX_OK;
}

static fx_code
read_bytes(const chunk_source *from, const fx_chunk_id *id, fx_buf *out_bytes, fx_err *err)
{
    fx_buf_init(out_bytes, FX_CHUNK_MAX_BYTES);
    if (from->seen != NULL) {
        from->seen(from->ctx, id);
    }
    return fx_repository_read_chunk(from->chunks, id, out_bytes, err);
}

static fx_code
read_extent_part(
    const chunk_source *from, const ProtobufCBinaryData *part, fx_node *node, fx_err *err)
{
    fx_chunk_id id;
    FX_BUF_AUTO bytes = {0};
    if (take_id(part, &id, err) != FX_OK || read_bytes(from, &id, &bytes, err) != FX_OK) {
        return err->code;
    }
    Fortress__Tree__ExtentList *list =
        fortress__tree__extent_list__unpack(NULL, bytes.size_bytes, bytes.data);
    if (list == NULL) {
        return bad_tree(err, "a file's list of parts is malformed");
    }
    fx_code code = take_extents(list->extents, list->n_extents, node, err);
    fortress__tree__extent_list__free_unpacked(list, NULL);
    return code;
}

static fx_code
check_extents(const fx_node *node, fx_err *err)
{
    uint64_t sum_bytes = 0;
    for (size_t index = 0; index < node->extent_count; index++) {
        sum_bytes += node->extents[index].size_bytes;
        if (sum_bytes > INT64_MAX) {
            return bad_tree(err, "a file is impossibly large");
        }
    }
    if (node->kind == FX_NODE_FILE && sum_bytes != node->size_bytes) {
        return bad_tree(err, "a file's size differs from its parts");
    }
    return FX_OK;
}

static fx_code
check_node(const Fortress__Tree__Node *packed, const fx_node *node, fx_err *err)
{
    if (packed->kind < FORTRESS__TREE__KIND__KIND_FILE ||
        packed->kind > FORTRESS__TREE__KIND__KIND_BLOCK_DEVICE) {
        return bad_tree(err, "an entry of a kind that this version does not know");
    }
    if (!is_good_name(node->name, packed->name.len)) {
        return bad_tree(err, "an entry with an impossible name");
    }
    if ((packed->mode & ~(uint32_t)MODE_BITS) != 0) {
        return bad_tree(err, "an entry with an impossible mode");
    }
    bool is_link = node->kind == FX_NODE_SYMLINK;
    if (is_link != (node->link_target != NULL) || packed->link_target.len > LINK_MAX_BYTES ||
        !is_text(&packed->link_target)) {
        return bad_tree(err, "an entry with an impossible link");
    }
    if (!is_text(&packed->user) || !is_text(&packed->group)) {
        return bad_tree(err, "an entry with an impossible owner");
    }
    if (node->kind != FX_NODE_FILE && packed->n_extents + packed->n_extent_parts > 0) {
        return bad_tree(err, "content in what is no file");
    }
    return FX_OK;
}

/* What was allocated so far belongs to `node` also when this fails. */
static fx_code
take_node(const chunk_source *from, const Fortress__Tree__Node *packed, fx_node *node, fx_err *err)
{
    *node = (fx_node){
        .kind = (fx_node_kind)packed->kind,
        .name = copy_bytes(&packed->name),
        .mode = packed->mode,
        .uid = packed->uid,
        .gid = packed->gid,
        .user = copy_text(&packed->user),
        .group = copy_text(&packed->group),
        .mtime_ns = packed->mtime_ns,
        .ctime_ns = packed->ctime_ns,
        .inode = packed->inode,
        .device = packed->device,
        .size_bytes = packed->size_bytes,
        .link_group = packed->link_group,
        .link_target = copy_text(&packed->link_target),
    };
    if (check_node(packed, node, err) != FX_OK || take_xattrs(packed, node, err) != FX_OK ||
        take_extents(packed->extents, packed->n_extents, node, err) != FX_OK) {
        return err->code;
    }
    if (node->kind == FX_NODE_FOLDER && take_id(&packed->subtree, &node->subtree, err) != FX_OK) {
        return err->code;
    }
    for (size_t index = 0; index < packed->n_extent_parts; index++) {
        if (read_extent_part(from, &packed->extent_parts[index], node, err) != FX_OK) {
            return err->code;
        }
    }
    return check_extents(node, err);
}

static fx_code
take_nodes(
    const chunk_source *from, const Fortress__Tree__Tree *message, fx_tree *tree, fx_err *err)
{
    if (message->n_nodes > NODES_MAX - tree->node_count) {
        return fx_fail(err, FX_ERR_LIMIT, "could not read a folder: too many entries");
    }
    fx_node *grown =
        realloc(tree->nodes, (tree->node_count + message->n_nodes + 1) * sizeof *tree->nodes);
    FX_ASSERT(grown != NULL);
    tree->nodes = grown;
    for (size_t index = 0; index < message->n_nodes; index++) {
        fx_node *node = &tree->nodes[tree->node_count++];
        if (take_node(from, message->nodes[index], node, err) != FX_OK) {
            return err->code;
        }
        if (tree->node_count > 1 && strcmp((node - 1)->name, node->name) >= 0) {
            return bad_tree(err, "its entries are not in order");
        }
    }
    return FX_OK;
}

static fx_code
unpack_tree(
    const chunk_source *from,
    const fx_chunk_id *id,
    Fortress__Tree__Tree **out_message,
    fx_err *err)
{
    FX_BUF_AUTO bytes = {0};
    if (read_bytes(from, id, &bytes, err) != FX_OK) {
        return fx_err_not_ok(err->code);
    }
    Fortress__Tree__Tree *message =
        fortress__tree__tree__unpack(NULL, bytes.size_bytes, bytes.data);
    if (message == NULL) {
        return bad_tree(err, "its list is malformed");
    }
    if (message->version != TREE_VERSION) {
        unsigned version = message->version;
        fortress__tree__tree__free_unpacked(message, NULL);
        return fx_fail(
            err, FX_ERR_UNSUPPORTED, "could not read a folder: its format is version %u", version);
    }
    *out_message = message;
    return FX_OK;
}

static fx_code
read_part(const chunk_source *from, const ProtobufCBinaryData *part, fx_tree *tree, fx_err *err)
{
    fx_chunk_id id;
    Fortress__Tree__Tree *message = NULL;
    if (take_id(part, &id, err) != FX_OK || unpack_tree(from, &id, &message, err) != FX_OK) {
        return fx_err_not_ok(err->code);
    }
    fx_code code = message->n_parts > 0 ? bad_tree(err, "parts within parts")
                                        : take_nodes(from, message, tree, err);
    fortress__tree__tree__free_unpacked(message, NULL);
    return code;
}

fx_code
fx_tree_read_seen(
    const fx_chunks *chunks,
    const fx_chunk_id *id,
    fx_tree_seen seen,
    void *ctx,
    fx_tree **out_tree,
    fx_err *err)
{
    const chunk_source origin = {.chunks = chunks, .seen = seen, .ctx = ctx};
    const chunk_source *from = &origin;
    Fortress__Tree__Tree *message = NULL;
    if (unpack_tree(from, id, &message, err) != FX_OK) {
        return fx_err_not_ok(err->code);
    }
    fx_tree *tree = calloc(1, sizeof *tree);
    FX_ASSERT(tree != NULL);
    fx_code code = take_nodes(from, message, tree, err);
    for (size_t index = 0; index < message->n_parts && code == FX_OK; index++) {
        code = read_part(from, &message->parts[index], tree, err);
    }
    fortress__tree__tree__free_unpacked(message, NULL);
    if (code != FX_OK) {
        fx_tree_free(tree);
        return code;
    }
    *out_tree = tree;
    return FX_OK;
}

fx_code
fx_tree_read(const fx_chunks *chunks, const fx_chunk_id *id, fx_tree **out_tree, fx_err *err)
{
    return fx_tree_read_seen(chunks, id, NULL, NULL, out_tree, err);
}
