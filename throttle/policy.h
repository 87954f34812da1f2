/*
 * Policies: what answers when a worker asks how long to wait before its next chunk
 * (engine/job/pace.h).
 *
 *     off            never wait
 *     fixed=DELAY    wait DELAY before every chunk: fixed=250ms
 *
 * What it is not yet: a governor that looks at the server. It knows no job and no SQL.
 *
 * Life: policy_new() -> its delay_ms() and configure(), from any thread -> policy_free(), when no
 * worker is left.
 */
#ifndef PGHAUL_THROTTLE_POLICY_H
#define PGHAUL_THROTTLE_POLICY_H

#include "engine/job/pace.h"

/* Begins as "off". */
struct pace *policy_new(void);
/* NULL is fine. Only for what policy_new() returned. */
void policy_free(struct pace *pace);

#endif
