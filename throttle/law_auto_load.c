/*
 * Load: how hard we work beside others, when what they feel is too much.
 *
 * The level is the part of all workers that may be busy: 1 is all of them all the time, 0.25 of two
 * workers is one, half of the time. It moves in proportion to itself (an integral of the
 * logarithm), because what others feel is a ratio, too:
 *
 *     r = worst reading / target;  level *= r ^ -GAIN
 *
 * at most so much at once, and only on readings that are new. Above the limit it goes down by what
 * the ratio says. No additive increase with halving (AIMD): most of what is measured is our own
 * doing, and the saw-tooth would never end (block/spirit says the same of its autoscaler).
 *
 * A percentile of the last WINDOW_US is up as soon as we are too loud, and stays up for the whole
 * window when we no longer are. So what was lowered is not lowered again within the window, unless
 * it has become worse; and raising may be quicker than that.
 *
 * First the number of workers follows from the level, then how long each rests between its chunks:
 * beside an application one busy session hurts much less than two half the time, because the two
 * are busy together for a quarter of it, and percentiles see that. So a worker is added only if
 * what others feel would stay below the target if each worker's part of it grew as in a queue,
 * faster than in proportion; and one that had to be taken away again is not tried for a while, each
 * time twice as long. The same for a level that was beyond the limit: it is remembered as bad
 * (Vitess' lag throttler remembers rates so), because near saturation there may be no level at
 * which a percentile is between good and bad, and any controller without memory would go to and
 * fro.
 *
 * It begins with a fifth of a worker, and stays there until it is known what others feel. Where
 * nobody else is there, nobody is hurt: the level does not count then, and comes back slowly
 * towards 1, so that it is not forgotten between two visits.
 */
#include <math.h>

#include "throttle/law_auto_parts.h"

/* One decision in so long; of a percentile, throttle/probe_pulse.c. */
static const int64_t DEAD_US = 3000000, WINDOW_US = 10000000;
/* Worse than when it was lowered last. */
static const double WORSE = 1.1;
static const double GAIN = 0.5, UP_MOST = 1.25, DOWN_MOST = 0.4;
/* Hysteresis: within this much of the target nothing moves. */
static const double QUIET = 0.1;
static const double LEVEL_LEAST = 0.01, LEVEL_FIRST = 0.2;
/* Nobody is there: per decision. */
static const double RETURN = 1.05;
/* Another worker is added when the present ones would have to do so much more than they can; what
 * it adds is this much more than its part. */
static const double RAISE_AT = 1.25, RAISE_QUEUE = 1.5;
static const int64_t RAISE_WAIT_US = 120000000, RAISE_WAIT_LEAST_US = 30000000,
                     RAISE_WAIT_MOST_US = 900000000;
/* A worker that was just added is watched more closely: what it does shows within a second. */
static const int64_t RAISED_DEAD_US = 1000000;
/* A bad level, and this much less, is not tried again for so long. */
static const double BAD_PART = 0.6;
static const int64_t BAD_WAIT_US = 60000000, BAD_WAIT_MOST_US = 300000000;

static const int LOADS[] = {
    SIGNAL_FOREGROUND_LATENCY,
    SIGNAL_ACTIVE_SESSIONS,
    SIGNAL_COMMIT_WAIT,
};
enum { LOAD_COUNT = sizeof(LOADS) / sizeof(LOADS[0]) };

void auto_load_init(struct auto_load *load, const struct law_config *config)
{
    *load = (struct auto_load){
        .level = fmin(1, LEVEL_FIRST / config->workers),
        .workers = 1,
        .raise_wait_us = RAISE_WAIT_US,
        .bad_wait_us = BAD_WAIT_US,
        .checkpoints = 1,
        .reason = -1,
        .part = 1,
    };
}

/* ------------------------------------------------------------------------------------- readings */

static bool is_on(const struct reading *reading)
{
    return reading->state != READING_OFF && reading->state != READING_ABSENT && reading->limit > 0;
}

/*
 * What to aim at. Half of the limit; of a ratio, which cannot go below 1, at least a quarter of the
 * way up to the limit. A count of other people's sessions is theirs for the most part: three
 * quarters.
 */
static double target_of(enum signal_id id, const struct reading *reading)
{
    if (signal_table[id].unit == UNIT_TIMES)
        return fmax(reading->limit / 2, 1 + (reading->limit - 1) / 4);
    return 0.75 * reading->limit;
}

