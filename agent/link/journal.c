#include "agent/link/journal.h"

#include <string.h>

#include "common/base/file.h"
#include "common/crypto/digest.h"

/* The file: magic, SHA-256 of what follows, then records: acknowledged (1), length (4),
 * OrderResult. */
static const char magic[] = "fortress orders 1\n";

enum {
    MAGIC_BYTES = sizeof(magic) - 1,
    SUM_BYTES = 32,
    RECORD_HEAD_BYTES = 5,
    FILE_MAX_BYTES = 1024 * 1024,
    JOURNAL_MODE = 0600,
};

typedef struct entry {
    fx_order_record *record;
    bool acknowledged;
} entry;

struct fx_journal {
    char *path;
    entry entries[FX_JOURNAL_MAX]; /* oldest first */
    size_t count;
};

static void
free_record(fx_order_record *record)
{
    if (record != NULL) {
        fortress__link__order_result__free_unpacked(record, NULL);
    }
}

static fx_order_record *
copy_record(const fx_order_record *record)
{
    size_t size_bytes = fortress__link__order_result__get_packed_size(record);
    unsigned char *bytes = malloc(size_bytes + 1);
    FX_ASSERT(bytes != NULL);
    (void)fortress__link__order_result__pack(record, bytes);
    fx_order_record *copy = fortress__link__order_result__unpack(NULL, size_bytes, bytes);
    FX_ASSERT(copy != NULL);
    free(bytes);
    return copy;
}

static size_t
find_index(const fx_journal *journal, const char *order)
{
    size_t i = 0;
    while (i < journal->count && strcmp(journal->entries[i].record->order, order) != 0) {
        i++;
    }
    return i;
}

/* ---- file
 * ------------------------------------------------------------------------------------------ */

static fx_code
append_entry(fx_buf *out, const entry *self, fx_err *err)
{
    size_t size_bytes = fortress__link__order_result__get_packed_size(self->record);
    unsigned char *room = NULL;
    if (fx_buf_extend(out, RECORD_HEAD_BYTES + size_bytes, &room, err) != FX_OK) {
        return err->code;
    }
    room[0] = self->acknowledged ? 1 : 0;
    for (unsigned i = 0; i < 4; i++) {
        room[1 + i] = (unsigned char)(size_bytes >> (24U - (8U * i)));
    }
    (void)fortress__link__order_result__pack(self->record, room + RECORD_HEAD_BYTES);
    return FX_OK;
}

static fx_code
save(const fx_journal *journal, fx_err *err)
{
    FX_BUF_AUTO content;
    fx_buf_init(&content, FILE_MAX_BYTES);
    unsigned char *sum = NULL;
    if (fx_buf_append(&content, magic, MAGIC_BYTES, err) != FX_OK ||
        fx_buf_extend(&content, SUM_BYTES, &sum, err) != FX_OK) {
        return err->code;
    }
    for (size_t i = 0; i < journal->count; i++) {
        if (append_entry(&content, &journal->entries[i], err) != FX_OK) {
            return fx_err_wrap(err, "writing the journal of orders \"%s\"", journal->path);
        }
    }
    fx_bytes rest = {
        .data = content.data + MAGIC_BYTES + SUM_BYTES,
        .size_bytes = content.size_bytes - MAGIC_BYTES - SUM_BYTES,
    };
    fx_sha256(rest, content.data + MAGIC_BYTES);
    if (fx_file_replace(journal->path, fx_buf_bytes(&content), JOURNAL_MODE, err) != FX_OK) {
        return fx_err_wrap(err, "writing the journal of orders \"%s\"", journal->path);
    }
    return FX_OK;
}

static fx_code
damaged(const fx_journal *journal, const char *why, fx_err *err)
{
    return fx_fail(
        err, FX_ERR_DAMAGED, "could not read the journal of orders \"%s\": %s", journal->path, why);
}

/* The texts of a record that was unpacked are of malloc(), but for the one empty text of all. */
static void
set_detail(fx_order_record *record, const char *text)
{
    if (record->detail != protobuf_c_empty_string) {
        free(record->detail);
    }
    record->detail = strdup(text);
    FX_ASSERT(record->detail != NULL);
}

static fx_code
parse_entry(fx_journal *journal, const unsigned char **at, const unsigned char *end, fx_err *err)
{
    if (end - *at < RECORD_HEAD_BYTES || journal->count >= FX_JOURNAL_MAX) {
        return damaged(journal, "it ends in a record, or has too many", err);
    }
    const unsigned char *head = *at;
    size_t size_bytes = ((size_t)head[1] << 24U) | ((size_t)head[2] << 16U) |
                        ((size_t)head[3] << 8U) | (size_t)head[4];
    *at += RECORD_HEAD_BYTES;
    if (size_bytes > (size_t)(end - *at)) {
        return damaged(journal, "it ends in a record", err);
    }
    fx_order_record *record = fortress__link__order_result__unpack(NULL, size_bytes, *at);
    if (record == NULL) {
        return damaged(journal, "a record is not one", err);
    }
    *at += size_bytes;
    if (record->state == FORTRESS__LINK__ORDER_STATE__ORDER_STATE_RUNNING) {
        record->state = FORTRESS__LINK__ORDER_STATE__ORDER_STATE_UNKNOWN;
        if (record->detail == NULL || record->detail[0] == '\0') {
            set_detail(record, "the agent ended before the order did: look before ordering again");
        }
    }
    journal->entries[journal->count++] = (entry){.record = record, .acknowledged = head[0] != 0};
    return FX_OK;
}

