"""The record of how a picture was made: its rows, its two text forms, and the file formats."""
