/*
 * What cannot have a twin, and why. The rest of what may be in the way (the table is partitioned,
 * temporary, somebody else's) is the kind's to ask (copy/inspect.h).
 */
#include "copy/twin_parts.h"

#include <string.h>

static bool refuse(const char *what, const char *why, const char *todo, struct error *error)
{
    error_set(error, ERROR_REFUSED, "%s", what);
    error_detail(error, "%s", why);
    return error_hint(error, "%s", todo);
}

/*
 * The first that applies: what, why, what to do. $1 = table, $2 = number of the column, $3: the
 * type is another one. A name in a message is quoted as SQL quotes it. {nulls}: since 15; {period}:
 * since 18.
 */
static const char REFUSED[] =
    "WITH me AS (\n"
    "    SELECT c.*, format('%I.%I', n.nspname, c.relname) AS name, a.attname,\n"
    "           a.attinhcount, a.attislocal, a.atthasdef\n"
    "      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace\n"
    "      JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = $2::int2\n"
    "     WHERE c.oid = $1::oid\n"
    "), index AS (\n"
    "    SELECT i.*, x.relname AS name, k.conname, k.contype, k.condeferrable,\n"
    "           $2::int2 = ANY (i.indkey) OR EXISTS (\n"
    "               SELECT FROM pg_depend AS d\n"
    "                WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid\n"
    "                  AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid\n"
    "                  AND d.refobjsubid = $2::int2)\n"
    "           OR EXISTS (SELECT FROM pg_depend AS d\n"
    "                WHERE d.classid = 'pg_constraint'::regclass AND d.objid = k.oid\n"
    "                  AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid\n"
    "                  AND d.refobjsubid = $2::int2) AS has\n"
    "      FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid\n"
    "      LEFT JOIN pg_constraint AS k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid\n"
    "            AND k.contype IN ('p', 'u', 'x')\n"
    "     WHERE i.indrelid = $1::oid AND i.indisvalid\n"
    "), key AS (\n"
    "    SELECT k.*, format('%I.%I', n.nspname, c.relname) AS other, c.relkind AS other_kind,\n"
    "           c.relowner AS other_owner, c.oid AS other_oid, {period} AS period\n"
    "      FROM pg_constraint AS k\n"
    "      JOIN pg_class AS c ON c.oid = CASE WHEN k.conrelid = $1::oid THEN k.confrelid\n"
    "                                         ELSE k.conrelid END\n"
    "      JOIN pg_namespace AS n ON n.oid = c.relnamespace\n"
    "     WHERE k.contype = 'f'\n"
    "       AND (k.conrelid = $1::oid AND $2::int2 = ANY (k.conkey)\n"
    "            OR k.confrelid = $1::oid AND $2::int2 = ANY (k.confkey))\n"
    ")\n"
    "SELECT r.what, r.why, r.todo FROM (\n"
    "    SELECT 1, format('%s is a typed table', me.name),\n"
    "           'columns cannot be added to one', format('ALTER TABLE %s NOT OF', me.name)\n"
    "      FROM me WHERE me.reloftype <> 0\n"
    "    UNION ALL\n"
    "    SELECT 2, format('%s inherits column %I', me.name, me.attname),\n"
    "           'it would have to change in the parent, too', 'end the inheritance first'\n"
    "      FROM me WHERE me.attinhcount > 0 OR NOT me.attislocal OR me.relispartition\n"
    "    UNION ALL\n"
    "    SELECT 3, format('%s inherits from %s', i.inhrelid::regclass, me.name),\n"
    "           'a new column would appear there, too',\n"
    "           format('ALTER TABLE %s NO INHERIT %s, and back after finish',\n"
    "                  i.inhrelid::regclass, me.name)\n"
    "      FROM me JOIN pg_inherits AS i ON i.inhparent = me.oid\n"
    "    UNION ALL\n"
    "    SELECT 4, format('%s has had %s columns, which is the most there can be', me.name,\n"
    "                     me.relnatts),\n"
    "           'dropped ones count', 'pghaul alter makes the table anew, without dropped ones'\n"
    "      FROM me WHERE me.relnatts >= 1600\n"
    "    UNION ALL\n"
    "    SELECT 5, format('generated column %I reads column %I', g.attname, me.attname),\n"
    "           'its expression cannot be given another column while rows are there',\n"
    "           format('drop column %I, and add it again after finish', g.attname)\n"
    "      FROM me JOIN pg_attribute AS g ON g.attrelid = me.oid AND g.attgenerated <> ''\n"
    "      LEFT JOIN pg_attrdef AS f ON f.adrelid = me.oid AND f.adnum = g.attnum\n"
    "     WHERE EXISTS (SELECT FROM pg_depend AS d\n"
    "                    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = me.oid\n"
    "                      AND d.refobjsubid = $2::int2 AND g.attnum <> $2::int2\n"
    "                      AND (d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid\n"
    "                           OR d.classid = 'pg_class'::regclass AND d.objid = me.oid\n"
    "                              AND d.objsubid = g.attnum))\n"
    "    UNION ALL\n"
    "    SELECT 6, format('exclusion constraint %I has column %I', i.conname, me.attname),\n"
    "           'its index cannot be built concurrently',\n"
    "           format('drop constraint %I, and add it again after finish', i.conname)\n"
    "      FROM me, index AS i\n"
    "     WHERE i.has AND i.conname IS NOT NULL AND (i.contype = 'x' OR i.indisexclusion)\n"
    "    UNION ALL\n"
    "    SELECT 7, format('constraint %I is deferrable', i.conname),\n"
    "           'until the columns change places the index of its twin would check at once, and '\n"
    "               'so be stricter than what the application relies on',\n"
    "           format('make constraint %I NOT DEFERRABLE', i.conname)\n"
    "      FROM me, index AS i\n"
    "     WHERE i.has AND i.condeferrable\n"
    "    UNION ALL\n"
    "    SELECT 8, format('unique index %I takes nulls for equal', i.name),\n"
    "           'values that are different may convert to one, and rows that are not converted '\n"
    "               'yet have none',\n"
    "           format('drop index %I, and create it again after finish', i.name)\n"
    "      FROM me, index AS i\n"
    "     WHERE i.has AND $3::bool AND {nulls}\n"
    "    UNION ALL\n"
    "    SELECT 9, format('%s is over whole rows', o.name),\n"
    "           'a new column would change what it means', format('drop %s first', o.name)\n"
    "      FROM (SELECT format('index %I', i.name), concat(i.indexprs::text, i.indpred::text)\n"
    "              FROM index AS i\n"
    "             UNION ALL\n"
    "            SELECT format('constraint %I', k.conname), k.conbin::text\n"
    "              FROM pg_constraint AS k WHERE k.conrelid = $1::oid\n"
    "             UNION ALL\n"
    "            SELECT format('statistics object %I', s.stxname), s.stxexprs::text\n"
    "              FROM pg_statistic_ext AS s WHERE s.stxrelid = $1::oid) AS o(name, stored)\n"
    "     WHERE strpos(o.stored, ' :varattno 0 ') > 0\n"
    "    UNION ALL\n"
    "    SELECT 10, format('foreign key %I is with a partitioned table', k.conname),\n"
    "           format('%s would be locked with all its partitions', k.other),\n"
    "           format('drop foreign key %I, and add it again after finish', k.conname)\n"
    "      FROM key AS k WHERE k.other_kind <> 'r' OR k.conparentid <> 0\n"
    "    UNION ALL\n"
    "    SELECT 11, format('foreign key %I is over a PERIOD', k.conname),\n"
    "           'the key that it references cannot be built concurrently',\n"
    "           format('drop foreign key %I, and add it again after finish', k.conname)\n"
    "      FROM key AS k WHERE k.period\n"
    "    UNION ALL\n"
    "    SELECT 12, format('foreign key %I sets column %I to its default', k.conname, "
    "me.attname),\n"
    "           'until the columns change places the twin has none',\n"
    "           format('make foreign key %I ON DELETE NO ACTION, or drop the default', k.conname)\n"
    "      FROM me, key AS k\n"
    "     WHERE k.conrelid = $1::oid AND 'd' IN (k.confdeltype, k.confupdtype)\n"
    "       AND $2::int2 = ANY (k.conkey) AND me.atthasdef\n"
    "    UNION ALL\n"
    "    SELECT 13, format('role %I does not own %s, which has foreign key %I', current_user,\n"
    "                      k.other, k.conname),\n"
    "           'the foreign key has to be made anew',\n"
    "           format('GRANT %I TO %I', pg_get_userbyid(k.other_owner), current_user)\n"
    "      FROM key AS k\n"
    "     WHERE k.conrelid <> $1::oid AND NOT pg_has_role(k.other_owner, 'USAGE')\n"
    "    UNION ALL\n"
    "    SELECT 14, format('role %I may not reference %s, or not lock it', current_user, "
    "k.other),\n"
    "           format('foreign key %I has to be made anew', k.conname),\n"
    "           format('GRANT REFERENCES, UPDATE ON %s TO %I', k.other, current_user)\n"
    "      FROM key AS k\n"
    "     WHERE k.conrelid = $1::oid AND k.confrelid <> $1::oid\n"
    "       AND NOT (has_table_privilege(k.other_oid, 'UPDATE, DELETE, TRUNCATE')\n"
    "                AND (SELECT bool_and(has_column_privilege(k.other_oid, u, 'REFERENCES'))\n"
    "                       FROM unnest(k.confkey) AS u))\n"
    "    UNION ALL\n"
    "    SELECT 15, format('column %I has a security label of provider %I', me.attname,\n"
    "                      l.provider),\n"
    "           'the twin would not have it',\n"
    "           format('SECURITY LABEL FOR %I ON COLUMN %s.%I IS NULL, and set it again after '\n"
    "                  'finish', l.provider, me.name, me.attname)\n"
    "      FROM me JOIN pg_seclabel AS l ON l.classoid = 'pg_class'::regclass\n"
    "             AND l.objoid = me.oid AND l.objsubid = $2::int2\n"
    ") AS r(place, what, why, todo)\n"
    " ORDER BY r.place, r.what LIMIT 1";

