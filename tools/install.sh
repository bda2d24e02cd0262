#!/bin/sh
# Install the pinned requirements and the project itself. Hashes are checked; nothing is resolved anew.
set -eu
# -qq: pip's warnings of retries and of scripts off the PATH concern nobody here; its errors are still shown.
venv=$1
requirements=$2
echo "Installing $requirements into $venv (once; a minute or two)…"
"$venv/bin/python" -m pip install -qq --disable-pip-version-check --require-hashes -r "$requirements" || {
  echo "make: installing failed; the lines above say why. Without a network, pip's cache must hold every package." >&2
  exit 1
}
"$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
