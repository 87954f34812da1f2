/*
 * How large the next chunk should be. Pure arithmetic; one per worker.
 *
 * The size follows two targets, time and bytes; it grows at most by half, halves on a timeout or a
 * lock conflict, and is cut by ten when a chunk took five times its time (gh-ost and pt-osc measure
 * time, spirit bytes as well: what is slow on one table is large on another).
 */
#ifndef PGHAUL_JOB_CHUNK_SIZE_H
#define PGHAUL_JOB_CHUNK_SIZE_H

#include <stdbool.h>
#include <stdint.h>

struct chunk_size {
    int64_t units; /* blocks or rows of the next chunk: 1 <= units <= units_max */
    int64_t units_max;
};

struct chunk_measure {
    int64_t
        units; /* what the chunk really had: may be fewer than asked for, at the end of a span */
    int64_t elapsed_ms;
    int64_t bytes;
};

void chunk_size_init(struct chunk_size *size, int64_t units_first, int64_t units_max);
/* After a chunk that was committed. */
void chunk_size_done(struct chunk_size *size, const struct chunk_measure *measure,
                     int64_t target_ms, int64_t target_bytes);
/* After a chunk that gave way: a timeout, a deadlock, a lock conflict. */
void chunk_size_conflict(struct chunk_size *size);

#endif
