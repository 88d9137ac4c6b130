#!/usr/bin/env bash
# The GPU list: benchmarks/gpu.sh --part step|peers|profile|score [--quick] [--out DIR]
# Needs this checkout, Python 3.11 or 3.12, PyTorch 2.11 to 2.13, and these wheels (it says which of them are missing):
#   hydra-core omegaconf antlr4-python3-runtime pyyaml pydantic numpy pillow filelock psutil rich
# Part peers also takes pythae==0.1.2 and lightning where they are. PYTHON names another interpreter.
set -euo pipefail
top="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
if [[ -z "${PYTHON:-}" ]]; then
  PYTHON=python3
  [[ -x "$top/.venv/bin/python" ]] && PYTHON="$top/.venv/bin/python"
fi
export PYTHONPATH="$top/src${PYTHONPATH:+:$PYTHONPATH}"
exec "$PYTHON" "$top/benchmarks/gpu.py" "$@"
