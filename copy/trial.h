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
    double seconds; /* to load and index all, with one worker, estimated */
};

/*
 * Loads a sample into the built and stripped shadow, builds its indexes and checks the final
 * statements with EXPLAIN. In the open transaction.
 */
bool trial_run(struct run *run, struct trial *trial, struct error *error) MUST_CHECK;

#endif
