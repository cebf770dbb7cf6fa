"""Where batches are computed: one contract, two executors.

Executor       protocol: batches in, finished batches out
LocalExecutor  the executor of this process (``local.py``)
RayExecutor    several processes or machines (``ray_executor.py``); entering it loads Ray
BatchesLost    some batches ended their workers; all others were computed

This package knows nothing of gradients, stores or data sets. An executor gets a factory of workers and a list of
numbered batches; the caller decides what a batch is.
"""

from gsd_core.execution.local import BatchesLost, Executor, LocalExecutor
from gsd_core.execution.ray_executor import RayExecutor

__all__ = ["BatchesLost", "Executor", "LocalExecutor", "RayExecutor"]
