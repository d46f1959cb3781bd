/*
 * Files of a host's cache folder: the copy of the index, which is mapped; kept lists; what the host
 * stored itself; what it verified and when. A disk may have damaged them. The input is such a file,
 * or what stands in one whose head and digests are made to fit.
 */
#include "common/crypto/digest.h"
#include "common/repository/index.h"
#include "common/repository/kept.h"
#include "common/repository/own.h"
#include "common/repository/verified.h"
#include "tests/fuzz/support/file.h"
#include "tests/fuzz/support/recipe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

enum {
    ROOM_BYTES = 4 * 1024 * 1024,
    PIECES_MAX = 64,
    PACK_BYTES = 76,
    ENTRY_BYTES = FX_ID_BYTES + 4,
    FAN_BYTES = 257 * 4,
    FAN_AT = 16 * 1024, /* so many entries are worth a table */
    IDS_MAX = 16,
    FAN_WISH = 0x29, /* seldom: it takes long */
};

static const char *path;

static void
append(fx_buf *out, const void *bytes, size_t size_bytes)
{
    fx_err err = {0};
    fx_code code = fx_buf_append(out, bytes, size_bytes, &err);
    FX_ASSERT(code == FX_OK);
}

static void
append_number(fx_buf *out, uint64_t number)
{
    append(out, &number, sizeof number); /* of this machine */
}

/* The digest of what is there from `begin` on. */
static void
append_digest(fx_buf *out, size_t begin)
{
    unsigned char digest[FX_SHA256_BYTES];
    fx_sha256((fx_bytes){out->data + begin, out->size_bytes - begin}, digest);
    append(out, digest, sizeof digest);
}

/* ---- the index
 * -------------------------------------------------------------------------------------- */

/* So many bytes of the input, over and over. */
static void
fill(const recipe *from, size_t size_bytes, fx_buf *out)
{
    fx_err err = {0};
    unsigned char *room = NULL;
    fx_code code = fx_buf_extend(out, size_bytes, &room, &err);
    FX_ASSERT(code == FX_OK);
    size_t done = from->left_bytes < size_bytes ? from->left_bytes : size_bytes;
    if (done == 0) {
        memset(room, 0, size_bytes);
        return;
    }
    memcpy(room, from->at, done);
    while (done < size_bytes) {
        size_t more = done < size_bytes - done ? done : size_bytes - done;
        memcpy(room + done, room, more);
        done += more;
    }
}

/* The head says what it must; all behind it is the input, over and over. */
static void
build_index(recipe *from, fx_buf *out)
{
    unsigned how = recipe_byte(from);
    size_t pack_count = recipe_byte(from);
    size_t entry_count = recipe_byte(from) + ((how & FAN_WISH) == FAN_WISH ? (size_t)FAN_AT : 0);
    size_t label_bytes = recipe_byte(from);
    size_t left_bytes = pack_count * PACK_BYTES + label_bytes + entry_count * ENTRY_BYTES;
    if (entry_count >= FAN_AT) {
        left_bytes += FAN_BYTES - entry_count;
    }
    append(out, "FXINDEX3", 8);
    append_number(out, pack_count);
    append_number(out, entry_count + ((how & 2U) != 0 ? recipe_number(from, 8) : 0));
    append_number(out, label_bytes);
    append_digest(out, 0);
    size_t firsts_at = out->size_bytes + pack_count * PACK_BYTES;
    left_bytes += (pack_count + 1) * sizeof(uint32_t);
    fill(from, left_bytes, out);
    for (size_t i = 0; (how & 4U) != 0 && i <= pack_count; i++) { /* true ones */
        uint32_t first = (uint32_t)(i * ((how >> 4U) + 1));
        memcpy(out->data + firsts_at + i * sizeof first, &first, sizeof first);
    }
}

static void
count_entry(void *ctx, const fx_index_entry *entry)
{
    const fx_index *index = ctx;
    FX_ASSERT(entry->pack < fx_index_pack_count(index));
}

static void
use_index(fx_index *index, recipe *ids)
{
    for (size_t i = 0; i < IDS_MAX && ids->left_bytes > 0; i++) {
        fx_chunk_id id = {{0}};
        fx_bytes bytes = recipe_take(ids, FX_ID_BYTES);
        memcpy(id.bytes, bytes.data, bytes.size_bytes);
        fx_index_cursor cursor = {0};
        fx_index_entry entry;
        while (fx_index_next(index, &id, &cursor, &entry)) {
            FX_ASSERT(entry.pack < fx_index_pack_count(index));
        }
        (void)fx_index_is_recorded(index, &id);
    }
    fx_index_each(index, count_entry, index);
}

static void
read_index(fx_bytes input)
{
    fx_err err = {0};
    FX_AUTO(fx_index) index = fx_index_new("/dev/shm");
    FX_BUF_AUTO label;
    fx_buf_init(&label, ROOM_BYTES);
    fx_code code = fx_index_load(index, path, &label, &err);
    FX_ASSERT(code == FX_OK || code == FX_ERR_DAMAGED);
    if (code != FX_OK) {
        return;
    }
    recipe ids = {input.data, input.size_bytes};
    use_index(index, &ids);
    /* As much that is new comes to it, and both become one; not where that takes long. */
    uint64_t entry_count = fx_index_entry_count(index);
    const fx_index_pack pack = {.blob_count = entry_count < FAN_AT ? 1 + (uint32_t)entry_count : 1};
    fx_index_entry entry = {.pack = fx_index_add_pack(index, &pack)};
    for (; entry.blob < pack.blob_count; entry.blob++) {
        fx_index_add(index, &entry);
    }
    fx_index_seal(index);
    ids = (recipe){input.data, input.size_bytes};
    use_index(index, &ids);
}

