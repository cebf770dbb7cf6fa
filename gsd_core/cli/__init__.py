"""The command line: words in, one result and an exit code out.

command_line     run one command
command_parser   the flags of every command
command_context  what every command gets beside its own flags
commands         from flags to a stage
reports          a stage's result as a person reads it
"""
