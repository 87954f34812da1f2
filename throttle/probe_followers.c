/*
 * Who follows our log, and how far behind they are: walsenders, as the server shows them, and
 * replicas that are asked directly.
 *
 *     walsender            readable    the server tells its position
 *                          hidden      it does not tell us (pg_read_all_stats)
 *                          neither     it has none (pg_receivewal)
 *     asked directly       readable, or not
 *
 * One that cannot be read makes lag unreadable: the slowest may be that one. Walsenders that are
 * hidden are made up for by as many replicas that answer and count, each server once: who has no
 * privilege names them all with --replica. One that is shown and asked, by the same name, counts
 * once, as it answered.
 */
#include "throttle/probe_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* What would help: to ignore that one too, if it does not count. */
static void tell_ignore(const struct probe *probe, const char *name, char todo[SIGNAL_WHY_BYTES])
{
    TEXT_AUTO text = {0};

    probe_set_text(probe, &text);
    text_append(&text, "ignore-replica=");
    if (probe->settings.ignore_replica[0] != '\0')
        text_appendf(&text, "%s,", probe->settings.ignore_replica);
    text_appendf(&text, "%s, if it does not count", name);
    probe_name(todo, SIGNAL_WHY_BYTES, text_string(&text));
}

static void tell_ask_itself(const struct probe *probe, char todo[SIGNAL_WHY_BYTES])
{
    TEXT_AUTO text = {0};

    text_append(&text, "ask each replica itself: ");
    if (probe->target.job == 0) {
        text_append(&text, "--replica CONNINFO");
    } else {
        probe_set_text(probe, &text);
        text_append(&text, "replica=CONNINFO");
    }
    probe_name(todo, SIGNAL_WHY_BYTES, text_string(&text));
}

/* ------------------------------------------------------------------------------------ walsenders
 */

void probe_followers_begin(struct probe *probe)
{
    for (int i = 0; i < probe->follower_count; i++)
        probe->followers[i].present = false;
    probe->too_many = false;
}

/* What was known about it, or room for it; NULL: there is none. */
static struct follower *find_follower(struct probe *probe, const char *name, int pid)
{
    struct follower *free_one = NULL;

    for (int i = 0; i < probe->follower_count; i++) {
        struct follower *at = &probe->followers[i];

        if (at->pid == pid && strcmp(at->name, name) == 0)
            return at;
        if (!at->present && free_one == NULL)
            free_one = at;
    }
    if (probe->follower_count < LAW_REPLICAS_MAX)
        free_one = &probe->followers[probe->follower_count++];
    return free_one;
}

void probe_follower_row(struct probe *probe, const struct rows *rows, int row, int64_t now_us)
{
    char name[64];
    int pid = (int)rows_int64(rows, row, LOOK_WHO);
    const char *lag = rows_text(rows, row, LOOK_B), *replied = rows_text(rows, row, LOOK_C);
    struct follower *follower;
    bool is_new;

    probe_name(name, sizeof(name), rows_text(rows, row, LOOK_NAME));
    if (probe_ignored(probe, name))
        return;
    follower = find_follower(probe, name, pid);
    if (follower == NULL) {
        probe->too_many = true;
        return;
    }
    if (follower->pid != pid || strcmp(follower->name, name) != 0) {
        *follower = (struct follower){.pid = pid};
        probe_name(follower->name, sizeof(follower->name), name);
    }
    follower->present = true;
    follower->hidden = !rows_bool(rows, row, LOOK_FLAG);
    follower->readable = rows_text(rows, row, LOOK_A) != NULL;
    follower->replay_lag = lag != NULL ? rows_double(rows, row, LOOK_B) : -1;
    /* A report that we have seen says nothing about now. Whoever has no time for its reports (a
     * subscriber, to us) is taken at the server's word. */
    is_new = replied == NULL || rows_double(rows, row, LOOK_C) != follower->replied ||
             rows_double(rows, row, LOOK_A) != follower->replayed;
    follower->replied = rows_double(rows, row, LOOK_C);
    follower->replayed = rows_double(rows, row, LOOK_A);
    if (is_new || follower->at_us == 0)
        follower->at_us = now_us;
}