/* What it would be with one worker more than `workers`, all of them busy. */
static double with_one_more(enum signal_id id, double value, int workers)
{
    double more = (double)(workers + 1) / workers * RAISE_QUEUE;
    double base = signal_table[id].unit == UNIT_TIMES ? 1 : 0;

    return base + fmax(value - base, 0) * more;
}

/* The worst of the readings that are new. */
struct worst {
    double ratio; /* to its target; < 0: none is new */
    bool beyond;  /* its limit */
    bool raise;   /* there is room for another worker, as far as all of them say */
};

static struct worst read_worst(struct auto_load *load, const struct law_input *input)
{
    struct worst worst = {.ratio = -1, .raise = true};

    for (int i = 0; i < LOAD_COUNT; i++) {
        const struct reading *reading = &input->readings[LOADS[i]];
        double target = target_of(LOADS[i], reading);

        if (!is_on(reading))
            continue;
        if (reading->state != READING_OK || !(reading->value >= 0) ||
            reading->at_us == load->at_us[LOADS[i]]) {
            worst.raise = false;
            continue;
        }
        load->at_us[LOADS[i]] = reading->at_us;
        worst.raise =
            worst.raise && with_one_more(LOADS[i], reading->value, load->workers) <= target;
        if (reading->value / target <= worst.ratio)
            continue;
        worst.ratio = reading->value / target;
        worst.beyond = reading->value > reading->limit;
        load->reason = LOADS[i];
    }
    return worst;
}

/* --------------------------------------------------------------------------------------- workers
 */

static bool is_newly_raised(const struct auto_load *load, int64_t now_us)
{
    return load->raised_us > 0 && now_us - load->raised_us < WINDOW_US;
}

/* The worker that was just added is too much: as it was before. */
static void take_back(struct auto_load *load, const struct law_config *config, int64_t now_us)
{
    load->workers--;
    load->level = (double)load->workers / config->workers;
    load->full_us = 0;
    load->raised_us = 0;
    load->raise_after_us = now_us + load->raise_wait_us;
    load->raise_wait_us =
        load->raise_wait_us < RAISE_WAIT_MOST_US / 2 ? load->raise_wait_us * 2 : RAISE_WAIT_MOST_US;
}

static bool may_raise(const struct auto_load *load, bool room, int64_t now_us)
{
    return now_us >= load->raise_after_us &&
           (room || now_us - load->full_us >= load->raise_wait_us);
}

static void add_worker(struct auto_load *load, int64_t now_us)
{
    /* The last one was no mistake. */
    if (load->raised_us > 0 && load->raise_wait_us > RAISE_WAIT_LEAST_US)
        load->raise_wait_us /= 2;
    load->workers++;
    load->raised_us = now_us;
    load->full_us = 0;
}

/* `room`: readings say that there is room for one more. */
static void choose_workers(struct auto_load *load, const struct law_config *config, bool room,
                           int64_t now_us)
{
    double busy = load->level * config->workers;
    double most = load->workers < config->workers ? load->workers * RAISE_AT : config->workers;

    if (busy <= load->workers - 1)
        load->workers = (int)fmax(1, ceil(busy));
    if (busy < load->workers)
        load->full_us = 0;
    if (busy < load->workers || load->workers == config->workers)
        return;
    if (load->full_us == 0)
        load->full_us = now_us;
    if (busy >= most && may_raise(load, room, now_us))
        add_worker(load, now_us);
    /* It winds up no further than what shows that it would go on. */
    load->level = fmin(load->level, most / config->workers);
}

/* ----------------------------------------------------------------------------------------- level
 */

static double factor_of(const struct worst *worst)
{
    if (worst->beyond)
        return fmax(DOWN_MOST, fmin(1 / worst->ratio, 0.9));
    if (fabs(worst->ratio - 1) <= QUIET)
        return 1;
    return fmax(DOWN_MOST, fmin(UP_MOST, pow(fmax(worst->ratio, 0.01), -GAIN)));
}

/* It was lowered for what this still says, or says again. */
static bool is_known(const struct auto_load *load, double ratio, int64_t now_us)
{
    return load->lowered_us > 0 && now_us - load->lowered_us < WINDOW_US &&
           ratio < load->lowered_ratio * WORSE;
}

/* Each time for twice as long. */
static void remember_bad(struct auto_load *load, int64_t now_us)
{
    if (load->bad > 0)
        load->bad_wait_us =
            load->bad_wait_us < BAD_WAIT_MOST_US / 2 ? load->bad_wait_us * 2 : BAD_WAIT_MOST_US;
    load->bad = load->level;
    load->bad_until_us = now_us + load->bad_wait_us;
}

