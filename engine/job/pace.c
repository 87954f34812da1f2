#include "engine/job/pace.h"

#include "engine/job/run.h"

static int64_t none_ask(struct pace *pace, const struct pace_ask *ask)
{
    (void)pace, (void)ask;
    return 0;
}

static void none_done(struct pace *pace, const struct pace_chunk *chunk)
{
    (void)pace, (void)chunk;
}

static int none_workers(struct pace *pace, int most)
{
    (void)pace;
    return most;
}

static int64_t none_chunk_ms(struct pace *pace, int64_t most)
{
    (void)pace;
    return most;
}

static int64_t none_ask_unpaced(struct pace *pace, const struct pace_unpaced *unpaced)
{
    (void)pace, (void)unpaced;
    return 0;
}

static void none_done_unpaced(struct pace *pace)
{
    (void)pace;
}

static int64_t none_ask_phase(struct pace *pace)
{
    (void)pace;
    return 0;
}

static void none_configure(struct pace *pace, const struct settings *settings)
{
    (void)pace, (void)settings;
}

struct pace *pace_none(void)
{
    static struct pace none = {
        none_ask,         none_done,         none_workers,   none_chunk_ms,
        none_ask_unpaced, none_done_unpaced, none_ask_phase, none_configure,
    };

    return &none;
}

/* How long a wait may be before it is looked at again whether stopping is wanted. */
enum { LOOK_MS = 200 };

static bool wait_for(struct run *run, int64_t wait_ms, struct error *error)
{
    if (wait_ms == PACE_ABORTED)
        return error_set(error, ERROR_INTERRUPTED, "job %s is being aborted by another session",
                         run->job.name);
    return stop_sleep_ms(run->stop, wait_ms < LOOK_MS ? wait_ms : LOOK_MS, error);
}

bool pace_unpaced_try(struct run *run, const struct pace_unpaced *unpaced, bool *begun,
                      struct error *error)
{
    int64_t wait_ms =
        run->pace == NULL || run->trial ? 0 : run->pace->ask_unpaced(run->pace, unpaced);

    *begun = wait_ms == 0;
    return *begun || wait_for(run, wait_ms, error);
}

bool pace_unpaced_begin(struct run *run, const char *what, int64_t wal_bytes, double seconds,
                        struct error *error)
{
    struct pace_unpaced unpaced = {.what = what, .wal_bytes = wal_bytes, .seconds = seconds};
    bool begun = false;

    while (!begun)
        if (!pace_unpaced_try(run, &unpaced, &begun, error))
            return false;
    return true;
}

void pace_unpaced_end(struct run *run)
{
    if (run->pace != NULL && !run->trial)
        run->pace->done_unpaced(run->pace);
}

bool pace_phase_open(const struct run *run)
{
    return run->pace == NULL || run->pace->ask_phase(run->pace) == 0;
}

bool pace_phase_begin(struct run *run, struct error *error)
{
    int64_t wait_ms;

    while (run->pace != NULL && (wait_ms = run->pace->ask_phase(run->pace)) != 0)
        if (!wait_for(run, wait_ms, error))
            return false;
    return true;
}
