#include "engine/base/crew.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

struct member {
    struct crew *crew;
    int number;
    pthread_t thread;
};

struct crew {
    const struct crew_work *work;
    atomic_bool failed;
    pthread_mutex_t mutex; /* guards what follows */
    struct error first_error;
    int started; /* only grows */
    struct member members[CREW_MEMBERS_MAX];
};

static void crew_fail(struct crew *crew, const struct error *error)
{
    bool first;

    pthread_mutex_lock(&crew->mutex);
    first = !atomic_load(&crew->failed);
    if (first)
        crew->first_error = *error;
    atomic_store(&crew->failed, true);
    pthread_mutex_unlock(&crew->mutex);
    if (first && crew->work->cancel != NULL)
        crew->work->cancel(crew->work->arg);
}

static void *member_main(void *arg)
{
    struct member *member = arg;
    struct error error = {0};

    if (!member->crew->work->run(member->crew, member->number, member->crew->work->arg, &error))
        crew_fail(member->crew, &error);
    return NULL;
}

bool crew_grow(struct crew *crew, int members, struct error *error)
{
    int code = 0;

    assert(members <= CREW_MEMBERS_MAX);
    pthread_mutex_lock(&crew->mutex);
    while (code == 0 && crew->started < members) {
        struct member *member = &crew->members[crew->started];

        *member = (struct member){.crew = crew, .number = crew->started};
        code = pthread_create(&member->thread, NULL, member_main, member);
        if (code == 0)
            crew->started++;
    }
    pthread_mutex_unlock(&crew->mutex);
    return code == 0 ||
           error_set(error, ERROR_SYSTEM, "could not start a thread: %s", strerror(code));
}

/* The next one to join; NULL: none. All before it have ended, and who has ended adds nobody: when
 * the last one has been joined, the number is final. */
static struct member *next_member(struct crew *crew, int joined)
{
    struct member *next;

    pthread_mutex_lock(&crew->mutex);
    next = joined < crew->started ? &crew->members[joined] : NULL;
    pthread_mutex_unlock(&crew->mutex);
    return next;
}

bool crew_run(int members, const struct crew_work *work, struct error *error)
{
    struct crew crew = {.work = work};
    struct member *member;

    assert(members >= 1);
    pthread_mutex_init(&crew.mutex, NULL);
    if (!crew_grow(&crew, members, error))
        crew_fail(&crew, error);
    for (int joined = 0; (member = next_member(&crew, joined)) != NULL; joined++)
        pthread_join(member->thread, NULL);
    pthread_mutex_destroy(&crew.mutex);
    if (atomic_load(&crew.failed)) {
        *error = crew.first_error;
        return false;
    }
    return true;
}

bool crew_failed(const struct crew *crew)
{
    return atomic_load(&crew->failed);
}
