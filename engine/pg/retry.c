#include "engine/pg/retry.h"

#include <stdlib.h>
#include <unistd.h>

enum { WAIT_BASE_MS = 50, WAIT_CAP_MS = 5000 };

void retry_init(struct retry *retry, int64_t limit_ms, int64_t now_ms)
{
    *retry = (struct retry){
        .end_ms = now_ms + limit_ms,
        .last_wait_ms = WAIT_BASE_MS,
        .seed = (unsigned)now_ms ^ (unsigned)getpid() ^ (unsigned)(uintptr_t)retry,
    };
}

int64_t retry_next_ms(struct retry *retry, int64_t now_ms)
{
    int64_t wait_ms;

    if (now_ms >= retry->end_ms)
        return -1;
    wait_ms = WAIT_BASE_MS + rand_r(&retry->seed) % (3 * retry->last_wait_ms - WAIT_BASE_MS + 1);
    if (wait_ms > WAIT_CAP_MS)
        wait_ms = WAIT_CAP_MS;
    if (wait_ms > retry->end_ms - now_ms)
        wait_ms = retry->end_ms - now_ms;
    retry->last_wait_ms = wait_ms > WAIT_BASE_MS ? wait_ms : WAIT_BASE_MS;
    retry->tries++;
    return wait_ms;
}

void retry_extend(struct retry *retry, int64_t ms)
{
    retry->end_ms += ms;
}
