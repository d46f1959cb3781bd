#include "agent/verbs/report.h"

#include "agent/verbs/exit_code.h"

#include <signal.h>

enum { EVENT_MAX_BYTES = 1024 * 1024 };

static atomic_bool is_cancelled; /* set by the signal handler */

static void
on_signal(int number)
{
    (void)number;
    atomic_store(&is_cancelled, true);
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

static void
on_progress(void *ctx, const fx_progress *progress)
{
    const fx_report *report = ctx;
    fx_display_set(report->display, progress);
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
    fx_display_hold(report->display);
    (void)fputs("fortress-agent: warning: ", stderr);
    fx_print_safe(stderr, path);
    (void)fputs(": ", stderr);
    fx_print_safe(stderr, reason);
    (void)fputc('\n', stderr);
    fx_display_release(report->display);
}

void
fx_report_init(fx_report *report, bool is_json)
{
    *report = (fx_report){
        .is_json = is_json,
        .events = {.progress = on_progress, .warning = on_warning, .cancel = &is_cancelled},
    };
    report->events.ctx = report;
    /* Once: a second signal ends the process at once. */
    const struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

void
fx_report_show_progress(fx_report *report, const fx_options *options)
{
    FX_ASSERT(report->display == NULL);
    report->display = options->no_progress ? NULL : fx_display_new(report->is_json);
}

void
fx_report_end_progress(fx_report *report)
{
    fx_display_stop(report->display);
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
    const char *advice = fx_exit_advice(err);
    if (advice != NULL) {
        (void)fprintf(stderr, "fortress-agent: %s\n", advice);
    }
}

void
fx_report_tell(fx_report *report, const char *name, const char *text)
{
    if (report->is_json) {
        fx_json *event = fx_json_object();
        fx_json_set_text(event, name, text);
        fx_report_event(report, name, event);
        return;
    }
    fx_display_hold(report->display);
    (void)printf("%s: ", name);
    fx_print_safe(stdout, text);
    (void)putchar('\n');
    (void)fflush(stdout);
    fx_display_release(report->display);
}

void
fx_report_damage(void *ctx, const char *text)
{
    fx_report_tell(ctx, "damage", text);
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
    fx_display_free(report->display);
    report->display = NULL;
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
        if (fx_exit_advice(err) != NULL) {
            fx_json_set_text(event, "advice", fx_exit_advice(err));
        }
    }
    fx_report_event(report, "summary", event);
    return status;
}
