#include "throttle/baseline.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

void baseline_init(struct baseline *baseline, double quantile)
{
    *baseline = (struct baseline){.quantile = quantile};
}

static int compare(const void *one, const void *other)
{
    double a = *(const double *)one, b = *(const double *)other;

    return (a > b) - (a < b);
}

double baseline_quantile(double *values, int count, double quantile)
{
    int rank = (int)ceil(quantile * count);

    assert(count > 0);
    qsort(values, (size_t)count, sizeof(*values), compare);
    return values[rank < 1 ? 0 : rank > count ? count - 1 : rank - 1];
}

/* Of the samples that were taken since then; their number. */
static int quantile_since(const struct baseline *baseline, int64_t since_us, double *value)
{
    double values[BASELINE_SAMPLES_MAX];
    int count = 0;

    for (int i = 0; i < baseline->count; i++)
        if (baseline->samples[i].at_us >= since_us)
            values[count++] = baseline->samples[i].value;
    if (count > 0)
        *value = baseline_quantile(values, count, baseline->quantile);
    return count;
}

bool baseline_add(struct baseline *baseline, double value, int64_t idle_us, int64_t now_us)
{
    if (idle_us < BASELINE_SETTLE_US || !(value >= 0))
        return false;
    baseline->samples[baseline->next].value = value;
    baseline->samples[baseline->next].at_us = now_us;
    baseline->next = (baseline->next + 1) % BASELINE_SAMPLES_MAX;
    if (baseline->count < BASELINE_SAMPLES_MAX)
        baseline->count++;
    if (baseline->taken < BASELINE_SAMPLES_MIN && ++baseline->taken == BASELINE_SAMPLES_MIN)
        quantile_since(baseline, 0, &baseline->start);
    return true;
}

bool baseline_value(const struct baseline *baseline, int64_t now_us, double *value)
{
    if (quantile_since(baseline, now_us - BASELINE_AGE_US, value) >= BASELINE_SAMPLES_MIN)
        return true;
    *value = baseline->start;
    return baseline->taken >= BASELINE_SAMPLES_MIN;
}

int64_t baseline_newest_us(const struct baseline *baseline)
{
    int newest = (baseline->next + BASELINE_SAMPLES_MAX - 1) % BASELINE_SAMPLES_MAX;

    return baseline->count > 0 ? baseline->samples[newest].at_us : 0;
}
