"""Secrets and signatures of webhooks."""

from __future__ import annotations

import pytest

from fooocusapi.webhook_signing import read_secrets, signed_headers


def test_the_example_of_the_standard_is_signed_as_it_says() -> None:
    """Published with the specification."""
    (secret,) = read_secrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed_headers(
        (secret,),
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        time_s=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_two_secrets_sign_while_one_takes_the_place_of_the_other() -> None:
    secrets = read_secrets(f"whsec_{'A' * 32} , whsec_{'B' * 32}")
    headers = signed_headers(secrets, message_id="msg_1", time_s=1, body=b"{}")
    first, second = headers["webhook-signature"].split(" ")
    assert first != second
    assert [first[:3], second[:3]] == ["v1,"] * 2


@pytest.mark.parametrize(
    "text",
    ["", "whsec_", "A" * 32, "whsec_" + "A" * 28, "whsec_" + "A" * 88, "whsec_" + "é" * 32, ","],
)
def test_what_is_no_secret_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a secret is"):
        read_secrets(text)


def test_a_refused_secret_is_not_shown() -> None:
    with pytest.raises(ValueError, match="a secret is") as raised:
        read_secrets("whsec_tooShort")
    assert "tooShort" not in str(raised.value)
