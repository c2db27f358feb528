"""The formats of a report, each of which renders the same blocks.

A format is a module with `render`, which escapes for itself what its language
reads as more than text.
"""
