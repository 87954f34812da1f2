#include "cli/job_view.h"

#include <string.h>

#include "cli/kinds.h"
#include "engine/job/schema.h"

enum { SAMPLE_FRESH_SECONDS = 15 };

/* -------------------------------------------------------------------------------------- the rows
 */

/* $1 = job, $2 = does anybody work on it: the time of a phase stands still while nobody does. */
static const char SELECT_PHASES[] =
    "SELECT name, state,\n"
    "       seconds + CASE WHEN state = 'running' AND $2::boolean\n"
    "                      THEN extract(epoch FROM clock_timestamp() - started_at) ELSE 0 END\n"
    "  FROM pghaul.phase WHERE job = $1::bigint ORDER BY number";

static bool read_phases(struct cli *cli, struct job_view *view, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(cli->run.session, &rows, SELECT_PHASES,
                       PARAMS(NUMBER(view->job->id), view->worked_on ? "true" : "false"), error))
        return false;
    for (int i = 0; i < rows_count(&rows) && i < PHASES_MAX; i++)
        view->phases[view->phase_count++] = (struct phase_view){
            .name = arena_copy(&view->arena, rows_text(&rows, i, 0)),
            .state = arena_copy(&view->arena, rows_text(&rows, i, 1)),
            .seconds = rows_double(&rows, i, 2),
        };
    return true;
}

/*
 * $1 = job, $2 = its phase. One row: sums over all spans; then over those of the phase, or of the
 * load when the phase has none.
 */
static const char SELECT_SPANS[] =
    "WITH walk AS (SELECT CASE WHEN EXISTS (SELECT FROM pghaul.span\n"
    "                                        WHERE job = $1::bigint AND phase = $2)\n"
    "                          THEN $2 ELSE 'load' END AS phase)\n"
    "SELECT coalesce(sum(chunks), 0), coalesce(sum(retries), 0), coalesce(sum(bytes), 0),\n"
    "       coalesce(sum(rows) FILTER (WHERE s.phase = walk.phase), 0),\n"
    "       count(*) FILTER (WHERE s.phase = walk.phase),\n"
    "       count(*) FILTER (WHERE s.phase = walk.phase AND s.state = 'done'),\n"
    "       min(walk.phase)\n"
    "  FROM walk LEFT JOIN pghaul.span AS s ON s.job = $1::bigint";

/* $1 = job, $2 = phase. */
static const char SELECT_RATE[] =
    "SELECT rows_per_second, extract(epoch FROM clock_timestamp() - at) FROM pghaul.sample\n"
    " WHERE job = $1::bigint AND phase = $2 ORDER BY at DESC LIMIT 1";

static const struct phase_view *find_phase(const struct job_view *view, const char *name)
{
    for (int i = 0; name != NULL && i < view->phase_count; i++)
        if (strcmp(view->phases[i].name, name) == 0)
            return &view->phases[i];
    return NULL;
}

/* A fresh sample speaks for one worker of the process; without one, the average of the phase. */
static bool read_rate(struct cli *cli, struct job_view *view, const struct phase_view *phase,
                      struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(cli->run.session, &rows, SELECT_RATE,
                       PARAMS(NUMBER(view->job->id), phase->name), error))
        return false;
    if (rows_count(&rows) > 0 && rows_double(&rows, 0, 1) < SAMPLE_FRESH_SECONDS)
        view->rows_per_second = rows_double(&rows, 0, 0) * (double)view->job->settings.workers;
    else if (phase->seconds > 0)
        view->rows_per_second = (double)view->rows_done / phase->seconds;
    if (view->rows_per_second >= 1 && view->rows_total > view->rows_done)
        view->eta_seconds = (double)(view->rows_total - view->rows_done) / view->rows_per_second;
    return true;
}

/*
 * How far the walk is. rows_total is an estimate, so it says 100 only when every span is done; in
 * phases that do not walk the table's rows (catch-up) spans are all there is to count.
 */
