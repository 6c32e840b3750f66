"""Ray for a block of code: a local one, or a cluster that is joined."""

import contextlib
import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import ray

from adbench.datasets.errors import RequestError
from adbench.orchestrator.errors import RunAbortedError
from adbench.orchestrator.lane import NAMESPACE

_STARTING_PROCESSES = 8


def local_ray_works() -> dict[str, float]:
    """Start Ray and run a task on it; the resources it offers."""
    with ray_session(None):
        ray.get(ray.remote(_answer).remote())
        return dict(ray.cluster_resources())


def _answer() -> bool:
    return True


@contextlib.contextmanager
def ray_session(address: str | None) -> Iterator[None]:
    """Ray for the block: the one already running in this process, the cluster at ``address``, or a local one."""
    if ray.is_initialized():
        yield
        return
    here = Path.cwd()
    # Workers search the driver's folder first: from a checkout, `import datasets` would find our folder. They also
    # live in it, so it must last as long as they do.
    with tempfile.TemporaryDirectory(prefix="adbench-cwd-", ignore_cleanup_errors=True) as empty:
        os.chdir(empty)
        try:
            _connect(address)
        finally:
            os.chdir(here)
        try:
            yield
        finally:
            ray.shutdown()


def _connect(address: str | None) -> None:
    if address is not None:
        _refuse_silent_address(address)
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address or "local",
            namespace=NAMESPACE,
            include_dashboard=None if address else False,
            num_cpus=None if address else len(os.sched_getaffinity(0)),
            # Proxies and controllers are processes that take no processor: on few processors Ray would warn of them.
            _system_config=None if address else {"worker_maximum_startup_concurrency": _STARTING_PROCESSES},
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:  # Ray raises many kinds, plain ones where a busy machine is too slow to start it.
        if address is None:
            raise RunAbortedError(f"Ray could not start: {error}") from error
        raise RequestError(
            f"cannot join a Ray cluster at address={address}: {str(error).splitlines()[0]}",
            allowed="auto, or HOST:PORT of a cluster that this machine is part of",
            remedy="start one with `ray start --head` (and copy the head's ~/.ray/auth_token to this machine if Ray "
            "asks for a token), or leave address= away for a local Ray",
        ) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_terminate)  # Ray has put in its own, which aborts.
    logging.getLogger("ray").setLevel(logging.ERROR)


def _refuse_silent_address(address: str) -> None:
    """Ray itself tries for minutes where nobody answers."""
    host, separator, port = address.rpartition(":")
    if not separator or "/" in host:  # auto, or a form that Ray must judge
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        raise RequestError(
            f"nobody answers at address={address}: {error}",
            allowed="auto, or HOST:PORT of a running cluster",
            remedy="start one with `ray start --head`, or leave address= away for a local Ray",
        ) from error
