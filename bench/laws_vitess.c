/*
 * Vitess, go/vt/throttler/max_replication_lag_module.go and memory.go: a rate of requests.
 *
 *     lag <= target         increase   from the highest known good rate: double it; to the middle
 *                                      when that is above the lowest bad one; at least 5 more.
 *                                      Not when the rate in force was not nearly used
 *     target < lag <= max   decrease   guess the replica's rate by how its lag grew,
 *                                      rate of the primary * (d - growth) / d, less what works off
 *                                      the backlog within 20 s
 *     max < lag             emergency  half
 *
 * Each record of lag (every 20 s) tests the rate in force: an increase after at least 40 s (more
 * after a small one, at most 62), a decrease after 20, a worse state at once. Rates that were left
 * for the better are good, for the worse bad; the bad one ages by 10 % every 180 s. The first
 * increase comes 62 s after the start, from 100 requests a second.
 *
 * A request was an INSERT of about 1 KB in the copies that used this (vtworker), so one is 1 KiB of
 * log here. `max` is the user's limit, `target` half of it (its own are 2 s and, in the transaction
 * throttler, 10 s), and the second by which it thinks lag inexact (MySQL tells whole ones) half of
 * that. Its other records, of several replicas and kinds of them, are one here: the worst.
 */
#include <math.h>

#include "bench/laws_look.h"

static const double REQUEST_BYTES = 1024;
static const double RATE_FIRST = 100;
static const double RATE_STEP = 5; /* of the memory, and the least increase */
static const double RATE_USED = 0.9;
static const double BACKLOG_SECONDS = 20;

enum { GOOD_MAX = 64 };

#define SECOND_US INT64_C(1000000)
#define RECORD_US (20 * SECOND_US)
#define INCREASE_MIN_SECONDS 40.0
#define INCREASE_MAX_SECONDS 62.0
#define DECREASE_US (20 * SECOND_US)
#define AGE_US (180 * SECOND_US)

enum state { INCREASE, DECREASE, EMERGENCY }; /* in order of severity */
enum change { CHANGE_UNKNOWN, CHANGE_LESS, CHANGE_NONE, CHANGE_MORE };

struct record {
    int64_t at_us;
    double lag_seconds;
    double requests; /* of ours so far */
};

struct vitess_state {
    struct law_config config;
    double rate; /* requests a second */
    enum state current;
    int64_t start_us;
    int64_t record_us;     /* of the last record */
    int64_t testing_us;    /* until then the rate in force is under test; 0: it is not */
    struct record then;    /* at the last change of the rate */
    struct record first;   /* the same; at the start the first one; at_us 0: none yet */
    double good[GOOD_MAX]; /* rising */
    int good_count;
    double bad; /* 0: none */
    int64_t bad_ages_us;
    struct law_look look;
};

static void vitess_init(void *state, const struct law_config *config, int64_t now_us)
{
    *(struct vitess_state *)state = (struct vitess_state){.config = *config,
                                                          .rate = RATE_FIRST,
                                                          .current = INCREASE,
                                                          .start_us = now_us,
                                                          .record_us = now_us,
                                                          .then = {.at_us = now_us}};
}

/* --------------------------------------------------------------------------------------- memory */

static double highest_good(const struct vitess_state *vitess)
{
    return vitess->good_count == 0 ? 0 : vitess->good[vitess->good_count - 1];
}

static void mark_good(struct vitess_state *vitess, double rate)
{
    int at = vitess->good_count;

    rate = floor(rate / RATE_STEP) * RATE_STEP;
    if (vitess->bad > 0 && rate > vitess->bad)
        return;
    while (at > 0 && vitess->good[at - 1] > rate)
        at--;
    if (at > 0 && vitess->good[at - 1] == rate)
        return;
    if (vitess->good_count == GOOD_MAX) { /* the lowest is never asked for before all others */
        if (at == 0)
            return;
        at--;
        for (int i = 0; i < at; i++)
            vitess->good[i] = vitess->good[i + 1];
    } else {
        for (int i = vitess->good_count++; i > at; i--)
            vitess->good[i] = vitess->good[i - 1];
    }
    vitess->good[at] = rate;
}

static void mark_bad(struct vitess_state *vitess, double rate, int64_t now_us)
{
    rate = ceil(rate / RATE_STEP) * RATE_STEP;
    if (vitess->bad > 0 && rate >= vitess->bad)
        return;
    if (rate < 0.9 * highest_good(vitess)) /* thought to be a hiccup */
        return;
    while (vitess->good_count > 0 && highest_good(vitess) >= rate)
        vitess->good_count--;
    vitess->bad = rate;
    vitess->bad_ages_us = now_us + AGE_US;
}

static void age_bad(struct vitess_state *vitess, int64_t now_us)
{
    if (vitess->bad <= 0 || now_us < vitess->bad_ages_us)
        return;
    vitess->bad = fmax(vitess->bad * 1.1, vitess->bad + 1);
    vitess->bad_ages_us = now_us + AGE_US;
}

/* Requests a second between two records; NAN for none. */
static double rate_between(const struct record *from, const struct record *to)
{
    double seconds = (double)(to->at_us - from->at_us) / (double)SECOND_US;

    return seconds > 0 ? (to->requests - from->requests) / seconds : NAN;
}

/* What the rate since its last change has turned out to be. */
static void remember(struct vitess_state *vitess, const struct record *now, enum state tested,
                     enum change change)
{
    double rate = rate_between(&vitess->then, now);
    bool good;

