#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "bench/client.h"
#include "engine/base/clock.h"

/*
 * The hostile load and its ledger.
 *
 * WHY THE LEDGER IS EXACT, with many clients and every isolation level. A statement that changes
 * key k of acct holds k until its transaction ends: the row's lock when it updated or deleted it,
 * the entry in the unique index when it inserted it or moved it there; whoever wants to insert,
 * update, delete or move to k waits. Every change of ledger row k is made by a transaction that
 * already holds k this way. So changes of ledger.k are made one transaction after the other, in the
 * order of the changes of acct.k, and commit or roll back with them. What remains is that the
 * ledger's statement must see ledger.k as the transaction before left it:
 *
 *   1. Two statements (all but SINGLE_*), READ COMMITTED: the second has a snapshot of its own,
 *      taken while k is held, so it sees what the last holder of k committed. Nobody else can
 *      change it now.
 *
 *   2. Two statements, REPEATABLE READ and SERIALIZABLE: one snapshot for both. If anybody changed
 *      k after it, acct's statement fails (40001) or, for an insert over a row deleted since,
 *      ledger's row is as dead as acct's.
 *
 *   3. One statement (SINGLE_*), READ COMMITTED: its snapshot may be older than the last holder's
 *      commit. On acct the server then follows the row's chain of versions to the newest and asks
 *      the condition again (EvalPlanQual). Because ledger gets the same statements (update for
 *      update, delete for delete), ledger.k has the same chain, with the same ends, and the server
 *      finds there what it found on acct. That holds only for conditions on the key itself: a range
 *      could end at another key than the snapshot showed, so ranges are never SINGLE. Upserts look
 *      at the newest version whatever the snapshot. The ledger's part runs on what acct's part
 *      returned: after it.
 *
 *   4. TRUNCATE takes both tables in one statement, and locks acct first, as everybody does.
 *
 * The ledger's part is limited to the keys that acct's part says it touched, and otherwise computes
 * from the ledger's own values. So if acct lost a row, or had a stale one, that stays visible. A
 * swap renames acct between two transactions; the names resolve again, which is intended: within a
 * transaction acct stays locked from the first statement on.
 *
 * In one snapshot both tables are therefore equal for every reader, except for what a transaction
 * itself has changed in acct and not yet in ledger. CHECK looks at that all the time, also with a
 * snapshot that is some milliseconds old.
 */

/*
 * Statements: acct's part, and, with the next number, the ledger's, which takes the same parameters
 * and then the touched keys (k). Columns are named and keys cast, so that a changed type or a new
 * column of acct does not disturb prepared statements. Parameters have stated types and may be left
 * out.
 */
enum hostile_statement {
    CONTROL,
    CHECK,
    SNAPSHOT,
    SHARE,
    LOCK_PAIR,
    NOTHING_UPDATED,
    NOTHING_DELETED,
    SAME_VALUES,
    SET_CODE,
    EXCHANGE_LEDGER,
    TRUNCATE,
    REFILL,
    REFILL_LEDGER,
    COPY,
    COPY_LEDGER,
    SINGLE_UPDATE,
    SINGLE_DELETE,
    SINGLE_UPSERT,
    SINGLE_INSERT,
    UPDATE,
    UPDATE_RANGE = UPDATE + 2,
    DELETE = UPDATE_RANGE + 2,
    DELETE_RANGE = DELETE + 2,
    INSERT = DELETE_RANGE + 2,
    INSERT_IF_NEW = INSERT + 2,
    UPSERT = INSERT_IF_NEW + 2,
    MERGE = UPSERT + 2,
    MOVE_KEY = MERGE + 2,
    SET_KEY = MOVE_KEY + 2,
    MOVE_CODE = SET_KEY + 2,
    REINSERT = MOVE_CODE + 2,
    RESCALE = REINSERT + 2,
    NULL_OR_EMPTY = RESCALE + 2,
    TOAST = NULL_OR_EMPTY + 2,
    HOSTILE_STATEMENTS = TOAST + 2,
};

#define COLUMNS "id, grp, bal, note, ts, code"
#define SINGLE(number, label, types, sql) [number] = {label, types, sql}
#define PAIR(number, label, types, acct, ledger) \
    [number] = {label, types, acct}, [number + 1] = {label " (ledger)", types "k", ledger}

