"""Where batches are computed: one contract, several executors.

Executor       protocol: batches in, finished batches out
LocalExecutor  the executor of this process (``local.py``)

This room knows nothing of gradients, stores or data sets. An executor gets a factory of workers
and a list of numbered batches; what a batch is made of is the caller's business.
"""

from gsd_core.execution.local import Executor, LocalExecutor

__all__ = ["Executor", "LocalExecutor"]
