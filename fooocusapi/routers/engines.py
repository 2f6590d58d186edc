"""What the engine has: models, styles, memory."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from fooocus_core.catalog import ModelKind
from fooocusapi.dependencies import ServicesDep
from fooocusapi.routers.answers import ENGINE_ANSWERS
from fooocusapi.schemas.responses import Message, ModelLists

router = APIRouter(prefix="/v1/engines", tags=["Engine"])


@router.get("/all-models", operation_id="all_models")
@router.post("/refresh-models", operation_id="refresh_models")
async def all_models(services: ServicesDep) -> ModelLists:
    """Model and LoRA files on disk at this moment."""
    names = services.catalog.names
    return ModelLists(
        model_filenames=await asyncio.to_thread(names, ModelKind.CHECKPOINT),
        lora_filenames=await asyncio.to_thread(names, ModelKind.LORA),
    )


@router.get("/styles", operation_id="styles")
async def styles(services: ServicesDep) -> list[str]:
    """Names that `style_selections` may hold."""
    return list(services.styles.legal_names)


@router.get("/clean_vram", operation_id="clean_vram", responses=ENGINE_ANSWERS)
@router.post("/clean_vram", operation_id="clean_vram_by_post", responses=ENGINE_ANSWERS)
async def clean_vram(services: ServicesDep) -> Message:
    """Unload models and free memory, between two jobs."""
    await asyncio.wrap_future(services.queue.call(lambda engine: engine.free_memory()))
    return Message(message="ok")
