"""The topics of the demo problems; none of their words may suggest a procedure.

Topic        nouns of one topic, used to fill a sentence's slots
TOPIC_TABLE  the fourteen topics
TOPICS       their names
PEOPLE       first names
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """Nouns that fill the slots of a template.

    ``items`` what is counted (plural), ``box``/``boxes`` what holds it, ``kind``/``other`` two sorts of it,
    ``fact`` a thing of the same topic that no problem needs (plural).
    """

    name: str
    items: str
    box: str
    boxes: str
    kind: str
    other: str
    fact: str


TOPIC_TABLE: tuple[Topic, ...] = (
    Topic("orchard", "apples", "crate", "crates", "green", "red", "ladders"),
    Topic("library", "books", "shelf", "shelves", "thin", "thick", "lamps"),
    Topic("bakery", "rolls", "tray", "trays", "salted", "sweet", "aprons"),
    Topic("aquarium", "fish", "tank", "tanks", "striped", "silver", "pumps"),
    Topic("garden", "tulips", "bed", "beds", "yellow", "purple", "spades"),
    Topic("school", "pencils", "drawer", "drawers", "blunt", "sharp", "desks"),
    Topic("harbour", "ropes", "boat", "boats", "tarred", "dry", "anchors"),
    Topic("museum", "coins", "case", "cases", "bronze", "golden", "paintings"),
    Topic("farm", "hens", "coop", "coops", "brown", "white", "tractors"),
    Topic("theatre", "masks", "trunk", "trunks", "painted", "plain", "curtains"),
    Topic("workshop", "screws", "jar", "jars", "brass", "steel", "hammers"),
    Topic("campsite", "blankets", "tent", "tents", "woollen", "cotton", "lanterns"),
    Topic("clinic", "bandages", "cabinet", "cabinets", "narrow", "wide", "chairs"),
    Topic("toyshop", "marbles", "pouch", "pouches", "clear", "cloudy", "kites"),
)
TOPICS: tuple[str, ...] = tuple(topic.name for topic in TOPIC_TABLE)

PEOPLE: tuple[str, ...] = (
    *("Ana", "Ben", "Cara", "Dan", "Ella", "Finn", "Gina", "Hugo", "Iris", "Jack", "Kira", "Leo"),
    *("Mia", "Noah", "Olga", "Paul", "Rosa", "Sam", "Tina", "Uma", "Vera", "Will", "Yara", "Zoe"),
)
