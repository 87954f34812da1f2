/*
 * Data sets by name, for measurements, the demo and tests. The same seed gives the same rows on any
 * server.
 *
 *     orders         what an online shop keeps: about 160 bytes a row, skewed customers and states,
 *                    amounts with a long tail, notes that are mostly missing, some jsonb;
 *                    created_at follows id. Primary key and two more indexes.
 *     orders-serial  the same with an integer id fed by a sequence, as many a table began.
 *     acct           small rows for the hostile load (traffic.h), with a unique column that is not
 *                    the key, and beside it an equal table `ledger` in which the load keeps its own
 *                    account of what it committed.
 *
 * What it is not: a load generator. Nothing here runs beside anything else.
 */
#ifndef PGHAUL_BENCH_DATA_H
#define PGHAUL_BENCH_DATA_H

#include "engine/pg/session.h"

struct data_options {
    const char *set;    /* "orders", "orders-serial" or "acct" */
    const char *schema; /* made when it is missing; NULL: public */
    const char *name; /* of the table; NULL: orders, acct. acct's other table is always "ledger" */
    int64_t rows;
    uint64_t seed;
    bool serial; /* orders only: as orders-serial */
    bool ledger; /* orders only: an equal table NAME_ledger with the primary key alone, a bigint */
};

/*
 * Makes the tables (ERROR_SQL when one is there already), fills, indexes, vacuums and analyzes
 * them.
 */
bool data_make(struct session *session, const struct data_options *options,
               struct error *error) MUST_CHECK;

/* Names of all sets, for messages and help: "orders, orders-serial, acct". */
const char *data_sets(void);

#endif