/* ---- the others
 * ------------------------------------------------------------------------------------- */

static void
build_kept(recipe *from, fx_buf *out)
{
    FX_BUF_AUTO entries;
    fx_buf_init(&entries, ROOM_BYTES);
    for (size_t i = 0; i < PIECES_MAX && from->left_bytes > 0; i++) {
        unsigned char id[FX_ID_BYTES] = {(unsigned char)recipe_byte(from)};
        fx_bytes content = recipe_piece(from);
        uint32_t size_bytes = (uint32_t)content.size_bytes;
        append(&entries, id, sizeof id);
        append(&entries, &size_bytes, sizeof size_bytes);
        append(&entries, content.data, content.size_bytes);
    }
    enum { HEADER_BYTES = 8 + 8 + 8 + FX_ID_BYTES + FX_SHA256_BYTES };
    unsigned char root[FX_ID_BYTES] = {1};
    append(out, "FXKEPT01", 8);
    append_number(out, HEADER_BYTES + entries.size_bytes);
    append_number(out, 5);
    append(out, root, sizeof root);
    append_digest(out, 0);
    append(out, entries.data, entries.size_bytes);
}

static void
read_kept(fx_bytes input)
{
    (void)input;
    fx_err err = {0};
    FX_AUTO(fx_kept) kept = NULL;
    fx_code code = fx_kept_load(path, &kept, &err);
    FX_ASSERT(code == FX_OK || code == FX_ERR_DAMAGED);
    FX_ASSERT((code == FX_OK) == (kept != NULL));
    for (unsigned i = 0; kept != NULL && i < 256; i++) {
        const fx_chunk_id id = {{(unsigned char)i}};
        fx_bytes content;
        if (fx_kept_find(kept, &id, &content) && content.size_bytes > 0) {
            const volatile unsigned char *last = content.data;
            (void)last[content.size_bytes - 1];
        }
    }
    if (kept != NULL) {
        (void)fx_kept_root(kept);
        (void)fx_kept_began(kept);
    }
}

static void
build_own(recipe *from, fx_buf *out)
{
    append(out, "FXOWN001", 8);
    for (size_t i = 0; i < PIECES_MAX && from->left_bytes > 0; i++) {
        unsigned char index[FX_ID_BYTES] = {(unsigned char)recipe_byte(from)};
        size_t begin = out->size_bytes;
        fx_bytes records = recipe_piece(from);
        uint32_t size_bytes = (uint32_t)records.size_bytes;
        append(out, index, sizeof index);
        append(out, &size_bytes, sizeof size_bytes);
        append(out, records.data, records.size_bytes);
        append_digest(out, begin);
    }
}

static void
read_own(fx_bytes input)
{
    (void)input;
    fx_own own;
    fx_own_load(path, &own);
    for (size_t i = 0; i < own.count; i++) {
        fx_err err = {0};
        FX_AUTO(fx_index) index = fx_index_new(NULL);
        fx_ignore(
            fx_index_decode(index, own.entries[i].records, &(fx_index_origin){0}, &err),
            "any outcome but a crash");
    }
    fx_own_free(&own);
}

static void
build_verified(recipe *from, fx_buf *out)
{
    append(out, "FXSCRUB1", 8);
    fx_bytes records = recipe_take(from, from->left_bytes);
    append(out, records.data, records.size_bytes);
    append_digest(out, 0);
}

static void
read_verified(fx_bytes input)
{
    fx_chunk_id name = {{0}};
    FX_AUTO(fx_verified) verified = fx_verified_load(path);
    if (input.size_bytes >= sizeof name.bytes) {
        memcpy(name.bytes, input.data, sizeof name.bytes);
    }
    (void)fx_verified_at(verified, &name);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    static void (*const builders[])(recipe * from, fx_buf * out) = {
        build_index, build_kept, build_own, build_verified};
    static void (*const readers[])(fx_bytes input) = {
        read_index, read_kept, read_own, read_verified};
    recipe from = {data, size_bytes};
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, ROOM_BYTES);
    unsigned how = recipe_byte(&from);
    fx_bytes input = {from.at, from.left_bytes};
    if ((how & 4U) != 0 || size_bytes < 2) {
        append(&bytes, size_bytes < 2 ? "" : input.data, input.size_bytes);
    } else {
        builders[how & 3U](&from, &bytes);
    }
    bytes.size_bytes -= bytes.size_bytes > (how >> 3U) ? how >> 3U : 0; /* cut short */
    path = fuzz_file_write(fx_buf_bytes(&bytes));
    for (unsigned i = 0; i < 4; i++) {
        if ((how & 4U) != 0 || (how & 3U) == i) { /* all take what stands as it is */
            readers[i](input);
        }
    }
    return 0;
}
