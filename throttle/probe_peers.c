/*
 * Other processes that work on jobs here, as their rows of pghaul.pulse tell; and whether they
 * rest, which is when a baseline may be taken.
 */
#include "throttle/probe_parts.h"

#include <string.h>

/* A pulse is written more often than this: who has written chunks since then shows it. */
static const int64_t SPAN_US = 900000;
/* Rows that are older are not read. */
static const int64_t FORGET_US = 60000000;

/* -------------------------------------------------------------------------------- rows of our own
 */

void probe_peers_note_lost(struct probe *probe, int pid, int64_t now_us)
{
    probe->lost[probe->lost_next].pid = pid;
    probe->lost[probe->lost_next].at_us = now_us;
    probe->lost_next = (probe->lost_next + 1) % LOST_MAX;
}

/* Of a connection that we had: its row may still be there, and its backend may still write it. */
static bool was_ours(const struct probe *probe, int64_t job, int pid, int64_t now_us)
{
    if (job != probe->target.job)
        return false;
    if (pid == probe->pulse_pid)
        return true;
    for (int i = 0; i < LOST_MAX; i++)
        if (probe->lost[i].pid == pid && now_us - probe->lost[i].at_us <= FORGET_US)
            return true;
    return false;
}

/* --------------------------------------------------------------------------------------- the rows
 */

void probe_peers_begin(struct probe *probe)
{
    probe->view.peer_count = 0;
}

void probe_peer_row(struct probe *probe, const struct rows *rows, int row, int64_t now_us)
{
    struct probe_view *view = &probe->view;
    int64_t job = rows_int64(rows, row, LOOK_NAME);
    int pid = (int)rows_int64(rows, row, LOOK_WHO);

    if (view->peer_count == PROBE_PEERS_MAX || was_ours(probe, job, pid, now_us))
        return;
    view->peers[view->peer_count++] = (struct probe_peer){
        .job = job,
        .pid = pid,
        .priority = (int)rows_double(rows, row, LOOK_A),
        .written = rows_double(rows, row, LOOK_B),
        .wants = rows_bool(rows, row, LOOK_FLAG),
        .waits = strcmp(rows_text(rows, row, LOOK_KIND), PEER_WAITS) == 0,
        .age_seconds = rows_double(rows, row, LOOK_C),
    };
}

/* --------------------------------------------------------------------------------- do they rest?
 */

/* What it had written when it was seen before is what it has now. */
static bool stands_still(const struct probe *probe, const struct probe_peer *peer)
{
    for (int i = 0; i < probe->before_count; i++)
        if (probe->before[i].job == peer->job && probe->before[i].pid == peer->pid)
            return probe->before[i].written == peer->written;
    return false;
}

/* One that is new, or one of more than we can tell apart, may be at anything. */
static bool rest(const struct probe *probe)
{
    for (int i = 0; i < probe->view.peer_count; i++) {
        const struct probe_peer *peer = &probe->view.peers[i];

        if (peer->age_seconds < PROBE_PEER_FRESH_SECONDS &&
            (peer->wants || !stands_still(probe, peer)))
            return false;
    }
    return probe->view.peer_count < PROBE_PEERS_MAX;
}

/* Looks may follow each other faster than pulses do: they are compared with one that is at least
 * SPAN_US ago, and what was seen to work in between does not rest. */
void probe_peers_end(struct probe *probe, int64_t now_us)
{
    bool now_rest = rest(probe);

    if (probe->before_us > 0 && now_us - probe->before_us < SPAN_US) {
        probe->others_rest = probe->others_rest && now_rest;
        return;
    }
    probe->others_rest = now_rest;
    probe->before_us = now_us;
    probe->before_count = probe->view.peer_count;
    memcpy(probe->before, probe->view.peers, sizeof(probe->before));
}

int64_t probe_rested_us(const struct probe *probe, int64_t idle_us)
{
    return probe->others_rest ? idle_us : 0;
}
