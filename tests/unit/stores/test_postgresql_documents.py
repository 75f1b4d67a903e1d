"""JSON on its way into jsonb: numbers that jsonb would take for integers are written out."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootcellar.stores.postgresql.documents import jsonb_text
from rootcellar.testing.comparing import assert_same_document
from rootcellar.testing.strategies import documents


@pytest.mark.parametrize("number", [1e16, -1e16, 1.5e16, 1e22, 1e23, 1.7976931348623157e308, -6.579999846611415e16])
def test_a_large_float_stays_one_by_the_place_behind_its_point(number: float) -> None:
    for document in (number, [number], {"a": number}, {"a": [number, 1]}):
        text = jsonb_text(document)
        assert b"e" not in text
        assert_same_document(msgspec.json.decode(text), document)


@pytest.mark.parametrize("text", ["1e16,", ":1e16]", '":1e16,', "\\e22}", '\\"1e22]', "7fe41,"])
def test_texts_that_look_like_numbers_stay_as_they_are(text: str) -> None:
    document = {text: [text, 1e22, text], "plain": text}
    assert_same_document(msgspec.json.decode(jsonb_text(document)), document)


@given(documents())
def test_the_document_is_the_same(document: object) -> None:
    assert_same_document(msgspec.json.decode(jsonb_text(document)), document)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_decimal_parser_reads_the_same_number(number: float) -> None:
    """As jsonb's does: it knows no doubles."""
    assert float(Decimal(jsonb_text(number).decode())) == number
