"""The groups of portraits that personas are made of, in the order of their numbers: add new ones at the end. And
the numbers of which no good persona came."""

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

# By a look at each persona.
RULED_OUT = frozenset((
    0, 4, 12, 20, 22, 23, 24, 25, 26, 29, 31, 35, 37, 40, 41, 47, 51, 52, 53, 54, 55, 56, 58, 60, 61, 63, 70, 75,
    77, 79, 111, 118, 137, 147, 174, 175, 176, 177, 178, 179, 181, 182, 183, 184, 185, 186, 187, 190, 192, 193,
    195, 197, 198, 201, 202, 205, 207, 209, 210, 211, 212, 213, 214, 215, 217, 223, 225, 226, 232, 234,
))  # fmt: skip
