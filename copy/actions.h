/*
 * The user's ALTER TABLE actions (`--do`), judged by their text before they run on the shadow.
 *
 * The server is the parser: it runs the actions on an empty clone, and what they did is read from
 * the catalogue. This looks only for what a clone cannot tell: actions whose effect would be lost
 * or would touch something else than the table's own shape (names, owner, triggers, partitions,
 * foreign keys, ...). It is a lexer that knows strings, identifiers, dollar quotes and comments,
 * and a look at the first words of each action; what it does not know by name is refused.
 *
 *     struct action action;
 *
 *     if (!actions_check("ALTER id TYPE bigint, ALTER t TYPE int USING length(t)", &arena, &action,
 * error))
 *         ...
 *     action.usings: {"t", "length(t)"}
 */
#ifndef PGHAUL_COPY_ACTIONS_H
#define PGHAUL_COPY_ACTIONS_H

#include "engine/base/memory.h"

/* ALTER [COLUMN] column [SET DATA] TYPE .. USING expression: means the same as --map. */
struct action_using {
    const char *column;     /* as in the catalogue: folded, unquoted */
    const char *expression; /* as the user wrote it, over the source's columns */
};

struct action {
    bool alone; /* a RENAME: PostgreSQL does not combine it with other actions */
    int using_count;
    struct action_using *usings; /* in the arena */
};

/*
 * Judges the text of one --do: one or several actions, separated by commas, without ALTER TABLE
 * name. ERROR_REFUSED with a hint when it must not run.
 */
bool actions_check(const char *text, struct arena *arena, struct action *action,
                   struct error *error) MUST_CHECK;

#endif
