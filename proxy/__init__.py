"""Weir: a rate-limiting reverse proxy for one HTTP/JSON service."""

__version__ = "0.1.0"
