"""What the command line, jobs, pages, export and documents know of a method.

Command   something that ``gsd`` can do
Method    a command that computes something of a run: with a page, tables to export, results that it keeps
Page      its page in the dashboard
Job       what it is called while it runs in the background, and what is next
Export    a table that ``gsd export`` writes

Code is named by import strings ``module:name`` and loaded when it is used, so that reading declarations stays quick.
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
        Its address and its word in the navigation.
    view
        ``module:function`` that draws it: ``(chosen) -> None``.
    nothing
        Heading and advice where the workspace holds no run.
    order
        Its place in the navigation, ascending.
    needs
        Names of results that a run must have to answer the page's question. The page begins with the newest such run.
    needs_layout
        Whether a run that is not analysed gets the offer to analyse it instead.
    answers
        The question that the page answers, for the help.
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
    """A command in the background.

    Parameters
    ----------
    title
        Its title, with the options in braces: ``"Analyse {run}"``.
    word
        What it does, in a word or two: ``"analyse"``.
    resume
        The flag that goes on with what a stopped one left; empty where the same command goes on by itself.
    opens
        The page that shows what it made; empty for none.
    """

    title: str
    word: str
    resume: str = ""
    opens: str = ""


@dataclass(frozen=True)
class Export:
    """A table of a run, ``gsd export --what NAME``.

    Parameters
    ----------
    name
        What it is called.
    compute
        ``module:function``: ``(run, checkpoint) -> frame``. Empty: the table of that name among the method's results.
    is_by_checkpoint
        Whether ``--checkpoint all`` puts the tables of all checkpoints below one another.
    needs_sample
        Whether it is of one sample, given by ``--sample``: ``(run, checkpoint, sample) -> frame``.
    write
        ``module:function`` for what is no table: ``(run, checkpoint, path, report) -> number of rows``, where
        ``report(done, total)`` tells progress.
    endings
        The endings of files that it can be written to.
    """

    name: str
    compute: str = ""
    is_by_checkpoint: bool = True
    needs_sample: bool = False
    write: str = ""
    endings: tuple[str, ...] = (".csv", ".parquet", ".jsonl")


@dataclass(frozen=True)
class Command:
    """Something that ``gsd`` can do.

    Parameters
    ----------
    name
        The words after ``gsd``: ``"analyze"``, ``"datasets add"``.
    help
        One line, beginning with a small letter, without a full stop.
    options
        A dataclass. Its fields are the flags, the docstrings below them the flags' help (``registry.options``).
    run
        ``module:function``: ``(workspace, options, progress) -> result``, a dict that JSON can hold.
    describe
        ``module:function``: ``result -> text`` for a person.
    needs
        ``"workspace"``: one that exists; ``"new workspace"``: it is made where it is missing; ``"workspace if there"``:
        else None; ``"nothing"``: always None; ``"context"``: `run` is ``(context, options) -> exit code or None``, and
        gives out its result itself.
    order
        Its place in ``gsd --help``.
    notes
        What ``gsd NAME --help`` says below the flags.
    job
        How it runs in the background; None: only in the foreground.
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
    """A command that computes something of a run.

    Parameters
    ----------
    results
        What it keeps of a run.
    exports
        Tables that it adds to ``gsd export``.
    page
        Its page; None where it has none of its own.
    """

    results: tuple[ResultKind, ...] = ()
    exports: tuple[Export, ...] = ()
    page: Page | None = field(default=None)
