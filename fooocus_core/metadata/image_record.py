"""From how a picture was made to what is handed out with it. Knows no file formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from fooocus_core.choices import MetadataScheme
from fooocus_core.events import ImageRecord
from fooocus_core.metadata.a1111_scheme import format_a1111
from fooocus_core.metadata.fields import RunRecord, make_rows
from fooocus_core.metadata.fooocus_scheme import format_fooocus

_FORMATS: Mapping[MetadataScheme, Callable[[RunRecord], str]] = MappingProxyType(
    {MetadataScheme.FOOOCUS: format_fooocus, MetadataScheme.A1111: format_a1111}
)


def make_image_record(record: RunRecord) -> ImageRecord:
    """The rows of a record, and its text in the scheme it asks for."""
    text = _FORMATS[record.scheme](record)
    return ImageRecord(
        scheme=record.scheme,
        text=text,
        rows=make_rows(record),
        positive=record.full_prompt,
        negative=record.full_negative_prompt,
    )