    if (isnan(rate))
        return;
    if (vitess->current == EMERGENCY) {
        vitess->bad_ages_us = now->at_us + AGE_US;
        return;
    }
    if (vitess->current == DECREASE && tested == DECREASE) {
        if (change == CHANGE_UNKNOWN || change == CHANGE_NONE)
            return;
        good = change == CHANGE_LESS;
    } else {
        good = tested == INCREASE;
    }
    if (good)
        mark_good(vitess, rate);
    else
        mark_bad(vitess, rate, now->at_us);
}

/* ----------------------------------------------------------------------------------------- rates
 */

static void set_rate(struct vitess_state *vitess, const struct record *now, enum state state,
                     double rate, int64_t test_us)
{
    vitess->rate = fmax(floor(rate), 1);
    vitess->current = state;
    vitess->then = *now;
    vitess->first = *now;
    vitess->testing_us = now->at_us + test_us;
}

static void increase(struct vitess_state *vitess, const struct record *now)
{
    double actual = rate_between(&vitess->then, now);
    double before;
    double rate;
    double seconds;

    remember(vitess, now, INCREASE, CHANGE_UNKNOWN);
    if (isnan(actual) || actual < vitess->rate * RATE_USED)
        return;
    before = highest_good(vitess) > 0 ? highest_good(vitess) : actual;
    rate = 2 * before;
    if (vitess->bad > 0 && rate > vitess->bad)
        rate = (before + vitess->bad) / 2;
    if (floor(rate) <= vitess->rate) {
        before = vitess->rate;
        rate = before + RATE_STEP;
    }
    seconds = fmax(INCREASE_MIN_SECONDS, before / (rate - before) + 2);
    set_rate(vitess, now, INCREASE, rate,
             (int64_t)(fmin(seconds, INCREASE_MAX_SECONDS) * (double)SECOND_US));
}

static enum change change_of(const struct vitess_state *vitess, double lag_before, double lag_now)
{
    double inexact = vitess->look.limit_seconds / 4;

    if (fabs(lag_now - lag_before) <= inexact)
        return CHANGE_NONE;
    return lag_now > lag_before ? CHANGE_MORE : CHANGE_LESS;
}

static void decrease(struct vitess_state *vitess, const struct record *now)
{
    const struct record *before = &vitess->first;
    double seconds = (double)(now->at_us - before->at_us) / (double)SECOND_US;
    double growth = now->lag_seconds - before->lag_seconds;
    double primary;
    double replica;
    double behind = 0;
    enum change change;

    if (before->at_us == now->at_us) { /* nothing to compare with: half of an emergency */
        set_rate(vitess, now, DECREASE, vitess->rate * 0.75, DECREASE_US);
        return;
    }
    change = change_of(vitess, before->lag_seconds, now->lag_seconds);
    remember(vitess, now, DECREASE, change);
    primary = rate_between(before, now);
    if (change == CHANGE_NONE || isnan(primary))
        return;
    replica = fmax(primary * (fmax(seconds, growth) - growth) / fmax(seconds, growth), 1);
    if (growth > 0)
        behind += replica * before->lag_seconds;
    if (replica < primary)
        behind += (primary - replica) * seconds;
    set_rate(vitess, now, DECREASE, replica * (1 - behind / (replica * BACKLOG_SECONDS)),
             DECREASE_US);
}

static void emergency(struct vitess_state *vitess, const struct record *now)
{
    remember(vitess, now, EMERGENCY, CHANGE_UNKNOWN);
    set_rate(vitess, now, EMERGENCY, vitess->rate * 0.5, DECREASE_US);
}

/* A record of lag has come. */
static void recalculate(struct vitess_state *vitess, const struct record *now)
{
    double lag = vitess->look.lag;
    enum state tested = lag <= 0.5 ? INCREASE : lag <= 1 ? DECREASE : EMERGENCY;
    bool same = tested == vitess->current;

    age_bad(vitess, now->at_us);
    if (vitess->first.at_us == 0)
        vitess->first = *now;
    if (tested == INCREASE &&
        (double)(now->at_us - vitess->start_us) < INCREASE_MAX_SECONDS * (double)SECOND_US)
        return;
    if (same && now->at_us < vitess->testing_us)
        return;
    if (tested == INCREASE)
        increase(vitess, now);
    else if (tested == DECREASE)
        decrease(vitess, now);
    else
        emergency(vitess, now);
}

static void vitess_tick(void *state, const struct law_input *input, struct law_decision *decision)
{
    struct vitess_state *vitess = state;

    law_look(input, &vitess->look);
    if (input->now_us - vitess->record_us >= RECORD_US && !vitess->look.unreadable) {
        const struct record now = {.at_us = input->now_us,
                                   .lag_seconds = vitess->look.lag_seconds,
                                   .requests = input->ours / REQUEST_BYTES};

        vitess->record_us = input->now_us;
        recalculate(vitess, &now);
    }
    law_decide(&vitess->config, decision);
    decision->bytes_per_second = vitess->rate * REQUEST_BYTES;
    decision->reason = vitess->look.lag_reason;
}

const struct law bench_law_vitess = {
    .name = "vitess",
    .what = "Vitess: a rate, doubled while there is no lag, cut when there is",
    .state_size = sizeof(struct vitess_state),
    .init = vitess_init,
    .tick = vitess_tick,
    .bare = true,
};
