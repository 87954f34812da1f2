/*
 * The wish to stop, shared by all threads of a process. Set by a signal or by a failure; never
 * unset.
 */
#ifndef PGHAUL_BASE_STOP_H
#define PGHAUL_BASE_STOP_H

#include <stdatomic.h>
#include <stdint.h>

#include "engine/base/error.h"

struct stop {
    atomic_bool wanted;
};

void stop_request(struct stop *stop);
bool stop_wanted(const struct stop *stop);

/* False with ERROR_INTERRUPTED when stopping is wanted. */
bool stop_check(const struct stop *stop, struct error *error) MUST_CHECK;

/*
 * Sleeps up to `ms`, in steps short enough to notice a stop; returns early and false with
 * ERROR_INTERRUPTED on one.
 */
bool stop_sleep_ms(const struct stop *stop, int64_t ms, struct error *error) MUST_CHECK;

#endif
