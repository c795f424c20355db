"""The table of facts about a head and their wordings, used by ``avatar.data.captions``.

Left and right are the viewer's. Ranges leave out doubtful cases: between "no smile" and "a slight smile" is a
gap in which neither is used.
"""

from typing import NamedTuple

Range = tuple[str, float, float]
"""A reading, and the lowest and highest value at which a saying is true."""


class Saying(NamedTuple):
    """One fact and its wordings, true where all ``when`` hold.

    before: wordings used before a noun; after: those used after "with"; alone: those used by themselves.
    """

    when: tuple[Range, ...]
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()


class Degree(NamedTuple):
    """Wordings of a motion's percentage: ``{degree}`` stands for no, 0%, 10% … 100%.

    whole: full sentences; anchors are collected with the first.
    """

    reading: str
    whole: tuple[str, ...]
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()


DEGREES: dict[str, Degree] = {
    # The first sentence of smile, anger, closed eyes and age is the authors' (wuqiuche/micromotion-styleGAN).
    # The gray hair in the last is no fact of its own: a head greys as it ages.
    "smile": Degree(
        "smile",
        ("a person with {degree} smile", "a person with a {degree} smile", "{degree} smile"),
        ("{degree} smiling", "{degree} happy"),
        ("{degree} smile", "a {degree} smile"),
        ("{degree} smiling", "smile {degree}"),
    ),
    "anger": Degree(
        "anger",
        ("{degree} angry", "a person who is {degree} angry", "a {degree} angry person"),
        ("{degree} angry",),
        ("{degree} anger", "an expression {degree} angry"),
        ("{degree} angry", "anger {degree}"),
    ),
    "eyes_closed": Degree(
        "eyes_closed",
        ("a person with eyes {degree} closed", "eyes {degree} closed", "a person with {degree} closed eyes"),
        (),
        ("eyes {degree} closed", "{degree} closed eyes"),
        ("eyes {degree} closed", "eyes closed {degree}"),
    ),
    "age": Degree(
        "age",
        ("a {degree} old person with gray hair", "a {degree} old person", "{degree} old"),
        ("{degree} old", "{degree} aged"),
        (),
        ("{degree} old", "age {degree}"),
    ),
    "yaw": Degree(
        "right",
        (
            "a person with head turned {degree} to the right",
            "head turned {degree} to the right",
            "{degree} turned to the right",
        ),
        (),
        ("head turned {degree} to the right", "face turned {degree} to the right"),
        ("{degree} turned to the right", "turned {degree} to the right"),
    ),
    "yaw_left": Degree(
        "left",
        (
            "a person with head turned {degree} to the left",
            "head turned {degree} to the left",
            "{degree} turned to the left",
        ),
        (),
        ("head turned {degree} to the left", "face turned {degree} to the left"),
        ("{degree} turned to the left", "turned {degree} to the left"),
    ),
    "mouth_open": Degree(
        "mouth_open",
        ("a person with mouth {degree} open", "mouth {degree} open"),
        (),
        ("mouth {degree} open",),
        ("mouth {degree} open", "mouth open {degree}"),
    ),
}

NONE, SLIGHT, HALF, MUCH = (0.0, 0.02), (0.12, 0.4), (0.4, 0.7), (0.75, 1.0)

