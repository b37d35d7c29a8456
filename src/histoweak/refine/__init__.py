"""Refinement: from scores per pixel to pseudo-masks."""
