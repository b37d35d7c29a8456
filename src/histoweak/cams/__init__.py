"""Class activation maps: tensors in, tensors out."""
