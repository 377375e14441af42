"""`extract` on many machines: its parts as a dataset of Ray Data, its Extractor as a pool of actors.

One task reads the posts, workers write the results into the folder of the parts, which all machines must share with the
one that gives the command. A worker that dies is started again, and so is its part.
"""

import logging
import os
import pickle
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from .cli import bad_input
from .extract import Extractor, Job, Row, read_parts


def in_ray(job: Job, count: int | None, address: str | None) -> Iterator[Path]:
    """The results in order, by so many workers, by default one for each core. Raises BadInput if Ray is missing, or
    fails for good."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        from ray.data import ActorPoolStrategy, DataContext, from_items
    except ImportError:
        raise bad_input("--ray", "the package ray is missing", 'pip install "ray[data]"') from None
    if job.source == Path("-"):
        raise bad_input("-", "workers cannot read the standard input", "give a file or a folder")
    model = str(Path(job.model).resolve()) if Path(job.model).is_dir() else job.model
    job = job._replace(model=model, source=job.source.resolve())
    job.folder.mkdir(parents=True, exist_ok=True)
    # What goes wrong is said below, in one line.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    # A Ray of its own gets a core for each worker; a cluster has what it has.
    own: dict[str, Any] = {"address": "local", "num_cpus": count} if address is None else {"address": address}
    with ray.init(**own, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False):
        count = count or int(ray.cluster_resources()["CPU"])
        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        # A block for each part: in one block of many they would all go to one worker.
        context.target_max_block_size = 1
        options: dict[str, Any] = {"batch_size": 1, "batch_format": "pyarrow", "num_cpus": 1}
        # Reading takes no core from the workers: it is idle most of the time.
        parts = from_items([{"source": str(job.source)}]).flat_map(partial(read, job), num_cpus=0)
        results = parts.map_batches(
            Worker, fn_constructor_args=(job,), compute=ActorPoolStrategy(size=count), **options
        )
        try:
            for row in results.iter_rows():
                yield Path(row["result"])
        except ray.exceptions.RayError as error:
            what = str(error).strip().splitlines()[-1]
            raise bad_input("--ray", what, "mend that and give the same command again") from None


def read(job: Job, row: Row) -> Iterator[Row]:
    for part in read_parts(job):
        yield {"part": pickle.dumps(part)}


class Worker:
    """What Ray Data makes once in each actor, and calls for each part."""

    def __init__(self, job: Job):
        if not job.folder.is_dir():
            raise FileNotFoundError(f"{job.folder} is not there on {os.uname().nodename}")
        self.extractor = Extractor(job)

    def __call__(self, batch: Any) -> dict[str, list[str]]:
        parts = map(pickle.loads, batch.column("part").to_pylist())
        return {"result": [str(self.extractor(part)) for part in parts]}
