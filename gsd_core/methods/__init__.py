"""Entries of all commands: name, options, import strings of the code, results. Nothing here computes."""
