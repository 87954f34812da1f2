/*
 * SQL text from templates. A statement is written as a readable block with {names}; what a name
 * stands for is a typed value, quoted when it is put in:
 *
 *     sql_expand(&text, "LOCK TABLE ONLY {table} IN {mode} MODE",
 *                SQL_NAMES({"table", sql_table("public", "orders")},
 *                          {"mode", sql_fragment("SHARE")}));
 *
 * Kinds of value are distinct: an identifier, a (schema-qualified) table or other object, a
 * literal, a function's body, and a fragment. No {name} stands between quotes in a template: an
 * identifier in there would be quoted for SQL, not for the literal around it, and a ' in a table's
 * name would end that (tests/includes.sh). A fragment goes in as it is; it must come from the
 * server (pg_get_indexdef, format_type, ...), from another template, or be a constant of ours.
 * Nothing else builds SQL.
 *
 * Values of the application are never literals: they are parameters ($1), or stay in the server.
 */
#ifndef PGHAUL_PG_SQL_H
#define PGHAUL_PG_SQL_H

#include "engine/base/text.h"

enum sql_kind {
    SQL_NONE, /* ends a list of names */
    SQL_IDENTIFIER,
    SQL_QUALIFIED,
    SQL_LITERAL,
    SQL_BODY,
    SQL_FRAGMENT,
};

struct sql_value {
    enum sql_kind kind;
    const char *text;   /* not owned */
    const char *schema; /* SQL_QUALIFIED only; may be NULL: unqualified */
};

struct sql_name {
    const char *name;
    struct sql_value value;
};

struct sql_value sql_ident(const char *name);
/* Any object that a schema qualifies. */
struct sql_value sql_table(const char *schema, const char *name);
struct sql_value sql_literal(const char *value); /* NULL stands for the SQL NULL */
/* A literal that people read: between dollar signs, with a tag that does not occur in it. */
struct sql_value sql_body(const char *body);
struct sql_value sql_fragment(const char *sql);

/* A list of names in place; ends itself. */
#define SQL_NAMES(...) ((const struct sql_name[]){__VA_ARGS__, {0}})

/*
 * Appends the template with every {name} replaced. Names are [a-z_0-9]+; any other brace is kept,
 * so '{}'::int[] is safe. A name that is not in the list is a defect: asserted, and left as it
 * stands.
 */
void sql_expand(struct text *out, const char *template, const struct sql_name *names);

/* One value as it appears in SQL: "orders", "public"."orders", 'it''s', ... */
void sql_append(struct text *out, struct sql_value value);

/*
 * A script is a text of statements for people to read, as --dry-run prints them. sql_add() appends
 * one or several, with the semicolon that a program may leave out; sql_note() a comment line.
 */
void sql_add(struct text *script, const char *statement);
void sql_note(struct text *script, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
