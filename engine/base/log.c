#include "engine/base/log.h"

#include <stdarg.h>
#include <stdio.h>

#include "engine/base/text.h"

void log_init(struct log *log, enum log_level level)
{
    *log = (struct log){.level = level};
    pthread_mutex_init(&log->mutex, NULL);
}

void log_deinit(struct log *log)
{
    pthread_mutex_destroy(&log->mutex);
}

static void log_write(struct log *log, const struct text *text)
{
    pthread_mutex_lock(&log->mutex);
    if (log->before != NULL)
        log->before(log->before_arg);
    fputs(text_string(text), stderr);
    fflush(stderr);
    pthread_mutex_unlock(&log->mutex);
}

void log_error(struct log *log, const struct error *error)
{
    TEXT_AUTO text = {0};

    text_appendf(&text, "pghaul: error: %s\n", error->message);
    if (error->detail[0] != '\0')
        text_appendf(&text, "pghaul: detail: %s\n", error->detail);
    if (error->hint[0] != '\0')
        text_appendf(&text, "pghaul: hint: %s\n", error->hint);
    log_write(log, &text);
}

static void PRINTF_LIKE(4, 0) log_message(struct log *log, enum log_level level, const char *label,
                                          const char *format, va_list args)
{
    char message[4096];
    TEXT_AUTO text = {0};

    if (log->level < level)
        return;
    vsnprintf(message, sizeof(message), format, args);
    text_appendf(&text, "pghaul: %s%s\n", label, message);
    log_write(log, &text);
}

void log_warning(struct log *log, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_message(log, LOG_NORMAL, "warning: ", format, args);
    va_end(args);
}

void log_notice(struct log *log, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_message(log, LOG_NORMAL, "", format, args);
    va_end(args);
}

void log_verbose(struct log *log, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_message(log, LOG_VERBOSE, "", format, args);
    va_end(args);
}
