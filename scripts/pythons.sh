#!/usr/bin/env bash
# Finds a Python that can hold this project's environment.
#
#   scripts/pythons.sh         path of the newest that works, among those on the PATH
#   scripts/pythons.sh NAME    path of this one: a path, or a command that the PATH or pyenv has
#   scripts/pythons.sh --all   one of each version, as "3.10 PATH", the oldest first
#
# Where there is none, one sentence says what was tried. Nobody has tried 3.14 yet, though the
# packages that this project needs exist for it: it is taken when nothing else is there.
set -u
versions="3.10 3.11 3.12 3.13 3.14"
preferred="python3.13 python3.12 python3.11 python3.10 python3.14 python3"
wanted="Python 3.10 to 3.14"

# Print the version of an interpreter. 0: it works, 3: another version is needed, 4: it has no venv
# module, other: it does not start.
probe() {
  "$1" -c '
import sys
print("%d.%d.%d" % sys.version_info[:3])
if not (3, 10) <= sys.version_info[:2] <= (3, 14):
    sys.exit(3)
try:
    import ensurepip, venv
except ImportError:
    sys.exit(4)
' 2>/dev/null
}

# Paths of a command. A version that pyenv has, but has not put on the PATH, comes last.
paths_of() {
  local path
  command -v -- "$1"
  for path in "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/*/bin/"$1"; do
    if [ -x "$path" ]; then echo "$path"; fi
  done
}

# Print the first path of a command that starts as "CODE VERSION PATH".
first_of() {
  local path version code
  while read -r path; do
    version="$(probe "$path")"
    code=$?
    case $code in 0 | 3 | 4) echo "$code $version $path"; return ;; esac
  done < <(paths_of "$1")
}

fail() {
  echo "setup: $*" >&2
  exit 1
}

all() {
  local version code path
  for version in $versions; do
    read -r code _ path < <(first_of "python$version")
    if [ "${code:-1}" = 0 ]; then echo "$version $path"; fi
  done
}

named() {
  local code="" version="" path=""
  read -r code version path < <(first_of "$1")
  case $code in
    0) echo "$path" ;;
    3) fail "expected $wanted, found Python $version (PYTHON=$1); pass another, or none" ;;
    4) fail "Python $version (PYTHON=$1) has no venv module; install it" \
         "(on Debian and Ubuntu: apt-get install python${version%.*}-venv)" ;;
    *) fail "expected $wanted, found none that starts as PYTHON=$1; install it, or pass another" ;;
  esac
}

newest() {
  local name version tried="" bare=""
  for name in $preferred; do
    version="$(probe "$name")"
    case $? in
      0) command -v -- "$name"; return ;;
      3) tried="$tried${tried:+, }$name (Python $version)" ;;
      4) bare="${bare:-$name (Python $version)}" ;;
    esac
  done
  if [ -n "$bare" ]; then
    fail "$bare has no venv module; install it" \
      "(on Debian and Ubuntu: apt-get install python3-venv)"
  fi
  fail "expected $wanted, found ${tried:-none}; install one of them or pass PYTHON=/path/to/python"
}

case "${1:-}" in
  "") newest ;;
  --all) all ;;
  *) named "$1" ;;
esac
