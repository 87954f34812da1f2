/*
 * One chunk of a walk: the transaction of walk.h.
 */
#include <string.h>

#include "engine/base/clock.h"
#include "engine/job/walk_parts.h"
#include "engine/pg/sqlstate.h"

/* Nothing is waited for to be flushed: see walk.h. */
const char WALK_BEGIN[] = SESSION_BEGIN "; SET LOCAL synchronous_commit = off";

/*
 * What the job wants, and the lowest open span that nobody has; last the end of the log. The span's
 * columns are NULL when there is none. $1 = job, $2 = phase.
 */
const char WALK_TAKE_SPAN[] =
    "SELECT j.wanted, j.settings_version, s.number, s.cursor, s.hi,\n"
    "       pg_current_wal_insert_lsn() - '0/0'::pg_lsn\n"
    "  FROM pghaul.job AS j\n"
    "  LEFT JOIN LATERAL (SELECT number, cursor, hi FROM pghaul.span\n"
    "                      WHERE job = j.id AND phase = $2 AND state = 'open'\n"
    "                      ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED) AS s ON true\n"
    " WHERE j.id = $1::bigint";

/*
 * $1 = job, $2 = phase, $3 = number, $4 = cursor, $5 = last, $6 = rows, $7 = bytes, then counts.
 * One row: the end of the log after the chunk's work.
 */
const char WALK_MOVE_CURSOR[] =
    "UPDATE pghaul.span\n"
    "   SET cursor = $4::text[], state = CASE WHEN $5::boolean THEN 'done' ELSE 'open' END,\n"
    "       rows = rows + $6::bigint, bytes = bytes + $7::bigint, chunks = chunks + 1,\n"
    "       written = written + $8::bigint, later = later + $9::bigint,\n"
    "       refused = refused + $10::bigint, skipped = skipped + $11::bigint\n"
    " WHERE job = $1::bigint AND phase = $2 AND number = $3::int\n"
    "RETURNING pg_current_wal_insert_lsn() - '0/0'::pg_lsn";

/* ------------------------------------------------------------------------------ nothing to take */

/* Is any span open, taken or not? The answer to "nothing to take": wait, or be done. */
static bool spans_left(struct worker *worker, bool *left, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(worker->session, &rows,
                       "SELECT EXISTS (SELECT FROM pghaul.span\n"
                       "                WHERE job = $1::bigint AND phase = $2 AND state = 'open')",
                       PARAMS(NUMBER(worker->run->job.id), worker->walk->phase), error))
        return false;
    *left = rows_bool(&rows, 0, 0);
    return true;
}

/*
 * The open span with the most left, if that is more than $3, whoever has it. Its row lock is
 * somebody's lease: waiting for it outlasts a chunk (F25), which is what an idle worker has time
 * for.
 */
static const char LARGEST_SPAN[] = "SELECT number FROM pghaul.span\n"
                                   " WHERE job = $1::bigint AND phase = $2 AND state = 'open' AND "
                                   "hi[1]::bigint - cursor[1]::bigint > $3::bigint\n"
                                   " ORDER BY hi[1]::bigint - cursor[1]::bigint DESC LIMIT 1";

/* $1 = job, $2 = phase, $3 = number, $4 = least that must be left. The upper half becomes a span of
 * its own. */
static const char SPLIT_SPAN[] =
    "WITH halved AS (\n"
    "    SELECT cursor, hi, (cursor[1]::bigint + hi[1]::bigint + 1) / 2 AS middle FROM "
    "pghaul.span\n"
    "     WHERE job = $1::bigint AND phase = $2 AND number = $3::int AND state = 'open'\n"
    "       AND hi[1]::bigint - cursor[1]::bigint > $4::bigint FOR UPDATE),\n"
    "lower AS (\n"
    "    UPDATE pghaul.span AS s SET hi = ARRAY[h.middle::text] FROM halved AS h\n"
    "     WHERE s.job = $1::bigint AND s.phase = $2 AND s.number = $3::int)\n"
    "INSERT INTO pghaul.span (job, phase, number, lo, hi, cursor)\n"
    "SELECT $1::bigint, $2, (SELECT max(number) + 1 FROM pghaul.span WHERE job = $1::bigint AND "
    "phase = $2),\n"
    "       ARRAY[middle::text], hi, ARRAY[middle::text] FROM halved";

/*
 * Another worker may be cutting at the same moment: the new numbers collide, one of them fails, and
 * nothing is lost. A statement that waited for the row sees the cursor as the chunk left it: FOR
 * UPDATE reads the newest version.
 */
