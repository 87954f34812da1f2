/* Rows of the big statement -> readings. */
#include "throttle/probe_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double TEN_MINUTES_US = 600e6;
static const int64_t RATE_SPAN_US = 900000;

/* ------------------------------------------------------------------------------------- the rows */

static void log_row(struct probe *probe, const struct rows *rows, int row, int64_t now_us)
{
    struct probe_view *view = &probe->view;

    view->wal = rows_double(rows, row, LOOK_A);
    view->wal_us = now_us;
    if (probe->archived_start < 0)
        probe->archived_start = view->wal;
}

static void foreign_row(struct probe *probe, const struct rows *rows, int row, int64_t now_us)
{
    (void)now_us;
    probe->look.foreign = rows_bool(rows, row, LOOK_FLAG);
}

static void slot_row(struct probe *probe, const struct rows *rows, int row, int64_t now_us)
{
    const char *name = rows_text(rows, row, LOOK_NAME);
    double retained = rows_double(rows, row, LOOK_A), left = rows_double(rows, row, LOOK_B);

    (void)now_us;
    if (rows_text(rows, row, LOOK_A) != NULL &&
        (!probe->look.slots || retained > probe->look.retained)) {
        probe->look.slots = true;
        probe->look.retained = retained;
        snprintf(probe->look.retained_by, sizeof(probe->look.retained_by), "%s%s", name,
                 rows_bool(rows, row, LOOK_FLAG) ? "" : " (inactive)");
    }
    if (rows_text(rows, row, LOOK_B) != NULL &&
        (!probe->look.wal_left || left < probe->look.left_percent)) {
        probe->look.wal_left = true;
        probe->look.left_percent = left;
        probe_name(probe->look.left_of, sizeof(probe->look.left_of), name);
    }
    if (rows_double(rows, row, LOOK_C) > probe->look.horizon) {
        probe->look.horizon = rows_double(rows, row, LOOK_C);
        snprintf(probe->look.horizon_of, sizeof(probe->look.horizon_of), "slot %s", name);
    }
}

static void horizon_row(struct probe *probe, const struct rows *rows, int row, int64_t now_us)
{
    (void)now_us;
    if (rows_double(rows, row, LOOK_A) <= probe->look.horizon)
        return;
    probe->look.horizon = rows_double(rows, row, LOOK_A);
    probe_name(probe->look.horizon_of, sizeof(probe->look.horizon_of),
               rows_text(rows, row, LOOK_WHO));
}

static void blocked_row(struct probe *probe, const struct rows *rows, int row, int64_t now_us)
{
    (void)now_us;
    if (probe->look.blocked++ == 0)
        probe_name(probe->look.blocked_who, sizeof(probe->look.blocked_who),
                   rows_text(rows, row, LOOK_WHO));
}

static void archiver_row(struct probe *probe, const struct rows *rows, int row, int64_t now_us)
{
    (void)now_us;
    probe->look.archiver = true;
    if (rows_text(rows, row, LOOK_A) != NULL)
        probe->look.archived = rows_double(rows, row, LOOK_A);
    if (rows_text(rows, row, LOOK_B) != NULL)
        probe->look.failing_at = rows_double(rows, row, LOOK_B);
    if (rows_bool(rows, row, LOOK_FLAG))
        probe_name(probe->look.failing, sizeof(probe->look.failing),
                   rows_text(rows, row, LOOK_WHO));
}

static void dead_row(struct probe *probe, const struct rows *rows, int row, int64_t now_us)
{
    double dead = rows_double(rows, row, LOOK_A);

    (void)now_us;
    probe->look.dead += dead;
    if (dead <= probe->look.dead_most)
        return;
    probe->look.dead_most = dead;
    probe_name(probe->look.dead_of, sizeof(probe->look.dead_of), rows_text(rows, row, LOOK_NAME));
}

static void vacuum_row(struct probe *probe, const struct rows *rows, int row, int64_t now_us)
{
    bool wraparound = rows_bool(rows, row, LOOK_FLAG);

    (void)now_us;
    if (probe->look.vacuums++ == 0 || wraparound)
        snprintf(probe->look.vacuum_who, sizeof(probe->look.vacuum_who), "%s, process %s%s",
                 rows_text(rows, row, LOOK_NAME), rows_text(rows, row, LOOK_WHO),
                 wraparound ? ", to prevent wraparound" : "");
}

