/* What the files of copy/sync.h share: names and templates. For them only. */
#ifndef PGHAUL_COPY_SYNC_PARTS_H
#define PGHAUL_COPY_SYNC_PARTS_H

#include "copy/sync.h"

enum { SYNC_COUNTERS = 4, SYNC_FUNCTIONS = 3, SYNC_MAPS = 3 };

/* Names with the job's number in them. Triggers begin with SYNC_PREFIX: '~' sorts behind letters,
 * digits and underscores, so they fire after the application's. */
#define SYNC_PREFIX "~pghaul_"
struct sync_words {
    char job[24];
    char oid[16];
    char counters[SYNC_COUNTERS][48]; /* pghaul.seen_1, seen_at_1, conflict_1, lost_1 */
    char functions[SYNC_FUNCTIONS][48];
    char maps[SYNC_MAPS][48]; /* pghaul.forward_1, back_1, differ_1 */
    char triggers[SYNC_FUNCTIONS][48];
};
struct sync_words sync_words_of(const struct sync *sync);

/*
 * Appends a template in which {o} and {n} are the columns, {o_name} and {n_name} these as literals,
 * {job} the job's number, {oid} the table's, {table} its name, {new_type}, {old_type}; {seen},
 * {seen_at}, {conflict}, {lost} counters as literals; {insert}, {update}, {seen_trigger} triggers.
 */
void sync_expand(const struct sync *sync, const char *template, struct text *out);

/*
 * Appends a type so that no search_path decides what it is. `type` as format_type() has it when
 * pg_catalog alone is searched: without a schema it is a keyword, or of pg_catalog.
 */
void sync_type_sql(const char *type, struct text *out);

/* Creates differ_1(old, new): do the values disagree in both directions? Never fails. */
bool sync_create_differ(struct run *run, const struct sync *sync, struct error *error) MUST_CHECK;

#endif
