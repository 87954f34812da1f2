/* How values of a retyped column become the other type, there and back. */
#include <string.h>

#include "copy/expression.h"
#include "copy/kinds/column_parts.h"
#include "engine/pg/sql.h"

/* Temporary tables with nothing but the column, as it is and as it will be: an expression over one
 * of them can read nothing else. */
static bool create_singles(struct column_preparation *prep, struct error *error)
{
    const struct twin *twin = prep->plan->twin;
    TEXT_AUTO sql = {0};

    sql_expand(&sql,
               "CREATE TEMPORARY TABLE pghaul_old ({column} {old_type});\n"
               "CREATE TEMPORARY TABLE pghaul_new ({column} {new_type})",
               SQL_NAMES({"column", sql_ident(prep->plan->column)},
                         {"old_type", sql_fragment(twin->old_type)},
                         {"new_type", sql_fragment(twin->type)}));
    return session_run_text(prep->run->session, &sql, error);
}

/* Does the server take `expression` over a row of `from` as a value of `to`, by assignment? */
static bool try_assignment(struct column_preparation *prep, const char *expression,
                           const char *from, const char *to, bool *fits, struct error *error)
{
    struct session *session = prep->run->session;
    struct error why = {0};
    TEXT_AUTO sql = {0};

    sql_expand(&sql, "EXPLAIN INSERT INTO pg_temp.{to} SELECT ({expression}\n) FROM pg_temp.{from}",
               SQL_NAMES({"to", sql_fragment(to)}, {"from", sql_fragment(from)},
                         {"expression", sql_fragment(expression)}));
    if (!session_set(session, "search_path", prep->plan->search_path, true, error) ||
        !session_run(session, "SAVEPOINT try", error))
        return false;
    *fits = session_execute(session, text_string(&sql), NO_PARAMS, NULL, &why);
    if (!*fits && why.code != ERROR_SQL && why.code != ERROR_REFUSED) {
        *error = why;
        return false;
    }
    if (!*fits)
        *error = why;
    return session_run(session, *fits ? "RELEASE SAVEPOINT try" : "ROLLBACK TO SAVEPOINT try",
                       &why) &&
           session_set(session, "search_path", "pg_catalog, pg_temp", true, &why);
}

/* Could an index be on it: is it immutable? Else what it depends on is pinned. */
static bool find_volatility(struct column_preparation *prep, const char *expression,
                            const char *from, const char *type, struct error *error)
{
    struct session *session = prep->run->session;
    struct error ignored = {0};
    TEXT_AUTO sql = {0};
    bool immutable;

    sql_expand(&sql, "CREATE INDEX ON pg_temp.{from} ((CAST(({expression}\n) AS {type}) IS NULL))",
               SQL_NAMES({"from", sql_fragment(from)}, {"expression", sql_fragment(expression)},
                         {"type", sql_fragment(type)}));
    if (!session_set(session, "search_path", prep->plan->search_path, true, error) ||
        !session_run(session, "SAVEPOINT try", error))
        return false;
    immutable = session_execute(session, text_string(&sql), NO_PARAMS, NULL, &ignored);
    prep->plan->pinned = prep->plan->pinned || !immutable;
    return session_run(session, "ROLLBACK TO SAVEPOINT try", error) &&
           session_set(session, "search_path", "pg_catalog, pg_temp", true, error);
}

/* The user's, or the column itself: then an assignment cast must do. */
static bool plan_map(struct column_preparation *prep, const char *given, const char *option,
                     const char *from, const char *to, const char *type, const char **map,
                     struct error *error)
{
    struct column_plan *plan = prep->plan;
    TEXT_AUTO itself = {0};
    bool fits;

    sql_append(&itself, sql_ident(plan->column));
    *map = arena_copy(&plan->arena, given != NULL ? given : text_string(&itself));
    if (given != NULL) {
        struct expression_source source = {.table = arena_format(&prep->arena, "pg_temp.%s", from),
                                           .search_path = plan->search_path,
                                           .what = option};
        struct expression printed;

        if (!expression_print(prep->run->session, &source, given, &prep->arena, &printed, error))
            return false;
        if (printed.varies || !printed.of_row) {
            error_set(error, ERROR_REFUSED, "%s may depend on nothing but the value of the column",
                      option);
            return error_hint(error, "no sub-selects, no volatile functions, no now()");
        }
        if (printed.stranger != NULL) {
            error_set(error, ERROR_REFUSED, "%s: %s belongs to another role", option,
                      printed.stranger);
            error_detail(error, "the triggers would run it with the rights of this one, whatever "
                                "it is replaced with");
            return error_hint(error, "run the job as its owner: --role");
        }
        plan->pinned = true;
    }
    if (!try_assignment(prep, *map, from, to, &fits, error))
        return false;
    if (!fits) {
        *map = NULL;
        return given == NULL || (error_refuse(error, NULL), error_context(error, "%s", option));
    }
    error_clear(error);
    return find_volatility(prep, *map, from, type, error);
}

/* Types whose every value the other one holds. */
static bool only_widens(const char *from, const char *to)
{
    static const struct {
        const char *from;
        const char *to;
    } WIDER[] = {{"smallint", "integer"},     {"smallint", "bigint"}, {"smallint", "numeric"},
                 {"integer", "bigint"},       {"integer", "numeric"}, {"bigint", "numeric"},
                 {"real", "double precision"}};

    for (size_t i = 0; i < sizeof(WIDER) / sizeof(WIDER[0]); i++)
        if (strcmp(WIDER[i].from, from) == 0 && strcmp(WIDER[i].to, to) == 0)
            return true;
    return false;
}

bool column_plan_maps(struct column_preparation *prep, struct error *error)
{
    const struct column_options *options = prep->options;
    const struct twin *twin = prep->plan->twin;
    struct column_plan *plan = prep->plan;

    if (prep->rename)
        return true;
    if (!create_singles(prep, error) || !plan_map(prep, options->using, "--using", "pghaul_old",
                                                  "pghaul_new", twin->type, &plan->using, error))
        return false;
    if (plan->using == NULL) {
        error_set(error, ERROR_REFUSED, "%s does not become %s by assignment", twin->old_type,
                  twin->type);
        return error_hint(error, "say how: --using 'EXPRESSION', and the way back: --back-using "
                                 "'EXPRESSION'");
    }
    plan->total = options->using == NULL && only_widens(twin->old_type, twin->type);
    if (options->using != NULL && options->back_using == NULL)
        return true;
    return plan_map(prep, options->back_using, "--back-using", "pghaul_new", "pghaul_old",
                    twin->old_type, &plan->back_using, error);
}
