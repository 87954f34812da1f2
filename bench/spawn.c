#include "bench/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/memory.h"

bool spawn_unprivileged(struct spawn_user *user, struct error *error)
{
    struct passwd *found;

    *user = (struct spawn_user){0};
    if (geteuid() != 0)
        return true;
    found = getpwnam("postgres");
    if (found == NULL)
        found = getpwnam("nobody");
    if (found == NULL) {
        error_set(error, ERROR_SYSTEM, "there is no user to run a server as");
        error_detail(error, "a PostgreSQL server does not run as root");
        return error_hint(error, "create a user named postgres, or run this as another user");
    }
    user->drop = true;
    user->uid = found->pw_uid;
    user->gid = found->pw_gid;
    user->group_count = SPAWN_GROUPS_MAX;
    if (getgrouplist(found->pw_name, found->pw_gid, user->groups, &user->group_count) < 0) {
        user->group_count = 1;
        user->groups[0] = found->pw_gid;
    }
    return true;
}

/* -------------------------------------------------------------------------------- in the child */

void spawn_close_from(int first)
{
#ifdef SYS_close_range
    if (syscall(SYS_close_range, (unsigned)first, ~0U, 0) == 0)
        return;
#endif
    for (int fd = first; fd < 4096; fd++)
        close(fd);
}

