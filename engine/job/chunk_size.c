#include "engine/job/chunk_size.h"

#include <assert.h>

static __attribute__((unused)) bool chunk_size_sane(const struct chunk_size *size)
{
    return size->units >= 1 && size->units <= size->units_max;
}

static int64_t clamp(int64_t value, int64_t min, int64_t max)
{
    return value < min ? min : value > max ? max : value;
}

void chunk_size_init(struct chunk_size *size, int64_t units_first, int64_t units_max)
{
    size->units_max = clamp(units_max, 1, INT64_MAX);
    size->units = clamp(units_first, 1, size->units_max);
    assert(chunk_size_sane(size));
}

/* units * target / measured, without overflow and without a division by zero. */
static int64_t scaled(int64_t units, int64_t target, int64_t measured)
{
    double product = (double)units * (double)target / (double)(measured > 0 ? measured : 1);

    return product < 9e18 ? (int64_t)product : INT64_MAX;
}

/* The most that the next chunk may grow to: half as much again. */
static int64_t grown(const struct chunk_size *size)
{
    int64_t more = size->units / 2 + 1;

    return more > size->units_max - size->units ? size->units_max : size->units + more;
}

void chunk_size_done(struct chunk_size *size, const struct chunk_measure *measure,
                     int64_t target_ms, int64_t target_bytes)
{
    int64_t wanted, by_bytes;

    assert(chunk_size_sane(size));
    if (measure->elapsed_ms >= 5 * target_ms) {
        size->units = clamp(size->units / 10, 1, size->units_max);
        return;
    }
    wanted = scaled(measure->units, target_ms, measure->elapsed_ms);
    by_bytes = measure->bytes > 0 ? scaled(measure->units, target_bytes, measure->bytes) : wanted;
    if (by_bytes < wanted)
        wanted = by_bytes;
    /* A short last chunk of a span says little: it may shrink the size no further than it was. */
    if (measure->units < size->units && wanted > measure->units)
        wanted = wanted > size->units ? wanted : size->units;
    size->units = clamp(wanted, 1, grown(size));
    assert(chunk_size_sane(size));
}

void chunk_size_conflict(struct chunk_size *size)
{
    size->units = clamp(size->units / 2, 1, size->units_max);
}
