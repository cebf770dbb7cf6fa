"""Declarations of methods, without torch. Command line, jobs, pages and reference are made from them.

method        Command, Method, Page, Job, Export
result_kind   tables that a method stores, with their columns
options       flags from a dataclass
catalog       all commands, of this package and of installed ones
"""
