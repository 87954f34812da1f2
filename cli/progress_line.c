#include "cli/progress_line.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/format.h"
#include "cli/output.h"
#include "engine/base/clock.h"

enum {
    LOOK_MS = 250,
    EVENT_MS = 5000,
    SMOOTH_US = 3000000, /* how much of the past the rate remembers */
    COLUMNS_DEFAULT = 80,
    COLUMNS_MAX = 400,
};

/* --------------------------------------------------------------------------------- the pure part
 */

void progress_rate_look(struct progress_rate *rate, const struct progress_view *view,
                        int64_t now_us)
{
    int64_t elapsed_us = now_us - rate->seen_us;
    double now_per_second, weight;

    if (strcmp(rate->phase, view->phase) != 0 || view->done < rate->seen_done) {
        *rate = (struct progress_rate){.seen_us = now_us, .seen_done = view->done};
        snprintf(rate->phase, sizeof(rate->phase), "%s", view->phase);
        return;
    }
    if (elapsed_us <= 0)
        return;
    now_per_second = (double)(view->done - rate->seen_done) * 1e6 / (double)elapsed_us;
    weight = (double)elapsed_us / (double)(elapsed_us + SMOOTH_US);
    if (rate->per_second == 0)
        rate->per_second = now_per_second;
    else
        rate->per_second += (now_per_second - rate->per_second) * weight;
    rate->seen_us = now_us;
    rate->seen_done = view->done;
}

/* Cuts to `columns` characters of UTF-8, and makes control characters blank. */
static void append_clean(struct text *out, const char *string, int columns)
{
    for (; *string != '\0'; string++) {
        if (((unsigned char)*string & 0xc0) != 0x80 && columns-- <= 0)
            return;
        text_append_bytes(out, (unsigned char)*string < ' ' || *string == 0x7f ? " " : string, 1);
    }
}

static int percent_of(int64_t done, int64_t total)
{
    return done >= total ? 100 : (int)((double)done * 100.0 / (double)total);
}

void progress_line_render(const struct progress_view *view, const struct progress_rate *rate,
                          int columns, struct text *out)
{
    TEXT_AUTO line = {0};

    text_append(&line, view->phase);
    if (view->total > 0)
        text_appendf(&line, "  %d %%", percent_of(view->done, view->total));
    else if (view->done > 0)
        text_appendf(&line, "  %s", COUNT(view->done));
    if (view->reason[0] != '\0') {
        text_appendf(&line, "  waiting: %s", view->reason);
    } else if (rate->per_second >= 1) {
        text_appendf(&line, "  %s rows/s", COUNT((int64_t)rate->per_second));
        if (view->total > view->done)
            text_appendf(&line, "  %s left",
                         SECONDS((double)(view->total - view->done) / rate->per_second));
    }
    if (view->retries > 0)
        text_appendf(&line, "  %s retries", COUNT(view->retries));
    if (view->throttle[0] != '\0')
        text_appendf(&line, "  %s", view->throttle);
    append_clean(out, text_string(&line), columns);
}

/* ------------------------------------------------------------------------------------ the thread
 */

struct progress_line {
    struct cli *cli;
    char *job; /* for events; NULL before there is one */
    pthread_t thread;
    pthread_mutex_t mutex; /* guards over */
    pthread_cond_t changed;
    bool over;
    bool drawn; /* under the log's mutex */
    struct progress_rate rate;
    char event_phase[32];
    int64_t event_ms;
};

/* Under the log's mutex. */
static void wipe(void *arg)
{
    struct progress_line *line = arg;

    if (line->drawn)
        fputs("\r\033[K", stderr);
    line->drawn = false;
}

static int terminal_columns(void)
{
    struct winsize size;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20)
        return COLUMNS_DEFAULT;
    return size.ws_col < COLUMNS_MAX ? size.ws_col : COLUMNS_MAX;
}

static void draw(struct progress_line *line, const struct progress_view *view)
{
    TEXT_AUTO text = {0};

    progress_line_render(view, &line->rate, terminal_columns() - 1, &text);
    pthread_mutex_lock(&line->cli->log.mutex);
    fprintf(stderr, "\r%s\033[K", text_string(&text));
    fflush(stderr);
    line->drawn = true;
    pthread_mutex_unlock(&line->cli->log.mutex);
}

static void print_events(struct progress_line *line, const struct progress_view *view)
{
    int64_t now_ms = clock_ms();
    bool fresh = strcmp(line->event_phase, view->phase) != 0;

    if (!fresh && now_ms - line->event_ms < EVENT_MS)
        return;
    snprintf(line->event_phase, sizeof(line->event_phase), "%s", view->phase);
    line->event_ms = now_ms;
    if (fresh)
        output_event(line->cli, line->job, "phase", json_pack("{s:s}", "phase", view->phase));
    else
        output_event(line->cli, line->job, "progress",
                     json_pack("{s:s, s:I, s:o, s:f, s:o, s:o}", "phase", view->phase, "rows_done",
                               (json_int_t)view->done, "rows_total",
                               view->total > 0 ? json_integer(view->total) : json_null(),
                               "rows_per_second", line->rate.per_second, "reason",
                               output_string(view->reason[0] != '\0' ? view->reason : NULL),
                               "throttle",
                               output_string(view->throttle[0] != '\0' ? view->throttle : NULL)));
}

static bool wait_for_turn(struct progress_line *line)
{
    struct timespec until;
    bool over;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LOOK_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&line->mutex);
    while (!line->over && pthread_cond_timedwait(&line->changed, &line->mutex, &until) == 0)
        ;
    over = line->over;
    pthread_mutex_unlock(&line->mutex);
    return !over;
}

static void *progress_line_thread(void *arg)
{
    struct progress_line *line = arg;

    while (wait_for_turn(line)) {
        struct progress_view view = progress_view(&line->cli->progress);

        if (view.phase[0] == '\0')
            continue;
        progress_rate_look(&line->rate, &view, clock_us());
        if (line->cli->options.json)
            print_events(line, &view);
        else
            draw(line, &view);
    }
    return NULL;
}

struct progress_line *progress_line_start(struct cli *cli)
{
    struct progress_line *line;
    pthread_condattr_t monotonic;

    if (!cli->options.json && (cli->options.quiet || !isatty(STDERR_FILENO)))
        return NULL;
    line = memory_zero(1, sizeof(*line));
    line->cli = cli;
    line->job = cli->run.job.name != NULL ? memory_copy(cli->run.job.name) : NULL;
    pthread_mutex_init(&line->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&line->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&line->thread, NULL, progress_line_thread, line) != 0) {
        pthread_cond_destroy(&line->changed);
        pthread_mutex_destroy(&line->mutex);
        free(line->job);
        free(line);
        return NULL;
    }
    pthread_mutex_lock(&cli->log.mutex);
    cli->log.before = wipe;
    cli->log.before_arg = line;
    pthread_mutex_unlock(&cli->log.mutex);
    return line;
}

void progress_line_stop(struct progress_line *line)
{
    struct log *log;

    if (line == NULL)
        return;
    pthread_mutex_lock(&line->mutex);
    line->over = true;
    pthread_cond_signal(&line->changed);
    pthread_mutex_unlock(&line->mutex);
    pthread_join(line->thread, NULL);
    log = &line->cli->log;
    pthread_mutex_lock(&log->mutex);
    wipe(line);
    fflush(stderr);
    log->before = NULL;
    log->before_arg = NULL;
    pthread_mutex_unlock(&log->mutex);
    pthread_cond_destroy(&line->changed);
    pthread_mutex_destroy(&line->mutex);
    free(line->job);
    free(line);
}
