"""Command line, planning and execution. Ray is imported in this room alone; what it reads at import is set first."""

import os

for _name, _value in {
    "RAY_USAGE_STATS_ENABLED": "0",  # Nothing about a run leaves the machine.
    "RAY_ENABLE_AUTO_CONNECT": "0",  # A lane's thread that outlives a shutdown must not start another Ray.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Silences advice about a change to come in Ray.
    "RAY_DEDUP_LOGS_SKIP_REGEX": "A worker died or was killed",  # The failed row says it, and better.
}.items():
    os.environ.setdefault(_name, _value)