static void reset_signals(void)
{
    static const int RESET[] = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT, SIGPIPE,
                                SIGUSR1, SIGUSR2, SIGCHLD, SIGALRM};
    sigset_t none;

    for (size_t i = 0; i < sizeof(RESET) / sizeof(RESET[0]); i++)
        signal(RESET[i], SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/*
 * From here on we are the child: descriptors 0, 1, 2 and `report_fd` (closed by a successful exec)
 * are all that it keeps. Only returns by _exit, after writing errno to `report_fd`.
 */
_Noreturn static void execute(const struct spawn *spawn, char *const *environment, int output_fd,
                              int error_fd, int report_fd)
{
    int null_fd = open("/dev/null", O_RDWR);
    int code;

    if (null_fd < 0 || dup2(null_fd, 0) < 0 || dup2(output_fd < 0 ? null_fd : output_fd, 1) < 0 ||
        dup2(error_fd < 0 ? null_fd : error_fd, 2) < 0)
        goto fail;
    if (report_fd != 3) {
        if (dup2(report_fd, 3) < 0)
            goto fail;
        report_fd = 3;
    }
    fcntl(report_fd, F_SETFD, FD_CLOEXEC);
    spawn_close_from(4);
    reset_signals();
    if (spawn->user != NULL && spawn->user->drop &&
        (setgroups((size_t)spawn->user->group_count, spawn->user->groups) != 0 ||
         setgid(spawn->user->gid) != 0 || setuid(spawn->user->uid) != 0))
        goto fail;
    if (spawn->directory != NULL && chdir(spawn->directory) != 0)
        goto fail;
    execvpe(spawn->argv[0], (char *const *)(uintptr_t)spawn->argv, environment);

fail:
    code = errno;
    (void)!write(report_fd, &code, sizeof(code));
    _exit(127);
}

/* The environment to pass on; the same for all children, so read before the fork. */
static char *const *environment_of(const struct spawn *spawn)
{
    return spawn->environment == NULL ? environ : (char *const *)(uintptr_t)spawn->environment;
}

/* ------------------------------------------------------------------------------- in the parent */

static bool exec_error(const struct spawn *spawn, int code, struct error *error)
{
    return error_set(error, ERROR_SYSTEM, "could not execute \"%s\": %s", spawn->argv[0],
                     strerror(code));
}

static void close_pair(int pair[2])
{
    for (int i = 0; i < 2; i++)
        if (pair[i] >= 0)
            close(pair[i]);
}

/* Moves what `fd` has to `text`; true at the end of the stream. */
static bool drain(int fd, struct text *text)
{
    char buffer[4096];
    ssize_t count = read(fd, buffer, sizeof(buffer));

    if (count > 0 && text != NULL)
        text_append_bytes(text, buffer, (size_t)count);
    return count == 0 || (count < 0 && errno != EINTR && errno != EAGAIN);
}

/* Reads both streams until both end; false when `end_ms` comes first. */
static bool drain_both(int out_fd, struct text *out, int err_fd, struct text *err, int64_t end_ms)
{
    struct pollfd list[] = {{.fd = out_fd, .events = POLLIN}, {.fd = err_fd, .events = POLLIN}};

    while (list[0].fd >= 0 || list[1].fd >= 0) {
        int64_t left_ms = end_ms - clock_ms();

        if (left_ms <= 0)
            return false;
        if (poll(list, 2, (int)left_ms) < 0 && errno != EINTR)
            return false;
        if (list[0].revents != 0 && drain(out_fd, out))
            list[0].fd = -1;
        if (list[1].revents != 0 && drain(err_fd, err))
            list[1].fd = -1;
        list[0].revents = list[1].revents = 0;
    }
    return true;
}

bool spawn_run(const struct spawn *spawn, int64_t limit_ms, struct text *output,
               struct error *error)
{
    TEXT_AUTO said = {0};
    int out[2] = {-1, -1};
    int err[2] = {-1, -1};
    int report[2] = {-1, -1};
    char *const *environment = environment_of(spawn);
    pid_t pid = -1;
    bool in_time;
    int code = 0;
    int status;

    if (pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0 && pipe2(report, O_CLOEXEC) == 0)
        pid = fork();
    if (pid < 0) {
        error_set(error, ERROR_SYSTEM, "could not start \"%s\": %s", spawn->argv[0],
                  strerror(errno));
        close_pair(out);
        close_pair(err);
        close_pair(report);
        return false;
    }
    if (pid == 0)
        execute(spawn, environment, out[1], err[1], report[1]);
    close(out[1]);
    close(err[1]);
    close(report[1]);
    in_time = drain_both(out[0], output, err[0], &said, clock_ms() + limit_ms);
    if (!in_time)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (read(report[0], &code, sizeof(code)) != (ssize_t)sizeof(code))
        code = 0;
    close(out[0]);
    close(err[0]);
    close(report[0]);

    if (code != 0)
        return exec_error(spawn, code, error);
    if (in_time && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    if (!in_time)
        error_set(error, ERROR_SYSTEM, "\"%s\" took more than %lld s", spawn->argv[0],
                  (long long)limit_ms / 1000);
    else if (WIFSIGNALED(status))
        error_set(error, ERROR_SYSTEM, "\"%s\" was ended by signal %d", spawn->argv[0],
                  WTERMSIG(status));
    else
        error_set(error, ERROR_SYSTEM, "\"%s\" failed with exit status %d", spawn->argv[0],
                  WEXITSTATUS(status));
    return error_detail(error, "%s", text_string(&said));
}

/*
 * Two forks: the child ends at once, so that init adopts the grandchild. The grandchild reports its
 * process id, and errno after it when the exec fails; a stream that ends after the id is success.
 */
bool spawn_detached(const struct spawn *spawn, pid_t *pid, struct error *error)
{
    char *const *environment = environment_of(spawn);
    int report[2];
    pid_t child;
    int code = 0;
    int status;
    bool started;

    if (pipe2(report, O_CLOEXEC) != 0)
        return error_set(error, ERROR_SYSTEM, "could not make a pipe: %s", strerror(errno));
    child = fork();
    if (child == 0) {
        pid_t self;

        setsid();
        self = fork();
        if (self != 0)
            _exit(self < 0 ? 1 : 0);
        self = getpid();
        if (write(report[1], &self, sizeof(self)) != (ssize_t)sizeof(self))
            _exit(1);
        execute(spawn, environment, spawn->output_fd, spawn->output_fd, report[1]);
    }
    close(report[1]);
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    started = child > 0 && read(report[0], pid, sizeof(*pid)) == (ssize_t)sizeof(*pid);
    if (started && read(report[0], &code, sizeof(code)) != (ssize_t)sizeof(code))
        code = 0;
    close(report[0]);
    if (!started)
        return error_set(error, ERROR_SYSTEM, "could not start \"%s\"", spawn->argv[0]);
    return code == 0 || exec_error(spawn, code, error);
}