static fx_code
load(fx_journal *journal, fx_err *err)
{
    FX_BUF_AUTO content;
    fx_buf_init(&content, FILE_MAX_BYTES);
    fx_code code = fx_file_read(journal->path, &content, err);
    if (code == FX_ERR_NOT_FOUND) {
        return FX_OK;
    }
    if (code != FX_OK) {
        return fx_err_wrap(err, "reading the journal of orders");
    }
    unsigned char sum[SUM_BYTES];
    if (content.size_bytes < MAGIC_BYTES + SUM_BYTES ||
        memcmp(content.data, magic, MAGIC_BYTES) != 0) {
        return damaged(journal, "it does not begin like one", err);
    }
    const unsigned char *at = content.data + MAGIC_BYTES + SUM_BYTES;
    const unsigned char *end = content.data + content.size_bytes;
    fx_sha256((fx_bytes){.data = at, .size_bytes = (size_t)(end - at)}, sum);
    if (memcmp(sum, content.data + MAGIC_BYTES, SUM_BYTES) != 0) {
        return damaged(journal, "its checksum is wrong", err);
    }
    while (at < end) {
        if (parse_entry(journal, &at, end, err) != FX_OK) {
            return err->code;
        }
    }
    return FX_OK;
}

/* ---- what users call
 * ------------------------------------------------------------------------------- */

fx_code
fx_journal_open(const char *path, fx_journal **out_journal, fx_err *err)
{
    fx_journal *journal = calloc(1, sizeof(*journal));
    FX_ASSERT(journal != NULL);
    journal->path = strdup(path);
    FX_ASSERT(journal->path != NULL);
    if (load(journal, err) != FX_OK) {
        fx_journal_free(journal);
        return err->code;
    }
    *out_journal = journal;
    return FX_OK;
}

void
fx_journal_free(fx_journal *journal)
{
    if (journal == NULL) {
        return;
    }
    for (size_t i = 0; i < journal->count; i++) {
        free_record(journal->entries[i].record);
    }
    free(journal->path);
    free(journal);
}

const fx_order_record *
fx_journal_find(const fx_journal *journal, const char *order)
{
    size_t index = find_index(journal, order);
    return index < journal->count ? journal->entries[index].record : NULL;
}

/* The index of the oldest that may go; journal->count if none may. */
static size_t
find_victim(const fx_journal *journal)
{
    size_t i = 0;
    while (i < journal->count && !journal->entries[i].acknowledged) {
        i++;
    }
    return i;
}

static void
remove_at(entry *entries, size_t *count, size_t index)
{
    memmove(&entries[index], &entries[index + 1], (*count - index - 1) * sizeof(entry));
    (*count)--;
}

fx_code
fx_journal_put(fx_journal *journal, const fx_order_record *record, fx_err *err)
{
    size_t length = strlen(record->order);
    if (length == 0 || length > FX_LINK_ORDER_ID_MAX_BYTES) {
        return fx_fail(err, FX_ERR_INVALID, "could not record the order: its id is empty or long");
    }
    fx_journal next = *journal; /* the same records; one of them changes */
    size_t index = find_index(journal, record->order);
    fx_order_record *gone = NULL;
    if (index == journal->count && journal->count == FX_JOURNAL_MAX) {
        size_t victim = find_victim(journal);
        if (victim == journal->count) {
            return fx_fail(
                err,
                FX_ERR_LIMIT,
                "could not record the order: %d results wait to be acknowledged",
                FX_JOURNAL_MAX);
        }
        gone = next.entries[victim].record;
        remove_at(next.entries, &next.count, victim);
        index = next.count;
    } else if (index < journal->count) {
        gone = next.entries[index].record;
    }
    fx_order_record *copy = copy_record(record);
    next.entries[index] = (entry){.record = copy};
    if (index == next.count) {
        next.count++;
    }
    if (save(&next, err) != FX_OK) {
        free_record(copy);
        return err->code;
    }
    free_record(gone);
    *journal = next;
    return FX_OK;
}

fx_code
fx_journal_acknowledge(fx_journal *journal, const char *order, fx_err *err)
{
    size_t index = find_index(journal, order);
    if (index == journal->count || journal->entries[index].acknowledged) {
        return FX_OK;
    }
    journal->entries[index].acknowledged = true;
    if (save(journal, err) != FX_OK) {
        journal->entries[index].acknowledged = false;
        return err->code;
    }
    return FX_OK;
}

size_t
fx_journal_pending(const fx_journal *journal, const fx_order_record **out_records, size_t max)
{
    size_t count = 0;
    for (size_t i = 0; i < journal->count && count < max; i++) {
        if (!journal->entries[i].acknowledged) {
            out_records[count++] = journal->entries[i].record;
        }
    }
    return count;
}
