/*
 * What the parts of law "auto" share. Private to law_auto*.c.
 *
 *     law_auto.c           dead time, and one decision of what the parts say
 *     law_auto_replica.c   one replica: its measured capacity, and the rate that follows from it
 *     law_auto_flow.c      log: other people's, the worst replica, wal-rate
 *     law_auto_load.c      load: how hard we may work beside others
 */
#ifndef PGHAUL_THROTTLE_LAW_AUTO_PARTS_H
#define PGHAUL_THROTTLE_LAW_AUTO_PARTS_H

#include "throttle/law.h"

/* Since when a replica's speed is being measured. */
struct auto_span {
    int64_t at_us;
    double replayed, backlog; /* then */
    double least;             /* backlog since */
};

/* What follows our log. All in bytes and seconds. */
struct auto_replica {
    char name[64];
    bool there;               /* in the input of this tick */
    double backlog, replayed; /* its last report */
    int64_t at_us;
    double sum_bytes, sum_seconds; /* of replay while it was behind, older ones weigh less */
    struct auto_span from;
    int64_t measured_us;           /* last */
    double odd_bytes, odd_seconds; /* of late, while that was far from the mean */
    double capacity;               /* it replays a second, when it has to; < 0: unknown */
    double reach; /* what it is allowed to try: capacity, or more while it keeps up */
    int roomy;    /* decisions in a row that found little backlog, and the rate used */
    bool never_behind;
    double integral; /* bytes a second */
};

struct auto_flow {
    struct auto_replica replicas[LAW_REPLICAS_MAX];
    int64_t at_us;           /* of the last look; 0: none */
    double outside, written; /* positions then */
    double foreign;          /* bytes a second that others write, mean */
    double speed;            /* of the whole log, of late */
    double rate;             /* decided; INFINITY: no limit */
    double limit;            /* that it comes from, in bytes; INFINITY: none */
    int reason;
    int worst;         /* replica whose rate that is; -1: none */
    int64_t wanted_us; /* when the rate was last what limited; 0: never */
};

struct auto_load {
    double level;                /* of all workers, what may be busy: (0, 1] */
    int64_t at_us[SIGNAL_COUNT]; /* of the readings that were used last */
    int64_t decided_us;
    int64_t lowered_us;   /* when it was lowered last; 0: never */
    double lowered_ratio; /* .. and for what */
    double bad;           /* a level that was beyond the limit; 0: none is known */
    int64_t bad_until_us, bad_wait_us;
    int workers;
    int64_t raised_us; /* when one was added last; 0: never, or it was taken back */
    int64_t full_us;   /* since when those there are have been too few; 0: they are not */
    int64_t raise_after_us, raise_wait_us;
    double checkpoints; /* as the level, for checkpoints-requested alone */
    int reason;         /* of the level */
    bool known;         /* what others feel has been, once */
    bool active;        /* the level and its workers count now */
    double part;        /* of all workers that may be busy, after all: level, or 1 */
};

/* What chunks have taught. */
struct auto_work {
    double seconds; /* of a chunk, mean; 0: there was none */
    double bytes;   /* of a chunk, mean */
};

struct auto_state {
    struct law_config config;
    int64_t tick_us;    /* last */
    int64_t decided_us; /* last decision */
    struct auto_flow flow;
    struct auto_load load;
    struct auto_work work;
    double give_way; /* chunk size is this times what it would be: 1, or less after we were in
                        somebody's way */
    int64_t gave_us;
    int workers; /* that the log needs */
    struct law_decision decision;
};

/* -- law_auto_replica.c -- */

/* How far a replica may be behind, in bytes; INFINITY: no limit. */
struct auto_limit {
    double bytes;   /* limit.replica-lag-bytes */
    double seconds; /* limit.replica-lag-time */
};

void auto_replica_init(struct auto_replica *replica, const struct law_replica *seen,
                       const struct auto_limit *limit);
void auto_replica_see(struct auto_replica *replica, const struct law_replica *seen);
/* The bytes that `limit` comes to, and which of its two that is. */
double auto_replica_limit(const struct auto_replica *replica, const struct auto_limit *limit,
                          int *reason);
/* Bytes a second that all may write together, so that it comes to half of the limit. */
double auto_replica_rate(const struct auto_replica *replica, double limit, double foreign,
                         int64_t now_us);
/* Before a decision, `seconds` after the last: moves the integral, and tries for more where it has
 * little to do. `speed` is the whole log's; `binds`: the rate that follows from replicas was what
 * limited; `worst`: of this one. */
void auto_replica_adjust(struct auto_replica *replica, double limit, double speed, double seconds,
                         bool binds, bool worst, int64_t now_us);

/* -- law_auto_flow.c -- */

void auto_flow_init(struct auto_flow *flow);
/* Every tick. */
void auto_flow_see(struct auto_flow *flow, const struct law_input *input);
/* Every decision; into flow->rate, reason. */
void auto_flow_decide(struct auto_flow *flow, const struct law_input *input, double seconds);
/* The rate has been what limits, within the last seconds. */
bool auto_flow_binds(const struct auto_flow *flow, int64_t now_us);
/* The worst replica is close to its limit: decide at once. */
bool auto_flow_close(const struct auto_flow *flow, const struct law_input *input);

/* -- law_auto_load.c -- */

void auto_load_init(struct auto_load *load, const struct law_config *config);
/* Every decision. `held`: something else holds us back, so that the readings say nothing about
 * what more of us would do. */
void auto_load_decide(struct auto_load *load, const struct law_config *config,
                      const struct law_input *input, bool held);

#endif
