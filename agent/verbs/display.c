#include "agent/verbs/display.h"

#include "agent/verbs/pace.h"
#include "common/base/clock.h"
#include "common/base/monitor.h"
#include "common/json/json.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
    FIRST_LINE_MS = 50, /* what ends sooner needs none */
    LINE_EVERY_MS = 250,
    EVENT_EVERY_MS = 1000,
    EVENT_MAX_BYTES = 4096,
    COLUMNS = 80
};

struct fx_display {
    bool is_json;
    fx_mono created;
    pthread_mutex_t output; /* of the next three; never held together with `monitor` */
    fx_pace pace;
    bool has_line;
    bool is_ended;
    fx_monitor monitor; /* guards the rest: held by working threads, never while printing */
    fx_progress progress;
    bool has_begun;
    bool is_new; /* since it was last shown */
    bool is_running;
    bool is_stopping;
    pthread_t thread;
};

/* ---- showing
 * ------------------------------------------------------------------------------------ */

/* With `output` held. */
static void
erase_line(fx_display *display)
{
    if (display->has_line) {
        (void)fputs("\r\033[K", stderr);
        (void)fflush(stderr);
        display->has_line = false;
    }
}

static unsigned
terminal_columns(void)
{
    struct winsize size = {0};
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : COLUMNS;
}

static void
draw(fx_display *display, const fx_progress *progress)
{
    char line[FX_PROGRESS_LINE_BYTES];
    fx_progress_line(progress, &display->pace, terminal_columns(), line);
    (void)fprintf(stderr, "\r%s\033[K", line);
    (void)fflush(stderr);
    display->has_line = true;
}

static fx_json *
event_of(const fx_display *display, const fx_progress *progress)
{
    fx_json *event = fx_json_object();
    fx_json_set_text(event, "event", "progress");
    if (progress->step != NULL) {
        fx_json_set_text(event, "step", progress->step);
    }
    fx_json_set_text(event, "what", progress->what == NULL ? "files" : progress->what);
    fx_json_set_int(event, "count", (int64_t)progress->count);
    if (progress->total_count > 0) {
        fx_json_set_int(event, "total_count", (int64_t)progress->total_count);
    }
    fx_json_set_int(event, "done_bytes", (int64_t)progress->done_bytes);
    fx_json_set_int(event, "reused_bytes", (int64_t)progress->reused_bytes);
    if (progress->total_bytes > 0) {
        fx_json_set_int(event, "total_bytes", (int64_t)progress->total_bytes);
    }
    if (progress->total_bytes > 0 || progress->total_count > 0) {
        fx_json_set_bool(event, "total_is_estimate", progress->total_is_estimate);
    }
    fx_json_set_int(event, "bytes_per_s", (int64_t)display->pace.bytes_per_s);
    int64_t left_s = fx_pace_left_s(&display->pace, progress);
    if (left_s >= 0) {
        fx_json_set_int(event, "left_s", left_s);
    }
    fx_json_set_int(event, "took_ms", fx_dur_ms(fx_mono_since(fx_clock_mono(), display->created)));
    return event;
}

static void
tell(const fx_display *display, const fx_progress *progress)
{
    fx_err err = {0};
    FX_BUF_AUTO text;
    fx_buf_init(&text, EVENT_MAX_BYTES);
    FX_AUTO(fx_json) event = event_of(display, progress);
    if (fx_json_print(event, 0, &text, &err) == FX_OK) {
        (void)printf("%s\n", fx_buf_text(&text));
        (void)fflush(stdout);
    }
}

static void
show(fx_display *display, const fx_progress *progress)
{
    (void)pthread_mutex_lock(&display->output);
    if (!display->is_ended) {
        fx_pace_note(&display->pace, progress, fx_clock_mono());
        if (display->is_json) {
            tell(display, progress);
        } else {
            draw(display, progress);
        }
    }
    (void)pthread_mutex_unlock(&display->output);
}

