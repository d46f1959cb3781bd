#include "agent/source/postgres/format/settings.h"

#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"

/* Whatever of these the source had must not lead the restored server. */
static const char *const replaced[] = {
    "restore_command",
    "recovery_target",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_xid",
    "recovery_target_lsn",
    "recovery_target_inclusive",
    "recovery_target_timeline",
    "recovery_target_action",
    "recovery_min_apply_delay",
    "recovery_end_command",
    "archive_cleanup_command",
    "primary_conninfo",
    "primary_slot_name",
    "promote_trigger_file",
};

static bool
is_replaced(const char *line, size_t length)
{
    size_t name = 0;
    while (name < length && (line[name] == '_' || (line[name] >= 'a' && line[name] <= 'z'))) {
        name++;
    }
    for (size_t at = 0; at < sizeof replaced / sizeof replaced[0]; at++) {
        if (strlen(replaced[at]) == name && memcmp(replaced[at], line, name) == 0) {
            return true;
        }
    }
    return false;
}

static fx_code
keep_others(fx_bytes settings, fx_buf *out, fx_err *err)
{
    const char *at = settings.data;
    size_t left = settings.size_bytes;
    while (left > 0) {
        const char *newline = memchr(at, '\n', left);
        const size_t length = newline != NULL ? (size_t)(newline - at) : left;
        const size_t taken = newline != NULL ? length + 1 : length;
        if (!is_replaced(at, length) && (fx_buf_append(out, at, length, err) != FX_OK ||
                                         fx_buf_append(out, "\n", 1, err) != FX_OK)) {
            return err->code;
        }
        at += taken;
        left -= taken;
    }
    return FX_OK;
}

/*
 * One word of the shell's command inside a quoted setting: the shell takes '…' with '\'' for a
 * quote, the server doubles quotes and backslashes, and %% stands for a percent sign.
 */
static fx_code
append_word(fx_buf *out, const char *word, fx_err *err)
{
    if (fx_buf_append_text(out, "''", err) != FX_OK) {
        return err->code;
    }
    for (const char *c = word; *c != '\0'; c++) {
        const char *text = NULL;
        const char single[2] = {*c, '\0'};
        switch (*c) {
        case '\n':
        case '\r':
            return fx_fail(
                err, FX_ERR_INVALID, "a path with a line break cannot stand in a setting");
        case '\'':
            text = "''\\\\''''";
            break;
        case '\\':
            text = "\\\\";
            break;
        case '%':
            text = "%%";
            break;
        default:
            text = single;
            break;
        }
        if (fx_buf_append_text(out, text, err) != FX_OK) {
            return err->code;
        }
    }
    return fx_buf_append_text(out, "''", err);
}

static fx_code
append_command(fx_buf *out, const fx_recovery *recovery, fx_err *err)
{
    if (fx_buf_append_text(out, "restore_command = '", err) != FX_OK ||
        append_word(out, recovery->agent, err) != FX_OK ||
        fx_buf_append_text(out, " wal-get %f %p --system ", err) != FX_OK ||
        append_word(out, recovery->system, err) != FX_OK ||
        fx_buf_append_text(out, " --repo ", err) != FX_OK ||
        append_word(out, recovery->url, err) != FX_OK ||
        fx_buf_append_text(out, " --key-file ", err) != FX_OK ||
        append_word(out, recovery->key_file, err) != FX_OK) {
        return err->code;
    }
    return fx_buf_append_text(out, "'\n", err);
}

/* Microseconds, as the server counts: "2026-11-23 01:02:03.456789+00". */
static fx_code
append_time(fx_buf *out, fx_wall when, fx_err *err)
{
    char text[FX_WALL_TEXT_BYTES];
    fx_wall_format(when, text);
    FX_ASSERT(when.ns > 0);
    const unsigned us = (unsigned)(when.ns / 1000 % 1000000);
    return fx_buf_append_format(
        out, err, "recovery_target_time = '%.10s %.8s.%06u+00'\n", text, text + 11, us);
}

fx_code
fx_recovery_settings(
    fx_bytes old_settings, const fx_recovery *recovery, fx_buf *out_settings, fx_err *err)
{
    FX_ASSERT(recovery->agent != NULL && recovery->url != NULL);
    FX_ASSERT(recovery->key_file != NULL && recovery->system != NULL);
    /* The target comes last: an empty one after it would unset it again. */
    static const char fixed[] = "# written when Fortress restored this data directory\n"
                                "primary_conninfo = ''\n"
                                "primary_slot_name = ''\n"
                                "recovery_end_command = ''\n"
                                "archive_cleanup_command = ''\n"
                                "recovery_min_apply_delay = 0\n"
                                "recovery_target = ''\n"
                                "recovery_target_name = ''\n"
                                "recovery_target_xid = ''\n"
                                "recovery_target_lsn = ''\n"
                                "recovery_target_inclusive = on\n"
                                "recovery_target_timeline = 'latest'\n"
                                "recovery_target_action = 'promote'\n";
    if (keep_others(old_settings, out_settings, err) != FX_OK ||
        fx_buf_append_text(out_settings, fixed, err) != FX_OK ||
        append_command(out_settings, recovery, err) != FX_OK) {
        return fx_err_wrap(err, "writing the recovery settings");
    }
    if (recovery->target_time.ns == 0) {
        return fx_buf_append_text(out_settings, "recovery_target_time = ''\n", err);
    }
    return append_time(out_settings, recovery->target_time, err);
}
