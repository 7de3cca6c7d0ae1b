#!/usr/bin/env bash
# mlflow 3.17.2: an infinite metric.
#
# log_metric takes float("inf"), which is what a diverged loss or a ratio to zero is. One should think that it comes back
# infinite, as nan comes back nan. What happens: a database store gives back the largest finite double, from the run and
# from its history. `math.isfinite` is true of it, so that a check for diverged runs passes, and a mean over runs
# overflows.
# Instead: log a flag beside the number, or nothing.
set -euo pipefail
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT && cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q --disable-pip-version-check mlflow==3.17.2 sqlalchemy==2.1.9 alembic==1.20.1 >/dev/null
cat >run.py <<'PY'
import math
import sys

import mlflow

mlflow.set_tracking_uri("sqlite:///runs.db")
with mlflow.start_run() as run:
    mlflow.log_metrics({"high": math.inf, "low": -math.inf, "undefined": math.nan})
client = mlflow.MlflowClient()
back = client.get_run(run.info.run_id).data.metrics
history = client.get_metric_history(run.info.run_id, "high")[0].value
print(back, history)
assert math.isnan(back["undefined"])
assert back["high"] == history == sys.float_info.max and back["low"] == -sys.float_info.max
assert math.isfinite(back["high"])
print("as found")
PY
MLFLOW_DISABLE_TELEMETRY=true venv/bin/python run.py 2>/dev/null
