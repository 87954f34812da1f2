#include "cli/signals.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "engine/pg/session.h"

struct signals {
    pthread_t thread;
    sigset_t set;
    struct log *log;
    struct stop *stop;
    struct cancel_list *cancel_list;
    atomic_bool stopping; /* else quitting */
    atomic_bool over;
};

/*
 * A wish comes twice when one sender signals process and group (timeout(1) does): what follows so
 * soon after the first is the same wish.
 */
enum { SAME_WISH_MS = 300 };

/* Ends the waiting thread. No other use for it, and harmless when it comes from outside. */
enum { SIGNAL_END = SIGUSR1 };

static void first_signal(struct signals *signals)
{
    log_notice(signals->log, "stopping within one chunk; again to quit at once");
    stop_request(signals->stop);
    cancel_list_cancel_all(signals->cancel_list);
}

static void *signals_thread(void *arg)
{
    struct signals *signals = arg;
    bool asked = false;
    int64_t asked_ms = 0;

    for (;;) {
        const struct timespec second = {.tv_sec = 1};
        int got =
            asked ? sigtimedwait(&signals->set, NULL, &second) : sigwaitinfo(&signals->set, NULL);

        if (atomic_load(&signals->over))
            return NULL;
        if (got == SIGINT || got == SIGTERM || got == SIGHUP) {
            if (!atomic_load(&signals->stopping))
                _exit(error_exit_status(ERROR_INTERRUPTED));
            if (asked && clock_ms() - asked_ms < SAME_WISH_MS)
                continue;
            if (asked)
                _exit(error_exit_status(ERROR_INTERRUPTED));
            asked = true;
            asked_ms = clock_ms();
            first_signal(signals);
        } else if (asked) {
            cancel_list_cancel_all(signals->cancel_list);
        }
    }
}

bool signals_start(struct signals **started, struct log *log, struct stop *stop,
                   struct cancel_list *cancel_list, struct error *error)
{
    struct signals *signals = memory_zero(1, sizeof(*signals));
    int failed;

    *started = NULL;
    signals->log = log;
    signals->stop = stop;
    signals->cancel_list = cancel_list;
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&signals->set);
    sigaddset(&signals->set, SIGINT);
    sigaddset(&signals->set, SIGTERM);
    sigaddset(&signals->set, SIGHUP);
    sigaddset(&signals->set, SIGNAL_END);
    pthread_sigmask(SIG_BLOCK, &signals->set, NULL);
    failed = pthread_create(&signals->thread, NULL, signals_thread, signals);
    if (failed != 0) {
        free(signals);
        return error_set(error, ERROR_SYSTEM, "could not start a thread: %s", strerror(failed));
    }
    *started = signals;
    return true;
}

void signals_stopping(struct signals *signals)
{
    atomic_store(&signals->stopping, true);
}

void signals_stop(struct signals *signals)
{
    if (signals == NULL)
        return;
    atomic_store(&signals->over, true);
    pthread_kill(signals->thread, SIGNAL_END);
    pthread_join(signals->thread, NULL);
    free(signals);
}
