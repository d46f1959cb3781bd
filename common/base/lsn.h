/* A position in PostgreSQL's write-ahead log, as a type of its own. */
#pragma once

#include <stdint.h>

/* Bytes since the log began; 0 is no position. */
typedef struct {
    uint64_t value;
} fx_lsn;
