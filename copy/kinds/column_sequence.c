#include <string.h>

#include "copy/kinds/column_parts.h"

/* The sequences that feed the column, when it is planned; column_swap_sql.c moves them. */

static bool is_integer(const char *type)
{
    return strcmp(type, "smallint") == 0 || strcmp(type, "integer") == 0 ||
           strcmp(type, "bigint") == 0;
}

/* A serial's sequence follows the column, unless it has the new type already. */
bool column_plan_sequence(struct run *run, struct error *error)
{
    struct column_plan *plan = column_plan_of(run);
    const struct twin *twin = plan->twin;
    ROWS_AUTO rows = {0};

    if (!twin->sequence_is_serial || !is_integer(twin->type) ||
        strcmp(twin->type, twin->old_type) == 0)
        return true;
    if (!session_query(run->session, &rows,
                       "SELECT format_type(seqtypid, NULL) FROM pg_sequence\n"
                       " WHERE seqrelid = $1::regclass",
                       PARAMS(twin->sequence), error))
        return false;
    if (rows_count(&rows) == 1 && strcmp(rows_text(&rows, 0, 0), twin->type) != 0)
        plan->sequence_type = arena_copy(&plan->arena, rows_text(&rows, 0, 0));
    return true;
}

/* Who else refers to sequence $1, an identity's: the swap makes another one, and drops it. */
static const char USED_BY[] =
    "SELECT string_agg(DISTINCT pg_describe_object(classid, objid, objsubid), ', ')\n"
    "  FROM pg_depend\n"
    " WHERE refclassid = 'pg_class'::regclass AND refobjid = $1::regclass AND deptype = 'n'";

bool column_check_sequence(struct run *run, struct error *error)
{
    const struct column_plan *plan = column_plan_of(run);
    const struct twin *twin = plan->twin;
    ROWS_AUTO rows = {0};

    if (twin->identity == '\0')
        return true;
    if (!is_integer(twin->type)) {
        error_set(error, ERROR_REFUSED,
                  "column %s is an identity column, and type %s cannot be one", plan->column,
                  twin->type);
        return error_hint(error,
                          "change it to smallint, integer or bigint, or DROP IDENTITY first");
    }
    if (!session_query(run->session, &rows, USED_BY, PARAMS(twin->sequence), error))
        return false;
    if (rows_text(&rows, 0, 0) == NULL)
        return true;
    error_set(error, ERROR_REFUSED, "sequence %s of identity column %s is used elsewhere",
              twin->sequence, plan->column);
    error_detail(error, "%s refers to it, and another one takes its place", rows_text(&rows, 0, 0));
    return error_hint(error, "give it a sequence of its own");
}

/* Sequences narrower than type $3 that the default of column $2 of table $1 draws from, though the
 * column does not own them: others may draw from them, too. */
static const char STAY[] =
    "SELECT s.oid::regclass, format_type(q.seqtypid, NULL)\n"
    "  FROM pg_attrdef AS d\n"
    "  JOIN pg_depend AS u ON u.classid = 'pg_attrdef'::regclass AND u.objid = d.oid\n"
    "   AND u.refclassid = 'pg_class'::regclass\n"
    "  JOIN pg_class AS s ON s.oid = u.refobjid AND s.relkind = 'S'\n"
    "  JOIN pg_sequence AS q ON q.seqrelid = s.oid\n"
    "  JOIN pg_type AS narrow ON narrow.oid = q.seqtypid\n"
    "  JOIN pg_type AS wide ON wide.oid = $3::regtype AND wide.typlen > narrow.typlen\n"
    " WHERE d.adrelid = $1::oid AND d.adnum = $2::int2\n"
    "   AND NOT EXISTS (SELECT FROM pg_depend AS o\n"
    "                    WHERE o.classid = 'pg_class'::regclass AND o.objid = s.oid\n"
    "                      AND o.refclassid = 'pg_class'::regclass AND o.deptype = 'a'\n"
    "                      AND o.refobjid = d.adrelid AND o.refobjsubid = d.adnum)\n"
    " ORDER BY s.oid";

bool column_report_sequence(struct run *run, const struct table_column *column,
                            struct report *report, struct error *error)
{
    const struct column_plan *plan = column_plan_of(run);
    const char *type = plan->twin->type;
    ROWS_AUTO rows = {0};

    if (!is_integer(type))
        return true;
    if (!session_query(run->session, &rows, STAY,
                       PARAMS(NUMBER(plan->table_oid), NUMBER(column->number), type), error))
        return false;
    for (int i = 0; i < rows_count(&rows); i++)
        report_add(report, "also",
                   "sequence %s stays %s: ALTER SEQUENCE %s AS %s when you are past "
                   "it",
                   rows_text(&rows, i, 0), rows_text(&rows, i, 1), rows_text(&rows, i, 0), type);
    return true;
}
