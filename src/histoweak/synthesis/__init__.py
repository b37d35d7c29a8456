"""Synthetic images with exact masks, put together from patches of a single class."""
