/* Puts index objects: records of packs, gathered into objects of bounded size. */
#pragma once

#include "common/repository/id_set.h"
#include "common/repository/index.h"
#include "common/store/store.h"

typedef struct fx_index_writer {
    fx_store *store;
    const fx_session *session;
    fx_zip *zip;
    fx_object_writer object;
    bool is_open;
    fx_buf records;       /* not in a blob yet */
    uint64_t added_bytes; /* stored so far */
    fx_id_set *names;     /* takes the names of what is put; may be NULL */
    fx_chunk_id last;     /* name of what was put last */
    const char *lease;    /* nothing is put once it was revoked; borrowed, NULL or "": none */
} fx_index_writer;

/* Borrows `store` and `session`. */
void fx_index_writer_init(fx_index_writer *writer, fx_store *store, const fx_session *session);
void fx_index_writer_free(fx_index_writer *writer);

/* A pack and the ids of its chunks, `stride_bytes` apart. errors: STALE, and the store's */
FX_MUST_USE fx_code fx_index_writer_add(
    fx_index_writer *writer,
    const fx_index_pack *pack,
    const unsigned char *ids,
    size_t stride_bytes,
    fx_err *err);

/* Puts what is left. */
FX_MUST_USE fx_code fx_index_writer_finish(fx_index_writer *writer, fx_err *err);
