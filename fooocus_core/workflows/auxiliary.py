"""Networks beside the base model that stay in memory once used, and what some made last."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from fooocus_core.catalog import Catalog, ModelKind
from fooocus_core.choices import ControlKind
from fooocus_core.downloads import (
    ADAPTER_FILES,
    BERT_VOCABULARY,
    CAPTIONER,
    FACE_FINDER,
    IMAGE_ENCODER,
    INPAINT_HEAD,
    INTERPOSER,
    IP_NEGATIVE,
    SAFETY_CHECKER,
    TAG_LIST,
    TAGGER,
    UPSCALER,
    ModelFile,
)
from fooocus_core.loading.memory import DevicePlan
from fooocus_core.loading.weight_file import weights_state
from fooocus_core.params import Image
from fooocus_core.text.expansion import PromptExpansion, load_expansion
from fooocus_core.unet.image_attention import ReadPicture
from fooocus_core.unet.inpaint_head import InpaintHead, load_inpaint_head
from fooocus_core.unet.ip_adapter import IpAdapter, load_ip_adapter
from fooocus_core.vae.interposer import Interposer, load_interposer
from fooocus_core.vae.preview import PreviewNetwork, load_preview
from fooocus_core.vision.captions import Captioner, load_captioner
from fooocus_core.vision.clip_vision import ImageEncoder, load_image_encoder
from fooocus_core.vision.face import FaceFinder, load_face_finder
from fooocus_core.vision.safety import SafetyChecker, load_safety_checker
from fooocus_core.vision.tags import Tagger, load_tagger
from fooocus_core.vision.upscaler import Upscaler, load_upscaler
from fooocus_core.workflows.mask_networks import MaskNetworks
from fooocus_core.workflows.recent import Recent

Network = TypeVar("Network")

# Those of two generations with as many image prompts as the service takes.
_KEPT_PICTURES = 8


class AuxiliaryNetworks:
    """Loads each network when first asked for, and again when its files have changed.

    What every method but :meth:`preview` and :meth:`expansion` raises:
        ModelNotFoundError: No folder holds a file of it.
        ModelFileError: A file cannot be used.
        DeviceMemoryError: The device has not enough memory.

    Attributes:
        masks: Those that make masks.
        read_pictures: What image encoder and adapters made of pictures.
        control_pictures: What control nets were shown of pictures.
        face_crops: What the face finder cropped pictures to; ``None`` = it found no face.
    """

    def __init__(self, plan: DevicePlan, catalog: Catalog) -> None:
        """Start with nothing loaded."""
        self.masks = MaskNetworks(plan)
        self._plan = plan
        self._catalog = catalog
        self._loaded: dict[tuple[ModelFile, ...], tuple[Hashable, Any]] = {}
        self._expansion: PromptExpansion | None = None
        self.read_pictures: Recent[ReadPicture] = Recent(_KEPT_PICTURES)
        self.control_pictures: Recent[Image] = Recent(_KEPT_PICTURES)
        self.face_crops: Recent[Image | None] = Recent(_KEPT_PICTURES)

    def preview(self, file: ModelFile) -> PreviewNetwork | None:
        """The network for quick pictures in ``file``, if that is there.

        Raises:
            ModelFileError: The file cannot be used.
        """
        if self._catalog.match(file.kind, file.name) is None:
            return None
        return self._network(lambda path: load_preview(path, self._plan), file)

    def expansion(self) -> PromptExpansion | None:
        """The prompt expansion, if a folder holds all its files.

        Raises:
            ModelFileError: A file cannot be used.
            DeviceMemoryError: The device has not enough memory.
        """
        if self._expansion is None:
            folders = self._catalog.folders(ModelKind.EXPANSION)
            self._expansion = load_expansion(folders, self._plan)
        return self._expansion

    def interposer(self) -> Interposer:
        """The network from SDXL's latents to those of SD 1.5."""
        return self._network(lambda path: load_interposer(path, self._plan), INTERPOSER)

    def upscaler(self) -> Upscaler:
        """The network that enlarges pictures."""
        return self._network(lambda path: load_upscaler(path, self._plan), UPSCALER)

    def inpaint_head(self) -> InpaintHead:
        """The convolution that shows an inpaint model the surroundings of the hole."""
        return self._network(load_inpaint_head, INPAINT_HEAD)

    def image_encoder(self) -> ImageEncoder:
        """The network that image prompts are read with."""
        return self._network(lambda path: load_image_encoder(path, self._plan), IMAGE_ENCODER)

    def ip_adapter(self, kind: ControlKind) -> IpAdapter:
        """What makes keys and values of encoded pictures of a kind that is attended to."""
        return self._network(
            lambda path, negative: load_ip_adapter(path, negative, self._plan),
            ADAPTER_FILES[kind],
            IP_NEGATIVE,
        )

    def face_finder(self) -> FaceFinder:
        """The network that finds faces."""
        return self._network(load_face_finder, FACE_FINDER)

    def captioner(self) -> Captioner:
        """The network that describes photographs."""
        return self._network(
            lambda path, words: load_captioner(path, words, self._plan), CAPTIONER, BERT_VOCABULARY
        )

    def tagger(self) -> Tagger:
        """The network that describes drawings.

        Raises:
            PackageMissingError: What computes it is not installed.
        """
        return self._network(
            lambda path, tags: load_tagger(path, tags, self._plan), TAGGER, TAG_LIST
        )

    def safety_checker(self) -> SafetyChecker:
        """The network that finds pictures that are not safe for work."""
        return self._network(lambda path: load_safety_checker(path, self._plan), SAFETY_CHECKER)

    def free(self) -> None:
        """Forget everything loaded, and what was made."""
        self._loaded.clear()
        self.masks.free()
        self._expansion = None
        self._forget_pictures()

    def _network(self, load: Callable[..., Network], *files: ModelFile) -> Network:
        paths = [self._catalog.find(file.kind, file.name) for file in files]
        state = tuple(map(weights_state, paths))
        kept_state, kept = self._loaded.pop(files, (None, None))
        if kept is not None and kept_state != state:
            # Let go of before the new one comes; what it made is not what that would make.
            kept = None
            self._forget_pictures()
        network: Network = load(*paths) if kept is None else kept
        self._loaded[files] = state, network
        return network

    def _forget_pictures(self) -> None:
        self.read_pictures.clear()
        self.control_pictures.clear()
        self.face_crops.clear()
