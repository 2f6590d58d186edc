"""Networks beside the base model that stay in memory once used."""

from __future__ import annotations

from fooocus_core.config import Folders
from fooocus_core.loading.memory import DevicePlan
from fooocus_core.text.expansion import PromptExpansion, load_expansion
from fooocus_core.unet.inpaint_head import InpaintHead, load_inpaint_head
from fooocus_core.vae.interposer import Interposer, load_interposer
from fooocus_core.vae.preview import PreviewNetwork, load_preview
from fooocus_core.vision.upscaler import Upscaler, load_upscaler
from fooocus_core.workflows.mask_networks import MaskNetworks


class AuxiliaryNetworks:
    """Loads each network when first asked for; looks again if its files were missing.

    Attributes:
        masks: Those that make masks.
    """

    def __init__(self, plan: DevicePlan, folders: Folders) -> None:
        self.masks = MaskNetworks(plan)
        self._plan = plan
        self._folders = folders
        self._previews: dict[str, PreviewNetwork] = {}
        self._interposer: Interposer | None = None
        self._expansion: PromptExpansion | None = None
        self._upscaler: Upscaler | None = None
        self._inpaint_head: InpaintHead | None = None

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

    def free(self) -> None:
        """Forget everything loaded."""
        self.masks.free()
        self._previews.clear()
        self._interposer = None
        self._expansion = None
        self._upscaler = None
        self._inpaint_head = None
