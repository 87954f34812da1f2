#include "bench/laws.h"

#include <math.h>

#include "bench/laws_look.h"

/* limit.replica-lag-time, when it is off: its default. */
static const double LIMIT_SECONDS_DEFAULT = 2;

double law_look_part(const struct law_input *input, enum signal_id id)
{
    const struct reading *reading = &input->readings[id];

    if (reading->state != READING_OK || !(reading->limit > 0))
        return 0;
    return reading->value / reading->limit;
}

static bool is_unreadable(const struct law_input *input, enum signal_id id)
{
    return input->readings[id].state == READING_UNREADABLE;
}

void law_look(const struct law_input *input, struct law_look *look)
{
    const struct reading *time = &input->readings[SIGNAL_REPLICA_LAG_TIME];
    const struct reading *active = &input->readings[SIGNAL_ACTIVE_SESSIONS];
    double bytes_part = law_look_part(input, SIGNAL_REPLICA_LAG_BYTES);
    double time_part = law_look_part(input, SIGNAL_REPLICA_LAG_TIME);

    *look = (struct law_look){.lag = fmax(bytes_part, time_part), .lag_reason = -1};
    if (look->lag > 0)
        look->lag_reason =
            bytes_part >= time_part ? SIGNAL_REPLICA_LAG_BYTES : SIGNAL_REPLICA_LAG_TIME;
    look->limit_seconds =
        time->state == READING_OK && time->limit > 0 ? time->limit : LIMIT_SECONDS_DEFAULT;
    look->lag_seconds = look->lag * look->limit_seconds;
    look->unreadable = is_unreadable(input, SIGNAL_REPLICA_LAG_BYTES) ||
                       is_unreadable(input, SIGNAL_REPLICA_LAG_TIME) ||
                       is_unreadable(input, SIGNAL_REPLICAS_MISSING) ||
                       law_look_part(input, SIGNAL_REPLICAS_MISSING) >= 1;
    look->load = active->state == READING_OK && active->limit > 0
                     ? law_look_part(input, SIGNAL_ACTIVE_SESSIONS)
                     : NAN;
}

void law_decide(const struct law_config *config, struct law_decision *decision)
{
    *decision = (struct law_decision){
        .bytes_per_second = INFINITY,
        .workers = config->workers,
        .chunk_ms = config->chunk_ms,
        .reason = -1,
    };
}

void law_decide_stop(struct law_decision *decision, int reason)
{
    decision->bytes_per_second = 0;
    decision->reason = reason;
}

const struct law *const bench_laws[] = {
    &bench_law_pt_osc, &bench_law_gh_ost, &bench_law_gitlab,
    &bench_law_vitess, &bench_law_spirit, NULL,
};