/* ---------------------------------------------------------------------- rows that say it all */

/* What was requested since ten minutes ago, or since we first looked. */
static void checkpoints_row(struct probe *probe, const struct rows *rows, int row, int64_t now_us)
{
    double count = rows_double(rows, row, LOOK_A);
    int last = probe->checkpoint_count - 1;
    int first = 0;

    /* Numbers go back when statistics are reset. */
    if (last >= 0 && count < probe->checkpoints[last].count)
        probe->checkpoint_count = 0;
    while (first < probe->checkpoint_count &&
           (double)(now_us - probe->checkpoints[first].at_us) > TEN_MINUTES_US)
        first++;
    probe->checkpoint_count -= first;
    memmove(probe->checkpoints, probe->checkpoints + first,
            sizeof(probe->checkpoints[0]) * (size_t)probe->checkpoint_count);
    last = probe->checkpoint_count - 1;
    /* Every 5 s is enough: 128 of them are more than ten minutes. The first one stays. */
    if (probe->checkpoint_count < CHECKPOINT_LOOKS &&
        (last < 0 || now_us - probe->checkpoints[last].at_us > 5000000)) {
        probe->checkpoints[probe->checkpoint_count].count = count;
        probe->checkpoints[probe->checkpoint_count++].at_us = now_us;
    }
    probe_ok(probe, SIGNAL_CHECKPOINTS_REQUESTED, count - probe->checkpoints[0].count, "", now_us);
}

/* Hidden from us: told for the two that were asked for, as far as they are on. */
static void active_hidden(struct probe *probe, int64_t now_us)
{
    static const enum signal_id IDS[] = {SIGNAL_ACTIVE_SESSIONS, SIGNAL_COMMIT_WAIT};
    char grant[SIGNAL_WHY_BYTES];

    for (int i = 0; i < 2; i++)
        probe_unreadable(probe, IDS[i], "",
                         "the server hides from this role what other roles' sessions do",
                         probe_grant(probe, grant), "", now_us);
}

static void active_row(struct probe *probe, const struct rows *rows, int row, int64_t now_us)
{
    if (!rows_bool(rows, row, LOOK_FLAG)) {
        active_hidden(probe, now_us);
        return;
    }
    probe_ok(probe, SIGNAL_ACTIVE_SESSIONS, rows_double(rows, row, LOOK_A), "", now_us);
    probe_ok(probe, SIGNAL_COMMIT_WAIT, rows_double(rows, row, LOOK_B), "", now_us);
}

/* ------------------------------------------------------------------------- what they say together
 */

static void tell_slots(struct probe *probe, int64_t now_us)
{
    if (probe->look.slots)
        probe_ok(probe, SIGNAL_SLOT_RETAINED, fmax(0, probe->look.retained),
                 probe->look.retained_by, now_us);
    else
        probe_absent(probe, SIGNAL_SLOT_RETAINED, now_us);
    if (probe->look.wal_left)
        probe_ok(probe, SIGNAL_SLOT_WAL_LEFT, probe->look.left_percent, probe->look.left_of,
                 now_us);
    else
        probe_absent(probe, SIGNAL_SLOT_WAL_LEFT, now_us);
    probe_ok(probe, SIGNAL_XMIN_AGE, probe->look.horizon, probe->look.horizon_of, now_us);
}

/*
 * From the end of the last segment that was archived, as far as we have seen; from the begin of the
 * one at which it fails; when neither is known (statistics were reset, nothing was archived yet)
 * from where the log was when we first looked, which is too little, but grows.
 */
static void tell_archiver(struct probe *probe, int64_t now_us)
{
    double done = probe->look.failing_at;
    char who[SIGNAL_WHO_BYTES] = "";

    if (!probe->look.archiver) {
        probe_absent(probe, SIGNAL_ARCHIVER_BACKLOG, now_us);
        return;
    }
    if (probe->look.archived > probe->archived)
        probe->archived = probe->look.archived;
    if (done < 0)
        done = probe->archived;
    if (done < 0)
        done = probe->archived_start;
    if (probe->look.failing[0] != '\0')
        snprintf(who, sizeof(who), "the archiver, which fails at %s", probe->look.failing);
    probe_ok(probe, SIGNAL_ARCHIVER_BACKLOG, fmax(0, probe->view.wal - done), who, now_us);
}

