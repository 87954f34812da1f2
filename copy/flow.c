#include "copy/flow.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

static void add(struct flow *flow, const char *name, struct sql_value value)
{
    int count = 0;

    while (flow->names[count].name != NULL)
        count++;
    assert(count < FLOW_NAMES_MAX);
    flow->names[count] = (struct sql_name){name, value};
}

static void add_fragment(struct flow *flow, const char *name, struct text *sql)
{
    add(flow, name, sql_fragment(arena_copy(&flow->arena, text_string(sql))));
    text_clear(sql);
}

static const char *quoted(struct flow *flow, struct sql_value value)
{
    TEXT_AUTO text = {0};

    sql_append(&text, value);
    return arena_copy(&flow->arena, text_string(&text));
}

/* A table as {name}, and as {name_literal} for functions that take a regclass: its qualified name
 * within a literal. */
static const char *add_table(struct flow *flow, const char *name, const char *schema,
                             const char *table)
{
    const char *qualified = quoted(flow, sql_table(schema, table));

    add(flow, name, sql_fragment(qualified));
    add(flow, arena_format(&flow->arena, "%s_literal", name), sql_literal(qualified));
    return qualified;
}

/* What a direction sees of a column or a key column. */
struct side {
    const char *from; /* name; NULL: none */
    const char *to;
    const char *from_type;
    const char *to_type;
    const char *map; /* expression over r; NULL: r.from */
    bool to_generated;
};

static struct side column_side(const struct flow *flow, const struct plan_column *column)
{
    if (flow->direction == FLOW_FORWARD)
        return (struct side){column->source,      column->target, column->source_type,
                             column->target_type, column->map,    column->target_generated};
    return (struct side){column->target,      column->source,      column->target_type,
                         column->source_type, column->reverse_map, column->source_generated};
}

static struct side key_side(const struct flow *flow, const struct plan_key_column *key)
{
    if (flow->direction == FLOW_FORWARD)
        return (struct side){key->source,      key->target, key->source_type,
                             key->target_type, NULL,        false};
    return (struct side){key->target, key->source, key->target_type, key->source_type, NULL, false};
}

/* An expression over r that yields the value of the target column, as an assignment would take it.
 */
static void append_value(struct text *out, const struct side *side)
{
    if (side->map != NULL)
        text_appendf(out, "(%s)", side->map);
    else
        sql_expand(out, "r.{column}", SQL_NAMES({"column", sql_ident(side->from)}));
}

/*
 * Column lists. A target column gets a value when there is a source column or a map for it and it
 * is not generated; the others of `to` keep what they have (replay), or get their defaults (load).
 */
static void add_columns(struct flow *flow, const struct plan *plan)
{
    TEXT_AUTO columns = {0};  /* "a", "b"          of to */
    TEXT_AUTO values = {0};   /* r."a", r."b"      assigned */
    TEXT_AUTO casts = {0};    /* r."a"::type       as they are stored in to: for comparing */
    TEXT_AUTO s_values = {0}; /* s."a", s."b" */
    TEXT_AUTO set = {0};      /* "a" = excluded."a", ... */
    TEXT_AUTO kept = {0};     /* columns of to that get nothing */
    TEXT_AUTO s_kept = {0};
    TEXT_AUTO w_kept = {0};

    for (int i = 0; i < plan->column_count; i++) {
        struct side side = column_side(flow, &plan->columns[i]);

        if (side.to == NULL || side.to_generated)
            continue;
        if (side.from == NULL && side.map == NULL) {
            text_append(&kept, ", ");
            sql_append(&kept, sql_ident(side.to));
            sql_expand(&s_kept, ", s.{column}", SQL_NAMES({"column", sql_ident(side.to)}));
            sql_expand(&w_kept, ", w.{column}", SQL_NAMES({"column", sql_ident(side.to)}));
            flow->keeps = true;
            continue;
        }
        text_separate(&columns, ", ");
        sql_append(&columns, sql_ident(side.to));
        text_separate(&values, ", ");
        append_value(&values, &side);
        text_separate(&casts, ", ");
        append_value(&casts, &side);
        text_appendf(&casts, "::%s", side.to_type);
        text_separate(&s_values, ", ");
        sql_expand(&s_values, "s.{column}", SQL_NAMES({"column", sql_ident(side.to)}));
        text_separate(&set, ", ");
        sql_expand(&set, "{column} = excluded.{column}", SQL_NAMES({"column", sql_ident(side.to)}));
    }
    add_fragment(flow, "columns", &columns);
    add_fragment(flow, "values", &values);
    add_fragment(flow, "casts", &casts);
    add_fragment(flow, "s_values", &s_values);
    add_fragment(flow, "set", &set);
    add_fragment(flow, "and_kept", &kept);
    add_fragment(flow, "and_s_kept", &s_kept);
    add_fragment(flow, "and_w_kept", &w_kept);
}

