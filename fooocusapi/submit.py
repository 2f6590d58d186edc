"""The one path of every generation request: pictures, translation, queue, wait or not, answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from fooocus_core.downloads import ModelFile
from fooocusapi.exceptions import QueueFullError
from fooocusapi.inputs import Inputs
from fooocusapi.jobs.job import Delivery, Job
from fooocusapi.jobs.queue import JobQueue
from fooocusapi.jobs.worker import Engine
from fooocusapi.respond import AnswerForm, Responder, queue_full
from fooocusapi.schemas.parameters import GenerationRequest, webhook_target
from fooocusapi.schemas.vocabulary import JobKind
from fooocusapi.storage import clean_name
from fooocusapi.translate import Translator

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitter:
    """Takes generation requests in, and what tools ask of the engine."""

    queue: JobQueue
    inputs: Inputs
    translator: Translator
    responder: Responder

    async def submit(
        self, request: GenerationRequest, kind: JobKind, *, wants_png: bool
    ) -> Response:
        """Make a job of a request and answer in the form asked for.

        Args:
            wants_png: The caller accepts a PNG only; one picture is made then.

        Raises:
            InvalidFieldError: A field cannot be used.
            BodyTooLargeError: A picture is too large.
            ModelMissingError: A file is missing that the pictures cannot be made without.
            ServerStoppingError: The server is shutting down.
        """
        form = _answer_form(request, wants_png=wants_png)
        pictures = await self.inputs.read_all(self.translator.picture_fields(request))
        # Looks names up on disk, and at every pixel of masks, so off the event loop.
        translation = await asyncio.to_thread(
            self.translator.translate, request, pictures, single=wants_png
        )
        job = Job(
            kind=kind,
            params=translation.params,
            delivery=_delivery(request),
            warnings=translation.warnings,
            queued_ms=self.queue.now_ms(),
        )
        try:
            self.queue.submit(job, keep=form is not AnswerForm.JOB)
        except QueueFullError:
            return queue_full(kind, form)
        if form is AnswerForm.JOB:
            return await asyncio.to_thread(self.responder.result, job.view(), form)
        try:
            view = await asyncio.wrap_future(job.done)
            return await asyncio.to_thread(self.responder.result, view, form)
        finally:
            # Not before: the limit of the history could remove the files that are being read.
            await asyncio.to_thread(self.queue.release, job)

    async def call(
        self,
        request: Request,
        function: Callable[[Engine], Result],
        needs: Iterable[ModelFile] = (),
    ) -> Result:
        """Have a function called with the engine, on its thread between two jobs.

        If the caller hangs up before that, it is not called any more.

        Args:
            request: Of the caller, its body read.
            needs: Files that the function cannot do without.

        Returns:
            What the function gives; what it raises is raised here.

        Raises:
            ModelMissingError: A needed file is not there.
            QueueFullError: Too many calls wait.
            ServerStoppingError: The server is shutting down.
            ClientDisconnect: The caller has hung up.
        """
        await asyncio.to_thread(self.translator.needed.require, needs)
        done = asyncio.wrap_future(self.queue.call(function))
        gone = asyncio.ensure_future(_hang_up(request))
        try:
            await asyncio.wait((done, gone), return_when=asyncio.FIRST_COMPLETED)
            if not done.done():
                raise ClientDisconnect
            return done.result()
        finally:
            gone.cancel()
            done.cancel()


async def _hang_up(request: Request) -> None:
    """Wait until the caller is gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _answer_form(request: GenerationRequest, *, wants_png: bool) -> AnswerForm:
    if request.async_process:
        return AnswerForm.JOB
    return AnswerForm.PNG if wants_png else AnswerForm.LIST


def _delivery(request: GenerationRequest) -> Delivery:
    return Delivery(
        extension=request.save_extension,
        name=clean_name(request.save_name),
        base64=request.require_base64,
        webhook=webhook_target(request.webhook_url),
    )
