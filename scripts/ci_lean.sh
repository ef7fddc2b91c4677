#!/usr/bin/env bash
# The path of `make demo` with the oldest and with the newest Python on this machine, each in an
# environment of its own: one epoch on the virtual board, equal to golden, and equal to each other.
# Python 3.10 gets the NumPy of the boards' images, every other Python the newest.
set -euo pipefail
folder=build/ci
mapfile -t found < <(scripts/pythons.sh --all)
if [ "${#found[@]}" -lt 2 ]; then
  echo "ci-lean: skipped, it needs two versions of Python, found ${found[*]:-none}"
  exit 0
fi

for line in "${found[0]}" "${found[-1]}"; do
  version="${line%% *}" path="${line#* }"
  numpy=numpy
  if [ "$version" = 3.10 ]; then numpy='numpy==1.21.*'; fi
  make VENV="$folder/venv-$version" PYTHON="$path" NUMPY="$numpy" setup-lean
  echo "ci-lean: $("$folder/venv-$version/bin/python" -c \
    'import sys, numpy; print("Python %d.%d.%d, NumPy" % sys.version_info[:3], numpy.__version__)')"
  "$folder/venv-$version/bin/pynq-train" demo --epochs 1 --out "$folder/demo-$version" |
    grep -E '^(test accuracy|bits):'
done

digests="$(for line in "${found[0]}" "${found[-1]}"; do
  grep masters_sha256 "$folder/demo-${line%% *}/result.json"; done | sort -u)"
if [ "$(echo "$digests" | wc -l)" != 1 ]; then
  echo "ci-lean: expected equal weights, found" "$digests" >&2
  exit 1
fi
echo "ci-lean: equal weights with Python ${found[0]%% *} and ${found[-1]%% *}"
