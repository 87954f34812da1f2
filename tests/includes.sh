#!/bin/sh
# The arrows of the architecture, checked in #include lines: a folder may include itself and what is
# listed for it, nothing else of ours. tests/ may include everything. And cli/ knows no SQL: what
# runs a statement is in the layers below. And no template of SQL puts a name into a literal.
#
#     includes.sh [SOURCE FOLDER]
set -eu
cd "${1:-$(dirname "$0")/..}"

status=0

# check FOLDER ALLOWED...: each ALLOWED is a folder, or one header.
check()
{
    folder=$1
    shift
    for file in "$folder"/*.c "$folder"/*.h; do
        [ -e "$file" ] || continue
        for included in $(sed -n 's/^ *# *include *"\([^"]*\)".*/\1/p' "$file"); do
            if [ ! -e "$included" ]; then
                echo "$file: \"$included\" is not a path from the top of the repository"
                status=1
                continue
            fi
            found=no
            for allowed in "$folder" "$@"; do
                if [ "$(dirname "$included")" = "$allowed" ] || [ "$included" = "$allowed" ]; then
                    found=yes
                fi
            done
            if [ $found = no ]; then
                echo "$file: must not include $included"
                status=1
            fi
        done
    done
}

engine="engine/job engine/pg engine/base"

check engine/base
check engine/pg engine/base
check engine/job engine/pg engine/base
# shellcheck disable=SC2086
{
    check copy $engine
    check copy/stream copy $engine
    check copy/kinds copy copy/stream $engine
    # The governor works beside a job, and keeps in its facts which replicas it saw.
    check throttle engine/job engine/pg engine/base
    # Laws only, pure as they are: those of others (bench/laws.h), and a plant to run them in.
    check bench throttle engine/pg engine/base
    check cli copy copy/stream copy/kinds throttle bench $engine
}

if grep -nE '((session|flow)_(run|query|execute)[a-z_]*|run_ddl|PQ[a-z][A-Za-z]+) *\(' cli/*.[ch]; then
    echo "cli/ must not run SQL"
    status=1
fi

# A {name} between quotes in a template would be an identifier inside a literal, and a ' in a table's
# name the end of that: {name_literal}, or a parameter (engine/pg/sql.h).
if grep -nE "'[A-Za-z_.0-9]*\{[a-z_0-9]+\}" copy/*.[ch] copy/*/*.[ch] engine/*/*.[ch] throttle/*.[ch]; then
    echo "no {name} in a literal"
    status=1
fi

if [ $status = 0 ]; then
    echo "every #include follows the arrows, and cli/ knows no SQL"
fi
exit $status
