"""The table of exceptions and answers."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest

from fooocus_core import errors as core_errors
from fooocusapi import exceptions
from fooocusapi.errors import ANSWERS

# Ends a job and never reaches a route.
CONTROL_FLOW = {core_errors.RunCancelled, core_errors.ImageSkipped}


def defined_in(module: Any) -> set[type[Exception]]:
    return {
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Exception) and member.__module__ == module.__name__
    }


def test_every_exception_class_has_its_answer() -> None:
    ours = defined_in(exceptions) | defined_in(core_errors)
    assert ours - CONTROL_FLOW <= set(ANSWERS)


@pytest.mark.parametrize("value", [float("nan"), "x" * 5000, {"a": "x" * 5000}, {"a": "\ud800"}])
def test_refused_values_are_sent_back_short_and_sendable(value: object) -> None:
    error = exceptions.InvalidFieldError(("field",), "refused", value)
    answer = ANSWERS[exceptions.InvalidFieldError](error)
    (entry,) = json.loads(bytes(answer.body))["detail"]
    assert entry["loc"] == ["body", "field"]
    assert len(json.dumps(entry["input"])) < 250


def test_unforeseen_exceptions_tell_nothing() -> None:
    answer = ANSWERS[Exception](ValueError("/secret/path"))
    assert json.loads(bytes(answer.body)) == {"detail": "Internal Server Error"}


def test_input_the_core_refuses_is_answered_like_a_validation_error() -> None:
    answer = ANSWERS[core_errors.InvalidInputError](core_errors.InvalidInputError("too dark"))
    assert answer.status_code == 422
    (entry,) = json.loads(bytes(answer.body))["detail"]
    assert (entry["loc"], entry["msg"]) == (["body"], "too dark")
