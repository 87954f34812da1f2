/*
 * Credit: how much log may still be written before a replica could be past its limit, whatever a
 * law thinks. What is known of a replica is old: since it was measured it may have replayed
 * nothing, while log grew by a known amount. So the most that it can be behind is
 *
 *     measured backlog + (end of the log now - end of the log when it was measured)
 *
 * and a chunk may begin while that, and what it and the chunks in flight are expected to write,
 * stays within the limit. So it is passed by no more than the chunks in flight, if they turn out to
 * write more than was expected, and by what others write before anybody of us has seen the end of
 * the log, which is at the end of every chunk and with every measurement.
 *
 *        0        backlog at the measurement      backlog now, at most            limit
 *        |------------------|---------------------------|----- in flight -----| ... |
 *                           `- grown since, replayed: nothing, as far as we know
 *
 * (A window of credit, as in the flow control of links: Kung and Morris, "Credit-based flow control
 * for ATM networks", 1995.)
 *
 * Pure; not safe for threads by itself.
 */
#ifndef PGHAUL_THROTTLE_CREDIT_H
#define PGHAUL_THROTTLE_CREDIT_H

#include <stdbool.h>
#include <stdint.h>

struct credit {
    bool limited;   /* some replica has a limit; without one everything may go */
    double backlog; /* of the worst replica, when it was measured */
    double limit;
    double measured;  /* position of the log then, bytes since any origin */
    double seen;      /* the furthest position that anybody told */
    double in_flight; /* what chunks that have begun are expected to write */
};

/* A new measurement of the replica that is furthest behind; its limit in bytes. */
void credit_measure(struct credit *credit, double backlog, double limit, double position);
/* No replica has a limit. */
void credit_unlimited(struct credit *credit);
/* The log was seen to reach `position`. */
void credit_seen(struct credit *credit, double position);

/* The most that the worst replica can be behind now. */
double credit_owed(const struct credit *credit);
/* What may still be written, in bytes; INFINITY without a limit. */
double credit_left(const struct credit *credit);
/*
 * May a chunk begin that is expected to write `bytes`? It should fit into what is left; one that is
 * larger than a quarter of the limit needs only that, or it might never begin.
 */
bool credit_allows(const struct credit *credit, double bytes);
/* Is a new measurement worth its query: has half of the credit been used since the last one? */
bool credit_wants_measure(const struct credit *credit);

/* A chunk that is expected to write `bytes` begins, and has ended. */
void credit_begin(struct credit *credit, double bytes);
void credit_end(struct credit *credit, double bytes);

#endif
