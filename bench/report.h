/*
 * Numbers of a measurement: histograms of waits, and reports as JSON or as text.
 *
 * struct histogram counts waits with a relative error below 1/32 (about 3 %), in constant memory.
 * Log-linear: values below 32 us have a bucket each; above, every power of two is cut into 32 equal
 * buckets.
 *
 *     0 .. 31 | 32 33 .. 63 | 64 66 .. 126 | 128 132 .. 252 | ...
 *       x1          x1            x2              x4
 *
 * Each thread fills histograms of its own; the reader merges them. A zeroed struct is an empty
 * histogram. The maximum is kept exactly.
 *
 * A report is a jansson object that its case builds; here is only how it is printed.
 */
#ifndef PGHAUL_BENCH_REPORT_H
#define PGHAUL_BENCH_REPORT_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/base/error.h"

enum { HISTOGRAM_BUCKETS = 32 * 32 }; /* up to 2^36 us, 19 hours; longer waits count as that */

struct histogram {
    int64_t count;
    int64_t max_us;
    int64_t sum_us;
    int64_t buckets[HISTOGRAM_BUCKETS];
};

/* Negative waits count as 0. */
void histogram_add(struct histogram *histogram, int64_t us);
void histogram_merge(struct histogram *into, const struct histogram *from);
/*
 * The smallest bucket's upper end that `percent` (0..100) of all waits do not exceed, and never
 * more than the maximum. 0 for an empty histogram.
 */
int64_t histogram_percentile_us(const struct histogram *histogram, double percent);

/* {"count", "p50_ms", "p99_ms", "max_ms"}; a new reference. */
json_t *report_waits(const struct histogram *histogram);
/* A number cut to `decimals`, so that a report stays readable; a new reference. */
json_t *report_number(double value, int decimals);
/*
 * {"value", "limit", "holds"}: value must be at most limit; a new reference. NAN (not measured)
 * holds as null.
 */
json_t *report_limit(double value, double limit);

/*
 * The median of `count` values; NAN entries (not measured) are left out, and NAN when none is left.
 * Sorts `values`.
 */
double report_median(double *values, int count);

/*
 * Prints a report: as one line of JSON, or for people: an object whose members are flat objects
 * becomes a table, anything else an indented list of names and values.
 */
void report_print(FILE *out, const json_t *report, bool json);

#endif
