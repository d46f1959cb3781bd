#include "common/keyring/passphrase.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "common/keyring/keyring.h"

static const char *
environment(const char *name)
{
    const char *value = getenv(name); /* NOLINT(concurrency-mt-unsafe): read at start */
    return value == NULL || value[0] == '\0' ? NULL : value;
}

static bool
has_terminal(void)
{
    return isatty(STDIN_FILENO) == 1 && isatty(STDERR_FILENO) == 1;
}

bool
fx_passphrase_is_given(void)
{
    return environment("FORTRESS_PASSPHRASE_FILE") != NULL ||
           environment("FORTRESS_PASSPHRASE_FD") != NULL || has_terminal();
}

/* Up to the end of the first line or of the input. */
static fx_code
read_line(int fd, char room[FX_PASSPHRASE_MAX_BYTES], size_t *out_bytes, fx_err *err)
{
    size_t size_bytes = 0;
    while (true) {
        char byte = 0;
        ssize_t got = read(fd, &byte, 1);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return fx_fail_errno(err, errno, "could not read the passphrase");
        }
        if (got == 0 || byte == '\n') {
            *out_bytes = size_bytes;
            return FX_OK;
        }
        if (size_bytes == FX_PASSPHRASE_MAX_BYTES) {
            return fx_fail(err, FX_ERR_INVALID, "could not use the passphrase: it is too long");
        }
        room[size_bytes++] = byte;
    }
}

/* Without echo; the terminal is as before afterwards. */
static fx_code
ask(const char *question, const char *label, char room[], size_t *out_bytes, fx_err *err)
{
    struct termios before;
    (void)fprintf(stderr, "%s of \"%s\": ", question, label);
    (void)fflush(stderr);
    if (tcgetattr(STDIN_FILENO, &before) != 0) {
        return fx_fail_errno(err, errno, "could not read the passphrase from the terminal");
    }
    struct termios quiet = before;
    quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
    if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet) != 0) {
        return fx_fail_errno(err, errno, "could not read the passphrase from the terminal");
    }
    fx_code code = read_line(STDIN_FILENO, room, out_bytes, err);
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    (void)fputc('\n', stderr);
    return code;
}

static fx_code
read_terminal(const char *label, bool is_new, char room[], size_t *out_bytes, fx_err *err)
{
    char again[FX_PASSPHRASE_MAX_BYTES];
    size_t again_bytes = 0;
    if (ask(is_new ? "New passphrase" : "Passphrase", label, room, out_bytes, err) != FX_OK ||
        !is_new) {
        return err->code;
    }
    fx_code code = ask("Once more, the passphrase", label, again, &again_bytes, err);
    if (code == FX_OK && (again_bytes != *out_bytes || memcmp(again, room, again_bytes) != 0)) {
        code = fx_fail(err, FX_ERR_INVALID, "could not use the passphrase: the two differ");
    }
    fx_wipe(again, sizeof again);
    return code;
}

static fx_code
read_descriptor(const char *text, char room[], size_t *out_bytes, fx_err *err)
{
    char *end = NULL;
    long fd = strtol(text, &end, 10);
    if (*end != '\0' || fd < 0 || fd > INT32_MAX) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not read the passphrase: \"%.20s\" is no file descriptor",
            text);
    }
    return read_line((int)fd, room, out_bytes, err);
}

static fx_code
read_file(const char *path, char room[], size_t *out_bytes, fx_err *err)
{
    FX_BUF_AUTO text;
    fx_buf_init(&text, FX_PASSPHRASE_MAX_BYTES);
    fx_code code = fx_secret_file_read(path, &text, err);
    if (code == FX_OK) {
        const char *line = fx_buf_text(&text);
        *out_bytes = strcspn(line, "\n");
        memcpy(room, line, *out_bytes);
    }
    if (text.data != NULL) {
        fx_wipe(text.data, text.capacity_bytes);
    }
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "reading the passphrase");
}

static fx_code
read_any(const char *label, bool is_new, char room[], size_t *out_bytes, fx_err *err)
{
    static const char *const names[][2] = {
        {"FORTRESS_NEW_PASSPHRASE_FILE", "FORTRESS_NEW_PASSPHRASE_FD"},
        {"FORTRESS_PASSPHRASE_FILE", "FORTRESS_PASSPHRASE_FD"},
    };
    for (size_t i = is_new ? 0 : 1; i < 2; i++) {
        const char *path = environment(names[i][0]);
        const char *fd = environment(names[i][1]);
        if (path != NULL) {
            return read_file(path, room, out_bytes, err);
        }
        if (fd != NULL) {
            return read_descriptor(fd, room, out_bytes, err);
        }
    }
    if (has_terminal()) {
        return read_terminal(label, is_new, room, out_bytes, err);
    }
    return fx_fail(
        err,
        FX_ERR_NOT_FOUND,
        "could not ask for the passphrase of \"%s\": no terminal; set FORTRESS_PASSPHRASE_FILE",
        label);
}

fx_code
fx_passphrase_read(const char *label, bool is_new, fx_secret **out_passphrase, fx_err *err)
{
    char room[FX_PASSPHRASE_MAX_BYTES + 1];
    size_t size_bytes = 0;
    *err = (fx_err){0};
    fx_code code = read_any(label, is_new, room, &size_bytes, err);
    if (code == FX_OK && size_bytes < (is_new ? FX_PASSPHRASE_MIN_BYTES : 1)) {
        code = fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use the passphrase: it has %zu bytes, at least %d are needed",
            size_bytes,
            is_new ? FX_PASSPHRASE_MIN_BYTES : 1);
    }
    if (code == FX_OK) {
        *out_passphrase = fx_secret_new((fx_bytes){room, size_bytes});
    }
    fx_wipe(room, sizeof room);
    return code;
}
