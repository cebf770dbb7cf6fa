"""The dashboard's own room: what the pages ask, draw and start.

address      choices that live in the page's address
figures, colors          Plotly figures and colour-blind-safe palettes
queries, labels, filters   from the store to tidy frames
panel        a span, its numbers and its aligned spans, as seen beside the map and the trace
jobs, supervisor, job_view   command-line stages run in the background
uploads      files that people bring, and what the reader understood of them
components   own browser components (the trace viewer)

The web process reads the store and starts subprocesses; it never loads torch.
This file imports nothing, so that the supervisor stays light.
"""