/* -------------------------------------------------------------------------------------- the list
 */

static const struct asked *asked_by_name(const struct probe *probe, const char *name)
{
    for (int i = 0; i < probe->asked_count; i++)
        if (probe->asked[i].readable && strcmp(probe->asked[i].name, name) == 0)
            return &probe->asked[i];
    return NULL;
}

static bool same_server(const struct asked *one, const struct asked *other)
{
    return one->server[0] != '\0' && strcmp(one->server, other->server) == 0;
}

/* Not ignored, and no server that was asked before under another address. */
static bool asked_counts(const struct probe *probe, const struct asked *asked)
{
    if (probe_ignored(probe, asked->name))
        return false;
    for (const struct asked *at = probe->asked; at < asked; at++)
        if (same_server(at, asked) && at->readable && asked->readable &&
            !probe_ignored(probe, at->name))
            return false;
    return true;
}

/*
 * Does it make up for a walsender that is hidden? Only when it counts, and when its own walsender
 * is likely among those: not when that is ignored, under any of the names that the server has.
 */
static bool makes_up(const struct probe *probe, const struct asked *asked)
{
    if (!asked->readable || !asked->streams || !asked_counts(probe, asked) ||
        probe_ignored(probe, asked->shown_as))
        return false;
    for (int i = 0; i < probe->asked_count; i++)
        if (same_server(&probe->asked[i], asked) && probe_ignored(probe, probe->asked[i].name))
            return false;
    return true;
}

/* Do two present walsenders have this name? */
static bool is_twin(const struct probe *probe, const struct follower *follower)
{
    for (int i = 0; i < probe->follower_count; i++) {
        const struct follower *at = &probe->followers[i];

        if (at != follower && at->present && strcmp(at->name, follower->name) == 0)
            return true;
    }
    return false;
}

/* It answered itself, and nobody else is shown under its name. */
static bool is_asked(const struct probe *probe, const struct follower *follower)
{
    return asked_by_name(probe, follower->name) != NULL && !is_twin(probe, follower);
}

/* A name that nobody else has. */
static void unique_name(const struct probe *probe, const struct follower *follower, char name[64])
{
    if (follower->name[0] == '\0')
        snprintf(name, 64, "walsender %d", follower->pid);
    else if (is_twin(probe, follower))
        snprintf(name, 64, "%.45s (%d)", follower->name, follower->pid);
    else
        probe_name(name, 64, follower->name);
}

/* The worst of a look. */
struct lag {
    double bytes, seconds;
    char bytes_of[SIGNAL_WHO_BYTES], seconds_of[SIGNAL_WHO_BYTES];
};

static void add_replica(struct probe *probe, struct lag *lag, const char *name, const char *note,
                        double replayed, double seconds, int64_t at_us)
{
    struct probe_view *view = &probe->view;
    double backlog = fmax(0, view->wal - replayed);

    if (view->replica_count == LAW_REPLICAS_MAX) {
        probe->too_many = true;
        return;
    }
    probe_name(view->replicas[view->replica_count].name, sizeof(view->replicas[0].name), name);
    view->replicas[view->replica_count].backlog = backlog;
    view->replicas[view->replica_count].replayed = replayed;
    view->replicas[view->replica_count++].at_us = at_us;
    if (lag->bytes_of[0] == '\0' || backlog > lag->bytes) {
        lag->bytes = backlog;
        snprintf(lag->bytes_of, sizeof(lag->bytes_of), "%s%s", name, note);
    }
    if (lag->seconds_of[0] == '\0' || seconds > lag->seconds) {
        lag->seconds = seconds;
        snprintf(lag->seconds_of, sizeof(lag->seconds_of), "%s%s", name, note);
    }
}

