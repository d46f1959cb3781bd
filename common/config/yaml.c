#include "common/config/yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"

enum { COMPLAINT_MAX_BYTES = 160 };

/* cyaml logs what is wrong first, then where, from the inside out. */
typedef struct complaint {
    char what[COMPLAINT_MAX_BYTES];
    char where[COMPLAINT_MAX_BYTES]; /* "in mapping field 'x'": the innermost */
    unsigned line;
} complaint;

static void
trim(char *text)
{
    text[strcspn(text, "\r\n")] = '\0';
}

static void note(cyaml_log_t level, void *ctx, const char *fmt, va_list args) FX_PRINTF(3, 0);

static void
note(cyaml_log_t level, void *ctx, const char *fmt, va_list args)
{
    complaint *first = ctx;
    if (level < CYAML_LOG_ERROR) {
        return;
    }
    char text[COMPLAINT_MAX_BYTES];
    (void)vsnprintf(text, sizeof text, fmt, args);
    trim(text);
    const char *line = strstr(text, "(line: ");
    if (first->line == 0 && line != NULL) {
        first->line = (unsigned)strtoul(line + strlen("(line: "), NULL, 10);
        const char *begin = text + strspn(text, " ");
        (void)snprintf(first->where, sizeof first->where, "%.*s", (int)(line - begin), begin);
    } else if (first->what[0] == '\0') {
        const char *begin = strncmp(text, "Load: ", 6) == 0 ? text + 6 : text;
        (void)snprintf(first->what, sizeof first->what, "%s", begin);
    }
}

static cyaml_config_t
settings(complaint *first)
{
    return (cyaml_config_t){
        .log_fn = note,
        .log_ctx = first,
        .mem_fn = cyaml_mem,
        .log_level = CYAML_LOG_ERROR,
        .flags = CYAML_CFG_NO_ALIAS,
    };
}

fx_code
fx_yaml_load(
    const char *path,
    const cyaml_schema_value_t *schema,
    void **out_data,
    unsigned *out_count,
    fx_err *err)
{
    FX_ASSERT(schema != NULL);
    FX_BUF_AUTO content;
    fx_buf_init(&content, FX_YAML_FILE_MAX_BYTES);
    if (fx_file_read(path, &content, err) != FX_OK) {
        return fx_err_wrap(err, "reading the configuration");
    }
    if (content.size_bytes == 0) {
        return fx_fail(err, FX_ERR_INVALID, "could not read \"%s\": it is empty", path);
    }
    complaint first = {.line = 0};
    cyaml_config_t config = settings(&first);
    void *data = NULL;
    cyaml_err_t result =
        cyaml_load_data(content.data, content.size_bytes, &config, schema, &data, out_count);
    if (result != CYAML_OK) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not read \"%s\": after line %u %s: %s",
            path,
            first.line, /* of what cyaml had read last */
            first.where,
            first.what[0] != '\0' ? first.what : cyaml_strerror(result));
    }
    if (data == NULL && out_count == NULL) { /* blanks or comments only */
        return fx_fail(err, FX_ERR_INVALID, "could not read \"%s\": there is nothing in it", path);
    }
    *out_data = data;
    return FX_OK;
}

void
fx_yaml_free(const cyaml_schema_value_t *schema, void *data, unsigned count)
{
    complaint first = {.line = 0};
    cyaml_config_t config = settings(&first);
    if (data != NULL) {
        cyaml_err_t result = cyaml_free(&config, schema, data, count);
        FX_ASSERT(result == CYAML_OK);
    }
}

char *
fx_yaml_text(const char *text)
{
    size_t size_bytes = strlen(text) + 1;
    char *copy = cyaml_mem(NULL, NULL, size_bytes);
    FX_ASSERT(copy != NULL);
    memcpy(copy, text, size_bytes);
    return copy;
}

static void
resolve_after(const char *config_path, char **text, size_t prefix_bytes)
{
    const char *path = *text + prefix_bytes;
    const char *slash = strrchr(config_path, '/');
    if (path[0] == '/' || slash == NULL) {
        return;
    }
    size_t room = strlen(*text) + strlen(config_path) + 2;
    char *joined = cyaml_mem(NULL, NULL, room);
    FX_ASSERT(joined != NULL);
    (void)snprintf(
        joined,
        room,
        "%.*s%.*s/%s",
        (int)prefix_bytes,
        *text,
        (int)(slash - config_path),
        config_path,
        path);
    (void)cyaml_mem(NULL, *text, 0);
    *text = joined;
}

void
fx_yaml_resolve(const char *config_path, char **text)
{
    if (*text != NULL && **text != '\0') {
        resolve_after(config_path, text, 0);
    }
}

void
fx_yaml_resolve_url(const char *config_path, char **url)
{
    static const char posix[] = "posix:";
    if (*url == NULL || **url == '\0') {
        return;
    }
    if (strncmp(*url, posix, strlen(posix)) == 0) {
        resolve_after(config_path, url, strlen(posix));
    } else if (strchr(*url, ':') == NULL) {
        resolve_after(config_path, url, 0);
    }
}
