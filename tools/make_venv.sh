#!/bin/sh
# Create the virtual environment, or say what is missing and how to get it.
set -eu
venv=$1
python=${PYTHON:-python3}

command -v "$python" >/dev/null 2>&1 || {
  echo "make: '$python' was not found. Install Python 3.11 or newer, or say which: make setup PYTHON=/path/to/python3" >&2
  exit 1
}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "make: $("$python" --version) is too old; Headwater needs Python 3.11 or newer (make setup PYTHON=python3.12)" >&2
  exit 1
}
"$python" -c 'import ensurepip, venv' >/dev/null 2>&1 || {
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  echo "make: this Python cannot make virtual environments. On Debian or Ubuntu: apt-get install python3-venv (or python$version-venv)" >&2
  exit 1
}
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
