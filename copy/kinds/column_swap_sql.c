#include <inttypes.h>
#include <string.h>

#include "copy/kinds/column_parts.h"
#include "engine/pg/sql.h"

/* The statements of the swap (column_swap.c), and of the way back. */
struct swap_text {
    const struct run *run;
    const struct column_plan *plan;
    const struct column_identity *identity;
    bool forward;
};

/* What the column feeds from goes with its name. `from` and `to`: the columns, by their names then.
 */
struct pair {
    const char *from;
    const char *to;
};

static struct pair pair_of(const struct column_plan *plan, bool forward)
{
    return forward ? (struct pair){plan->hidden, plan->new_name}
                   : (struct pair){plan->twin_column, plan->column};
}

static void rename_sql(const struct column_plan *plan, const char *from, const char *to,
                       struct text *sql)
{
    sql_expand(sql, "ALTER TABLE {table} RENAME COLUMN {from} TO {to};\n",
               SQL_NAMES({"table", sql_table(plan->schema, plan->table)}, {"from", sql_ident(from)},
                         {"to", sql_ident(to)}));
}

static void names_sql(const struct column_plan *plan, bool forward, struct text *sql)
{
    bool twin_moves = strcmp(plan->twin_column, plan->new_name) != 0;

    if (forward)
        rename_sql(plan, plan->column, plan->hidden, sql);
    if (twin_moves)
        rename_sql(plan, forward ? plan->twin_column : plan->new_name,
                   forward ? plan->new_name : plan->twin_column, sql);
    if (!forward)
        rename_sql(plan, plan->hidden, plan->column, sql);
}

/* A serial's sequence: the same one, for the other column. */
static void serial_sql(const struct swap_text *swap, struct pair pair, struct text *sql)
{
    const struct column_plan *plan = swap->plan;
    const struct twin *twin = plan->twin;

    if (twin->sequence == NULL || twin->identity != '\0')
        return;
    text_append(sql, COLUMN_SEQUENCE_WAIT);
    sql_expand(sql, "ALTER SEQUENCE {sequence} OWNED BY {table}.{to};\n",
               SQL_NAMES({"sequence", sql_fragment(twin->sequence)},
                         {"table", sql_table(plan->schema, plan->table)},
                         {"to", sql_ident(pair.to)}));
    if (plan->sequence_type != NULL && swap->forward)
        sql_expand(sql, "ALTER SEQUENCE {sequence} AS {type};\n",
                   SQL_NAMES({"sequence", sql_fragment(twin->sequence)},
                             {"type", sql_fragment(twin->type)}));
}

/* An identity's sequence: another one of that name, which goes on where this one is. Its state is
 * read under the lock that RENAME takes. */
static void identity_sql(const struct swap_text *swap, struct pair pair, struct text *sql)
{
    const struct column_plan *plan = swap->plan;
    const struct column_identity *identity = swap->identity;
    struct sql_value name = sql_table(identity->schema, identity->sequence);
    TEXT_AUTO parked = {0};
    TEXT_AUTO literal = {0};

    if (identity->options == NULL)
        return;
    text_append(sql, COLUMN_SEQUENCE_WAIT);
    text_appendf(&parked, "%s_parked", plan->prefix);
    sql_append(&literal, name);
    sql_expand(
        sql,
        "ALTER SEQUENCE {name} RENAME TO {parked_name};\n"
        "ALTER TABLE {table} ALTER COLUMN {to} ADD GENERATED {how} AS IDENTITY\n"
        "    (SEQUENCE NAME {name} {options});\n"
        "SELECT pg_catalog.setval({literal}, s.last_value, s.is_called) FROM {parked} s;\n"
        "ALTER TABLE {table} ALTER COLUMN {from} DROP IDENTITY;\n",
        SQL_NAMES({"name", name}, {"parked_name", sql_ident(text_string(&parked))},
                  {"parked", sql_table(identity->schema, text_string(&parked))},
                  {"table", sql_table(plan->schema, plan->table)}, {"to", sql_ident(pair.to)},
                  {"from", sql_ident(pair.from)},
                  {"how", sql_fragment(plan->twin->identity == 'a' ? "ALWAYS" : "BY DEFAULT")},
                  {"options", sql_fragment(identity->options)},
                  {"literal", sql_literal(text_string(&literal))}));
    grants_strip_sql(name, sql);
    grants_sql(&identity->grants, name, sql);
    if (identity->comment != NULL)
        sql_expand(sql, "COMMENT ON SEQUENCE {name} IS {comment};\n",
                   SQL_NAMES({"name", name}, {"comment", sql_literal(identity->comment)}));
}

