#include "cli/kinds.h"

#include <string.h>

#include "copy/kinds/alter.h"
#include "copy/kinds/backfill.h"
#include "copy/kinds/column.h"
#include "copy/kinds/column_add.h"
#include "copy/kinds/column_drop.h"
#include "copy/kinds/column_not_null.h"
#include "copy/kinds/index.h"
#include "copy/kinds/validate.h"

static const struct kind *const KINDS[] = {
    &alter_kind,       &backfill_kind,        &column_kind, &column_add_kind,
    &column_drop_kind, &column_not_null_kind, &index_kind,  &validate_kind};

bool kind_find(const char *name, const struct kind **kind, struct error *error)
{
    for (size_t i = 0; i < sizeof(KINDS) / sizeof(KINDS[0]); i++)
        if (strcmp(KINDS[i]->name, name) == 0) {
            *kind = KINDS[i];
            return true;
        }
    error_set(error, ERROR_REFUSED, "this program does not know jobs of kind \"%s\"", name);
    return error_hint(error, "use the newer program that made the job");
}
