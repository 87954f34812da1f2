/*
 * What the laws of others are told: a few numbers made of our readings (laws.h says how and why).
 * Private to laws*.c.
 */
#ifndef PGHAUL_BENCH_LAWS_LOOK_H
#define PGHAUL_BENCH_LAWS_LOOK_H

#include "bench/laws.h"

struct law_look {
    double lag;         /* of the worst replica, as part of its limit; 0: nobody lags */
    double lag_seconds; /* that part of limit_seconds */
    double limit_seconds;
    int lag_reason;  /* enum signal_id: bytes or time, whichever is nearer to its limit; -1 */
    bool unreadable; /* a replica cannot be asked, or is missing */
    double load;     /* of active-sessions' limit; NAN: not known */
};

void law_look(const struct law_input *input, struct law_look *look);

/* One whole reading: how many times its limit it is; 0 when there is nothing to say. */
double law_look_part(const struct law_input *input, enum signal_id id);

/* Everything that a law does not care about. */
void law_decide(const struct law_config *config, struct law_decision *decision);
/* Nothing begins, because of this (enum signal_id; -1: of the law's own doing). */
void law_decide_stop(struct law_decision *decision, int reason);

#endif
