#include <inttypes.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/traffic.h"
#include "engine/base/clock.h"

enum { RATE_DEFAULT = 500, ROWS_DEFAULT = 100000, LOOK_EVERY_MS = 50 };

bool bench_data(const char *conninfo, const struct data_options *options, struct log *log,
                struct error *error)
{
    SESSION_AUTO *session = NULL;
    int64_t start_ms = clock_ms();

    if (!session_open(
            &session,
            &(struct session_options){.conninfo = conninfo, .application_name = "bench-data"},
            error) ||
        !data_make(session, options, error))
        return false;
    log_notice(log, "%s: %" PRId64 " rows in %.1f s",
               options->name != NULL ? options->name : options->set, options->rows,
               (double)(clock_ms() - start_ms) / 1000);
    return true;
}

static void wait_for_end(const struct bench_load_options *options)
{
    int64_t end_ms = clock_ms() + (int64_t)options->seconds * 1000;

    while ((options->stop == NULL || !stop_wanted(options->stop)) &&
           (options->seconds == 0 || clock_ms() < end_ms))
        clock_sleep_ms(LOOK_EVERY_MS);
}

static bool MUST_CHECK judge(const struct traffic_report *report, int64_t differences,
                             struct error *error)
{
    if (differences != 0)
        return error_set(error, ERROR_DIFFERS, "%" PRId64 " rows differ from the load's ledger",
                         differences);
    if (report->torn_reads != 0) {
        error_set(error, ERROR_DIFFERS, "%" PRId64 " reads saw table and ledger differ",
                  report->torn_reads);
        return error_detail(error, "%s", report->torn_sample);
    }
    if (report->unexpected_errors == 0)
        return true;
    error_set(error, ERROR_DIFFERS,
              "the load saw %" PRId64 " errors that a table does not give by itself",
              report->unexpected_errors);
    for (int i = 0; i < report->error_count; i++)
        if (!report->errors[i].expected)
            return error_detail(error, "%s in %s: %s", report->errors[i].sqlstate,
                                report->errors[i].statement, report->errors[i].message);
    return false;
}

bool bench_load(const struct bench_load_options *options, struct log *log, FILE *out,
                struct error *error)
{
    const char *table = options->hostile         ? "acct"
                        : options->table != NULL ? options->table
                                                 : "orders";
    TEXT_AUTO ledger = {0};
    TEXT_AUTO sample = {0};
    struct traffic_report report = {0};
    struct traffic *traffic;
    int64_t differences = 0;
    json_t *json;
    bool keeps_ledger = options->hostile || options->ledger;
    bool ok;

    text_appendf(&ledger, "%s%s", options->hostile ? "" : table,
                 options->hostile ? "ledger" : "_ledger");
    if (!traffic_start(&traffic,
                       &(struct traffic_options){
                           .kind = options->hostile ? TRAFFIC_HOSTILE : TRAFFIC_PACED,
                           .conninfo = options->conninfo,
                           .clients = options->clients,
                           .seed = options->seed,
                           .rows = options->rows > 0 ? options->rows : ROWS_DEFAULT,
                           .watch = "pghaul%",
                           .truncate_share = options->truncate_share,
                           .rate = options->rate > 0 ? options->rate : RATE_DEFAULT,
                           .table = table,
                           .ledger = keeps_ledger ? text_string(&ledger) : NULL,
                       },
                       error))
        return false;
    log_verbose(log, "%s load on %s is running", options->hostile ? "hostile" : "paced", table);
    wait_for_end(options);
    ok = traffic_stop(traffic, &report, error);
    if (ok && keeps_ledger)
        ok = traffic_compare(options->conninfo, table, text_string(&ledger),
                             options->hostile ? traffic_acct_columns : traffic_orders_columns, NULL,
                             &differences, &sample, error);
    json = traffic_report_json(&report);
    json_object_set_new(json, "case", json_string("load"));
    json_object_set_new(json, "differences",
                        ok && keeps_ledger ? json_integer(differences) : json_null());
    report_print(out, json, options->json);
    json_decref(json);
    ok = ok && judge(&report, differences, error);
    if (!ok && sample.used > 0)
        error_detail(error, "%s", text_string(&sample));
    traffic_report_deinit(&report);
    return ok;
}
