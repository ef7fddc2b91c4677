#!/usr/bin/env bash
# Installs PyTorch, with which the oracle tests compare, and Keras on top of it, or says why not.
#
#   scripts/torch.sh cpu|cuda PYTHON MARK [OPTION OF PIP]...
#
# PYTHON is that of the environment. What PyPI has for Linux are CUDA builds of several GB: "cpu"
# refuses them, and looks at PyTorch's own index where pip finds nothing else. Where there is no
# PyTorch in the end, the file MARK says so, with what pip said. That is no error: the tests that
# need it are skipped.
set -u
build=$1 python=$2 mark=$3
shift 3
cpu_index=https://download.pytorch.org/whl/cpu

install() {
  "$python" -m pip --disable-pip-version-check -qq install --no-compile --no-build-isolation \
    --only-binary torch,triton "$@" -e '.[demo-lean,oracle]'
}

install_cpu() {
  install -c scripts/no-cuda.txt "$@" ||
    install -c scripts/no-cuda.txt "$@" --retries 1 --extra-index-url "$cpu_index"
}

case $build in
  cpu) install_cpu "$@" 2> "$mark" && rm "$mark" && exit ;;
  cuda) install "$@" 2> "$mark" && rm "$mark" && exit ;;
  *) echo "setup: expected TORCH=cpu or TORCH=cuda, found TORCH=$build" >&2; exit 1 ;;
esac

echo "setup: no torch, tests with it and with keras will be skipped:" \
  "pip could install no $build build for $("$python" --version), see $mark"
if [ "$build" = cpu ]; then
  echo "setup: 'make torch TORCH=cuda' installs a CUDA build (several GB)," \
    "'make torch TORCH_PIP_ARGS=...' gives pip another place to look"
fi
