#include "common/config/tokens.h"

#include "common/base/hex.h"
#include "common/config/yaml.h"

typedef struct entry {
    char *name;
    fx_token_role role;
    char *sha256;
} entry;

static const cyaml_strval_t roles[] = {
    {"viewer", FX_TOKEN_VIEWER}, {"operator", FX_TOKEN_OPERATOR}};

static const cyaml_schema_field_t entry_fields[] = {
    CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_POINTER, entry, name, 1, FX_NAME_MAX_BYTES),
    CYAML_FIELD_ENUM("role", CYAML_FLAG_STRICT, entry, role, roles, CYAML_ARRAY_LEN(roles)),
    CYAML_FIELD_STRING_PTR(
        "sha256",
        CYAML_FLAG_POINTER,
        entry,
        sha256,
        FX_TOKEN_HASH_BYTES * 2,
        FX_TOKEN_HASH_BYTES * 2),
    CYAML_FIELD_END,
};

static const cyaml_schema_value_t entry_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, entry, entry_fields)};

static const cyaml_schema_value_t list_schema = {
    CYAML_VALUE_SEQUENCE(CYAML_FLAG_POINTER, entry, &entry_schema, 0, FX_TOKEN_MAX)};

static fx_code
convert(const entry *from, size_t index, fx_token *out_token, fx_err *err)
{
    fx_token token = {.role = from->role};
    fx_code code = fx_name_parse(from->name, "a token's name", &token.name, err);
    if (code == FX_OK) {
        code = fx_hex_decode(from->sha256, token.hash, sizeof token.hash, err);
    }
    if (code != FX_OK) {
        return fx_err_wrap(err, "reading token %zu (\"%.63s\")", index + 1, from->name);
    }
    *out_token = token;
    return FX_OK;
}

static fx_code
convert_all(const entry *entries, size_t count, fx_tokens *out_tokens, fx_err *err)
{
    fx_tokens tokens = {.items = calloc(count + 1, sizeof *tokens.items), .count = count};
    FX_ASSERT(tokens.items != NULL);
    for (size_t i = 0; i < count; i++) {
        fx_code code = convert(&entries[i], i, &tokens.items[i], err);
        if (code != FX_OK) {
            fx_tokens_free(&tokens);
            return code;
        }
    }
    *out_tokens = tokens;
    return FX_OK;
}

fx_code
fx_tokens_load(const char *path, fx_tokens *out_tokens, fx_err *err)
{
    void *data = NULL;
    unsigned count = 0;
    fx_code code = fx_yaml_load(path, &list_schema, &data, &count, err);
    if (code != FX_OK) {
        return fx_err_wrap(
            err,
            "reading the API's tokens: a list of {name, role: viewer|operator, sha256: 64 digits}");
    }
    code = convert_all(data, count, out_tokens, err);
    fx_yaml_free(&list_schema, data, count);
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "in \"%.160s\"", path);
}

void
fx_tokens_free(fx_tokens *tokens)
{
    free(tokens->items);
    *tokens = (fx_tokens){.items = NULL};
}
