/* Compares the files of a base backup, as they arrived, with what the server's manifest says. */
#pragma once

#include "common/base/err.h"

/* CRC-32C (Castagnoli). Begin with 0; give the result back in for the next piece. */
uint32_t fx_crc32c(uint32_t crc, fx_bytes bytes);

typedef struct fx_file_sums fx_file_sums;

fx_file_sums *fx_file_sums_new(void);
void fx_file_sums_free(fx_file_sums *sums);
FX_DEFINE_AUTO(fx_file_sums);

/* errors: LIMIT */
enum { FX_FILE_SUMS_MAX = 16 * 1024 * 1024 };
FX_MUST_USE fx_code fx_file_sums_add(
    fx_file_sums *sums, const char *path, uint64_t size_bytes, uint32_t crc, fx_err *err);

/*
 * Every file that the manifest lists has arrived with its size and checksum. Sorts `sums`.
 * errors: DAMAGED, naming the first file that differs; UNSUPPORTED (another checksum than CRC32C)
 */
FX_MUST_USE fx_code fx_manifest_check(fx_bytes manifest, fx_file_sums *sums, fx_err *err);
