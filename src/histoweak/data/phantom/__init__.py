"""Synthetic H&E with exact masks: a test bench that colour alone does not solve.

Four tissues (tumour, stroma, lymphocytes, necrosis) and white background, composed of stain
concentrations and turned to colour by the law of Beer and Lambert. The tissues share the tone of
their ground, so that only structure tells them apart.
"""

from histoweak.data.phantom.config import PhantomConfig
from histoweak.data.phantom.field import render_field
from histoweak.data.phantom.regions import TISSUES, Layout
from histoweak.data.phantom.stain import PatientStyle
from histoweak.data.phantom.write import write_phantom

__all__ = ["TISSUES", "Layout", "PatientStyle", "PhantomConfig", "render_field", "write_phantom"]