/* It was tried again, and was not bad. */
static void forget_bad(struct auto_load *load, int64_t now_us)
{
    if (now_us < load->bad_until_us || load->level <= load->bad)
        return;
    load->bad = 0;
    load->bad_wait_us = BAD_WAIT_US;
}

static double highest(const struct auto_load *load, int64_t now_us)
{
    return load->bad > 0 && now_us < load->bad_until_us ? load->bad * BAD_PART : 1;
}

static void lower(struct auto_load *load, const struct law_config *config,
                  const struct worst *worst, double factor, int64_t now_us)
{
    if (is_known(load, worst->ratio, now_us))
        return;
    load->lowered_us = now_us;
    load->lowered_ratio = worst->ratio;
    if (load->workers > 1 && is_newly_raised(load, now_us)) {
        take_back(load, config, now_us);
        return;
    }
    if (worst->beyond)
        remember_bad(load, now_us);
    load->level = fmax(LEVEL_LEAST, load->level * factor);
    choose_workers(load, config, false, now_us);
}

static void move_level(struct auto_load *load, const struct law_config *config,
                       const struct law_input *input, bool held)
{
    struct worst worst = read_worst(load, input);
    double factor = factor_of(&worst);

    if (worst.ratio < 0)
        return; /* nothing new is known: as it was */
    load->decided_us = input->now_us;
    load->known = true;
    if (factor < 1) {
        lower(load, config, &worst, factor, input->now_us);
    } else if (!held) {
        load->level = fmax(load->level, fmin(load->level * factor, highest(load, input->now_us)));
        choose_workers(load, config, worst.raise, input->now_us);
        forget_bad(load, input->now_us);
    }
}

/* Nobody knows what the others feel: there is no baseline yet, or another process works and leaves
 * no pause to take one from. */
static void hold_back(struct auto_load *load, const struct law_config *config, int64_t now_us)
{
    load->decided_us = now_us;
    if (load->known)
        return; /* it was known a moment ago */
    load->level = fmin(load->level, LEVEL_FIRST / config->workers);
    choose_workers(load, config, false, now_us);
}

/* Readings of ten minutes: nothing that could be controlled, so less in proportion. */
static void decide_checkpoints(struct auto_load *load, const struct law_input *input)
{
    const struct reading *reading = &input->readings[SIGNAL_CHECKPOINTS_REQUESTED];
    double over;

    if (!is_on(reading))
        load->checkpoints = 1;
    if (!is_on(reading) || reading->state != READING_OK || !(reading->value >= 0))
        return;
    over = (reading->value - reading->limit / 2) / (reading->limit / 2);
    load->checkpoints = fmin(1, fmax(0.1, 1 - 0.9 * over));
}

static bool any(const struct law_input *input, bool (*is)(const struct reading *reading))
{
    for (int i = 0; i < LOAD_COUNT; i++)
        if (is(&input->readings[LOADS[i]]))
            return true;
    return false;
}

static bool is_absent(const struct reading *reading)
{
    return reading->state == READING_ABSENT;
}

/* Of those that are on: the reason when none has said anything yet. */
static int first_on(const struct law_input *input)
{
    for (int i = 0; i < LOAD_COUNT; i++)
        if (is_on(&input->readings[LOADS[i]]) || is_absent(&input->readings[LOADS[i]]))
            return LOADS[i];
    return -1;
}

void auto_load_decide(struct auto_load *load, const struct law_config *config,
                      const struct law_input *input, bool held)
{
    bool on = any(input, is_on), absent = any(input, is_absent);
    int64_t dead_us = is_newly_raised(load, input->now_us) ? RAISED_DEAD_US : DEAD_US;
    bool due = input->now_us - load->decided_us >= dead_us;

    decide_checkpoints(load, input);
    load->active = input->foreign && (on || absent);
    if (load->active && due && on)
        move_level(load, config, input, held);
    else if (load->active && due)
        hold_back(load, config, input->now_us);
    else if (!load->active && due) {
        load->level = fmin(1, load->level * RETURN);
        load->decided_us = input->now_us;
        load->bad = 0;
        load->bad_wait_us = BAD_WAIT_US;
    }
    load->part = load->active ? fmin(load->level, (double)load->workers / config->workers) : 1;
    if (load->active && load->reason < 0)
        load->reason = first_on(input);
    if (load->checkpoints < load->part) {
        load->part = load->checkpoints;
        load->reason = SIGNAL_CHECKPOINTS_REQUESTED;
    }
}
