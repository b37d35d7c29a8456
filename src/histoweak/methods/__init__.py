"""The methods: one readable file per system, and the table that names them."""

from histoweak.methods.registry import METHODS, MethodSpec, find_method

__all__ = ["METHODS", "MethodSpec", "find_method"]
