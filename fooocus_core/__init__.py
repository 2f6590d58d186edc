"""The picture pipeline: from what was asked to finished images.

Usable without the HTTP service. Importing this package imports nothing heavy.
"""
