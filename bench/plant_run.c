#include "bench/plant_run.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "engine/base/memory.h"
#include "throttle/bucket.h"
#include "throttle/credit.h"
#include "throttle/gate.h"

/* As throttle/governor_parts.h has them, in steps of the plant. */
enum {
    TICK_STEPS = 100,
    MEASURE_STEPS = 10, /* the replicas again, at most as often */
    LATENCY_STEPS = 20,
    LISTEN_STEPS = 30,
    TRACE_STEPS = 10,
};
/* What our small transaction writes: standbys flush it, and report. */
static const double PULSE_BYTES = 300;
static const int64_t UNHEARD_US = 10000000;

/* One pghaul process: what its governor keeps. */
struct process {
    int first; /* of its workers */
    int workers;
    void *state;
    struct law_decision decision;
    struct bucket bucket;
    struct credit credit;
    struct gates gates;
    double ours;
    double prepaid; /* more than chunks wrote in the end */
    bool wanted;
    int64_t busy_steps; /* with a chunk in flight, since the last tick */
    int64_t ticked;
};

struct run {
    const struct plant_run_options *options;
    struct plant_limits limits;
    struct plant plant;
    struct plant_probe probe;
    struct plant_trace *trace;
    struct process processes[PLANT_PROCESSES_MAX];
    int process_count;
    double took_s[PLANT_WORKERS_MAX];   /* by its last chunk */
    double rested_s[PLANT_WORKERS_MAX]; /* when that ended */
    int64_t idle_since;                 /* step; < 0: something is in flight */
    int64_t measured;                   /* the same, of the replicas */
    int64_t listen_until;
    int64_t latency_due;
    uint64_t random;
    double sample_wrote;
    double sample_ours; /* of the first process, by the last sample */
    double over;        /* bytes of ours since a backlog passed the limit */
};

static int64_t now_us(const struct run *run)
{
    return (int64_t)(plant_now_s(&run->plant) * 1e6);
}

static bool within(const struct plant_span *spans, double now_s)
{
    for (int i = 0; i < PLANT_SPANS_MAX && spans[i].to_s > 0; i++)
        if (now_s >= spans[i].from_s && now_s < spans[i].to_s)
            return true;
    return false;
}

static bool is_closed(const struct run *run, const struct process *process)
{
    return within(run->options->paused, plant_now_s(&run->plant)) ||
           (!run->options->law->bare && gates_closed(&process->gates) >= 0);
}

/* ------------------------------------------------------------------------------------ deciding */

static void measure_credit(struct run *run, struct process *process)
{
    const struct reading *lag = &run->probe.readings[SIGNAL_REPLICA_LAG_BYTES];

    if (lag->state != READING_OK || run->options->law->bare)
        credit_unlimited(&process->credit);
    else
        credit_measure(&process->credit, lag->value, lag->limit, run->plant.wal);
}

static bool is_sane(const struct run *run, const struct law_decision *decision)
{
    const struct law_config *config = &run->options->config;

    return decision->bytes_per_second >= 0 && decision->delay_seconds >= 0 &&
           decision->delay_seconds < 1e6 && decision->rest_part >= 0 && decision->rest_part < 1e6 &&
           decision->workers >= 1 && decision->workers <= config->workers &&
           decision->chunk_ms >= 1 && decision->chunk_ms <= config->chunk_ms &&
           decision->reason >= -1 && decision->reason < SIGNAL_COUNT;
}

static double others_wrote(const struct run *run, const struct process *process)
{
    double bytes = 0;

    for (int i = 0; i < run->process_count; i++)
        if (&run->processes[i] != process)
            bytes += run->processes[i].ours;
    return bytes;
}

static void decide(struct run *run, struct process *process)
{
    struct law_input input = {
        .now_us = now_us(run),
        .readings = run->probe.readings,
        .replicas = run->probe.replicas,
        .replica_count = run->probe.replica_count,
        .wal = run->plant.wal,
        .ours = process->ours,
        .others = others_wrote(run, process),
        .share = 1.0 / run->process_count,
        .foreign = plant_transactions(&run->plant) > 0,
        .wants = process->wanted,
        .idle = process->busy_steps * 2 < run->plant.step - process->ticked,
    };

    gates_look(&process->gates, run->probe.readings, now_us(run));
    measure_credit(run, process);
    input.closed = is_closed(run, process);
    run->options->law->tick(process->state, &input, &process->decision);
    run->trace->nonsense += !is_sane(run, &process->decision);
    bucket_set_rate(&process->bucket, process->decision.bytes_per_second, now_us(run));
    process->wanted = false;
    process->busy_steps = 0;
    process->ticked = run->plant.step;
}

