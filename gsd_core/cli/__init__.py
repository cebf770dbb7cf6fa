"""The command line: arguments in, one result and an exit code out.

command_line     run one command
command_parser   flags of every command
command_context  workspace, progress and output of a command
demo_command     ``gsd demo``
serve_command    ``gsd serve``
doctor_command   ``gsd doctor``
"""
