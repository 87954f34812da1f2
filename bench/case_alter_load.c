#include <math.h>
#include <unistd.h>

#include "bench/measure.h"
#include "bench/program.h"
#include "bench/traffic.h"

enum { LOAD_CLIENTS = 8, HELD_UP_MS_MAX = 100 };

/* Before, during and over the swap, after. */
static bool MUST_CHECK alter_beside(struct measure *measure, struct traffic *traffic,
                                    double *seconds, struct error *error)
{
    int64_t wait_ms = (int64_t)measure->options.load_seconds * 1000;
    char job[32];
    char workers[24];
    struct measure_command command;
    struct program_result result;
    bool ok;

    snprintf(job, sizeof(job), "bench-%d-load", (int)getpid());
    command = measure_alter_command(measure, job, number_text(workers, measure->options.workers));
    measure_command_add(&command, "--cutover");
    measure_command_add(&command, "now");
    measure_command_add(&command, "--yes");
    log_notice(measure->log, "load: %d s alone, then pghaul alter --cutover now",
               measure->options.load_seconds);
    traffic_mark(traffic, "before");
    if (!stop_sleep_ms(measure->options.stop, wait_ms, error))
        return false;
    traffic_mark(traffic, "job");
    ok = program_succeed(
        &(struct program){.argv = command.argv, .line = traffic_mark_event, .arg = traffic},
        &result, error);
    *seconds = result.seconds;
    program_result_deinit(&result);
    traffic_mark(traffic, "after");
    return ok && stop_sleep_ms(measure->options.stop, wait_ms, error);
}

static json_t *load_limits_json(const struct traffic_report *load, int64_t differences)
{
    return json_pack("{s:o, s:o, s:o, s:o}", "differences", report_limit((double)differences, 0),
                     "unexpected_errors", report_limit((double)load->unexpected_errors, 0),
                     "deadlocks_with_strangers",
                     report_limit((double)load->deadlocks_with_strangers, 0), "held_up_ms_max",
                     report_limit(load->held_up_ms_max, HELD_UP_MS_MAX));
}

bool case_alter_load(struct measure *measure, FILE *out, struct error *error)
{
    struct traffic_report load;
    struct traffic *traffic;
    struct error second;
    int64_t differences = 0;
    double seconds = NAN;
    json_t *report;
    bool ok;

    if (!measure_settle(measure, error) ||
        !traffic_start(&traffic,
                       &(struct traffic_options){.kind = TRAFFIC_PACED,
                                                 .conninfo = measure->conninfo,
                                                 .clients = LOAD_CLIENTS,
                                                 .seed = measure->options.seed,
                                                 .watch = "pghaul%",
                                                 .rate = measure->options.load_rate,
                                                 .table = MEASURE_TABLE,
                                                 .ledger = MEASURE_LEDGER},
                       error))
        return false;
    ok = alter_beside(measure, traffic, &seconds, error);
    if (!traffic_stop(traffic, &load, ok ? error : &second))
        ok = false;
    ok = ok && traffic_compare(measure->conninfo, MEASURE_TABLE, MEASURE_LEDGER,
                               traffic_orders_columns, NULL, &differences, NULL, error);
    if (ok) {
        report = measure_report(measure, "alter under load");
        json_object_set_new(report, "load_rate", report_number(measure->options.load_rate, 1));
        json_object_set_new(report, "alter_seconds", report_number(seconds, 2));
        json_object_set_new(report, "load", traffic_report_json(&load));
        json_object_set_new(report, "limits", load_limits_json(&load, differences));
        report_print(out, report, measure->options.json);
        ok = measure_judge(report, error);
        json_decref(report);
    }
    traffic_report_deinit(&load);
    return ok;
}