bool twin_check(struct twin_reading *reading, struct error *error)
{
    int version = session_server_version(reading->session);
    TEXT_AUTO sql = {0};
    ROWS_AUTO rows = {0};

    if (reading->column->generated)
        return refuse(arena_format(reading->arena, "column %s is generated", reading->column->name),
                      "nothing writes it, so there is nothing to feed a twin from",
                      "drop it, and add it under the other name or type", error);
    sql_expand(
        &sql, REFUSED,
        SQL_NAMES({"nulls", sql_fragment(version >= 150000 ? "i.indnullsnotdistinct" : "false")},
                  {"period", sql_fragment(version >= 180000 ? "k.conperiod" : "false")}));
    if (!session_query(reading->session, &rows, text_string(&sql),
                       PARAMS(NUMBER(reading->table->oid), NUMBER(reading->column->number),
                              reading->type == NULL ? "false" : "true"),
                       error))
        return false;
    return rows_count(&rows) == 0 ||
           refuse(rows_text(&rows, 0, 0), rows_text(&rows, 0, 1), rows_text(&rows, 0, 2), error);
}

/* ------------------------------------------------------------------------------------------ type
 */

/* Of column $2 of table $1: a domain that has constraints, itself or below. */
static const char DOMAIN[] =
    "WITH RECURSIVE type AS (\n"
    "    SELECT t.* FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid\n"
    "     WHERE a.attrelid = $1::oid AND a.attname = $2\n"
    "     UNION ALL\n"
    "    SELECT t.* FROM type JOIN pg_type AS t ON t.oid = type.typbasetype\n"
    "     WHERE type.typtype = 'd')\n"
    "SELECT format('domain %s has constraints', type.oid::regtype),\n"
    "       'the server rewrites a table that gets a column of such a type',\n"
    "       format('drop them until finish, or pghaul alter')\n"
    "  FROM type WHERE type.typtype = 'd'\n"
    "   AND (type.typnotnull OR EXISTS (SELECT FROM pg_constraint AS k\n"
    "                                    WHERE k.contypid = type.oid))";

