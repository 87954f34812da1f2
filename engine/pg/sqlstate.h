/* Classes of SQLSTATE: which errors may pass when the same work is tried again. */
#ifndef PGHAUL_PG_SQLSTATE_H
#define PGHAUL_PG_SQLSTATE_H

#include <stdbool.h>

/* The codes that code of ours asks for by name. */
#define SQLSTATE_UNIQUE_VIOLATION "23505"
#define SQLSTATE_EXCLUSION_VIOLATION "23P01"
#define SQLSTATE_UNDEFINED_TABLE "42P01"
#define SQLSTATE_DUPLICATE_TABLE "42P07"
#define SQLSTATE_DEPENDENT_OBJECTS "2BP01"
#define SQLSTATE_LOCK_NOT_AVAILABLE "55P03"
#define SQLSTATE_QUERY_CANCELED "57014"
#define SQLSTATE_DEADLOCK_DETECTED "40P01"

/*
 * 08* connection, 57P0x the server stops or starts, 40001 serialization, 40P01 deadlock, 55P03 lock
 * timeout, 53300 too many connections. Never 22 data, 23 constraint, 42 syntax or access: those say
 * the same thing every time.
 */
bool sqlstate_retryable(const char *sqlstate);
/* 08* and 57P0x: the session is gone and must be opened anew. */
bool sqlstate_connection_lost(const char *sqlstate);

#endif