/*
 * s.key = k.key, k with the type of `from`. Where types differ there is no cast of k to the other
 * type: on the way back a bigint or numeric may not fit (an error, for a key that was deleted, too:
 * no rollback ever), and a text that is cut to varchar(n) is another row's key. The server compares
 * integers of any width, and text and varchar, as they are and by index; a numeric that is no
 * integer of that type equals none.
 */
static const char *key_comparison(const struct side *side)
{
    static const struct {
        const char *type;
        const char *comparison;
    } OF_NUMERIC[] = {
#define INTEGER(type, low, high)                                                          \
    {type, "{and}s.{to} OPERATOR(pg_catalog.=) CASE WHEN k.{k} BETWEEN " low " AND " high \
           " AND k.{k} = trunc(k.{k}) THEN k.{k}::{to_type} END"}
        INTEGER("smallint", "-32768", "32767"),
        INTEGER("integer", "-2147483648", "2147483647"),
        INTEGER("bigint", "-9223372036854775808", "9223372036854775807"),
#undef INTEGER
    };

    if (strcmp(side->from_type, side->to_type) == 0)
        return "{and}s.{to} {to_equal} k.{k}";
    for (size_t i = 0; i < sizeof(OF_NUMERIC) / sizeof(OF_NUMERIC[0]); i++)
        if (strncmp(side->from_type, "numeric", strlen("numeric")) == 0 &&
            strcmp(side->to_type, OF_NUMERIC[i].type) == 0)
            return OF_NUMERIC[i].comparison;
    return "{and}s.{to} OPERATOR(pg_catalog.=) k.{k}";
}

/* Everything about the key. Operators are qualified: under search_path = pg_catalog, citext =
 * citext would mean text. */
