#include "cli/output.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The log's mutex keeps results, messages and the live line from running into each other. */
static void write_bytes(struct cli *cli, const char *bytes, size_t count)
{
    pthread_mutex_lock(&cli->log.mutex);
    if (cli->log.before != NULL)
        cli->log.before(cli->log.before_arg);
    fwrite(bytes, 1, count, stdout);
    fflush(stdout);
    pthread_mutex_unlock(&cli->log.mutex);
}

void output_text(struct cli *cli, const struct text *text)
{
    write_bytes(cli, text_string(text), text->used);
}

void output_line(struct cli *cli, const char *format, ...)
{
    char line[4096];
    TEXT_AUTO text = {0};
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    text_appendf(&text, "%s\n", line);
    output_text(cli, &text);
}

void output_json(struct cli *cli, json_t *value)
{
    char *dumped = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(12));
    TEXT_AUTO text = {0};

    if (dumped != NULL) {
        text_appendf(&text, "%s\n", dumped);
        output_text(cli, &text);
    }
    free(dumped);
    json_decref(value);
}

json_t *output_string(const char *string)
{
    return string == NULL ? json_null() : json_string(string);
}

void output_event(struct cli *cli, const char *job, const char *event, json_t *object)
{
    json_t *line = json_object();

    json_object_set_new(line, "event", json_string(event));
    if (job != NULL)
        json_object_set_new(line, "job", json_string(job));
    if (object != NULL)
        json_object_update(line, object);
    json_decref(object);
    output_json(cli, line);
}

/* Names of codes in JSON: part of the interface. */
static const char *code_name(enum error_code code)
{
    switch (code) {
    case ERROR_NONE:
        return "none";
    case ERROR_USAGE:
        return "usage";
    case ERROR_REFUSED:
        return "refused";
    case ERROR_SQL:
        return "sql";
    case ERROR_CONNECTION:
        return "connection";
    case ERROR_LOCK:
        return "lock";
    case ERROR_DIFFERS:
        return "differs";
    case ERROR_INTERRUPTED:
        return "interrupted";
    case ERROR_WAITING:
        return "waiting";
    case ERROR_UNDONE:
        return "undone";
    case ERROR_NEEDS_PERSON:
        return "needs-person";
    case ERROR_AGAIN:
        return "again";
    case ERROR_SYSTEM:
        return "system";
    case ERROR_INTERNAL:
        return "internal";
    }
    return "internal";
}

static json_t *error_object(const struct error *error)
{
    json_t *object;

    if (error == NULL || error->code == ERROR_NONE)
        return json_null();
    object = json_object();
    json_object_set_new(object, "code", json_string(code_name(error->code)));
    json_object_set_new(object, "sqlstate",
                        output_string(error->sqlstate[0] != '\0' ? error->sqlstate : NULL));
    json_object_set_new(object, "message", json_string(error->message));
    json_object_set_new(object, "detail",
                        output_string(error->detail[0] != '\0' ? error->detail : NULL));
    json_object_set_new(object, "hint", output_string(error->hint[0] != '\0' ? error->hint : NULL));
    return object;
}

void output_end(struct cli *cli, int status, const struct error *error)
{
    json_t *object = json_object();

    json_object_set_new(object, "event", json_string("end"));
    json_object_set_new(object, "status", json_integer(status));
    json_object_set_new(object, "job", output_string(cli->run.job.name));
    json_object_set_new(object, "error", error_object(error));
    output_json(cli, object);
}

bool output_flush(struct error *error)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return true;
    error_set(error, ERROR_SYSTEM, "could not write to standard output: %s", strerror(errno));
    return error_hint(error, "what the command did is done; pghaul status shows it");
}
