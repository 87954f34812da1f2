# shellcheck shell=sh
#
# What pghaul needs, in one place, and how to install what is missing on Debian and Ubuntu. Sourced by
# tests/run.sh and bench/demo.sh:
#
#     . bench/packages.sh
#     packages_install $PACKAGES_BUILD $PACKAGES_SERVER $PACKAGES_TEST
#
# Whether a package is missing is asked of what it is for, not of dpkg: a compiler or a server that
# came another way is as good. With PGHAUL_PG_BINDIR set, that is the server, and its programs (psql,
# pg_dump) go before those in PATH.

if [ -n "${PGHAUL_PG_BINDIR:-}" ]; then
    PATH=$PGHAUL_PG_BINDIR:$PATH
fi

# shellcheck disable=SC2034
PACKAGES_BUILD="gcc libc6-dev cmake ninja-build pkg-config libpq-dev libzstd-dev libjansson-dev"
# shellcheck disable=SC2034
PACKAGES_SERVER="postgresql postgresql-client"
# shellcheck disable=SC2034
PACKAGES_TEST="libcmocka-dev postgresql-contrib clang"

# package_works PACKAGE: can we do what we want it for?
package_works()
{
    case $1 in
        libc6-dev) echo '#include <stdio.h>' | gcc -E - ;;
        ninja-build) command -v ninja ;;
        libpq-dev) pkg-config --exists libpq ;;
        libzstd-dev) pkg-config --exists libzstd ;;
        libjansson-dev) pkg-config --exists jansson ;;
        libcmocka-dev) pkg-config --exists cmocka ;;
        postgresql)
            [ -n "${PGHAUL_PG_BINDIR:-}" ] || ls /usr/lib/postgresql/*/bin/initdb ||
                ls "$(pg_config --bindir)/initdb"
            ;;
        postgresql-client) command -v psql ;;
        postgresql-contrib)
            if [ -z "${PGHAUL_PG_BINDIR:-}" ]; then
                ls /usr/share/postgresql/*/extension/citext.control ||
                    ls "$(pg_config --sharedir)/extension/citext.control"
            else # what that server lacks no package of ours would bring
                true
            fi
            ;;
        *) command -v "$1" ;;
    esac >/dev/null 2>&1
}

# Debian makes and starts a system-wide cluster when it installs a server; we want the programs only.
packages_no_main_cluster()
{
    conf=/etc/postgresql-common/createcluster.conf

    $packages_as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends postgresql-common
    if grep -Eq '^ *create_main_cluster' $conf 2>/dev/null; then
        return
    fi
    echo "pghaul: setting create_main_cluster = false in $conf: no server of yours is made or started"
    echo 'create_main_cluster = false' | $packages_as_root tee -a $conf >/dev/null
}

# packages_install PACKAGE...: installs those that are missing, and says so.
packages_install()
{
    missing=
    for package in "$@"; do
        package_works "$package" || missing="$missing $package"
    done
    if [ -z "$missing" ]; then
        return 0
    fi
    if ! command -v apt-get >/dev/null; then
        echo "pghaul: missing, by their Debian names:$missing; install them and try again" >&2
        return 1
    fi
    packages_as_root=
    if [ "$(id -u)" != 0 ]; then
        packages_as_root=sudo
        if ! command -v sudo >/dev/null; then
            echo "pghaul: as root, run: apt-get install$missing" >&2
            return 1
        fi
    fi
    echo "pghaul: installing$missing"
    $packages_as_root apt-get update -q
    case " $missing " in
        *" postgresql "* | *" postgresql-contrib "*) packages_no_main_cluster ;;
    esac
    # shellcheck disable=SC2086
    $packages_as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends $missing
    for package in $missing; do
        if ! package_works "$package"; then
            echo "pghaul: $package is installed, but does not work" >&2
            return 1
        fi
    done
}
