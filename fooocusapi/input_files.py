"""Pictures of jobs that have not ended: ``inputs/<job id>/`` in the output folder.

They are never served. Knows neither the queue nor what the pictures are for.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from fooocus_core.params import Image
from fooocusapi.exceptions import InputsGoneError, StoreError


class InputFiles:
    """Keeps pixels as they are, so that reading them costs next to nothing.

    Args:
        outputs: The output folder.
    """

    def __init__(self, outputs: Path) -> None:
        self._root = outputs / "inputs"

    def save(self, job_id: str, pictures: Sequence[Image]) -> None:
        """Write the pictures of a job; without any, nothing is made.

        Raises:
            StoreError: One could not be written; none is left.
        """
        folder = self._root / job_id
        try:
            for number, picture in enumerate(pictures):
                folder.mkdir(parents=True, exist_ok=True)
                with (folder / f"{number}.npy").open("xb") as file:
                    np.save(file, picture, allow_pickle=False)
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            self.remove(job_id)
            raise StoreError(f"a picture could not be kept: {error.strerror}") from error

    def load(self, job_id: str, number: int) -> Image:
        """A picture as it was saved.

        Raises:
            InputsGoneError: It is not there or cannot be read.
        """
        try:
            picture: Image = np.load(self._root / job_id / f"{number}.npy", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputsGoneError("a picture that came with the request is gone") from error
        return picture

    def remove(self, job_id: str) -> None:
        """Remove the pictures of a job, if there are any."""
        shutil.rmtree(self._root / job_id, ignore_errors=True)

    def keep_only(self, job_ids: Collection[str]) -> None:
        """Remove the pictures of all other jobs."""
        with suppress(FileNotFoundError):
            for folder in self._root.iterdir():
                if folder.name not in job_ids:
                    shutil.rmtree(folder, ignore_errors=True)
