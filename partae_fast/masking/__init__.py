"""Masks that turn two estimates into a gain, and rules that set a mask from noise-only audio."""
