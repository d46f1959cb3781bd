#include "common/repository/key.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/hex.h"

enum { FILE_MAX_BYTES = 4096, CHECK_BYTES = 8, BODY_MAX_BYTES = 512 };

static const char form[] = "fortress repository key 1\nscope-private %s\nid-key %s\n";

/* The first bytes of the digest of all that comes before: tells a mistyped key from a wrong one. */
static void
check_of(const char *body, char out_hex[2 * CHECK_BYTES + 1])
{
    unsigned char digest[FX_SHA256_BYTES];
    fx_sha256((fx_bytes){body, strlen(body)}, digest);
    fx_hex_encode((fx_bytes){digest, CHECK_BYTES}, out_hex);
}

static bool
write_whole(int fd, fx_bytes content)
{
    const char *data = content.data;
    size_t left_bytes = content.size_bytes;
    while (left_bytes > 0) {
        ssize_t put_bytes = write(fd, data, left_bytes);
        if (put_bytes < 0 && errno != EINTR) {
            return false;
        }
        if (put_bytes > 0) {
            data += put_bytes;
            left_bytes -= (size_t)put_bytes;
        }
    }
    return fsync(fd) == 0;
}

/*
 * Written aside and linked to its name: the name is free or the whole key's, and link(2) replaces
 * nothing, not even a symbolic link that leads nowhere.
 */
static fx_code
create_file(const char *path, fx_bytes content, fx_err *err)
{
    char temporary[PATH_MAX];
    int length = snprintf(temporary, sizeof temporary, "%s.XXXXXX", path);
    if (length < 0 || (size_t)length >= sizeof temporary) {
        return fx_fail(err, FX_ERR_INVALID, "could not create key \"%.80s\": too long", path);
    }
    int fd = mkostemp(temporary, O_CLOEXEC); /* mode 0600 */
    if (fd < 0) {
        return fx_fail_errno(err, errno, "could not create key \"%s\"", path);
    }
    fx_code code = FX_OK;
    if (!write_whole(fd, content)) {
        code = fx_fail_errno(err, errno, "could not write key \"%s\"", path);
    }
    (void)close(fd);
    if (code == FX_OK && link(temporary, path) != 0) {
        code =
            errno == EEXIST
                ? fx_fail(err, FX_ERR_EXISTS, "could not create key \"%s\": the file exists", path)
                : fx_fail_errno(err, errno, "could not create key \"%s\"", path);
    }
    (void)unlink(temporary);
    return code == FX_OK ? fx_file_sync_parent(path, err) : code;
}

fx_code
fx_repository_key_create(const char *path, fx_err *err)
{
    unsigned char keys[2][FX_KEY_BYTES];
    char hex[2][2 * FX_KEY_BYTES + 1];
    for (size_t i = 0; i < 2; i++) {
        fx_crypto_random(keys[i], sizeof keys[i]);
        fx_hex_encode((fx_bytes){keys[i], sizeof keys[i]}, hex[i]);
    }
    char body[BODY_MAX_BYTES];
    char check[2 * CHECK_BYTES + 1];
    (void)snprintf(body, sizeof body, form, hex[0], hex[1]);
    check_of(body, check);
    size_t used = strlen(body);
    (void)snprintf(body + used, sizeof body - used, "check %s\n", check);

    fx_code code = create_file(path, (fx_bytes){body, strlen(body)}, err);
    fx_wipe(keys, sizeof keys);
    fx_wipe(hex, sizeof hex);
    fx_wipe(body, sizeof body);
    return code;
}

/* The rest of the line after "name ", in `room`; NULL if the line is another. */
static const char *
take_line(const char *text, const char *name, char *room, size_t room_bytes)
{
    size_t name_bytes = strlen(name);
    if (strncmp(text, name, name_bytes) != 0) {
        return NULL;
    }
    const char *end = strchr(text, '\n');
    if (end == NULL || (size_t)(end - text) < name_bytes) {
        return NULL;
    }
    size_t value_bytes = (size_t)(end - text) - name_bytes;
    if (value_bytes >= room_bytes) {
        return NULL;
    }
    memcpy(room, text + name_bytes, value_bytes);
    room[value_bytes] = '\0';
    return end + 1;
}

fx_code
fx_repository_key_parse(const char *text, fx_repository_key *out_key, fx_err *err)
{
    char value[2][2 * FX_KEY_BYTES + 1] = {0};
    char check[2 * CHECK_BYTES + 1] = "";
    char expected[2 * CHECK_BYTES + 1] = "";
    char none[1];
    char body[BODY_MAX_BYTES] = "";
    fx_repository_key key = {0};
    fx_code code = FX_OK;
    const char *at = take_line(text, "fortress repository key 1", none, sizeof none);
    at = at == NULL ? NULL : take_line(at, "scope-private ", value[0], sizeof value[0]);
    at = at == NULL ? NULL : take_line(at, "id-key ", value[1], sizeof value[1]);
    at = at == NULL ? NULL : take_line(at, "check ", check, sizeof check);
    if (at == NULL || *at != '\0' ||
        fx_hex_decode(value[0], key.scope_private, sizeof key.scope_private, err) != FX_OK ||
        fx_hex_decode(value[1], key.id_key, sizeof key.id_key, err) != FX_OK) {
        code = fx_fail(err, FX_ERR_INVALID, "could not read the key: not a repository key file");
    } else {
        (void)snprintf(body, sizeof body, form, value[0], value[1]);
        check_of(body, expected);
        if (strcmp(check, expected) != 0) {
            code =
                fx_fail(err, FX_ERR_INVALID, "could not read the key: a character of it is wrong");
        }
    }
    if (code == FX_OK) {
        fx_box_public(key.scope_private, key.scope_public);
        *out_key = key;
    }
    fx_wipe(body, sizeof body);
    fx_wipe(value, sizeof value);
    fx_wipe(&key, sizeof key);
    return code;
}

fx_code
fx_repository_key_load(const char *path, fx_repository_key **out_key, fx_err *err)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        return fx_fail_errno(err, errno, "could not open key file \"%s\"", path);
    }
    if ((info.st_mode & 077) != 0) {
        return fx_fail(
            err,
            FX_ERR_DENIED,
            "could not use key file \"%s\": others than its owner may read it; chmod 600 it",
            path);
    }
    FX_BUF_AUTO text;
    fx_buf_init(&text, FILE_MAX_BYTES);
    if (fx_file_read(path, &text, err) != FX_OK) {
        if (text.data != NULL) {
            fx_wipe(text.data, text.size_bytes);
        }
        return fx_err_wrap(err, "reading the key file");
    }
    fx_repository_key *key = calloc(1, sizeof *key);
    FX_ASSERT(key != NULL);
    fx_code code = fx_repository_key_parse(fx_buf_text(&text), key, err);
    if (text.data != NULL) {
        fx_wipe(text.data, text.size_bytes);
    }
    if (code != FX_OK) {
        fx_repository_key_free(key);
        return fx_err_wrap(err, "reading key file \"%s\"", path);
    }
    *out_key = key;
    return FX_OK;
}

void
fx_repository_key_free(fx_repository_key *key)
{
    if (key != NULL) {
        fx_wipe(key, sizeof *key);
        free(key);
    }
}
