"""Example bodies, small enough to be sent as they are; a test sends each of them.

Those of forms are made from these by ``descriptions.py``.
"""

from __future__ import annotations

from pydantic import JsonValue

_PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFUlEQVR42mPkqjjBgA"
    "0wMeAAg1MCAAWVAVqQM9nxAAAAAElFTkSuQmCC"
)
# Its left half is white.
_MASK = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAFklEQVR42mP8z8DAwM"
    "jAwMDEAAXkMQBJhAEQTfXYugAAAABJRU5ErkJggg=="
)
# With the record of a generation in it.
_RECORDED = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAinRFWHRwYXJhbWV0ZX"
    "JzAHsibWV0YWRhdGFfc2NoZW1lIjogImZvb29jdXMiLCAicGVyZm9ybWFuY2UiOiAiU3BlZWQiLCAicHJvbXB0Ij"
    "ogImEgZm94IGluIHRoZSBzbm93IiwgInNlZWQiOiAiNyIsICJ2ZXJzaW9uIjogIkZvb29jdXMgdjIuNS41In0hNZ"
    "26AAAAFnRFWHRmb29vY3VzX3NjaGVtZQBmb29vY3Vzecip8wAAABVJREFUeNpj5Ko4wYANMDHgAINTAgAFlQFakD"
    "PZ8QAAAABJRU5ErkJggg=="
)
_GUIDES: list[JsonValue] = [
    {"cn_img": _PICTURE, "cn_stop": 0.5, "cn_weight": 0.6, "cn_type": "ImagePrompt"}
]

TEXT_TO_IMAGE: list[JsonValue] = [
    {"prompt": "a red circle on a blue background", "image_seed": 7},
    {
        "prompt": "a lighthouse in a storm",
        "negative_prompt": "people",
        "style_selections": ["Fooocus V2", "Fooocus Sharp"],
        "performance_selection": "Quality",
        "aspect_ratios_selection": "896*1152",
        "image_number": 2,
        "loras": [{"model_name": "sd_xl_offset_example-lora_1.0.safetensors", "weight": 0.1}],
        "advanced_params": {"sampler_name": "dpmpp_2m_sde_gpu", "overwrite_step": 20},
        "save_extension": "webp",
        "async_process": True,
    },
]
GUIDED_TEXT_TO_IMAGE: list[JsonValue] = [
    {"prompt": "a fox in the snow", "image_seed": 7, "image_prompts": _GUIDES}
]
UPSCALE_VARY: list[JsonValue] = [
    {"input_image": _PICTURE, "uov_method": "Upscale (2x)"},
    {"input_image": _PICTURE, "uov_method": "Vary (Subtle)", "prompt": "a fox in the snow"},
]
INPAINT_OUTPAINT: list[JsonValue] = [
    {"input_image": _PICTURE, "input_mask": _MASK, "prompt": "a hat"},
    {
        "input_image": _PICTURE,
        "outpaint_selections": ["Left", "Top"],
        "outpaint_distance_left": 64,
        "prompt": "a meadow",
    },
]
IMAGE_PROMPT: list[JsonValue] = [{"prompt": "a fox in the snow", "image_prompts": _GUIDES}]
ENHANCE: list[JsonValue] = [
    {
        "enhance_input_image": _PICTURE,
        "enhance_uov_method": "Disabled",
        "enhance_ctrlnets": [
            {
                "enhance_enabled": True,
                "enhance_mask_dino_prompt": "face",
                "enhance_prompt": "a smiling face",
            }
        ],
    }
]
DESCRIBE: list[JsonValue] = [{"image": _PICTURE, "type": "Photo"}]
MASK: list[JsonValue] = [
    {"image": _PICTURE, "mask_model": "sam", "dino_prompt_text": "hat"},
    {"image": _PICTURE, "mask_model": "u2net"},
]
READ_METADATA: list[JsonValue] = [{"image": _RECORDED}]
