/*
 * What one core reaches in each stage of the repository engine, with the engine's own code, on the
 * first bytes of a file. Prints a line a stage: name, MB/s of content.
 */
#include "common/base/clock.h"
#include "common/crypto/aead.h"
#include "common/repository/chunker.h"
#include "common/repository/repository.h"
#include "common/zip/zip.h"

#include <stdio.h>
#include <string.h>

enum { SAMPLE_MAX_BYTES = 256 * 1024 * 1024, PIECE_BYTES = 1024 * 1024, ROUNDS = 3, PIECES = 256 };

typedef struct bench {
    fx_buf sample;
    fx_buf out;
    fx_chunker chunker;
    fx_hmac *hmac;
    fx_zip *zip;
    fx_aead *aead;
    fx_buf sealed; /* of the last piece */
    uint64_t number;
    fx_buf compressed[PIECES]; /* empty: did not shrink */
} bench;

static void
must(fx_code code, const fx_err *err)
{
    if (code != FX_OK) {
        (void)fprintf(stderr, "stages: %s\n", err->message);
        exit(1); // NOLINT(concurrency-mt-unsafe): a benchmark may end so
    }
}

static void
chunk(bench *b, fx_bytes piece)
{
    const unsigned char *data = piece.data;
    size_t done_bytes = 0;
    while (done_bytes < piece.size_bytes) {
        bool is_end = false;
        fx_bytes rest = {data + done_bytes, piece.size_bytes - done_bytes};
        done_bytes += fx_chunker_take(&b->chunker, rest, &is_end);
        if (is_end) {
            fx_chunker_reset(&b->chunker);
        }
    }
}

static void
identify(bench *b, fx_bytes piece)
{
    unsigned char id[FX_SHA256_BYTES];
    fx_hmac_sha256(b->hmac, piece, id);
}

/* The number of a piece of the sample. */
static size_t
number_of(const bench *b, fx_bytes piece)
{
    return (size_t)((const unsigned char *)piece.data - b->sample.data) / PIECE_BYTES;
}

static void
compress(bench *b, fx_bytes piece)
{
    fx_err err = {0};
    bool is_shrunk = false;
    fx_buf *out = &b->compressed[number_of(b, piece)];
    fx_buf_clear(out);
    must(fx_zip_compress(b->zip, piece, out, &is_shrunk, &err), &err);
}

static void
seal(bench *b, fx_bytes piece)
{
    fx_err err = {0};
    fx_buf_clear(&b->sealed);
    must(fx_aead_seal(b->aead, ++b->number, (fx_bytes){0}, piece, &b->sealed, &err), &err);
}

static void
unseal(bench *b, fx_bytes piece)
{
    (void)piece;
    fx_err err = {0};
    fx_buf_clear(&b->out);
    must(
        fx_aead_open(b->aead, b->number, (fx_bytes){0}, fx_buf_bytes(&b->sealed), &b->out, &err),
        &err);
}

static void
expand(bench *b, fx_bytes piece)
{
    fx_err err = {0};
    const fx_buf *compressed = &b->compressed[number_of(b, piece)];
    fx_buf_clear(&b->out);
    fx_code code =
        compressed->size_bytes == 0
            ? fx_buf_append(&b->out, piece.data, piece.size_bytes, &err)
            : fx_zip_expand(b->zip, fx_buf_bytes(compressed), piece.size_bytes, &b->out, &err);
    must(code, &err);
}

static void
run(bench *b, const char *name, void (*stage)(bench *b, fx_bytes piece))
{
    int64_t best_ns = INT64_MAX;
    for (int round = 0; round < ROUNDS; round++) {
        fx_mono began = fx_clock_mono();
        for (size_t at = 0; at < b->sample.size_bytes; at += PIECE_BYTES) {
            size_t left_bytes = b->sample.size_bytes - at;
            stage(
                b,
                (fx_bytes){
                    b->sample.data + at, left_bytes < PIECE_BYTES ? left_bytes : PIECE_BYTES});
        }
        int64_t took_ns = fx_mono_since(fx_clock_mono(), began).ns;
        best_ns = took_ns < best_ns ? took_ns : best_ns;
    }
    (void)printf("%s %.0f\n", name, (double)b->sample.size_bytes * 1e3 / (double)best_ns);
}

static void
read_sample(const char *path, fx_buf *out)
{
    fx_err err = {0};
    unsigned char *room = NULL;
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        (void)fprintf(stderr, "stages: could not open \"%s\"\n", path);
        exit(1); // NOLINT(concurrency-mt-unsafe): likewise
    }
    must(fx_buf_extend(out, SAMPLE_MAX_BYTES, &room, &err), &err);
    out->size_bytes = fread(room, 1, SAMPLE_MAX_BYTES, file);
    (void)fclose(file);
}

int
main(int argc, char **argv)
{
    if (argc != 2) {
        (void)fprintf(stderr, "Usage: stages FILE\n");
        return 2;
    }
    unsigned char key[FX_KEY_BYTES];
    static bench b;
    fx_buf_init(&b.sample, SAMPLE_MAX_BYTES);
    fx_buf_init(&b.out, (size_t)2 * PIECE_BYTES);
    fx_buf_init(&b.sealed, (size_t)2 * PIECE_BYTES);
    for (size_t i = 0; i < PIECES; i++) {
        fx_buf_init(&b.compressed[i], (size_t)2 * PIECE_BYTES);
    }
    read_sample(argv[1], &b.sample);
    fx_crypto_random(key, sizeof key);
    b.hmac = fx_hmac_new(key);
    b.aead = fx_aead_new(key);
    b.zip = fx_zip_new();
    fx_chunker_init(&b.chunker);
    run(&b, "chunk", chunk);
    run(&b, "id", identify);
    run(&b, "compress", compress);
    run(&b, "encrypt", seal);
    run(&b, "decrypt", unseal);
    run(&b, "expand", expand);
    return 0;
}
