#include "copy/findings.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/text.h"

const char *finding_level_name(enum finding_level level)
{
    switch (level) {
    case FINDING_REFUSED:
        return "refused";
    case FINDING_WARNING:
        return "warning";
    case FINDING_NOTE:
        return "note";
    }
    return "";
}

void findings_add(struct findings *findings, struct finding finding)
{
    if (findings->count == findings->size) {
        findings->size = findings->size == 0 ? 16 : findings->size * 2;
        findings->list =
            memory_resize(findings->list, (size_t)findings->size * sizeof(*findings->list));
    }
    findings->list[findings->count++] = finding;
}

void findings_deinit(struct findings *findings)
{
    free(findings->list);
    arena_deinit(&findings->arena);
    *findings = (struct findings){0};
}

int findings_count(const struct findings *findings, enum finding_level level)
{
    int count = 0;

    for (int i = 0; i < findings->count; i++)
        count += findings->list[i].level == level;
    return count;
}

void findings_keep(struct findings *findings, const char *const *codes)
{
    int kept = 0;

    for (int i = 0; i < findings->count; i++)
        for (const char *const *code = codes; *code != NULL; code++)
            if (strcmp(findings->list[i].code, *code) == 0) {
                findings->list[kept++] = findings->list[i];
                break;
            }
    findings->count = kept;
}

const struct finding *findings_by_code(const struct findings *findings, const char *code)
{
    for (int i = 0; i < findings->count; i++)
        if (strcmp(findings->list[i].code, code) == 0)
            return &findings->list[i];
    return NULL;
}

/* One refusal is the message; several are lines of the detail, as many as fit. */
bool findings_refuse(const struct findings *findings, const char *table, struct error *error)
{
    int refusals = findings_count(findings, FINDING_REFUSED);
    TEXT_AUTO lines = {0};
    int named = 0;

    if (refusals == 0)
        return true;
    for (int i = 0; i < findings->count; i++) {
        const struct finding *finding = &findings->list[i];

        if (finding->level != FINDING_REFUSED)
            continue;
        if (refusals == 1) {
            error_set(error, ERROR_REFUSED, "%s", finding->what);
            error_detail(error, "%s", finding->why);
            return error_hint(error, "%s", finding->todo);
        }
        if (lines.used + strlen(finding->what) + strlen(finding->todo) + 64 > sizeof(error->detail))
            break;
        text_separate(&lines, "\n");
        text_appendf(&lines, "%s%s%s", finding->what, finding->todo[0] == '\0' ? "" : ": ",
                     finding->todo);
        named++;
    }
    if (named < refusals)
        text_appendf(&lines, "\nand %d more", refusals - named);
    error_set(error, ERROR_REFUSED, "%d things are in the way of a job on %s", refusals, table);
    error_detail(error, "%s", text_string(&lines));
    return error_hint(error, "pghaul doctor %s prints them with their reasons", SHELL_WORD(table));
}
