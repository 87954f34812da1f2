#include "throttle/gate.h"

/* `limit` as far as it needs to be undone: at that value an open gate closes, a closed one opens.
 */
static bool beyond(const struct signal *signal, double value, double limit)
{
    return signal->below ? value <= limit : value >= limit;
}

static bool should_close(const struct signal *signal, const struct reading *reading,
                         bool closed_now, int64_t now_us)
{
    bool hard = signal->acts == ACTS_GATE || signal->acts == ACTS_LAG;

    if (!hard || reading->state == READING_OFF || reading->state == READING_ABSENT)
        return false;
    if (reading->state == READING_UNREADABLE || now_us - reading->at_us > SIGNAL_STALE_US)
        return true;
    /* The comparisons are such that no value is open that is not a number. */
    if (!(reading->value >= 0) || beyond(signal, reading->value, reading->limit))
        return true;
    return closed_now && signal->reopen > 0 &&
           beyond(signal, reading->value, reading->limit * signal->reopen);
}

void gates_look(struct gates *gates, const struct reading readings[SIGNAL_COUNT], int64_t now_us)
{
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        bool closed = should_close(&signal_table[i], &readings[i], gates->closed[i], now_us);

        if (closed && !gates->closed[i])
            gates->since_us[i] = now_us;
        gates->closed[i] = closed;
    }
}

int gates_closed(const struct gates *gates)
{
    int first = -1;

    for (int i = 0; i < SIGNAL_COUNT; i++)
        if (gates->closed[i] && (first < 0 || gates->since_us[i] < gates->since_us[first]))
            first = i;
    return first;
}
