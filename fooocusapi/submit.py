"""The one path of every generation request: pictures, translation, queue, wait or not, answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from fooocus_core.downloads import ModelFile
from fooocusapi.disconnects import HangUp, hang_up_of, result_unless_gone
from fooocusapi.exceptions import (
    InputsGoneError,
    JobFinishedError,
    JobNotFinishedError,
    JobNotFoundError,
    QueueFullError,
    ServiceError,
)
from fooocusapi.idempotency import IdempotencyKeys
from fooocusapi.input_files import InputFiles
from fooocusapi.inputs import Inputs
from fooocusapi.job_lookup import JobLookup
from fooocusapi.jobs.job import Delivery, Job, JobView, StoredRequest, new_job_id
from fooocusapi.jobs.params_json import encode_params
from fooocusapi.jobs.queue import JobQueue
from fooocusapi.jobs.retention import Retention
from fooocusapi.jobs.store import KeyUse
from fooocusapi.jobs.worker import Engine
from fooocusapi.preferences import Preferences
from fooocusapi.request_record import fingerprint, request_text
from fooocusapi.respond import AnswerForm, Responder, queue_full
from fooocusapi.schemas.parameters import GenerationRequest, webhook_target
from fooocusapi.schemas.vocabulary import JobKind, WebhookEvent
from fooocusapi.storage import clean_name
from fooocusapi.translate import Translator

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitter:
    """Takes generation requests in, and what tools ask of the engine.

    Attributes:
        intake: The one thread on which jobs are accepted, so that callers who wait for the disk
            take no thread that others need.
        cancels_lost: A job whose caller hangs up while waiting is cancelled, unless the request
            says otherwise.
    """

    queue: JobQueue
    lookup: JobLookup
    keys: IdempotencyKeys
    retention: Retention
    intake: Executor
    inputs: Inputs
    input_files: InputFiles
    translator: Translator
    responder: Responder
    cancels_lost: bool

    async def submit(
        self, request: GenerationRequest, kind: JobKind, caller: Preferences
    ) -> Response:
        """Make a job of a request and answer in the form asked for.

        Raises:
            InvalidFieldError: A field cannot be used.
            BodyTooLargeError: A picture is too large.
            ModelMissingError: A file is missing that the pictures cannot be made without.
            ServerStoppingError: The server is shutting down.
            StoreError: The job could not be stored, so there is none.
            KeyReusedError: The key was used with another request.
            KeyInProgressError: The first request with the key is still being accepted.
        """
        form = _answer_form(request, caller)
        text = await asyncio.to_thread(request_text, request)
        use = _key_use(caller, text)
        with self.keys.claimed(use):
            known = await self._find_known(use)
            if known is None:
                try:
                    job = await self._accept(request, kind, text, caller, use)
                except QueueFullError:
                    return queue_full(kind, form)
        if known is not None:
            answer = await self._answer_again(known, form, caller)
            answer.headers["Idempotency-Replayed"] = "true"
            return answer
        try:
            return await self._answer(job, form, self._bound(request, caller))
        finally:
            # Not before: the limits of the history could remove the files that are being read.
            self.retention.release(job.id)

    async def retry(self, job_id: str, caller: Preferences) -> JobView:
        """Make a new job that asks for the same as one that failed or was cancelled.

        Raises:
            JobNotFoundError: No job of that id is known.
            JobNotFinishedError: It has not ended.
            JobFinishedError: It has made what was asked for.
            InputsGoneError: It needs pictures that were removed when it ended.
            QueueFullError: As many jobs as allowed wait or run.
            ServerStoppingError: The server is shutting down.
            StoreError: The job could not be stored, so there is none.
            KeyReusedError: The key was used for another job.
            KeyInProgressError: The first request with the key is still being accepted.
        """
        use = _key_use(caller, job_id)
        with self.keys.claimed(use):
            known = await self._find_known(use)
            if known is not None:
                return await asyncio.to_thread(self.lookup.find, known)
            return await self._on_intake(self._retry, job_id, caller, use)

    def _bound(self, request: GenerationRequest, caller: Preferences) -> Preferences:
        """The caller, who is looked after only if the job is to end with them."""
        asked = request.cancel_on_disconnect
        is_bound = self.cancels_lost if asked is None else asked
        return caller if is_bound else replace(caller, hang_up=None)

    async def _find_known(self, use: KeyUse | None) -> str | None:
        return None if use is None else await self._on_intake(self.keys.find, use)

    async def _on_intake(self, function: Callable[..., Result], *arguments: object) -> Result:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.intake, partial(function, *arguments))

    async def _accept(
        self,
        request: GenerationRequest,
        kind: JobKind,
        text: str,
        caller: Preferences,
        use: KeyUse | None,
    ) -> Job:
        pictures = await self.inputs.read_all(self.translator.picture_fields(request))
        # Looks names up on disk, and at every pixel of masks, so off the event loop.
        translation = await asyncio.to_thread(
            self.translator.translate, request, pictures, single=caller.wants_png
        )
        encoded = encode_params(translation.params)
        view = JobView(
            id=new_job_id(),
            kind=kind,
            delivery=_delivery(request, caller),
            seed=translation.params.canvas.seed,
            warnings=translation.warnings,
            queued_ms=self.queue.now_ms(),
        )
        stored = StoredRequest(request=text, params=encoded.text, inputs=len(encoded.pictures))
        job = Job(view, stored)
        await asyncio.to_thread(self.input_files.save, job.id, encoded.pictures)
        self.retention.keep(job.id)
        try:
            await self._on_intake(self.queue.submit, job, use)
        except BaseException as error:
            self.retention.release(job.id)
            # Whoever hangs up here does not keep the job from being stored.
            if isinstance(error, ServiceError):
                await asyncio.to_thread(self.input_files.remove, job.id)
            raise
        return job

    def _retry(self, job_id: str, caller: Preferences, use: KeyUse | None) -> JobView:
        record = self.lookup.record(job_id)
        if not record.view.is_finished:
            raise JobNotFinishedError("the job has not ended yet")
        if record.view.failure is None and not record.view.is_cancelled:
            raise JobFinishedError("the job has made what was asked for")
        if record.stored.inputs:
            raise InputsGoneError("the pictures that came with the request were removed")
        view = JobView(
            id=new_job_id(),
            kind=record.view.kind,
            delivery=replace(record.view.delivery, owner=caller.owner),
            seed=record.view.seed,
            warnings=record.view.warnings,
            queued_ms=self.queue.now_ms(),
        )
        self.queue.submit(Job(view, record.stored), use)
        return view

    async def _answer(self, job: Job, form: AnswerForm, caller: Preferences) -> Response:
        if form in (AnswerForm.JOB, AnswerForm.ACCEPTED):
            answer = await asyncio.to_thread(self.responder.result, job.view(), form)
            if caller.responds_async:
                answer.headers["Preference-Applied"] = "respond-async"
            return answer
        try:
            view = await asyncio.wait_for(self._end(job, caller.hang_up), caller.wait_s)
        except TimeoutError:
            view, form = job.view(), AnswerForm.ACCEPTED
        answer = await asyncio.to_thread(self.responder.result, view, form)
        if caller.wait_s is not None:
            answer.headers["Preference-Applied"] = f"wait={caller.wait_s}"
        return answer

    async def _end(self, job: Job, hang_up: HangUp | None) -> JobView:
        done = asyncio.wrap_future(job.done)
        if hang_up is None:
            return await done
        try:
            return await result_unless_gone(done, hang_up)
        except ClientDisconnect:
            with suppress(JobFinishedError, JobNotFoundError):
                await asyncio.to_thread(self.queue.cancel, job.id)
            raise

    async def _answer_again(self, job_id: str, form: AnswerForm, caller: Preferences) -> Response:
        job = self.queue.unfinished_job(job_id)
        if job is not None:
            return await self._answer(job, form, replace(caller, hang_up=None))
        view = await asyncio.to_thread(self.lookup.find, job_id)
        return await asyncio.to_thread(self.responder.result, view, form)

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
        return await result_unless_gone(done, hang_up_of(request))


def _answer_form(request: GenerationRequest, caller: Preferences) -> AnswerForm:
    if caller.responds_async:
        return AnswerForm.ACCEPTED
    if request.async_process:
        return AnswerForm.JOB
    return AnswerForm.PNG if caller.wants_png else AnswerForm.LIST


def _key_use(caller: Preferences, text: str) -> KeyUse | None:
    if caller.key is None:
        return None
    return KeyUse(scope=caller.scope, key=caller.key, fingerprint=fingerprint(text))


def _delivery(request: GenerationRequest, caller: Preferences) -> Delivery:
    return Delivery(
        extension=request.save_extension,
        name=clean_name(request.save_name),
        base64=request.require_base64,
        webhook=webhook_target(request.webhook_url),
        owner=caller.owner,
        # In their own order, each once, so that the same request reads the same.
        webhook_events=tuple(
            event for event in WebhookEvent if event in request.webhook_events_filter
        )
        or Delivery().webhook_events,
    )