/* A pause to hear the others without us, when nobody has heard them for long. */
static void listen_if_needed(struct run *run)
{
    int reason = run->processes[0].decision.reason;

    if (reason >= 0 && signal_table[reason].acts == ACTS_LOAD &&
        now_us(run) - baseline_newest_us(&run->probe.baseline) > UNHEARD_US &&
        run->plant.step > run->listen_until)
        run->listen_until = run->plant.step + LISTEN_STEPS;
}

static int64_t idle_us(const struct run *run)
{
    return run->idle_since < 0
               ? 0
               : (int64_t)((double)(run->plant.step - run->idle_since) * PLANT_STEP_S * 1e6);
}

/* Now and then, not at even steps: chunks that rest an even time would be met by all or none. */
static void pulse(struct run *run)
{
    run->latency_due = run->plant.step + LATENCY_STEPS * 3 / 4 +
                       (int64_t)(plant_random(&run->random) * LATENCY_STEPS / 2);
    if (!run->options->silent)
        plant_pulse(&run->plant, PULSE_BYTES);
    plant_probe_latency(&run->probe, &run->plant, idle_us(run), now_us(run));
}

static void tick(struct run *run)
{
    bool due = run->plant.step % TICK_STEPS == 1;
    bool measure = false;

    if (run->plant.step >= run->latency_due)
        pulse(run);
    if (run->plant.step - run->measured >= MEASURE_STEPS)
        for (int i = 0; i < run->process_count; i++)
            measure = measure || credit_wants_measure(&run->processes[i].credit);
    if (due || measure) {
        plant_probe_replicas(&run->probe, &run->plant, &run->limits, now_us(run));
        run->measured = run->plant.step;
    }
    if (due)
        plant_probe_rest(&run->probe, &run->plant, &run->limits,
                         within(run->options->blocked, plant_now_s(&run->plant)), now_us(run));
    for (int i = 0; i < run->process_count && (due || measure); i++)
        decide(run, &run->processes[i]);
    if (due)
        listen_if_needed(run);
}

/* -------------------------------------------------------------------------------------- working */

/* May a chunk begin? */
static bool ask(struct run *run, struct process *process, int worker)
{
    double rested_s = plant_now_s(&run->plant) - run->rested_s[worker];

    /* A worker too many stands aside before it asks. */
    if (worker - process->first >= process->decision.workers ||
        plant_now_s(&run->plant) < PLANT_START_S || run->plant.step < run->listen_until ||
        is_closed(run, process))
        return false;
    /* It is expected to write what the worker's last one did. */
    if ((!run->options->law->bare &&
         !credit_allows(&process->credit, run->plant.workers[worker].chunk.expected)) ||
        bucket_wait_us(&process->bucket, now_us(run)) > 0) {
        process->wanted = true;
        return false;
    }
    return rested_s >= law_rest_seconds(&process->decision, run->took_s[worker]);
}

/* A chunk is charged when it begins, with what it is expected to write, so that its own time
 * counts; the rest at its end, or with the next one. */
static void pay(struct run *run, struct process *process, double bytes)
{
    bytes -= process->prepaid;
    process->prepaid = fmax(-bytes, 0);
    bucket_charge(&process->bucket, fmax(bytes, 0), now_us(run));
}

static void begin(struct run *run, struct process *process, int worker)
{
    double expected;

    plant_begin(&run->plant, worker, (double)run->options->config.chunk_wal_max);
    expected = run->plant.workers[worker].chunk.expected;
    credit_begin(&process->credit, expected);
    pay(run, process, expected);
}

static void done(struct run *run, struct process *process, const struct plant_chunk *chunk)
{
    double charged = chunk->bytes * (run->options->overcharge > 0 ? run->options->overcharge : 1);
    struct law_chunk learned = {
        .now_us = now_us(run),
        .seconds = chunk->seconds,
        .bytes = charged,
        .rows = (int64_t)(chunk->bytes / 200),
    };

    credit_end(&process->credit, chunk->expected);
    process->ours += charged;
    pay(run, process, charged - chunk->expected);
    credit_seen(&process->credit, run->plant.wal);
    if (run->options->law->chunk != NULL)
        run->options->law->chunk(process->state, &learned, &process->decision);
    run->trace->largest_chunk = fmax(run->trace->largest_chunk, chunk->bytes);
}

static void work(struct run *run, struct process *process)
{
    bool busy = false;

    for (int i = process->first; i < process->first + process->workers; i++) {
        struct plant_worker *worker = &run->plant.workers[i];
        struct plant_chunk chunk;

        if (plant_ended(&run->plant, i, (double)process->decision.chunk_ms / 1000, &chunk)) {
            done(run, process, &chunk);
            run->took_s[i] = chunk.seconds;
            run->rested_s[i] = plant_now_s(&run->plant);
        }
        if (!worker->busy && ask(run, process, i))
            begin(run, process, i);
        busy = busy || worker->busy;
    }
    process->busy_steps += busy;
}

