import hashlib
import hmac
import re

import pytest
from hypothesis import assume, given, strategies as st

from shared.key_secrets import digests_of, is_well_formed, new_secret, visible_part

secrets = st.builds(new_secret)
places = st.integers(0, len(new_secret()) - 1)
peppers = st.text(min_size=16)


def test_a_secret_has_the_prefix_and_38_letters_and_digits_and_none_comes_twice() -> None:
    made = [new_secret() for _ in range(200)]
    assert all(re.fullmatch(r"am_live_[0-9A-Za-z]{38}", secret) for secret in made)
    assert len(set(made)) == 200


@given(secrets)
def test_every_secret_that_is_made_is_well_formed(secret: str) -> None:
    assert is_well_formed(secret)


@given(secrets, places, st.characters())
def test_any_wrong_character_is_noticed(secret: str, place: int, wrong: str) -> None:
    mistyped = secret[:place] + wrong + secret[place + 1 :]
    assert is_well_formed(mistyped) == (mistyped == secret)


@given(secrets, places, st.sampled_from("0123456789ABCXYZabcxyz"))
def test_any_wrong_letter_or_digit_is_noticed(secret: str, place: int, wrong: str) -> None:
    mistyped = secret[:place] + wrong + secret[place + 1 :]
    assert is_well_formed(mistyped) == (mistyped == secret)


def test_all_neighbours_that_are_swapped_are_noticed() -> None:
    for _ in range(50):
        secret = new_secret()
        for place in range(len(secret) - 1):
            swapped = secret[:place] + secret[place + 1] + secret[place] + secret[place + 2 :]
            assert is_well_formed(swapped) == (swapped == secret)


@given(secrets, places, st.characters())
def test_a_character_too_many_or_too_few_is_noticed(secret: str, place: int, extra: str) -> None:
    assert not is_well_formed(secret[:place] + secret[place + 1 :])
    assert not is_well_formed(secret[:place] + extra + secret[place:])


@pytest.mark.parametrize("text", ["", "am_live_", "am_live_" + "0" * 38, "AM_LIVE_" + "0" * 38, "Bearer x"])
def test_an_invented_secret_is_refused(text: str) -> None:
    assert not is_well_formed(text)


@pytest.mark.parametrize("around", ["{}\n", " {}", "{} ", "{}\0"])
def test_white_space_around_a_secret_is_not_part_of_it(around: str) -> None:
    assert not is_well_formed(around.format(new_secret()))


@given(secrets)
def test_of_a_secret_the_first_twelve_characters_may_be_seen(secret: str) -> None:
    assert visible_part(secret) == secret[:12]


@given(secrets)
def test_without_a_pepper_a_secret_has_one_digest_its_sha256(secret: str) -> None:
    assert digests_of(secret, None) == [f"sha256-{hashlib.sha256(secret.encode()).hexdigest()}"]


@given(secrets, peppers)
def test_with_a_pepper_new_keys_have_its_hmac_and_those_from_before_are_known_by_theirs(
    secret: str, pepper: str
) -> None:
    peppered = hmac.new(pepper.encode(), secret.encode(), hashlib.sha256).hexdigest()

    assert digests_of(secret, pepper) == [f"hmac-sha256-{peppered}", *digests_of(secret, None)]


@given(secrets, peppers, peppers)
def test_another_pepper_gives_another_digest(secret: str, pepper: str, other: str) -> None:
    # Of texts of these lengths HMAC pads the shorter with NUL, and digests the longer than 64 bytes.
    assume(pepper.rstrip("\0") != other.rstrip("\0"))

    assert digests_of(secret, pepper)[0] != digests_of(secret, other)[0]


@given(secrets, secrets, st.none() | peppers)
def test_no_two_secrets_share_a_digest(secret: str, other: str, pepper: str | None) -> None:
    assert not {*digests_of(secret, pepper)} & {*digests_of(other, pepper)}


@given(secrets, st.none() | peppers)
def test_a_digest_shows_nothing_of_the_secret_but_its_scheme(secret: str, pepper: str | None) -> None:
    for digest in digests_of(secret, pepper):
        assert re.fullmatch(r"(hmac-)?sha256-[0-9a-f]{64}", digest)
