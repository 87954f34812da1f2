/* Which known word did the user mean? For "did you mean". */
#ifndef PGHAUL_CLI_NEAREST_H
#define PGHAUL_CLI_NEAREST_H

struct nearest {
    const char *typed;
    const char *best; /* NULL until something is near enough */
    int distance;
};

/* Zero-initialised but for `typed`; offer every candidate, then read `best`. */
void nearest_offer(struct nearest *nearest, const char *candidate);

/* Insertions, deletions, replacements and swaps of neighbours between two words. */
int nearest_distance(const char *a, const char *b);

#endif
