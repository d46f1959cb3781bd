#include "agent/verbs/report.h"

#include "agent/verbs/exit_code.h"
#include "common/base/clock.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

enum { LINE_EVERY_MS = 200, EVENT_EVERY_MS = 1000, EVENT_MAX_BYTES = 1024 * 1024 };

static atomic_bool is_cancelled; /* set by the signal handler */

static void
on_signal(int number)
{
    (void)number;
    atomic_store(&is_cancelled, true);
}

void
fx_size_format(uint64_t size_bytes, char out_text[FX_SIZE_TEXT_BYTES])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double size = (double)size_bytes;
    size_t unit = 0;
    while (size >= 1024 && unit + 1 < sizeof units / sizeof *units) {
        size /= 1024;
        unit++;
    }
    (void)snprintf(
        out_text, FX_SIZE_TEXT_BYTES, unit == 0 ? "%.0f %s" : "%.1f %s", size, units[unit]);
}

void
fx_print_safe(FILE *out, const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        unsigned char byte = (unsigned char)*at;
        if (byte == '\n') {
            (void)fputs("\\n", out);
        } else if (byte < ' ' || byte == 0x7f) {
            (void)fprintf(out, "\\x%02x", (unsigned)byte);
        } else {
            (void)fputc(byte, out);
        }
    }
}

static void
clear_line(fx_report *report)
{
    if (report->has_line) {
        (void)fputs("\r\033[K", stderr);
        report->has_line = false;
    }
}

void
fx_report_event(fx_report *report, const char *name, fx_json *event)
{
    if (report->is_json) {
        fx_err err = {0};
        FX_BUF_AUTO text;
        fx_buf_init(&text, EVENT_MAX_BYTES);
        fx_json_set_text(event, "event", name);
        if (fx_json_print(event, 0, &text, &err) == FX_OK) {
            (void)printf("%s\n", fx_buf_text(&text));
            (void)fflush(stdout);
        }
    }
    fx_json_free(event);
}

/* What a person and a program like to know besides: bytes a second so far, seconds to go. */
typedef struct pace {
    uint64_t bytes_per_s;
    int64_t left_s; /* -1: not known */
} pace;

static pace
pace_of(const fx_report *report, const fx_progress *progress, fx_mono now)
{
    int64_t took_ms = fx_dur_ms(fx_mono_since(now, report->began));
    uint64_t bytes_per_s = took_ms > 0 ? progress->done_bytes * 1000 / (uint64_t)took_ms : 0;
    bool is_known = bytes_per_s > 0 && progress->total_bytes >= progress->done_bytes &&
                    progress->total_bytes > 0;
    return (pace){
        .bytes_per_s = bytes_per_s,
        .left_s =
            is_known ? (int64_t)((progress->total_bytes - progress->done_bytes) / bytes_per_s) : -1,
    };
}

static void
show_line(fx_report *report, const fx_progress *progress, fx_mono now)
{
    pace at = pace_of(report, progress, now);
    char done[FX_SIZE_TEXT_BYTES];
    fx_size_format(progress->done_bytes, done);
    (void)fprintf(
        stderr,
        "\r\033[K%llu %s, %s",
        (unsigned long long)progress->file_count,
        progress->what == NULL ? "files" : progress->what,
        done);
    if (progress->total_bytes > 0) {
        char total[FX_SIZE_TEXT_BYTES];
        fx_size_format(progress->total_bytes, total);
        (void)fprintf(stderr, " of %s", total);
    }
    fx_size_format(at.bytes_per_s, done);
    (void)fprintf(stderr, ", %s/s", done);
    if (at.left_s >= 0) {
        (void)fprintf(
            stderr, ", %lld:%02lld left", (long long)at.left_s / 60, (long long)at.left_s % 60);
    }
    (void)fflush(stderr);
    report->has_line = true;
}

static void
on_progress(void *ctx, const fx_progress *progress)
{
    fx_report *report = ctx;
    if (!report->is_json && !report->is_terminal) {
        return;
    }
    fx_mono now = fx_clock_mono();
    int64_t every_ms = report->is_json ? EVENT_EVERY_MS : LINE_EVERY_MS;
    if (fx_dur_ms(fx_mono_since(now, report->last)) < every_ms) {
        return;
    }
    report->last = now;
    if (!report->is_json) {
        show_line(report, progress, now);
        return;
    }
    fx_json *event = fx_json_object();
    fx_json_set_int(event, "file_count", (int64_t)progress->file_count);
    fx_json_set_int(event, "done_bytes", (int64_t)progress->done_bytes);
    fx_json_set_int(event, "reused_bytes", (int64_t)progress->reused_bytes);
    fx_json_set_int(event, "total_bytes", (int64_t)progress->total_bytes);
    pace at = pace_of(report, progress, now);
    fx_json_set_int(event, "bytes_per_s", (int64_t)at.bytes_per_s);
    if (at.left_s >= 0) {
        fx_json_set_int(event, "left_s", at.left_s);
    }
    fx_report_event(report, "progress", event);
}

static void
on_warning(void *ctx, const char *path, const char *reason)
{
    fx_report *report = ctx;
    report->warning_count++;
    if (report->is_json) {
        fx_json *event = fx_json_object();
        fx_json_set_text(event, "path", path);
        fx_json_set_text(event, "reason", reason);
        fx_report_event(report, "warning", event);
        return;
    }
    clear_line(report);
    (void)fputs("fortress-agent: warning: ", stderr);
    fx_print_safe(stderr, path);
    (void)fputs(": ", stderr);
    fx_print_safe(stderr, reason);
    (void)fputc('\n', stderr);
}

void
fx_report_init(fx_report *report, bool is_json)
{
    *report = (fx_report){
        .is_json = is_json,
        .is_terminal = isatty(STDERR_FILENO) == 1,
        .began = fx_clock_mono(),
        .last = fx_clock_mono(),
        .events = {.progress = on_progress, .warning = on_warning, .cancel = &is_cancelled},
    };
    report->events.ctx = report;
    /* Once: a second signal ends the process at once. */
    const struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

static void
print_failure(const fx_err *err)
{
    (void)fputs("fortress-agent: ", stderr);
    fx_print_safe(stderr, err->message);
    if (err->context[0] != '\0') {
        (void)fputs(" (", stderr);
        fx_print_safe(stderr, err->context);
        (void)fputc(')', stderr);
    }
    (void)fputc('\n', stderr);
}

int
fx_report_end(fx_report *report, const fx_err *err, fx_json *summary)
{
    bool has_failed = err != NULL && err->code != FX_OK;
    int status = FX_EXIT_OK;
    const char *result = "done";
    if (has_failed) {
        status = (int)fx_exit_of(err->code);
        result = "failed";
    } else if (report->warning_count > 0) {
        status = FX_EXIT_WARNINGS;
        result = "warnings";
    }
    clear_line(report);
    if (has_failed) {
        print_failure(err);
    }
    if (!report->is_json) {
        fx_json_free(summary);
        return status;
    }
    fx_json *event = summary == NULL ? fx_json_object() : summary;
    fx_json_set_text(event, "result", result);
    fx_json_set_int(event, "exit_code", status);
    fx_json_set_int(event, "warning_count", report->warning_count);
    if (has_failed) {
        fx_json_set_text(event, "code", fx_code_name(err->code));
        fx_json_set_text(event, "error", err->message);
        fx_json_set_text(event, "context", err->context);
    }
    fx_report_event(report, "summary", event);
    return status;
}