static void tell_rate(struct probe *probe, int64_t now_us)
{
    double grown = probe->view.wal - probe->rate_wal;
    int64_t span_us = now_us - probe->rate_us;

    if (probe->rate_us > 0 && span_us < RATE_SPAN_US)
        return;
    /* Of the time before the first look nothing is known; the next one knows. */
    if (probe->rate_us == 0)
        probe_absent(probe, SIGNAL_WAL_RATE, now_us);
    else
        probe_ok(probe, SIGNAL_WAL_RATE, fmax(0, grown / ((double)span_us / 1e6)), "", now_us);
    probe->rate_wal = probe->view.wal;
    probe->rate_us = now_us;
}

/* In a few of the last looks: who watches the server now and then is no load. */
static void tell_foreign(struct probe *probe)
{
    int seen;

    probe->foreign_bits = probe->foreign_bits << 1 | (probe->look.foreign ? 1 : 0);
    probe->foreign_bits &= (1U << FOREIGN_LOOKS) - 1;
    if (probe->foreign_looks < FOREIGN_LOOKS)
        probe->foreign_looks++;
    seen = __builtin_popcount(probe->foreign_bits);
    probe->view.foreign = probe->foreign_looks < 3 ? seen > 0 : seen >= 3;
}

static void tell_relative(struct probe *probe, int64_t idle_us, int64_t now_us)
{
    probe_relative(probe, SIGNAL_ACTIVE_SESSIONS, &probe->active, idle_us, now_us);
    probe_relative(probe, SIGNAL_COMMIT_WAIT, &probe->commits, idle_us, now_us);
}

/* ------------------------------------------------------------------------------------- the looks
 */

static const struct {
    const char *kind;
    void (*take)(struct probe *probe, const struct rows *rows, int row, int64_t now_us);
} KINDS[] = {
    {"log", log_row},           {"foreign", foreign_row},         {"replica", probe_follower_row},
    {"slot", slot_row},         {"horizon", horizon_row},         {"blocked", blocked_row},
    {"active", active_row},     {"checkpoints", checkpoints_row}, {"dead", dead_row},
    {"vacuum", vacuum_row},     {"peer", probe_peer_row},         {PEER_WAITS, probe_peer_row},
    {"archiver", archiver_row},
};

static void take_row(struct probe *probe, const struct rows *rows, int row, int64_t now_us)
{
    const char *kind = rows_text(rows, row, LOOK_KIND);

    for (size_t i = 0; i < sizeof(KINDS) / sizeof(KINDS[0]); i++)
        if (strcmp(KINDS[i].kind, kind) == 0)
            KINDS[i].take(probe, rows, row, now_us);
}

void probe_take(struct probe *probe, const struct rows *rows, bool all, int64_t idle_us,
                int64_t now_us)
{
    memset(&probe->look, 0, sizeof(probe->look));
    probe->look.archived = probe->look.failing_at = -1;
    if (all)
        probe_peers_begin(probe);
    probe_followers_begin(probe);
    for (int row = 0; row < rows_count(rows); row++)
        take_row(probe, rows, row, now_us);
    if (!all)
        return;
    probe_peers_end(probe, now_us);
    tell_slots(probe, now_us);
    tell_archiver(probe, now_us);
    tell_rate(probe, now_us);
    tell_foreign(probe);
    tell_relative(probe, probe_rested_us(probe, idle_us), now_us);
    probe_ok(probe, SIGNAL_BLOCKED_BY_US, probe->look.blocked, probe->look.blocked_who, now_us);
    probe_ok(probe, SIGNAL_DEAD_TUPLES, probe->look.dead, probe->look.dead_of, now_us);
    probe_ok(probe, SIGNAL_VACUUM_RUNNING, probe->look.vacuums, probe->look.vacuum_who, now_us);
}