static void add_key(struct flow *flow, const struct plan *plan)
{
    TEXT_AUTO k = {0};            /* k1, k2 */
    TEXT_AUTO k_definition = {0}; /* k1 bigint, k2 text COLLATE .. */
    TEXT_AUTO k_k = {0};          /* k.k1, k.k2 */
    TEXT_AUTO l_k = {0};          /* l.k1, l.k2 */
    TEXT_AUTO key_of_r = {0};     /* r."id", r."b"      as k1, k2 */
    TEXT_AUTO key_of_s = {0};     /* s."id"::from_type  as k1, k2 */
    TEXT_AUTO key_of_new = {0};   /* NEW."id", ... */
    TEXT_AUTO key_of_old = {0};
    TEXT_AUTO key_columns = {0}; /* "id", "b"          of to: ON CONFLICT */
    TEXT_AUTO r_is_k = {0}, s_is_k = {0}, l_is_k = {0}, r_is_s = {0}, b_is_k = {0}, w_is_k = {0};
    TEXT_AUTO key_of_pair = {0}; /* coalesce(r."id", s."id"::from_type) AS k1, ... */
    TEXT_AUTO k_text = {0};      /* concat_ws(', ', k.k1, ...) */
    TEXT_AUTO k_is_logged = {0};
    TEXT_AUTO bucket_is = {0};
    TEXT_AUTO not_kept = {0};
    TEXT_AUTO on_conflict = {0}; /* without a target where the server allows that */

    for (int i = 0; i < plan->key_count; i++) {
        struct side side = key_side(flow, &plan->key[i]);
        const char *from_equal =
            flow->direction == FLOW_FORWARD ? plan->key[i].source_equal : plan->key[i].target_equal;
        const char *to_equal =
            flow->direction == FLOW_FORWARD ? plan->key[i].target_equal : plan->key[i].source_equal;
        const struct sql_name *names = SQL_NAMES(
            {"k", sql_fragment(arena_format(&flow->arena, "k%d", i + 1))},
            {"from", sql_ident(side.from)}, {"to", sql_ident(side.to)},
            {"from_type", sql_fragment(side.from_type)}, {"to_type", sql_fragment(side.to_type)},
            {"from_equal", sql_fragment(from_equal)}, {"to_equal", sql_fragment(to_equal)},
            {"collate",
             sql_fragment(plan->key[i].collation == NULL
                              ? ""
                              : arena_format(&flow->arena, " COLLATE %s", plan->key[i].collation))},
            {"and", sql_fragment(i > 0 ? " AND " : "")},
            {"comma", sql_fragment(i > 0 ? ", " : "")});

        sql_expand(&k, "{comma}{k}", names);
        sql_expand(&k_definition, "{comma}{k} {from_type}{collate}", names);
        sql_expand(&k_k, "{comma}k.{k}", names);
        sql_expand(&l_k, "{comma}l.{k}", names);
        sql_expand(&key_of_r, "{comma}r.{from} AS {k}", names);
        sql_expand(&key_of_s, "{comma}s.{to}::{from_type} AS {k}", names);
        sql_expand(&key_of_new, "{comma}NEW.{from} AS {k}", names);
        sql_expand(&key_of_old, "{comma}OLD.{from} AS {k}", names);
        sql_expand(&key_columns, "{comma}{to}", names);
        sql_expand(&r_is_k, "{and}r.{from} {from_equal} k.{k}", names);
        sql_expand(&s_is_k, key_comparison(&side), names);
        sql_expand(&l_is_k, "{and}l.{k} {from_equal} k.{k}", names);
        sql_expand(&b_is_k, "{and}b.{k} {from_equal} k.{k}", names);
        sql_expand(&w_is_k, "{and}w.{k} {from_equal} k.{k}", names);
        /* Where types differ, the server finds the operator: int4 = int8 keeps both sides in index
         * order. */
        sql_expand(&r_is_s,
                   strcmp(side.from_type, side.to_type) == 0
                       ? "{and}r.{from} {from_equal} s.{to}"
                       : "{and}r.{from} OPERATOR(pg_catalog.=) s.{to}",
                   names);
        sql_expand(&key_of_pair, "{comma}coalesce(r.{from}, s.{to}::{from_type}) AS {k}", names);
        sql_expand(&k_text, i == 0 ? "concat_ws(', ', k.{k}" : ", k.{k}", names);
        if (i == 0) {
            add(flow, "r_first",
                sql_fragment(
                    arena_format(&flow->arena, "r.%s", quoted(flow, sql_ident(side.from)))));
            add(flow, "s_first",
                sql_fragment(arena_format(&flow->arena, "s.%s", quoted(flow, sql_ident(side.to)))));
        }
    }
    if (flow->keeps)
        text_appendf(&not_kept,
                     "\n       AND NOT EXISTS (SELECT FROM pg_temp.kept_%s AS w WHERE %s)",
                     flow->label, text_string(&w_is_k));
    if (flow->hashable)
        text_appendf(&bucket_is,
                     "(hash_record_extended(ROW(%s), 0) & 2147483647) %% $3::bigint = "
                     "(($1::text[])[1])::bigint",
                     text_string(&l_k));
    else
        text_append(&bucket_is, "$3::bigint > 0");
    text_append(&k_text, ")");
    text_appendf(&k_is_logged,
                 "(EXISTS (SELECT FROM pghaul.%s_a AS b WHERE %s) OR EXISTS (SELECT FROM "
                 "pghaul.%s_b AS b WHERE %s)\n"
                 "     OR EXISTS (SELECT FROM pghaul.%s_stuck AS b WHERE %s))",
                 flow->label, text_string(&b_is_k), flow->label, text_string(&b_is_k), flow->label,
                 text_string(&b_is_k));
    text_append(&on_conflict, "ON CONFLICT");
    if (flow->direction == FLOW_BACKWARD && plan->no_dual_back)
        text_appendf(&on_conflict, " (%s)", text_string(&key_columns));
    add_fragment(flow, "on_conflict", &on_conflict);
    add_fragment(flow, "key_of_pair", &key_of_pair);
    add_fragment(flow, "k_text", &k_text);
    add_fragment(flow, "k_is_logged", &k_is_logged);
    add_fragment(flow, "bucket_is", &bucket_is);
    add_fragment(flow, "not_kept", &not_kept);
    add_fragment(flow, "w_is_k", &w_is_k);
    add_fragment(flow, "k", &k);
    add_fragment(flow, "k_definition", &k_definition);
    add_fragment(flow, "k_k", &k_k);
    add_fragment(flow, "l_k", &l_k);
    add_fragment(flow, "key_of_r", &key_of_r);
    add_fragment(flow, "key_of_s", &key_of_s);
    add_fragment(flow, "key_of_new", &key_of_new);
    add_fragment(flow, "key_of_old", &key_of_old);
    add_fragment(flow, "key_columns", &key_columns);
    add_fragment(flow, "r_is_k", &r_is_k);
    add_fragment(flow, "s_is_k", &s_is_k);
    add_fragment(flow, "l_is_k", &l_is_k);
    add_fragment(flow, "b_is_k", &b_is_k);
    add_fragment(flow, "r_is_s", &r_is_s);
}

