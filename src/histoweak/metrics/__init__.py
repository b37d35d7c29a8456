"""Measures of segmentations, of classifiers and of the evidence behind their answers.

Pixel scores come from one confusion matrix over the whole data set (`confusion`, `scores`); the
mean over images has a name and a module of its own (`image_miou`), because the two differ.
"""