static bool split_largest(struct worker *worker, struct error *error)
{
    ROWS_AUTO rows = {0};
    const char *job = NUMBER(worker->run->job.id);
    int64_t least = 2 * worker->size.units;

    if (!session_query(worker->session, &rows, LARGEST_SPAN,
                       PARAMS(job, worker->walk->phase, NUMBER(least)), error))
        return false;
    if (rows_count(&rows) == 0)
        return true;
    if (session_begin(worker->session, error) &&
        session_set(worker->session, "lock_timeout", NUMBER(worker->settings.chunk_time_ms * 10),
                    true, error) &&
        session_execute(worker->session, SPLIT_SPAN,
                        PARAMS(job, worker->walk->phase, rows_text(&rows, 0, 0), NUMBER(least)),
                        NULL, error) &&
        session_commit(worker->session, error))
        return true;
    session_rollback(worker->session);
    return error->code == ERROR_LOCK || strcmp(error->sqlstate, SQLSTATE_UNIQUE_VIOLATION) == 0;
}

/* ------------------------------------------------------------------------------------- the work */

/* The chunk's work in the open transaction, from the bound to the cursor. `taken` is the row of
 * WALK_TAKE_SPAN. */
static bool work_on(struct worker *worker, const struct rows *taken, struct pace_chunk *done,
                    struct chunk_measure *measure, struct error *error)
{
    const char *span = rows_text(taken, 0, 2);
    ROWS_AUTO bound = {0};
    ROWS_AUTO moved = {0};
    struct walk_chunk chunk = {
        .session = worker->session,
        .span = (int)rows_int64(taken, 0, 2),
        .from = rows_text(taken, 0, 3),
        .settings = &worker->settings,
    };

    if (!session_query(worker->session, &bound, worker->walk->bound_sql,
                       PARAMS(chunk.from, rows_text(taken, 0, 4), NUMBER(worker->size.units)),
                       error))
        return false;
    chunk.to = rows_text(&bound, 0, 0);
    chunk.last = rows_bool(&bound, 0, 1);
    chunk.units = rows_int64(&bound, 0, 2);
    if (!worker->walk->chunk(&chunk, worker->walk->work, error))
        return false;
    measure->units = chunk.units;
    measure->bytes = chunk.bytes;
    if (!session_query(worker->session, &moved, WALK_MOVE_CURSOR,
                       PARAMS(NUMBER(worker->run->job.id), worker->walk->phase, span, chunk.to,
                              chunk.last ? "true" : "false", NUMBER(chunk.rows),
                              NUMBER(chunk.bytes), NUMBER(chunk.counts.written),
                              NUMBER(chunk.counts.later), NUMBER(chunk.counts.refused),
                              NUMBER(chunk.counts.skipped)),
                       error) ||
        !session_commit(worker->session, error))
        return false;
    done->bytes = chunk.bytes;
    done->rows = chunk.rows;
    done->position = rows_count(&moved) > 0 ? rows_int64(&moved, 0, 0) : 0;
    done->grown = done->position - rows_int64(taken, 0, 5);
    progress_add(worker->run->progress, chunk.rows);
    return true;
}

static void note_longest(atomic_llong *longest_ms, long long ms)
{
    long long known = longest_ms == NULL ? ms : atomic_load(longest_ms);

    while (ms > known && !atomic_compare_exchange_weak(longest_ms, &known, ms))
        ;
}

/* What a chunk should take. */
static int64_t chunk_ms(const struct worker *worker)
{
    int64_t max_ms = worker->walk->chunk_ms_max;
    int64_t most_ms = max_ms > 0 && worker->settings.chunk_time_ms > max_ms
                          ? max_ms
                          : worker->settings.chunk_time_ms;

    return worker->walk->urgent ? most_ms : worker->run->pace->chunk_ms(worker->run->pace, most_ms);
}

bool walk_take_turn(struct worker *worker, struct pace_chunk *done, enum turn *turn,
                    struct error *error)
{
    int64_t start_ms = clock_ms();
    ROWS_AUTO taken = {0};
    struct chunk_measure measure = {0};
    bool obeyed;

    if (!session_run(worker->session, WALK_BEGIN, error) ||
        !session_query(worker->session, &taken, WALK_TAKE_SPAN,
                       PARAMS(NUMBER(worker->run->job.id), worker->walk->phase), error) ||
        !walk_obey(worker, rows_text(&taken, 0, 0), rows_int64(&taken, 0, 1), &obeyed, turn, error))
        return false;
    if (obeyed) {
        session_rollback(worker->session);
        return true;
    }
    if (rows_text(&taken, 0, 2) == NULL) {
        bool left = false;

        session_rollback(worker->session);
        if (!spans_left(worker, &left, error))
            return false;
        *turn = left ? TURN_IDLE : TURN_END;
        return !left || !worker->walk->numbered || split_largest(worker, error);
    }
    if (!work_on(worker, &taken, done, &measure, error))
        return false;
    measure.elapsed_ms = done->busy_ms = clock_ms() - start_ms;
    note_longest(worker->walk->longest_ms, measure.elapsed_ms);
    chunk_size_done(&worker->size, &measure, chunk_ms(worker), worker->settings.chunk_wal_bytes);
    *turn = TURN_DONE;
    return true;
}
