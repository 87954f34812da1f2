#include "cli/ask.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { LOOK_MS = 50 };

static bool on_terminal(void)
{
    return isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

bool ask_possible(const struct cli *cli, struct error *error)
{
    if (cli->options.yes || on_terminal())
        return true;
    error_set(error, ERROR_USAGE, "there is no terminal to ask for confirmation on");
    error_detail(error, "pghaul %s asks before it swaps or destroys anything",
                 cli->options.command->name);
    return error_hint(error, "add --yes when you are sure");
}

/* A line of standard input. Signals are blocked in this thread, so we look for a stop ourselves. */
static bool read_answer(struct cli *cli, char *answer, size_t size, struct error *error)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    ssize_t got;

    while (poll(&input, 1, LOOK_MS) <= 0)
        if (!stop_check(&cli->stop, error))
            return false;
    got = read(STDIN_FILENO, answer, size - 1);
    answer[got > 0 ? got : 0] = '\0';
    answer[strcspn(answer, "\r\n")] = '\0';
    return true;
}

bool ask(struct cli *cli, struct error *error, const char *format, ...)
{
    char answer[64];
    va_list args;

    if (cli->options.yes)
        return true;
    if (!ask_possible(cli, error))
        return false;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs("\nGo on? [y/N] ", stderr);
    fflush(stderr);
    if (!read_answer(cli, answer, sizeof(answer), error))
        return false;
    if (strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0)
        return true;
    return error_set(error, ERROR_REFUSED, "not confirmed; nothing was changed");
}
