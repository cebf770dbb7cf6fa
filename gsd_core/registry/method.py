"""Declarations that command line, jobs, pages, export and reference are made from.

Command   a command of ``gsd``
Method    a command with results, exports and a page
Page      its page in the dashboard
Job       how it runs in the background
Export    a table that ``gsd export`` writes

Import strings ``module:name`` name the code. It is loaded on first use, so reading declarations stays fast.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gsd_core.registry.result_kind import ResultKind


@dataclass(frozen=True)
class Page:
    """A page about one run.

    Parameters
    ----------
    name, title
        Its address, and its name in the navigation.
    view
        ``module:function`` that draws it: ``(chosen) -> None``. ``chosen`` has ``info`` of the run and ``checkpoint``.
    nothing
        Heading and advice for a workspace without runs.
    order
        Its position in the navigation, ascending.
    needs
        Names of the results that the page shows. The page opens the newest run that has them all.
    needs_layout
        Whether the page offers to analyse a run that is not analysed.
    answers
        The question that the page answers; the help shows it.
    """

    name: str
    title: str
    view: str
    nothing: tuple[str, str]
    order: int
    needs: tuple[str, ...] = ()
    needs_layout: bool = False
    answers: str = ""


@dataclass(frozen=True)
class Job:
    """How a command runs in the background.

    Parameters
    ----------
    title
        Title of the job, with options in braces: ``"Analyse {run}"``.
    word
        What it does, in one or two words: ``"analyse"``.
    resume
        The flag that resumes a stopped job; empty if the same command resumes by itself.
    opens
        Name of the page that shows its result; empty for none.
    """

    title: str
    word: str
    resume: str = ""
    opens: str = ""


@dataclass(frozen=True)
class Export:
    """A table or file of a run, ``gsd export --what NAME``.

    Parameters
    ----------
    name
        The NAME.
    compute
        ``module:function``: ``(run, checkpoint) -> frame``. Empty: the method's result table of that name.
    is_by_checkpoint
        Whether ``--checkpoint all`` joins the tables of all checkpoints.
    needs_sample
        Whether it shows the one sample of ``--sample``: ``(run, checkpoint, sample) -> frame``.
    write
        ``module:function`` that writes a file of its own: ``(run, checkpoint, path, report) -> number of rows``.
        It calls ``report(done, total)`` to show progress.
    endings
        Endings of the files that it can write.
    """

    name: str
    compute: str = ""
    is_by_checkpoint: bool = True
    needs_sample: bool = False
    write: str = ""
    endings: tuple[str, ...] = (".csv", ".parquet", ".jsonl")


@dataclass(frozen=True)
class Command:
    """A command of ``gsd``.

    Parameters
    ----------
    name
        The words after ``gsd``: ``"analyze"``, ``"datasets add"``.
    help
        One line that begins with a small letter and has no full stop.
    options
        A dataclass. Its fields are the flags; the docstring below a field is its help (``registry.options``).
    run
        ``module:function``: ``(workspace, options, progress) -> result``, a dict of JSON values.
    describe
        ``module:function``: ``result -> text``, what the command prints without ``--json``.
    needs
        Which workspace `run` gets. ``"workspace"``: an existing one; ``"new workspace"``: a missing one is created;
        ``"workspace if there"``: None if it is missing; ``"nothing"``: always None; ``"context"``: `run` is
        ``(context, options) -> exit code or None`` and calls ``context.emit`` itself.
    order
        Its position in ``gsd --help``, ascending.
    notes
        Text below the flags in ``gsd NAME --help``.
    job
        How it runs in the background; None if it never does.
    """

    name: str
    help: str
    options: type
    run: str
    describe: str = ""
    needs: str = "workspace"
    order: int = 100
    notes: str = ""
    job: Job | None = None


@dataclass(frozen=True)
class Method(Command):
    """A command with results, exports and a page.

    Parameters
    ----------
    results
        What it stores in a run.
    exports
        What it adds to ``gsd export``.
    page
        Its page; None for no page.
    """

    results: tuple[ResultKind, ...] = ()
    exports: tuple[Export, ...] = ()
    page: Page | None = field(default=None)
