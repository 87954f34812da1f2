#include "throttle/drain.h"

#include <math.h>

/* Weight of a new measurement, and the shortest that says something. */
static const double WEIGHT = 0.3;
static const int64_t SPAN_US_MIN = 50000;

static void learn_speed(struct drain *drain, double moved, double backlog, int64_t span_us)
{
    double speed = moved / ((double)span_us / 1e6);

    /* With less to do it may have rested: then its speed says what came, not what it can. But that
     * it can do at least as much is still true. */
    bool busy = drain->backlog >= DRAIN_BUSY_BYTES && backlog >= DRAIN_BUSY_BYTES;

    if (!busy && !(drain->measured && speed > drain->speed))
        return;
    /* Sums, not a mean of speeds: reports come in lumps. */
    drain->bytes += moved - drain->bytes * WEIGHT;
    drain->seconds += (double)span_us / 1e6 - drain->seconds * WEIGHT;
    drain->speed = drain->bytes / drain->seconds;
    drain->measured = true;
}

void drain_observe(struct drain *drain, double backlog, double replayed, int64_t at_us)
{
    /* Backwards: another server by the same name, or one that was restored. */
    if (!drain->known || replayed < drain->replayed) {
        *drain = (struct drain){.known = true,
                                .replayed = replayed,
                                .backlog = backlog,
                                .at_us = at_us,
                                .moved_us = at_us};
        return;
    }
    if (at_us - drain->at_us < SPAN_US_MIN)
        return;
    learn_speed(drain, replayed - drain->replayed, backlog, at_us - drain->at_us);
    if (replayed > drain->replayed)
        drain->moved_us = at_us;
    drain->replayed = replayed;
    drain->backlog = backlog;
    drain->at_us = at_us;
}

double drain_seconds(const struct drain *drain, double backlog, double replay_lag, int64_t now_us)
{
    double seconds = replay_lag > 0 ? replay_lag : 0;

    if (drain->measured && backlog > 0)
        seconds = fmax(seconds, drain->speed > 0 ? backlog / drain->speed : DRAIN_SECONDS_MAX);
    if (drain->known && backlog >= DRAIN_STUCK_BYTES)
        seconds = fmax(seconds, (double)(now_us - drain->moved_us) / 1e6);
    return fmin(seconds, DRAIN_SECONDS_MAX);
}