static void watch_idle(struct run *run)
{
    bool busy = false;

    for (int i = 0; i < PLANT_WORKERS_MAX; i++)
        busy = busy || run->plant.workers[i].busy;
    if (busy)
        run->idle_since = -1;
    else if (run->idle_since < 0)
        run->idle_since = run->plant.step;
}

/* ----------------------------------------------------------------------------------- the record */

static bool is_there(const struct run *run, int replica)
{
    return run->options->plant.replicas[replica].capacity > 0 && run->plant.replicas[replica].there;
}

static void record_replicas(const struct run *run, struct plant_sample *sample)
{
    double capacity = INFINITY;

    for (int i = 0; i < PLANT_REPLICAS_MAX; i++) {
        if (!is_there(run, i))
            continue;
        sample->worst = fmax(sample->worst, plant_backlog(&run->plant, i));
        capacity = fmin(capacity, plant_capacity(&run->plant, i));
    }
    sample->limit = run->limits.lag_bytes > 0 ? run->limits.lag_bytes : INFINITY;
    if (run->limits.lag_seconds > 0)
        sample->limit = fmin(sample->limit, capacity * run->limits.lag_seconds);
    sample->best = capacity - sample->foreign;
}

static void record(struct run *run)
{
    const struct process *process = &run->processes[0];
    struct plant_sample *sample = &run->trace->samples[run->trace->count++];

    *sample = (struct plant_sample){
        .written = run->sample_wrote,
        .part = process->ours - run->sample_ours,
        .foreign = plant_foreign(&run->plant),
        .rate = process->decision.bytes_per_second,
        .workers = process->decision.workers,
        .chunk_ms = (double)process->decision.chunk_ms,
        .rest_s = law_rest_seconds(&process->decision, run->took_s[process->first]),
        .latency = plant_latency(&run->plant) / plant_latency_alone(&run->plant),
        .p95 = run->probe.readings[SIGNAL_FOREGROUND_LATENCY].value,
        .reason = process->decision.reason,
        .closed = is_closed(run, process),
    };
    record_replicas(run, sample);
    run->sample_wrote = 0;
    run->sample_ours = process->ours;
}

/* What we write past the limit: chunks in flight may, nothing else. */
static void watch_limit(struct run *run)
{
    double wrote = run->plant.writing * PLANT_STEP_S;
    bool past = false;

    for (int i = 0; i < PLANT_REPLICAS_MAX; i++)
        past = past || (run->limits.lag_bytes > 0 && is_there(run, i) &&
                        plant_backlog(&run->plant, i) > run->limits.lag_bytes);
    run->over = past ? run->over + wrote : 0;
    run->trace->over = fmax(run->trace->over, run->over);
    run->sample_wrote += wrote;
}

/* --------------------------------------------------------------------------------------- the run
 */

static void begin_process(struct run *run, int number)
{
    const struct plant_run_options *options = run->options;
    struct process *process = &run->processes[number];

    process->workers = options->config.workers;
    process->first = number * options->config.workers;
    assert(process->first + process->workers <= PLANT_WORKERS_MAX);
    process->state = memory_zero(1, options->law->state_size);
    options->law->init(process->state, &options->config, 0);
    process->decision = (struct law_decision){
        .bytes_per_second = INFINITY,
        .workers = options->config.workers,
        .chunk_ms = options->config.chunk_ms,
        .reason = -1,
    };
    bucket_init(&process->bucket, 0);
}

static void step(struct run *run)
{
    const struct plant_run_options *options = run->options;

    plant_advance(&run->plant);
    if (options->later_s > 0 && plant_now_s(&run->plant) >= options->later_s)
        run->limits = options->limits_later;
    watch_limit(run);
    tick(run);
    for (int i = 0; i < run->process_count; i++)
        work(run, &run->processes[i]);
    watch_idle(run);
    if (run->plant.step % TRACE_STEPS == 0)
        record(run);
}

void plant_run(const struct plant_run_options *options, struct plant_trace *trace)
{
    struct run run = {
        .options = options,
        .limits = options->limits,
        .trace = trace,
        .random = options->plant.seed,
        .process_count = options->processes > 0 ? options->processes : 1,
    };
    int64_t steps = (int64_t)(options->seconds / PLANT_STEP_S);

    *trace = (struct plant_trace){
        .processes = run.process_count,
        .samples = memory_zero((size_t)(steps / TRACE_STEPS + 1), sizeof(trace->samples[0])),
    };
    plant_init(&run.plant, &options->plant);
    plant_probe_init(&run.probe, options->plant.seed ^ UINT64_C(0x5DEECE66D));
    for (int i = 0; i < run.process_count; i++)
        begin_process(&run, i);
    while (run.plant.step < steps)
        step(&run);
    for (int i = 0; i < run.process_count; i++)
        free(run.processes[i].state);
}
