#include "cli/commands.h"

#define BIT OPT_BIT

const struct command command_table[] = {
    {
        .name = "alter",
        .group = "Jobs",
        .arguments = "TABLE",
        .summary = "Rebuild a table through a shadow copy, beside live traffic",
        .about =
            "The copy gets the changed definition; the table is as it was until the swap. With no\n"
            "--do it is rebuilt as it is (bloat), with --order-by clustered. Where no copy is "
            "needed\n"
            "pghaul says so: --in-place then takes milliseconds.\n"
            "\n"
            "    pghaul alter orders --do 'ALTER COLUMN id TYPE bigint' --dry-run\n"
            "    pghaul alter orders --do 'ALTER COLUMN id TYPE bigint'\n"
            "    pghaul cutover alter-orders-1\n",
        .options = BIT(OPT_DO) | BIT(OPT_MAP) | BIT(OPT_REVERSE_MAP) | BIT(OPT_ORDER_BY) |
                   BIT(OPT_IN_PLACE) | BIT(OPT_NO_ROLLBACK) | BIT(OPT_CUTOVER) | BIT(OPT_WORKERS) |
                   OPT_JOB_BITS,
        .arguments_min = 1,
        .arguments_max = 1,
        .run = command_alter,
    },
    {
        .name = "backfill",
        .group = "Jobs",
        .arguments = "TABLE",
        .summary = "Change or delete rows in batches, beside live traffic",
        .about =
            "Rows are written only where that changes them, in the order of the key, a chunk in a\n"
            "transaction; rows that somebody holds are put off and visited again. Rows inserted\n"
            "later, with larger keys, are the application's business.\n"
            "\n"
            "    pghaul backfill users --set \"domain = split_part(email, '@', 2)\"\n"
            "    pghaul backfill users --set 'tags = DEFAULT_TAGS(id)' --where 'tags IS NULL' "
            "--undo "
            "saved\n"
            "    pghaul backfill events --delete --where \"created_at < '2020-01-01'\"\n",
        .options = BIT(OPT_SET) | BIT(OPT_WHERE) | BIT(OPT_DELETE) | BIT(OPT_SQL_FILE) |
                   BIT(OPT_UNDO) | BIT(OPT_UNDO_SET) | BIT(OPT_WORKERS) | OPT_JOB_BITS,
        .arguments_min = 1,
        .arguments_max = 1,
        .run = command_backfill,
    },
    {
        .name = "column",
        .group = "Jobs",
        .arguments = "rename|retype|add|not-null|drop TABLE COLUMN ..",
        .summary = "Rename, retype, add, fill or drop a column, beside live traffic",
        .about = "Another column is added, filled and kept equal in both directions, so that old "
                 "and new\n"
                 "versions of an application may run side by side, for days. The cut-over hides "
                 "the old\n"
                 "column, which is still fed: rollback gives it back within milliseconds, finish "
                 "drops it.\n"
                 "\n"
                 "    pghaul column rename users user_name username\n"
                 "    pghaul column retype orders id bigint\n"
                 "    pghaul column retype users age integer --using 'age::integer' --back-using "
                 "'age::text'\n"
                 "\n"
                 "add takes what stands behind ADD COLUMN. A default that is the same for all rows "
                 "writes none;\n"
                 "one that is not fills them in chunks; constraints come after that. not-null "
                 "reads the rows\n"
                 "without a lock that anybody would notice. rollback takes either back, until "
                 "finish.\n"
                 "\n"
                 "    pghaul column add orders \"status text NOT NULL DEFAULT 'pending'\"\n"
                 "    pghaul column not-null users email\n",
        .options = BIT(OPT_USING) | BIT(OPT_BACK_USING) | BIT(OPT_WORKERS) | OPT_JOB_BITS,
        .arguments_min = 1,
        .arguments_max = 4,
        .words = "rename|retype|add|not-null|drop",
        .run = command_column,
    },
    {
        .name = "index",
        .group = "Jobs",
        .arguments = "TABLE 'CREATE INDEX ..'",
        .summary = "Build an index concurrently; drop what is left of a failed try, and retry",
        .about = "Nobody who reads or writes waits for it; it waits for transactions that are "
                 "older, and says\n"
                 "for which. abort cancels a build, pause waits for its end.\n"
                 "\n"
                 "    pghaul index users 'CREATE INDEX users_email ON users (email)'\n",
        .options = OPT_JOB_BITS,
        .arguments_min = 2,
        .arguments_max = 2,
        .run = command_index,
    },
    {
        .name = "validate",
        .group = "Jobs",
        .arguments = "TABLE [CONSTRAINT]",
        .summary = "Validate a constraint that is NOT VALID, or add one that way first",
        .about =
            "Adding takes a strong lock, for moments, and no writer waits longer than "
            "lock.timeout;\n"
            "a foreign key locks both tables within that time. Validation is in nobody's way.\n"
            "\n"
            "    pghaul validate orders orders_users_fkey\n"
            "    pghaul validate orders --add 'CONSTRAINT orders_users_fkey FOREIGN KEY (user_id) "
            "REFERENCES users'\n",
        .options = BIT(OPT_ADD) | OPT_JOB_BITS,
        .arguments_min = 1,
        .arguments_max = 2,
        .run = command_validate,
    },
    {
        .name = "status",
        .group = "Control of a job",
        .arguments = "[JOB]",
        .summary = "Show all jobs, or one",
        .about = "With --json a JOB is one object, all jobs are an array.\n",
        .options = BIT(OPT_FOLLOW),
        .arguments_max = 1,
        .completes_jobs = true,
        .answers = true,
        .run = command_status,
    },
    {
        .name = "pause",
        .group = "Control of a job",
        .arguments = "JOB",
        .summary = "Let every process that works on a job stop within one chunk, until resume",
        .arguments_min = 1,
        .arguments_max = 1,
        .completes_jobs = true,
        .run = command_pause,
    },
    {
        .name = "resume",
        .group = "Control of a job",
        .arguments = "JOB",
        .summary = "Clear a pause and work on a job, beside other processes that do",
        .about = "Goes on where the job was interrupted, from any host, as often as needed.\n",
        .options = BIT(OPT_CUTOVER),
        .arguments_min = 1,
        .arguments_max = 1,
        .completes_jobs = true,
        .run = command_resume,
    },
    {
        .name = "set",
        .group = "Control of a job",
        .arguments = "JOB name=value...",
        .summary = "Change settings of a job; running processes follow within one chunk",
        .arguments_min = 2,
        .arguments_max = ARGUMENTS_UNLIMITED,
        .completes_jobs = true,
        .lists_settings = true,
        .run = command_set,
    },
    {
        .name = "verify",
        .group = "Control of a job",
        .arguments = "JOB",
        .summary = "Compare source and copy, all rows, and repair what differs",
        .arguments_min = 1,
        .arguments_max = 1,
        .completes_jobs = true,
        .run = command_verify,
    },
    {
        .name = "cutover",
        .group = "Control of a job",
        .arguments = "JOB",
        .summary = "Swap a job's verified copy and the table",
        .about = "Asks on a terminal; without one it needs --yes. Writers wait some milliseconds. "
                 "The old\n"
                 "table is kept, and fed, until rollback or finish.\n",
        .options = BIT(OPT_FORCE),
        .arguments_min = 1,
        .arguments_max = 1,
        .completes_jobs = true,
        .run = command_cutover,
    },
    {
        .name = "rollback",
        .group = "Control of a job",
        .arguments = "JOB",
        .summary = "Swap back; nothing that was written since the cut-over is lost",
        .about = "Asks on a terminal; without one it needs --yes. Refused while rows cannot go "
                 "back, unless\n"
                 "--accept-loss is given.\n",
        .options = BIT(OPT_ACCEPT_LOSS),
        .arguments_min = 1,
        .arguments_max = 1,
        .completes_jobs = true,
        .run = command_rollback,
    },
    {
        .name = "finish",
        .group = "Control of a job",
        .arguments = "JOB",
        .summary = "Drop the old table after a cut-over",
        .about =
            "Asks on a terminal; without one it needs --yes. After that there is no way back.\n",
        .arguments_min = 1,
        .arguments_max = 1,
        .completes_jobs = true,
        .run = command_finish,
    },
    {
        .name = "abort",
        .group = "Control of a job",
        .arguments = "JOB",
        .summary = "End a job before its cut-over and leave nothing but its history",
        .about =
            "Asks on a terminal; without one it needs --yes. Stops every process that works on the "
            "job\n"
            "first. The SQL of --print-sql does the same through psql, without this program.\n",
        .options = BIT(OPT_PRINT_SQL),
        .arguments_min = 1,
        .arguments_max = 1,
        .completes_jobs = true,
        .run = command_abort,
    },
    {
        .name = "doctor",
        .group = "Looking",
        .arguments = "[TABLE]",
        .summary = "Say what stands in the way of a job, why, and what to do about it",
        .about =
            "Exit status 3 when something would be refused. Shows every signal that a job could "
            "give way to,\n"
            "its value, and what makes it readable (docs/signals.md), for the settings that "
            "are given; and\n"
            "of each --replica what a job's vacuum and swap would cancel there.\n",
        .options = BIT(OPT_MAX_LAG) | BIT(OPT_REPLICA) | BIT(OPT_SETTING),
        .arguments_max = 1,
        .run = command_doctor,
    },
    {
        .name = "guard",
        .group = "Looking",
        .arguments = "TABLE...",
        .summary =
            "Exit with status 7 while a job is open on one of the tables: for deploy scripts",
        .arguments_min = 1,
        .arguments_max = ARGUMENTS_UNLIMITED,
        .run = command_guard,
    },
    {
        .name = "sandbox",
        .group = "Trying out",
        .arguments = "start|stop|status [DIR]",
        .summary = "Start or stop a private, throw-away PostgreSQL server",
        .about = "It lives in one folder (start without DIR makes one) and listens on a unix "
                 "socket there.\n",
        .options = BIT(OPT_STANDBY),
        .arguments_min = 1,
        .arguments_max = 2,
        .words = "start|stop|status",
        .run = command_sandbox,
    },
    {
        .name = "bench",
        .group = "Trying out",
        .arguments = "alter|backfill|column|throttle|load|data [JOB|SET]",
        .summary = "Measure on a sandbox, or in the database of -d",
        .about =
            "alter     a rebuild, beside the least that it can take and beside pg_repack\n"
            "backfill  a change of every row, beside one UPDATE and the usual loop of small ones\n"
            "column    a serial key becomes bigint under a load, beside tables that refer to it\n"
            "throttle  policies beside each other, with a standby that cannot keep up: backfill "
            "and "
            "alter,\n"
            "          or the one that is named\n"
            "load      only the load, against a database that somebody else works on\n"
            "data      make a data set: orders, orders-serial (its key is a serial) or acct\n",
        .options = BIT(OPT_ROWS) | BIT(OPT_SEED) | BIT(OPT_RUNS) | BIT(OPT_WORKERS) | BIT(OPT_DO) |
                   BIT(OPT_LOAD) | BIT(OPT_HOSTILE) | BIT(OPT_LEDGER) | BIT(OPT_TABLE) |
                   BIT(OPT_SECONDS) | BIT(OPT_CLIENTS) | BIT(OPT_RATE) | BIT(OPT_POLICY) |
                   BIT(OPT_SVG),
        .arguments_min = 1,
        .arguments_max = 2,
        .words = "alter|backfill|column|throttle|load|data",
        .answers = true,
        .run = command_bench,
    },
    {
        .name = "help",
        .arguments = "[COMMAND]",
        .summary = "Show the help",
        .options = BIT(OPT_MARKDOWN),
        .arguments_max = 1,
        .answers = true,
        .run = command_help,
    },
    {
        .name = "completion",
        .arguments = "bash|jobs",
        .summary = "Print completion for the shell: eval \"$(pghaul completion bash)\"",
        .arguments_min = 1,
        .arguments_max = 1,
        .words = "bash|jobs",
        .answers = true,
        .run = command_completion,
    },
    {0},
};
