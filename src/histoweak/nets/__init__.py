"""Networks: encoders, classifiers that yield class activation maps, segmenters."""
