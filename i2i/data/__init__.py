"""Folders in, samples out: every sample is a pure function of its position in the stream.

folders (scan, pair), resize (antialiased bicubic), transforms (albumentations), datasets (Paired, Unaligned),
stream (batches for one rank), cache (a folder packed into one file). Before that: cards (sets by name), fetching,
unpacking, arranging; checking, likeness, pairing, splitting, statistics; packing (tar shards, read by i2i.shards).
Importing this package imports none of them.
"""
