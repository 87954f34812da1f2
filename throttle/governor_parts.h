/*
 * What the parts of the governor share. Private to governor*.c.
 *
 *     governor.c         life: start, stop
 *     governor_look.c    the thread: what it looks at, and when
 *     governor_pace.c    struct pace: what workers ask (under the mutex, never waits)
 *     governor_tick.c    from readings to a decision (under the mutex, pure but for the clock)
 *     governor_tell.c    what it says: progress, samples
 */
#ifndef PGHAUL_THROTTLE_GOVERNOR_PARTS_H
#define PGHAUL_THROTTLE_GOVERNOR_PARTS_H

#include <pthread.h>

#include "engine/job/window.h"
#include "throttle/ask.h"
#include "throttle/bucket.h"
#include "throttle/credit.h"
#include "throttle/gate.h"
#include "throttle/governor.h"
#include "throttle/probe.h"
#include "throttle/share.h"

/* How often, in microseconds. */
#define TICK_US INT64_C(1000000)           /* everything */
#define LATENCY_US INT64_C(200000)         /* our own small transaction */
#define MEASURE_US INT64_C(100000)         /* the replicas again, at most as often */
#define LISTEN_STEP_US INT64_C(20000)      /* between two of these while we listen */
#define LISTEN_LONGEST_US INT64_C(3000000) /* for what is in flight to end, and to listen */
#define UNHEARD_US INT64_C(10000000)       /* since when there was none, before one is made */

/* What workers do and did; all of it under the mutex. */
struct governor_work {
    int in_flight;         /* chunks, and statements that cannot be paced */
    int64_t busy_us;       /* with one in flight, since the last tick */
    int64_t busy_since_us; /* when the first of those in flight began */
    int64_t idle_since_us; /* when the last of them ended */
    bool wanted;           /* since the last tick some worker waited for the rate or the credit */
    int64_t rows;          /* since the last sample */
    double bytes;          /* since the last tick, as the work estimated them */
    double ours;           /* of log, ever, as charged */
    double row_ms;         /* of a row, by one worker; running mean; 0: unknown */
};

/* Statements that cannot be paced. Who waits asks again and again, or has given up. */
#define GIVEN_UP_US INT64_C(2000000)
struct governor_unpaced {
    int running;
    bool our_turn;         /* this process has the turn of this database: the advisory lock */
    int64_t turn_asked_us; /* when somebody asked last who waits for that; 0: never */
    int64_t owed_us;       /* when somebody asked last, and too much was owed; 0: never */
    int64_t asked_us;      /* when somebody asked last, and was told to wait */
    int64_t wal_bytes;     /* of the one that began last */
    char what[128];        /* that one */
    char waits[128];       /* the one that asked last, and was told to wait */
    double wait_seconds;   /* that it would take */
    char turn_of[128];     /* who had the turn when we wanted it last; "": nobody */
};

/* What is told: what may go, and why not all. */
struct governor_reason {
    char decision[192]; /* "open", "paced", "closed", "window", "unpaced: index x, ..", .. */
    int signal;         /* enum signal_id of what binds; -1: none does, or none by that name */
    char text[512];     /* what binds, in words; "" for nothing */
    int64_t since_us;   /* of decision and signal as they are */
};

struct governor {
    struct pace pace; /* first: a struct pace * of ours is a struct governor * */

    /* Set at the start, then only read. */
    int64_t job;
    char application_name[96];
    struct log *log;
    struct progress *progress;
    const struct law *const *laws;
    bool windowed;

    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* on the monotonic clock: somebody wants the thread to look now */

    /* Under the mutex. */
    bool over;
    bool look;    /* at everything, now */
    bool measure; /* the replicas, soon */
    struct settings settings;
    int64_t settings_version;
    bool paused, aborting; /* what the job's row wants */
    const struct law *law;
    void *law_state;
    struct law_config config;
    struct law_decision decision;
    struct bucket bucket;
    struct credit credit;
    struct gates gates;
    struct probe_view view; /* what was read last */
    int64_t read_us;        /* when; 0: nothing yet */
    char trouble[256];      /* why nothing is read; "" */
    int64_t sampled_us;     /* when the last sample was taken */
    bool has_window;
    struct window window;
    struct window_state window_state; /* as of window_us */
    int64_t window_us;                /* 0: not asked yet */
    int64_t listening_us; /* since when nothing begins, to hear the others without us; 0: not */
    int64_t listened_us;  /* when we did last; 0: never, but at the start */
    struct share share;
    bool wants;        /* this process could write more than it may: as of the last decision */
    double charge;     /* bytes of log for a byte that the work says it wrote */
    double charge_wal; /* end of the log, and time, of the last look at that */
    int64_t charge_us;
    int64_t law_us; /* of the law's last tick */
    struct governor_work work;
    struct governor_unpaced unpaced;
    struct governor_reason reason;
};

/* The thread's own. */
struct looking {
    struct governor *governor;
    struct probe *probe;
    int connections; /* that the probe had made when it was looked at last */
    int64_t tick_us; /* when the next is due; the same for the rest */
    int64_t latency_us;
    int64_t measured_us; /* when the replicas were read last */
    int64_t thin_us;
    unsigned seed;
    int64_t joined_us; /* when the first exchange with others was: 0: not yet */
};

/* -- governor_look.c -- */

#define GOVERNOR_THIN_US INT64_C(300000000)

/* The thread: of a struct looking, which it frees with its probe. */
void *governor_run(void *looking);

/* -- governor_tick.c; under the mutex -- */

/* Takes over settings: another policy begins anew, changed limits count from now on. ERROR_USAGE
 * for a law that nobody knows. */
bool governor_configure(struct governor *governor, const struct settings *settings, int64_t now_us,
                        struct error *error) MUST_CHECK;
/* After something was read. */
void governor_decide(struct governor *governor, int64_t now_us);
bool governor_is_auto(const struct governor *governor); /* gates, credit and the rate count */
/* Of what replicas may be behind, bytes or time, the part that they are, as far as is known. */
double governor_owed_part(const struct governor *governor);
/* Little is owed, so that something may begin that cannot be held back. */
bool governor_owes_little(const struct governor *governor);
/* Does nothing begin here, so that a statement of another job may that waits until little is owed?
 */
bool governor_gives_way(const struct governor *governor);
bool governor_in_window(const struct governor *governor, int64_t now_us, double seconds);

/* -- governor_pace.c -- */

void governor_pace_init(struct governor *governor);

/* -- governor_tell.c -- */

/* Under the mutex: into governor->reason, and to the progress. */
void governor_tell(struct governor *governor, int64_t now_us);
/* By the thread, without the mutex: a row of pghaul.sample, and thinning out the old ones. */
bool governor_sample(struct governor *governor, struct ask *ask, int64_t now_us,
                     struct error *error) MUST_CHECK;
bool governor_thin(const struct governor *governor, struct ask *ask,
                   struct error *error) MUST_CHECK;

#endif
