"""Unconditional and conditional generation: one paper, one file."""
