"""The dashboard: what the pages ask, draw and start.

look         colours and texts that all figures share
components   browser components with their JavaScript
reading      from the store to frames and arrays
frame        address, workspace, cache, charts: what every page uses
jobs         command-line stages run in the background
spans        a span, its aligned spans, pinned spans
map, trace, alignment, stresses, twins, timeline, evidence, data, overview, help   a folder a page
report       the self-contained HTML report
shell        runs the pages

Each folder imports only folders above it in this list. The web process reads the store and starts subprocesses; it
never loads torch. This file imports nothing, so that the supervisor stays light.
"""
