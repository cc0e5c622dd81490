"""Folders in, samples out: every sample is a pure function of its position in the stream.

folders (scan, pair), resize (antialiased bicubic), transforms (albumentations), datasets (Paired, Unaligned),
stream (batches for one rank), cache (a folder packed into one file). Importing this package imports none of them.
"""
