"""What the server and its compute workers say comes over as it was meant, floats to the last bit."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.domain.job_specs import SPACE
from tunesmith_core.space.ranges import Categorical, Continuous, Integer, Scaling, SearchSpace
from tunesmith_server.domain.history import Abandoned, Told
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.warm_start import Lessons
from tunesmith_server.engine.compute_messages import (
    Answer,
    Ask,
    Assess,
    Assessment,
    Begin,
    Forget,
    Learn,
    Message,
    Report,
    Warm,
    decode,
    encode,
)

ODD_SPACE = SearchSpace(
    (
        Continuous(name="ünïcode\n", lo=0.1 + 0.2, hi=5e300, scaling=Scaling.LINEAR),
        Integer(name="", lo=-(2**63), hi=2**63 - 1),
        Categorical(name="c", values=('"', "\\", "\ud7ff", " ")),
    )
)


A = Suggestion(parameters={"a": "1"})
IN_B = Suggestion(parameters={"x": "2"}, definition_name="b")


@pytest.mark.parametrize(
    "item",
    [
        Begin(job_id=1, spaces={None: SPACE}, seed=2**63 - 1, maximise=True, is_seeded=False),
        Begin(job_id=2**40, spaces={None: ODD_SPACE}, seed=0, maximise=False, is_seeded=True),
        Begin(job_id=3, spaces={None: SearchSpace(())}, seed=0, maximise=False, is_seeded=True),
        Begin(
            job_id=4,
            spaces={"a": SPACE, "b": ODD_SPACE},
            seed=0,
            maximise=False,
            is_seeded=True,
        ),
        Begin(
            job_id=5,
            spaces={None: SPACE},
            seed=0,
            maximise=False,
            is_seeded=True,
            lessons=Lessons(
                searches=(
                    (Told(suggestion=A, value=1.5), Told(suggestion=A, value=None)),
                    (Told(suggestion=IN_B, value=-1.0),),
                ),
                extra=(Integer(name="more", lo=1, hi=9),),
                fixed={"more": "3"},
                same_objective=True,
            ),
        ),
        Assess(
            number=8,
            spaces={"a": SPACE, "b": ODD_SPACE},
            maximise=True,
            ends=[Told(suggestion=IN_B, value=1.0), Abandoned(suggestion=IN_B)],
            remaining=12,
        ),
        Assessment(number=8, has_converged=True),
        Assessment(number=8, fault="ValueError: no"),
        Learn(job_id=1, ends=[]),
        Learn(job_id=1, ends=[Told(suggestion=IN_B, value=1.0), Abandoned(suggestion=IN_B)]),
        Learn(
            job_id=1,
            ends=[
                Told(suggestion=Suggestion(parameters={"a": "1"}), value=1.5),
                Told(suggestion=Suggestion(parameters={"a": "2"}), value=None),
                Told(suggestion=A, value=2.0, rungs=(4.0, 3.0), is_stopped=True, is_again=True),
                Abandoned(suggestion=Suggestion(parameters={"a": "\n"})),
            ],
        ),
        Ask(number=7, job_id=1, pending=[A, Suggestion(parameters={}), IN_B], count=3),
        Forget(job_id=1),
        Answer(number=7, suggestions=[A, IN_B], exhausted=True),
        Answer(number=7, suggestions=[], fault="ValueError: no"),
        Warm(),
        Warm(fault="ImportError: no numba"),
    ],
)
def test_a_message_comes_over_in_one_line(item: Message | Report) -> None:
    line = encode(item)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line) == item


@settings(deadline=None, derandomize=True)
@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_a_value_comes_over_to_the_last_bit(value: float) -> None:
    sent = Learn(job_id=1, ends=[Told(suggestion=Suggestion(parameters={}), value=value)])
    got = decode(encode(sent))
    assert repr(got) == repr(sent)


def test_a_rung_without_a_number_comes_over() -> None:
    got = decode(encode(Learn(job_id=1, ends=[Told(suggestion=A, value=1.0, rungs=(math.inf,))])))
    assert isinstance(got, Learn)
    (told,) = got.ends
    assert isinstance(told, Told)
    assert math.isnan(told.rungs[0])


@pytest.mark.parametrize("line", [b"", b"hello\n", b"[]\n", b'["Nothing",{}]\n', b'["Ask",{}]\n'])
def test_anything_else_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="not a message of compute workers"):
        decode(line)
