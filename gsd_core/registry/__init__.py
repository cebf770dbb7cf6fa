"""What a method is: declarations without torch, from which the command line, jobs, pages and documents follow."""
