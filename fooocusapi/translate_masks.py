"""Request -> how a mask is found in a picture. A part of ``translate.py``."""

from __future__ import annotations

from fooocus_core.params import MaskParams
from fooocusapi.schemas.requests import MaskRequest


def mask_params(request: MaskRequest) -> MaskParams:
    """What is asked of the pipeline by a request for a mask."""
    return MaskParams(
        model=request.mask_model,
        cloth_category=request.cloth_category,
        prompt=request.dino_prompt_text,
        sam_model=request.sam_model,
        box_threshold=request.box_threshold,
        text_threshold=request.text_threshold,
        max_detections=request.sam_max_detections,
        grow_boxes=request.dino_erode_or_dilate,
        show_boxes=request.dino_debug,
    )