static const struct client_statement STATEMENTS[HOSTILE_STATEMENTS] = {
    SINGLE(CONTROL, "control", "", "SELECT"),

    /*
     * How many of some 20 rows look different in acct and ledger, and one of them. Must be none.
     * Compared as bags: in REPEATABLE READ a transaction that inserts a row which somebody deleted
     * after its snapshot sees two rows of that key, in both tables. The text of a number has its
     * 0s.
     */
    SINGLE(CHECK, "check", "b",
           "WITH a AS (SELECT id::bigint, bal::text, note FROM acct\n"
           "            WHERE id BETWEEN $1 AND $1 + 20),\n"
           "     l AS (SELECT id, bal::text, note FROM ledger WHERE id BETWEEN $1 AND $1 + 20)\n"
           "SELECT count(*), min(format('%s %s', place, row)) FROM (\n"
           "    SELECT 'only in acct', x FROM (TABLE a EXCEPT ALL TABLE l) AS x\n"
           "    UNION ALL\n"
           "    SELECT 'only in ledger', x FROM (TABLE l EXCEPT ALL TABLE a) AS x)\n"
           "    AS d (place, row)"),
    /* Takes a snapshot without touching a table. */
    SINGLE(SNAPSHOT, "snapshot", "", "SELECT pg_current_snapshot()"),

    SINGLE(SHARE, "share", "b", "SELECT id::bigint FROM acct WHERE id = $1 FOR KEY SHARE"),
    SINGLE(LOCK_PAIR, "lock pair", "bb",
           "SELECT id::bigint, code FROM acct WHERE id IN ($1, $2) ORDER BY id FOR UPDATE"),
    SINGLE(NOTHING_UPDATED, "update nothing", "", "UPDATE acct SET bal = bal + 1 WHERE false"),
    SINGLE(NOTHING_DELETED, "delete nothing", "", "DELETE FROM acct WHERE id IS NULL"),
    SINGLE(SAME_VALUES, "update to the same", "b",
           "UPDATE acct SET bal = bal, id = id WHERE id = $1"),
    SINGLE(SET_CODE, "set code", "bt", "UPDATE acct SET code = $2 WHERE id = $1"),
    SINGLE(EXCHANGE_LEDGER, "exchange codes (ledger)", "bb",
           "UPDATE ledger AS l SET code = o.code FROM ledger AS o\n"
           " WHERE (l.id = $1 AND o.id = $2) OR (l.id = $2 AND o.id = $1)"),

    SINGLE(TRUNCATE, "truncate", "", "TRUNCATE acct, ledger"),
    SINGLE(REFILL, "refill", "b",
           "INSERT INTO acct (" COLUMNS ")\n"
           "SELECT n, n & 127, n, 'refilled', now(), 'c' || n FROM generate_series(1, $1) AS n"),
    SINGLE(REFILL_LEDGER, "refill (ledger)", "b",
           "INSERT INTO ledger (" COLUMNS ")\n"
           "SELECT n, n & 127, n, 'refilled', now(), 'c' || n FROM generate_series(1, $1) AS n"),
    SINGLE(COPY, "copy", "", "COPY acct (" COLUMNS ") FROM STDIN"),
    SINGLE(COPY_LEDGER, "copy (ledger)", "", "COPY ledger (" COLUMNS ") FROM STDIN"),

    SINGLE(SINGLE_UPDATE, "single update", "b",
           "WITH c AS (UPDATE acct SET bal = bal + 1 WHERE id = $1 RETURNING id::bigint)\n"
           "UPDATE ledger AS l SET bal = l.bal + 1 FROM c WHERE l.id = c.id"),
    SINGLE(SINGLE_DELETE, "single delete", "b",
           "WITH c AS (DELETE FROM acct WHERE id = $1 RETURNING id::bigint)\n"
           "DELETE FROM ledger AS l USING c WHERE l.id = c.id"),
    SINGLE(SINGLE_UPSERT, "single upsert", "b",
           "WITH c AS (INSERT INTO acct AS a (" COLUMNS ") VALUES ($1, 1, 1, 'ins', now(), NULL)\n"
           "           ON CONFLICT (id) DO UPDATE SET bal = a.bal + 7 RETURNING id::bigint)\n"
           "INSERT INTO ledger AS l (" COLUMNS ") SELECT id, 1, 1, 'ins', now(), NULL FROM c\n"
           "ON CONFLICT (id) DO UPDATE SET bal = l.bal + 7"),
    SINGLE(SINGLE_INSERT, "single insert", "bt",
           "WITH c AS (INSERT INTO acct (" COLUMNS
           ") VALUES ($1, 2, 2.5, NULL, now(), $2) RETURNING id::bigint)\n"
           "INSERT INTO ledger (" COLUMNS ") SELECT id, 2, 2.5, NULL, now(), $2 FROM c"),

    PAIR(UPDATE, "update", "b",
         "UPDATE acct SET bal = bal + 1, ts = now() WHERE id = $1 RETURNING id::bigint",
         "UPDATE ledger SET bal = bal + 1, ts = now() WHERE id = ANY ($2)"),
    PAIR(UPDATE_RANGE, "update range", "b",
         "UPDATE acct SET grp = grp + 1 WHERE id BETWEEN $1 AND $1 + 20 RETURNING id::bigint",
         "UPDATE ledger SET grp = grp + 1 WHERE id = ANY ($2)"),
    PAIR(DELETE, "delete", "b", "DELETE FROM acct WHERE id = $1 RETURNING id::bigint",
         "DELETE FROM ledger WHERE id = ANY ($2)"),
    PAIR(DELETE_RANGE, "delete range", "b",
         "DELETE FROM acct WHERE id BETWEEN $1 AND $1 + 19 RETURNING id::bigint",
         "DELETE FROM ledger WHERE id = ANY ($2)"),
    PAIR(INSERT, "insert", "bt",
         "INSERT INTO acct (" COLUMNS ") VALUES ($1, 3, 3.0, '', now(), $2) RETURNING id::bigint",
         "INSERT INTO ledger (" COLUMNS ") VALUES ($1, 3, 3.0, '', now(), $2)"),
    PAIR(INSERT_IF_NEW, "insert if new", "bt",
         "INSERT INTO acct (" COLUMNS
         ") VALUES ($1, 4, 4, 'new', now(), $2) ON CONFLICT DO NOTHING\n"
         "RETURNING id::bigint",
         "INSERT INTO ledger (" COLUMNS ") VALUES ($1, 4, 4, 'new', now(), $2)"),
    /* Every one of the three keys is touched, whichever way. */
    PAIR(
        UPSERT, "upsert 3", "bbbt",
        "INSERT INTO acct AS a (" COLUMNS ")\n"
        "VALUES ($1, 1, 1, 'ins', now(), $4), ($2, 2, 2, NULL, now(), NULL),\n"
        "       ($3, 3, 3.0, '', now(), NULL)\n"
        "ON CONFLICT (id) DO UPDATE SET bal = a.bal + 7, note = excluded.note RETURNING id::bigint",
        "INSERT INTO ledger AS a (" COLUMNS ")\n"
        "VALUES ($1, 1, 1, 'ins', now(), $4), ($2, 2, 2, NULL, now(), NULL),\n"
        "       ($3, 3, 3.0, '', now(), NULL)\n"
        "ON CONFLICT (id) DO UPDATE SET bal = a.bal + 7, note = excluded.note"),
    /* Here too: matched is deleted or updated, not matched is inserted. (RETURNING is 17's.) */
    PAIR(MERGE, "merge 3", "bbb",
         "MERGE INTO acct AS a USING (VALUES ($1, 1), ($2, 2), ($3, 3)) AS v (id, x)\n"
         "    ON a.id = v.id\n"
         "WHEN MATCHED AND v.x = 2 THEN DELETE\n"
         "WHEN MATCHED THEN UPDATE SET bal = a.bal + v.x, note = 'merged'\n"
         "WHEN NOT MATCHED THEN INSERT (" COLUMNS
         ") VALUES (v.id, v.x, v.x, 'merged', now(), NULL)",
         "MERGE INTO ledger AS a USING (VALUES ($1, 1), ($2, 2), ($3, 3)) AS v (id, x)\n"
         "    ON a.id = v.id\n"
         "WHEN MATCHED AND v.x = 2 THEN DELETE\n"
         "WHEN MATCHED THEN UPDATE SET bal = a.bal + v.x, note = 'merged'\n"
         "WHEN NOT MATCHED THEN INSERT (" COLUMNS
         ") VALUES (v.id, v.x, v.x, 'merged', now(), NULL)"),
    /* $2 is free in ledger when it is in acct: acct's part holds it. */
    PAIR(MOVE_KEY, "move key", "bb",
         "UPDATE acct SET id = $2, note = 'moved'\n"
         " WHERE id = $1 AND NOT EXISTS (SELECT FROM acct WHERE id = $2) RETURNING id::bigint",
         "UPDATE ledger SET id = $2, note = 'moved' WHERE id = $1"),
    PAIR(SET_KEY, "set key", "bb", "UPDATE acct SET id = $2 WHERE id = $1 RETURNING id::bigint",
         "UPDATE ledger SET id = $2 WHERE id = $1"),
    /* The unique value of a deleted row lives on in another one. */
    PAIR(MOVE_CODE, "move code", "bb",
         "WITH d AS (DELETE FROM acct WHERE id = $1 RETURNING code)\n"
         "INSERT INTO acct (" COLUMNS
         ") SELECT $2, 5, 5.5, 'heir', now(), code FROM d RETURNING id::bigint",
         "WITH d AS (DELETE FROM ledger WHERE id = $1 RETURNING code)\n"
         "INSERT INTO ledger (" COLUMNS ") SELECT $2, 5, 5.5, 'heir', now(), code FROM d"),
    PAIR(REINSERT, "delete and insert", "b",
         "WITH d AS (DELETE FROM acct WHERE id = $1 RETURNING " COLUMNS ")\n"
         "INSERT INTO acct (" COLUMNS
         ") SELECT id, grp, bal + 3, note, now(), code FROM d RETURNING id::bigint",
         "WITH d AS (DELETE FROM ledger WHERE id = $1 RETURNING " COLUMNS ")\n"
         "INSERT INTO ledger (" COLUMNS ") SELECT id, grp, bal + 3, note, now(), code FROM d"),
    /* 1 becomes 1.0, 1.00, ...: equal to every operator, and yet another value. */
    PAIR(RESCALE, "1.0 to 1.00", "b",
         "UPDATE acct SET bal = CASE WHEN scale(bal) < 6 THEN bal * 1.0 ELSE trunc(bal) END\n"
         " WHERE id = $1 RETURNING id::bigint",
         "UPDATE ledger SET bal = CASE WHEN scale(bal) < 6 THEN bal * 1.0 ELSE trunc(bal) END\n"
         " WHERE id = $1"),
    PAIR(NULL_OR_EMPTY, "null to empty", "b",
         "UPDATE acct SET note = CASE WHEN note IS NULL THEN ''\n"
         "                             WHEN note <> '' THEN upper(note) END\n"
         " WHERE id = $1 RETURNING id::bigint",
         "UPDATE ledger SET note = CASE WHEN note IS NULL THEN ''\n"
         "                               WHEN note <> '' THEN upper(note) END\n"
         " WHERE id = $1"),
    PAIR(TOAST, "toast", "b",
         "UPDATE acct SET note = (SELECT string_agg(md5(($1 + n)::text), '')\n"
         "                      FROM generate_series(1, 100) AS n)\n"
         " WHERE id = $1 RETURNING id::bigint",
         "UPDATE ledger SET note = (SELECT string_agg(md5(($1 + n)::text), '')\n"
         "                      FROM generate_series(1, 100) AS n)\n"
         " WHERE id = $1"),
};

