/* A law, and all that is put into it by hand; tick by tick, a second each. */
#ifndef PGHAUL_TESTS_TICKS_H
#define PGHAUL_TESTS_TICKS_H

#include "throttle/law.h"

struct ticks {
    const struct law *law;
    void *memory;
    struct law_config config;
    struct reading readings[SIGNAL_COUNT];
    struct law_replica replicas[LAW_REPLICAS_MAX + 4];
    struct law_input input;
    struct law_decision decision;
};

void ticks_begin(struct ticks *ticks, const struct law *law, int workers);
void ticks_end(struct ticks *ticks);

/* A reading of now. */
void ticks_read(struct ticks *ticks, enum signal_id id, double value, double limit);
/* Of replicas; 0: none. */
void ticks_limit_lag(struct ticks *ticks, double bytes, double seconds);
/* It has replayed everything. */
void ticks_add_replica(struct ticks *ticks, const char *name);

/* A second, after which the law decides; fails the test when that is out of its range. */
void ticks_tick(struct ticks *ticks);

#define TICKS_CHUNK_S 0.25

/*
 * Seconds in which we write as fast as we are allowed to, at most `speed`, in chunks of a quarter
 * of a second, and replicas replay `replay` a second.
 */
void ticks_work(struct ticks *ticks, int seconds, double speed, double replay);

#endif
