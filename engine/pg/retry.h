/*
 * Waits between tries: decorrelated jitter (AWS Architecture Blog, "Exponential Backoff And
 * Jitter", 2015): wait = min(cap, random(base, 3 * last wait)), up to a limit for all tries
 * together. Time comes from the caller.
 */
#ifndef PGHAUL_PG_RETRY_H
#define PGHAUL_PG_RETRY_H

#include <stdint.h>

struct retry {
    int64_t end_ms;
    int64_t last_wait_ms;
    unsigned seed;
    int tries;
};

/* `limit_ms`: how long to go on after `now_ms`. */
void retry_init(struct retry *retry, int64_t limit_ms, int64_t now_ms);
/* Time in which nothing was tried does not count. */
void retry_extend(struct retry *retry, int64_t ms);
/* How long to wait before the next try, in milliseconds; -1 when the limit is reached. */
int64_t retry_next_ms(struct retry *retry, int64_t now_ms);

#endif