_Static_assert((int)HOSTILE_STATEMENTS <= (int)TRAFFIC_STATEMENTS_MAX, "room in the counters");

enum { PAIR_PARAMETERS_MAX = 8, HOT_KEYS = 50, COPY_ROWS = 20, REFILL_ROWS_MAX = 5000 };

void hostile_prepare(struct client *client)
{
    client->statements = STATEMENTS;
    client->statement_count = HOSTILE_STATEMENTS;
    client->prepares = client->number % 2 == 1;
}

/* ---------------------------------------------------------------------------------------- draws */

/*
 * A tenth of all keys is from a few that everybody wants; a tenth of the range has no rows at the
 * start.
 */
static int64_t draw_key(struct client *client)
{
    int64_t range = client->traffic->options.rows + client->traffic->options.rows / 10 + 1;

    if (client_random(client, 10) == 0)
        return 1 + client_random(client, HOT_KEYS) * (range / HOT_KEYS);
    return 1 + client_random(client, range);
}

/*
 * Up to three different keys in rising order, so that clients do not deadlock more often than a
 * sane application would.
 */
static void draw_keys(struct client *client, int64_t *keys, int count)
{
    keys[0] = draw_key(client);
    for (int i = 1; i < count; i++)
        keys[i] = keys[i - 1] + 1 + client_random(client, 50);
}

