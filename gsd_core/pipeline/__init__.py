"""Stages and the command line: a stage reads, computes and writes whole.

cli        arguments in, exit code out; one JSON object on standard output with ``--json``
parser     the flags of every command
commands   a command's flags → its stage
reports    a stage's result → what a person reads
progress   bars on standard error, and the progress file that a page polls
output     aligned tables; values that JSON can hold
datasets   ``gsd datasets …``
capture    ``gsd capture``
analyze    ``gsd analyze``
neighbors  ``gsd neighbors``
export     ``gsd export``
tables     the columns that others may rely on
opened     ``gsd_core.open_run``
tracking   ``gsd_core.open_probe``, ``gsd_core.open_ride``: runs that a training writes (``tracked_run``)
demo       ``gsd demo``
serve      ``gsd serve``
doctor     ``gsd doctor``

Every stage is ``run_*(workspace, …, progress) -> dict``; the dict is the object that ``--json`` prints.
"""
