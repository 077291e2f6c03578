"""The health page: is it healthy, and if not, what is wrong and what is to be done. `/dashboard`, or a file."""
