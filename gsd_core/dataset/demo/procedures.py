"""What a demo procedure is made of, and the list of all of them.

StepSpec    one step of a procedure: its role, its wordings, which slot is its result
Procedure   a way to solve a problem: question wordings and steps
PROCEDURE_TABLE, PROCEDURES   all procedures, and their names
STYLES      ids of the wordings, in the order in which the tables list them
"""

from __future__ import annotations

from gsd_core.dataset.demo.records import STYLES, Procedure, StepSpec
from gsd_core.dataset.demo.wordings_choice import CHOICE
from gsd_core.dataset.demo.wordings_count import COUNT

__all__ = ["PROCEDURES", "PROCEDURE_TABLE", "STYLES", "Procedure", "StepSpec"]

PROCEDURE_TABLE: tuple[Procedure, ...] = (*COUNT, *CHOICE)
PROCEDURES: tuple[str, ...] = tuple(procedure.name for procedure in PROCEDURE_TABLE)
