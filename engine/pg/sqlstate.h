/* Classes of SQLSTATE: which errors may pass when the same work is tried again, and which are about
 * the rows that a statement writes. */
#ifndef PGHAUL_PG_SQLSTATE_H
#define PGHAUL_PG_SQLSTATE_H

#include <stdbool.h>

/* The codes that code of ours asks for by name. */
#define SQLSTATE_INVALID_PARAMETER_VALUE "22023"
#define SQLSTATE_NOT_NULL_VIOLATION "23502"
#define SQLSTATE_UNIQUE_VIOLATION "23505"
#define SQLSTATE_CHECK_VIOLATION "23514"
#define SQLSTATE_EXCLUSION_VIOLATION "23P01"
#define SQLSTATE_SYNTAX_ERROR "42601"
#define SQLSTATE_DATATYPE_MISMATCH "42804"
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

/*
 * Is it a row that the server refuses, so that the same row will be refused again? Surely: 22 data,
 * 23 constraints, 54 a value that is too long for an index, P0 what a function raises.
 */
bool sqlstate_of_row(const char *sqlstate);
/*
 * Perhaps: all but what passes, and what says that the server is in trouble (53 resources, 57 a
 * cancel, 58 system, F0, XX). So also the classes that functions in a cast, a domain or a trigger
 * make up. What is left open is whether the statement fails without any row, too: who asks must
 * either try that, or leave out more classes.
 */
bool sqlstate_maybe_of_row(const char *sqlstate);

#endif
