"""Networks beside the base model that stay in memory once used, and what some made last."""

from __future__ import annotations

from pathlib import Path

from fooocus_core.catalog import Catalog
from fooocus_core.choices import ControlKind
from fooocus_core.config import Folders
from fooocus_core.downloads import ADAPTER_FILES, IMAGE_ENCODER, IP_NEGATIVE, ModelFile
from fooocus_core.loading.memory import DevicePlan
from fooocus_core.params import Image
from fooocus_core.text.expansion import PromptExpansion, load_expansion
from fooocus_core.unet.image_attention import ReadPicture
from fooocus_core.unet.inpaint_head import InpaintHead, load_inpaint_head
from fooocus_core.unet.ip_adapter import IpAdapter, load_ip_adapter
from fooocus_core.vae.interposer import Interposer, load_interposer
from fooocus_core.vae.preview import PreviewNetwork, load_preview
from fooocus_core.vision.clip_vision import ImageEncoder, load_image_encoder
from fooocus_core.vision.face import FaceFinder, load_face_finder
from fooocus_core.vision.upscaler import Upscaler, load_upscaler
from fooocus_core.workflows.recent import Recent

# Those of two generations with as many image prompts as the service takes.
_KEPT_PICTURES = 8


class AuxiliaryNetworks:
    """Loads each network when first asked for; looks again if its files were missing.

    Attributes:
        read_pictures: What image encoder and adapters made of pictures.
        control_pictures: What control nets were shown of pictures.
        face_crops: What the face finder cropped pictures to; ``None`` = it found no face.
    """

    def __init__(self, plan: DevicePlan, folders: Folders) -> None:
        self._plan = plan
        self._folders = folders
        self._previews: dict[str, PreviewNetwork] = {}
        self._interposer: Interposer | None = None
        self._expansion: PromptExpansion | None = None
        self._upscaler: Upscaler | None = None
        self._inpaint_head: InpaintHead | None = None
        self._catalog = Catalog(folders)
        self._image_encoder: ImageEncoder | None = None
        self._ip_adapters: dict[ControlKind, IpAdapter] = {}
        self._face_finder: FaceFinder | None = None
        self.read_pictures: Recent[ReadPicture] = Recent(_KEPT_PICTURES)
        self.control_pictures: Recent[Image] = Recent(_KEPT_PICTURES)
        self.face_crops: Recent[Image | None] = Recent(_KEPT_PICTURES)

    def preview(self, file: str) -> PreviewNetwork | None:
        """The network for quick pictures in ``file``, if that is there.

        Raises:
            ModelFileError: The file cannot be used.
        """
        if file not in self._previews:
            network = load_preview(self._folders.vae_approx, self._plan, name=file)
            if network is None:
                return None
            self._previews[file] = network
        return self._previews[file]

    def interposer(self) -> Interposer:
        """The network from SDXL's latents to those of SD 1.5.

        Raises:
            ModelNotFoundError: No folder holds its file.
            ModelFileError: The file cannot be used.
        """
        if self._interposer is None:
            self._interposer = load_interposer(self._folders.vae_approx, self._plan)
        return self._interposer

    def expansion(self) -> PromptExpansion | None:
        """The prompt expansion, if a folder holds all its files.

        Raises:
            ModelFileError: A file cannot be used.
        """
        if self._expansion is None:
            self._expansion = load_expansion(self._folders.expansion, self._plan)
        return self._expansion

    def upscaler(self) -> Upscaler:
        """The network that enlarges pictures.

        Raises:
            ModelNotFoundError: No folder holds its file.
            ModelFileError: The file cannot be used.
            DeviceMemoryError: The device has not enough memory.
        """
        if self._upscaler is None:
            self._upscaler = load_upscaler(self._folders.upscale_models, self._plan)
        return self._upscaler

    def inpaint_head(self) -> InpaintHead:
        """The convolution that shows an inpaint model the surroundings of the hole.

        Raises:
            ModelNotFoundError: No folder holds its file.
            ModelFileError: The file cannot be used.
        """
        if self._inpaint_head is None:
            self._inpaint_head = load_inpaint_head(self._folders.inpaint)
        return self._inpaint_head

    def image_encoder(self) -> ImageEncoder:
        """The network that image prompts are read with.

        Raises:
            ModelNotFoundError: No folder holds its file.
            ModelFileError: The file cannot be used.
            DeviceMemoryError: The device has not enough memory.
        """
        if self._image_encoder is None:
            self._image_encoder = load_image_encoder(self._find(IMAGE_ENCODER), self._plan)
        return self._image_encoder

    def ip_adapter(self, kind: ControlKind) -> IpAdapter:
        """What makes keys and values of encoded pictures of a kind that is attended to.

        Raises:
            ModelNotFoundError: No folder holds a file of it.
            ModelFileError: A file cannot be used.
            DeviceMemoryError: The device has not enough memory.
        """
        if kind not in self._ip_adapters:
            path, negative = self._find(ADAPTER_FILES[kind]), self._find(IP_NEGATIVE)
            self._ip_adapters[kind] = load_ip_adapter(path, negative, self._plan)
        return self._ip_adapters[kind]

    def face_finder(self) -> FaceFinder:
        """The network that finds faces.

        Raises:
            ModelNotFoundError: No folder holds its file.
            ModelFileError: The file cannot be used.
        """
        if self._face_finder is None:
            self._face_finder = load_face_finder(self._folders.controlnet)
        return self._face_finder

    def free(self) -> None:
        """Forget everything loaded, and what was made."""
        self._previews.clear()
        self._interposer = None
        self._expansion = None
        self._upscaler = None
        self._inpaint_head = None
        self._image_encoder = None
        self._ip_adapters.clear()
        self._face_finder = None
        self.read_pictures.clear()
        self.control_pictures.clear()
        self.face_crops.clear()

    def _find(self, file: ModelFile) -> Path:
        return self._catalog.find(file.kind, file.name)
