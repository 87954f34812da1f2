#include "engine/base/crew.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

struct crew {
    const struct crew_work *work;
    atomic_bool failed;
    pthread_mutex_t mutex; /* guards first_error */
    struct error first_error;
};

struct member {
    struct crew *crew;
    int number;
    pthread_t thread;
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

bool crew_run(int members, const struct crew_work *work, struct error *error)
{
    struct crew crew = {.work = work};
    struct member list[CREW_MEMBERS_MAX];
    int started;

    assert(members >= 1 && members <= CREW_MEMBERS_MAX);
    pthread_mutex_init(&crew.mutex, NULL);
    for (started = 0; started < members; started++) {
        int code;

        list[started] = (struct member){.crew = &crew, .number = started};
        code = pthread_create(&list[started].thread, NULL, member_main, &list[started]);
        if (code != 0) {
            error_set(error, ERROR_SYSTEM, "could not start a thread: %s", strerror(code));
            crew_fail(&crew, error);
            break;
        }
    }
    for (int i = 0; i < started; i++)
        pthread_join(list[i].thread, NULL);
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