/*
 * A value for the unique column: mostly one nobody has, often none, sometimes one that a row has or
 * had.
 */
static const char *draw_code(struct client *client, char buffer[48])
{
    int64_t draw = client_random(client, 10);

    if (draw < 4)
        return NULL;
    if (draw < 9)
        snprintf(buffer, 48, "n%d-%" PRId64, client->number, client->serial++);
    else
        snprintf(buffer, 48, "c%" PRId64, draw_key(client));
    return buffer;
}

/* ----------------------------------------------------------------------------------- operations */

static bool run(struct client *client, enum hostile_statement statement, struct params params,
                PGresult **result)
{
    return client_run(client, (int)statement, params, true, result);
}

/*
 * acct's part, then the ledger's for the keys that came back. A statement that returns no rows by
 * nature (MERGE) always has its second part; one that touched nothing has none.
 */
static bool run_pair(struct client *client, enum hostile_statement statement, struct params params)
{
    TEXT_AUTO keys = {0};
    const char *values[PAIR_PARAMETERS_MAX];
    PGresult *result = NULL;
    bool touched;

    assert(params.count < PAIR_PARAMETERS_MAX);
    if (!run(client, statement, params, &result))
        return false;
    touched = PQresultStatus(result) == PGRES_COMMAND_OK || PQntuples(result) > 0;
    text_append(&keys, "{");
    for (int row = 0; row < PQntuples(result); row++)
        text_appendf(&keys, "%s%s", row > 0 ? "," : "", PQgetvalue(result, row, 0));
    text_append(&keys, "}");
    PQclear(result);
    if (!touched)
        return true;
    for (int i = 0; i < params.count; i++)
        values[i] = params.values[i];
    values[params.count] = text_string(&keys);
    return run(client, statement + 1, (struct params){values, params.count + 1}, NULL);
}

