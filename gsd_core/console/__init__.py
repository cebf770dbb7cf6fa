"""What stages and commands say while they work, and where they put what people ask for.

output     numbers, tables and JSON values as a person or a script reads them
progress   a bar for a person, a file for a page
files      a file that appears whole or not at all
place      where the workspace is when nobody says
"""
