#include "bench/program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/memory.h"

enum { OUTPUT, MESSAGES, STREAMS };
enum { ASK_EVERY_MS = 100 };

/*
 * A stream of the child as it is read: text keeps all of it, lines before `reported` have been
 * passed on.
 */
struct stream {
    int fd; /* -1 when it has ended */
    struct text *text;
    size_t reported;
};

/* Our environment with the program's in front: the first of two entries with one name wins. */
static char **join_environment(const char *const *more)
{
    size_t ours = 0;
    size_t added = 0;
    size_t used = 0;
    char **joined;

    while (environ[ours] != NULL)
        ours++;
    while (more != NULL && more[added] != NULL)
        added++;
    joined = memory_zero(ours + added + 1, sizeof(*joined));
    for (size_t i = 0; i < added; i++)
        joined[used++] = (char *)(uintptr_t)more[i];
    for (size_t i = 0; i < ours; i++)
        joined[used++] = environ[i];
    return joined;
}

static bool MUST_CHECK start(const struct program *program, const int writers[STREAMS], pid_t *pid,
                             struct error *error)
{
    char **environment = join_environment(program->environment);
    posix_spawn_file_actions_t actions;
    int code;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, writers[OUTPUT], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, writers[MESSAGES], STDERR_FILENO);
    code = posix_spawnp(pid, program->argv[0], &actions, NULL,
                        (char *const *)(uintptr_t)program->argv, environment);
    posix_spawn_file_actions_destroy(&actions);
    free(environment);
    return code == 0 ||
           error_set(error, ERROR_SYSTEM, "could not run %s: %s", program->argv[0], strerror(code));
}

static void report_lines(const struct program *program, struct stream *stream, bool at_end)
{
    while (stream->reported < stream->text->used) {
        char *line = stream->text->bytes + stream->reported;
        char *end = strchr(line, '\n');

        if (end == NULL && !at_end)
            return;
        if (end != NULL)
            *end = '\0';
        program->line(program->arg, line);
        stream->reported += strlen(line);
        if (end != NULL) {
            *end = '\n';
            stream->reported++;
        }
    }
}

static void read_some(const struct program *program, struct stream *stream, bool lines)
{
    char buffer[8192];
    ssize_t count = read(stream->fd, buffer, sizeof(buffer));

    if (count < 0 && errno == EINTR)
        return;
    if (count > 0) {
        text_append_bytes(stream->text, buffer, (size_t)count);
    } else {
        close(stream->fd);
        stream->fd = -1;
    }
    if (lines)
        report_lines(program, stream, count <= 0);
}

static void read_all(const struct program *program, pid_t pid, struct stream streams[STREAMS])
{
    bool asks = program->enough != NULL;
    int64_t asked_ms = clock_ms();

    while (streams[OUTPUT].fd >= 0 || streams[MESSAGES].fd >= 0) {
        struct pollfd list[STREAMS];

        for (int i = 0; i < STREAMS; i++)
            list[i] = (struct pollfd){.fd = streams[i].fd, .events = POLLIN};
        if (poll(list, STREAMS, asks ? ASK_EVERY_MS : -1) < 0)
            continue;
        if (asks && clock_ms() - asked_ms >= ASK_EVERY_MS) {
            asked_ms = clock_ms();
            asks = !program->enough(program->arg, pid);
            if (!asks)
                kill(pid, SIGINT); /* not waited for yet, so the number is still the child's */
        }
        for (int i = 0; i < STREAMS; i++)
            if (list[i].revents != 0)
                read_some(program, &streams[i], i == OUTPUT && program->line != NULL);
    }
}

bool program_run(const struct program *program, struct program_result *result, struct error *error)
{
    struct stream streams[STREAMS] = {{.fd = -1, .text = &result->output},
                                      {.fd = -1, .text = &result->messages}};
    int writers[STREAMS] = {-1, -1};
    int64_t start_us = clock_us();
    struct rusage usage;
    int status;
    pid_t pid;
    bool started;

    *result = (struct program_result){0};
    for (int i = 0; i < STREAMS; i++) {
        int pair[2];

        if (pipe2(pair, O_CLOEXEC) != 0) {
            error_set(error, ERROR_SYSTEM, "could not make a pipe: %s", strerror(errno));
            goto fail;
        }
        streams[i].fd = pair[0];
        writers[i] = pair[1];
    }
    started = start(program, writers, &pid, error);
    for (int i = 0; i < STREAMS; i++) {
        close(writers[i]);
        writers[i] = -1;
    }
    if (!started)
        goto fail;
    read_all(program, pid, streams);
    while (wait4(pid, &status, 0, &usage) < 0 && errno == EINTR)
        ;
    result->seconds = (double)(clock_us() - start_us) / 1e6;
    result->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    result->memory_bytes_max = (int64_t)usage.ru_maxrss * 1024;
    return true;

fail:
    for (int i = 0; i < STREAMS; i++) {
        if (streams[i].fd >= 0)
            close(streams[i].fd);
        if (writers[i] >= 0)
            close(writers[i]);
    }
    return false;
}

void program_result_deinit(struct program_result *result)
{
    text_deinit(&result->output);
    text_deinit(&result->messages);
}

bool program_succeed(const struct program *program, struct program_result *result,
                     struct error *error)
{
    TEXT_AUTO command = {0};

    if (!program_run(program, result, error))
        return false;
    if (result->status == 0)
        return true;
    for (int i = 0; program->argv[i] != NULL; i++) {
        text_separate(&command, " ");
        text_append(&command, program->argv[i]);
    }
    error_set(error, ERROR_SYSTEM, "exit status %d from: %s", result->status,
              text_string(&command));
    return error_detail(error, "%s%s", text_string(&result->messages),
                        text_string(&result->output));
}
