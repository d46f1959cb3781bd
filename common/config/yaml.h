/*
 * What the files of this door share: loads a YAML file by a schema, with one error that names file
 * and line. Only files of this folder include it.
 */
#pragma once

#include <cyaml/cyaml.h>

#include "common/base/err.h"

enum { FX_YAML_FILE_MAX_BYTES = 1024 * 1024, FX_YAML_TEXT_MAX_BYTES = 4096 };

/*
 * Reads one document. Unknown keys, aliases and files over FX_YAML_FILE_MAX_BYTES are refused.
 *
 * owns:   free the result with fx_yaml_free(); `out_count` is set for a sequence at the top, else
 *         NULL
 * errors: NOT_FOUND, DENIED, IO, LIMIT, INVALID: could not read "PATH": after line 7 in mapping:
 * Missing required …
 */
FX_MUST_USE fx_code fx_yaml_load(
    const char *path,
    const cyaml_schema_value_t *schema,
    void **out_data,
    unsigned *out_count,
    fx_err *err);

void fx_yaml_free(const cyaml_schema_value_t *schema, void *data, unsigned count);

/*
 * Makes `*text` (NULL: nothing to do) relative to the folder of `config_path` unless it is
 * absolute. The old text is freed as cyaml would.
 */
void fx_yaml_resolve(const char *config_path, char **text);

/* The same for a store's URL: "posix:PATH" and a plain path are resolved, other schemes left. */
void fx_yaml_resolve_url(const char *config_path, char **url);

/* A copy that fx_yaml_free() can free: for defaults. */
char *fx_yaml_text(const char *text);
