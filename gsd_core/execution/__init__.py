"""Where batches are computed: one contract, several executors.

Executor       protocol: batches in, finished batches out
LocalExecutor  the executor of this process (``local.py``)
RayExecutor    several processes or machines (``ray_executor.py``); Ray itself is loaded when it is entered
BatchesLost    some batches ended their workers; all others were computed

This room knows nothing of gradients, stores or data sets. An executor gets a factory of workers
and a list of numbered batches; what a batch is made of is the caller's business.
"""

from gsd_core.execution.local import BatchesLost, Executor, LocalExecutor
from gsd_core.execution.ray_executor import RayExecutor

__all__ = ["BatchesLost", "Executor", "LocalExecutor", "RayExecutor"]
