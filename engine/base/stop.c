#include "engine/base/stop.h"

#include "engine/base/clock.h"

enum { NOTICE_MS = 20 };

void stop_request(struct stop *stop)
{
    atomic_store(&stop->wanted, true);
}

bool stop_wanted(const struct stop *stop)
{
    return atomic_load(&stop->wanted);
}

bool stop_check(const struct stop *stop, struct error *error)
{
    if (stop_wanted(stop))
        return error_set(error, ERROR_INTERRUPTED, "interrupted");
    return true;
}

bool stop_sleep_ms(const struct stop *stop, int64_t ms, struct error *error)
{
    int64_t end_ms = clock_ms() + ms;

    for (;;) {
        int64_t left_ms = end_ms - clock_ms();

        if (!stop_check(stop, error))
            return false;
        if (left_ms <= 0)
            return true;
        clock_sleep_ms(left_ms < NOTICE_MS ? left_ms : NOTICE_MS);
    }
}
