#include "proto/message.h"

#include "common/base/name.h"

enum { ALLOCATION_BYTES = 32 }; /* what each costs besides what was asked for, about */

fx_code
fx_message_pack(
    const fx_message_kind *kind, const ProtobufCMessage *message, fx_buf *out, fx_err *err)
{
    size_t size_bytes = protobuf_c_message_get_packed_size(message);
    if (size_bytes > kind->max_bytes) {
        return fx_fail(
            err,
            FX_ERR_LIMIT,
            "could not pack %s: it has %zu bytes, at most %zu are allowed",
            kind->name,
            size_bytes,
            kind->max_bytes);
    }
    unsigned char *room = NULL;
    if (fx_buf_extend(out, size_bytes, &room, err) != FX_OK) {
        return fx_err_wrap(err, "packing %s", kind->name);
    }
    size_t packed_bytes = protobuf_c_message_pack(message, room);
    FX_ASSERT(packed_bytes == size_bytes);
    return FX_OK;
}

/*
 * Many tiny fields take far more memory than bytes: unpacking gets a budget. What it allocated is
 * freed by plain free().
 */
typedef struct budget {
    size_t left_bytes;
} budget;

static void *
budget_alloc(void *ctx, size_t size_bytes)
{
    budget *self = ctx;
    if (size_bytes > self->left_bytes || self->left_bytes - size_bytes < ALLOCATION_BYTES) {
        return NULL;
    }
    self->left_bytes -= size_bytes + ALLOCATION_BYTES;
    return malloc(size_bytes);
}

static void
budget_free(void *ctx, void *pointer)
{
    (void)ctx;
    free(pointer);
}

fx_code
fx_message_unpack(
    const fx_message_kind *kind, fx_bytes bytes, ProtobufCMessage **out_message, fx_err *err)
{
    if (bytes.size_bytes > kind->max_bytes) {
        return fx_fail(
            err,
            FX_ERR_LIMIT,
            "could not read %s: it has %zu bytes, at most %zu are allowed",
            kind->name,
            bytes.size_bytes,
            kind->max_bytes);
    }
    budget memory = {.left_bytes = kind->memory_max_bytes};
    ProtobufCAllocator allocator = {
        .alloc = budget_alloc, .free = budget_free, .allocator_data = &memory};
    ProtobufCMessage *message =
        protobuf_c_message_unpack(kind->descriptor, &allocator, bytes.size_bytes, bytes.data);
    if (message == NULL) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not read %s: it is not one", kind->name);
    }
    *out_message = message;
    return FX_OK;
}

fx_code
fx_message_bad_field(const char *what, const char *why, fx_err *err)
{
    return fx_fail(err, FX_ERR_INVALID, "could not accept the message: %s %s", what, why);
}

fx_code
fx_message_check_name(const char *text, const char *what, fx_err *err)
{
    fx_name name;
    fx_err inner;
    return fx_name_parse(text, what, &name, &inner) == FX_OK
               ? FX_OK
               : fx_message_bad_field(what, "is not a name", err);
}
