#include "tests/harness/beside.h"

#include <signal.h>

#include "tests/harness/database.h"
#include "tests/harness/frame.h"
#include "tests/harness/state.h"

enum { HELD_SECONDS = 20 };

void t_busy(const char *lock_timeout, int rest_ms, const char *work)
{
    struct t_session *session = t_session("application");

    t_sql("CREATE TABLE IF NOT EXISTS stop (yes boolean)");
    if (lock_timeout != NULL)
        t_do(session, t_format("SET lock_timeout = '%s'", lock_timeout));
    t_send(session, t_format("DO $do$ DECLARE n bigint := 0; BEGIN\n"
                             "    WHILE NOT EXISTS (SELECT FROM stop) LOOP\n"
                             "        n := n + 1; %s\n"
                             "        COMMIT; PERFORM pg_sleep(%d / 1000.0);\n"
                             "    END LOOP; END $do$",
                             work, rest_ms));
    session->beside = true;
}

void t_idle(void)
{
    t_sql("INSERT INTO stop VALUES (true)");
    for (int i = 0; i < harness.session_count; i++)
        if (harness.sessions[i]->beside) {
            t_receive(harness.sessions[i]);
            harness.sessions[i]->beside = false;
        }
    t_sql("DROP TABLE stop");
}

void t_kill_now(struct t_process *process)
{
    struct t_result result;

    t_kill(process, SIGKILL);
    t_wait(process, &result);
    assert_int_equal(result.signal, SIGKILL);
}

/* ---------------------------------------------------------------------------------------- gates */

static const char GATES[] =
    "CREATE TABLE public.gate (step text);\n"
    "CREATE FUNCTION public.at_gate() RETURNS trigger LANGUAGE plpgsql AS $$\n"
    "DECLARE\n"
    "    here text := CASE TG_TABLE_NAME\n"
    "        WHEN 'job' THEN 'facts'\n"
    "        ELSE concat_ws(' ', TG_TABLE_NAME,\n"
    "                       coalesce(to_jsonb(NEW) ->> 'name', to_jsonb(NEW) ->> 'kind'),\n"
    "                       coalesce(to_jsonb(NEW) ->> 'state', to_jsonb(NEW) ->> 'detail')) END;\n"
    "BEGIN\n"
    "    WHILE EXISTS (SELECT FROM public.gate AS g WHERE here LIKE g.step) LOOP\n"
    "        PERFORM pg_sleep(0.01);\n"
    "    END LOOP;\n"
    "    RETURN NULL;\n"
    "END $$;\n"
    "CREATE TRIGGER at_gate AFTER UPDATE OF state ON pghaul.phase FOR EACH ROW EXECUTE FUNCTION "
    "public.at_gate();\n"
    "CREATE TRIGGER at_gate AFTER INSERT ON pghaul.event FOR EACH ROW EXECUTE FUNCTION "
    "public.at_gate();\n"
    "CREATE TRIGGER at_gate AFTER UPDATE OF facts ON pghaul.job FOR EACH ROW EXECUTE FUNCTION "
    "public.at_gate();\n";

static const char SOMEBODY_HELD[] =
    "SELECT count(*) > 0 FROM pg_stat_activity\n"
    " WHERE datname = current_database() AND wait_event = 'PgSleep'\n"
    "   AND application_name LIKE 'pghaul%'";

void t_gates(void)
{
    t_sql(GATES);
}

void t_gate_shut(const char *step)
{
    print_message("held at %s\n", step);
    t_sqlf("INSERT INTO public.gate VALUES ('%s')", step);
}

void t_gate_wait(bool held)
{
    t_wait_until(SOMEBODY_HELD, held ? "t" : "f", HELD_SECONDS);
}

void t_gate_kill(struct t_process *process)
{
    t_gate_wait(true);
    t_kill_now(process);
    t_sql("DELETE FROM public.gate");
    t_gate_wait(false);
}
