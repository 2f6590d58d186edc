"""Every defect, decision, row of the error table and client habit of the contract has its test.

The names of tests say which: ``..._defect_b7_...``, ``..._decision_d3_...``, ``test_row_...`` and
``test_client_...``. Not to be mixed up with the bad inputs of another list, ``test_b07_...``.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
NAMES = [
    name
    for path in TESTS.rglob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.M)
]
DEFECTS, DECISIONS = 28, 24
# Their tests are numbered by what else they show.
DECISIONS_ELSEWHERE = {
    5: "exif_orientation_is_applied",
    20: "nothing_is_overwritten",
    21: "slow_receiver_delays_no_job",
    23: "strict_refuses_what_is_otherwise_tolerated_and_tells_what_is_allowed",
}
ROWS = {
    "no object": "test_row_no_object",
    "wrong type, range or member": "test_row_wrong_value",
    "aspect ratio": "test_row_size",
    "text of loras or advanced_params": "test_row_text_of_loras_or_advanced_params",
    "required image missing": "test_row_required_image_missing",
    "image that cannot be used": "test_row_image_that_cannot_be_used",
    "too many pixels": "test_row_picture_of_too_many_pixels",
    "too large": "test_row_too_large",
    "unknown name": "test_row_unknown_name",
    "key": "test_row_key",
    "unknown path or method": "test_row_unknown_path_or_method",
    "unknown job": "test_row_unknown_job",
    "missing file": "test_row_missing_file",
    "queue full, list": "test_full_queue_answers_a_list_with_the_reason",
    "queue full, async": "test_full_queue_answers_async_callers_with_a_failed_job",
    "queue full, png": "test_full_queue_answers_409_to_who_accepts_png",
    "failed, list": "test_defect_b4_failing_job_tells_its_reason_and_the_next_one_succeeds",
    "failed, png": "test_defect_b4_failing_job_answers_500_to_who_accepts_png",
    "cancelled": "test_stopped_caller_is_told",
    "missing model": "test_row_missing_model",
    "download that fails": "test_a_job_whose_download_fails_says_why",
    "unforeseen": "test_unforeseen_exceptions_tell_nothing",
}
HABITS = {
    "JSON without a content type": "test_client_posts_json_without_a_content_type",
    "fields of its own": "test_client_forwards_fields_of_its_own",
    "styles: empty list": "test_client_wants_no_style_by_an_empty_list",
    "styles: one element": "test_client_sends_all_styles_in_one_element",
    "styles: JSON array in a form": "test_client_sends_styles_of_a_form_as_a_json_array",
    "styles: repeated field": "test_client_repeats_the_field_of_styles",
    "absolute url": "test_client_needs_addresses_that_are_absolute",
    "url rewritten": "test_client_follows_or_rewrites_the_address_of_a_result",
    "picture as text of a form": "test_client_sends_the_picture_of_a_form_as_text",
    "empty file": "test_client_sends_empty_files_for_slots_without_a_picture",
    "empty fields": "test_client_sends_what_forms_leave_empty",
    "webhook that is none": "test_client_names_no_receiver_by_a_text_that_is_none",
    "label of a size": "test_client_sends_the_label_of_a_size",
    "other sizes": "test_client_wants_a_size_that_is_not_listed",
    "old model name": "test_client_names_a_base_model_of_another_day",
    "LoRA without enabled": "test_client_leaves_out_whether_a_lora_is_enabled",
    "Python's booleans": "test_client_sends_booleans_as_python_writes_them",
    "large seed": "test_client_sends_a_large_seed_as_a_text",
    "misspelt path": "test_client_calls_inpaint_by_its_older_spelling",
    "misspelt flag of previews": "test_client_asks_for_previews_under_either_name",
    "words of job_status": "test_client_waits_for_the_words_step_and_finished",
    "pong, start page": "test_client_looks_for_pong_or_reads_the_start_page",
    "refresh-models": "test_client_refreshes_the_models",
    "start line": "test_client_starts_the_server_by_a_known_line",
}


def numbers(kind: str) -> set[int]:
    """Those that stand behind a word in names of tests, such as 10 and 12 in ``defect_b10_b12``."""
    found = (re.search(rf"{kind}((?:_[bd]\d+)+)", name) for name in NAMES)
    return {int(number) for match in found if match for number in re.findall(r"\d+", match[1])}


def is_tested(sentence: str) -> bool:
    """Whether there is a test of that name, whatever numbers stand in front of it."""
    pattern = re.compile(rf"test_(?:[bf]\d+a?_|defect_b\d+_|decision_d\d+_)*{sentence}")
    return any(pattern.fullmatch(name) for name in NAMES)


def test_every_defect_has_a_test() -> None:
    assert numbers("defect") == set(range(1, DEFECTS + 1))


def test_every_decision_has_a_test() -> None:
    elsewhere = {number for number, name in DECISIONS_ELSEWHERE.items() if is_tested(name)}
    assert elsewhere == set(DECISIONS_ELSEWHERE)
    assert numbers("decision") | elsewhere == set(range(1, DECISIONS + 1))


@pytest.mark.parametrize("name", ROWS.values(), ids=ROWS)
def test_every_row_of_the_error_table_has_a_test(name: str) -> None:
    assert name in NAMES


@pytest.mark.parametrize("name", HABITS.values(), ids=HABITS)
def test_every_habit_of_clients_has_a_test(name: str) -> None:
    assert name in NAMES


def test_every_test_of_a_row_or_habit_is_listed() -> None:
    named = {name for name in NAMES if name.startswith(("test_row_", "test_client_"))}
    assert named <= {*ROWS.values(), *HABITS.values()}
