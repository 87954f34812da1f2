#include "throttle/policy.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/memory.h"
#include "engine/job/settings.h"

struct policy {
    struct pace pace; /* first: a struct pace * of ours is a struct policy * */
    _Atomic int64_t delay_ms;
};

static const char FIXED[] = "fixed=";

static int64_t policy_delay_ms(struct pace *pace, int64_t busy_ms)
{
    (void)busy_ms;
    return atomic_load(&((struct policy *)pace)->delay_ms);
}

/* Settings are checked where they are set; what a newer program stored and we do not know means
 * "off". */
static void policy_configure(struct pace *pace, const char *text)
{
    int64_t delay_ms = 0;

    if (strncmp(text, FIXED, strlen(FIXED)) != 0 ||
        !setting_parse_time(text + strlen(FIXED), &delay_ms))
        delay_ms = 0;
    atomic_store(&((struct policy *)pace)->delay_ms, delay_ms);
}

struct pace *policy_new(void)
{
    struct policy *policy = memory_zero(1, sizeof(*policy));

    policy->pace.delay_ms = policy_delay_ms;
    policy->pace.configure = policy_configure;
    return &policy->pace;
}

void policy_free(struct pace *pace)
{
    free(pace);
}
