/*
 * Trial: the whole job on a sample, in a transaction that is always rolled back and lasts a few
 * seconds at most. Failing casts and constraints are found now; sizes and times are estimated from
 * what was measured.
 */
#ifndef PGHAUL_COPY_TRIAL_H
#define PGHAUL_COPY_TRIAL_H

#include "copy/copy.h"

struct trial {
    int64_t rows;       /* of the sample */
    int64_t disk_bytes; /* of the new table with its indexes, estimated */
    int64_t wal_bytes;
    double load_seconds; /* of one worker, estimated */
    double index_seconds;
};

/*
 * The trial's transaction is to be over at `end_ms` (clock_ms()): what is left until then, with a
 * moment for the end kept back, limits each of the statements to come. ERROR_REFUSED when nothing
 * is.
 */
bool trial_limit(struct run *run, int64_t end_ms, struct error *error) MUST_CHECK;
/* An error in the trial's transaction becomes ERROR_REFUSED when it was that limit. Returns false.
 */
bool trial_failed(const struct run *run, struct error *error);

/*
 * Loads a sample into the built and stripped shadow, builds its indexes and checks the final
 * statements with EXPLAIN. In the open transaction, until `end_ms`: rows that are slow to make are
 * fewer, and an index for which no time is left is not tried.
 */
bool trial_run(struct run *run, int64_t end_ms, struct trial *trial,
               struct error *error) MUST_CHECK;

#endif
