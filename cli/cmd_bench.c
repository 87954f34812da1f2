/* bench: measurements on a sandbox or a given database, and the pieces they are made of
 * (bench/bench.h). */
#include <string.h>

#include "bench/bench.h"
#include "cli/commands.h"

/* 0 when --workers was not given: the case has a default of its own. */
static bool workers_of(const struct cli *cli, int *workers, struct error *error)
{
    struct settings settings;

    *workers = 0;
    if (!options_given(&cli->options, OPT_WORKERS))
        return true;
    if (!cli_settings(cli, &settings, error))
        return false;
    *workers = (int)settings.workers;
    return true;
}

static bool job_options(const struct cli *cli, struct bench_options *bench, struct error *error)
{
    const struct options *options = &cli->options;

    *bench = (struct bench_options){
        .conninfo = options->dbname,
        .action = options->actions.count > 0 ? options->actions.values[0] : NULL,
        .rows = options->rows,
        .runs = (int)options->runs,
        .seed = (uint64_t)options->seed,
        .json = options->json,
        .load = options->load,
        .load_rate = (double)options->rate,
        .load_seconds = (int)options->seconds,
        .stop = &cli->stop,
    };

    if (options->runs > BENCH_RUNS_MAX)
        return error_set(error, ERROR_USAGE, "--runs cannot be more than %d", BENCH_RUNS_MAX);
    return workers_of(cli, &bench->workers, error);
}

/* Cases alter, backfill and column: `measure` is the case. */
static bool bench_case_job(struct cli *cli,
                           bool (*measure)(const struct bench_options *options, struct log *log,
                                           FILE *out, struct error *error),
                           struct error *error)
{
    struct bench_options bench;

    return job_options(cli, &bench, error) && measure(&bench, &cli->log, stdout, error);
}

static bool bench_case_throttle(struct cli *cli, struct error *error)
{
    struct options *options = &cli->options;
    const char **policies =
        arena_alloc(&options->arena, ((size_t)options->policies.count + 1) * sizeof(*policies));
    struct bench_throttle_options throttle = {
        .job = options_argument(options, 1),
        .svg = options->svg != NULL ? options->svg : "bench-throttle.svg",
    };
    struct bench_options bench;

    for (int i = 0; i < options->policies.count; i++)
        policies[i] = options->policies.values[i];
    if (options->policies.count > 0)
        throttle.policies = policies;
    return job_options(cli, &bench, error) &&
           bench_throttle(&bench, &throttle, &cli->log, stdout, error);
}

static bool bench_case_load(struct cli *cli, struct error *error)
{
    const struct options *options = &cli->options;
    const struct bench_load_options bench = {
        .conninfo = cli->run.connect.conninfo,
        .hostile = options->hostile,
        .table = options->table,
        .ledger = options->ledger,
        .seconds = (int)options->seconds,
        .clients = (int)options->clients,
        .rate = (double)options->rate,
        .rows = options->rows,
        .seed = (uint64_t)options->seed,
        .json = options->json,
        .stop = &cli->stop,
    };

    return bench_load(&bench, &cli->log, stdout, error);
}

static bool bench_case_data(struct cli *cli, struct error *error)
{
    const struct options *options = &cli->options;
    const struct data_options data = {
        .set = options_argument(options, 1),
        .name = options->table,
        .rows = options->rows != 0 ? options->rows : 1000000,
        .seed = (uint64_t)options->seed,
        .ledger = options->ledger,
    };

    if (data.set == NULL) {
        error_set(error, ERROR_USAGE, "pghaul bench data needs the name of a data set");
        return error_hint(error, "it is one of %s", data_sets());
    }
    return bench_data(cli->run.connect.conninfo, &data, &cli->log, error);
}

bool command_bench(struct cli *cli, struct error *error)
{
    const char *name = options_argument(&cli->options, 0);

    cli_start_work(cli);
    if (strcmp(name, "alter") == 0)
        return bench_case_job(cli, bench_alter, error);
    if (strcmp(name, "backfill") == 0)
        return bench_case_job(cli, bench_backfill, error);
    if (strcmp(name, "column") == 0)
        return bench_case_job(cli, bench_column, error);
    if (strcmp(name, "throttle") == 0)
        return bench_case_throttle(cli, error);
    if (strcmp(name, "load") == 0)
        return bench_case_load(cli, error);
    return bench_case_data(cli, error);
}