/* ---- the thread
 * --------------------------------------------------------------------------------- */

/* An operation that counts nothing new for a while is shown all the same: it takes longer. */
static void *
run(void *ctx)
{
    fx_display *display = ctx;
    fx_dur every = FX_DUR_MS(display->is_json ? EVENT_EVERY_MS : LINE_EVERY_MS);
    fx_mono next =
        fx_mono_after(fx_clock_mono(), display->is_json ? every : FX_DUR_MS(FIRST_LINE_MS));
    fx_monitor_lock(&display->monitor);
    while (!display->is_stopping) {
        if (fx_monitor_wait_until(&display->monitor, next)) {
            continue;
        }
        fx_progress progress = display->progress;
        display->is_new = false;
        fx_monitor_unlock(&display->monitor);
        show(display, &progress);
        next = fx_mono_after(fx_clock_mono(), every);
        fx_monitor_lock(&display->monitor);
    }
    fx_monitor_unlock(&display->monitor);
    return NULL;
}

/* With the monitor held. Signals are for the threads that work: their calls must be interrupted. */
static void
start(fx_display *display)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    /* Without a thread the verb does its work and shows nothing. */
    display->is_running = pthread_create(&display->thread, NULL, run, display) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void
fx_display_set(fx_display *display, const fx_progress *progress)
{
    if (display == NULL) {
        return;
    }
    fx_monitor_lock(&display->monitor);
    display->progress = *progress;
    display->is_new = true;
    if (!display->has_begun && !display->is_stopping) {
        display->has_begun = true;
        fx_pace_note(&display->pace, progress, fx_clock_mono()); /* no thread yet: no lock */
        start(display);
    }
    fx_monitor_unlock(&display->monitor);
}

void
fx_display_hold(fx_display *display)
{
    if (display != NULL) {
        (void)pthread_mutex_lock(&display->output);
        erase_line(display);
    }
}

void
fx_display_release(fx_display *display)
{
    if (display != NULL) {
        (void)pthread_mutex_unlock(&display->output);
    }
}

void
fx_display_stop(fx_display *display)
{
    if (display == NULL) {
        return;
    }
    fx_monitor_lock(&display->monitor);
    bool was_running = display->is_running;
    bool is_new = display->is_new;
    fx_progress progress = display->progress;
    display->is_stopping = true;
    display->is_running = false;
    display->is_new = false;
    fx_monitor_wake(&display->monitor);
    fx_monitor_unlock(&display->monitor);
    if (was_running) {
        int result = pthread_join(display->thread, NULL);
        FX_ASSERT(result == 0);
    }
    if (is_new && display->is_json) {
        show(display, &progress);
    }
    (void)pthread_mutex_lock(&display->output);
    erase_line(display);
    display->is_ended = true;
    (void)pthread_mutex_unlock(&display->output);
}

/* ---- its life
 * ----------------------------------------------------------------------------------- */

static bool
is_terminal(void)
{
    const char *kind = getenv("TERM"); /* NOLINT(concurrency-mt-unsafe): one thread so far */
    return isatty(STDERR_FILENO) == 1 && (kind == NULL || strcmp(kind, "dumb") != 0);
}

fx_display *
fx_display_new(bool is_json)
{
    if (!is_json && !is_terminal()) {
        return NULL;
    }
    fx_display *display = calloc(1, sizeof *display);
    FX_ASSERT(display != NULL);
    display->is_json = is_json;
    display->created = fx_clock_mono();
    int result = pthread_mutex_init(&display->output, NULL);
    FX_ASSERT(result == 0);
    fx_monitor_init(&display->monitor);
    return display;
}

void
fx_display_free(fx_display *display)
{
    if (display == NULL) {
        return;
    }
    fx_display_stop(display);
    (void)pthread_mutex_destroy(&display->output);
    fx_monitor_deinit(&display->monitor);
    free(display);
}