/* Two rows of the range, locked. */
struct pair {
    int64_t keys[2];
    bool found; /* both exist */
    char codes[2][64];
    bool nulls[2];
};

static bool lock_pair(struct client *client, struct pair *pair)
{
    PGresult *result = NULL;

    draw_keys(client, pair->keys, 2);
    if (!run(client, LOCK_PAIR, PARAMS(NUMBER(pair->keys[0]), NUMBER(pair->keys[1])), &result))
        return false;
    pair->found = PQntuples(result) == 2;
    for (int i = 0; i < 2 && pair->found; i++) {
        pair->nulls[i] = PQgetisnull(result, i, 1);
        snprintf(pair->codes[i], sizeof(pair->codes[i]), "%s", PQgetvalue(result, i, 1));
    }
    PQclear(result);
    return true;
}

/* The unique values of two rows change places; one is NULL in between. */
static bool exchange_codes(struct client *client)
{
    struct pair pair;
    const int64_t *keys = pair.keys;

    if (!lock_pair(client, &pair))
        return false;
    if (!pair.found)
        return true;
    return run(client, SET_CODE, PARAMS(NUMBER(keys[0]), NULL), NULL) &&
           run(client, SET_CODE, PARAMS(NUMBER(keys[1]), pair.nulls[0] ? NULL : pair.codes[0]),
               NULL) &&
           run(client, SET_CODE, PARAMS(NUMBER(keys[0]), pair.nulls[1] ? NULL : pair.codes[1]),
               NULL) &&
           run(client, EXCHANGE_LEDGER, PARAMS(NUMBER(keys[0]), NUMBER(keys[1])), NULL);
}

/* Two rows exchange their keys; one is negative in between. */
static bool exchange_keys(struct client *client)
{
    struct pair pair;
    const int64_t *keys = pair.keys;

    if (!lock_pair(client, &pair))
        return false;
    if (!pair.found)
        return true;
    return run_pair(client, SET_KEY, PARAMS(NUMBER(keys[0]), NUMBER(-keys[0]))) &&
           run_pair(client, SET_KEY, PARAMS(NUMBER(keys[1]), NUMBER(keys[0]))) &&
           run_pair(client, SET_KEY, PARAMS(NUMBER(-keys[0]), NUMBER(keys[1])));
}

