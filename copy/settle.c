#include "copy/settle.h"

#include "copy/standby.h"
#include "copy/unpaced.h"

/* Frozen, so that the first day after the swap is no vacuum storm; and autovacuum as the user has
 * it. */
static const char FREEZE[] = "VACUUM (FREEZE) {to}";

static const char WHAT[] = "vacuum of the new table";

static bool freeze(struct run *run, struct error *error)
{
    const struct copy *copy = copy_of(run);
    struct unpaced unpaced;
    bool ok;

    /* First: those are waited for once, whenever the vacuum begins then. */
    if (!standby_wait_snapshots(run, WHAT, error) ||
        !unpaced_freeze(run->session, copy->shadow_oid, &unpaced, error) ||
        !pace_unpaced_begin(run, WHAT, unpaced.wal_bytes, unpaced.seconds, error))
        return false;
    ok = flow_run(&copy->forward, run->session, FREEZE, error);
    pace_unpaced_end(run);
    return ok;
}

static void autovacuum_sql(const struct copy *copy, struct text *sql)
{
    flow_expand(&copy->forward, sql, "ALTER TABLE {to} RESET (autovacuum_enabled)");
    if (copy->plan.autovacuum[0] != '\0')
        flow_expand_with(&copy->forward, sql, ";\nALTER TABLE {to} SET ({options})",
                         SQL_NAMES({"options", sql_fragment(copy->plan.autovacuum)}));
}

bool settle_forward(struct run *run, struct error *error)
{
    const struct copy *copy = copy_of(run);
    TEXT_AUTO sql = {0};

    if (run->job.settings.settle == SWITCH_ON && !freeze(run, error))
        return false;
    autovacuum_sql(copy, &sql);
    return run_ddl(run, text_string(&sql), error);
}

bool settle_print(struct run *run, struct text *script, struct error *error)
{
    const struct copy *copy = copy_of(run);
    TEXT_AUTO sql = {0};

    (void)error;
    if (run->job.settings.settle == SWITCH_ON)
        flow_print(&copy->forward, script, FREEZE);
    autovacuum_sql(copy, &sql);
    sql_add(script, text_string(&sql));
    return true;
}
