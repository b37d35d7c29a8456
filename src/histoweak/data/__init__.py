"""Data sets on disk: images, the manifest, tiling and splits. Nothing here needs torch."""
