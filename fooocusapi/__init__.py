"""The HTTP service around the picture pipeline."""

__version__ = "0.1.0"
