"""The colours of the stains: haematoxylin, eosin and DAB, as plain numbers."""

RGB_FROM_HED = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
"""Absorption of R, G, B by one unit of haematoxylin, eosin and DAB, in optical density.

Ruifrok & Johnston (2001), "Quantification of histochemical staining by color deconvolution",
table of stain vectors.
"""
