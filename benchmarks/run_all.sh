#!/bin/sh
# Every figure that depends on the machine, into benchmarks/RESULTS.md; run it on an idle machine, about two hours.
#
#   benchmarks/run_all.sh HYMENOPTERA DOGS_CATS MOBILENET_V2.pth PYTHON_WITH_CLEANVISION SQUEEZENET1_0.pth RELEASE [ROUNDS]
#
# PYTHON names the interpreter of Graft's environment (default .venv/bin/python).
set -eu
cd "$(dirname "$0")/.."
hymenoptera=$1 dogs_cats=$2 weights=$3 cleanvision=$4 squeezenet=$5 release=$6 rounds=${7:-3}
python=${PYTHON:-.venv/bin/python}

"$python" -m benchmarks.embed_rate "$dogs_cats" --weights "$weights" --rounds "$rounds"
"$python" -m benchmarks.validate_rate "$dogs_cats" --cleanvision "$cleanvision" --rounds "$rounds"
"$python" -m benchmarks.fixed_seconds "$dogs_cats" --weights "$weights" --rounds "$rounds"
"$python" -m benchmarks.corridor "$hymenoptera" "$dogs_cats" --weights "$weights" --rounds "$rounds"
"$python" -m benchmarks.flow_overhead "$hymenoptera" "$dogs_cats" --weights "$weights" --rounds "$rounds"
"$python" -m benchmarks.million_items
"$python" -m benchmarks.score_rate "$dogs_cats" --weights "$weights" --rounds "$rounds"
"$python" -m benchmarks.epoch_seconds "$hymenoptera" --weights "$weights" --rounds "$rounds"
"$python" -m benchmarks.fine_tune_race "$hymenoptera" "$dogs_cats" --weights "$weights" --rounds "$rounds"
"$python" -m benchmarks.int8 "$hymenoptera" "$dogs_cats" --weights "$weights" "$squeezenet"
"$python" -m benchmarks.serve_rate "$release" "$dogs_cats" --rounds "$rounds"
"$python" -m benchmarks.serve_overload "$release" "$dogs_cats" --rounds "$rounds"
