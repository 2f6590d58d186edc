"""The record as a JSON object, the scheme ``fooocus``; Fooocus' own UI reads it.

Writes only; reading lies elsewhere.
"""

from __future__ import annotations

import json
from pathlib import PurePosixPath

from fooocus_core.metadata.fields import RunRecord, make_rows


def format_fooocus(record: RunRecord) -> str:
    """Write the record as one line of JSON, keys sorted, everything outside ASCII escaped.

    Source:
        Behaviour of lllyasviel/Fooocus, modules/meta_parser.py.
    """
    values = {key: value for _, key, value in make_rows(record)}
    values["full_prompt"] = record.full_prompt
    values["full_negative_prompt"] = record.full_negative_prompt
    values["base_model"] = record.base.stem
    values["base_model_hash"] = record.base.hash
    if record.refiner:
        values["refiner_model"] = record.refiner.stem
        values["refiner_model_hash"] = record.refiner.hash
    values["vae"] = PurePosixPath(values["vae"]).stem
    for number, lora in enumerate(record.loras, start=1):
        values[f"lora_combined_{number}"] = f"{lora.stem} : {float(lora.weight)}"
    values["loras"] = [(lora.stem, float(lora.weight), lora.hash) for lora in record.loras]
    if record.created_by:
        values["created_by"] = record.created_by
    return json.dumps(values, sort_keys=True)
