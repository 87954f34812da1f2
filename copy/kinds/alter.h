/*
 * Job kind "alter": rebuild a live table through a shadow copy, with a changed definition or the
 * same one.
 *
 *     alter_prepare()   inspects, plans and tries on a sample; changes nothing; fills a report for
 * the user alter_store()     makes it a job phases_run(run, &alter_kind, "ready", error), then the
 * kind's verbs
 *
 * alter_in_place() is the other way: the actions run on the table itself, under a short lock, when
 * they need no copy.
 */
#ifndef PGHAUL_COPY_KINDS_ALTER_H
#define PGHAUL_COPY_KINDS_ALTER_H

#include "copy/inspect.h"
#include "copy/report.h"
#include "engine/job/phases.h"

struct alter_options {
    const char *table;          /* as typed */
    const char *const *actions; /* each --do */
    int action_count;
    const char *const *maps; /* each --map: column = expression over the source's columns */
    int map_count;
    const char *const *reverse_maps; /* each --reverse-map: source column = expression over the new
                                        table's columns */
    int reverse_map_count;
    const char *order_by; /* columns; NULL for none */
    bool no_rollback;     /* do not feed the old table after the swap */
    bool dry_run;         /* the report shall have the phases */
    const char *job_name; /* NULL: alter-TABLE-N */
    struct settings settings;
};

/*
 * Plans the job into run->job (not stored yet) and run->kind_state. Refusals are ERROR_REFUSED and
 * name every reason. Everything happens in a transaction that is rolled back. For a dry run it has
 * the names that the job would get, and goes on through all phases, as far as they touch nothing of
 * the user's (struct phase, print).
 */
bool alter_prepare(struct run *run, const struct alter_options *options, struct report *report,
                   struct error *error) MUST_CHECK;

/* Stores the prepared job; run->job has its id and name afterwards. */
bool alter_store(struct run *run, struct error *error) MUST_CHECK;

/* Runs the actions on the table itself. ERROR_REFUSED when they need a rewrite or take longer than
 * lock.timeout. */
bool alter_in_place(struct run *run, const struct alter_options *options,
                    struct error *error) MUST_CHECK;

extern const struct kind alter_kind;

#endif
