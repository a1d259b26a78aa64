"""Exit codes of the commands; docs/operations.md tells of them.

They stand on this floor since every command reads a config, and all floors above know this one.
"""

EXIT_OK = 0  # done as asked; of `weir run`: stopped as asked
EXIT_FAILED = 1  # what was asked for could not be done: a port in use, nobody who answers
EXIT_WRONG = 2  # what was asked for is wrong: the config file, an argument
