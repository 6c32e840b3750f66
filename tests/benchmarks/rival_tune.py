"""Empty trials on Ray Tune alone, as its documentation shows it, on a Ray of its own; prints the seconds of ``fit``.

    python rival_tune.py WAY TRIALS AT_A_TIME FOLDER

A program of its own, so that Ray sends its functions whole: workers cannot import this file.
"""

import sys
from typing import Any

REPORTS = 3


def plain(trials: int, at_a_time: int, folder: str, reuse_actors: bool) -> float:
    """Function trials, each in a process of its own or in one that has served others."""
    import ray
    from ray import tune

    def trial(config: dict[str, Any]) -> None:
        for _ in range(REPORTS):
            tune.report({"score": config["x"]})

    each = {"CPU": ray.cluster_resources()["CPU"] / at_a_time}
    return _seconds(tune.with_resources(trial, each), trials, folder, reuse_actors=reuse_actors)


def nested(trials: int, at_a_time: int, folder: str, trainer: Any) -> float:
    """Function trials that each fit a TorchTrainer with one worker: the documented way to tune a training."""
    import ray
    from ray import train, tune
    from ray.tune.integration.ray_train import TuneReportCallback

    share = {"CPU": ray.cluster_resources()["CPU"] / at_a_time / 2}  # For the trial, and as much for its worker.

    def work(config: dict[str, Any]) -> None:
        for _ in range(REPORTS):
            train.report({"score": config["x"]})

    def trial(config: dict[str, Any]) -> None:
        trainer(
            work,
            train_loop_config=config,
            scaling_config=train.ScalingConfig(num_workers=1, resources_per_worker=share),
            run_config=train.RunConfig(
                name=f"of-{tune.get_context().get_trial_id()}", storage_path=folder, callbacks=[TuneReportCallback()]
            ),
        ).fit()

    limited = {"max_concurrent_trials": at_a_time}
    return _seconds(tune.with_resources(trial, share), trials, folder, **limited)


def _seconds(trial: Any, trials: int, folder: str, **settings: Any) -> float:
    import time

    from ray import tune

    began = time.perf_counter()
    results = tune.Tuner(
        trial,
        param_space={"x": tune.uniform(0.0, 1.0)},
        tune_config=tune.TuneConfig(num_samples=trials, **settings),
        run_config=tune.RunConfig(storage_path=folder, verbose=0),
    ).fit()
    seconds = time.perf_counter() - began
    if results.num_errors or len(results) != trials:
        raise RuntimeError(f"{results.num_errors} of {len(results)} trials failed: {results.errors[:1]}")
    return seconds


def main() -> None:
    """Run the way asked for."""
    way, trials, at_a_time, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    import ray
    from ray.train.torch import TorchTrainer

    ray.init("local", log_to_driver=False)
    if way == "nested":
        seconds = nested(trials, at_a_time, folder, TorchTrainer)
    elif way == "nested, closing at once":
        from adbench.orchestrator.lane_pool import _LaneTrainer

        seconds = nested(trials, at_a_time, folder, _LaneTrainer)
    else:
        seconds = plain(trials, at_a_time, folder, reuse_actors=way == "reused")
    sys.stdout.write(f"{seconds}\n")


if __name__ == "__main__":
    main()
