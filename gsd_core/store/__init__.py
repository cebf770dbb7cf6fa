"""The store: data sets and runs of a workspace. The one room that knows the database; it never loads torch.

Workspace         open or create a workspace; list, write, open and remove data sets and runs
Run               one run: append captured batches, read spans, vectors, tokens, analysis; search
RunReader         the reading half of a run, as ``Run.snapshot()`` gives it
LazyVectors       directions of a checkpoint, read as they are asked for
load_centring, load_directions   directions as everything compares them: centred, beside their null
FragmentWriter    writes a batch's records from a worker of another process; WrittenBatch is what it hands over
RunSample         one sample of a run, as given and as the model reads it
DatasetInfo       what a workspace tells about a data set
RunInfo           what a workspace tells about a run
Results           what methods keep of a run; ResultWriter grows a result by batches
SPAN_COLUMNS      columns of ``Run.read_spans``
WORKSPACE_VERSION, RUN_VERSION   layout versions this program writes

Inside: ``schema`` (tables), ``files`` (folders, JSON), ``tables`` (Lance), ``locks``, ``lease``, ``migrations``,
``document`` (run.json), ``samples`` and ``batch_rows`` (rows), ``writer`` (commits), ``fragments`` (what workers
write), ``views`` (one checkpoint), ``index`` (search), ``reading``, ``results`` (what methods keep).
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
