/*
 * What a database looks like, from outside: its whole definition as pg_dump prints it, schema
 * pghaul left out. Two that are equal say that nothing was changed and that nothing of ours is left
 * in the user's schemas.
 *
 *     const char *before = definition();
 *     ...
 *     same_definition(before);
 *     nothing_of_ours_is_left();
 */
#ifndef PGHAUL_TESTS_ORACLE_H
#define PGHAUL_TESTS_ORACLE_H

#include <string.h>

#include "engine/base/text.h"
#include "tests/harness.h"

/* Without the random keys of newer versions of pg_dump. Belongs to the test. */
static inline const char *definition(void)
{
    struct t_result result;
    TEXT_AUTO text = {0};

    t_run_program(&result, "pg_dump", "--schema-only", "--exclude-schema=pghaul", "-d",
                  t_conninfo(), NULL);
    t_expect_status(&result, 0);
    for (const char *at = result.out; *at != '\0';) {
        size_t length = strcspn(at, "\n");

        length += at[length] == '\n';
        if (strncmp(at, "\\restrict ", 10) != 0 && strncmp(at, "\\unrestrict ", 12) != 0)
            text_append_bytes(&text, at, length);
        at += length;
    }
    return t_format("%s", text_string(&text));
}

/* Says the first line that differs. */
static inline void same_definition(const char *before)
{
    const char *after = definition();
    size_t same = 0;

    if (strcmp(before, after) == 0)
        return;
    while (before[same] == after[same])
        same++;
    while (same > 0 && before[same - 1] != '\n')
        same--;
    t_fail("the definition changed. before:\n%.700s\n--- after:\n%.700s", before + same,
           after + same);
}

/* Shadows, logs, functions and triggers carry the number of their job; none may outlive it. */
static inline void nothing_of_ours_is_left(void)
{
    t_expect("SELECT count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
             " WHERE n.nspname = 'pghaul' AND c.relkind IN ('r', 'S') AND c.relname NOT IN"
             " ('version', 'job', 'phase', 'span', 'event', 'sample', 'pulse', 'job_id_seq',"
             " 'event_id_seq')",
             "0");
    t_expect("SELECT count(*) FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace"
             " WHERE n.nspname = 'pghaul'",
             "0");
    t_expect("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgname ~ 'pghaul'", "0");
}

#endif
