/*
 * Gates: which signals say that nothing may begin now. One look at all readings; between two looks
 * each gate remembers that it is closed, because it opens later than it closes (hysteresis), and
 * since when.
 *
 *     gate, lag     closed from the limit on; open again at signal.reopen of it
 *     unreadable    closed: what is on and cannot be read is never taken for zero
 *     stale         closed, when the reading is older than SIGNAL_STALE_US; load signals are frozen
 *                   instead (law.h)
 *     absent, off   open
 *
 * Pure: time comes from the caller.
 */
#ifndef PGHAUL_THROTTLE_GATE_H
#define PGHAUL_THROTTLE_GATE_H

#include <stdbool.h>

#include "throttle/signal.h"

struct gates {
    bool closed[SIGNAL_COUNT];
    int64_t since_us[SIGNAL_COUNT]; /* of those that are closed */
};

void gates_look(struct gates *gates, const struct reading readings[SIGNAL_COUNT], int64_t now_us);

/* The one that has been closed for longest; -1: all are open. */
int gates_closed(const struct gates *gates);

#endif
