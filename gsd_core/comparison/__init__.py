"""How spans are compared: one home for every number that pages and the command line both show.

NumPy and SciPy only: the web process loads this room.
"""
