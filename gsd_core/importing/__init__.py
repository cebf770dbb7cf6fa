"""``gsd import``: gradient stores that other programs wrote, as runs.

import_store    the command: stores → a run
import_plan     options, checkpoints, which stored row belongs to which sample, the manifest
import_tokens   samples of an imported run, cut into spans by the store's tokens where that is possible
import_records  stored rows → gradient records
foreign_stores  which program wrote a store, and its reader
foreign_rows    the contract of a store, and its rows as directions
foreign_bergson, foreign_less   the readers
"""
