"""Stages that methods share: each a configuration and a function that writes one artefact."""
