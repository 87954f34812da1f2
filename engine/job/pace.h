/*
 * Pace: how fast workers may go, decided by somebody else. The engine asks before every chunk;
 * throttle/ answers. An implementation is called by all workers at once and must be safe for that.
 */
#ifndef PGHAUL_JOB_PACE_H
#define PGHAUL_JOB_PACE_H

#include <stdint.h>

struct pace {
    /* Milliseconds to wait before the next chunk; 0 for none. `busy_ms`: what the worker's last
     * chunk took. */
    int64_t (*delay_ms)(struct pace *pace, int64_t busy_ms);
    /* The policy changed (pghaul set JOB policy=...): "off" or "fixed=250ms". Any thread, at any
     * moment. */
    void (*configure)(struct pace *pace, const char *policy);
};

#endif