static void list_followers(struct probe *probe, struct lag *lag, int64_t now_us)
{
    struct probe_view *view = &probe->view;

    for (int i = 0; i < probe->follower_count; i++) {
        struct follower *at = &probe->followers[i];
        double backlog = fmax(0, view->wal - at->replayed);
        char name[64];

        if (!at->present)
            continue;
        probe_name(view->seen[view->seen_count++], sizeof(view->seen[0]), at->name);
        if (!at->readable || is_asked(probe, at))
            continue;
        drain_observe(&at->drain, backlog, at->replayed, at->at_us);
        unique_name(probe, at, name);
        add_replica(probe, lag, name, "", at->replayed,
                    drain_seconds(&at->drain, backlog, at->replay_lag, now_us), at->at_us);
    }
}

/* Two servers may have one host: the law tells replicas apart by name. */
static void asked_name(const struct probe *probe, int number, char name[64])
{
    const struct probe_view *view = &probe->view;

    probe_name(name, 64, probe->asked[number].name);
    for (int i = 0; i < view->replica_count; i++)
        if (strcmp(view->replicas[i].name, name) == 0)
            snprintf(name, 64, "%.45s (%d)", probe->asked[number].name, number + 1);
}

static void list_asked(struct probe *probe, struct lag *lag, int64_t now_us)
{
    for (int i = 0; i < probe->asked_count; i++) {
        struct asked *at = &probe->asked[i];
        double backlog = fmax(0, probe->view.wal - at->replayed);
        double seconds;
        char name[64];

        if (!at->readable || !asked_counts(probe, at))
            continue;
        asked_name(probe, i, name);
        drain_observe(&at->drain, backlog, at->replayed, at->at_us);
        seconds = drain_seconds(&at->drain, backlog, at->pulse_lag, now_us);
        add_replica(probe, lag, name, at->paused ? ", whose replay is paused" : "", at->replayed,
                    seconds, at->at_us);
    }
}

/* -------------------------------------------------------------------------------- what is unread
 */

static void lag_unreadable(struct probe *probe, const char *who, const char *why, const char *grant,
                           const char *todo, int64_t now_us)
{
    probe_unreadable(probe, SIGNAL_REPLICA_LAG_BYTES, who, why, grant, todo, now_us);
    probe_unreadable(probe, SIGNAL_REPLICA_LAG_TIME, who, why, grant, todo, now_us);
}

/* The first replica that is asked and does not tell. */
static bool tell_silent(struct probe *probe, int64_t now_us)
{
    char todo[SIGNAL_WHY_BYTES];

    for (int i = 0; i < probe->asked_count; i++) {
        const struct asked *at = &probe->asked[i];

        if (at->readable || !asked_counts(probe, at) || probe_asked_later(probe, at))
            continue;
        tell_ignore(probe, at->name, todo);
        lag_unreadable(probe, at->name, at->why, "", todo, now_us);
        return true;
    }
    return false;
}

static bool tell_without_position(struct probe *probe, int64_t now_us)
{
    char why[SIGNAL_WHY_BYTES], todo[SIGNAL_WHY_BYTES], name[64];

    for (int i = 0; i < probe->follower_count; i++) {
        const struct follower *at = &probe->followers[i];

        if (!at->present || at->readable || at->hidden || is_asked(probe, at))
            continue;
        unique_name(probe, at, name);
        snprintf(why, sizeof(why), "%s receives the log and tells no replay position", name);
        tell_ignore(probe, at->name, todo);
        lag_unreadable(probe, name, why, "", todo, now_us);
        return true;
    }
    return false;
}

