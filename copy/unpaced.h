/*
 * What a statement that cannot be paced will write and how long it will take: for
 * pace_unpaced_begin() (engine/job/pace.h), which lets it begin when that fits, and for the user,
 * who is told. Estimates from what the server knows of the table, read before the statement; rough,
 * and rather too much than too little.
 *
 * Log: an index is logged once, whole. VACUUM (FREEZE) changes every page, and the first change of
 * a page after a checkpoint logs it whole. Where pages have checksums, or wal_log_hints is on, the
 * same holds for the first who reads rows after they were written, because he notes that they are
 * committed: the first index of a fresh copy logs the copy, too.
 *
 * Time: by the speeds of a small machine (unpaced.c).
 */
#ifndef PGHAUL_COPY_UNPACED_H
#define PGHAUL_COPY_UNPACED_H

#include "engine/job/pace.h"
#include "engine/pg/session.h"

struct unpaced {
    int64_t wal_bytes;
    double seconds;
};

struct unpaced_index {
    uint32_t table_oid; /* that is read */
    uint32_t stats_oid; /* whose statistics say how wide columns are; 0: the same */
    const char *tail;   /* from USING on: the columns that it names are those that it has */
    int64_t rows;       /* 0: as the server thinks */
    int scans;          /* of the table: 2 for CONCURRENTLY */
    bool fresh;         /* nobody has read the rows since they were written */
};

/* A table that is no more, or was never analyzed, is small. */
bool unpaced_index(struct session *session, const struct unpaced_index *index,
                   struct unpaced *unpaced, struct error *error) MUST_CHECK;

/* VACUUM (FREEZE) of a table in which little is dead. */
bool unpaced_freeze(struct session *session, uint32_t table_oid, struct unpaced *unpaced,
                    struct error *error) MUST_CHECK;

/* Reading all rows: VALIDATE CONSTRAINT, a comparison. */
bool unpaced_scan(struct session *session, uint32_t table_oid, struct unpaced *unpaced,
                  struct error *error) MUST_CHECK;

/* A VACUUM that takes away `dead_bytes` of rows, and with them their entries in the indexes. */
bool unpaced_vacuum(struct session *session, uint32_t table_oid, int64_t dead_bytes,
                    struct unpaced *unpaced, struct error *error) MUST_CHECK;

#endif
