#include "throttle/share.h"

void share_init(struct share *share)
{
    *share = (struct share){.part = 1};
}

/* What it had written when it was seen last; what it has now, when it is new. */
static double written_before(const struct share *share, const struct probe_peer *peer)
{
    for (int i = 0; i < share->count; i++)
        if (share->known[i].job == peer->job && share->known[i].pid == peer->pid)
            return share->known[i].written;
    return peer->written;
}

void share_follow(struct share *share, int64_t priority, const struct probe_peer *peers, int count)
{
    struct share before = *share;
    double all = (double)priority;

    share->count = 0;
    for (int i = 0; i < count && i < PROBE_PEERS_MAX; i++) {
        double more = peers[i].written - written_before(&before, &peers[i]);

        if (peers[i].age_seconds > PROBE_PEER_FRESH_SECONDS)
            continue;
        if (more > 0) {
            share->others_write = true;
            if (peers[i].wants)
                share->others += more;
        }
        if (peers[i].wants)
            all += peers[i].priority;
        share->known[share->count++] = peers[i];
    }
    share->part = all > 0 ? (double)priority / all : 1;
}
