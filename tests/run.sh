#!/bin/sh
# Builds pghaul and runs its tests. On Debian and Ubuntu it installs what is missing, as root or with
# sudo, and says what.
#
#     tests/run.sh                  everything: second compiler, thread sanitizer, all tests
#     tests/run.sh NAME...          only tests whose names match (address sanitizer build)
#     tests/run.sh --soak MINUTES   the long, random tier; every test of it runs that long and
#                                   prints its seed
#
# PGHAUL_PG_BINDIR=DIR in the environment: against the server in DIR (docs/testing.md).
#
# The last thing printed is ctest's summary; exit status 0 only when everything was good.
set -eu
cd "$(dirname "$0")/.."
exec </dev/null

soak=
case ${1:-} in
    --soak)
        soak=${2:?how many minutes?}
        shift 2
        ;;
    -h | --help)
        sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"
        exit 0
        ;;
esac
names=$(IFS='|'; echo "$*")

. bench/packages.sh
# shellcheck disable=SC2086
packages_install $PACKAGES_BUILD $PACKAGES_SERVER $PACKAGES_TEST

jobs=$(nproc 2>/dev/null || echo 2)
tests_at_once=2
failed=

# The sanitizers of GCC 12 and older do not always start with today's address space randomization.
plain_addresses=
if setarch "$(uname -m)" -R true 2>/dev/null; then
    plain_addresses="setarch $(uname -m) -R"
fi

step()
{
    echo
    echo "== $*"
}

# build PRESET. A failure says everything, a success little.
build()
{
    step "build: $1"
    log=build/$1.log
    mkdir -p build
    if cmake --preset "$1" >"$log" 2>&1 && cmake --build --preset "$1" -j "$jobs" >>"$log" 2>&1; then
        tail -n 1 "$log"
    else
        cat "$log"
        return 1
    fi
}

if [ -n "$soak" ]; then
    build asan
    step "soak: $soak minutes"
    PGHAUL_SOAK_MINUTES=$soak
    export PGHAUL_SOAK_MINUTES
    exec $plain_addresses ctest --test-dir build/asan -L '^soak$' -V --no-tests=error \
        -j $tests_at_once ${names:+-R "$names"}
fi

if [ -z "$names" ]; then
    build clang || failed="$failed clang"
    if build tsan; then
        step "thread sanitizer"
        $plain_addresses ctest --test-dir build/tsan -L '^(unit|tsan)$' --output-on-failure \
            -j $tests_at_once || failed="$failed tsan"
    else
        failed="$failed tsan"
    fi
fi

build asan
step "tests"
if [ -n "$failed" ]; then
    echo "failed before the tests (see above):$failed"
fi
status=0
$plain_addresses ctest --test-dir build/asan -LE '^soak$' --output-on-failure --no-tests=error \
    -j $tests_at_once ${names:+-R "$names"} || status=$?
if [ -n "$failed" ] && [ $status = 0 ]; then
    status=1
fi
exit $status