static double walk_percent(const struct job_view *view, const char *walk, int64_t spans,
                           int64_t spans_done)
{
    bool of_table = strcmp(walk, "load") == 0 || strcmp(walk, "verify") == 0;
    double percent;

    if (spans == 0)
        return -1;
    if (spans_done == spans)
        return 100;
    if (of_table && view->rows_total > 0)
        percent = (double)view->rows_done * 100 / (double)view->rows_total;
    else
        percent = (double)spans_done * 100 / (double)spans;
    return percent < 99 ? percent : 99;
}

static bool read_walk(struct cli *cli, struct job_view *view, struct error *error)
{
    const struct phase_view *phase = find_phase(view, view->job->phase);
    ROWS_AUTO rows = {0};
    const char *walk;

    if (!session_query(cli->run.session, &rows, SELECT_SPANS,
                       PARAMS(NUMBER(view->job->id), view->job->phase), error))
        return false;
    view->chunks = rows_int64(&rows, 0, 0);
    view->retries = rows_int64(&rows, 0, 1);
    view->bytes_written = rows_int64(&rows, 0, 2);
    view->rows_done = rows_int64(&rows, 0, 3);
    view->rows_total = view->job->rows_total;
    walk = rows_text(&rows, 0, 6);
    view->percent = walk_percent(view, walk, rows_int64(&rows, 0, 4), rows_int64(&rows, 0, 5));
    if (!view->worked_on || phase == NULL || strcmp(phase->name, walk) != 0 ||
        strcmp(phase->state, "running") != 0)
        return true;
    return read_rate(cli, view, phase, error);
}

/*
 * What only the kind can tell. A job that is being worked on changes under our eyes: what cannot be
 * had now is shown as unknown, not as a failure.
 */
static void read_numbers(struct cli *cli, struct job_view *view)
{
    const struct kind *kind = cli->kind;
    struct run *run = &cli->run;
    bool own = run->kind_state == NULL;
    struct error ignored = {0};

    view->numbers = (struct kind_numbers){-1, -1, -1, -1};
    if (kind == NULL || kind->numbers == NULL || !job_open(view->job))
        return;
    if (own && kind->load != NULL && !kind->load(run, &ignored)) {
        log_verbose(&cli->log, "%s: %s", view->job->name, ignored.message);
        return;
    }
    if (!kind->numbers(run, &view->numbers, &ignored)) {
        log_verbose(&cli->log, "%s: %s", view->job->name, ignored.message);
        view->numbers = (struct kind_numbers){-1, -1, -1, -1};
        session_rollback(run->session);
    }
    if (own && kind->unload != NULL && run->kind_state != NULL)
        kind->unload(run);
    if (own)
        run->kind_state = NULL;
}

/* -------------------------------------------------------------------------------------- judgement
 */

static bool state_is(const struct job_view *view, const char *state)
{
    return strcmp(view->state, state) == 0;
}

const char *job_shown_state(const struct job *job, const struct kind *kind)
{
    static const char *const MOVING[] = {"planned", "running", "waiting"};

    if (kind != NULL && kind_is_ready(kind, job->phase) && strcmp(job->state, "running") == 0)
        return "ready";
    for (size_t i = 0; i < sizeof(MOVING) / sizeof(MOVING[0]); i++)
        if (strcmp(job->wanted, "pause") == 0 && strcmp(job->state, MOVING[i]) == 0)
            return "paused";
    return job->state;
}

static void add_next(struct job_view *view, const char *verb, const char *what)
{
    view->next[view->next_count++] = (struct next_view){verb, what};
}