/* "bigint, DROP COLUMN note": more than a type. */
static bool check_others(const struct twin_reading *reading, struct error *error)
{
    const struct table *clone = reading->clone;
    const struct table *table = reading->table;
    bool same = clone->column_count == table->column_count;

    for (int i = 0; same && i < table->column_count; i++)
        same = &table->columns[i] == reading->column ||
               (strcmp(clone->columns[i].name, table->columns[i].name) == 0 &&
                strcmp(clone->columns[i].type, table->columns[i].type) == 0);
    return same || error_set(error, ERROR_REFUSED, "\"%s\" is more than a type", reading->type);
}

static bool check_identity(const struct twin_reading *reading, struct error *error)
{
    const char *type = table_column_by_name(reading->clone, reading->name)->type;

    if (reading->column->identity == '\0' || strcmp(type, "bigint") == 0 ||
        strcmp(type, "integer") == 0 || strcmp(type, "smallint") == 0)
        return true;
    return refuse(
        arena_format(reading->arena, "column %s is an identity column", reading->column->name),
        "the type of one is smallint, integer or bigint",
        "ALTER TABLE .. ALTER COLUMN .. DROP IDENTITY first", error);
}

bool twin_check_type(struct twin_reading *reading, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!check_others(reading, error) || !check_identity(reading, error) ||
        !session_query(reading->session, &rows, DOMAIN,
                       PARAMS(NUMBER(reading->clone->oid), reading->name), error))
        return false;
    return rows_count(&rows) == 0 ||
           refuse(rows_text(&rows, 0, 0), rows_text(&rows, 0, 1), rows_text(&rows, 0, 2), error);
}
