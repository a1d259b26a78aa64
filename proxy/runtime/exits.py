"""Exit codes of `weir run`; docs/operations.md tells of them."""

EXIT_OK = 0  # stopped as asked
EXIT_START = 1  # a port in use, a missing certificate
EXIT_CONFIG = 2  # the config file is wrong