/* What a person would do next. */
static void find_next(const struct cli *cli, struct job_view *view)
{
    static const char LEAVE[] = "leave no trace";
    bool past = cli->kind != NULL && kind_is_past_ready(cli->kind, view->job->phase);

    if (!job_open(view->job)) {
        if (state_is(view, "done") && json_is_string(json_object_get(view->facts, "old_table")))
            add_next(view, "finish", "drop the old table");
    } else if (strcmp(view->job->wanted, "abort") == 0) {
        add_next(view, "abort", LEAVE);
    } else if (state_is(view, "cut_over")) {
        if (!json_is_true(json_object_get(view->facts, "no_way_back")))
            add_next(view, "rollback", "swap back; nothing written since is lost");
        add_next(view, "finish", "drop the old table");
    } else if (state_is(view, "ready")) {
        add_next(view, "cutover", "swap; writers wait about 20 ms");
        add_next(view, "abort", LEAVE);
    } else if (state_is(view, "running") && view->worked_on) {
        add_next(view, "pause", "stop within one chunk, until resume");
        add_next(view, "abort", LEAVE);
    } else if (past) {
        add_next(view, "cutover", "go on with the swap");
        add_next(view, "abort", LEAVE);
    } else {
        add_next(view, "resume", "go on");
        add_next(view, "abort", LEAVE);
    }
}

bool job_view_at_rest(const struct job_view *view)
{
    return !job_open(view->job) || state_is(view, "ready") || state_is(view, "cut_over") ||
           state_is(view, "failed");
}

bool job_view_read(struct cli *cli, struct job_view *view, struct error *error)
{
    int pid = 0;

    *view = (struct job_view){
        .job = &cli->run.job,
        .percent = -1,
        .rows_per_second = -1,
        .eta_seconds = -1,
    };
    view->state = job_shown_state(view->job, cli->kind);
    view->facts = json_loads(view->job->facts, 0, NULL);
    if (!json_is_object(view->facts)) {
        json_decref(view->facts);
        view->facts = json_object();
    }
    if (!job_leader_pid(cli->run.session, view->job, &pid, error))
        return false;
    view->worked_on = pid != 0;
    if (!read_phases(cli, view, error) || !read_walk(cli, view, error))
        return false;
    read_numbers(cli, view);
    find_next(cli, view);
    return true;
}

void job_view_deinit(struct job_view *view)
{
    json_decref(view->facts);
    arena_deinit(&view->arena);
    *view = (struct job_view){0};
}

int64_t job_view_fact(const struct job_view *view, const char *group, const char *name,
                      int64_t missing)
{
    const json_t *value = json_object_get(json_object_get(view->facts, group), name);

    return json_is_number(value) ? (int64_t)json_number_value(value) : missing;
}

/* ------------------------------------------------------------------------------------ other looks
 */

static const char SELECT_NAMES[] =
    "SELECT name FROM pghaul.job\n"
    " WHERE NOT $1::boolean OR state NOT IN ('done', 'finished', 'aborted', 'rolled_back')\n"
    " ORDER BY id";

bool job_names(struct session *session, bool open_only, struct rows *names, bool *any,
               struct error *error)
{
    bool exists = false;

    *any = false;
    if (!schema_exists(session, &exists, error))
        return false;
    if (!exists)
        return true;
    if (!session_query(session, names, SELECT_NAMES, PARAMS(open_only ? "true" : "false"), error))
        return false;
    *any = rows_count(names) > 0;
    return true;
}

/* $1 = oid of the table. */
static const char SELECT_ON_TABLE[] =
    "SELECT j.name, j.state FROM pghaul.job AS j\n"
    "  JOIN pg_class AS c ON c.oid = $1::oid JOIN pg_namespace AS n ON n.oid = c.relnamespace\n"
    " WHERE j.state NOT IN ('done', 'finished', 'aborted', 'rolled_back')\n"
    "   AND (j.source_oid = c.oid OR (j.table_schema = n.nspname AND j.table_name = c.relname))\n"
    " ORDER BY j.id LIMIT 1";

bool job_on_table(struct session *session, uint32_t oid, struct arena *arena, const char **name,
                  const char **state, struct error *error)
{
    ROWS_AUTO rows = {0};
    bool exists = false;

    *name = *state = NULL;
    if (!schema_exists(session, &exists, error))
        return false;
    if (!exists)
        return true;
    if (!session_query(session, &rows, SELECT_ON_TABLE, PARAMS(NUMBER(oid)), error))
        return false;
    if (rows_count(&rows) > 0) {
        *name = arena_copy(arena, rows_text(&rows, 0, 0));
        *state = arena_copy(arena, rows_text(&rows, 0, 1));
    }
    return true;
}
