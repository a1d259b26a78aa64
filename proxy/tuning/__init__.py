"""What the limits would do, offline: for one request, or for the traffic of a log."""
