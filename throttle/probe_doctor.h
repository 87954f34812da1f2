/*
 * For doctor: every signal as it reads now, those that are off, too; and what matters about
 * standbys beside how far they are: what we do to queries there, and they to our vacuum.
 *
 * VACUUM (FREEZE) of a fresh table, the purge's vacuum and the swap's lock are replayed on a hot
 * standby. What is in their way there is cancelled after max_standby_streaming_delay; with
 * hot_standby_feedback the standby holds back the primary's vacuum instead.
 *
 *     probe_doctor() -> fields -> nothing to give back
 */
#ifndef PGHAUL_THROTTLE_PROBE_DOCTOR_H
#define PGHAUL_THROTTLE_PROBE_DOCTOR_H

#include "throttle/probe.h"

struct doctor_signal {
    bool on;
    struct reading reading; /* as if it were on; READING_OFF: there is no telling (query) */
};

struct doctor_standby {
    char name[64];
    bool asked; /* itself, and it answered: the rest, up to feedback, is what it said */
    char why[SIGNAL_WHY_BYTES]; /* it did not */
    char delay[32];             /* max_standby_streaming_delay: "30s", "-1": it waits for ever */
    bool hidden;                /* what runs there is not shown to this role */
    double oldest_seconds;      /* of the oldest transaction there; < 0: none */
    char oldest_who[SIGNAL_WHO_BYTES];
    bool feedback; /* hot_standby_feedback, as it says, or as its snapshot here shows */
};

struct doctor_look {
    struct doctor_signal signals[SIGNAL_COUNT];
    struct doctor_standby standbys[LAW_REPLICAS_MAX];
    int standby_count;
    /* A job with these settings would be refused: a signal is on that cannot be read. */
    bool refused;
};

/* Takes about a second: rates need two looks. ERROR_SQL when the server is a standby. */
bool probe_doctor(const struct session_options *connect, const struct settings *settings,
                  const uint32_t *tables, int table_count, const struct stop *stop,
                  struct doctor_look *look, struct error *error) MUST_CHECK;

#endif
