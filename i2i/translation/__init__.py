"""Image-to-image translation: one paper, one file."""