/* A range is deleted and comes back by COPY, with other values. */
static bool copy_range(struct client *client)
{
    TEXT_AUTO data = {0};
    int64_t first = draw_key(client);

    for (int i = 0; i < COPY_ROWS; i++)
        text_appendf(&data, "%" PRId64 "\t%d\t%d.50\t%s\t2024-05-05 00:00:00+00\t\\N\n", first + i,
                     i, i, i % 5 == 0 ? "\\N" : "copied");
    return run_pair(client, DELETE_RANGE, PARAMS(NUMBER(first))) &&
           client_copy(client, COPY, &data) && client_copy(client, COPY_LEDGER, &data);
}

/* `torn`: which counter grows when table and ledger differ. */
static bool check(struct client *client, int64_t *torn)
{
    PGresult *result = NULL;

    if (client->traffic->options.no_torn_check)
        return true;
    if (!run(client, CHECK, PARAMS(NUMBER(draw_key(client))), &result))
        return false;
    if (strcmp(PQgetvalue(result, 0, 0), "0") != 0) {
        (*torn)++;
        if (client->counters.torn_sample[0] == '\0')
            snprintf(client->counters.torn_sample, sizeof(client->counters.torn_sample), "%s",
                     PQgetvalue(result, 0, 1));
    }
    PQclear(result);
    return true;
}

/* One change inside a transaction. */
static bool change(struct client *client)
{
    char buffer[48];
    int64_t keys[3];
    int64_t draw = client_random(client, 100);

    draw_keys(client, keys, 3);
    if (draw < 14)
        return run_pair(client, UPDATE, PARAMS(NUMBER(keys[0])));
    if (draw < 19)
        return run_pair(client, UPDATE_RANGE, PARAMS(NUMBER(keys[0])));
    if (draw < 27)
        return run_pair(client, DELETE, PARAMS(NUMBER(keys[0])));
    if (draw < 31)
        return run_pair(client, INSERT, PARAMS(NUMBER(keys[0]), draw_code(client, buffer)));
    if (draw < 36)
        return run_pair(client, INSERT_IF_NEW, PARAMS(NUMBER(keys[0]), draw_code(client, buffer)));
    if (draw < 45)
        return run_pair(
            client, UPSERT,
            PARAMS(NUMBER(keys[0]), NUMBER(keys[1]), NUMBER(keys[2]), draw_code(client, buffer)));
    if (draw < 51)
        return client->server_version < 150000 ||
               run_pair(client, MERGE, PARAMS(NUMBER(keys[0]), NUMBER(keys[1]), NUMBER(keys[2])));
    if (draw < 58)
        return run_pair(client, MOVE_KEY, PARAMS(NUMBER(keys[0]), NUMBER(draw_key(client))));
    if (draw < 62)
        return exchange_keys(client);
    if (draw < 68)
        return exchange_codes(client);
    if (draw < 72)
        return run_pair(client, MOVE_CODE, PARAMS(NUMBER(keys[0]), NUMBER(keys[1])));
    if (draw < 77)
        return run_pair(client, REINSERT, PARAMS(NUMBER(keys[0])));
    if (draw < 82)
        return run_pair(client, RESCALE, PARAMS(NUMBER(keys[0])));
    if (draw < 87)
        return run_pair(client, NULL_OR_EMPTY, PARAMS(NUMBER(keys[0])));
    if (draw < 90)
        return run_pair(client, TOAST, PARAMS(NUMBER(keys[0])));
    if (draw < 93)
        return copy_range(client);
    if (draw < 95)
        return run(client, SHARE, PARAMS(NUMBER(keys[0])), NULL);
    if (draw < 97)
        return run(client, SAME_VALUES, PARAMS(NUMBER(keys[0])), NULL);
    return run(client, NOTHING_UPDATED, NO_PARAMS, NULL) &&
           run(client, NOTHING_DELETED, NO_PARAMS, NULL);
}

static bool changes(struct client *client, int64_t count)
{
    while (count-- > 0)
        if (!change(client))
            return false;
    return true;
}

/* --------------------------------------------------------------------------------- transactions */