SAYINGS: dict[str, tuple[Saying, ...]] = {
    "smile": (
        Saying(
            (("smile", *NONE),),
            ("serious", "unsmiling"),
            ("no smile", "a straight face", "a serious face"),
            ("not smiling", "no smile", "serious"),
        ),
        Saying(
            (("smile", *SLIGHT),),
            ("slightly smiling",),
            ("a slight smile", "a faint smile", "a small smile", "a hint of a smile", "a little smile"),
            ("smiling a little", "smiling slightly", "slight smile"),
        ),
        Saying(
            (("smile", *HALF),), (), ("half a smile", "a moderate smile"), ("half smiling", "half a smile")
        ),
        Saying(
            (("smile", *MUCH),),
            ("very happy", "broadly smiling"),
            ("a big smile", "a broad smile", "a wide smile", "a full smile"),
            ("smiling broadly", "big smile", "very happy"),
        ),
        Saying(
            (("smile", 0.4, 1.0),), ("smiling", "happy"), ("a smile", "a happy face"), ("smiling", "happy")
        ),
    ),
    "anger": (
        Saying(
            (("anger", *NONE),),
            ("calm",),
            ("no anger", "a calm face", "relaxed brows"),
            ("not angry", "calm", "no anger"),
        ),
        Saying(
            (("anger", *SLIGHT),),
            ("slightly angry", "annoyed"),
            ("a slight frown", "a hint of anger", "a little anger"),
            ("a little angry", "slightly angry", "annoyed"),
        ),
        Saying((("anger", *HALF),), ("half angry",), ("a moderate frown",), ("half angry",)),
        Saying(
            (("anger", *MUCH),),
            ("very angry", "furious"),
            ("a deep frown", "a furious face", "full anger"),
            ("very angry", "furious"),
        ),
        Saying(
            (("anger", 0.4, 1.0),),
            ("angry", "frowning"),
            ("a frown", "an angry face", "lowered brows"),
            ("angry", "frowning"),
        ),
    ),
    "eyes_closed": (
        Saying(
            (("eyes_closed", *NONE),),
            (),
            ("open eyes", "eyes open", "eyes not closed"),
            ("eyes open", "eyes not closed", "awake"),
        ),
        Saying(
            (("eyes_closed", *SLIGHT),),
            (),
            ("slightly closed eyes", "eyes a little closed"),
            ("eyes slightly closed", "eyes a little closed"),
        ),
        Saying(
            (("eyes_closed", *HALF),),
            ("sleepy",),
            ("half closed eyes", "eyes half closed"),
            ("eyes half closed", "sleepy"),
        ),
        Saying(
            (("eyes_closed", 0.9, 1.0),),
            ("sleeping",),
            ("closed eyes", "eyes closed", "shut eyes"),
            ("eyes closed", "eyes shut", "sleeping"),
        ),
        Saying((("eyes_closed", *MUCH),), (), ("eyes almost closed",), ("eyes almost closed",)),
    ),
    "age": (
        Saying((("age", *NONE),), ("young",), ("no wrinkles", "a young face"), ("young", "not old")),
        Saying(
            (("age", *SLIGHT),), ("slightly old",), ("a few wrinkles",), ("a little old", "slightly aged")
        ),
        Saying((("age", *HALF),), ("middle aged",), ("some wrinkles",), ("middle aged", "half old")),
        Saying(
            (("age", *MUCH),),
            ("very old", "elderly"),
            ("many wrinkles", "deep wrinkles"),
            ("very old", "elderly"),
        ),
        Saying((("age", 0.5, 1.0),), ("old", "aged"), ("wrinkles", "an old face"), ("old", "not young")),
    ),
    "yaw": (
        Saying(
            (("turn", 0.0, 0.08),),
            (),
            ("head straight", "head not turned"),
            ("facing the camera", "seen from the front", "looking straight ahead"),
        ),
        Saying(
            (("right", *SLIGHT),),
            (),
            ("head turned slightly to the right",),
            ("turned a little to the right", "turned slightly right"),
        ),
        Saying(
            (("left", *SLIGHT),),
            (),
            ("head turned slightly to the left",),
            ("turned a little to the left", "turned slightly left"),
        ),
        Saying((("right", *HALF),), (), ("head half turned to the right",), ("half turned to the right",)),
        Saying((("left", *HALF),), (), ("head half turned to the left",), ("half turned to the left",)),
        Saying(
            (("right", *MUCH),),
            (),
            ("head turned far to the right",),
            ("turned far to the right", "turned far right"),
        ),
        Saying(
            (("left", *MUCH),),
            (),
            ("head turned far to the left",),
            ("turned far to the left", "turned far left"),
        ),
        Saying(
            (("right", 0.4, 1.0),),
            (),
            ("head turned to the right", "face turned right"),
            ("turned to the right", "looking to the right"),
        ),
        Saying(
            (("left", 0.4, 1.0),),
            (),
            ("head turned to the left", "face turned left"),
            ("turned to the left", "looking to the left"),
        ),
        Saying(
            (("turn", 0.5, 1.0),), (), ("head turned",), ("head turned to the side", "not facing the camera")
        ),
    ),
    "mouth_open": (
        Saying(
            (("mouth_open", *NONE),), (), ("closed mouth", "mouth closed"), ("mouth closed", "mouth not open")
        ),
        Saying((("mouth_open", *SLIGHT),), (), ("mouth slightly open",), ("mouth a little open",)),
        Saying((("mouth_open", *MUCH),), (), ("mouth wide open",), ("mouth wide open",)),
        Saying((("mouth_open", 0.4, 1.0),), (), ("open mouth", "mouth open"), ("mouth open",)),
    ),
    "nod": (
        Saying((("down", 0.5, 1.0),), (), ("head lowered", "head bowed"), ("head down", "head bowed")),
        Saying((("up", 0.5, 1.0),), (), ("head raised", "chin raised"), ("head up", "chin up")),
    ),
    "expression": (
        Saying(
            (("smile", *NONE), ("anger", *NONE), ("eyes_closed", *NONE), ("mouth_open", *NONE)),
            ("neutral", "expressionless"),
            ("a neutral expression", "a neutral face", "no expression"),
            ("neutral", "at rest", "no expression"),
        ),
    ),
    "glasses": (
        Saying(
            (("glasses", 0.46, 1.0),),
            (),
            ("glasses", "spectacles"),
            ("wearing glasses", "glasses", "with glasses"),
        ),
        Saying((("glasses", 0.0, 0.42),), (), ("no glasses",), ("no glasses", "without glasses")),
    ),
    "beard": (
        Saying((("beard", 0.65, 1.0),), ("bearded",), ("a beard", "a full beard"), ("bearded", "full beard")),
        Saying((("beard", 0.40, 0.52),), ("unshaven",), ("stubble",), ("unshaven", "stubble")),
        Saying((("beard", 0.0, 0.28),), (), ("no beard",), ("no beard", "without a beard")),
        Saying((("moustache", 0.7, 1.0),), (), ("a moustache",), ("moustache",)),
        Saying(
            (("beard", 0.0, 0.28), ("moustache", 0.0, 0.4)),
            ("shaven",),
            ("a clean shaven face",),
            ("clean shaven",),
        ),
    ),
    "hair": (
        Saying((("cut", 0.0, 0.35),), ("bald",), ("a bald head", "no hair"), ("bald", "no hair")),
        Saying((("cut", 0.65, 10.0), ("baldness", 0.0, 0.5)), (), ("hair",), ("not bald",)),
        Saying((("cut", 0.65, 4.35), ("baldness", 0.0, 0.5)), (), ("short hair",), ("short hair",)),
        Saying(
            (("cut", 4.65, 6.35), ("baldness", 0.0, 0.5)),
            ("curly haired",),
            ("curly hair", "curls"),
            ("curly hair",),
        ),
        Saying((("cut", 5.65, 6.35), ("baldness", 0.0, 0.4)), (), ("an afro", "big curly hair"), ("afro",)),
        Saying((("cut", 6.65, 7.35), ("baldness", 0.0, 0.4)), (), ("a fringe", "a bob"), ("fringe",)),
        Saying(
            (("cut", 7.65, 9.35), ("baldness", 0.0, 0.4)), ("long haired",), ("long hair",), ("long hair",)
        ),
        Saying(
            (("cut", 9.65, 10.0), ("baldness", 0.0, 0.4)), (), ("a bun", "hair in a bun"), ("hair in a bun",)
        ),
    ),
    "hair colour": (
        Saying(
            (("grey", 0.85, 1.0), ("cut", 0.65, 10.0), ("baldness", 0.0, 0.6)),
            ("gray haired", "grey haired"),
            ("gray hair", "grey hair", "white hair"),
            ("gray hair", "grey hair"),
        ),
        Saying(
            (("fair", 0.0, 0.28), ("grey", 0.0, 0.2), ("cut", 0.65, 10.0), ("baldness", 0.0, 0.6)),
            ("dark haired",),
            ("dark hair", "black hair"),
            ("dark hair",),
        ),
        Saying(
            (("fair", 0.45, 0.6), ("grey", 0.0, 0.2), ("cut", 0.65, 10.0), ("baldness", 0.0, 0.6)),
            ("brown haired",),
            ("brown hair",),
            ("brown hair",),
        ),
        Saying(
            (("fair", 0.8, 1.0), ("grey", 0.0, 0.2), ("cut", 0.65, 10.0), ("baldness", 0.0, 0.6)),
            ("blond", "blonde"),
            ("blond hair", "blonde hair", "fair hair"),
            ("blond hair",),
        ),
    ),
    "skin": (
        Saying(
            (("skin_tone", 0.0, 0.3),), ("pale", "fair skinned"), ("pale skin", "fair skin"), ("pale skin",)
        ),
        Saying((("skin_tone", 0.7, 1.0),), ("dark skinned",), ("dark skin", "brown skin"), ("dark skin",)),
    ),
}

SPAN = {
    "glasses": 0.1,
    "beard": 0.3,
    "moustache": 0.4,
    "cut": 0.6,
    "baldness": 0.5,
    "grey": 0.6,
    "fair": 0.5,
    "skin_tone": 0.5,
}
"""How far outside its range a reading makes a saying fully wrong; 1 for readings that are not listed."""

NOUNS = ("person", "person", "person", "person", "face", "man", "woman", "human", "head", "adult")
"""Subjects of a sentence. The renderer has no sex: "man" and "woman" state nothing."""

FRAMES = (
    "",
    "",
    "",
    "",
    "",
    "a photo of ",
    "a portrait of ",
    "a picture of ",
    "a close up of ",
    "an avatar of ",
)

OTHER = (
    "someone",
    "boy",
    "girl",
    "guy",
    "lady",
    "hero",
    "character",
    "image",
    "painting",
    "drawing",
    "render",
)
"""Nouns outside the vocabulary: they stand for any other word that a user might type."""
