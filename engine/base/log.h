/*
 * Messages for people, on stderr: primary message, detail, hint, each on its own line, "pghaul: "
 * before the first. Results never go here (they are stdout's), and nothing parses this. Any thread
 * may call; a message is one write.
 */
#ifndef PGHAUL_BASE_LOG_H
#define PGHAUL_BASE_LOG_H

#include <pthread.h>

#include "engine/base/error.h"

enum log_level {
    LOG_QUIET = -1, /* -q: errors only */
    LOG_NORMAL = 0, /* warnings, notices */
    LOG_VERBOSE = 1 /* -v: every step */
};

struct log {
    enum log_level level;
    pthread_mutex_t mutex;
    /* Called under the mutex before a message, to wipe a live line; NULL when there is none. */
    void (*before)(void *before_arg);
    void *before_arg;
};

void log_init(struct log *log, enum log_level level);
void log_deinit(struct log *log);

void log_error(struct log *log, const struct error *error);
void log_warning(struct log *log, const char *format, ...) PRINTF_LIKE(2, 3);
void log_notice(struct log *log, const char *format, ...) PRINTF_LIKE(2, 3);
void log_verbose(struct log *log, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
