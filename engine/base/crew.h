/*
 * A crew: N threads that run the same function until each returns.
 *
 * The first member that fails wins: its error is kept, `crew_failed()` turns true for the others,
 * and `cancel` is called once, from the failing thread, to wake members that block in a query.
 * crew_run() joins all of them before it returns, whatever happened, so everything a member points
 * to may live on the caller's stack.
 *
 * A crew can grow while it runs: members are added, never taken away (one that is not needed rests,
 * which is the function's matter). Only a member adds members, so that none is added when all have
 * been joined.
 *
 * No lock is held while a member or `cancel` runs.
 */
#ifndef PGHAUL_BASE_CREW_H
#define PGHAUL_BASE_CREW_H

#include "engine/base/error.h"

enum { CREW_MEMBERS_MAX = 64 };

struct crew;

struct crew_work {
    /* Runs in each thread. `member` counts from 0. False with `error` set ends the crew. */
    bool (*run)(struct crew *crew, int member, void *arg, struct error *error);
    void (*cancel)(void *arg); /* may be NULL; any thread; must not block on a member */
    void *arg;
};

/* Runs `members` (1..CREW_MEMBERS_MAX) threads and joins them. False with the first error. */
bool crew_run(int members, const struct crew_work *work, struct error *error) MUST_CHECK;

/*
 * For members: starts as many as are missing up to `members` in all. False when a thread could not
 * be started: the crew goes on with those it has.
 */
bool crew_grow(struct crew *crew, int members, struct error *error) MUST_CHECK;

/* For members: has another one failed? Stop at the next safe point and return true. */
bool crew_failed(const struct crew *crew);

#endif
