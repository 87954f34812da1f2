/*
 * Time. Code that decides by time takes `now` as a parameter, so that tests step it by hand; only
 * loops that really wait call these. All values are microseconds or milliseconds of the monotonic
 * clock, as the name's last word says.
 */
#ifndef PGHAUL_BASE_CLOCK_H
#define PGHAUL_BASE_CLOCK_H

#include <stdint.h>

int64_t clock_us(void);
static inline int64_t clock_ms(void)
{
    return clock_us() / 1000;
}
/* Sleeps at least that long, signals or not; returns at once for <= 0. */
void clock_sleep_ms(int64_t ms);

#endif
