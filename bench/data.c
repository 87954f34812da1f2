#include "bench/data.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/pg/sql.h"

/* One INSERT makes this many rows: slices in key order keep the heap in key order. */
enum { ROWS_PER_STATEMENT = 1000000 };

/* -- orders -- */

/*
 * {id}: bigint or serial. Keys come after the rows: the indexes are then as compact as after CREATE
 * INDEX.
 */
static const char ORDERS_CREATE[] = "CREATE TABLE {table} (\n"
                                    "    id {id} NOT NULL,\n"
                                    "    customer_id int NOT NULL,\n"
                                    "    status text NOT NULL,\n"
                                    "    amount numeric(12,2) NOT NULL,\n"
                                    "    note text,\n"
                                    "    attributes jsonb,\n"
                                    "    created_at timestamptz NOT NULL,\n"
                                    "    updated_at timestamptz NOT NULL)";

/*
 * $1, $2: first and last id; $3: seed. One hash of the id gives four numbers u1..u4 of [0,1).
 * Ids are 15 seconds apart; an order is touched for the last time up to 30 days after it was made.
 */
static const char ORDERS_FILL[] =
    "INSERT INTO {table}\n"
    "       (id, customer_id, status, amount, note, attributes, created_at, updated_at)\n"
    "SELECT id,\n"
    "       1 + (power(u1, 2) * 200000)::int,\n"
    "       CASE WHEN u2 < 0.72 THEN 'delivered' WHEN u2 < 0.84 THEN 'shipped'\n"
    "            WHEN u2 < 0.91 THEN 'paid' WHEN u2 < 0.95 THEN 'new'\n"
    "            WHEN u2 < 0.98 THEN 'cancelled' ELSE 'returned' END,\n"
    "       (500 + (power(u3, 3) * 200000)::int)::numeric * 0.01,\n"
    "       CASE WHEN u4 < 0.55 THEN NULL WHEN u4 < 0.6 THEN ''\n"
    "            WHEN u4 < 0.8 THEN 'leave at the door, code ' || (hash & 9999)\n"
    "            ELSE format('gift for %s, please wrap', substr(md5(hash::text), 1, 24)) END,\n"
    "       CASE WHEN u2 < 0.1 THEN NULL\n"
    "            ELSE jsonb_build_object(\n"
    "                'channel', (ARRAY['web','app','shop','phone'])[1 + (hash & 3)],\n"
    "                'items', 1 + (hash & 7), 'gift', u4 >= 0.8,\n"
    "                'ref', to_hex(hash & 4294967295)) END,\n"
    "       start + (id * 15 + u1 * 10) * interval '1 second',\n"
    "       start + (id * 15 + 10 + u2 * 2592000) * interval '1 second'\n"
    "  FROM (SELECT id, hash, timestamptz '2020-01-01 00:00:00+00' AS start,\n"
    "               (hash & 65535) / 65536.0::float8 AS u1,\n"
    "               ((hash >> 16) & 65535) / 65536.0::float8 AS u2,\n"
    "               ((hash >> 32) & 65535) / 65536.0::float8 AS u3,\n"
    "               ((hash >> 48) & 65535) / 65536.0::float8 AS u4\n"
    "          FROM (SELECT id, hashint8extended(id, $3::bigint) AS hash\n"
    "                  FROM generate_series($1::bigint, $2::bigint) id) AS hashes) AS draws";

static const char *const ORDERS_INDEX[] = {
    "ALTER TABLE {table} ADD PRIMARY KEY (id)",
    "CREATE INDEX ON {table} (customer_id)",
    "CREATE INDEX ON {table} (created_at)",
    NULL,
};

/* The sequence of a serial goes on after the last row; it stays unused when there is none. */
static const char ORDERS_SEQUENCE[] = "SELECT setval(pg_get_serial_sequence({table_text}, 'id'),\n"
                                      "              greatest($1::bigint, 1), $1::bigint > 0)";

/* The load may reach ids that a serial does not hold, once the table's are bigint. */
static const char *const ORDERS_LEDGER[] = {
    "CREATE TABLE {ledger} AS\n"
    "SELECT id::bigint, customer_id, status, amount, note, attributes, created_at, updated_at\n"
    "  FROM {table}",
    "ALTER TABLE {ledger} ADD PRIMARY KEY (id)",
    "VACUUM (ANALYZE) {ledger}",
    NULL,
};

/* -- acct -- */

static const char ACCT_CREATE[] = "CREATE TABLE {table} (\n"
                                  "    id bigint PRIMARY KEY,\n"
                                  "    grp int NOT NULL,\n"
                                  "    bal numeric NOT NULL,\n"
                                  "    note text,\n"
                                  "    ts timestamptz NOT NULL,\n"
                                  "    code text UNIQUE)";

/* $1, $2: first and last id; $3: seed. */
static const char ACCT_FILL[] =
    "INSERT INTO {table} (id, grp, bal, note, ts, code)\n"
    "SELECT id, hash & 127, id + (hash & 3) * 0.25,\n"
    "       CASE WHEN hash & 15 = 0 THEN NULL ELSE md5(hash::text) END,\n"
    "       timestamptz '2024-01-01 00:00:00+00' + id * interval '1 minute', 'c' || id\n"
    "  FROM (SELECT id, hashint8extended(id, $3::bigint) AS hash\n"
    "          FROM generate_series($1::bigint, $2::bigint) id) AS hashes";