static bool tell_hidden(struct probe *probe, int64_t now_us)
{
    char why[SIGNAL_WHY_BYTES], grant[SIGNAL_WHY_BYTES], todo[SIGNAL_WHY_BYTES];
    char name[64] = "";
    int hidden = 0, answering = 0;

    for (int i = 0; i < probe->follower_count; i++) {
        const struct follower *at = &probe->followers[i];

        if (at->present && !at->readable && at->hidden) {
            hidden++;
            unique_name(probe, at, name);
        }
    }
    for (int i = 0; i < probe->asked_count; i++)
        if (makes_up(probe, &probe->asked[i]))
            answering++;
    if (hidden <= answering)
        return false;
    tell_ask_itself(probe, todo);
    snprintf(why, sizeof(why), "the server hides from this role how far %s has come", name);
    lag_unreadable(probe, name, why, probe_grant(probe, grant), todo, now_us);
    return true;
}

static bool tell_unreadable(struct probe *probe, int64_t now_us)
{
    if (probe->too_many || probe->too_many_asked) {
        char why[SIGNAL_WHY_BYTES], todo[SIGNAL_WHY_BYTES];

        tell_ignore(probe, "NAME,..", todo);
        snprintf(why, sizeof(why), "more than %d replicas follow this server", LAW_REPLICAS_MAX);
        lag_unreadable(probe, "", why, "", todo, now_us);
        return true;
    }
    return tell_silent(probe, now_us) || tell_hidden(probe, now_us) ||
           tell_without_position(probe, now_us);
}

/* ---------------------------------------------------------------------------------- who is missing
 */

/* As many as there are of that name, in the first `count` names. */
static int count_name(char names[][64], int count, const char *name)
{
    int found = 0;

    for (int i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            found++;
    return found;
}

/* Names that are expected more often than they are there; the first of them in `who`. */
static int missing_names(struct probe *probe, char who[SIGNAL_WHO_BYTES])
{
    struct probe_view *view = &probe->view;
    int missing = 0;

    for (int i = 0; i < probe->target.expected_count; i++) {
        const char *name = probe->expected[i];

        /* The n-th of a name is there when n of that name are. */
        if (probe_ignored(probe, name) || count_name(probe->expected, i + 1, name) <=
                                              count_name(view->seen, view->seen_count, name))
            continue;
        if (missing++ == 0)
            probe_name(who, SIGNAL_WHO_BYTES, name);
    }
    return missing;
}

/* Replicas that answer and that no walsender feeds (an archive, shared storage) are there, too. */
static int present(const struct probe *probe)
{
    int count = probe->view.seen_count;

    for (int i = 0; i < probe->asked_count; i++)
        if (probe->asked[i].readable && !probe->asked[i].streams &&
            asked_counts(probe, &probe->asked[i]))
            count++;
    return count;
}

static void tell_missing(struct probe *probe, int64_t now_us)
{
    char who[SIGNAL_WHO_BYTES] = "";
    int wanted = (int)probe->settings.replicas;
    int missing;

    if (wanted == 0 && probe->target.expected_count == 0) {
        probe_absent(probe, SIGNAL_REPLICAS_MISSING, now_us);
        return;
    }
    if (wanted > 0) {
        missing = wanted > present(probe) ? wanted - present(probe) : 0;
        if (missing > 0)
            snprintf(who, sizeof(who), "the %d that must be there", wanted);
    } else {
        missing = missing_names(probe, who);
    }
    probe_ok(probe, SIGNAL_REPLICAS_MISSING, missing, who, now_us);
}

void probe_followers_tell(struct probe *probe, int64_t now_us)
{
    struct lag lag = {0};

    probe->view.replica_count = probe->view.seen_count = 0;
    list_followers(probe, &lag, now_us);
    list_asked(probe, &lag, now_us);
    tell_missing(probe, now_us);
    if (tell_unreadable(probe, now_us))
        return;
    if (probe->view.replica_count == 0) {
        probe_absent(probe, SIGNAL_REPLICA_LAG_BYTES, now_us);
        probe_absent(probe, SIGNAL_REPLICA_LAG_TIME, now_us);
        return;
    }
    probe_ok(probe, SIGNAL_REPLICA_LAG_BYTES, lag.bytes, lag.bytes_of, now_us);
    probe_ok(probe, SIGNAL_REPLICA_LAG_TIME, lag.seconds, lag.seconds_of, now_us);
}
