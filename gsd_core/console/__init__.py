"""Output and progress of commands, and files that they write.

output     numbers, tables and JSON values
progress   a bar in the terminal, a file for the pages
report     how a long call tells its share of work done
files      a file that is written whole or not at all
workspace_choice   the default workspace
threads    how the threads of numeric libraries wait
"""