static const char *const ACCT_LEDGER[] = {
    "CREATE TABLE {ledger} AS SELECT * FROM {table}",
    "ALTER TABLE {ledger} ADD PRIMARY KEY (id)",
    "VACUUM (ANALYZE) {ledger}",
    NULL,
};

/* Every statement here knows the same names. */
struct names {
    const char *schema;
    const char *table;
    char table_text[512]; /* quoted, as text for regclass */
    char ledger[128];
    const char *id; /* type of orders.id */
};

static void expand(struct text *sql, const char *template, const struct names *names)
{
    text_clear(sql);
    sql_expand(sql, template,
               SQL_NAMES({"table", sql_table(names->schema, names->table)},
                         {"table_text", sql_literal(names->table_text)},
                         {"ledger", sql_table(names->schema, names->ledger)},
                         {"schema", sql_ident(names->schema)}, {"id", sql_fragment(names->id)}));
}

static bool MUST_CHECK run(struct session *session, const char *template, const struct names *names,
                           struct params params, struct error *error)
{
    TEXT_AUTO sql = {0};

    expand(&sql, template, names);
    return session_execute(session, text_string(&sql), params, NULL, error);
}

static bool MUST_CHECK run_each(struct session *session, const char *const *templates,
                                const struct names *names, struct error *error)
{
    for (; *templates != NULL; templates++)
        if (!run(session, *templates, names, NO_PARAMS, error))
            return false;
    return true;
}

static bool MUST_CHECK fill(struct session *session, const char *template,
                            const struct names *names, const struct data_options *options,
                            struct error *error)
{
    for (int64_t first = 1; first <= options->rows; first += ROWS_PER_STATEMENT) {
        int64_t last = first + ROWS_PER_STATEMENT - 1;

        if (last > options->rows)
            last = options->rows;
        if (!run(session, template, names,
                 PARAMS(NUMBER(first), NUMBER(last), NUMBER(options->seed)), error))
            return error_context(error, "could not make rows %" PRId64 " to %" PRId64, first, last);
    }
    return true;
}

static bool MUST_CHECK make_orders(struct session *session, const struct names *names,
                                   const struct data_options *options, struct error *error)
{
    return run(session, ORDERS_CREATE, names, NO_PARAMS, error) &&
           fill(session, ORDERS_FILL, names, options, error) &&
           run_each(session, ORDERS_INDEX, names, error) &&
           (!options->serial ||
            run(session, ORDERS_SEQUENCE, names, PARAMS(NUMBER(options->rows)), error)) &&
           run(session, "VACUUM (ANALYZE) {table}", names, NO_PARAMS, error) &&
           (!options->ledger || run_each(session, ORDERS_LEDGER, names, error));
}

static bool MUST_CHECK make_acct(struct session *session, const struct names *names,
                                 const struct data_options *options, struct error *error)
{
    return run(session, ACCT_CREATE, names, NO_PARAMS, error) &&
           fill(session, ACCT_FILL, names, options, error) &&
           run(session, "VACUUM (ANALYZE) {table}", names, NO_PARAMS, error) &&
           run_each(session, ACCT_LEDGER, names, error);
}

static const struct {
    const char *name;
    const char *table;
    bool serial;
    bool (*make)(struct session *, const struct names *, const struct data_options *,
                 struct error *);
} SETS[] = {
    {"orders", "orders", false, make_orders},
    {"orders-serial", "orders", true, make_orders},
    {"acct", "acct", false, make_acct},
};

const char *data_sets(void)
{
    return "orders, orders-serial, acct";
}

static void name_objects(struct names *names, const struct data_options *options)
{
    TEXT_AUTO quoted = {0};

    sql_append(&quoted, sql_table(names->schema, names->table));
    snprintf(names->table_text, sizeof(names->table_text), "%s", text_string(&quoted));
    if (strcmp(options->set, "acct") == 0)
        snprintf(names->ledger, sizeof(names->ledger), "ledger");
    else
        snprintf(names->ledger, sizeof(names->ledger), "%.56s_ledger", names->table);
}

bool data_make(struct session *session, const struct data_options *options, struct error *error)
{
    for (size_t i = 0; i < sizeof(SETS) / sizeof(SETS[0]); i++) {
        struct data_options ours = *options;
        struct names names = {.schema = options->schema != NULL ? options->schema : "public"};

        if (strcmp(options->set, SETS[i].name) != 0)
            continue;
        ours.serial = options->serial || SETS[i].serial;
        names.table = options->name != NULL ? options->name : SETS[i].table;
        names.id = ours.serial ? "serial" : "bigint";
        name_objects(&names, options);
        return (run(session, "CREATE SCHEMA IF NOT EXISTS {schema}", &names, NO_PARAMS, error) &&
                SETS[i].make(session, &names, &ours, error)) ||
               error_context(error, "could not make data set %s", options->set);
    }
    error_set(error, ERROR_USAGE, "there is no data set \"%s\"", options->set);
    return error_hint(error, "data sets: %s", data_sets());
}
