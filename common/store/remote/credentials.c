#include "common/store/remote/credentials.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/file.h"

enum { FILE_MAX_BYTES = 256 * 1024, PATH_MAX_BYTES = 1024 };

static const char blanks[] = " \t\r";

/* The environment does not change after the start; "" is as good as none. */
static const char *
variable(const char *name)
{
    const char *value = getenv(name); /* NOLINT(concurrency-mt-unsafe): see above */
    return value != NULL && value[0] != '\0' ? value : NULL;
}

static fx_bytes
trimmed(const char *begin, const char *end)
{
    while (begin < end && strchr(blanks, *begin) != NULL) {
        begin++;
    }
    while (end > begin && strchr(blanks, end[-1]) != NULL) {
        end--;
    }
    return (fx_bytes){begin, (size_t)(end - begin)};
}

static bool
is_text(fx_bytes bytes, const char *text)
{
    return bytes.size_bytes == strlen(text) && memcmp(bytes.data, text, bytes.size_bytes) == 0;
}

bool
fx_credentials_find(const char *content, const char *section, const char *name, fx_bytes *out_value)
{
    bool is_ours = false;
    for (const char *line = content; *line != '\0';) {
        const char *end = line + strcspn(line, "\n");
        fx_bytes all = trimmed(line, end);
        const char *text = all.data;
        const char *equals = memchr(text, '=', all.size_bytes);
        if (all.size_bytes > 1 && text[0] == '[' && text[all.size_bytes - 1] == ']') {
            is_ours = is_text(trimmed(text + 1, text + all.size_bytes - 1), section);
        } else if (
            is_ours && equals != NULL && text[0] != '#' && text[0] != ';' &&
            is_text(trimmed(text, equals), name)) {
            *out_value = trimmed(equals + 1, text + all.size_bytes);
            return out_value->size_bytes > 0;
        }
        line = *end == '\0' ? end : end + 1;
    }
    return false;
}

/* false: there is no name of a file to read. */
static bool
find_path(char out_path[PATH_MAX_BYTES])
{
    const char *given = variable("FORTRESS_CREDENTIALS_FILE");
    if (given == NULL) {
        given = variable("AWS_SHARED_CREDENTIALS_FILE");
    }
    const char *home = variable("HOME");
    int length = 0;
    if (given != NULL) {
        length = snprintf(out_path, PATH_MAX_BYTES, "%s", given);
    } else if (home != NULL) {
        length = snprintf(out_path, PATH_MAX_BYTES, "%s/.aws/credentials", home);
    }
    return length > 0 && length < PATH_MAX_BYTES;
}

static fx_code
read_file(const char *path, fx_buf *content, fx_err *err)
{
    struct stat info;
    if (stat(path, &info) == 0 && (info.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        return fx_fail(
            err,
            FX_ERR_DENIED,
            "could not use the credentials in %.120s: others than its owner may read it; run chmod "
            "600 on it",
            path);
    }
    if (fx_file_read(path, content, err) != FX_OK) {
        return fx_err_wrap(err, "reading the credentials");
    }
    if (strlen(fx_buf_text(content)) != content->size_bytes) {
        return fx_fail(
            err, FX_ERR_INVALID, "could not use the credentials in %.120s: not a text", path);
    }
    return FX_OK;
}

static fx_code
check_all(const fx_credential_name *names, size_t count, const fx_credentials *found, fx_err *err)
{
    for (size_t i = 0; i < count; i++) {
        if (names[i].is_required && found->values[i] == NULL) {
            return fx_fail(
                err,
                FX_ERR_NOT_FOUND,
                "could not find credentials: %.120s has no %s",
                found->origin,
                names[i].line);
        }
    }
    return FX_OK;
}

static bool
take_environment(const fx_credential_name *names, size_t count, fx_credentials *to)
{
    bool is_any = false;
    for (size_t i = 0; i < count; i++) {
        const char *value = variable(names[i].variable);
        if (value != NULL && strlen(value) <= FX_CREDENTIAL_MAX_BYTES) {
            to->values[i] = fx_secret_new((fx_bytes){value, strlen(value)});
            is_any = true;
        }
    }
    (void)snprintf(to->origin, sizeof to->origin, "the environment");
    return is_any;
}

static fx_code
take_file(const fx_credential_name *names, size_t count, fx_credentials *to, fx_err *err)
{
    char path[PATH_MAX_BYTES];
    fx_buf content;
    fx_buf_init(&content, FILE_MAX_BYTES);
    if (!find_path(path)) {
        return fx_fail(
            err,
            FX_ERR_NOT_FOUND,
            "could not find credentials: set %s, or FORTRESS_CREDENTIALS_FILE",
            names[0].variable);
    }
    (void)snprintf(to->origin, sizeof to->origin, "%.150s", path);
    fx_code code = read_file(path, &content, err);
    if (code == FX_ERR_NOT_FOUND) {
        code = fx_fail(
            err,
            FX_ERR_NOT_FOUND,
            "could not find credentials: set %s, or FORTRESS_CREDENTIALS_FILE; there is no %.100s",
            names[0].variable,
            path);
    }
    const char *section = variable("AWS_PROFILE");
    for (size_t i = 0; code == FX_OK && i < count; i++) {
        fx_bytes value = {0};
        const char *from = section == NULL ? "default" : section;
        if (fx_credentials_find(fx_buf_text(&content), from, names[i].line, &value) &&
            value.size_bytes <= FX_CREDENTIAL_MAX_BYTES) {
            to->values[i] = fx_secret_new(value);
        }
    }
    if (content.size_bytes > 0) {
        fx_wipe(content.data, content.size_bytes);
    }
    fx_buf_free(&content);
    return code;
}

fx_code
fx_credentials_load(
    const fx_credential_name *names, size_t count, fx_credentials *out_credentials, fx_err *err)
{
    FX_ASSERT(count > 0 && count <= FX_CREDENTIAL_MAX);
    fx_credentials found = {0};
    fx_code code = FX_OK;
    if (!take_environment(names, count, &found)) {
        code = take_file(names, count, &found, err);
    }
    if (code == FX_OK) {
        code = check_all(names, count, &found, err);
    }
    if (code != FX_OK) {
        fx_credentials_clear(&found);
        return code;
    }
    *out_credentials = found;
    return FX_OK;
}

void
fx_credentials_clear(fx_credentials *credentials)
{
    for (size_t i = 0; i < FX_CREDENTIAL_MAX; i++) {
        fx_secret_free(FX_TAKE(credentials->values[i]));
    }
}
