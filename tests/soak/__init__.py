"""Weir under everything at once, for as long as one likes: `python -m tests.soak --minutes 10`, or `make soak`.

Mixed traffic, hostile clients beside it, reloads, Redis killed, servers restarted or killed. It ends with 1 if an answer
came that nobody expects, if a whole answer was wrong, if an innocent client waited, or if memory, descriptors or
connections grew. tests/soak/test_soak.py is its short version.
"""
