#include "engine/job/progress.h"

#include <stdarg.h>
#include <stdio.h>

#include "engine/base/clock.h"

void progress_init(struct progress *progress)
{
    *progress = (struct progress){0};
    pthread_mutex_init(&progress->mutex, NULL);
}

void progress_deinit(struct progress *progress)
{
    pthread_mutex_destroy(&progress->mutex);
}

void progress_start(struct progress *progress, const char *phase, int64_t done, int64_t total)
{
    pthread_mutex_lock(&progress->mutex);
    snprintf(progress->view.phase, sizeof(progress->view.phase), "%s", phase);
    progress->view.reason[0] = '\0';
    progress->view.done = done;
    progress->view.total = total;
    progress->view.since_us = clock_us();
    pthread_mutex_unlock(&progress->mutex);
}

void progress_add(struct progress *progress, int64_t done)
{
    pthread_mutex_lock(&progress->mutex);
    progress->view.done += done;
    pthread_mutex_unlock(&progress->mutex);
}

void progress_retry(struct progress *progress)
{
    pthread_mutex_lock(&progress->mutex);
    progress->view.retries++;
    pthread_mutex_unlock(&progress->mutex);
}

void progress_reason(struct progress *progress, const char *format, ...)
{
    va_list args;

    pthread_mutex_lock(&progress->mutex);
    va_start(args, format);
    vsnprintf(progress->view.reason, sizeof(progress->view.reason), format, args);
    va_end(args);
    pthread_mutex_unlock(&progress->mutex);
}

void progress_moving(struct progress *progress)
{
    pthread_mutex_lock(&progress->mutex);
    progress->view.reason[0] = '\0';
    pthread_mutex_unlock(&progress->mutex);
}

void progress_throttle(struct progress *progress, const char *text)
{
    pthread_mutex_lock(&progress->mutex);
    snprintf(progress->view.throttle, sizeof(progress->view.throttle), "%s", text);
    pthread_mutex_unlock(&progress->mutex);
}

struct progress_view progress_view(struct progress *progress)
{
    struct progress_view view;

    pthread_mutex_lock(&progress->mutex);
    view = progress->view;
    pthread_mutex_unlock(&progress->mutex);
    return view;
}