/* `default_sql`: of the column that gets one. */
static void defaults_sql(const struct column_plan *plan, struct pair pair, const char *default_sql,
                         struct text *sql)
{
    if (default_sql == NULL)
        return;
    column_expand(plan, "ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT;\n", pair.from,
                  sql);
    sql_expand(sql, "ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {default};\n",
               SQL_NAMES({"table", sql_table(plan->schema, plan->table)},
                         {"column", sql_ident(pair.to)}, {"default", sql_fragment(default_sql)}));
}

static const struct twin_index *primary_of(const struct column_plan *plan)
{
    for (int i = 0; i < plan->twin->index_count; i++)
        if (plan->twin->indexes[i].constraint_type == 'p')
            return &plan->twin->indexes[i];
    return NULL;
}

/* The primary key by an index that is there; the other one's goes. No row is read: its columns are
 * NOT NULL. */
static void primary_sql(const struct column_plan *plan, const char *index, struct text *sql)
{
    const struct twin_index *primary = primary_of(plan);

    sql_expand(sql,
               "ALTER TABLE {table} DROP CONSTRAINT {name};\n"
               "ALTER TABLE {table} ADD CONSTRAINT {name} PRIMARY KEY USING INDEX {index};\n",
               SQL_NAMES({"table", sql_table(plan->schema, plan->table)},
                         {"name", sql_ident(primary->constraint)}, {"index", sql_ident(index)}));
    column_index_marks_sql(plan, primary, sql);
}

void column_index_marks_sql(const struct column_plan *plan, const struct twin_index *index,
                            struct text *sql)
{
    const struct sql_name *names = SQL_NAMES(
        {"table", sql_table(plan->schema, plan->table)}, {"name", sql_ident(index->name)},
        {"index", sql_table(plan->schema, index->name)}, {"comment", sql_literal(index->comment)},
        {"constraint_comment", sql_literal(index->constraint_comment)});

    if (index->comment != NULL)
        sql_expand(sql, "COMMENT ON INDEX {index} IS {comment};\n", names);
    if (index->constraint_comment != NULL)
        sql_expand(sql, "COMMENT ON CONSTRAINT {name} ON {table} IS {constraint_comment};\n",
                   names);
    if (index->clustered)
        sql_expand(sql, "ALTER TABLE {table} CLUSTER ON {name};\n", names);
}

/* The index that names rows to subscribers must be over columns that are NOT NULL. */
static void identity_index_sql(const struct swap_text *swap, struct text *sql)
{
    const struct column_plan *plan = swap->plan;
    const struct twin *twin = plan->twin;

    for (int i = 0; i < twin->index_count; i++) {
        const struct twin_index *index = &twin->indexes[i];
        bool own_name = !swap->forward || index->constraint_type == 'p';

        if (index->replica_identity)
            sql_expand(sql, "ALTER TABLE {table} REPLICA IDENTITY USING INDEX {index};\n",
                       SQL_NAMES({"table", sql_table(plan->schema, plan->table)},
                                 {"index", sql_ident(own_name ? index->name : index->twin_name)}));
    }
}

/* By the name, and with the comment, that 18 keeps. Reads no row: there is a check. */
static void not_null_again_sql(const struct column_plan *plan, struct text *sql)
{
    const struct twin *twin = plan->twin;
    const struct sql_name *names = SQL_NAMES(
        {"table", sql_table(plan->schema, plan->table)}, {"column", sql_ident(plan->hidden)},
        {"name", sql_ident(twin->not_null_name)}, {"comment", sql_literal(twin->not_null_comment)});

    if (twin->not_null_name == NULL)
        sql_expand(sql, "ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL;\n", names);
    else
        sql_expand(sql, "ALTER TABLE {table} ADD CONSTRAINT {name} NOT NULL {column};\n", names);
    if (twin->not_null_comment != NULL)
        sql_expand(sql, "COMMENT ON CONSTRAINT {name} ON {table} IS {comment};\n", names);
}

