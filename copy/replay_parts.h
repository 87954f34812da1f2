/* What the files of copy/replay.h share. For them only. */
#ifndef PGHAUL_COPY_REPLAY_PARTS_H
#define PGHAUL_COPY_REPLAY_PARTS_H

#include "copy/replay.h"

/* A piece of the log, [from, to), into the batch; `keys`: how many are in it then. */
bool replay_collect(struct session *session, const struct flow *flow, const char *from,
                    const char *to, int64_t buckets, int64_t *keys, struct error *error) MUST_CHECK;

/*
 * From the collected batch, which is not empty, to its end; `range`: of the log, for the claim;
 * NULL: all of it. `final` as of replay_whole(). Adds to the result.
 */
bool replay_batch(struct session *session, const struct flow *flow, const struct params *range,
                  bool final, int64_t collected, struct replay_result *result,
                  struct error *error) MUST_CHECK;

/*
 * Beside writers a collision may be over in a moment: the row that has the value in `to` may have
 * been changed since the batch was collected. So those keys are tried again by every pass; only
 * under the lock of the swap is one final.
 */
bool replay_retry_collisions(struct session *session, const struct flow *flow,
                             struct error *error) MUST_CHECK;

/* For --dry-run: the collected batch, and what goes back into the log. */
void replay_print_batch(const struct flow *flow, bool whole, bool final, struct text *script);
void replay_print_retry_collisions(const struct flow *flow, struct text *script);
void replay_print_retry_stuck(const struct flow *flow, struct text *script);

#endif
