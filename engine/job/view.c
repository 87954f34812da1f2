#include "engine/job/view.h"

#include <string.h>

#include "engine/job/schema.h"

/* A governor tells a sample a second. */
enum { SAMPLE_FRESH_SECONDS = 5 };

/* -------------------------------------------------------------------------------------- the rows
 */

/* $1 = job, $2 = does anybody work on it: the time of a phase stands still while nobody does. */
static const char SELECT_PHASES[] =
    "SELECT name, state,\n"
    "       seconds + CASE WHEN state = 'running' AND $2::boolean\n"
    "                      THEN extract(epoch FROM clock_timestamp() - started_at) ELSE 0 END\n"
    "  FROM pghaul.phase WHERE job = $1::bigint ORDER BY number";

static bool read_phases(struct run *run, struct job_view *view, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(run->session, &rows, SELECT_PHASES,
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
 * $1 = job, $2 = its phase, $3 = the one that goes over the table's rows. One row: sums over all
 * spans; then over those of the phase, or of $3 when the phase has none.
 */
static const char SELECT_SPANS[] =
    "WITH walk AS (SELECT CASE WHEN EXISTS (SELECT FROM pghaul.span\n"
    "                                        WHERE job = $1::bigint AND phase = $2)\n"
    "                          THEN $2 ELSE $3 END AS phase)\n"
    "SELECT coalesce(sum(chunks), 0), coalesce(sum(retries), 0), coalesce(sum(bytes), 0),\n"
    "       coalesce(sum(rows) FILTER (WHERE s.phase = walk.phase), 0),\n"
    "       count(*) FILTER (WHERE s.phase = walk.phase),\n"
    "       count(*) FILTER (WHERE s.phase = walk.phase AND s.state = 'done'),\n"
    "       min(walk.phase)\n"
    "  FROM walk LEFT JOIN pghaul.span AS s ON s.job = $1::bigint";

/*
 * The newest sample of each process that has told one lately, the one that has been held up for
 * longest first. Read as JSON: in a schema that an older program made, columns are missing. $1 =
 * job, $2 = seconds.
 */
static const char SELECT_SAMPLES[] =
    "SELECT s->>'rows_per_second', s->>'rate', s->>'workers', s->>'decision', s->>'signal',\n"
    "       s->>'who', s->>'value', s->>'limit_value', s->>'seconds', s->>'signals', s->>'phase',\n"
    "       s->>'reason'\n"
    "  FROM (SELECT DISTINCT ON (to_jsonb(sample)->>'pid') to_jsonb(sample)\n"
    "          FROM pghaul.sample\n"
    "         WHERE job = $1::bigint AND at > clock_timestamp() - make_interval(secs => $2)\n"
    "         ORDER BY to_jsonb(sample)->>'pid', at DESC) AS newest (s)\n"
    " ORDER BY (s->>'seconds')::double precision DESC NULLS LAST";

static const struct phase_view *find_phase(const struct job_view *view, const char *name)
{
    for (int i = 0; name != NULL && i < view->phase_count; i++)
        if (strcmp(view->phases[i].name, name) == 0)
            return &view->phases[i];
    return NULL;
}

static double double_or(const struct rows *rows, int row, int column, double missing)
{
    return rows_text(rows, row, column) == NULL ? missing : rows_double(rows, row, column);
}

/* What its governor says, of the process that has been held up for longest. */
static void read_throttle(const struct rows *samples, struct job_view *view)
{
    struct throttle_view *throttle = &view->throttle;
    struct arena *arena = &view->arena;

    throttle->known = rows_text(samples, 0, 9) != NULL;
    throttle->rate = double_or(samples, 0, 1, -1);
    throttle->workers = (int)double_or(samples, 0, 2, -1);
    throttle->decision = arena_copy(arena, rows_text(samples, 0, 3));
    throttle->signal = arena_copy(arena, rows_text(samples, 0, 4));
    throttle->who = arena_copy(arena, rows_text(samples, 0, 5));
    throttle->value = double_or(samples, 0, 6, -1);
    throttle->limit = double_or(samples, 0, 7, -1);
    throttle->seconds = double_or(samples, 0, 8, 0);
    throttle->reason = arena_copy(arena, rows_text(samples, 0, 11));
    if (throttle->known)
        throttle->signals = json_loads(rows_text(samples, 0, 9), 0, NULL);
}

/* All that its processes have told lately: they do this many rows a second together. */
static bool read_samples(struct run *run, struct job_view *view, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(run->session, &rows, SELECT_SAMPLES,
                       PARAMS(NUMBER(view->job->id), NUMBER(SAMPLE_FRESH_SECONDS)), error))
        return false;
    for (int i = 0; i < rows_count(&rows); i++)
        if (rows_text(&rows, i, 0) != NULL && view->job->phase != NULL &&
            strcmp(rows_text(&rows, i, 10), view->job->phase) == 0)
            view->rows_per_second =
                (view->rows_per_second < 0 ? 0 : view->rows_per_second) + rows_double(&rows, i, 0);
    if (rows_count(&rows) > 0)
        read_throttle(&rows, view);
    return true;
}

/* Without samples, the average of the phase. */
static void estimate_end(struct job_view *view, const struct phase_view *phase)
{
    if (view->rows_per_second < 0 && phase->seconds > 0)
        view->rows_per_second = (double)view->rows_done / phase->seconds;
    if (view->rows_per_second >= 1 && view->rows_total > view->rows_done)
        view->eta_seconds = (double)(view->rows_total - view->rows_done) / view->rows_per_second;
}

/*
 * How far the walk is. rows_total is an estimate, so it says 100 only when every span is done; in
 * phases that do not walk the table's rows (catch-up) spans are all there is to count.
 */
static double walk_percent(const struct job_view *view, bool of_table, int64_t spans,
                           int64_t spans_done)
{
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

static int64_t number(const json_t *group, const char *name, int64_t missing)
{
    const json_t *value = json_object_get(group, name);

    return json_is_number(value) ? (int64_t)json_number_value(value) : missing;
}

/* Of a job that is over, whose spans are gone: what they added up to. */
static bool remember_walk(struct job_view *view)
{
    const json_t *walked = json_object_get(view->facts, "walked");

    if (!json_is_object(walked))
        return false;
    view->chunks = number(walked, "chunks", 0);
    view->retries = number(walked, "retries", 0);
    view->bytes_written = number(walked, "bytes", 0);
    view->rows_done = number(walked, "rows", 0);
    view->percent =
        walk_percent(view, true, number(walked, "spans", 0), number(walked, "spans_done", 0));
    return true;
}

/* `rows_phase`: the one that goes over the table's rows; verify does, too. */
static bool read_walk(struct run *run, const char *rows_phase, struct job_view *view,
                      struct error *error)
{
    const struct phase_view *phase = find_phase(view, view->job->phase);
    ROWS_AUTO rows = {0};
    const char *walk;

    if (!session_query(run->session, &rows, SELECT_SPANS,
                       PARAMS(NUMBER(view->job->id), view->job->phase, rows_phase), error))
        return false;
    view->rows_total = view->job->rows_total;
    if (remember_walk(view))
        return true;
    view->chunks = rows_int64(&rows, 0, 0);
    view->retries = rows_int64(&rows, 0, 1);
    view->bytes_written = rows_int64(&rows, 0, 2);
    view->rows_done = rows_int64(&rows, 0, 3);
    walk = rows_text(&rows, 0, 6);
    view->percent = walk_percent(view, strcmp(walk, rows_phase) == 0 || strcmp(walk, "verify") == 0,
                                 rows_int64(&rows, 0, 4), rows_int64(&rows, 0, 5));
    if (view->worked_on && !read_samples(run, view, error))
        return false;
    if (view->worked_on && phase != NULL && strcmp(phase->name, walk) == 0 &&
        strcmp(phase->state, "running") == 0)
        estimate_end(view, phase);
    else
        view->rows_per_second = -1;
    return true;
}

static const struct kind_numbers NUMBERS_UNKNOWN = {-1, -1, -1, -1};

/*
 * What only the kind can tell. A job that is being worked on changes under our eyes: what cannot be
 * had now is shown as unknown, not as a failure.
 */
static void read_numbers(struct run *run, const struct kind *kind, struct job_view *view)
{
    bool own = run->kind_state == NULL;
    struct error ignored = {0};

    view->numbers = NUMBERS_UNKNOWN;
    if (kind == NULL || kind->numbers == NULL || !job_open(view->job))
        return;
    if (own && kind->load != NULL && !kind->load(run, &ignored)) {
        log_verbose(run->log, "%s: %s", view->job->name, ignored.message);
        return;
    }
    if (!kind->numbers(run, &view->numbers, &ignored)) {
        log_verbose(run->log, "%s: %s", view->job->name, ignored.message);
        view->numbers = NUMBERS_UNKNOWN;
        session_rollback(run->session);
    }
    if (own && kind->unload != NULL && run->kind_state != NULL)
        kind->unload(run);
    if (own)
        run->kind_state = NULL;
}

/* ------------------------------------------------------------------------------------- the facts
 */

static struct verify_view verify_of(const json_t *fact)
{
    return (struct verify_view){
        .rows = number(fact, "rows", -1),
        .differences = number(fact, "differences", -1),
        .repaired = number(fact, "repaired", -1),
        .left_out = number(fact, "left_out", -1),
    };
}

static struct swap_view swap_of(const json_t *fact)
{
    return (struct swap_view){
        .done = json_is_object(fact),
        .attempts = number(fact, "attempts", 1),
        .waited_ms = number(fact, "waited_ms", 0),
        .held_ms = number(fact, "held_ms", 0),
        .keys = number(fact, "keys", -1),
    };
}

static void read_facts(struct job_view *view)
{
    view->facts = json_loads(view->job->facts, 0, NULL);
    if (!json_is_object(view->facts)) {
        json_decref(view->facts);
        view->facts = json_object();
    }
    view->verify = verify_of(json_object_get(view->facts, "verify"));
    view->cutover = swap_of(json_object_get(view->facts, "cutover"));
    view->rollback = swap_of(json_object_get(view->facts, "rollback"));
    view->old_table = json_string_value(json_object_get(view->facts, "old_table"));
    view->no_way_back = json_is_true(json_object_get(view->facts, "no_way_back"));
    view->kept = json_is_true(json_object_get(view->facts, "kept"));
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

static void add_next(struct job_view *view, const char *verb)
{
    view->next[view->next_count++] = verb;
}

/* What a person would do next. */
static void find_next(const struct kind *kind, struct job_view *view)
{
    bool past = kind != NULL && kind_is_past_ready(kind, view->job->phase);

    if (!job_open(view->job)) {
        if (state_is(view, "done") && view->kept) {
            if (!view->no_way_back)
                add_next(view, "rollback");
            add_next(view, "finish");
        }
    } else if (strcmp(view->job->wanted, "abort") == 0) {
        add_next(view, "abort");
    } else if (state_is(view, "cut_over")) {
        if (!view->no_way_back)
            add_next(view, "rollback");
        add_next(view, "finish");
    } else {
        if (state_is(view, "ready"))
            add_next(view, "cutover");
        else if (state_is(view, "running") && view->worked_on)
            add_next(view, "pause");
        else
            add_next(view, past ? "cutover" : "resume");
        add_next(view, "abort");
    }
}

bool job_view_at_rest(const struct job_view *view)
{
    return !job_open(view->job) || state_is(view, "ready") || state_is(view, "cut_over") ||
           state_is(view, "failed");
}

bool job_look(struct run *run, const struct kind *kind, struct job_view *view, struct error *error)
{
    int pid = 0;

    *view = (struct job_view){
        .job = &run->job,
        .kind = kind,
        .percent = -1,
        .rows_per_second = -1,
        .eta_seconds = -1,
    };
    view->state = job_shown_state(view->job, kind);
    read_facts(view);
    if (!job_leader_pid(run->session, view->job, &pid, error))
        return false;
    view->worked_on = pid != 0;
    if (!read_phases(run, view, error) ||
        !read_walk(run, kind != NULL && kind->walk != NULL ? kind->walk : "load", view, error))
        return false;
    read_numbers(run, kind, view);
    find_next(kind, view);
    return true;
}

void job_view_deinit(struct job_view *view)
{
    json_decref(view->facts);
    json_decref(view->throttle.signals);
    arena_deinit(&view->arena);
    *view = (struct job_view){0};
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
