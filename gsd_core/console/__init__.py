"""What stages and commands say while they work: numbers in text, progress.

output     numbers, tables and JSON values as a person or a script reads them
progress   a bar for a person, a file for a page
threads    how the threads of numeric libraries wait
"""
