"""JSON Schemas of all types: what is sent fits its schema."""

from __future__ import annotations

import json
from typing import Literal

import hypothesis
import jsonschema
import pytest
from hypothesis import strategies as st

from edge.protocol.codec import JSON
from edge.protocol.jsonschema import Schemas
from edge.protocol.unstructure import unstructure
from tests.protocol.test_types import accepted, class_with, types

VALIDATORS = {7: jsonschema.Draft7Validator, 2020: jsonschema.Draft202012Validator}


@pytest.mark.parametrize("draft", [7, 2020])
@hypothesis.given(st.data())
@hypothesis.settings(max_examples=2 * hypothesis.settings().max_examples)
def test_each_value_fits_the_schema_of_its_type(draft: Literal[7, 2020], data: st.DataObject) -> None:
    """Each value of each accepted type fits the type's schema, as it is sent in JSON."""
    kind, values = data.draw(types())
    cls = class_with(kind)
    hypothesis.assume(accepted(cls))
    schemas = Schemas("#/definitions/", draft)
    schema = {**schemas.reference(cls, "", sent=False), "definitions": schemas.definitions()}
    VALIDATORS[draft].check_schema(schema)
    text = JSON.encode(unstructure(cls(data.draw(values))))
    VALIDATORS[draft](schema).validate(json.loads(text))
