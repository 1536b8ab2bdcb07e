"""The groups of portraits that personas are made of, in the order of their numbers: add new ones at the end."""

from __future__ import annotations

Group = tuple[str, str, str, str]

# (source, gender, skin, expression, age band or "turned") and how many personas each group gives. Politicians smile and
# are not young; the London set has young and neutral faces, but too few of the darkest women for a mean of MEMBERS.
GROUPS: tuple[tuple[Group, int], ...] = (
    (("congress", "male", "light", "any"), 21),
    (("congress", "female", "light", "any"), 21),
    (("congress", "male", "medium", "any"), 10),
    (("congress", "female", "medium", "any"), 10),
    (("congress", "male", "dark", "any"), 9),
    (("congress", "female", "dark", "any"), 9),
    (("london", "male", "light", "neutral"), 10),
    (("london", "female", "light", "neutral"), 14),
    (("london", "male", "medium", "neutral"), 10),
    (("london", "female", "medium", "neutral"), 8),
    (("london", "male", "dark", "neutral"), 4),
    (("london", "male", "light", "smiling"), 6),
    (("london", "female", "light", "smiling"), 10),
    (("london", "male", "medium", "smiling"), 6),
    (("london", "female", "medium", "smiling"), 4),
    (("london", "male", "dark", "smiling"), 2),
    (("london", "female", "medium", "neutral"), 4),
    (("london", "male", "medium", "neutral"), 2),
    (("london", "female", "light", "smiling"), 3),
    (("london", "male", "light", "smiling"), 3),
    (("congress", "male", "light", "turned"), 8),
    (("congress", "female", "light", "turned"), 4),
    (("congress", "female", "light", "any"), 24),
    (("congress", "female", "light", "young"), 3),
    (("congress", "female", "light", "middle"), 6),
    (("congress", "female", "light", "old"), 8),
    (("congress", "male", "light", "young"), 8),
    (("congress", "male", "light", "middle"), 4),
    (("congress", "female", "medium", "middle"), 2),
    (("congress", "female", "medium", "old"), 2),
)