static void add_relations(struct flow *flow, const struct plan *plan, const struct job *job)
{
    static const char *const OPERATIONS[] = {"insert", "update", "delete", "truncate"};
    struct plan_names names;
    bool forward = flow->direction == FLOW_FORWARD;
    const char *trigger;

    plan_names(plan->table, job->id, &names);
    flow->from_qualified = add_table(flow, "from", plan->schema, plan->table);
    flow->to_qualified = add_table(flow, "to", "pghaul", forward ? names.shadow : names.old);
    add(flow, "from_oid", sql_fragment(arena_format(&flow->arena, "%" PRIu32, flow->from_oid)));
    flow->label = arena_format(&flow->arena, "%s_%" PRId64, forward ? "log" : "back", job->id);
    add(flow, "label", sql_fragment(flow->label));
    for (size_t i = 0; i < sizeof(OPERATIONS) / sizeof(OPERATIONS[0]); i++)
        add(flow, arena_format(&flow->arena, "%s_function", OPERATIONS[i]),
            sql_literal(arena_format(&flow->arena, "pghaul.%s_%s()", flow->label, OPERATIONS[i])));
    add_table(flow, "log_a", "pghaul", arena_format(&flow->arena, "%s_a", flow->label));
    add_table(flow, "log_b", "pghaul", arena_format(&flow->arena, "%s_b", flow->label));
    add_table(flow, "mark", "pghaul", arena_format(&flow->arena, "%s_mark", flow->label));
    add_table(flow, "stuck", "pghaul", arena_format(&flow->arena, "%s_stuck", flow->label));
    add_table(flow, "check", "pghaul", arena_format(&flow->arena, "%s_check", flow->label));
    add_table(flow, "purge", "pghaul", arena_format(&flow->arena, "%s_purge", flow->label));
    trigger = arena_format(&flow->arena, "pghaul_%" PRId64 "%s", job->id, forward ? "" : "_back");
    add(flow, "trigger", sql_fragment(trigger));
    add(flow, "trigger_prefix", sql_literal(arena_format(&flow->arena, "%s_", trigger)));
    add(flow, "batch_name", sql_fragment(arena_format(&flow->arena, "batch_%s", flow->label)));
    add(flow, "held_name", sql_fragment(arena_format(&flow->arena, "held_%s", flow->label)));
    add(flow, "fresh_name", sql_fragment(arena_format(&flow->arena, "fresh_%s", flow->label)));
    add(flow, "kept_name", sql_fragment(arena_format(&flow->arena, "kept_%s", flow->label)));
    add(flow, "batch", sql_fragment(arena_format(&flow->arena, "pg_temp.batch_%s", flow->label)));
    add(flow, "held", sql_fragment(arena_format(&flow->arena, "pg_temp.held_%s", flow->label)));
    add(flow, "fresh", sql_fragment(arena_format(&flow->arena, "pg_temp.fresh_%s", flow->label)));
    add(flow, "kept", sql_fragment(arena_format(&flow->arena, "pg_temp.kept_%s", flow->label)));
}

