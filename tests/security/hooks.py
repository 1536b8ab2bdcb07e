"""What schemathesis cannot guess: a photo. Half of the files it sends are one."""

from __future__ import annotations

import schemathesis
from hypothesis import strategies as st

from tests.fakes import picture

schemathesis.openapi.format("binary", st.one_of(st.just(picture().to_png()), st.binary(max_size=200)))
