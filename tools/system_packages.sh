#!/bin/sh
# Install what the server and browser tests drive, where apt and the right to use it are there; elsewhere those tests skip.
set -eu
postgres=$(command -v postgres || ls /usr/lib/postgresql/*/bin/postgres 2>/dev/null | tail -n 1 || true)
chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
gomp=$( { PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null || true; } | grep libgomp.so.1 || true)
npm=$(command -v npm || true)
wanted=
[ -n "$npm" ] || wanted="$wanted nodejs npm" # a real identity provider for single sign-on runs on it
[ -n "$gomp" ] || wanted="$wanted libgomp1" # LightGBM is linked to it and does not bring it
[ -n "$postgres" ] || wanted="$wanted postgresql"
[ -n "$chromium" ] || wanted="$wanted chromium"
[ -n "$wanted" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
  echo "tests: no apt-get here; tests that need$wanted will skip" >&2
  exit 0
fi
if [ "$(id -u)" = 0 ]; then as=; elif sudo -n true 2>/dev/null; then as="sudo -n"; else
  echo "tests: may not install packages here; tests that need$wanted will skip (apt-get install$wanted)" >&2
  exit 0
fi
# The tests start their own server on a port of their own: Debian's shall not start one.
$as mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] ||
  echo "create_main_cluster = false" | $as tee /etc/postgresql-common/createcluster.conf >/dev/null
log=$(mktemp)
if $as env DEBIAN_FRONTEND=noninteractive sh -c "apt-get update -q && apt-get install -q -y --no-install-recommends$wanted" >"$log" 2>&1; then
  echo "tests: installed$wanted"
else
  echo "tests: installing$wanted failed; their tests will skip. The end of apt's log:" >&2
  tail -n 5 "$log" >&2
fi
rm -f "$log"