void flow_init(struct flow *flow, const struct plan *plan, const struct job *job,
               enum flow_direction direction, uint32_t from_oid)
{
    *flow = (struct flow){
        .direction = direction,
        .job = job->id,
        .fact = direction == FLOW_FORWARD ? "forward" : "backward",
        .from_oid = from_oid,
        .dual_possible = direction == FLOW_FORWARD || !plan->no_dual_back,
        .hashable = plan->key_hashable,
        .collides = direction == FLOW_FORWARD ? plan->target_collides : plan->source_collides,
    };
    add_relations(flow, plan, job);
    add_columns(flow, plan);
    add_key(flow, plan);
}

void flow_deinit(struct flow *flow)
{
    arena_deinit(&flow->arena);
    *flow = (struct flow){0};
}

void flow_expand(const struct flow *flow, struct text *out, const char *template)
{
    sql_expand(out, template, flow->names);
}

void flow_expand_with(const struct flow *flow, struct text *out, const char *template,
                      const struct sql_name *more)
{
    enum { MORE_MAX = 16 };
    struct sql_name names[FLOW_NAMES_MAX + MORE_MAX + 1];
    int count = 0;

    for (const struct sql_name *at = more; at->name != NULL; at++) {
        assert(count < MORE_MAX);
        names[count++] = *at;
    }
    memcpy(names + count, flow->names, sizeof(flow->names));
    sql_expand(out, template, names);
}

void flow_print(const struct flow *flow, struct text *script, const char *template)
{
    TEXT_AUTO sql = {0};

    flow_expand(flow, &sql, template);
    sql_add(script, text_string(&sql));
}

bool flow_run(const struct flow *flow, struct session *session, const char *template,
              struct error *error)
{
    TEXT_AUTO sql = {0};

    flow_expand(flow, &sql, template);
    return session_run_text(session, &sql, error);
}

bool flow_execute(const struct flow *flow, struct session *session, const char *template,
                  struct params params, int64_t *affected, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!flow_query(flow, session, &rows, template, params, error))
        return false;
    if (affected != NULL)
        *affected = rows_affected(&rows);
    return true;
}

bool flow_query(const struct flow *flow, struct session *session, struct rows *rows,
                const char *template, struct params params, struct error *error)
{
    TEXT_AUTO sql = {0};

    flow_expand(flow, &sql, template);
    if (sql.overflow)
        return error_set(error, ERROR_INTERNAL, "a statement is longer than %d bytes",
                         TEXT_BYTES_MAX);
    return session_query(session, rows, text_string(&sql), params, error);
}
