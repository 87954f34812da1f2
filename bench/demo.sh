#!/bin/sh
# pghaul in two minutes: a private server, a table of a million rows with a write load on it, its key
# changed from integer to bigint under that load, swapped in, and taken back; and after every step
# the table compared with the load's own account of what it wrote.
#
#     bench/demo.sh          as root or as a user with sudo: installs what is missing, and says what
#     ROWS=5000000 bench/demo.sh
#     PGHAUL=/usr/bin/pghaul bench/demo.sh     with a program that is there already
#
# Everything lives in one folder under /tmp and is gone at the end, whatever happens. No server of
# yours is touched: the demo's listens on a unix socket in that folder only.
set -eu
cd "$(dirname "$0")/.."

rows=${ROWS:-1000000}
rate=${RATE:-300}
dir=
load=

# -- how it talks --

if [ -t 1 ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); else bold='' plain=''; fi

say()
{
    printf '\n%s%s%s\n' "$bold" "$*" "$plain"
}

# Shows the command as one would type it (without the connection) and runs it.
show()
{
    printf '  $ pghaul'
    for word in "$@"; do
        case $word in
            *[!A-Za-z0-9_=:/.-]*) printf " '%s'" "$(printf '%s' "$word" | sed "s/'/'\\\\''/g")" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    "$pghaul" "$@" -d "$conninfo" >"$dir/out" 2>&1 </dev/null || {
        status=$?
        sed 's/^/    /' "$dir/out"
        say "that ended with exit status $status"
        exit 1
    }
    sed 's/^/    /' "$dir/out"
}

# SQL that knows nothing of pghaul.
ask()
{
    psql -X -q -A -t -v ON_ERROR_STOP=1 -d "$conninfo" -c "$1" </dev/null
}

# -- how it ends --

clean_up()
{
    trap - EXIT INT TERM HUP
    if [ -n "$load" ]; then
        kill "$load" 2>/dev/null || true
        wait "$load" 2>/dev/null || true
    fi
    if [ -n "$dir" ]; then
        if [ -d "$dir/server" ]; then
            "$pghaul" sandbox stop "$dir/server" >/dev/null 2>&1 || true
        fi
        rm -rf "$dir"
    fi
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# -- the oracle --

# The load writes every change twice, in the same transaction: to orders, and to orders_ledger, which
# pghaul never hears of. One statement, so one snapshot: at any moment the two must be equal. Row by
# row, value by value, to the byte.
compare()
{
    differences=$(ask "
        SELECT count(*)
          FROM orders AS o FULL JOIN orders_ledger AS l ON o.id = l.id
         WHERE o.id IS NULL OR l.id IS NULL
            OR record_image_ne(
                   ROW(o.customer_id, o.status, o.amount, o.note, o.attributes,
                       o.created_at, o.updated_at),
                   ROW(l.customer_id, l.status, l.amount, l.note, l.attributes,
                       l.created_at, l.updated_at))")
    counted=$(ask "SELECT count(*) FROM orders")
    echo "    psql: $counted orders, $differences differ from what the load wrote"
    if [ "$differences" != 0 ]; then
        say "rows are lost or wrong. This is a defect: please report it"
        exit 1
    fi
}

id_type()
{
    ask "SELECT format_type(atttypid, atttypmod) FROM pg_attribute
          WHERE attrelid = 'orders'::regclass AND attname = 'id'"
}

expect_id_type()
{
    type=$(id_type)
    echo "    psql: orders.id is $type"
    if [ "$type" != "$1" ]; then
        say "it should be $1. This is a defect: please report it"
        exit 1
    fi
}

# -- 1. the program --

. bench/packages.sh
if [ -n "${PGHAUL:-}" ]; then
    pghaul=$PGHAUL
    # shellcheck disable=SC2086
    packages_install $PACKAGES_SERVER
else
    # shellcheck disable=SC2086
    packages_install $PACKAGES_BUILD $PACKAGES_SERVER
    say "Building pghaul (release)"
    mkdir -p build
    if ! { cmake --preset release -B build/demo -DPGHAUL_TESTS=OFF &&
        cmake --build build/demo; } >build/demo.log 2>&1; then
        tail -30 build/demo.log
        exit 1
    fi
    pghaul=$PWD/build/demo/pghaul
fi
begin=$(date +%s)

# -- 2. a server and a table --

# The environment says nothing about servers of yours.
unset PGHOST PGHOSTADDR PGPORT PGUSER PGDATABASE PGPASSWORD PGSERVICE PGOPTIONS PGAPPNAME 2>/dev/null || true

dir=$(mktemp -d /tmp/pghaul-demo.XXXXXX)
chmod 755 "$dir" # the server runs as an unprivileged user when we are root
say "A private PostgreSQL in $dir/server, and $rows orders with 3 indexes"
"$pghaul" sandbox start "$dir/server" >"$dir/out" 2>&1 || { cat "$dir/out"; exit 1; }
conninfo="host=$dir/server port=5432 user=postgres dbname=postgres"
"$pghaul" bench data orders-serial --rows "$rows" --seed 1 --ledger -d "$conninfo" >"$dir/out" 2>&1 ||
    { cat "$dir/out"; exit 1; }
echo "    psql: $(ask "SELECT count(*) || ' orders, ' || pg_size_pretty(pg_total_relation_size('orders'))
                         || ', id is ' || (SELECT format_type(atttypid, atttypmod) FROM pg_attribute
                                            WHERE attrelid = 'orders'::regclass AND attname = 'id')
                      FROM orders")"

# -- 3. an application that does not stop --

say "An application: $rate transactions a second on orders, all the time from now on"
"$pghaul" bench load --table orders --ledger --rate "$rate" --seed 1 -d "$conninfo" \
    >"$dir/load" 2>"$dir/load.messages" </dev/null &
load=$!
sleep 2
kill -0 "$load" 2>/dev/null || { cat "$dir/load" "$dir/load.messages"; exit 1; }

# -- 4. copy, swap, and back --

say "1. Copy: the key becomes bigint, a column is added; the table stays as it is"
# shellcheck disable=SC2016
show alter orders --job demo --do 'ALTER COLUMN id TYPE bigint' \
    --do 'ADD COLUMN region text NOT NULL DEFAULT $$eu$$'
expect_id_type integer
compare

say "2. Cut over: the copy takes the table's place"
show cutover demo --yes
expect_id_type bigint
echo "    psql: $(ask "SELECT count(*) || ' orders in region ' || region FROM orders GROUP BY region")"
compare

say "The application goes on, on the new table, for 5 seconds"
sleep 5
compare

say "3. Second thoughts: back to the old table, with everything written since"
show rollback demo --yes
expect_id_type integer
compare

# -- 5. what the application saw --

say "What the application saw of all that"
kill -TERM "$load"
status=0
wait "$load" || status=$?
load=
if [ "$status" != 0 ]; then
    sed 's/^/    /' "$dir/load" "$dir/load.messages"
    say "the application saw errors, or its account differs. This is a defect: please report it"
    exit 1
fi
sed -n -e '/^transactions /p' -e '/^rolled_back /p' -e '/^unexpected_errors /p' \
    -e '/^statements/,/^errors/{/^errors/!p;}' "$dir/load" | sed 's/^/    /'
echo "    (waits count from when a transaction was due; the account is kept in the same transaction)"
compare

say "Done in $(($(date +%s) - begin)) seconds: copied, swapped and taken back under load, nothing lost."
