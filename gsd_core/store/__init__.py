"""The store: data sets and runs of a workspace. Only this package uses the database; it never loads torch.

Workspace         open or create a workspace; list, write, open and remove data sets and runs
Run               one run: read it and write captured batches
RunReader         one run: read only
LazyVectors       directions of a checkpoint, read on demand
load_centring, load_directions   centred directions and their null
FragmentWriter    writes the records of a batch in a worker process; WrittenBatch describes them
RunSample         one sample of a run, as given and as the model reads it
DatasetInfo       description of a data set
RunInfo           description of a run
Results           results of methods on a run; ResultWriter writes one in batches
SPAN_COLUMNS      columns of ``Run.read_spans``
WORKSPACE_VERSION, RUN_VERSION   layout versions that this program writes

Inside: ``schema`` (tables), ``files`` (folders, JSON), ``tables`` (Lance), ``locks``, ``lease``, ``migrations``,
``document`` (run.json), ``samples`` and ``batch_rows`` (rows), ``writer`` (commits), ``fragments`` (what workers
write), ``views`` (one checkpoint), ``index`` (search), ``reading``, ``results`` (of methods).
"""

from gsd_core.store.directions import load_centring, load_directions
from gsd_core.store.fragments import FragmentWriter, WrittenBatch
from gsd_core.store.infos import DatasetInfo, RunInfo, RunSample
from gsd_core.store.lazy import LazyVectors
from gsd_core.store.reading import RunReader
from gsd_core.store.results import Results, ResultWriter
from gsd_core.store.run import Run
from gsd_core.store.schema import RUN_VERSION, SPAN_COLUMNS, WORKSPACE_VERSION
from gsd_core.store.workspace import Workspace

__all__ = [
    "RUN_VERSION",
    "SPAN_COLUMNS",
    "WORKSPACE_VERSION",
    "DatasetInfo",
    "FragmentWriter",
    "LazyVectors",
    "ResultWriter",
    "Results",
    "Run",
    "RunInfo",
    "RunReader",
    "RunSample",
    "Workspace",
    "WrittenBatch",
    "load_centring",
    "load_directions",
]