/* A retype's old column may have to be NULL from now on: it cannot hold every new value. */
static void nulls_sql(const struct swap_text *swap, struct text *sql)
{
    const struct column_plan *plan = swap->plan;
    TEXT_AUTO name = {0};
    TEXT_AUTO spare = {0};
    struct constraint_spec filled = column_filled_spec(plan, false, &name);

    if (plan->using == NULL || !plan->twin->not_null)
        return;
    if (swap->forward) {
        if (plan->primary_tail != NULL)
            primary_sql(plan, primary_of(plan)->twin_name, sql);
        identity_index_sql(swap, sql);
        column_expand(plan, "ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL;\n",
                      plan->hidden, sql);
        return;
    }
    not_null_again_sql(plan, sql);
    online_constraint_drop_sql(&filled, sql);
    text_append(sql, ";\n");
    if (plan->primary_tail != NULL)
        primary_sql(plan, column_spare_spec(plan, &spare).name, sql);
    identity_index_sql(swap, sql);
}

void column_swap_sql(const struct run *run, bool forward, const struct column_identity *identity,
                     struct text *sql)
{
    const struct column_plan *plan = column_plan_of(run);
    const struct swap_text swap = {run, plan, identity, forward};
    struct sync sync = column_sync(run, forward);
    struct pair pair = pair_of(plan, forward);

    if (!forward)
        nulls_sql(&swap, sql);
    names_sql(plan, forward, sql);
    identity_sql(&swap, pair, sql);
    defaults_sql(plan, pair, forward ? plan->twin->default_sql : plan->twin->old_default_sql, sql);
    serial_sql(&swap, pair, sql);
    if (forward)
        nulls_sql(&swap, sql);
    sync_functions_sql(&sync, sql);
}

/* $1 = the sequence, as SQL. */
static const char IDENTITY[] =
    "SELECT c.oid, n.nspname, c.relname,\n"
    "       format('START WITH %s INCREMENT BY %s MINVALUE %s MAXVALUE %s CACHE %s %sCYCLE',\n"
    "              s.seqstart, s.seqincrement, s.seqmin, CASE WHEN $2 AND s.seqmax = CASE "
    "s.seqtypid\n"
    "                  WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647\n"
    "                  ELSE 9223372036854775807 END THEN\n"
    "                  CASE $3::regtype WHEN 'int2'::regtype THEN 32767\n"
    "                  WHEN 'int4'::regtype THEN 2147483647 ELSE 9223372036854775807 END\n"
    "                  ELSE s.seqmax END,\n"
    "              s.seqcache, CASE WHEN s.seqcycle THEN '' ELSE 'NO ' END),\n"
    "       obj_description(c.oid, 'pg_class')\n"
    "  FROM pg_sequence AS s JOIN pg_class AS c ON c.oid = s.seqrelid\n"
    "  JOIN pg_namespace AS n ON n.oid = c.relnamespace\n"
    " WHERE c.oid = $1::regclass";

/* Outside the lock: a definition that changes meanwhile would make the statements fail. */
bool column_read_identity(struct run *run, bool forward, struct arena *arena,
                          struct column_identity *identity, struct error *error)
{
    const struct twin *twin = column_plan_of(run)->twin;
    ROWS_AUTO rows = {0};

    if (twin->identity == '\0')
        return true;
    if (!session_query(run->session, &rows, IDENTITY,
                       PARAMS(twin->sequence, "true", forward ? twin->type : twin->old_type),
                       error))
        return false;
    identity->schema = arena_copy(arena, rows_text(&rows, 0, 1));
    identity->sequence = arena_copy(arena, rows_text(&rows, 0, 2));
    identity->options = arena_copy(arena, rows_text(&rows, 0, 3));
    identity->comment = arena_copy(arena, rows_text(&rows, 0, 4));
    return grants_read(run->session, (uint32_t)rows_int64(&rows, 0, 0), arena, &identity->grants,
                       error);
}