static bool single(struct client *client)
{
    char buffer[48];
    int64_t key = draw_key(client);
    int64_t draw = client_random(client, 100);

    if (draw < 50)
        return run(client, SINGLE_UPDATE, PARAMS(NUMBER(key)), NULL);
    if (draw < 62)
        return run(client, SINGLE_DELETE, PARAMS(NUMBER(key)), NULL);
    if (draw < 82)
        return run(client, SINGLE_UPSERT, PARAMS(NUMBER(key)), NULL);
    if (draw < 92)
        return run(client, SINGLE_INSERT, PARAMS(NUMBER(key), draw_code(client, buffer)), NULL);
    return check(client, &client->counters.torn_reads);
}

static bool plain(struct client *client)
{
    return client_control(client, "BEGIN") && changes(client, 1 + client_random(client, 4)) &&
           client_control(client, "COMMIT");
}

/* What is between SAVEPOINT and ROLLBACK TO must leave no trace, also when it failed. */
static bool savepoint(struct client *client)
{
    if (!client_control(client, "BEGIN") || !change(client) ||
        !client_control(client, "SAVEPOINT a"))
        return false;
    (void)changes(client, 1 + client_random(client, 3));
    return client_control(client, "ROLLBACK TO a") && change(client) &&
           client_control(client, "SAVEPOINT b") && change(client) &&
           client_control(client, "RELEASE b") && change(client) &&
           client_control(client, "COMMIT");
}

/* Never commits, so never true. */
static bool taken_back(struct client *client)
{
    if (client_control(client, "BEGIN") && changes(client, 1 + client_random(client, 3)))
        (void)client_control(client, "ROLLBACK");
    return false;
}

/* One snapshot for all, sometimes taken well before acct is first touched. */
static bool one_snapshot(struct client *client, const char *begin)
{
    if (!client_control(client, begin))
        return false;
    if (client_random(client, 3) == 0) {
        if (!run(client, SNAPSHOT, NO_PARAMS, NULL))
            return false;
        clock_sleep_ms(client_random(client, 50));
    }
    return check(client, &client->counters.torn_snapshots) &&
           changes(client, 1 + client_random(client, 3)) &&
           check(client, &client->counters.torn_snapshots) && client_control(client, "COMMIT");
}

/* 200 statements on rising keys, with more subtransactions than a backend remembers (64). */
static bool many_statements(struct client *client)
{
    int64_t key = 1 + client_random(client, client->traffic->options.rows);

    if (!client_control(client, "BEGIN"))
        return false;
    for (int i = 0; i < 66; i++, key += 1 + client_random(client, 5))
        if (!client_control(client, "SAVEPOINT m") ||
            !run_pair(client, UPDATE, PARAMS(NUMBER(key))))
            return false;
    return client_control(client, "COMMIT");
}

static bool truncate(struct client *client)
{
    int64_t refill = client->traffic->options.rows / 10;

    if (refill > REFILL_ROWS_MAX)
        refill = REFILL_ROWS_MAX;
    return client_control(client, "BEGIN") && run(client, TRUNCATE, NO_PARAMS, NULL) &&
           run(client, REFILL, PARAMS(NUMBER(refill)), NULL) &&
           run(client, REFILL_LEDGER, PARAMS(NUMBER(refill)), NULL) &&
           client_control(client, "COMMIT");
}

static bool transaction(struct client *client)
{
    int64_t draw;

    if (client->traffic->options.truncate_share > 0 &&
        client_chance(client) < client->traffic->options.truncate_share)
        return truncate(client);
    draw = client_random(client, 1000);
    if (draw < 550)
        return single(client);
    if (draw < 770)
        return plain(client);
    if (draw < 840)
        return savepoint(client);
    if (draw < 880)
        return taken_back(client);
    if (draw < 940)
        return one_snapshot(client, "BEGIN ISOLATION LEVEL REPEATABLE READ");
    if (draw < 990)
        return one_snapshot(client, "BEGIN ISOLATION LEVEL SERIALIZABLE");
    return many_statements(client);
}

bool hostile_run(struct client *client, struct crew *crew, struct error *error)
{
    while (client_alive(client, crew)) {
        if (transaction(client)) {
            atomic_fetch_add(&client->traffic->transactions, 1);
        } else {
            client->counters.rolled_back++;
            client_rollback(client);
        }
    }
    return client_end(client, error);
}
