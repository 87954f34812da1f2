/* bench/sandbox: private, throw-away, and gone when it should be. */
#include "tests/harness.h"

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/standby.h"
#include "engine/base/clock.h"

enum { PATH_BYTES = 128 };

static struct sandbox *start_sandbox(const struct sandbox_options *options)
{
    struct sandbox *sandbox;
    struct error error = {0};

    if (!sandbox_start(&sandbox, options, &error))
        t_fail("%s: %s", error.message, error.detail);
    return sandbox;
}

/* The only value of a query on a server; "" when that fails. */
static void ask(char answer[PATH_BYTES], const char *conninfo, const char *sql)
{
    PGconn *connection = PQconnectdb(conninfo);
    PGresult *result = PQexec(connection, sql);

    snprintf(answer, PATH_BYTES, "%s", PQntuples(result) == 1 ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
    PQfinish(connection);
}

static void wait_for(const char *conninfo, const char *sql, const char *expected)
{
    char answer[PATH_BYTES] = "";

    for (int i = 0; i < 1000; i++) {
        ask(answer, conninfo, sql);
        if (strcmp(answer, expected) == 0)
            return;
        clock_sleep_ms(20);
    }
    t_fail("still \"%s\", not \"%s\": %s", answer, expected, sql);
}

static bool exists(const char *path)
{
    struct stat status;

    return lstat(path, &status) == 0;
}

/* A zombie that init has not looked at yet has no command line. */
static bool runs(int pid)
{
    char command[16];
    FILE *file = fopen(t_format("/proc/%d/cmdline", pid), "r");
    size_t count = file == NULL ? 0 : fread(command, 1, sizeof(command), file);

    if (file != NULL)
        fclose(file);
    return count > 0;
}

/* Both the folder and the server, within 20 s. */
static void assert_gone(const char *dir, int pid)
{
    for (int i = 0; i < 2000; i++) {
        if (!exists(dir) && !runs(pid))
            return;
        clock_sleep_ms(10);
    }
    t_fail("folder %s %s, server %d %s", dir, exists(dir) ? "is still there" : "is gone", pid,
           runs(pid) ? "still runs" : "is gone");
}

static void a_stopped_sandbox_leaves_nothing(void)
{
    struct sandbox *sandbox = start_sandbox(&(struct sandbox_options){0});
    const char *dir = t_format("%s", sandbox_dir(sandbox));
    int pid = sandbox_postmaster_pid(sandbox);

    assert_true(pid > 1);
    assert_true(exists(dir));
    sandbox_stop(sandbox);
    assert_gone(dir, pid);
}

static void the_server_does_not_run_as_root(void)
{
    struct stat status;

    assert_int_equal(stat(sandbox_data_dir(t_sandbox()), &status), 0);
    assert_int_not_equal(status.st_uid, 0);
}

static void committed_rows_survive_a_crash(void)
{
    struct sandbox *sandbox = start_sandbox(&(struct sandbox_options){.durable = true});
    struct sandbox_status status;
    struct error error = {0};
    char answer[PATH_BYTES];

    ask(answer, sandbox_conninfo(sandbox), "SHOW fsync");
    assert_string_equal(answer, "on");
    ask(answer, sandbox_conninfo(sandbox), "CREATE TABLE t AS SELECT 1");
    sandbox_crash(sandbox);
    assert_int_equal(sandbox_postmaster_pid(sandbox), 0);
    sandbox_status(sandbox, &status);
    assert_false(status.running);
    assert_true(sandbox_restart(sandbox, &error));
    ask(answer, sandbox_conninfo(sandbox), "SELECT count(*) FROM t");
    assert_string_equal(answer, "1");
    sandbox_status(sandbox, &status);
    assert_true(status.running);
    assert_true(status.version >= 140000);
    sandbox_stop(sandbox);
}

static void a_standby_follows_its_primary(void)
{
    struct sandbox *sandbox = start_sandbox(&(struct sandbox_options){.standby = true});
    struct sandbox_status status;
    struct error error = {0};
    char answer[PATH_BYTES];

    ask(answer, sandbox_conninfo(sandbox), "CREATE TABLE t AS SELECT 7 AS id");
    wait_for(sandbox_standby_conninfo(sandbox), "SELECT id FROM t", "7");
    ask(answer, sandbox_standby_conninfo(sandbox), "SELECT pg_is_in_recovery()");
    assert_string_equal(answer, "t");
    ask(answer, sandbox_conninfo(sandbox),
        "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'");
    assert_string_equal(answer, "1");
    sandbox_crash(sandbox);
    assert_true(sandbox_restart(sandbox, &error));
    ask(answer, sandbox_conninfo(sandbox), "UPDATE t SET id = 8");
    wait_for(sandbox_standby_conninfo(sandbox), "SELECT id FROM t", "8");
    sandbox_status(sandbox, &status);
    assert_true(status.standby && status.standby_running);
    sandbox_stop(sandbox);
}

static void a_standby_may_live_on_another_device(void)
{
    char base[] = "/tmp/pghaul-unit-XXXXXX";
    struct sandbox *sandbox;
    char answer[PATH_BYTES];

    assert_non_null(mkdtemp(base));
    assert_int_equal(chmod(base, 0755), 0); /* the server may be another user's */
    sandbox = start_sandbox(&(struct sandbox_options){.standby = true, .standby_base = base});
    ask(answer, sandbox_standby_conninfo(sandbox), "SHOW data_directory");
    assert_int_equal(strncmp(answer, base, strlen(base)), 0);
    ask(answer, sandbox_conninfo(sandbox), "CREATE TABLE t AS SELECT 7 AS id");
    wait_for(sandbox_standby_conninfo(sandbox), "SELECT id FROM t", "7");
    sandbox_stop(sandbox);
    assert_int_equal(rmdir(base), 0);
}

/* -- the standby, made slow, deaf, late and absent -- */

static void must(bool ok, const struct error *error)
{
    if (!ok)
        t_fail("%s: %s", error->message, error->detail);
}

/* A table of about 40 MB, and as much log. */
static void write_much(const struct sandbox *sandbox)
{
    char answer[PATH_BYTES];

    ask(answer, sandbox_conninfo(sandbox),
        "CREATE TABLE much AS SELECT repeat(i::text, 100) FROM generate_series(1, 80000) i");
}

/* Bytes of the primary's log that the standby has not replayed. */
static double behind(const struct sandbox *sandbox)
{
    char here[PATH_BYTES];
    char there[PATH_BYTES];

    ask(here, sandbox_conninfo(sandbox), "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn");
    ask(there, sandbox_standby_conninfo(sandbox),
        "SELECT pg_last_wal_replay_lsn() - '0/0'::pg_lsn");
    return strtod(here, NULL) - strtod(there, NULL);
}

static void wait_until_it_has_all(const struct sandbox *sandbox)
{
    for (int i = 0; i < 1000 && behind(sandbox) > 0; i++)
        clock_sleep_ms(20);
    assert_true(behind(sandbox) <= 0);
}

static void a_capped_standby_falls_behind_and_catches_up_when_it_is_let_go(void)
{
    static const struct standby_limit LIMITS[] = {{.bytes_per_second = 65536}, {.share = 0.0001}};

    for (size_t i = 0; i < sizeof(LIMITS) / sizeof(LIMITS[0]); i++) {
        struct sandbox *sandbox = start_sandbox(&(struct sandbox_options){.standby = true});
        struct standby_cap *cap;
        struct error error = {0};

        wait_until_it_has_all(sandbox);
        must(standby_cap_start(&cap, sandbox, &LIMITS[i], &error), &error);
        clock_sleep_ms(300);
        write_much(sandbox);
        clock_sleep_ms(500);
        assert_true(behind(sandbox) > 10e6);
        standby_cap_set(cap, &(struct standby_limit){.bytes_per_second = INFINITY});
        wait_until_it_has_all(sandbox);
        standby_cap_set(cap, &LIMITS[i]);
        standby_cap_stop(cap);
        wait_for(sandbox_standby_conninfo(sandbox), "SELECT count(*) FROM much", "80000");
        sandbox_stop(sandbox);
    }
}

static void a_standby_can_be_paused_delayed_and_absent(void)
{
    struct sandbox *sandbox = start_sandbox(&(struct sandbox_options){.standby = true});
    const char *primary = sandbox_conninfo(sandbox);
    const char *standby = sandbox_standby_conninfo(sandbox);
    struct error error = {0};
    char answer[PATH_BYTES];

    ask(answer, primary, "CREATE TABLE t AS SELECT 1 AS id");
    wait_for(standby, "SELECT id FROM t", "1");
    must(standby_pause(sandbox, true, &error), &error);
    ask(answer, primary, "UPDATE t SET id = 2");
    clock_sleep_ms(300);
    ask(answer, standby, "SELECT id FROM t");
    assert_string_equal(answer, "1");
    must(standby_pause(sandbox, false, &error), &error);
    wait_for(standby, "SELECT id FROM t", "2");

    must(standby_delay(sandbox, "1h", &error), &error);
    wait_for(standby, "SHOW recovery_min_apply_delay", "1h");
    clock_sleep_ms(200);
    ask(answer, primary, "UPDATE t SET id = 3");
    clock_sleep_ms(300);
    ask(answer, standby, "SELECT id FROM t");
    assert_string_equal(answer, "2");
    must(standby_delay(sandbox, "0", &error), &error);
    wait_for(standby, "SELECT id FROM t", "3");

    assert_true(sandbox_standby_pid(sandbox) > 1);
    sandbox_standby_crash(sandbox);
    assert_int_equal(sandbox_standby_pid(sandbox), 0);
    wait_for(primary, "SELECT count(*) FROM pg_stat_replication", "0");
    must(sandbox_standby_start(sandbox, &error), &error);
    ask(answer, primary, "UPDATE t SET id = 4");
    wait_for(standby, "SELECT id FROM t", "4");
    sandbox_stop(sandbox);
}

static void without_a_standby_there_is_nothing_to_cap(void)
{
    struct standby_cap *cap;
    struct error error = {0};

    assert_false(
        standby_cap_start(&cap, t_sandbox(), &(struct standby_limit){.share = 0.5}, &error));
    assert_null(cap);
    assert_non_null(strstr(error.message, "no standby"));
    assert_int_equal(sandbox_standby_pid(t_sandbox()), 0);
    assert_false(standby_pause(t_sandbox(), true, &error));
    standby_cap_stop(NULL);
}

static void settings_that_are_given_win(void)
{
    static const char *const GIVEN[] = {"wal_level = logical", "work_mem = '7MB'", NULL};
    struct sandbox *sandbox = start_sandbox(&(struct sandbox_options){.settings = GIVEN});
    char answer[PATH_BYTES];

    ask(answer, sandbox_conninfo(sandbox), "SHOW wal_level");
    assert_string_equal(answer, "logical");
    ask(answer, sandbox_conninfo(sandbox), "SHOW work_mem");
    assert_string_equal(answer, "7MB");
    sandbox_stop(sandbox);
}

static void a_wrong_setting_is_reported_and_leaves_nothing(void)
{
    static const char *const WRONG[] = {"no_such_setting = 1", NULL};
    char dir[] = "/tmp/pghaul-unit-XXXXXX";
    struct sandbox *sandbox;
    struct error error = {0};

    assert_non_null(mkdtemp(dir));
    assert_false(
        sandbox_start(&sandbox, &(struct sandbox_options){.dir = dir, .settings = WRONG}, &error));
    assert_null(sandbox);
    assert_non_null(strstr(error.detail, "no_such_setting"));
    assert_int_equal(rmdir(dir), 0); /* the user's folder, empty again */
}

/*
 * Starts a sandbox in a process of its own; gives that process, the folder and the server. The
 * standby's startup process is stopped nearly all the time.
 */
static pid_t start_in_a_process(const char *standby_base, char dir[PATH_BYTES], int *postmaster)
{
    int channel[2];
    pid_t owner;

    assert_int_equal(pipe(channel), 0);
    owner = fork();
    if (owner == 0) {
        struct sandbox *sandbox;
        struct error error;
        int pid;

        if (!sandbox_start(&sandbox,
                           &(struct sandbox_options){.standby = true, .standby_base = standby_base},
                           &error) ||
            !standby_cap_start(&(struct standby_cap *){NULL}, sandbox,
                               &(struct standby_limit){.share = 0.001}, &error))
            _exit(1);
        pid = sandbox_postmaster_pid(sandbox);
        snprintf(dir, PATH_BYTES, "%s", sandbox_dir(sandbox));
        if (write(channel[1], &pid, sizeof(pid)) < 0 || write(channel[1], dir, PATH_BYTES) < 0)
            _exit(1);
        for (;;)
            pause();
    }
    close(channel[1]);
    assert_int_equal(read(channel[0], postmaster, sizeof(*postmaster)), sizeof(*postmaster));
    assert_int_equal(read(channel[0], dir, PATH_BYTES), PATH_BYTES);
    close(channel[0]);
    return owner;
}

static void a_sandbox_ends_with_its_process_even_by_kill_9(void)
{
    char base[] = "/tmp/pghaul-unit-XXXXXX";
    char dir[PATH_BYTES];
    int postmaster;
    pid_t owner;

    assert_non_null(mkdtemp(base));
    assert_int_equal(chmod(base, 0755), 0);
    owner = start_in_a_process(base, dir, &postmaster);
    assert_true(exists(dir));
    kill(owner, SIGKILL);
    waitpid(owner, NULL, 0);
    assert_gone(dir, postmaster);
    assert_int_equal(rmdir(base), 0); /* nothing of the standby is left there either */
}

static void a_sandbox_that_dies_while_it_starts_leaves_nothing(void)
{
    static const int DELAYS_MS[] = {10, 150, 300, 450, 600};
    char base[] = "/tmp/pghaul-unit-XXXXXX";

    assert_non_null(mkdtemp(base));
    for (size_t i = 0; i < sizeof(DELAYS_MS) / sizeof(DELAYS_MS[0]); i++) {
        pid_t owner = fork();

        if (owner == 0) {
            struct sandbox *sandbox;
            struct error error;

            setenv("TMPDIR", base, 1);
            (void)!sandbox_start(&sandbox, &(struct sandbox_options){0}, &error);
            for (;;)
                pause();
        }
        clock_sleep_ms(DELAYS_MS[i]);
        kill(owner, SIGKILL);
        waitpid(owner, NULL, 0);
    }
    for (int i = 0; i < 2000 && rmdir(base) != 0; i++)
        clock_sleep_ms(10);
    assert_false(exists(base));
}

static void a_kept_sandbox_is_found_and_stopped_by_its_folder(void)
{
    struct sandbox *sandbox = start_sandbox(&(struct sandbox_options){.keep = true});
    const char *dir = t_format("%s", sandbox_dir(sandbox));
    int pid = sandbox_postmaster_pid(sandbox);
    struct sandbox_status status;
    struct error error = {0};

    sandbox_detach(sandbox);
    clock_sleep_ms(200);
    assert_true(runs(pid));
    assert_true(sandbox_attach(&sandbox, dir, &error));
    sandbox_status(sandbox, &status);
    assert_true(status.running);
    assert_int_equal(status.pid, pid);
    sandbox_stop(sandbox);
    assert_gone(dir, pid);
    assert_false(sandbox_attach(&sandbox, dir, &error));
    assert_int_equal(error.code, ERROR_REFUSED);
}

static void the_users_folder_is_kept_and_can_be_started_again(void)
{
    char dir[] = "/tmp/pghaul-unit-XXXXXX";
    struct sandbox_options options = {.dir = dir};
    struct sandbox *sandbox;
    struct sandbox *second;
    struct error error = {0};
    struct t_result result;
    char answer[PATH_BYTES];

    assert_non_null(mkdtemp(dir));
    sandbox = start_sandbox(&options);
    ask(answer, sandbox_conninfo(sandbox), "CREATE TABLE t AS SELECT 5 AS id");
    assert_false(sandbox_start(&second, &options, &error));
    assert_non_null(strstr(error.message, "is running already"));
    ask(answer, sandbox_conninfo(sandbox), "SELECT id FROM t");
    assert_string_equal(answer, "5");
    sandbox_stop(sandbox);
    assert_true(exists(dir));
    sandbox = start_sandbox(&options);
    ask(answer, sandbox_conninfo(sandbox), "SELECT id FROM t");
    assert_string_equal(answer, "5");
    sandbox_stop(sandbox);
    t_run_program(&result, "rm", "-rf", dir, NULL);
}

static void a_folder_with_something_else_in_it_is_refused(void)
{
    char dir[] = "/tmp/pghaul-unit-XXXXXX";
    struct sandbox *sandbox;
    struct error error = {0};
    const char *file;
    FILE *stream;

    assert_non_null(mkdtemp(dir));
    file = t_format("%s/precious", dir);
    stream = fopen(file, "w");
    assert_non_null(stream);
    fclose(stream);
    assert_false(sandbox_start(&sandbox, &(struct sandbox_options){.dir = dir}, &error));
    assert_int_equal(error.code, ERROR_REFUSED);
    assert_true(exists(file));
    assert_false(sandbox_attach(&sandbox, dir, &error));
    assert_int_equal(error.code, ERROR_REFUSED);
    unlink(file);
    rmdir(dir);
}

static void a_folder_too_long_for_a_socket_is_refused(void)
{
    const char *dir = t_format("/tmp/%0150d", 1);
    struct sandbox *sandbox;
    struct error error = {0};

    assert_false(sandbox_start(&sandbox, &(struct sandbox_options){.dir = dir}, &error));
    assert_int_equal(error.code, ERROR_REFUSED);
    assert_non_null(strstr(error.message, "too long"));
    assert_false(exists(dir));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(a_stopped_sandbox_leaves_nothing),
        t_test(the_server_does_not_run_as_root),
        t_test(committed_rows_survive_a_crash),
        t_test(a_standby_follows_its_primary),
        t_test(a_standby_may_live_on_another_device),
        t_test(a_capped_standby_falls_behind_and_catches_up_when_it_is_let_go),
        t_test(a_standby_can_be_paused_delayed_and_absent),
        t_test(without_a_standby_there_is_nothing_to_cap),
        t_test(settings_that_are_given_win),
        t_test(a_wrong_setting_is_reported_and_leaves_nothing),
        t_test(a_sandbox_ends_with_its_process_even_by_kill_9),
        t_test(a_sandbox_that_dies_while_it_starts_leaves_nothing),
        t_test(a_kept_sandbox_is_found_and_stopped_by_its_folder),
        t_test(the_users_folder_is_kept_and_can_be_started_again),
        t_test(a_folder_with_something_else_in_it_is_refused),
        t_test(a_folder_too_long_for_a_socket_is_refused),
    };

    return T_MAIN(tests);
}
